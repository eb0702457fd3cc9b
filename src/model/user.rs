//! The caller's own end users.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};

/// The longest id, in characters.
const MAX_USER_ID_CHARS: usize = 256;

/// The id of one of the caller's own end users. integ stores it and compares it, and knows nothing else of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

/// How much of a workspace is one user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCounts {
    pub user: UserId,
    pub connections: u64,
    pub links: u64,
    /// Consents, revoked ones included.
    pub consents: u64,
}

/// A text that cannot be the id of a user.
#[derive(Debug, Error)]
#[error("invalid user id {0:?}")]
pub struct UserIdError(String);

impl Remedy for UserIdError {
    fn diagnostic(&self) -> Diagnostic {
        let rule =
            format!("use 1 to {MAX_USER_ID_CHARS} characters without spaces at either end or control characters");
        Diagnostic::new(Kind::Usage, "invalid_user").hint(Hint::text(rule))
    }
}

impl UserId {
    /// Returns the id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = UserIdError;

    fn from_str(text: &str) -> Result<Self, UserIdError> {
        if super::link::is_id(text, MAX_USER_ID_CHARS) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UserIdError(text.to_owned()))
        }
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_any_visible_id() {
        for id in ["u_17", "3f2b-…", "a b", "acme/7"] {
            assert_eq!(id.parse::<UserId>().unwrap().as_str(), id);
        }
        for id in ["", " a", "a ", "a\nb", "a\u{1b}[2J"] {
            assert!(id.parse::<UserId>().is_err(), "{id:?}");
        }
        assert!("x".repeat(MAX_USER_ID_CHARS).parse::<UserId>().is_ok());
        assert!("x".repeat(MAX_USER_ID_CHARS + 1).parse::<UserId>().is_err());
    }
}
