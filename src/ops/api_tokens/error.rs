//! Why an operation on API tokens cannot be done.

use std::fmt;

use thiserror::Error;

use crate::duration;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::model::{
    ApiTokenId, ApiTokenName, ExcessRight, MAX_API_TOKEN_LIFETIME, OperatorRole, ScopeGrant, UnknownScope,
};

/// Why an operation on API tokens cannot be done.
#[derive(Debug, Error)]
pub enum ApiTokenError {
    #[error("API token {0:?} not found")]
    NotFound(String),
    #[error("invalid name {0:?}")]
    InvalidName(String),
    #[error("API token \"{0}\" already exists")]
    NameTaken(ApiTokenName),
    #[error("unknown scope {:?}{}", .0.scope, suggested(.0))]
    UnknownScope(UnknownScope),
    #[error("an API token needs a scope")]
    NoScopes,
    #[error("an API token is valid for at most {}", duration::format(MAX_API_TOKEN_LIFETIME))]
    TooLong,
    #[error("invalid time {0:?}")]
    InvalidLifetime(String),
    /// Of a token that another token is to create or to change.
    #[error("the token {id} cannot grant more than it has: {}", ShownRight(.right))]
    ExceedsToken { id: ApiTokenId, right: ExcessRight },
    /// Of a token that an operator is to create, to change or to rotate.
    #[error("the role {role} cannot give {grant}")]
    ExceedsRole { role: OperatorRole, grant: ScopeGrant },
    #[error("only the owner at the machine can set the tier of a token")]
    TierIsLocal,
    #[error("{0} has no connections left that it could use")]
    NoConnections(ApiTokenName),
    #[error("{0} was changed or revoked in the meantime")]
    Conflict(String),
}

fn suggested(unknown: &UnknownScope) -> String {
    unknown.suggestion.as_ref().map(|scope| format!("; did you mean {scope}?")).unwrap_or_default()
}

/// A right in a sentence.
struct ShownRight<'a>(&'a ExcessRight);

impl fmt::Display for ShownRight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ExcessRight::Scope(grant) => write!(f, "the scope {grant}"),
            ExcessRight::Connections => f.write_str("other connections"),
            ExcessRight::Tier(most) => write!(f, "a tier above {most}"),
            ExcessRight::Expiry(most) => write!(f, "an expiry after {most}"),
            ExcessRight::User => f.write_str("another user"),
            ExcessRight::Approval(least) => write!(f, "fewer approvals than of {least}"),
        }
    }
}

impl Remedy for ApiTokenError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NotFound(_) => Diagnostic::new(Kind::NotFound, "api_token_not_found").run("integ api-token list"),
            Self::InvalidName(_) => Diagnostic::new(Kind::Usage, "invalid_name").hint(Hint::text(
                "use 1 to 64 bytes that do not begin with tok_ or -, without control characters and without spaces at either end",
            )),
            Self::NameTaken(_) => Diagnostic::new(Kind::Usage, "name_taken").run("integ api-token list"),
            Self::UnknownScope(_) | Self::NoScopes => {
                Diagnostic::new(Kind::Usage, "unknown_scope").run("integ api-token scopes")
            }
            Self::TooLong | Self::InvalidLifetime(_) => Diagnostic::new(Kind::Usage, "invalid_expiry")
                .hint(Hint::text("give a time such as 90d; a token is renewed by rotating it")),
            Self::ExceedsToken { .. } => Diagnostic::new(Kind::Usage, "exceeds_token")
                .hint(Hint::new("see what the token has; its owner can create another:", "integ api-token list")),
            Self::ExceedsRole { .. } => {
                Diagnostic::new(Kind::Usage, "exceeds_role").hint(Hint::text("leave it out, or run it at the machine"))
            }
            Self::TierIsLocal => {
                Diagnostic::new(Kind::Usage, "owner_only").run("integ api-token update TOKEN --tier pro")
            }
            Self::NoConnections(_) => Diagnostic::new(Kind::Failed, "no_connections").hint(Hint::new(
                "name one:",
                "integ api-token update TOKEN --connection CONNECTION --enable",
            )),
            Self::Conflict(_) => {
                Diagnostic::new(Kind::Temporary, "api_token_changed").run("integ api-token list")
            }
        }
    }
}
