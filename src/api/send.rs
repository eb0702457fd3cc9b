//! Sending a request of a connection: with a token that is good, again where that is harmless, within its budget.

use std::time::Duration;

use thiserror::Error;
use url::Url;

use crate::clock::{Stopwatch, Timestamp, random};
use crate::connector::ErrorClass;
use crate::error::{self, Diagnostic, Error, Kind, Remedy};
use crate::http::{Attempt, HttpError, Request, Response, SHORTEST_RETRY_AFTER, classify, pause};
use crate::json::Json;
use crate::model::{ConnectionName, Grant};
use crate::oauth::access::{self, Want};
use crate::runtime::{App, Session};
use crate::vault::Loaded;

/// A grant and its number: where another process has renewed it since, theirs is used.
#[derive(Clone, Debug)]
pub struct Token {
    pub grant: Grant,
    pub generation: u64,
}

impl From<&Loaded> for Token {
    fn from(loaded: &Loaded) -> Self {
        Self { grant: loaded.grant.clone(), generation: loaded.stored.generation }
    }
}

/// How much is done for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub tries: u32,
    /// A longer wait is left to the user.
    pub longest_wait: Duration,
    /// Whether a request that the vendor may have acted on may be sent again.
    pub repeatable: bool,
    /// What a request takes of the connection's budget.
    pub cost: u32,
}

/// The vendor's answer, whatever it is.
#[derive(Debug)]
pub struct Answer {
    /// What was asked.
    pub url: Url,
    pub response: Response,
    /// Absent for a success.
    pub class: Option<ErrorClass>,
    /// Of the last try alone.
    pub duration: Duration,
    /// Requests that it took.
    pub tries: u32,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    Http {
        error: HttpError,
        /// Requests that were sent in vain.
        tries: u32,
    },
    /// No token that is good.
    Grant(Error),
    /// No request.
    Build(Error),
    Paced(PacedError),
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Http { error, .. } => error.into(),
            SendError::Grant(error) | SendError::Build(error) => error,
            SendError::Paced(error) => error.into(),
        }
    }
}

#[derive(Debug, Error)]
#[error("the rate limit of {connection} is used up; it resumes at {resumes_at}")]
pub struct PacedError {
    connection: ConnectionName,
    pub resumes_at: Timestamp,
}

impl Remedy for PacedError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Temporary, "rate_limited").connection(&self.connection)
    }
}

/// Sends what `build` makes of the token. A token that the vendor refuses is renewed once; a rate limit and a vendor out
/// of order are waited for, as far as patience goes.
///
/// # Errors
/// [`SendError`] where no answer came; an answer that is a refusal is an [`Answer`] with its class.
pub async fn send(
    app: &App,
    session: &Session,
    token: &mut Token,
    patience: Patience,
    build: impl Fn(&Grant) -> error::Result<Request>,
) -> Result<Answer, SendError> {
    let mut renewed = false;
    let mut tried = 0;
    let mut made = 0;
    loop {
        keep_pace(app, session, patience).await?;
        let request = build(&token.grant).map_err(SendError::Build)?;
        let url = request.url.clone();
        let stopwatch = Stopwatch::start();
        let sent = app.http.send(request, &session.route).await;
        let duration = stopwatch.elapsed();
        tried += 1;
        made += 1;
        let last = tried >= patience.tries;
        let hinted = match sent {
            Err(error) => {
                let harmless = patience.repeatable && error.may_have_been_used();
                if last || !(harmless || matches!(error, HttpError::Connect { .. })) {
                    return Err(SendError::Http { error, tries: made });
                }
                None
            }
            Ok(response) => {
                let now = app.clock.now();
                app.pace(session).learn(&session.connector.rate, &response, now);
                let class = judge(session, &response);
                if class == Some(ErrorClass::Auth) && !renewed && session.connection.expiry.refreshable {
                    renewed = true;
                    tried -= 1;
                    let want = Want::Newer { than: token.generation };
                    let loaded = access::grant(app, &session.connection.name, want).await;
                    *token = Token::from(&loaded.map_err(SendError::Grant)?);
                    continue;
                }
                let again = match class {
                    // What is limited was not acted on.
                    Some(ErrorClass::RateLimit) => true,
                    Some(ErrorClass::Retry) => patience.repeatable,
                    _ => false,
                };
                let limited = class == Some(ErrorClass::RateLimit);
                let hinted = response.retry_after(&session.connector.rate, now);
                let hinted = hinted.or_else(|| limited.then_some(SHORTEST_RETRY_AFTER));
                if last || !again || hinted.is_some_and(|wait| wait > patience.longest_wait) {
                    return Ok(Answer { url, response, class, duration, tries: made });
                }
                hinted
            }
        };
        let wait = pause(Attempt(tried - 1), hinted, u64::from_ne_bytes(random()));
        app.clock.sleep(wait.min(patience.longest_wait)).await;
    }
}

/// The class of an answer by the connector's rules, a success that is none among them.
pub(crate) fn judge(session: &Session, response: &Response) -> Option<ErrorClass> {
    let class = classify(&session.connector.errors, response);
    let success = &session.connector.api.success;
    if class.is_some() || success.is_empty() {
        return class;
    }
    let text = response.text().unwrap_or_default();
    let document = Json::check(&text).unwrap_or(Json::NULL);
    let holds = success.iter().all(|(at, want)| at.find_in(document).is_some_and(|found| found.equals(want)));
    (!holds).then_some(ErrorClass::Fail)
}

/// Waits until the connection's budget allows another request.
async fn keep_pace(app: &App, session: &Session, patience: Patience) -> Result<(), SendError> {
    let pace = app.pace(session);
    while let Some(wait) = pace.take(patience.cost, app.clock.now()) {
        if wait > patience.longest_wait {
            let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
            let resumes_at = Timestamp::from_second(app.clock.now().as_second().saturating_add(seconds));
            let connection = session.connection.name.clone();
            return Err(SendError::Paced(PacedError { connection, resumes_at: resumes_at.unwrap_or(Timestamp::MAX) }));
        }
        app.clock.sleep(wait).await;
    }
    Ok(())
}
