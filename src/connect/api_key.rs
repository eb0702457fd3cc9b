//! Tokens and API keys that the user brings.

use std::collections::BTreeMap;

use super::flow::{ConnectFlow, parse_given_param};
use super::guide::prompt_valid;
use super::{ConnectError, ConnectRequest, PromptError, PromptQuestion};
use crate::connector::CredentialField;
use crate::error::Result;
use crate::model::{Grant, RefreshMethod};
use crate::runtime::Session;
use crate::sandbox::{SandboxAccount, account_fields};
use crate::secret::Secret;

/// A grant made of the fields of a key. The token given with `--with-token` is the one that `integ token` prints; what is
/// no secret comes from `--param`; for the rest the user is asked.
///
/// # Errors
/// [`ConnectError::InvalidKey`] for what cannot be such a key, [`PromptError`] where nobody can be asked.
pub(super) async fn grant(flow: &ConnectFlow<'_>, session: &Session) -> Result<Grant> {
    let ConnectFlow { workspace, request, prompter, .. } = flow;
    let auth = &session.auth;
    let mut fields = if request.is_sandbox && request.token.is_none() {
        let account = SandboxAccount::named(session.connection.name.account());
        account_fields(&session.connector, auth, &account, &workspace.sandbox_seed().await?)
    } else {
        BTreeMap::new()
    };
    let token_field = auth.token_field();
    for (name, field) in &auth.fields {
        if fields.contains_key(name) {
            continue;
        }
        let given = match &request.token {
            Some(token) if token_field == Some(name) => Some(token.clone()),
            _ => request.params.get(name).map(|value| Secret::from(value.trim())),
        };
        let parse = |value: Secret| -> Result<Secret, ConnectError> {
            let auth_name = &session.connection.auth;
            let value = if field.secret {
                value
            } else {
                Secret::new(parse_given_param(&session.connector, auth_name, auth, request, name, value.expose())?)
            };
            check_key(request, field, &value).map(|()| value)
        };
        let value = match given {
            Some(value) => parse(value)?,
            None => {
                flow.show_setup(&session.connector, &session.connection.auth)?;
                let missing = if token_field == Some(name) {
                    "--with-token and the key on stdin, or INTEG_TOKEN".to_owned()
                } else {
                    format!("--param {name}=VALUE")
                };
                let question = PromptQuestion::Text {
                    prompt: &field.prompt,
                    example: None,
                    is_secret: field.secret,
                    flag_hint: &missing,
                };
                prompt_valid(*prompter, &question, parse)?
            }
        };
        fields.insert(name.clone(), value);
    }
    let access_token = match token_field {
        Some(name) => fields.get(name).cloned(),
        None => request.token.clone(),
    };
    let access_token = access_token.ok_or(ConnectError::Prompt(PromptError::Empty))?;
    if token_field.is_none() {
        check_key(request, &bare_token(), &access_token)?;
    }
    Ok(Grant {
        access_token,
        refresh_token: None,
        fields,
        client: None,
        issued_at: workspace.engine.clock.now(),
        expires_at: None,
        refresh_expires_at: None,
        refresh_method: RefreshMethod::None,
    })
}

fn bare_token() -> CredentialField {
    CredentialField { prompt: "a token".to_owned(), secret: true, prefixes: Vec::new(), contains: None }
}

/// Catches the wrong key before it is sent anywhere.
fn check_key(request: &ConnectRequest, field: &CredentialField, value: &Secret) -> Result<(), ConnectError> {
    let text = value.expose();
    let why = if text.is_empty() {
        "it is empty".to_owned()
    } else if text.chars().any(char::is_control) {
        "it holds control characters or line breaks".to_owned()
    } else if !field.prefixes.is_empty() && !field.prefixes.iter().any(|prefix| text.starts_with(prefix.as_str())) {
        format!("it does not start with {}", field.prefixes.join(", "))
    } else if let Some(part) = field.contains.as_ref().filter(|part| !text.contains(part.as_str())) {
        format!("it does not hold {part:?}")
    } else {
        return Ok(());
    };
    Err(ConnectError::InvalidKey { command: request.command(), prompt: field.prompt.clone(), why })
}
