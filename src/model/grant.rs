//! Grants: the secrets of a connection, and their lifetime.

use std::collections::BTreeMap;

use super::words::words;
use crate::clock::{CLOCK_TOLERANCE, Timestamp};
use crate::secret::Secret;

/// What is known of a grant's life without reading its secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    /// By the clock of this machine as it was then.
    pub issued_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub is_refreshable: bool,
    /// When the refresh token ends, if the vendor says so.
    pub refresh_expires_at: Option<Timestamp>,
    /// When the grant was last presented for a refresh whose answer was never stored.
    pub refresh_started_at: Option<Timestamp>,
}

impl Expiry {
    /// No vendor is believed that a token which can be refreshed lives longer: where that was a slip, the token would
    /// never be refreshed again.
    const LONGEST_LIFETIME_SECS: i64 = 366 * 86_400;

    /// Seconds that the access token was issued for.
    pub fn lifetime_secs(&self) -> Option<u32> {
        let seconds = self.expires_at?.as_second() - self.issued_at?.as_second();
        u32::try_from(seconds).ok()
    }

    /// Returns the seconds that the refresh token has left, negative once it has expired; absent if no end is known.
    ///
    /// The end of one that was issued under a fast clock says nothing.
    pub fn refresh_remaining_secs(&self, now: Timestamp) -> Option<i64> {
        let end = self.refresh_expires_at?.as_second();
        let issued_at = self.issued_at.map_or(i64::MIN, Timestamp::as_second);
        let tolerance = i64::try_from(CLOCK_TOLERANCE.as_secs()).unwrap_or_default();
        (issued_at <= now.as_second() + tolerance).then_some(end - now.as_second())
    }

    /// Returns the seconds that the refresh token was issued for.
    pub fn refresh_lifetime(&self) -> Option<i64> {
        Some(self.refresh_expires_at?.as_second() - self.issued_at?.as_second())
    }

    /// Seconds for which the access token can be relied on, negative once it has expired; absent where it has no known end.
    ///
    /// Nothing is left of a token that was issued in the future: the clock was fast then, and nobody can say when the
    /// token really ends. Its stored end alone would keep it in use for years.
    pub fn remaining_secs(&self, now: Timestamp) -> Option<i64> {
        let mut end = self.expires_at?.as_second();
        if let Some(issued_at) = self.issued_at {
            // Of a short life, a tolerance of a minute would be most.
            let quarter = i64::from(self.lifetime_secs().unwrap_or_default() / 4);
            let tolerance = quarter.min(i64::try_from(CLOCK_TOLERANCE.as_secs()).unwrap_or_default());
            if issued_at.as_second() > now.as_second() + tolerance {
                return Some(0);
            }
            if self.is_refreshable {
                end = end.min(issued_at.as_second() + Self::LONGEST_LIFETIME_SECS);
            }
        }
        Some(end - now.as_second())
    }
}

/// The OAuth client that a grant was issued to; a refresh token works for no other.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    pub id: String,
    pub secret: Option<Secret>,
}

/// The secrets of a connection: an OAuth token set, or the fields of an API key.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What `integ token` prints.
    pub access_token: Secret,
    pub refresh_token: Option<Secret>,
    /// Further secrets of the connection by the name that templates use: `user_token`, `account_sid`.
    pub fields: BTreeMap<String, Secret>,
    pub client: Option<ClientCredentials>,
    pub issued_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    /// How a new access token is had without a person.
    pub refresh_method: RefreshMethod,
}

/// How a new access token is had without a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshMethod {
    /// Not at all: a key, or an OAuth answer without a refresh token.
    None,
    /// By a refresh token, which one use may use up.
    RefreshToken,
    /// By a refresh token that was seen to outlive a refresh: the server does not rotate.
    ReusableRefreshToken,
    ClientCredentials,
    /// By presenting a key of the user's again: a signed assertion, or the vendor's own request. Nothing is used up.
    Key,
}

words!(RefreshMethod {
    None => "none",
    RefreshToken => "refresh_token",
    ReusableRefreshToken => "reusable_refresh_token",
    ClientCredentials => "client_credentials",
    Key => "key",
});

impl RefreshMethod {
    /// Whether the access token is refreshed with a refresh token.
    pub fn has_refresh_token(self) -> bool {
        matches!(self, Self::RefreshToken | Self::ReusableRefreshToken)
    }
}

impl Grant {
    /// Seconds the access token was issued for.
    pub fn lifetime(&self) -> Option<u32> {
        let seconds = self.expires_at?.as_second() - self.issued_at.as_second();
        u32::try_from(seconds).ok()
    }

    /// Whether integ can get a new access token without a person.
    pub fn is_refreshable(&self) -> bool {
        self.refresh_method != RefreshMethod::None
    }
}

/// Where the secrets of a connection are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretStorage {
    Store,
    Keyring,
}

/// That a grant was shown to the vendor, and no answer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshAttempt {
    pub at: Timestamp,
}

/// Whether a write that names the generation it replaces was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum GrantWriteResult {
    /// The grant now has this generation.
    Done { generation: u64 },
    /// Another grant has taken its place; nothing was written.
    Superseded,
}

/// A grant as the store has it.
#[derive(Clone, Debug)]
pub struct StoredGrant {
    pub generation: u64,
    pub refresh_attempt: Option<RefreshAttempt>,
    /// It came from a backup, and a refresh since then may have used it up.
    pub is_from_backup: bool,
    /// Where it belongs. It may yet be in the store: see `grant`.
    pub storage: SecretStorage,
    /// All of it, where its secrets are in the store.
    pub grant: Option<Grant>,
    /// What is not secret of it, to make it whole with what an entry of the OS keyring holds.
    pub metadata: GrantMetadata,
}

/// What is not secret of a grant.
#[derive(Clone, Debug)]
pub struct GrantMetadata {
    pub client_id: Option<String>,
    pub issued_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub refresh_expires_at: Option<Timestamp>,
    pub refresh_method: RefreshMethod,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn expiry(issued_at: i64, lifetime: i64) -> Expiry {
        let (issued_at, expires_at) = (Some(at(issued_at)), Some(at(issued_at + lifetime)));
        Expiry { issued_at, expires_at, is_refreshable: true, ..Expiry::default() }
    }

    #[test]
    fn nothing_is_left_of_a_token_from_the_future_and_ten_years_are_one() {
        const YEAR: i64 = 365 * 86_400;
        let now = at(1_000_000);
        assert_eq!(expiry(1_000_000, 3600).remaining_secs(now), Some(3600));
        assert_eq!(expiry(1_000_060, 3600).remaining_secs(now), Some(3660), "clocks are corrected by seconds");
        assert_eq!(expiry(1_000_061, 3600).remaining_secs(now), Some(0));
        assert_eq!(expiry(1_000_000 + 10 * YEAR, 3600).remaining_secs(now), Some(0));
        assert_eq!(expiry(1_000_000 + 10 * YEAR, -5).remaining_secs(now), Some(0));
        assert_eq!(expiry(1_000_020, 60).remaining_secs(now), Some(0), "a third of its life");
        assert_eq!(expiry(900_000, 3600).remaining_secs(now), Some(-96_400));
        assert_eq!(expiry(1_000_000, 10 * YEAR).remaining_secs(now), Some(366 * 86_400));
        let key = Expiry { is_refreshable: false, ..expiry(1_000_000, 10 * YEAR) };
        assert_eq!(key.remaining_secs(now), Some(10 * YEAR), "nothing better can be had");
        assert_eq!(Expiry { expires_at: None, ..expiry(1_000_000, 60) }.remaining_secs(now), None);
    }
}
