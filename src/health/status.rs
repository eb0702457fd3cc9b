//! Computes the status of a connection from stored data, without a request.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::duration::format;
use crate::model::{Connection, Expiry, GrantStatus, words};
use crate::oauth::refresh::{Freshness, is_refresh_due};

/// The status of a connection, as `integ status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionStatus {
    Active,
    /// The token is inside two minutes of its end, or past it and not yet refused; or the refresh token ends soon.
    Expiring,
    /// Only a person can make it work again, by reconnecting.
    NeedsReauth,
    /// The last check or refresh failed for another reason.
    Error,
    /// Its grant was revoked; the connection is still stored.
    Disconnected,
}

words!(ConnectionStatus {
    Active => "active",
    Expiring => "expiring",
    NeedsReauth => "needs_reauth",
    Error => "error",
    Disconnected => "disconnected",
});

impl ConnectionStatus {
    /// Whether `status --check` counts it as well. A token that is about to be refreshed is.
    pub fn is_healthy(self) -> bool {
        matches!(self, Self::Active | Self::Expiring)
    }

    /// Whether only a person can make it work again: `integ reconnect --all` signs in for these.
    pub fn needs_person(self) -> bool {
        matches!(self, Self::NeedsReauth | Self::Disconnected)
    }
}

/// How many connections have each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
pub struct StatusSummary {
    pub total: usize,
    pub active: usize,
    pub expiring: usize,
    pub needs_reauth: usize,
    pub error: usize,
    pub disconnected: usize,
}

impl StatusSummary {
    /// Counts one more connection with this status.
    pub fn add(&mut self, status: ConnectionStatus) {
        self.total += 1;
        *match status {
            ConnectionStatus::Active => &mut self.active,
            ConnectionStatus::Expiring => &mut self.expiring,
            ConnectionStatus::NeedsReauth => &mut self.needs_reauth,
            ConnectionStatus::Error => &mut self.error,
            ConnectionStatus::Disconnected => &mut self.disconnected,
        } += 1;
    }

    /// Whether all that is wrong is that a person must connect again.
    pub fn needs_only_reauth(&self) -> bool {
        self.error == 0 && self.needs_reauth + self.disconnected > 0
    }

    /// Whether every connection is active or expiring; true if there are none.
    pub fn is_healthy(&self) -> bool {
        self.error + self.needs_reauth + self.disconnected == 0
    }
}

/// The status and why it is not `active`. Pure.
pub fn status_of(connection: &Connection, now: Timestamp) -> (ConnectionStatus, Option<String>) {
    let expiry = &connection.expiry;
    let expired = expiry.remaining_secs(now).is_some_and(|left| left <= 0);
    match connection.grant_status {
        GrantStatus::NeedsReauth => (ConnectionStatus::NeedsReauth, connection.status_reason.clone()),
        GrantStatus::Disconnected => (ConnectionStatus::Disconnected, connection.status_reason.clone()),
        GrantStatus::Active if expired && !expiry.is_refreshable => {
            (ConnectionStatus::NeedsReauth, Some("the token has expired and cannot be refreshed".to_owned()))
        }
        GrantStatus::Active if expiry.refresh_remaining_secs(now).is_some_and(|left| left <= 0) => {
            (ConnectionStatus::NeedsReauth, Some(grant_expired_reason(expiry, now)))
        }
        GrantStatus::Active if connection.error_count > 0 => (ConnectionStatus::Error, connection.last_error.clone()),
        GrantStatus::Active if expiry.refresh_started_at.is_some() => {
            (ConnectionStatus::Expiring, Some("a refresh was started and its answer is not stored".to_owned()))
        }
        GrantStatus::Active if is_refresh_due(expiry, Freshness::Usable, 1, now) => {
            let reason = if expired {
                "the token has expired; its next use refreshes it"
            } else {
                "the token is about to expire"
            };
            (ConnectionStatus::Expiring, Some(reason.to_owned()))
        }
        GrantStatus::Active => match expiring_in(expiry, now) {
            Some(left) => (
                ConnectionStatus::Expiring,
                Some(format!("the refresh token expires in {}; reconnect before then", approximate_duration(left))),
            ),
            None => (ConnectionStatus::Active, None),
        },
    }
}

fn grant_expired_reason(expiry: &Expiry, now: Timestamp) -> String {
    let left = expiry.remaining_secs(now).filter(|left| *left > 0);
    let still = left.map_or_else(String::new, |left| {
        format!("; the access token is good for another {}", approximate_duration(left))
    });
    format!("the refresh token has expired{still}")
}

/// Returns the seconds that the refresh token has left, if a person should know by now: a week before its end, or in the
/// last quarter of a shorter life. Servers that give a new one at each refresh never get there while it is used.
fn expiring_in(expiry: &Expiry, now: Timestamp) -> Option<i64> {
    const WEEK_SECS: i64 = 7 * 86_400;
    let notice = expiry.refresh_lifetime().map_or(WEEK_SECS, |lifetime| WEEK_SECS.min(lifetime / 4));
    expiry.refresh_remaining_secs(now).filter(|left| *left < notice)
}

/// Seconds, in whole days, hours or minutes.
fn approximate_duration(seconds: i64) -> String {
    let unit = [86_400, 3_600, 60].into_iter().find(|unit| seconds >= *unit).unwrap_or(1);
    format(Duration::from_secs((seconds / unit * unit).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_29_the_end_of_a_grant_is_shown_before_it_comes() {
        const DAY: i64 = 86_400;
        let at = |seconds| Timestamp::from_second(1_000_000 + seconds).ok();
        let expiry = |token: i64, refresh: i64| Expiry {
            issued_at: at(0),
            expires_at: at(token),
            is_refreshable: true,
            refresh_expires_at: at(refresh),
            refresh_started_at: None,
        };
        let soon = |expiry: Expiry, now| expiring_in(&expiry, at(now).unwrap());
        assert_eq!(soon(expiry(3600, 180 * DAY), 173 * DAY), None);
        assert_eq!(soon(expiry(3600, 180 * DAY), 174 * DAY), Some(6 * DAY));
        assert_eq!(soon(expiry(300, 1800), 1300), None, "a short life that each refresh renews");
        assert_eq!(soon(expiry(300, 1800), 1400), Some(400));
        assert_eq!(soon(Expiry { refresh_expires_at: None, ..expiry(300, 0) }, 1400), None);
        assert_eq!(soon(expiry(300, 1800), -1000), None, "issued under a fast clock");
        assert_eq!(
            (approximate_duration(6 * DAY + 5), approximate_duration(7_300), approximate_duration(59)),
            ("6d".to_owned(), "2h".to_owned(), "59s".to_owned())
        );
        let over = |now| grant_expired_reason(&expiry(3600, 60), at(now).unwrap());
        assert_eq!(over(120), "the refresh token has expired; the access token is good for another 58m");
        assert_eq!(over(3600), "the refresh token has expired");
    }
}
