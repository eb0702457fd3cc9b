//! Views of connect links. Times are RFC 3339.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Time;
use super::sign_in::StartedSignInView;
use super::{optional_word, word};
use crate::clock::Timestamp;
use crate::model::{ConnectLink, ConnectLinkId, ConnectLinkMode, ConnectLinkStatus, ConnectionMode, UserId};

/// A connect link, without its secret.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectLinkView {
    #[serde(serialize_with = "word")]
    pub connect_link: ConnectLinkId,
    #[serde(serialize_with = "word")]
    pub status: ConnectLinkStatus,
    pub connector: String,
    /// The connection's account name; chosen from the user or the account if null.
    pub account: Option<String>,
    /// The authentication method; the connector's usual one if null.
    pub auth: Option<String>,
    /// Scopes to request, instead of the connector's defaults.
    pub scopes: Vec<String>,
    pub params: BTreeMap<String, String>,
    #[serde(serialize_with = "optional_word")]
    pub user: Option<UserId>,
    #[serde(serialize_with = "word")]
    pub mode: ConnectionMode,
    /// How its page is shown.
    #[serde(serialize_with = "word")]
    pub display: ConnectLinkMode,
    pub return_to: Option<String>,
    #[schemars(with = "Time")]
    pub created_at: Timestamp,
    #[schemars(with = "Time")]
    pub expires_at: Timestamp,
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
}

impl ConnectLinkView {
    /// Creates the view of a link at a time.
    pub fn new(link: &ConnectLink, as_of: Timestamp) -> Self {
        Self {
            connect_link: link.id.clone(),
            status: link.status(as_of),
            connector: link.connector.clone(),
            account: link.account.clone(),
            auth: link.auth.clone(),
            scopes: link.scopes.clone(),
            params: link.params.clone(),
            user: link.user.clone(),
            mode: link.mode,
            display: link.display,
            return_to: link.return_to.as_ref().map(ToString::to_string),
            created_at: link.created_at,
            expires_at: link.expires_at,
            as_of,
        }
    }
}

/// A link that was created. It has no `Debug`, which would print the secret.
#[derive(Clone, JsonSchema, Serialize)]
pub struct NewConnectLinkView {
    /// The URL to send, which is printed only once: anyone who has it can connect an account.
    pub url: String,
    #[serde(flatten)]
    pub link: ConnectLinkView,
}

/// Connect links, the newest first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectLinkListView {
    pub connect_links: Vec<ConnectLinkView>,
}

/// A link that was revoked.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RevokedConnectLinkView {
    /// False if it could not be used any more in any case.
    pub was_active: bool,
    pub revoked: ConnectLinkView,
}

/// What the holder of a link does next.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum OpenedConnectLinkView {
    /// Fill in a form, whose values are sent with the link.
    Form(ConnectFormView),
    /// Sign in, or nothing.
    Started(StartedSignInView),
}

/// The values that a link needs before an account can be connected.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConnectFormView {
    /// Always `form`.
    pub next: &'static str,
    /// The service's name.
    pub service: String,
    /// Where the service explains how to get a key.
    pub docs: String,
    pub fields: Vec<FormFieldView>,
}

/// A value of a form.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FormFieldView {
    pub name: String,
    /// What to ask for, in a few words.
    pub prompt: String,
    pub is_secret: bool,
    pub is_required: bool,
    /// Whether it is the text of a file, such as a private key.
    pub is_file: bool,
    /// Allowed values; any if empty.
    pub choices: Vec<String>,
    /// Used if nothing is entered.
    pub default: Option<String>,
    pub example: Option<String>,
}
