//! Errors of getting a token: the grant is refused, disconnected, expired, or being refreshed by another process.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::duration::show;
use crate::error::{Kind, Remedy};
use crate::files;
use crate::model::ConnectionName;
use crate::oauth::{OAuthError, Offers};

#[derive(Debug, Error)]
pub enum AccessError {
    #[error("{connection} must be connected again: {reason}")]
    NeedsReauth { connection: ConnectionName, reason: String, reconnect: String },
    #[error("{connection} is disconnected")]
    Disconnected { connection: ConnectionName, reconnect: String },
    #[error("the token of {connection} has expired and cannot be refreshed")]
    Expired { connection: ConnectionName, reconnect: String },
    #[error("{connection} cannot be refreshed: {}", if *.is_key { "a key stays as it is" } else { "it holds no refresh token" })]
    NotRefreshable { connection: ConnectionName, is_key: bool, reconnect: String },
    #[error(
        "{} of {connection} {} {}, less than the {} that were asked for",
        if *.refreshable { "the tokens" } else { "the token" },
        if *.refreshable { "last" } else { "lasts another" },
        show(*.lasts),
        show(*.wanted)
    )]
    ShortLived { connection: ConnectionName, lasts: Duration, wanted: Duration, refreshable: bool, reconnect: String },
    #[error("{connection} could not be refreshed")]
    Refresh { connection: ConnectionName, reconnect: String, source: Box<OAuthError> },
    #[error("another process has been refreshing {connection} for over {} s", after.as_secs())]
    Held { connection: ConnectionName, after: Duration, path: PathBuf },
    #[error(
        "{connection} {} {}",
        if files::is_read_only(source) { "must be refreshed, and integ cannot write" } else { "could not be locked at" },
        path.display()
    )]
    Lock { connection: ConnectionName, path: PathBuf, source: std::io::Error },
    #[error("interrupted; the refresh of {connection} was finished first")]
    Interrupted { connection: ConnectionName },
}

impl AccessError {
    fn name(&self) -> &ConnectionName {
        match self {
            Self::NeedsReauth { connection, .. }
            | Self::Disconnected { connection, .. }
            | Self::Expired { connection, .. }
            | Self::NotRefreshable { connection, .. }
            | Self::ShortLived { connection, .. }
            | Self::Refresh { connection, .. }
            | Self::Held { connection, .. }
            | Self::Lock { connection, .. }
            | Self::Interrupted { connection } => connection,
        }
    }
}

impl Remedy for AccessError {
    fn kind(&self) -> Kind {
        match self {
            Self::NeedsReauth { .. } | Self::Disconnected { .. } | Self::Expired { .. } => Kind::AuthNeeded,
            Self::Refresh { source, .. } => source.kind(),
            Self::Held { .. } | Self::ShortLived { .. } => Kind::Temporary,
            Self::Lock { .. } | Self::NotRefreshable { .. } => Kind::Failed,
            Self::Interrupted { .. } => Kind::Interrupted,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NeedsReauth { .. } => "needs_reauth",
            Self::Disconnected { .. } => "disconnected",
            Self::Expired { .. } => "expired",
            Self::NotRefreshable { .. } => "not_refreshable",
            Self::ShortLived { .. } => "short_lived",
            Self::Refresh { source, .. } => source.code(),
            Self::Held { .. } => "locked_by_another",
            Self::Lock { source, .. } if files::is_read_only(source) => "read_only",
            Self::Lock { .. } => "io",
            Self::Interrupted { .. } => "interrupted",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NeedsReauth { reconnect, .. }
            | Self::Disconnected { reconnect, .. }
            | Self::Expired { reconnect, .. } => Some(reconnect.clone()),
            // A key is looked after at the vendor; a token without a refresh token is replaced by a new one.
            Self::NotRefreshable { connection, is_key: true, .. } => Some(format!("integ test {connection}")),
            Self::NotRefreshable { reconnect, .. } => Some(reconnect.clone()),
            Self::Refresh { connection, reconnect, source } => {
                source.hint_for(connection.connector(), reconnect, &Offers::default())
            }
            Self::Held { path, .. } => Some(format!("find the process that holds it: `fuser {}`", path.display())),
            Self::ShortLived { connection, lasts, refreshable: true, .. } => {
                Some(format!("integ token {connection} --min-ttl {}", show(*lasts)))
            }
            Self::ShortLived { reconnect, .. } => Some(reconnect.clone()),
            Self::Lock { connection, source, .. } if files::is_read_only(source) => {
                Some(format!("refresh it where its folder can be written: `integ refresh {connection}`"))
            }
            Self::Lock { .. } | Self::Interrupted { .. } => None,
        }
    }

    fn connection(&self) -> Option<String> {
        Some(self.name().to_string())
    }
}
