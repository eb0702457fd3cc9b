//! Views of sign-ins that one request begins and another finishes.

use schemars::JsonSchema;
use serde::Serialize;

use super::connection::ConnectView;
use super::schema::Time;
use super::{optional_word, word};
use crate::clock::Timestamp;
use crate::model::{
    ConnectedAccount, ConnectionName, SignIn, SignInFailure, SignInId, SignInResult, SignInStatus, UserId,
};

/// What to do next for a sign-in that was started.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(tag = "next", rename_all = "snake_case")]
pub enum StartedSignInView {
    /// Open the authorization URL in the person's browser.
    Redirect {
        #[serde(serialize_with = "word")]
        sign_in: SignInId,
        authorization_url: String,
        #[schemars(with = "Time")]
        expires_at: Timestamp,
    },
    /// Show the code and the page to enter it at, and ask for the status from time to time.
    DeviceCode {
        #[serde(serialize_with = "word")]
        sign_in: SignInId,
        user_code: String,
        verification_uri: String,
        /// The same page with the code in its address, if the service has one.
        verification_uri_complete: Option<String>,
        /// Seconds between two requests for the status that are of use.
        interval: u64,
        #[schemars(with = "Time")]
        expires_at: Timestamp,
    },
    /// Nothing: no person was needed.
    Connected { connected: Box<ConnectView> },
}

/// A sign-in, pending or ended.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SignInView {
    #[serde(serialize_with = "word")]
    pub sign_in: SignInId,
    #[serde(serialize_with = "word")]
    pub status: SignInStatus,
    /// The connection that was asked for; once done, the one that was made, whose name may differ.
    pub connection: String,
    #[serde(serialize_with = "optional_word")]
    pub user: Option<UserId>,
    /// Requested scopes that were not granted.
    pub missing_scopes: Vec<String>,
    /// Warnings, as sentences.
    pub warnings: Vec<String>,
    pub error: Option<SignInErrorView>,
    #[schemars(with = "Time")]
    pub created_at: Timestamp,
    #[schemars(with = "Time")]
    pub expires_at: Timestamp,
}

/// Why a sign-in failed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SignInErrorView {
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
    /// The value that is missing or wrong.
    pub field: Option<String>,
    /// What it may be.
    pub choices: Vec<String>,
}

impl From<SignInFailure> for SignInErrorView {
    fn from(failure: SignInFailure) -> Self {
        let SignInFailure { code, message, hint, field, choices } = failure;
        Self { code, message, hint, field, choices }
    }
}

impl SignInView {
    /// Creates the view of a sign-in at a time.
    pub fn new(sign_in: &SignIn, now: Timestamp) -> Self {
        let asked: &ConnectionName = &sign_in.connection;
        let (connected, error) = match sign_in.result(now) {
            Some(SignInResult::Connected(connected)) => (Some(connected), None),
            Some(SignInResult::Failed(failure)) => (None, Some(failure.into())),
            None => (None, None),
        };
        let connected = connected.unwrap_or_else(|| ConnectedAccount {
            connection: asked.to_string(),
            missing_scopes: Vec::new(),
            warnings: Vec::new(),
        });
        Self {
            sign_in: sign_in.id.clone(),
            status: sign_in.status(now),
            connection: connected.connection,
            user: sign_in.user.clone(),
            missing_scopes: connected.missing_scopes,
            warnings: connected.warnings,
            error,
            created_at: sign_in.created_at,
            expires_at: sign_in.expires_at,
        }
    }
}

/// A sign-in whose callback has come.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FinishedSignInView {
    pub sign_in: SignInView,
    /// Where the browser goes now: the return address, with the sign-in and its status in the query.
    pub return_to: Option<String>,
    /// The origin of the page that opened the browser's window, if a connect button did: it gets the result.
    #[serde(skip)]
    pub opener_origin: Option<String>,
}
