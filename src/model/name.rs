//! The names of connections and workspaces.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};

/// `slack`, or `slack@work` for a named account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionName {
    connector: String,
    account: Option<String>,
}

/// A text that is not a valid name of a connection or a workspace.
#[derive(Debug, Error)]
pub enum NameError {
    #[error("invalid connection name {0:?}")]
    Connection(String),
    #[error("invalid workspace name {0:?}")]
    Workspace(String),
}

impl Remedy for NameError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "invalid_name").hint(match self {
            Self::Connection(_) => Hint::new(
                "write CONNECTOR or CONNECTOR@ACCOUNT in letters, digits, '.', '_' and '-', as listed by",
                "integ status",
            ),
            Self::Workspace(_) => Hint::new(
                "use up to 64 lower-case letters, digits, '_' and '-'; list the workspaces:",
                "integ workspace list",
            ),
        })
    }
}

impl ConnectionName {
    /// Creates a name from a connector's id and an account; [`NameError::Connection`] if either is empty, longer than
    /// 128 bytes or has characters that names may not have.
    pub fn new(connector: &str, account: Option<&str>) -> Result<Self, NameError> {
        let name = Self { connector: connector.to_owned(), account: account.map(str::to_owned) };
        let plain = |part: &str, more: &str| {
            !part.is_empty()
                && part.len() <= 128
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let valid = plain(connector, "-") && account.is_none_or(|account| plain(account, "._-+@"));
        if valid { Ok(name) } else { Err(NameError::Connection(name.to_string())) }
    }

    /// Returns the connector's id: `slack` of `slack@work`.
    pub fn connector(&self) -> &str {
        &self.connector
    }

    /// Returns the account: `work` of `slack@work`; None for a name without one.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }
}

impl FromStr for ConnectionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('@') {
            Some((connector, account)) => Self::new(connector, Some(account)),
            None => Self::new(text, None),
        }
    }
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.account {
            Some(account) => write!(f, "{}@{account}", self.connector),
            None => f.write_str(&self.connector),
        }
    }
}

/// The name of a workspace, which is also the name of its folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkspaceName(String);

impl WorkspaceName {
    /// Returns the name: 1 to 64 lower-case ASCII letters, digits, `-` and `_`, a letter or digit first.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for WorkspaceName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for WorkspaceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let valid = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
        if valid { Ok(Self(text.to_owned())) } else { Err(NameError::Workspace(text.to_owned())) }
    }
}

impl fmt::Display for WorkspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
