//! The deliveries of this process that wait for a commit. Those that arrive during one go into the next.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;

use deadpool_postgres::{Object, Pool};
use futures_util::poll;
use tokio::sync::{Semaphore, oneshot};

use super::PostgresStore;
use super::inserting::{PredictedInsertion, Prediction, insert};
use super::transaction::connection;
use crate::model::{EventInsertResult, InboundDelivery};
use crate::store::StoreError;

/// Deliveries of one commit. More would make the first of them wait for longer than a commit takes.
const MAX_BATCH: usize = 64;

/// Commits under way: while one is answered, the next one waits at the server.
const MAX_COMMITS: usize = 2;

/// Commits that are not predicted, at most, before it is tried again: other nodes insert as well.
const MAX_PENALTY: u32 = 63;

type InsertReply = oneshot::Sender<Result<Vec<EventInsertResult>, StoreError>>;

type Results = Vec<Vec<EventInsertResult>>;

pub(super) struct InsertQueue {
    waiting: Mutex<Vec<(Arc<InboundDelivery>, InsertReply)>>,
    commits: Semaphore,
    predictor: Mutex<Predictor>,
    send_lock: SendLock,
}

impl Default for InsertQueue {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            commits: Semaphore::new(MAX_COMMITS),
            predictor: Mutex::default(),
            send_lock: SendLock::default(),
        }
    }
}

/// Held to predict and send an insertion. A prediction is right only if the insertions arrive in the order in which they were
/// predicted, as those do that are sent one after the other on one connection, and if none is under way that reads first.
type SendLock = tokio::sync::Mutex<SharedConnection>;

type SendGuard<'a> = tokio::sync::MutexGuard<'a, SharedConnection>;

/// The connection of the insertions that are under way. It is back in the pool when the last of them is answered.
#[derive(Default)]
struct SharedConnection(Weak<Object>);

impl SharedConnection {
    async fn get(&mut self, pool: &Pool) -> Result<Arc<Object>, StoreError> {
        if let Some(shared) = self.0.upgrade().filter(|shared| !shared.is_closed()) {
            return Ok(shared);
        }
        let new = Arc::new(connection(pool).await?);
        self.0 = Arc::downgrade(&new);
        Ok(new)
    }
}

impl InsertQueue {
    fn push(&self, delivery: Arc<InboundDelivery>, reply: InsertReply) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((delivery, reply));
    }

    fn take(&self) -> Vec<(Arc<InboundDelivery>, InsertReply)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(MAX_BATCH);
        waiting.drain(..count).collect()
    }

    fn predictor(&self) -> MutexGuard<'_, Predictor> {
        self.predictor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Predicts what an insertion will find, from what the last one left. Where other nodes insert too, that is often wrong, and
/// tried the less often.
#[derive(Debug, Default)]
struct Predictor {
    next: Option<Prediction>,
    /// Insertions until the next try.
    rest: u32,
    penalty: u32,
}

impl Predictor {
    /// Takes the prediction for an insertion.
    fn take(&mut self) -> Option<Prediction> {
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        self.next.take()
    }

    fn set(&mut self, next: Prediction) {
        self.next = Some(next);
    }

    fn was_right(&mut self) {
        self.penalty = 0;
    }

    fn was_wrong(&mut self) {
        self.penalty = (self.penalty * 2 + 1).min(MAX_PENALTY);
        self.rest = self.penalty;
    }
}

impl PostgresStore {
    /// Stores the events of one request.
    pub(super) async fn insert_delivery(
        &self,
        delivery: Arc<InboundDelivery>,
    ) -> Result<Vec<EventInsertResult>, StoreError> {
        let (reply, result) = oneshot::channel();
        self.inserts.push(delivery, reply);
        let store = self.clone();
        // Apart from the caller, who may leave: others wait for the same commit.
        tokio::spawn(async move { store.commit_waiting().await });
        result.await.map_err(|_| StoreError::Closed)?
    }

    /// Commits deliveries that wait, if others have not.
    async fn commit_waiting(&self) {
        // It is never closed.
        let _commit = self.inserts.commits.acquire().await;
        let sending = self.inserts.send_lock.lock().await;
        let (deliveries, replies): (Vec<_>, Vec<_>) = self.inserts.take().into_iter().unzip();
        if deliveries.is_empty() {
            return;
        }
        match self.commit_deliveries(&deliveries, sending).await {
            Ok(results) => {
                for (reply, result) in replies.into_iter().zip(results) {
                    // A caller that has left is not notified; its events stay.
                    let _ = reply.send(Ok(result));
                }
            }
            // None of them can be stored now, and each of them would wait for it as long as all have.
            Err(error @ (StoreError::Unreachable(_) | StoreError::Contended(_))) => {
                for reply in replies {
                    let _ = reply.send(Err(error.another()));
                }
            }
            Err(error) => match <[_; 1]>::try_from(replies) {
                Ok([reply]) => {
                    let _ = reply.send(Err(error));
                }
                // One that fails takes no other with it.
                Err(replies) => {
                    for (delivery, reply) in deliveries.iter().zip(replies) {
                        let sending = self.inserts.send_lock.lock().await;
                        let result = self.commit_deliveries(std::slice::from_ref(delivery), sending).await;
                        let _ = reply.send(result.map(|mut results| results.pop().unwrap_or_default()));
                    }
                }
            },
        }
    }

    async fn commit_deliveries(
        &self,
        deliveries: &[Arc<InboundDelivery>],
        sending: SendGuard<'_>,
    ) -> Result<Results, StoreError> {
        match self.commit_predicted(deliveries, sending).await? {
            Some(results) => Ok(results),
            None => self.commit_read(deliveries).await,
        }
    }

    /// Commits deliveries in one go; `None` if that failed, because the prediction was wrong, there is none, or the connection
    /// was lost.
    async fn commit_predicted(
        &self,
        deliveries: &[Arc<InboundDelivery>],
        mut sending: SendGuard<'_>,
    ) -> Result<Option<Results>, StoreError> {
        // The audit entries of an operation have to go first.
        if self.has_pending_audit() {
            return Ok(None);
        }
        let Some(expected) = self.inserts.predictor().take() else { return Ok(None) };
        let prepared = PredictedInsertion::prepare(&self.sealer, deliveries, expected)?;
        // The next one is prepared before this one is answered.
        self.inserts.predictor().set(prepared.as_ref().map_or(expected, |prepared| prepared.next));
        let Some(prepared) = prepared else { return Ok(None) };
        let connection = sending.get(&self.pool).await?;
        let mut answer = pin!(prepared.send(self, &connection));
        // The first poll sends it.
        let first = poll!(&mut answer);
        drop(sending);
        let results = match first {
            Poll::Ready(results) => results,
            Poll::Pending => answer.await,
        };
        let results = match results {
            // The server was restarted since the connection was last used. What was committed all the same is found.
            Err(StoreError::Unreachable(_)) => return Ok(None),
            results => results?,
        };
        match &results {
            Some(_) => self.inserts.predictor().was_right(),
            None => self.inserts.predictor().was_wrong(),
        }
        Ok(results)
    }

    /// Commits deliveries after reading what is stored.
    async fn commit_read(&self, deliveries: &[Arc<InboundDelivery>]) -> Result<Results, StoreError> {
        let _sending = self.inserts.send_lock.lock().await;
        let transaction = self.begin().await?;
        let (results, next) = insert(&transaction, deliveries).await?;
        transaction.commit().await?;
        self.inserts.predictor().set(next);
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_that_is_often_wrong_is_tried_less_often() {
        let prediction = |last| Prediction { last, key: 1 };
        let mut predictor = Predictor::default();
        assert_eq!(predictor.take(), None);
        let mut tries = Vec::new();
        for commit in 0..200 {
            predictor.set(prediction(commit));
            if let Some(taken) = predictor.take() {
                assert_eq!(taken, prediction(commit));
                predictor.was_wrong();
                tries.push(commit);
            }
        }
        assert_eq!(tries, [0, 2, 6, 14, 30, 62, 126, 190]);
        predictor.rest = 0;
        predictor.set(prediction(7));
        assert_eq!(predictor.take(), Some(prediction(7)));
        assert_eq!(predictor.take(), None, "each is used once");
        predictor.was_right();
        predictor.set(prediction(8));
        assert_eq!(predictor.take(), Some(prediction(8)));
    }
}
