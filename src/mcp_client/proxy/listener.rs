//! The stream of messages initiated by the server (revision 2025-11-25, "Listening for Messages from the Server").

use std::time::Duration;

use super::MAX_MESSAGE_BYTES;
use super::Relay;
use super::exchange::NO_LIMIT;
use super::reader::{StreamEnd, is_event_stream};
use super::session::{SessionHeaders, is_session_lost};
use super::stop_signal::Stopped;
use super::upstream::{UpstreamAnswer, UpstreamError};
use crate::backoff::Backoff;
use crate::clock::random;
use crate::connector::ErrorClass;
use crate::mcp_client::sse::SseParser;

/// How long to wait before the stream is opened again.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How listening in one session ended.
enum ListenEnd {
    /// The server offers no such stream.
    Unsupported,
    SessionLost,
    /// There is another session.
    Superseded,
    Stopped,
}

impl Relay<'_> {
    /// Listens in each session that the client confirms, until the relay ends.
    pub(super) async fn listen(&self) {
        let mut confirmed = self.confirmed.subscribe();
        let mut done_with = None;
        loop {
            let next = self.closing.race(confirmed.wait_for(|epoch| epoch.is_some() && *epoch != done_with)).await;
            let Ok(Ok(epoch)) = next.map(|epoch| epoch.map(|epoch| epoch.unwrap_or_default())) else { return };
            match self.listen_in(epoch).await {
                ListenEnd::Stopped => return,
                ListenEnd::Superseded => {}
                ListenEnd::Unsupported => done_with = Some(epoch),
                ListenEnd::SessionLost => {
                    // If it cannot be begun again now, the client's next request tries.
                    let _ = self.renew_session(epoch, &self.closing).await;
                    done_with = Some(epoch);
                }
            }
        }
    }

    async fn listen_in(&self, epoch: u64) -> ListenEnd {
        let (current, headers) = self.session_headers();
        if current != epoch {
            return ListenEnd::Superseded;
        }
        let mut parser = SseParser::new(MAX_MESSAGE_BYTES);
        let mut failures = 0_u32;
        loop {
            let resumed_at = parser.last_event_id().map(str::to_owned);
            match self.listen_once(&headers, &mut parser).await {
                Ok(()) => {}
                Err(end) => return end,
            }
            // A server that sends something and then closes the stream may do so for ever.
            let is_progress = parser.last_event_id().is_some_and(|id| resumed_at.as_deref() != Some(id));
            failures = if is_progress { 1 } else { failures.saturating_add(1) };
            let delay = BACKOFF.jittered_delay(failures, u64::from_ne_bytes(random()));
            let delay = parser.retry().map_or(delay, |hint| hint.max(delay.min(SHORTEST_PAUSE)));
            let delay = delay.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            if self.closing.race(self.upstream.workspace.clock.sleep(delay)).await == Err(Stopped) {
                return ListenEnd::Stopped;
            }
            if self.session_headers().0 != epoch {
                return ListenEnd::Superseded;
            }
        }
    }

    /// Opens the stream and reads it to its end.
    async fn listen_once(&self, headers: &SessionHeaders, parser: &mut SseParser) -> Result<(), ListenEnd> {
        let last_event_id = parser.last_event_id().map(str::to_owned);
        parser.resume();
        let mut answer = match self.open_stream(headers, last_event_id.as_deref(), &self.closing).await {
            Ok(UpstreamAnswer::Accepted(answer)) if is_event_stream(&answer) => answer,
            Ok(UpstreamAnswer::Accepted(_)) => return Err(ListenEnd::Unsupported),
            Ok(UpstreamAnswer::Refused(refused)) if is_session_lost(headers, &refused.response) => {
                return Err(ListenEnd::SessionLost);
            }
            Ok(UpstreamAnswer::Refused(refused)) => {
                let may_pass =
                    matches!(refused.class, Some(ErrorClass::Auth | ErrorClass::RateLimit | ErrorClass::Retry));
                return if may_pass { Ok(()) } else { Err(ListenEnd::Unsupported) };
            }
            Err(UpstreamError::Stopped) => return Err(ListenEnd::Stopped),
            // The network, or a grant that only a person can renew: the client's requests say so.
            Err(UpstreamError::Unsent(_) | UpstreamError::Http(_)) => return Ok(()),
        };
        match self.read_events(&mut answer, parser, None, NO_LIMIT, &self.closing).await {
            StreamEnd::Stopped => Err(ListenEnd::Stopped),
            StreamEnd::Answered(_) | StreamEnd::Cut(_) => Ok(()),
            StreamEnd::Unreadable(reason) => {
                tracing::warn!("what the server sends by itself cannot be read: {reason}");
                Err(ListenEnd::Unsupported)
            }
        }
    }
}
