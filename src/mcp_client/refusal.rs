//! Interprets a server's rejection for the user.

use crate::api;
use crate::connector::{ErrorClass, scopes};
use crate::http::Response;
use crate::model::reconnect_command;
use crate::runtime::Session;

/// What is to blame for a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// The server says that the token is invalid.
    Token,
    /// The server is busy or out of order: the same request may work later.
    Temporary,
    /// Anything else.
    Other,
}

/// A refusal in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub cause: RefusalCause,
    pub message: String,
    /// The command that may help.
    pub command: Option<String>,
}

/// Describes a refusal of this class. Only `invalid_token` says that the grant is to blame: servers and their proxies answer
/// 401 for other reasons too, and a token that was refreshed a moment ago is hardly one of them.
pub fn describe_refusal(session: &Session, response: &Response, class: Option<ErrorClass>) -> Refusal {
    let name = &session.connection.name;
    let challenge = response.bearer_challenge();
    let code = challenge.as_ref().and_then(|challenge| challenge.parameter("error"));
    let reason = challenge.as_ref().and_then(|challenge| challenge.parameter("error_description"));
    let reason = reason.map(str::to_owned).or_else(|| response.error_message(&session.connector.api.message));
    let reason = reason.map(|text| format!(": {}", text.chars().take(200).collect::<String>())).unwrap_or_default();
    let other = |message, command| Refusal { cause: RefusalCause::Other, message, command };
    let temporary = |message| Refusal { cause: RefusalCause::Temporary, message, command: None };
    match class {
        Some(ErrorClass::Auth) if code == Some("invalid_token") => Refusal {
            cause: RefusalCause::Token,
            message: format!("the server refused the token{reason}"),
            command: Some(reconnect_command(name)),
        },
        Some(ErrorClass::Auth) => other(
            format!("the server answered 401 and does not say that the token is invalid{reason}"),
            Some(reconnect_command(name)),
        ),
        Some(ErrorClass::Permission) => {
            let needed = api::needed_scopes(session, response);
            if needed.is_empty() {
                other(format!("the server does not allow the request{reason}"), None)
            } else {
                let command = scopes::add_scope_command(&reconnect_command(name), &needed);
                other(format!("the token lacks the scopes {}", needed.join(", ")), Some(command))
            }
        }
        Some(ErrorClass::RateLimit) => temporary(format!("rate limited (status {})", response.status)),
        Some(ErrorClass::Retry) => temporary(format!("the server answered {}", response.status)),
        _ => other(format!("the server answered {}{reason}", response.status), None),
    }
}
