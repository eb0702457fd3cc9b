//! Sends a request of a connection: with a valid token, retried if safe, within its rate limit.

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;
use thiserror::Error;
use url::Url;

use crate::clock::{Stopwatch, Timestamp, random};
use crate::connector::{ErrorClass, Pointer};
use crate::error::{self, Diagnostic, Error, Kind, Remedy};
use crate::http::{HttpError, MIN_RETRY_AFTER, Request, Response, RetryAttempt, classify, pause};
use crate::json::Json;
use crate::model::{ConnectionName, Grant};
use crate::oauth::refresh::{self, Freshness};
use crate::runtime::{Session, Workspace};
use crate::vault::ConnectionWithGrant;

/// A grant and its number: where another process has renewed it since, theirs is used.
#[derive(Clone, Debug)]
pub struct GrantToken {
    pub grant: Grant,
    pub generation: u64,
}

impl From<&ConnectionWithGrant> for GrantToken {
    fn from(loaded: &ConnectionWithGrant) -> Self {
        Self { grant: loaded.grant.clone(), generation: loaded.stored_grant.generation }
    }
}

/// How much is done for an answer.
#[derive(Clone, Copy, Debug)]
pub struct RetryLimits {
    pub max_attempts: u32,
    /// A longer wait is left to the user.
    pub max_wait: Duration,
    /// Whether a request that the vendor may have acted on may be sent again.
    pub is_idempotent: bool,
    /// What a request takes of the connection's budget.
    pub cost: u32,
}

/// The vendor's answer, whatever it is.
#[derive(Debug)]
pub struct ApiResponse {
    /// What was asked.
    pub url: Url,
    pub response: Response,
    /// Absent for a success.
    pub error_class: Option<ErrorClass>,
    /// Of the last try alone.
    pub duration: Duration,
    /// Requests that it took.
    pub attempts: u32,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    Http {
        error: HttpError,
        /// Requests that failed.
        tries: u32,
    },
    /// No token that is good.
    Grant(Error),
    /// No request.
    Build(Error),
    RateLimited(RateLimitError),
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Http { error, .. } => error.into(),
            SendError::Grant(error) | SendError::Build(error) => error,
            SendError::RateLimited(error) => error.into(),
        }
    }
}

/// The connection's rate limit is used up, and the wait would be longer than [`RetryLimits`] allows.
#[derive(Debug, Error)]
#[error("the rate limit of {connection} was reached; try again after {resumes_at}")]
pub struct RateLimitError {
    connection: ConnectionName,
    pub resumes_at: Timestamp,
}

impl Remedy for RateLimitError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Temporary, "rate_limited").connection(&self.connection)
    }
}

/// Sends what `build` makes of the token. A token that the vendor refuses is renewed once; a rate limit and a vendor out
/// of order are waited for, as far as patience goes.
///
/// # Errors
/// [`SendError`] where no answer came; an answer that is a refusal is an [`ApiResponse`] with its class.
pub async fn send(
    workspace: &Workspace,
    session: &Session,
    token: &mut GrantToken,
    patience: RetryLimits,
    build: impl Fn(&Grant) -> error::Result<Request>,
) -> Result<ApiResponse, SendError> {
    let mut renewed = false;
    let mut tried = 0;
    let mut made = 0;
    loop {
        wait_for_rate_limit(workspace, session, patience).await?;
        let request = build(&token.grant).map_err(SendError::Build)?;
        let url = request.url.clone();
        let stopwatch = Stopwatch::start();
        let sent = workspace.engine.http.send(request, &session.route).await;
        let duration = stopwatch.elapsed();
        let status = sent.as_ref().ok().map(|response| response.status);
        workspace.metrics().record_call(session.connection.id, status, duration);
        tried += 1;
        made += 1;
        let last = tried >= patience.max_attempts;
        let hinted = match sent {
            Err(error) => {
                let harmless = patience.is_idempotent && error.may_have_been_used();
                if last || !(harmless || matches!(error, HttpError::Connect { .. })) {
                    return Err(SendError::Http { error, tries: made });
                }
                None
            }
            Ok(response) => {
                let now = workspace.clock.now();
                workspace.rate_limiter(session).update(&session.connector.rate, &response, now);
                let class = classify_response(session, &response);
                if class == Some(ErrorClass::Auth) && !renewed && session.connection.expiry.is_refreshable {
                    renewed = true;
                    tried -= 1;
                    let want = Freshness::NewerThan { than: token.generation };
                    let loaded = refresh::fresh_grant(workspace, &session.connection.name, want).await;
                    *token = GrantToken::from(&loaded.map_err(SendError::Grant)?);
                    continue;
                }
                let again = match class {
                    // What is limited was not acted on.
                    Some(ErrorClass::RateLimit) => true,
                    Some(ErrorClass::Retry) => patience.is_idempotent,
                    _ => false,
                };
                let limited = class == Some(ErrorClass::RateLimit);
                let hinted = response.retry_after(&session.connector.rate, now);
                let hinted = hinted.or_else(|| limited.then_some(MIN_RETRY_AFTER));
                if last || !again || hinted.is_some_and(|wait| wait > patience.max_wait) {
                    return Ok(ApiResponse { url, response, error_class: class, duration, attempts: made });
                }
                hinted
            }
        };
        let wait = pause(RetryAttempt(tried - 1), hinted, u64::from_ne_bytes(random()));
        workspace.clock.sleep(wait.min(patience.max_wait)).await;
    }
}

/// The class of an answer by the connector's rules, a success that is none among them.
pub(crate) fn classify_response(session: &Session, response: &Response) -> Option<ErrorClass> {
    let class = classify(&session.connector.errors, response);
    class.or_else(|| (!is_success(&session.connector.api.success, response)).then_some(ErrorClass::Fail))
}

/// Whether an answer holds these values.
pub(super) fn is_success(success: &IndexMap<Pointer, Value>, response: &Response) -> bool {
    if success.is_empty() {
        return true;
    }
    let text = response.text().unwrap_or_default();
    let document = Json::validate(&text).unwrap_or(Json::NULL);
    success.iter().all(|(at, want)| at.find_in(document).is_some_and(|found| found.equals(want)))
}

/// Waits until the connection's budget allows another request.
async fn wait_for_rate_limit(workspace: &Workspace, session: &Session, patience: RetryLimits) -> Result<(), SendError> {
    let pace = workspace.rate_limiter(session);
    while let Some(wait) = pace.take(patience.cost, workspace.clock.now()) {
        if wait > patience.max_wait {
            let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
            let resumes_at = Timestamp::from_second(workspace.clock.now().as_second().saturating_add(seconds));
            let connection = session.connection.name.clone();
            return Err(SendError::RateLimited(RateLimitError {
                connection,
                resumes_at: resumes_at.unwrap_or(Timestamp::MAX),
            }));
        }
        workspace.clock.sleep(wait).await;
    }
    Ok(())
}
