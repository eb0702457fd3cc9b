//! How a connection stands, from what is stored: no request is made.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::duration::show;
use crate::model::{Connection, Expiry, Standing};
use crate::oauth::access::{Want, is_due};

/// What `integ status` says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Active,
    /// The token is inside two minutes of its end, or past it and not yet refused; or the refresh token ends soon.
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
        Standing::Active if expiry.refresh_left(now).is_some_and(|left| left <= 0) => {
            (Status::NeedsReauth, Some(grant_is_over(expiry, now)))
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
        Standing::Active => match ends_soon(expiry, now) {
            Some(left) => {
                (Status::Expiring, Some(format!("the refresh token expires in {}; reconnect before then", about(left))))
            }
            None => (Status::Active, None),
        },
    }
}

fn grant_is_over(expiry: &Expiry, now: Timestamp) -> String {
    let left = expiry.left(now).filter(|left| *left > 0);
    let still = left.map_or_else(String::new, |left| format!("; the access token is good for another {}", about(left)));
    format!("the refresh token has expired{still}")
}

/// Returns the seconds that the refresh token has left, if a person should know by now: a week before its end, or in the
/// last quarter of a shorter life. Servers that give a new one at each refresh never get there while it is used.
fn ends_soon(expiry: &Expiry, now: Timestamp) -> Option<i64> {
    const WEEK_SECS: i64 = 7 * 86_400;
    let notice = expiry.refresh_lifetime().map_or(WEEK_SECS, |lifetime| WEEK_SECS.min(lifetime / 4));
    expiry.refresh_left(now).filter(|left| *left < notice)
}

/// Seconds, in whole days, hours or minutes.
fn about(seconds: i64) -> String {
    let unit = [86_400, 3_600, 60].into_iter().find(|unit| seconds >= *unit).unwrap_or(1);
    show(Duration::from_secs((seconds / unit * unit).unsigned_abs()))
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
            refreshable: true,
            refresh_expires_at: at(refresh),
            presented_at: None,
        };
        let soon = |expiry: Expiry, now| ends_soon(&expiry, at(now).unwrap());
        assert_eq!(soon(expiry(3600, 180 * DAY), 173 * DAY), None);
        assert_eq!(soon(expiry(3600, 180 * DAY), 174 * DAY), Some(6 * DAY));
        assert_eq!(soon(expiry(300, 1800), 1300), None, "a short life that each refresh renews");
        assert_eq!(soon(expiry(300, 1800), 1400), Some(400));
        assert_eq!(soon(Expiry { refresh_expires_at: None, ..expiry(300, 0) }, 1400), None);
        assert_eq!(soon(expiry(300, 1800), -1000), None, "issued under a fast clock");
        assert_eq!((about(6 * DAY + 5), about(7_300), about(59)), ("6d".to_owned(), "2h".to_owned(), "59s".to_owned()));
        let over = |now| grant_is_over(&expiry(3600, 60), at(now).unwrap());
        assert_eq!(over(120), "the refresh token has expired; the access token is good for another 58m");
        assert_eq!(over(3600), "the refresh token has expired");
    }
}
