//! What handlers answered, for services that want it as the answer to their request.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::store::EventId;

/// Answers that nobody has taken: those of events whose request was answered meanwhile.
const MOST_KEPT: usize = 256;

/// What a handler answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HandlerAnswer {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) body: String,
}

/// Answers on their way from the queues to the requests.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The answer to each event; absent where its handler gave none.
    given: Mutex<VecDeque<(EventId, Option<HandlerAnswer>)>>,
    came: Notify,
}

impl Answers {
    pub(super) fn give(&self, event: EventId, answer: Option<HandlerAnswer>) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.len() >= MOST_KEPT {
            given.pop_front();
        }
        given.push_back((event, answer));
        drop(given);
        self.came.notify_waiters();
    }

    /// Waits for the answer to an event; absent where there is none in time.
    pub(super) async fn take(&self, event: EventId, within: Duration) -> Option<HandlerAnswer> {
        let waiting = async {
            loop {
                let mut came = std::pin::pin!(self.came.notified());
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

    fn find(&self, event: EventId) -> Option<Option<HandlerAnswer>> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let at = given.iter().position(|(known, _)| *known == event)?;
        given.remove(at).map(|(_, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_found_whether_it_comes_before_or_after_it_is_asked_for() {
        let answers = Answers::default();
        let answer = HandlerAnswer { status: 200, content_type: None, body: "yes".to_owned() };
        answers.give(EventId(1), Some(answer.clone()));
        assert_eq!(answers.take(EventId(1), Duration::from_secs(9)).await, Some(answer.clone()));
        let (taken, ()) = tokio::join!(answers.take(EventId(2), Duration::from_secs(9)), async {
            tokio::task::yield_now().await;
            answers.give(EventId(3), None);
            answers.give(EventId(2), Some(answer.clone()));
        });
        assert_eq!(taken, Some(answer));
        assert_eq!(answers.take(EventId(4), Duration::from_millis(10)).await, None);
        (0..1000).for_each(|id| answers.give(EventId(id), None));
        assert_eq!(answers.given.lock().unwrap().len(), MOST_KEPT);
    }
}
