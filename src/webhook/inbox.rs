//! The way into the store: deliveries of many requests in one commit.
//!
//! One thread writes. What arrives while it commits waits, and goes into the next commit together, so that the price of
//! durability is paid once for all of them. A request is answered with a success only after its commit.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::store::{Delivery, Store, StoreError, Taken};

/// Deliveries that wait for the writer; beyond them the vendor is asked to come again.
const MOST_WAITING: usize = 1024;

/// Deliveries of one commit.
const MOST_TOGETHER: usize = 256;

struct Waiting {
    delivery: Delivery,
    taken: oneshot::Sender<Result<Vec<Taken>, NotTaken>>,
}

/// Why a delivery is not in the store. The vendor sends it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// More come than can be written.
    Full,
    /// The store refused: the disk is full, most likely.
    Store(String),
}

/// Takes deliveries; dropping it ends the writer after what is waiting.
#[derive(Debug)]
pub struct Inbox {
    sender: Option<mpsc::Sender<Waiting>>,
    writer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

impl Inbox {
    /// # Errors
    /// The I/O error where no thread can be had.
    pub fn start(store: Arc<impl AsRef<Store> + Send + Sync + 'static>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let writer = std::thread::Builder::new().name("inbox".to_owned()).spawn(move || {
            write((*store).as_ref(), receiver);
        })?;
        Ok(Self { sender: Some(sender), writer: Some(writer) })
    }

    /// Puts a delivery into the store; what comes back is durable.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn take(&self, delivery: Delivery) -> Result<Vec<Taken>, NotTaken> {
        let (taken, result) = oneshot::channel();
        let sender = self.sender.as_ref().ok_or(NotTaken::Full)?;
        sender.try_send(Waiting { delivery, taken }).map_err(|_| NotTaken::Full)?;
        result.await.unwrap_or(Err(NotTaken::Full))
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write(store: &Store, mut receiver: mpsc::Receiver<Waiting>) {
    let mut together = Vec::new();
    while receiver.blocking_recv_many(&mut together, MOST_TOGETHER) > 0 {
        let (deliveries, answers): (Vec<Delivery>, Vec<_>) =
            together.drain(..).map(|waiting| (waiting.delivery, waiting.taken)).unzip();
        match store.events().take(&deliveries) {
            Ok(taken) => {
                for (answer, taken) in answers.into_iter().zip(taken) {
                    // Whoever waited may have gone; the event stays.
                    let _ = answer.send(Ok(taken));
                }
            }
            // One delivery that the store does not take must not keep out the others.
            Err(_) if deliveries.len() > 1 => {
                for (answer, delivery) in answers.into_iter().zip(deliveries) {
                    let _ = answer.send(one(store, delivery));
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

fn one(store: &Store, delivery: Delivery) -> Result<Vec<Taken>, NotTaken> {
    let taken = store.events().take(&[delivery]).map_err(|error| not_taken(&error))?;
    Ok(taken.into_iter().flatten().collect())
}

fn not_taken(error: &StoreError) -> NotTaken {
    NotTaken::Store(error.to_string())
}
