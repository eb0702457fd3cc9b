//! Talking to a vendor's API through a connection: one action of the connector's file, or any path.
//!
//! `fetch` does a whole call: `input` reads and checks what the user gives, `build` and `body` make a request of it, all
//! pure; `send` sends it with a fresh token, again where that is harmless, within the connection's budget; `pages` finds
//! the next page, `trail` whether there is an end of them.

mod body;
mod build;
mod fetch;
mod input;
mod pages;
mod send;
mod trail;

use serde_json::Value;
use thiserror::Error;

pub use body::form;
pub use build::{Call, Path, own_host};
pub use fetch::{Ask, Done, Order, attempt, call, fetch, list, rehearse, turned, usage};
pub use input::{Attachment, Input, Parameters, scalar};
pub(crate) use pages::records;
pub use pages::{Listed, PagingError, Turn, all_turns, falls_short, greatest, next_page};
pub use send::{Answer, PacedError, Patience, SendError, Token, send};
pub use trail::{Met, Trail, fingerprint, hash_of};

use crate::connector::scopes;
use crate::connector::{Action, Connector, ErrorClass, TemplateError, is_shell_safe};
use crate::error::{Kind, Remedy};
use crate::http::Response;
use crate::json::{Json, JsonError};
use crate::model::ConnectionName;
use crate::near::near;
use crate::runtime::{Session, SessionError};

#[derive(Debug, Error)]
pub enum ApiError {
    #[error("{connector} has no action {action:?}")]
    UnknownAction { connector: String, action: String, likely: Option<String> },
    #[error("{action} cannot be called so: {}", problems.join("; "))]
    Input { connection: ConnectionName, action: String, problems: Vec<String>, usage: String },
    #[error("{action} is not for {connection}, which is connected by {auth}")]
    WrongAuth { connection: ConnectionName, action: String, auth: String, ways: Vec<String> },
    #[error("{connection} was not granted what {action} needs: {}", scopes.join(", "))]
    MissingScopes { connection: ConnectionName, action: String, scopes: Vec<String>, reconnect: String },
    #[error("{action} cannot be written")]
    Template { connection: ConnectionName, action: String, source: TemplateError },
    #[error("{origin} is not an address of {connector}: the credentials of {connection} are not sent there")]
    ForeignHost { connection: ConnectionName, connector: String, origin: String },
    #[error("{what} of {connection}: {}", said.as_deref().unwrap_or("the vendor gave no reason"))]
    Refused { connection: ConnectionName, what: String, class: ErrorClass, said: Option<String>, hint: Option<String> },
    #[error("the service answered {action} with {status}, but its answer cannot be read")]
    Unreadable { connection: ConnectionName, action: String, status: u16, source: JsonError },
    #[error("{header:?} is not a header: write it as `Name: value`")]
    Header { header: String },
    #[error("{connection} gives the same records again and again at {at}: it repeats a page or ignores its number")]
    RepeatedPage { connection: ConnectionName, at: String },
    #[error("the next page of {what} of {connection} cannot be found: {source}")]
    Paging { connection: ConnectionName, what: String, source: PagingError },
}

impl ApiError {
    fn name(&self) -> Option<&ConnectionName> {
        match self {
            Self::Input { connection, .. }
            | Self::WrongAuth { connection, .. }
            | Self::MissingScopes { connection, .. }
            | Self::Template { connection, .. }
            | Self::ForeignHost { connection, .. }
            | Self::Refused { connection, .. }
            | Self::Unreadable { connection, .. }
            | Self::Paging { connection, .. }
            | Self::RepeatedPage { connection, .. } => Some(connection),
            Self::UnknownAction { .. } | Self::Header { .. } => None,
        }
    }
}

impl Remedy for ApiError {
    fn kind(&self) -> Kind {
        match self {
            Self::UnknownAction { .. } => Kind::NotFound,
            Self::Input { .. }
            | Self::WrongAuth { .. }
            | Self::ForeignHost { .. }
            | Self::Header { .. }
            | Self::Template { source: TemplateError::Segment(_) | TemplateError::LineBreak(_), .. } => Kind::Usage,
            Self::MissingScopes { .. } => Kind::AuthNeeded,
            Self::Template { .. } | Self::RepeatedPage { .. } | Self::Unreadable { .. } | Self::Paging { .. } => {
                Kind::Failed
            }
            Self::Refused { class, .. } => match class {
                ErrorClass::Auth => Kind::AuthNeeded,
                ErrorClass::RateLimit | ErrorClass::Retry => Kind::Temporary,
                ErrorClass::Permission | ErrorClass::NotFound | ErrorClass::CursorExpired | ErrorClass::Fail => {
                    Kind::Failed
                }
            },
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownAction { .. } => "unknown_action",
            Self::Input { .. } => "invalid_parameters",
            Self::WrongAuth { .. } => "wrong_auth",
            Self::MissingScopes { .. } => "missing_scopes",
            Self::Template { .. } => "missing_value",
            Self::ForeignHost { .. } => "foreign_host",
            Self::Header { .. } => "invalid_header",
            Self::RepeatedPage { .. } => "repeated_page",
            Self::Unreadable { .. } => "malformed_answer",
            Self::Paging { .. } => "malformed_page",
            Self::Refused { class, .. } => match class {
                ErrorClass::Auth => "refused_token",
                ErrorClass::Permission => "permission",
                ErrorClass::RateLimit => "rate_limited",
                ErrorClass::NotFound => "vendor_not_found",
                ErrorClass::CursorExpired => "cursor_expired",
                ErrorClass::Retry => "vendor_unavailable",
                ErrorClass::Fail => "vendor_refused",
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownAction { likely: Some(likely), connector, .. } => {
                Some(format!("did you mean {likely}? `integ connector show {connector}` lists the actions"))
            }
            Self::UnknownAction { connector, .. } => Some(format!("integ connector show {connector}")),
            Self::Input { usage, .. } => Some(usage.clone()),
            Self::WrongAuth { connection, ways, .. } => {
                let way = ways.first().map_or("NAME", String::as_str);
                Some(format!("integ connect {} --as other --auth {way}", connection.connector()))
            }
            Self::MissingScopes { reconnect, .. } => Some(reconnect.clone()),
            Self::Template { connection, .. } => Some(format!("integ connect {connection} --param NAME=VALUE")),
            Self::ForeignHost { connection, .. } => {
                Some(format!("call it with your own client: `integ token {connection}` prints the token"))
            }
            Self::Header { .. } => Some("integ api CONNECTION PATH -H 'Accept: text/plain'".to_owned()),
            Self::Refused { hint, .. } => hint.clone(),
            Self::Unreadable { connection, .. } => {
                Some(format!("it may have been done: look before you repeat it; `integ test {connection}`"))
            }
            Self::RepeatedPage { .. } | Self::Paging { .. } => None,
        }
    }

    fn connection(&self) -> Option<String> {
        self.name().map(ToString::to_string)
    }
}

/// An action of a connector by its name.
///
/// # Errors
/// [`ApiError::UnknownAction`] with the likely one.
pub fn find_action<'c>(connector: &'c Connector, name: &str) -> Result<(&'c str, &'c Action), ApiError> {
    let actions = &connector.actions;
    if let Some((name, action)) = actions.get_key_value(name) {
        return Ok((name, action));
    }
    let likely = near(name, actions.keys().map(String::as_str));
    Err(ApiError::UnknownAction {
        connector: connector.id.clone(),
        action: name.to_owned(),
        likely: likely.map(str::to_owned),
    })
}

/// Whether the connection may do it at all: by its way of authenticating, one of `ways` where any are named, and by the
/// scopes that it was granted.
///
/// # Errors
/// [`ApiError::WrongAuth`], [`ApiError::MissingScopes`].
pub fn check_allowed(session: &Session, name: &str, ways: &[String], needed: &[String]) -> Result<(), ApiError> {
    let connection = &session.connection;
    if !ways.is_empty() && !ways.contains(&connection.auth) {
        return Err(ApiError::WrongAuth {
            connection: connection.name.clone(),
            action: name.to_owned(),
            auth: connection.auth.clone(),
            ways: ways.to_vec(),
        });
    }
    // A key says nothing of its scopes, and neither does every vendor: what is not known is left to the vendor.
    let missing = scopes::missing(&session.connector, needed, connection.scopes_granted.as_deref());
    if missing.is_empty() {
        return Ok(());
    }
    let reconnect = scopes::adding(&crate::oauth::access::reconnect_command(connection), &missing);
    Err(ApiError::MissingScopes {
        connection: connection.name.clone(),
        action: name.to_owned(),
        scopes: missing,
        reconnect,
    })
}

/// An answer that is a refusal, as an error.
pub fn refused(session: &Session, what: &str, class: ErrorClass, answer: &crate::http::Response) -> ApiError {
    let connection = &session.connection;
    let hint = match class {
        ErrorClass::Auth => Some(crate::oauth::access::reconnect_command(connection)),
        ErrorClass::Permission => Some(match needed_scopes(session, answer).as_slice() {
            [] => format!("integ test {}", connection.name),
            needed => scopes::adding(&crate::oauth::access::reconnect_command(connection), needed),
        }),
        ErrorClass::RateLimit | ErrorClass::Retry => Some("try again later".to_owned()),
        ErrorClass::NotFound | ErrorClass::CursorExpired | ErrorClass::Fail => None,
    };
    let what = match class {
        ErrorClass::Auth => format!("the vendor refused the token for {what}"),
        ErrorClass::Permission => format!("the vendor does not allow {what}"),
        ErrorClass::RateLimit => format!("the vendor limits the rate of {what}"),
        ErrorClass::Retry => format!("the vendor is out of order ({}) at {what}", answer.status),
        ErrorClass::NotFound => format!("the vendor does not know what {what} names"),
        ErrorClass::CursorExpired | ErrorClass::Fail => format!("the vendor refused ({}) {what}", answer.status),
    };
    let said = answer.said(&session.connector.api.message);
    ApiError::Refused { connection: connection.name.clone(), what, class, said, hint }
}

/// The scopes that a refusal says are needed, without those that the connection has. An answer may name anything: what would
/// not be one plain word of a command is left out.
fn needed_scopes(session: &Session, answer: &Response) -> Vec<String> {
    if session.auth.oauth2.is_none() {
        return Vec::new();
    }
    let document = session.connector.api.needed_scopes.as_ref().and_then(|place| Some((place, answer.json()?)));
    let named = match document.as_ref().and_then(|(place, document)| place.find(document)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => answer.header("www-authenticate").and_then(challenge_scope).unwrap_or_default().to_owned(),
    };
    let granted = session.connection.scopes_granted.as_deref().unwrap_or_default();
    let named = named.split([',', ' ']).filter(|scope| is_shell_safe(scope));
    named.filter(|scope| !granted.iter().any(|granted| granted == scope)).map(str::to_owned).collect()
}

/// The `scope` of a bearer challenge (RFC 6750 section 3).
fn challenge_scope(challenge: &str) -> Option<&str> {
    let (_, rest) = challenge.split_once("scope=\"")?;
    rest.split_once('"').map(|(scope, _)| scope)
}

/// Whether an answer has to be JSON: where values of it are `expected`, where it says so itself, where it begins so, and
/// where a page for people came in its place. A body that is missing by its status is not one.
pub fn is_meant_as_json(response: &Response, expected: bool) -> bool {
    if matches!(response.status, 204 | 205 | 304) {
        return false;
    }
    let kind = response.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // OpenID Connect lets a service sign what it says of a user (Core 1.0 section 5.3.2).
    if kind == "application/jwt" {
        return false;
    }
    let body = response.body.trim_ascii();
    let begins = matches!(body.first(), Some(b'{' | b'['));
    let named = kind == "application/json" || kind.ends_with("+json") || kind == "text/html";
    expected || (!body.is_empty() && (named || begins))
}

/// The error of an action that the service accepted with an answer that has to be JSON and is not.
pub fn unreadable(done: &Done, action: &str) -> Option<ApiError> {
    let response = &done.answer.response;
    if done.answer.class.is_some() || !is_meant_as_json(response, !done.action.result.is_empty()) {
        return None;
    }
    let source = response.text().and_then(|text| Json::check(&text).map(drop)).err()?;
    let (connection, action) = (done.session.connection.name.clone(), action.to_owned());
    Some(ApiError::Unreadable { connection, action, status: response.status, source })
}

/// What goes wrong between a session and its request.
impl From<(&Session, &str, TemplateError)> for ApiError {
    fn from((session, action, source): (&Session, &str, TemplateError)) -> Self {
        Self::Template { connection: session.connection.name.clone(), action: action.to_owned(), source }
    }
}

impl From<SessionError> for SendError {
    fn from(error: SessionError) -> Self {
        Self::Build(error.into())
    }
}
