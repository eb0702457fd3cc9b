//! A client's session with the server, and what is needed to restart it. Pure.

use std::time::Duration;

use serde_json::Value;

use super::envelope::Envelope;
use crate::backoff::Backoff;
use crate::http::Response;
use crate::secret::Secret;

/// What every message of a session carries (revision 2025-11-25, "Session Management" and "Protocol Version Header").
#[derive(Clone, Debug, Default)]
pub(super) struct SessionHeaders {
    /// Absent if the server has no sessions.
    pub(super) id: Option<Secret>,
    /// The revision that was agreed upon.
    pub(super) revision: Option<String>,
}

/// The session of the relay, as it is now.
#[derive(Debug, Default)]
pub(super) struct SessionState {
    /// Sessions begun so far: what was sent in an earlier one has another number.
    pub(super) epoch: u64,
    pub(super) headers: SessionHeaders,
    /// The client's own words, which begin another session when this one is lost.
    pub(super) initialize: Option<Envelope>,
    pub(super) initialized: Option<Envelope>,
}

impl SessionState {
    /// Notes that the server has answered `initialize`.
    pub(super) fn begin(&mut self, id: Option<&str>, answer: &Envelope) {
        self.epoch += 1;
        self.headers = SessionHeaders { id: id.map(Secret::from), revision: result_text(answer, "/protocolVersion") };
    }
}

fn result_text(answer: &Envelope, at: &str) -> Option<String> {
    let result: Value = serde_json::from_str(answer.result()?.get()).ok()?;
    result.pointer(at)?.as_str().map(str::to_owned)
}

/// The notifications that say of each list whether it may have changed, as far as the server declares that it sends them: a
/// server that was restarted has perhaps other tools.
pub(super) fn list_changes(answer: &Envelope) -> Vec<String> {
    let result =
        answer.result().and_then(|result| serde_json::from_str::<Value>(result.get()).ok()).unwrap_or_default();
    let declares =
        |list: &&str| result.pointer(&format!("/capabilities/{list}/listChanged")) == Some(&Value::Bool(true));
    let notification = |list| format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/{list}/list_changed\"}}");
    ["tools", "prompts", "resources"].into_iter().filter(declares).map(notification).collect()
}

/// Whether a refusal means that the server does not know the session. It says so with 404; servers built after the SDKs'
/// examples answer 400, with an error that names the session.
pub(super) fn is_session_lost(headers: &SessionHeaders, refusal: &Response) -> bool {
    let names_session = || {
        let error = refusal.json().and_then(|body| body.pointer("/error/message")?.as_str().map(str::to_lowercase));
        error.is_some_and(|message| message.contains("session"))
    };
    headers.id.is_some() && (refusal.status == 404 || refusal.status == 400 && names_session())
}

/// Whether a request may be sent again although the server may have acted on it: it only reads, or does the same twice.
/// `tools/call` and methods that are not known may do anything.
pub(super) fn is_repeatable(method: &str) -> bool {
    matches!(
        method,
        "initialize"
            | "ping"
            | "server/discover"
            | "tools/list"
            | "prompts/list"
            | "prompts/get"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "subscriptions/listen"
            | "completion/complete"
            | "logging/setLevel"
            | "tasks/get"
            | "tasks/list"
            | "tasks/result"
    )
}

/// Delays between tries, for as long as the server cannot be reached.
#[derive(Debug)]
pub(super) struct Retries {
    limit: Duration,
    /// Time spent waiting since the last success.
    waited: Duration,
    failures: u32,
}

impl Retries {
    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    /// The shortest delay: a server that refuses at once is not asked in a loop.
    const SHORTEST: Duration = Duration::from_millis(100);

    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, waited: Duration::ZERO, failures: 0 }
    }

    /// Returns how long to wait before the next try, at least as long as the server asks; `None` if the limit would be over.
    pub(super) fn next(&mut self, hinted: Option<Duration>, random: u64) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        let delay = Self::BACKOFF.jittered_delay(self.failures, random).max(Self::SHORTEST);
        let delay = hinted.map_or(delay, |hint| hint.max(Self::SHORTEST));
        self.waited += delay;
        (self.waited <= self.limit).then_some(delay)
    }

    /// Counts time that a try took, for tries that fail slowly.
    pub(super) fn spend(&mut self, elapsed: Duration) {
        self.waited += elapsed;
    }

    /// Begins from the start: something arrived.
    pub(super) fn reset(&mut self) {
        (self.waited, self.failures) = (Duration::ZERO, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: Option<&str>) -> SessionHeaders {
        SessionHeaders { id: id.map(Secret::from), revision: None }
    }

    #[test]
    fn a_session_is_lost_only_if_there_was_one() {
        let response =
            |status, body: &str| Response::new(status, &[("content-type", "application/json")], body.as_bytes());
        let example = r#"{"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#;
        assert!(is_session_lost(&session(Some("a")), &response(404, "")));
        assert!(is_session_lost(&session(Some("a")), &response(400, example)));
        assert!(!is_session_lost(&session(Some("a")), &response(400, r#"{"error":{"message":"no such tool"}}"#)));
        assert!(!is_session_lost(&session(Some("a")), &response(403, example)));
        assert!(!is_session_lost(&session(None), &response(404, "")));
    }

    #[test]
    fn the_answer_to_initialize_begins_a_session() {
        let answer = Envelope::parse(
            r#"{"id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"prompts":{}}}}"#,
        )
        .unwrap();
        let mut state = SessionState::default();
        state.begin(Some("s"), &answer);
        assert_eq!((state.epoch, state.headers.revision.as_deref()), (1, Some("2025-06-18")));
        assert_eq!(list_changes(&answer), [r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#]);
        let refused = Envelope::parse(r#"{"id":0,"error":{"code":1,"message":"no"}}"#).unwrap();
        state.begin(None, &refused);
        assert!(state.epoch == 2 && state.headers.id.is_none() && list_changes(&refused).is_empty());
    }

    #[test]
    fn a_call_that_may_have_run_is_not_repeatable() {
        for method in ["tools/call", "tasks/cancel", "sampling/createMessage", "vendor/anything", ""] {
            assert!(!is_repeatable(method), "{method}");
        }
        assert!(is_repeatable("tools/list") && is_repeatable("resources/read"));
    }

    #[test]
    fn retries_end_when_the_limit_is_over_and_begin_again_after_a_success() {
        let mut retries = Retries::new(Duration::from_secs(60));
        let delays: Vec<_> = std::iter::from_fn(|| retries.next(None, u64::MAX / 2)).collect();
        assert!(delays.iter().sum::<Duration>() <= Duration::from_secs(60) && delays.len() > 12, "{delays:?}");
        assert!(delays.iter().all(|delay| (Retries::SHORTEST..=Duration::from_secs(5)).contains(delay)), "{delays:?}");
        assert_eq!(retries.next(None, 0), None);
        retries.reset();
        assert_eq!(retries.next(Some(Duration::from_secs(59)), 0), Some(Duration::from_secs(59)));
        assert_eq!(retries.next(Some(Duration::ZERO), 0), Some(Retries::SHORTEST));
        retries.spend(Duration::from_secs(1));
        assert_eq!(retries.next(None, 0), None);
    }
}
