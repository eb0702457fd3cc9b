//! Errors of getting a token: the grant was rejected, disconnected, has expired, or is being refreshed by another
//! process.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::duration::{format, format_rounded};
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::model::ConnectionName;
use crate::oauth::{AuthCapabilities, OAuthError};
use crate::store::StoreError;

/// An error of getting or refreshing an access token. `reconnect` is the command that connects the account again.
#[derive(Debug, Error)]
pub enum AccessTokenError {
    #[error("{connection} needs to be reconnected: {reason}")]
    NeedsReauth { connection: ConnectionName, reason: String, reconnect: String },
    #[error("{connection} is disconnected")]
    Disconnected { connection: ConnectionName, reconnect: String },
    #[error("the token of {connection} has expired and cannot be refreshed")]
    Expired { connection: ConnectionName, reconnect: String },
    #[error("{connection} cannot be refreshed: {}", if *.is_key { "it uses a key, which is not refreshed" } else { "it has no refresh token" })]
    NotRefreshable { connection: ConnectionName, is_key: bool, reconnect: String },
    #[error(
        "{} of {connection} {} {}, less than the requested {}",
        if *.refreshable { "the tokens" } else { "the token" },
        if *.refreshable { "last" } else { "lasts another" },
        format_rounded(*.lifetime),
        format(*.min_ttl)
    )]
    LifetimeTooShort {
        connection: ConnectionName,
        lifetime: Duration,
        min_ttl: Duration,
        refreshable: bool,
        reconnect: String,
    },
    #[error("cannot refresh {connection}")]
    RefreshFailed { connection: ConnectionName, reconnect: String, source: Box<OAuthError> },
    #[error("another process has been refreshing {connection} for over {} s", timeout.as_secs())]
    LockTimeout {
        connection: ConnectionName,
        timeout: Duration,
        /// The lock's file, if the store is one.
        path: Option<PathBuf>,
    },
    #[error(
        "{connection} {}",
        if is_read_only(source) { "must be refreshed, and integ cannot write to its folder" } else { "could not be locked" }
    )]
    Lock { connection: ConnectionName, source: StoreError },
    #[error("interrupted; the refresh of {connection} was finished first")]
    Interrupted { connection: ConnectionName },
}

/// Whether the store's folder cannot be written, as in a container with a read-only home.
fn is_read_only(error: &StoreError) -> bool {
    error.diagnostic().code == "read_only"
}

impl AccessTokenError {
    fn name(&self) -> &ConnectionName {
        match self {
            Self::NeedsReauth { connection, .. }
            | Self::Disconnected { connection, .. }
            | Self::Expired { connection, .. }
            | Self::NotRefreshable { connection, .. }
            | Self::LifetimeTooShort { connection, .. }
            | Self::RefreshFailed { connection, .. }
            | Self::LockTimeout { connection, .. }
            | Self::Lock { connection, .. }
            | Self::Interrupted { connection } => connection,
        }
    }
}

impl Remedy for AccessTokenError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NeedsReauth { reconnect, .. } => Diagnostic::new(Kind::AuthNeeded, "needs_reauth").run(reconnect),
            Self::Disconnected { reconnect, .. } => Diagnostic::new(Kind::AuthNeeded, "disconnected").run(reconnect),
            Self::Expired { reconnect, .. } => Diagnostic::new(Kind::AuthNeeded, "expired").run(reconnect),
            // A key is looked after at the vendor; a token without a refresh token is replaced by a new one.
            Self::NotRefreshable { connection, is_key: true, .. } => {
                Diagnostic::new(Kind::Conflict, "not_refreshable").run(format!("integ test {connection}"))
            }
            Self::NotRefreshable { reconnect, .. } => Diagnostic::new(Kind::Conflict, "not_refreshable").run(reconnect),
            Self::RefreshFailed { connection, reconnect, source } => {
                source.diagnostic_for(connection.connector(), reconnect, &AuthCapabilities::default())
            }
            Self::LockTimeout { path: Some(path), .. } => Diagnostic::new(Kind::Temporary, "grant_locked")
                .hint(Hint::new("find the process that holds it:", format!("fuser {}", path.display()))),
            // On whichever machine it runs.
            Self::LockTimeout { connection, path: None, .. } => Diagnostic::new(Kind::Temporary, "grant_locked").hint(
                Hint::new("if it was killed, its lock ends within a minute:", format!("integ refresh {connection}")),
            ),
            Self::LifetimeTooShort { connection, lifetime: lasts, refreshable: true, .. } => {
                Diagnostic::new(Kind::Conflict, "lifetime_too_short")
                    .run(format!("integ token {connection} --min-ttl {}", format(*lasts)))
            }
            Self::LifetimeTooShort { reconnect, .. } => {
                Diagnostic::new(Kind::AuthNeeded, "lifetime_too_short").run(reconnect)
            }
            Self::Lock { connection, source, .. } if is_read_only(source) => Diagnostic::new(Kind::Failed, "read_only")
                .hint(Hint::new("refresh it where its folder can be written:", format!("integ refresh {connection}"))),
            Self::Lock { source, .. } => source.diagnostic(),
            Self::Interrupted { .. } => Diagnostic::new(Kind::Interrupted, "interrupted"),
        }
        .connection(self.name())
    }
}
