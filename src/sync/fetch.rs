//! Fetches pages: sends a request, with retries, until its response can be read or has failed.

use std::ops::ControlFlow;
use std::time::Duration;

use super::SyncError;
use super::checkpoint::Checkpoint;
use super::outcome::{Flow, LostPosition, PassEnd, or_fail};
use super::page::{PageAnswer, is_skipped};
use super::request::ListRequestBuilder;
use super::stream::StreamRun;
use crate::api::{self, ApiResponse, GrantToken, RetryLimits, SendError};
use crate::clock::{self, Timestamp};
use crate::connector::{ErrorClass, InitialToken};
use crate::error::Result;
use crate::http::{Request, Response, RetryAttempt, pause};
use crate::json::{Json, JsonError};
use crate::model::{Grant, Traffic};

/// Tries of a request.
const MAX_ATTEMPTS: u32 = 6;

/// A longer wait ends the run in order.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Sends the requests of one list.
#[derive(Clone, Copy)]
pub(super) struct Fetcher<'a> {
    pub(super) run: &'a StreamRun<'a>,
    pub(super) list: &'a ListRequestBuilder<'a>,
}

/// Which run has found the requested position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PositionSource {
    ThisRun,
    /// It was saved by another run, and may have ended since.
    EarlierRun,
}

/// Why an answer cannot be read.
enum Unreadable {
    /// If it was cut off on its way, it may come whole the next time.
    NotJson(JsonError),
    /// The service is still working on it (202).
    NotReady,
}

impl Fetcher<'_> {
    /// Fetches the page that a checkpoint names: JSON, or nothing but white space. `asked` is its answer if it was asked for
    /// ahead.
    pub(super) async fn page(
        &self,
        checkpoint: &Checkpoint,
        source: PositionSource,
        token: &mut GrantToken,
        mut asked: Option<Flow<ApiResponse>>,
    ) -> Flow<PageAnswer> {
        let mut traffic = Traffic::default();
        let mut attempt = 0;
        let end = loop {
            let answered = match asked.take() {
                Some(answered) => answered,
                None => self.ask(checkpoint, token).await,
            };
            let answer = match answered {
                ControlFlow::Continue(answer) => answer,
                ControlFlow::Break(end) => break end,
            };
            traffic += traffic_of(&answer);
            if let ControlFlow::Break(end) = self.check(&answer, checkpoint, source) {
                break end;
            }
            let unreadable = match check_readable(&answer.response) {
                Ok(()) => {
                    let read_at = self.read_at(&answer);
                    return ControlFlow::Continue(PageAnswer { answer, read_at, traffic });
                }
                Err(unreadable) => unreadable,
            };
            let rate = &self.run.session.connector.rate;
            let hinted = answer.response.retry_after(rate, self.run.workspace.clock.now());
            let is_last = attempt + 1 == MAX_ATTEMPTS || hinted.is_some_and(|wait| wait > MAX_WAIT);
            let may_help = match &unreadable {
                Unreadable::NotJson(error) => error.is_temporary(),
                Unreadable::NotReady => true,
            };
            if is_last || !may_help {
                break PassEnd::Failed(self.unreadable_error(unreadable).into());
            }
            traffic.retries += 1;
            let wait = pause(RetryAttempt(attempt), hinted, u64::from_ne_bytes(clock::random()));
            self.run.workspace.clock.sleep(wait).await;
            attempt += 1;
        };
        self.run.add_unpaged_traffic(traffic);
        ControlFlow::Break(end)
    }

    /// Sends the request for a page once; what its answer means is not looked at.
    pub(super) async fn ask(&self, checkpoint: &Checkpoint, token: &mut GrantToken) -> Flow<ApiResponse> {
        self.send(token, |grant| self.list.page(checkpoint, grant)).await
    }

    /// Fetches the token that changes begin with.
    pub(super) async fn first_token(
        &self,
        rule: &InitialToken,
        checkpoint: &Checkpoint,
        token: &mut GrantToken,
    ) -> Flow<String> {
        let answer = self.send(token, |grant| self.list.first_token(rule, grant)).await?;
        self.run.add_unpaged_traffic(traffic_of(&answer));
        self.check(&answer, checkpoint, PositionSource::ThisRun)?;
        or_fail(answer.response.json().and_then(|document| rule.at.text(&document)).ok_or_else(|| {
            let why = format!("no token at {:?} in the answer that changes begin with", rule.at.to_string());
            self.run.error(|connection, stream| SyncError::NotAList { connection, stream, why })
        }))
    }

    pub(super) async fn send(
        &self,
        token: &mut GrantToken,
        build: impl Fn(&Grant) -> Result<Request>,
    ) -> Flow<ApiResponse> {
        let StreamRun { workspace, session, stream, .. } = self.run;
        let cost = session.connector.rate.cost_of(stream.cost);
        let limits = RetryLimits { max_attempts: MAX_ATTEMPTS, max_wait: MAX_WAIT, is_idempotent: true, cost };
        match api::send(workspace, session, token, limits, build).await {
            Ok(answer) => ControlFlow::Continue(answer),
            Err(SendError::RateLimited(limit)) => ControlFlow::Break(PassEnd::RateLimited(limit.resumes_at)),
            Err(SendError::Http { error, tries }) => {
                let traffic = Traffic { requests: tries.into(), retries: u64::from(tries - 1), bytes: 0 };
                self.run.add_unpaged_traffic(traffic);
                ControlFlow::Break(PassEnd::Failed(error.into()))
            }
            Err(SendError::Grant(error) | SendError::Build(error)) => ControlFlow::Break(PassEnd::Failed(error)),
        }
    }

    /// Goes on with an answer that is a success.
    pub(super) fn check(&self, answer: &ApiResponse, checkpoint: &Checkpoint, source: PositionSource) -> Flow<()> {
        let Some(class) = answer.error_class else { return ControlFlow::Continue(()) };
        let StreamRun { workspace, session, stream, .. } = self.run;
        let response = &answer.response;
        let is_change_feed = stream.token.is_some() && checkpoint.since.is_some();
        let says_expired = stream.token.as_ref().is_some_and(|token| token.expired.contains(&response.status));
        let has_place = checkpoint.position.page_token.is_some() || checkpoint.since.is_some();
        let is_lost = (class == ErrorClass::CursorExpired && has_place)
            || (is_change_feed && says_expired)
            // A page that was good for another process may have ended since.
            || (source == PositionSource::EarlierRun && matches!(class, ErrorClass::Fail | ErrorClass::NotFound));
        ControlFlow::Break(if is_lost {
            PassEnd::Expired(match checkpoint.position.page_token {
                Some(_) => LostPosition::Page,
                None => LostPosition::Cursor,
            })
        } else if class == ErrorClass::RateLimit {
            let now = workspace.clock.now();
            let wait = response.retry_after(&session.connector.rate, now).unwrap_or(MAX_WAIT);
            PassEnd::RateLimited(now.checked_add(wait).unwrap_or(Timestamp::MAX))
        } else if is_skipped(stream, response) {
            PassEnd::Skipped
        } else {
            let what = format!("the list of {}", self.run.name);
            PassEnd::Failed(api::refusal_error(session, &what, class, response).into())
        })
    }

    fn unreadable_error(&self, unreadable: Unreadable) -> SyncError {
        self.run.error(|connection, stream| match unreadable {
            Unreadable::NotJson(source) => SyncError::NotJson { connection, stream, source },
            Unreadable::NotReady => SyncError::NotReady { connection, stream },
        })
    }

    /// When the vendor read what it answers, at the earliest: by the clock in its `Date` header, if there is one (RFC 9110
    /// section 6.6.1).
    fn read_at(&self, answer: &ApiResponse) -> Timestamp {
        let answered = answer.response.date().unwrap_or_else(|| self.run.workspace.clock.now());
        // In whole seconds, as the date is.
        let took = Duration::from_secs(answer.duration.as_secs() + 1);
        answered.checked_sub(took).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Whether an answer is JSON. One without a body may be skipped by the stream's rules, and is left to the page.
fn check_readable(response: &Response) -> std::result::Result<(), Unreadable> {
    let text = response.text().map_err(Unreadable::NotJson)?;
    if response.status == 202 {
        return Err(Unreadable::NotReady);
    }
    if response.body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    Json::validate(&text).map(drop).map_err(Unreadable::NotJson)
}

/// The traffic that brought an answer.
pub(super) fn traffic_of(answer: &ApiResponse) -> Traffic {
    let bytes = answer.response.body.len() as u64;
    Traffic { requests: answer.attempts.into(), retries: u64::from(answer.attempts.saturating_sub(1)), bytes }
}
