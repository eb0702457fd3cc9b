//! What handlers answered, for services that want it as the answer to their request.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::model::EventId;

/// Answers that nobody has taken: those of events whose request was answered meanwhile.
const MAX_RESPONSES: usize = 256;

/// What a handler answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::webhook) struct HandlerResponse {
    pub(in crate::webhook) status: u16,
    pub(in crate::webhook) content_type: Option<String>,
    pub(in crate::webhook) body: String,
}

/// Answers on their way from the queues to the requests.
#[derive(Debug, Default)]
pub(in crate::webhook) struct HandlerResponses {
    /// The answer to each event; absent where its handler gave none.
    responses: Mutex<VecDeque<(EventId, Option<HandlerResponse>)>>,
    arrived: Notify,
}

impl HandlerResponses {
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
        let answer = HandlerResponse { status: 200, content_type: None, body: "yes".to_owned() };
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
}
