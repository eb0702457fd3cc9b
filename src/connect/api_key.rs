//! Connects with a token or API key from the user.

use std::collections::BTreeMap;

use super::credential_input::{check_text, collect};
use super::flow::ConnectFlow;
use super::{ConnectError, PromptError};
use crate::connector::CredentialField;
use crate::error::Result;
use crate::model::{Grant, RefreshMethod};
use crate::runtime::Session;

/// A grant made of the fields of a key, or of a token that is pasted in place of OAuth's. The token given with
/// `--with-token` is the one that `integ token` prints; what is not a secret comes from `--param`; for the rest the user is
/// asked.
///
/// # Errors
/// [`ConnectError::InvalidKey`] for what cannot be such a key, [`PromptError`] without a terminal.
pub(super) async fn grant(flow: &ConnectFlow<'_>, session: &Session) -> Result<Grant> {
    let ConnectFlow { workspace, request, .. } = flow;
    let fields = if session.auth.is_key() { collect(flow, session).await? } else { BTreeMap::new() };
    let token_field = session.auth.token_field();
    let access_token = match token_field {
        Some(name) => fields.get(name).cloned(),
        None => request.token.clone(),
    };
    let access_token = access_token.ok_or(ConnectError::Prompt(PromptError::Empty))?;
    if token_field.is_none() {
        check_text(request, "", &bare_token(), &access_token)?;
    }
    Ok(Grant {
        access_token,
        refresh_token: None,
        fields,
        client: None,
        issued_at: workspace.clock.now(),
        expires_at: None,
        refresh_expires_at: None,
        refresh_method: RefreshMethod::None,
    })
}

fn bare_token() -> CredentialField {
    CredentialField::text("a token")
}
