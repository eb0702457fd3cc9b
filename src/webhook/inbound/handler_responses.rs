//! Responses of handlers, for services that expect them in response to their request.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::connector::WebhookDefinition;
use crate::model::{EventId, matches_any_type};

/// Answers that were not taken: those of events with requests that were answered meanwhile.
const MAX_RESPONSES: usize = 256;

/// The longest answer that is handed on.
pub(in crate::webhook) const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// How much sooner than the service wants it an answer goes out.
const MARGIN: Duration = Duration::from_millis(500);

/// How long most services wait for an answer.
const USUAL_TIMEOUT_SECS: u32 = 10;

/// Which services get what handlers answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// Those whose connectors say that they act on it.
    #[default]
    Declared,
    All,
    None,
}

/// What a handler answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::webhook) struct HandlerResponse {
    pub(in crate::webhook) status: u16,
    pub(in crate::webhook) content_type: Option<String>,
    pub(in crate::webhook) body: Vec<u8>,
}

/// Answers on their way from the queues to the requests.
#[derive(Debug, Default)]
pub(in crate::webhook) struct HandlerResponses {
    mode: ReplyMode,
    /// The answer to each event; absent where its handler gave none.
    responses: Mutex<VecDeque<(EventId, Option<HandlerResponse>)>>,
    arrived: Notify,
}

impl HandlerResponses {
    pub(in crate::webhook) fn new(mode: ReplyMode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// How long the request of an event of this type waits for a handler's answer; absent if it does not wait.
    pub(in crate::webhook) fn timeout(&self, rules: &WebhookDefinition, kind: &str) -> Option<Duration> {
        // What the service must confirm first is not handled in time.
        if rules.confirm.is_some() {
            return None;
        }
        let declared = rules.reply.within.filter(|_| matches_any_type(&rules.reply.events, kind));
        let limit = match self.mode {
            ReplyMode::None => None,
            ReplyMode::Declared => declared,
            ReplyMode::All => declared
                .or_else(|| Some(Duration::from_secs(u64::from(rules.timeout_secs.unwrap_or(USUAL_TIMEOUT_SECS))))),
        };
        limit.map(|limit| limit.saturating_sub(MARGIN))
    }

    pub(in crate::webhook) fn put(&self, event: EventId, answer: Option<HandlerResponse>) {
        let mut given = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        if given.len() >= MAX_RESPONSES {
            given.pop_front();
        }
        given.push_back((event, answer));
        drop(given);
        self.arrived.notify_waiters();
    }

    /// Waits for the answer to an event; absent where there is none in time.
    pub(in crate::webhook) async fn wait_for(&self, event: EventId, within: Duration) -> Option<HandlerResponse> {
        let waiting = async {
            loop {
                let mut came = std::pin::pin!(self.arrived.notified());
                // Before the look, so that one that is given meanwhile is noticed.
                came.as_mut().enable();
                if let Some(answer) = self.find(event) {
                    return answer;
                }
                came.await;
            }
        };
        tokio::time::timeout(within, waiting).await.ok().flatten()
    }

    fn find(&self, event: EventId) -> Option<Option<HandlerResponse>> {
        let mut given = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        let at = given.iter().position(|(known, _)| *known == event)?;
        given.remove(at).map(|(_, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_found_whether_it_comes_before_or_after_it_is_asked_for() {
        let answers = HandlerResponses::default();
        let answer = HandlerResponse { status: 200, content_type: None, body: b"yes".to_vec() };
        answers.put(EventId(1), Some(answer.clone()));
        assert_eq!(answers.wait_for(EventId(1), Duration::from_secs(9)).await, Some(answer.clone()));
        let (taken, ()) = tokio::join!(answers.wait_for(EventId(2), Duration::from_secs(9)), async {
            tokio::task::yield_now().await;
            answers.put(EventId(3), None);
            answers.put(EventId(2), Some(answer.clone()));
        });
        assert_eq!(taken, Some(answer));
        assert_eq!(answers.wait_for(EventId(4), Duration::from_millis(10)).await, None);
        (0..1000).for_each(|id| answers.put(EventId(id), None));
        assert_eq!(answers.responses.lock().unwrap().len(), MAX_RESPONSES);
    }

    #[test]
    fn services_that_act_on_an_answer_wait_for_it() {
        let catalogue = crate::connector::Catalogue::new(std::path::Path::new("/nonexistent"));
        let timeout = |mode, connector: &str, kind: &str| {
            let rules = catalogue.get(connector).unwrap().webhook.clone().unwrap();
            HandlerResponses::new(mode).timeout(&rules, kind).map(|timeout| timeout.as_millis())
        };
        assert_eq!(timeout(ReplyMode::Declared, "slack", "slash_command"), Some(2500));
        assert_eq!(timeout(ReplyMode::Declared, "slack", "message"), None, "Slack reads no answer to an event");
        assert_eq!(timeout(ReplyMode::Declared, "twilio", "incoming_call"), Some(14_500));
        assert_eq!(timeout(ReplyMode::Declared, "discord", "APPLICATION_COMMAND"), Some(2500));
        assert_eq!(timeout(ReplyMode::Declared, "stripe", "invoice.paid"), None);
        assert_eq!(timeout(ReplyMode::All, "stripe", "invoice.paid"), Some(9500));
        assert_eq!(timeout(ReplyMode::All, "paypal", "any"), None, "PayPal is asked first");
        assert_eq!(timeout(ReplyMode::None, "slack", "slash_command"), None);
    }
}
