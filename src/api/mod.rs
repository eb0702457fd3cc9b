//! Calls to a vendor's API through a connection: an action of the connector's file, or any path.
//!
//! `call` does whole calls: `input` reads and checks what the user gives, `request` and `body` make a request of it, all
//! pure; `send` sends it with a fresh token, again where that is harmless, within the connection's budget. A list is
//! followed by a `pager`: `paging` finds the next page in an answer, and `repeat_detector` notices a list without an end.

mod body;
mod call;
mod effect;
mod input;
mod pager;
mod paging;
mod repeat_detector;
mod request;
mod send;
#[cfg(test)]
mod tests;

use serde_json::Value;
use thiserror::Error;

pub use body::form;
pub use call::{
    ActionCall, CompletedCall, FetchedPage, PageSink, PathCall, call, dry_run, fetch, fetch_page, list, try_call,
    usage_command,
};
pub use effect::{known_effect, method_override, path_effect};
pub use input::{Attachment, Input, Parameters, parse_scalar};
pub use pager::{PagePosition, Pager, apply_page_token};
pub(crate) use paging::records;
pub use paging::{PageContext, PageToken, PagesAhead, PagingError, is_incomplete, max_id, next_page, pages_ahead};
pub use repeat_detector::{PageNovelty, fingerprint, hash_of};
pub use request::{ActionRequest, PathRequest, check_own_host};
pub(crate) use send::classify_response;
pub use send::{ApiResponse, GrantToken, RateLimitError, RetryLimits, SendError, send};

use crate::connector::{Action, Connector, ErrorClass, TemplateError, is_shell_safe, scopes};
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::http::Response;
use crate::json::{Json, JsonError};
use crate::model::{Connection, ConnectionName, connect_command, reconnect_command};
use crate::near::closest;
use crate::runtime::{Session, SessionError};

/// Why an action or an API request cannot be sent, or failed at the vendor.
#[derive(Debug, Error)]
pub enum ApiError {
    #[error("{connector} has no action {action:?}")]
    UnknownAction { connector: String, action: String, suggestion: Option<String> },
    #[error("invalid call of {action}: {}", problems.join("; "))]
    InvalidParameters { connection: ConnectionName, action: String, problems: Vec<String>, usage: String },
    #[error("{action} is not available for {connection}, which is connected by {auth}")]
    WrongAuth { connection: ConnectionName, action: String, auth: String, connect: String },
    #[error("{connection} lacks the scopes that {action} needs: {}", scopes.join(", "))]
    MissingScopes { connection: ConnectionName, action: String, scopes: Vec<String>, reconnect: String },
    #[error("cannot build the request of {action}")]
    Template { connection: ConnectionName, action: String, reconnect: String, source: Box<TemplateError> },
    #[error("{origin} is not a host of {connector}; the credentials of {connection} are not sent there")]
    ForeignHost { connection: ConnectionName, connector: String, origin: String },
    #[error("{what} of {connection}: {}", error_message.as_deref().unwrap_or("no reason given"))]
    Refused {
        connection: ConnectionName,
        what: String,
        class: ErrorClass,
        error_message: Option<String>,
        hint: Option<Box<Hint>>,
    },
    #[error("the service answered {action} with {status}, but its answer cannot be read")]
    MalformedResponse { connection: ConnectionName, action: String, status: u16, source: JsonError },
    #[error("{header:?} is not a header: write it as `Name: value`")]
    InvalidHeader { header: String },
    #[error("{connection} returns the same records again at {at}: it repeats a page or ignores the page number")]
    RepeatedPage { connection: ConnectionName, at: String },
    #[error("cannot find the next page of {what} of {connection}")]
    Paging { connection: ConnectionName, what: String, source: PagingError },
}

impl ApiError {
    fn name(&self) -> Option<&ConnectionName> {
        match self {
            Self::InvalidParameters { connection, .. }
            | Self::WrongAuth { connection, .. }
            | Self::MissingScopes { connection, .. }
            | Self::Template { connection, .. }
            | Self::ForeignHost { connection, .. }
            | Self::Refused { connection, .. }
            | Self::MalformedResponse { connection, .. }
            | Self::Paging { connection, .. }
            | Self::RepeatedPage { connection, .. } => Some(connection),
            Self::UnknownAction { .. } | Self::InvalidHeader { .. } => None,
        }
    }
}

impl Remedy for ApiError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::UnknownAction { connector, suggestion: likely, .. } => {
                let show = format!("integ connector show {connector}");
                Diagnostic::new(Kind::NotFound, "unknown_action").hint(match likely {
                    Some(likely) => Hint::new(format!("did you mean {likely}? list the actions:"), show),
                    None => Hint::run(show),
                })
            }
            Self::InvalidParameters { usage, .. } => Diagnostic::new(Kind::Usage, "invalid_parameters").run(usage),
            Self::WrongAuth { connect, .. } => Diagnostic::new(Kind::Usage, "wrong_auth_method").run(connect),
            Self::MissingScopes { reconnect, .. } => Diagnostic::new(Kind::AuthNeeded, "missing_scopes").run(reconnect),
            Self::Template { reconnect, source, .. } => {
                let is_input = matches!(**source, TemplateError::InvalidPathSegment(_) | TemplateError::LineBreak(_));
                let kind = if is_input { Kind::Usage } else { Kind::Conflict };
                Diagnostic::new(kind, "missing_value").run(format!("{reconnect} --param NAME=VALUE"))
            }
            Self::ForeignHost { connection, .. } => Diagnostic::new(Kind::Usage, "foreign_host")
                .hint(Hint::new("call it with your own client and this token:", format!("integ token {connection}"))),
            Self::InvalidHeader { .. } => {
                Diagnostic::new(Kind::Usage, "invalid_header").run("integ api CONNECTION PATH -H 'Accept: text/plain'")
            }
            Self::RepeatedPage { .. } => Diagnostic::new(Kind::Rejected, "repeated_page"),
            Self::MalformedResponse { connection, .. } => Diagnostic::new(Kind::Rejected, "malformed_response").hint(
                Hint::new("it may have been done, so check before you repeat it;", format!("integ test {connection}")),
            ),
            Self::Paging { .. } => Diagnostic::new(Kind::Rejected, "malformed_page"),
            Self::Refused { class, hint, .. } => match class {
                ErrorClass::Auth => Diagnostic::new(Kind::AuthNeeded, "token_rejected"),
                ErrorClass::Permission => Diagnostic::new(Kind::Rejected, "permission_denied"),
                ErrorClass::RateLimit => Diagnostic::new(Kind::Temporary, "rate_limited"),
                ErrorClass::NotFound => Diagnostic::new(Kind::Rejected, "vendor_not_found"),
                ErrorClass::CursorExpired => Diagnostic::new(Kind::Rejected, "cursor_expired"),
                ErrorClass::Retry => Diagnostic::new(Kind::Temporary, "vendor_unavailable"),
                ErrorClass::Fail => Diagnostic::new(Kind::Rejected, "vendor_error"),
            }
            .maybe_hint(hint.as_deref().cloned()),
        }
        .maybe_connection(self.name())
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
    let likely = closest(name, actions.keys().map(String::as_str));
    Err(ApiError::UnknownAction {
        connector: connector.id.clone(),
        action: name.to_owned(),
        suggestion: likely.map(str::to_owned),
    })
}

/// Returns whether a connection may call an action, by its authentication method and the scopes that it was granted.
pub fn is_allowed(connection: &Connection, connector: &Connector, action: &Action) -> bool {
    let has_auth = action.auth.is_empty() || action.auth.contains(&connection.auth);
    has_auth && scopes::missing(connector, &action.scopes, connection.scopes_granted.as_deref()).is_empty()
}

/// Returns whether the connection may do it: its authentication method must be in `ways` if there are any, and by the
/// scopes that it was granted.
///
/// # Errors
/// [`ApiError::WrongAuth`], [`ApiError::MissingScopes`].
pub fn check_allowed(session: &Session, name: &str, ways: &[String], needed: &[String]) -> Result<(), ApiError> {
    let connection = &session.connection;
    if !ways.is_empty() && !ways.contains(&connection.auth) {
        let connect = ConnectionName::new(connection.name.connector(), Some("other")).map_or_else(
            |_| reconnect_command(&connection.name),
            |other| connect_command(&other, connection.mode, connection.origin.as_ref()),
        );
        return Err(ApiError::WrongAuth {
            connection: connection.name.clone(),
            action: name.to_owned(),
            auth: connection.auth.clone(),
            connect: format!("{connect} --auth {}", ways.first().map_or("NAME", String::as_str)),
        });
    }
    // A key says nothing of its scopes, and neither does every vendor: what is not known is left to the vendor.
    let missing = scopes::missing(&session.connector, needed, connection.scopes_granted.as_deref());
    if missing.is_empty() {
        return Ok(());
    }
    let reconnect = scopes::add_scope_command(&reconnect_command(&connection.name), &missing);
    Err(ApiError::MissingScopes {
        connection: connection.name.clone(),
        action: name.to_owned(),
        scopes: missing,
        reconnect,
    })
}

/// An answer that is a refusal, as an error.
pub fn refusal_error(session: &Session, what: &str, class: ErrorClass, answer: &crate::http::Response) -> ApiError {
    let connection = &session.connection;
    let hint = match class {
        ErrorClass::Auth => Some(Hint::run(reconnect_command(&connection.name))),
        ErrorClass::Permission => Some(Hint::run(match needed_scopes(session, answer).as_slice() {
            [] => format!("integ test {}", connection.name),
            needed => scopes::add_scope_command(&reconnect_command(&connection.name), needed),
        })),
        ErrorClass::RateLimit | ErrorClass::Retry => Some(Hint::text("try again later")),
        ErrorClass::NotFound | ErrorClass::CursorExpired | ErrorClass::Fail => None,
    };
    let what = match class {
        ErrorClass::Auth => format!("the service rejected the token for {what}"),
        ErrorClass::Permission => format!("the service does not allow {what}"),
        ErrorClass::RateLimit => format!("the rate limit was reached by {what}"),
        ErrorClass::Retry => format!("the service answered {} to {what}", answer.status),
        ErrorClass::NotFound => format!("the service answered {} (not found) to {what}", answer.status),
        ErrorClass::CursorExpired | ErrorClass::Fail => match (answer.is_success(), answer.json().is_some()) {
            (true, false) => format!("invalid JSON in the answer to {what}"),
            (true, true) => format!("the service reported an error for {what}"),
            (false, _) => format!("the service answered {} to {what}", answer.status),
        },
    };
    let said = answer.error_message(&session.connector.api.message);
    ApiError::Refused {
        connection: connection.name.clone(),
        what,
        class,
        error_message: said,
        hint: hint.map(Box::new),
    }
}

/// The scopes that a refusal says are needed, without those that the connection has. An answer may name anything: what would
/// not be one plain word of a command is left out.
pub fn needed_scopes(session: &Session, answer: &Response) -> Vec<String> {
    if session.auth.oauth2.is_none() {
        return Vec::new();
    }
    let document = session.connector.api.needed_scopes.as_ref().and_then(|place| Some((place, answer.json()?)));
    let named = match document.as_ref().and_then(|(place, document)| place.find(document)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => {
            let challenge = answer.bearer_challenge();
            challenge.as_ref().and_then(|bearer| bearer.parameter("scope")).unwrap_or_default().to_owned()
        }
    };
    let granted = session.connection.scopes_granted.as_deref().unwrap_or_default();
    let named = named.split([',', ' ']).filter(|scope| is_shell_safe(scope));
    named.filter(|scope| !granted.iter().any(|granted| granted == scope)).map(str::to_owned).collect()
}

/// Whether an answer has to be JSON: where values of it are `expected`, where it says so itself, where it begins so, and
/// where a page for people came in its place. A body that is missing by its status is not one.
pub fn expects_json(response: &Response, expected: bool) -> bool {
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
pub fn malformed_response_error(done: &CompletedCall, action: &str) -> Option<ApiError> {
    let response = &done.response.response;
    if done.response.error_class.is_some() || !expects_json(response, !done.action.result.is_empty()) {
        return None;
    }
    let source = response.text().and_then(|text| Json::validate(&text).map(drop)).err()?;
    let (connection, action) = (done.session.connection.name.clone(), action.to_owned());
    Some(ApiError::MalformedResponse { connection, action, status: response.status, source })
}

/// What goes wrong between a session and its request.
impl From<(&Session, &str, TemplateError)> for ApiError {
    fn from((session, action, source): (&Session, &str, TemplateError)) -> Self {
        let reconnect = reconnect_command(&session.connection.name);
        Self::Template {
            connection: session.connection.name.clone(),
            action: action.to_owned(),
            reconnect,
            source: Box::new(source),
        }
    }
}

impl From<SessionError> for SendError {
    fn from(error: SessionError) -> Self {
        Self::Build(error.into())
    }
}
