//! Sign-ins that one process begins and another may finish.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::connect_link::ConnectLinkId;
use super::name::ConnectionName;
use super::random_id::random_id;
use super::user::UserId;
use super::words::words;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// How long a person may take to consent.
pub const SIGN_IN_LIFETIME: Duration = Duration::from_secs(600);

/// How long the result of a sign-in is stored.
pub const RESULT_RETENTION: Duration = Duration::from_secs(3600);

/// How long the exchange of a code may take. A process that has not stored a result by then was killed.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(120);

random_id! {
    /// The id of a sign-in: `sgn_` and 128 random bits in hexadecimal.
    SignInId, "sgn_", 16, "a sign-in"
}

/// How far a sign-in is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInStatus {
    /// Waits for the person.
    Pending,
    /// The person has consented; the code is being exchanged. It cannot be used again.
    Finishing,
    Done,
    Failed,
    /// Nobody consented in time.
    Expired,
}

words!(SignInStatus {
    Pending => "pending",
    Finishing => "finishing",
    Done => "done",
    Failed => "failed",
    Expired => "expired",
});

/// How a sign-in ended. Written as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInResult {
    Connected(ConnectedAccount),
    Failed(SignInFailure),
}

/// What a sign-in has connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedAccount {
    /// The connection's name, which may differ from the one that was asked for.
    pub connection: String,
    pub missing_scopes: Vec<String>,
    pub warnings: Vec<String>,
}

/// Why a sign-in has connected nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInFailure {
    /// The stable code of the error: `access_denied`, `account_mismatch`.
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
    /// The value that is missing or wrong.
    pub field: Option<String>,
    /// What it may be.
    pub choices: Vec<String>,
}

impl SignInFailure {
    /// The failure of a sign-in whose process ended between using up its state and storing the result.
    pub fn interrupted() -> Self {
        Self {
            code: "sign_in_interrupted".to_owned(),
            message: "the process that finished the sign-in ended before it stored a result".to_owned(),
            hint: Some("check whether the connection exists; if not, start again".to_owned()),
            ..Self::default()
        }
    }
}

/// A sign-in to store.
#[derive(Clone, Debug)]
pub struct NewSignIn {
    pub id: SignInId,
    /// SHA-256 of `state`; absent for a device code.
    pub state_hash: Option<[u8; 32]>,
    pub connection: ConnectionName,
    /// What the process that finishes it needs, as JSON, with the PKCE verifier and the client's secret.
    pub details: Secret,
    /// How often the vendor may be asked whether a device code was entered; absent for other methods.
    pub poll_interval: Option<Duration>,
    pub user: Option<UserId>,
    pub link: Option<ConnectLinkId>,
    pub return_to: Option<Url>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A stored sign-in.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub id: SignInId,
    /// The connection that was asked for.
    pub connection: ConnectionName,
    pub user: Option<UserId>,
    pub link: Option<ConnectLinkId>,
    pub return_to: Option<Url>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Absent once its state was used up.
    pub details: Option<Secret>,
    pub poll_interval: Option<Duration>,
    /// When its state was used up.
    pub taken_at: Option<Timestamp>,
    pub result: Option<SignInResult>,
}

impl SignIn {
    /// Returns how far it is at a time.
    pub fn status(&self, now: Timestamp) -> SignInStatus {
        match (&self.result, self.taken_at) {
            (Some(SignInResult::Connected(_)), _) => SignInStatus::Done,
            (Some(SignInResult::Failed(_)), _) => SignInStatus::Failed,
            (None, Some(taken_at)) if is_past(taken_at, FINISH_TIMEOUT, now) => SignInStatus::Failed,
            (None, Some(_)) => SignInStatus::Finishing,
            (None, None) if self.expires_at <= now => SignInStatus::Expired,
            (None, None) => SignInStatus::Pending,
        }
    }

    /// Returns how it ended, if it did. Nobody is left to store a result where the process was killed.
    pub fn result(&self, now: Timestamp) -> Option<SignInResult> {
        let interrupted = || SignInResult::Failed(SignInFailure::interrupted());
        self.result.clone().or_else(|| (self.status(now) == SignInStatus::Failed).then(interrupted))
    }
}

fn is_past(start: Timestamp, limit: Duration, now: Timestamp) -> bool {
    start.checked_add(limit).unwrap_or(Timestamp::MAX) <= now
}

/// What became of the attempt to use up the state of a sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeSignInResult {
    /// It is the caller's, and nobody else's.
    Claimed,
    /// Another process was faster.
    Used,
    Expired,
    /// Its connect link was used up or revoked.
    LinkUsed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_sign_in_whose_process_was_killed_has_failed_after_a_while() {
        let mut sign_in = SignIn {
            id: SignInId::random(),
            connection: "slack".parse().unwrap(),
            user: None,
            link: None,
            return_to: None,
            created_at: at(0),
            expires_at: at(600),
            details: None,
            poll_interval: None,
            taken_at: None,
            result: None,
        };
        assert_eq!(sign_in.status(at(599)), SignInStatus::Pending);
        assert_eq!((sign_in.status(at(600)), sign_in.result(at(600))), (SignInStatus::Expired, None));
        sign_in.taken_at = Some(at(599));
        assert_eq!((sign_in.status(at(718)), sign_in.result(at(718))), (SignInStatus::Finishing, None));
        let interrupted = SignInResult::Failed(SignInFailure::interrupted());
        assert_eq!((sign_in.status(at(719)), sign_in.result(at(719))), (SignInStatus::Failed, Some(interrupted)));
        let connected =
            ConnectedAccount { connection: "slack".into(), missing_scopes: Vec::new(), warnings: Vec::new() };
        sign_in.result = Some(SignInResult::Connected(connected));
        assert_eq!(sign_in.status(at(719)), SignInStatus::Done);
    }
}
