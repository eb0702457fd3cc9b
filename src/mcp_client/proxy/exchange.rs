//! One message of the client, from its `POST` to its response: retried if safe, in a new session if the old one is
//! lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::envelope::{Envelope, RequestId};
use super::failure::RpcFailure;
use super::reader::{StreamEnd, is_event_stream};
use super::request_headers::{argument_headers, standard_headers};
use super::session::{Retries, SessionHeaders, is_repeatable, is_session_lost};
use super::stop_signal::{StopSignal, Stopped};
use super::upstream::{UpstreamAnswer, UpstreamError, UpstreamRefusal, UpstreamRequest};
use super::{Handshakes, MAX_MESSAGE_BYTES, Relay, lock};
use crate::clock::{Stopwatch, random};
use crate::connector::ErrorClass;
use crate::error::Kind;
use crate::http::{HttpError, StreamingResponse};
use crate::mcp_client::sse::SseParser;

/// How long a server may work on a request without a sign of life. Clients have shorter limits of their own, and cancel.
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(3600);

/// A stream that is open for as long as the client likes may be silent for as long.
pub(super) const NO_LIMIT: Duration = Duration::from_secs(365 * 86_400);

/// How often one request begins a lost session again.
const MAX_RENEWALS: u32 = 2;

/// How one try of a request ended.
enum Attempt {
    Answered(Envelope),
    Stopped,
    SessionLost {
        epoch: u64,
        failure: RpcFailure,
    },
    /// It may be tried again.
    Retry {
        failure: RpcFailure,
        after: Option<Duration>,
    },
    Failed(RpcFailure),
}

/// What a failed try means for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// The server has not acted on it.
    No,
    Perhaps,
}

/// A handshake that other messages wait for, until it is dropped.
struct HandshakeGuard<'r, 'a> {
    relay: &'r Relay<'a>,
    is_initialize: bool,
}

impl Drop for HandshakeGuard<'_, '_> {
    fn drop(&mut self) {
        self.relay.handshakes.send_modify(|under_way| *counter(under_way, self.is_initialize) -= 1);
    }
}

fn counter(handshakes: &mut Handshakes, is_initialize: bool) -> &mut u32 {
    if is_initialize { &mut handshakes.initializing } else { &mut handshakes.confirming }
}

/// Counts a message that is being sent, until it is dropped.
struct SendingGuard<'r, 'a>(&'r Relay<'a>);

impl Drop for SendingGuard<'_, '_> {
    fn drop(&mut self) {
        self.0.sending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> Relay<'a> {
    fn sending(&self) -> SendingGuard<'_, 'a> {
        self.sending.fetch_add(1, Ordering::Relaxed);
        SendingGuard(self)
    }

    /// Notes that a message is part of the handshake, in the order in which the client sent them.
    fn handshake(&self, message: &Envelope) -> Option<HandshakeGuard<'_, 'a>> {
        let is_initialize = message.is_request("initialize");
        if !is_initialize && !message.is_notification("notifications/initialized") {
            return None;
        }
        self.handshakes.send_modify(|under_way| *counter(under_way, is_initialize) += 1);
        Some(HandshakeGuard { relay: self, is_initialize })
    }

    /// Waits for the handshakes before a message: its session must exist, and be confirmed, when it arrives.
    async fn wait_for_handshakes(&self, message: &Envelope, stop: &StopSignal) -> Result<(), Stopped> {
        if message.is_stateless() || message.is_request("initialize") {
            return Ok(());
        }
        let waits_for_all = !message.is_notification("notifications/initialized");
        let is_over =
            |under_way: &Handshakes| under_way.initializing == 0 && (!waits_for_all || under_way.confirming == 0);
        let mut handshakes = self.handshakes.subscribe();
        stop.race(handshakes.wait_for(is_over)).await.map(|_| ())
    }

    /// Sends a request until it is answered, and passes the answer on.
    pub(super) fn run_request(
        &self,
        message: Envelope,
        id: RequestId,
        stop: Arc<StopSignal>,
    ) -> impl Future<Output = ()> + Send + use<'_, 'a> {
        // Noted at once, not when the future is first polled: the order of the client's messages counts.
        let guards = (self.sending(), self.handshake(&message));
        async move {
            if message.is_request("initialize") {
                lock(&self.session).initialize = Some(message.clone());
            }
            match self.try_request(&message, &id, &stop).await {
                Ok(Some(answer)) => self.answer(answer).await,
                Ok(None) => {}
                Err(failure) => self.fail(&id, &failure).await,
            }
            drop(guards);
        }
    }

    /// Sends a notification or a response of the client's, which nothing answers.
    pub(super) fn run_notification(&self, message: Envelope) -> super::Work<'_> {
        let guards = (self.sending(), self.handshake(&message));
        Box::pin(async move {
            if message.is_notification("notifications/initialized") {
                lock(&self.session).initialized = Some(message.clone());
            }
            if let Err(failure) = self.deliver(&message, &self.closing).await {
                self.report(failure.message());
            }
            drop(guards);
        })
    }

    async fn deliver(&self, message: &Envelope, stop: &StopSignal) -> Result<(), RpcFailure> {
        if self.wait_for_handshakes(message, stop).await.is_err() {
            return Ok(());
        }
        let (epoch, headers) = self.session_headers();
        let mut retries = Retries::new(self.options.reconnect_timeout);
        loop {
            let stopwatch = Stopwatch::start();
            let (failure, after) = match self
                .post(message, &headers, self.upstream.workspace.engine.config.http.timeout, stop)
                .await
            {
                Ok(UpstreamAnswer::Accepted(_)) => {
                    if message.is_notification("notifications/initialized") {
                        self.confirmed.send_replace(Some(epoch));
                    }
                    return Ok(());
                }
                Err(UpstreamError::Stopped) => return Ok(()),
                // What belonged to a session that is lost means nothing to the next one.
                Ok(UpstreamAnswer::Refused(refused)) if is_session_lost(&headers, &refused.response) => return Ok(()),
                Ok(UpstreamAnswer::Refused(refused)) if refused.class == Some(ErrorClass::RateLimit) => {
                    (self.refusal_failure(&refused), refused.retry_after)
                }
                Ok(UpstreamAnswer::Refused(refused)) => return Err(self.refusal_failure(&refused)),
                Err(error) => match self.error_failure(&error) {
                    (failure, Some(Sent::No)) => (failure, None),
                    (failure, _) => return Err(failure),
                },
            };
            retries.spend(stopwatch.elapsed());
            if !self.pause(&mut retries, after, stop).await {
                return Err(failure);
            }
        }
    }

    /// Waits before another try. Returns whether there is to be one.
    pub(super) async fn pause(&self, retries: &mut Retries, hinted: Option<Duration>, stop: &StopSignal) -> bool {
        match retries.next(hinted, u64::from_ne_bytes(random())) {
            Some(delay) => stop.race(self.upstream.workspace.clock.sleep(delay)).await.is_ok(),
            None => false,
        }
    }

    /// Returns the answer; nothing if the request was stopped.
    async fn try_request(
        &self,
        message: &Envelope,
        id: &RequestId,
        stop: &StopSignal,
    ) -> Result<Option<Envelope>, RpcFailure> {
        if self.wait_for_handshakes(message, stop).await.is_err() {
            return Ok(None);
        }
        let mut retries = Retries::new(self.options.reconnect_timeout);
        let mut renewals = 0;
        loop {
            let (failure, after) = match self.attempt(message, id, &mut retries, stop).await {
                Attempt::Answered(answer) => return Ok(Some(answer)),
                Attempt::Stopped => return Ok(None),
                Attempt::Failed(failure) => return Err(failure),
                Attempt::SessionLost { failure, .. } if renewals == MAX_RENEWALS => return Err(failure),
                Attempt::SessionLost { epoch, .. } => {
                    renewals += 1;
                    match self.renew_session(epoch, stop).await {
                        Ok(()) => continue,
                        Err(None) => return Ok(None),
                        Err(Some(failure)) => return Err(failure),
                    }
                }
                Attempt::Retry { failure, after } => (failure, after),
            };
            if !self.pause(&mut retries, after, stop).await {
                return Err(failure);
            }
        }
    }

    async fn attempt(&self, message: &Envelope, id: &RequestId, retries: &mut Retries, stop: &StopSignal) -> Attempt {
        let has_session = !message.is_stateless() && !message.is_request("initialize");
        if has_session && stop.race(self.renewal.lock()).await.is_err() {
            return Attempt::Stopped;
        }
        // A session that is being begun again is confirmed before anything else is sent in it.
        let (epoch, headers) = if has_session { self.session_headers() } else { (0, SessionHeaders::default()) };
        let stopwatch = Stopwatch::start();
        let answer = match self.post(message, &headers, MAX_SILENCE, stop).await {
            Ok(UpstreamAnswer::Accepted(answer)) => answer,
            Ok(UpstreamAnswer::Refused(refused)) => return self.refused(message, id, &refused, epoch, &headers),
            Err(UpstreamError::Stopped) => return Attempt::Stopped,
            Err(error) => {
                let (failure, sent) = self.error_failure(&error);
                if sent == Some(Sent::No) {
                    retries.spend(stopwatch.elapsed());
                }
                return after_failure(message, failure, sent);
            }
        };
        // It works: what was reported is over.
        *lock(&self.reported) = None;
        let session_id = answer.head.header("mcp-session-id").map(str::to_owned);
        let end = if is_event_stream(&answer) {
            self.follow(answer, message, id, &headers, retries, stop).await
        } else {
            self.read_document(answer, id, MAX_SILENCE, stop).await
        };
        match end {
            StreamEnd::Answered(answer) => {
                if message.is_request("initialize") && answer.result().is_some() {
                    self.confirmed.send_replace(None);
                    lock(&self.session).begin(session_id.as_deref(), &answer);
                }
                Attempt::Answered(answer)
            }
            StreamEnd::Stopped => Attempt::Stopped,
            StreamEnd::Unreadable(reason) => {
                Attempt::Failed(RpcFailure::new("malformed_answer", format!("the answer cannot be used: {reason}")))
            }
            StreamEnd::Cut(error) => {
                let reason =
                    error.map_or_else(|| "the server ended the answer early".to_owned(), |error| error.to_string());
                after_failure(message, RpcFailure::new("connection_lost", reason), Some(Sent::Perhaps))
            }
        }
    }

    /// Reads the stream that answers a request. One that is cut is resumed after its last event, if the events have ids.
    async fn follow(
        &self,
        mut answer: StreamingResponse,
        message: &Envelope,
        id: &RequestId,
        headers: &SessionHeaders,
        retries: &mut Retries,
        stop: &StopSignal,
    ) -> StreamEnd {
        let silence = if message.is_request("subscriptions/listen") { NO_LIMIT } else { MAX_SILENCE };
        let mut parser = SseParser::new(MAX_MESSAGE_BYTES);
        loop {
            let resumed_at = parser.last_event_id().map(str::to_owned);
            let end = self.read_events(&mut answer, &mut parser, Some(id), silence, stop).await;
            let last_event_id = parser.last_event_id().filter(|_| !message.is_stateless()).map(str::to_owned);
            let (StreamEnd::Cut(_), Some(last_event_id)) = (&end, last_event_id) else { return end };
            if resumed_at.as_ref() != Some(&last_event_id) {
                retries.reset();
            }
            let hint = parser.retry();
            parser.resume();
            answer = loop {
                if !self.pause(retries, hint, stop).await {
                    return end;
                }
                match self.open_stream(headers, Some(&last_event_id), stop).await {
                    Ok(UpstreamAnswer::Accepted(answer)) if is_event_stream(&answer) => break answer,
                    Err(UpstreamError::Stopped) => return StreamEnd::Stopped,
                    Err(error) if self.error_failure(&error).1.is_some() => {}
                    _ => return end,
                }
            };
        }
    }

    /// Opens a stream of what the server sends by itself, or resumes one.
    pub(super) async fn open_stream(
        &self,
        headers: &SessionHeaders,
        last_event_id: Option<&str>,
        stop: &StopSignal,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        let headers_of_resumption = last_event_id.map(|id| ("last-event-id".to_owned(), id.to_owned()));
        let request = UpstreamRequest {
            method: "GET",
            body: None,
            session: headers,
            headers: headers_of_resumption.into_iter().collect(),
            limit: self.upstream.workspace.engine.config.http.timeout,
        };
        self.upstream.open(&request, stop).await
    }

    async fn post(
        &self,
        message: &Envelope,
        session: &SessionHeaders,
        limit: Duration,
        stop: &StopSignal,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        let mut headers = standard_headers(message);
        if message.is_stateless() && message.is_request("tools/call") {
            let known = lock(&self.param_headers).get(message.target.as_deref().unwrap_or_default()).cloned();
            headers.extend(known.map(|params| argument_headers(&params, &message.arguments())).unwrap_or_default());
        }
        let request = UpstreamRequest { method: "POST", body: Some(&message.text), session, headers, limit };
        self.upstream.open(&request, stop).await
    }

    fn refused(
        &self,
        message: &Envelope,
        id: &RequestId,
        refused: &UpstreamRefusal,
        epoch: u64,
        headers: &SessionHeaders,
    ) -> Attempt {
        let failure = self.refusal_failure(refused);
        if is_session_lost(headers, &refused.response) {
            return Attempt::SessionLost { epoch, failure };
        }
        match refused.class {
            Some(ErrorClass::Auth | ErrorClass::Permission) => return Attempt::Failed(failure),
            // What is limited was not acted on.
            Some(ErrorClass::RateLimit) => return Attempt::Retry { failure, after: refused.retry_after },
            Some(ErrorClass::Retry) if is_repeatable(&message.method) => {
                return Attempt::Retry { failure, after: refused.retry_after };
            }
            _ => {}
        }
        // The server's own words, if it answered with an error of the protocol.
        let text = refused.response.text().unwrap_or_default();
        let own = Envelope::parse(&text).ok().filter(|answer| answer.error().is_some());
        match own.and_then(|answer| answer.with_id(id)) {
            Some(answer) => Attempt::Answered(answer),
            None => Attempt::Failed(failure),
        }
    }

    pub(super) fn refusal_failure(&self, refused: &UpstreamRefusal) -> RpcFailure {
        let failure = RpcFailure::from_refusal(&refused.refusal, &self.upstream.workspace.name);
        if refused.class == Some(ErrorClass::Auth) {
            self.report(failure.message());
        }
        failure
    }

    /// The failure, and whether the server may have acted; nothing if another try would fail alike.
    fn error_failure(&self, error: &UpstreamError) -> (RpcFailure, Option<Sent>) {
        match error {
            UpstreamError::Stopped => (RpcFailure::new("stopped", "the relay ends"), None),
            UpstreamError::Unsent(error) => {
                (self.failure_of(error), (error.kind() == Kind::Temporary).then_some(Sent::No))
            }
            UpstreamError::Http(error) => {
                let sent = match error {
                    HttpError::Connect { .. } => Some(Sent::No),
                    error if error.may_have_been_used() => Some(Sent::Perhaps),
                    _ => None,
                };
                (RpcFailure::new("connection_lost", error.to_string()), sent)
            }
        }
    }

    /// Begins a session that was lost again, in the client's own words, unless that is done already.
    ///
    /// # Errors
    /// Why there is no session; nothing if it was stopped.
    pub(super) async fn renew_session(&self, lost: u64, stop: &StopSignal) -> Result<(), Option<RpcFailure>> {
        let _renewal = stop.race(self.renewal.lock()).await.map_err(|Stopped| None)?;
        let (initialize, initialized) = {
            let session = lock(&self.session);
            if session.epoch != lost {
                return Ok(());
            }
            (session.initialize.clone(), session.initialized.clone())
        };
        let no_session = || RpcFailure::new("session_lost", "the server has lost the session");
        let Some((message, id)) = initialize.and_then(|message| Some((message.clone(), message.id?))) else {
            return Err(Some(no_session()));
        };
        tracing::info!("the server has lost the session: it is initialized again");
        let mut retries = Retries::new(self.options.reconnect_timeout);
        let answer = loop {
            match Box::pin(self.attempt(&message, &id, &mut retries, stop)).await {
                Attempt::Answered(answer) if answer.result().is_some() => break answer,
                Attempt::Stopped => return Err(None),
                Attempt::Retry { failure, after } => {
                    if !self.pause(&mut retries, after, stop).await {
                        return Err(Some(failure));
                    }
                }
                Attempt::Failed(failure) => return Err(Some(failure)),
                Attempt::Answered(_) | Attempt::SessionLost { .. } => return Err(Some(no_session())),
            }
        };
        if let Some(initialized) = initialized {
            self.deliver(&initialized, stop).await.map_err(Some)?;
        }
        self.announce_changes(&answer).await;
        Ok(())
    }
}

/// What follows on a failure: another try if the server has not acted, or if the request may be repeated.
fn after_failure(message: &Envelope, failure: RpcFailure, sent: Option<Sent>) -> Attempt {
    match sent {
        Some(Sent::No) => Attempt::Retry { failure, after: None },
        Some(Sent::Perhaps) if is_repeatable(&message.method) => Attempt::Retry { failure, after: None },
        Some(Sent::Perhaps) => Attempt::Failed(failure.perhaps_done()),
        None => Attempt::Failed(failure),
    }
}
