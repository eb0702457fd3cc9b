//! The writer thread. Writes that arrive during a commit go into the next one, so that any number of writers share one
//! flush to disk.
//!
//! Invariants:
//! - A commit is durable before any of its writers is answered (`synchronous=FULL`), and raises `meta.sequence` by one.
//! - A write that fails takes no other with it: the transaction is rolled back, and each write is then made in one of its own.
//!   A write is therefore a function that can run twice; it computes, and does nothing else.
//! - Writes of one caller are committed in the order in which they were sent.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::event_keys::EventKeys;
use super::open::StoreFile;
use super::readers::Readers;
use super::sequence::SequenceFiles;
use super::{StoreError, meta};

/// Writes of one commit. More would make the first of them wait for longer than a flush takes.
const MAX_BATCH: usize = 256;

/// Commits after which a second connection moves the log into the store's file. Most commands make fewer, and SQLite moves
/// the log when they end.
const CHECKPOINT_AFTER: u32 = 32;

/// Pages of the log at which the writer starts it over once that second connection runs: 64 MiB.
const LOG_PAGES: u32 = 8192;

/// How long commits stay in the log at least: a page that is written again meanwhile is moved once.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(200);

/// What a write may use: the transaction, and the keys of events that are not in the index yet.
pub(super) struct WriteContext<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    keys: &'a mut EventKeys,
    has_read_keys: bool,
}

impl WriteContext<'_> {
    /// Returns the keys of events, with those that other processes have committed.
    pub(super) fn event_keys(&mut self) -> Result<&mut EventKeys, StoreError> {
        if !self.has_read_keys {
            self.keys.catch_up(self.transaction)?;
            self.has_read_keys = true;
        }
        Ok(self.keys)
    }
}

/// A write that waits for its commit.
trait PendingWrite: Send {
    /// Makes the write, and returns whether it may be committed.
    fn run(&mut self, context: &mut WriteContext<'_>) -> bool;

    /// Answers the caller. An error is that of the transaction.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

/// A write, its result, and who waits for it.
struct Write<T, F> {
    write: F,
    result: thread::Result<Result<T, StoreError>>,
    reply: oneshot::Sender<thread::Result<Result<T, StoreError>>>,
}

impl<T, F> PendingWrite for Write<T, F>
where
    T: Send,
    F: Fn(&mut WriteContext<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, context: &mut WriteContext<'_>) -> bool {
        // A panic is the caller's, and rolls the transaction back as an error does.
        self.result = panic::catch_unwind(AssertUnwindSafe(|| (self.write)(context)));
        matches!(self.result, Ok(Ok(_)))
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match committed {
            Err(error) => Ok(Err(error)),
            Ok(()) => self.result,
        };
        // A caller that has left is not notified; its write stays.
        let _ = self.reply.send(result);
    }
}

/// The way to the writing thread, which is started by the first write and ends with this value.
#[derive(Debug)]
pub(super) struct Writer {
    file: StoreFile,
    /// Absent for a store in memory.
    sequence_files: Option<Arc<SequenceFiles>>,
    readers: Arc<Readers>,
    thread: Mutex<Option<WriterThread>>,
}

struct WriterThread {
    writes: mpsc::Sender<Box<dyn PendingWrite>>,
    handle: JoinHandle<()>,
}

impl std::fmt::Debug for WriterThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriterThread")
    }
}

impl Writer {
    pub(super) fn new(file: StoreFile, sequence_files: Option<Arc<SequenceFiles>>, readers: Arc<Readers>) -> Self {
        Self { file, sequence_files, readers, thread: Mutex::default() }
    }

    /// Makes a write in the next commit. `write` may run twice.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl Fn(&mut WriteContext<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, result) = oneshot::channel();
        self.send(Box::new(Write { write, result: Ok(Err(StoreError::Closed)), reply }))?;
        match result.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Closed),
        }
    }

    fn send(&self, write: Box<dyn PendingWrite>) -> Result<(), StoreError> {
        let mut thread = self.lock();
        if thread.is_none() {
            *thread = Some(self.start()?);
        }
        thread.as_ref().ok_or(StoreError::Closed)?.writes.send(write).map_err(|_| StoreError::Closed)
    }

    fn start(&self) -> Result<WriterThread, StoreError> {
        let (writes, waiting) = mpsc::channel();
        let mut batches = BatchWriter {
            connection: None,
            file: self.file.clone(),
            sequence_files: self.sequence_files.clone(),
            readers: Arc::clone(&self.readers),
            keys: EventKeys::default(),
            commits: 0,
            checkpointer: None,
        };
        let handle = thread::Builder::new().name("store-writer".to_owned()).spawn(move || batches.run(&waiting))?;
        Ok(WriterThread { writes, handle })
    }

    /// Waits for the writes that were sent, and closes the writing connection.
    pub(super) fn close(&self) {
        let thread = self.lock().take();
        if let Some(WriterThread { writes, handle }) = thread {
            drop(writes);
            let _ = handle.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<WriterThread>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writing thread owns.
struct BatchWriter {
    connection: Option<Connection>,
    file: StoreFile,
    sequence_files: Option<Arc<SequenceFiles>>,
    readers: Arc<Readers>,
    keys: EventKeys,
    commits: u32,
    checkpointer: Option<Checkpointer>,
}

impl BatchWriter {
    fn run(&mut self, waiting: &mpsc::Receiver<Box<dyn PendingWrite>>) {
        while let Ok(first) = waiting.recv() {
            let mut batch = vec![first];
            batch.extend(waiting.try_iter().take(MAX_BATCH - 1));
            self.commit(batch);
            if self.keys.are_many() {
                let stored = self.transact(&mut [Box::new(FlushKeys)]).is_ok_and(|failed| failed.is_none());
                self.keys.put_ended(stored);
            }
        }
        if let Some(checkpointer) = self.checkpointer.take() {
            checkpointer.stop();
        }
        // The last connection that closes moves the log into the file, and readers do not.
        self.readers.close();
    }

    /// Commits all writes together, or each by itself where one of them fails.
    fn commit(&mut self, mut batch: Vec<Box<dyn PendingWrite>>) {
        let result = self.transact(&mut batch);
        if let Ok(Some(failed)) = result
            && batch.len() > 1
        {
            batch.remove(failed).finish(Ok(()));
            for write in batch {
                self.commit(vec![write]);
            }
            return;
        }
        let mut error = result.err();
        for write in batch {
            write.finish(match &mut error {
                None => Ok(()),
                Some(error) => Err(error.another()),
            });
        }
    }

    /// Runs writes in one transaction. `Some` is the index of the write that failed; nothing was committed then.
    fn transact(&mut self, batch: &mut [Box<dyn PendingWrite>]) -> Result<Option<usize>, StoreError> {
        if self.connection.is_none() {
            self.connection = Some(self.open()?);
        }
        let connection = self.connection.as_mut().ok_or(StoreError::Closed)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut context = WriteContext { transaction: &transaction, keys: &mut self.keys, has_read_keys: false };
        if let Some(failed) = batch.iter_mut().position(|write| !write.run(&mut context)) {
            drop(transaction);
            self.keys.rolled_back();
            return Ok(Some(failed));
        }
        let committed = meta::raise_sequence(&transaction).and_then(|sequence| {
            transaction.commit()?;
            Ok(sequence)
        });
        match committed {
            Ok(sequence) => {
                self.keys.committed();
                if let Some(files) = &self.sequence_files {
                    files.note(sequence);
                }
                self.after_commit();
                Ok(None)
            }
            Err(error) => {
                self.keys.rolled_back();
                Err(error)
            }
        }
    }

    fn open(&self) -> Result<Connection, StoreError> {
        let connection = match self.readers.take() {
            Some(connection) => connection,
            None => self.file.open()?,
        };
        // A process that wrote also moves the log into the file when it closes; see `open::identified`.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        Ok(connection)
    }

    /// SQLite moves the log inside a commit: of every thousand pages somebody waits for two more flushes. Where many commits
    /// come, a second connection does it meanwhile.
    fn after_commit(&mut self) {
        self.commits = self.commits.saturating_add(1);
        if self.commits == CHECKPOINT_AFTER {
            match Checkpointer::start(&self.file) {
                Ok(checkpointer) => {
                    let writer = self.connection.as_ref();
                    let set = writer.map(|writer| writer.pragma_update(None, "wal_autocheckpoint", LOG_PAGES));
                    tracing::trace!("the log is moved by a second connection: {set:?}");
                    self.checkpointer = Some(checkpointer);
                }
                Err(error) => tracing::debug!("the writer moves its log itself: {error}"),
            }
        }
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.wake();
        }
    }
}

/// Puts the keys of new events into the index.
struct FlushKeys;

impl PendingWrite for FlushKeys {
    fn run(&mut self, context: &mut WriteContext<'_>) -> bool {
        let transaction = context.transaction;
        context.event_keys().and_then(|keys| keys.put(transaction)).is_ok()
    }

    fn finish(self: Box<Self>, _: Result<(), StoreError>) {}
}

/// The thread that moves what was committed from the log into the store's file.
struct Checkpointer {
    commits: SyncSender<()>,
    /// Never sent to: dropping it ends the pause between two moves.
    stop: mpsc::Sender<()>,
    handle: JoinHandle<()>,
}

impl Checkpointer {
    fn start(file: &StoreFile) -> Result<Self, StoreError> {
        let connection = file.open()?;
        let (commits, committed) = mpsc::sync_channel(1);
        let (stop, stopped) = mpsc::channel::<()>();
        let work = move || {
            let mut is_open = true;
            while is_open && committed.recv().is_ok() {
                // What was committed is in the log all the same.
                if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
                    tracing::debug!("the store's log was not truncated: {error}");
                }
                is_open = stopped.recv_timeout(CHECKPOINT_INTERVAL) == Err(RecvTimeoutError::Timeout);
            }
        };
        let handle = thread::Builder::new().name("store-checkpoint".to_owned()).spawn(work)?;
        Ok(Self { commits, stop, handle })
    }

    fn wake(&self) {
        // One that was woken and has not looked yet sees this commit as well.
        let _ = self.commits.try_send(());
    }

    fn stop(self) {
        drop((self.commits, self.stop));
        let _ = self.handle.join();
    }
}
