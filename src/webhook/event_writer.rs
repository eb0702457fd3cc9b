//! The way into the store: deliveries of many requests in one commit.
//!
//! One thread writes. What arrives while it commits waits, and goes into the next commit together, so that the price of
//! durability is paid once for all of them. A request is answered with a success only after its commit. A second thread
//! moves what is committed from the store's log to its place, so that no request waits for that.

use std::slice;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::store::{Checkpointer, EventInsertResult, InboundDelivery, Store, StoreError};

/// Deliveries that wait for the writer; beyond them the vendor is asked to come again.
const QUEUE_CAPACITY: usize = 1024;

/// Deliveries of one commit.
const MAX_BATCH: usize = 256;

/// How long commits are left in the log at least: what is written again meanwhile is moved once.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(200);

struct QueuedDelivery {
    delivery: InboundDelivery,
    answer: oneshot::Sender<WriteResult>,
}

/// What became of a delivery's events; the delivery goes back to whom it belongs.
type WriteResult = Result<(InboundDelivery, Vec<EventInsertResult>), EventWriteError>;

/// Why a delivery is not in the store. The vendor sends it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventWriteError {
    /// More come than can be written.
    QueueFull,
    /// The store refused: the disk is full, most likely.
    Store(String),
}

/// Takes deliveries; dropping it ends the writer after what is waiting.
#[derive(Debug)]
pub struct EventWriter {
    sender: Option<mpsc::Sender<QueuedDelivery>>,
    writer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for QueuedDelivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

impl EventWriter {
    /// # Errors
    /// The I/O error where no thread can be had.
    pub fn start(store: Arc<impl AsRef<Store> + Send + Sync + 'static>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let writer = named("inbox").spawn(move || {
            let store = (*store).as_ref();
            let (committed, commits) = sync_channel(1);
            std::thread::scope(|scope| {
                let moving = store.checkpointer().map(|checkpointer| {
                    named("checkpoint").spawn_scoped(scope, move || checkpoint(&checkpointer, &commits))
                });
                if !matches!(moving, Ok(Ok(_))) {
                    tracing::debug!("the writer moves its log by itself: {moving:?}");
                }
                write(store, receiver, &committed);
                drop(committed);
            });
        })?;
        Ok(Self { sender: Some(sender), writer: Some(writer) })
    }

    /// Puts a delivery into the store; what comes back is durable.
    ///
    /// # Errors
    /// [`EventWriteError`].
    pub async fn insert(
        &self,
        delivery: InboundDelivery,
    ) -> Result<(InboundDelivery, Vec<EventInsertResult>), EventWriteError> {
        let (answer, result) = oneshot::channel();
        let sender = self.sender.as_ref().ok_or(EventWriteError::QueueFull)?;
        sender.try_send(QueuedDelivery { delivery, answer }).map_err(|_| EventWriteError::QueueFull)?;
        result.await.unwrap_or(Err(EventWriteError::QueueFull))
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Runs until nobody commits any more.
fn checkpoint(checkpointer: &Checkpointer, commits: &Receiver<()>) {
    while commits.recv().is_ok() {
        if let Err(error) = checkpointer.run() {
            tracing::debug!("the log of the store stays as it is: {error}");
        }
        std::thread::sleep(CHECKPOINT_EVERY);
    }
}

fn write(store: &Store, mut receiver: mpsc::Receiver<QueuedDelivery>, committed: &SyncSender<()>) {
    let mut together = Vec::new();
    while receiver.blocking_recv_many(&mut together, MAX_BATCH) > 0 {
        let (deliveries, answers): (Vec<InboundDelivery>, Vec<_>) =
            together.drain(..).map(|waiting| (waiting.delivery, waiting.answer)).unzip();
        match store.events().insert(&deliveries) {
            Ok(taken) => {
                let _ = committed.try_send(());
                for ((answer, delivery), taken) in answers.into_iter().zip(deliveries).zip(taken) {
                    // Whoever waited may have left; the event stays.
                    let _ = answer.send(Ok((delivery, taken)));
                }
            }
            // One delivery that the store does not take must not keep out the others.
            Err(_) if deliveries.len() > 1 => {
                for (answer, delivery) in answers.into_iter().zip(deliveries) {
                    let _ = answer.send(insert_one(store, delivery));
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(not_taken(&error)));
                }
            }
        }
    }
}

fn insert_one(store: &Store, delivery: InboundDelivery) -> WriteResult {
    let taken = store.events().insert(slice::from_ref(&delivery)).map_err(|error| not_taken(&error))?;
    Ok((delivery, taken.into_iter().flatten().collect()))
}

fn not_taken(error: &StoreError) -> EventWriteError {
    EventWriteError::Store(error.to_string())
}
