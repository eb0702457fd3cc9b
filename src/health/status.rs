//! How a connection stands, from what is stored: no request is made.

use crate::clock::Timestamp;
use crate::connection::{Connection, Standing};
use crate::oauth::access::{Want, is_due};

/// What `integ status` says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Active,
    /// Inside two minutes of its end, or past it and not yet refused.
    Expiring,
    /// Only a person can mend it.
    NeedsReauth,
    /// The last check or refresh failed for another reason.
    Error,
    /// Revoked or forgotten at the vendor, kept here.
    Disconnected,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expiring => "expiring",
            Self::NeedsReauth => "needs_reauth",
            Self::Error => "error",
            Self::Disconnected => "disconnected",
        }
    }

    /// Whether `status --check` counts it as well. A token that is about to be refreshed is.
    pub fn is_healthy(self) -> bool {
        matches!(self, Self::Active | Self::Expiring)
    }
}

/// How many there are of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub total: usize,
    pub active: usize,
    pub expiring: usize,
    pub needs_reauth: usize,
    pub error: usize,
    pub disconnected: usize,
}

impl Summary {
    pub fn count(&mut self, status: Status) {
        self.total += 1;
        *match status {
            Status::Active => &mut self.active,
            Status::Expiring => &mut self.expiring,
            Status::NeedsReauth => &mut self.needs_reauth,
            Status::Error => &mut self.error,
            Status::Disconnected => &mut self.disconnected,
        } += 1;
    }

    /// Whether all that is wrong is that a person must connect again.
    pub fn needs_only_people(&self) -> bool {
        self.error == 0 && self.needs_reauth + self.disconnected > 0
    }

    pub fn is_healthy(&self) -> bool {
        self.error + self.needs_reauth + self.disconnected == 0
    }
}

/// The status and why it is not `active`. Pure.
pub fn status_of(connection: &Connection, now: Timestamp) -> (Status, Option<String>) {
    let expiry = &connection.expiry;
    let expired = expiry.left(now).is_some_and(|left| left <= 0);
    match connection.standing {
        Standing::NeedsReauth => (Status::NeedsReauth, connection.reason.clone()),
        Standing::Disconnected => (Status::Disconnected, connection.reason.clone()),
        Standing::Active if expired && !expiry.refreshable => {
            (Status::NeedsReauth, Some("the token has expired and cannot be refreshed".to_owned()))
        }
        Standing::Active if connection.error_count > 0 => (Status::Error, connection.last_error.clone()),
        Standing::Active if expiry.presented_at.is_some() => {
            (Status::Expiring, Some("a refresh was started and its answer is not stored".to_owned()))
        }
        Standing::Active if is_due(expiry, Want::Usable, 1, now) => {
            let reason = if expired {
                "the token has expired; its next use refreshes it"
            } else {
                "the token is about to expire"
            };
            (Status::Expiring, Some(reason.to_owned()))
        }
        Standing::Active => (Status::Active, None),
    }
}
