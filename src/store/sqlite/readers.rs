//! The reading connections: several in parallel, none of which waits for a write.
//!
//! In write-ahead mode a reader sees the last commit before its statement and is not held up by the writer. Reads run on
//! threads of their own, so that a slow disk holds up no other operation.

use std::num::NonZero;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::StoreError;
use super::open::StoreFile;
use super::reader_threads::ReaderThreads;

/// Connections that read at a time, one for each processor within these bounds. What they read must be decrypted: more of them
/// would wait for the same processors, and for the same disk.
const MIN_READERS: usize = 2;
const MAX_READERS: usize = 4;

/// The page cache of each of them: the inner pages of the indexes, and the rows of a page of a list. A server has one for each
/// reader of each workspace, and SQLite's own default is four times as large.
const CACHE_KIB: i64 = 512;

/// The readers of one store.
#[derive(Debug)]
pub(super) struct Readers {
    file: StoreFile,
    idle: Mutex<Vec<Connection>>,
    threads: ReaderThreads,
}

impl Readers {
    /// `opened` is a connection that was used to look at the file.
    pub(super) fn new(file: StoreFile, opened: Connection) -> Result<Self, StoreError> {
        limit_cache(&opened)?;
        let processors = std::thread::available_parallelism().map_or(MIN_READERS, NonZero::get);
        let threads = ReaderThreads::new(processors.clamp(MIN_READERS, MAX_READERS));
        Ok(Self { file, idle: Mutex::new(vec![opened]), threads })
    }

    /// Reads on another thread. A read that was begun ends, also if its caller leaves.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, result) = oneshot::channel();
        let readers = Arc::clone(self);
        self.threads.run(move || {
            // A caller that has left needs no answer.
            if reply.is_closed() {
                return;
            }
            let result = panic::catch_unwind(AssertUnwindSafe(|| readers.read_blocking(read)));
            drop(readers);
            let _ = reply.send(result);
        })?;
        match result.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Reads on this thread.
    pub(super) fn read_blocking<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = match self.take() {
            Some(connection) => connection,
            None => {
                let opened = self.file.open()?;
                limit_cache(&opened)?;
                opened
            }
        };
        let result = read(&connection);
        self.lock().push(connection);
        result
    }

    /// Takes an idle connection away, for good.
    pub(super) fn take(&self) -> Option<Connection> {
        self.lock().pop()
    }

    /// Closes the idle connections.
    pub(super) fn close(&self) {
        self.lock().clear();
    }

    /// Waits for the reads that run, and ends their threads: libcrypto must not be used while the process ends.
    pub(super) fn stop(&self) {
        self.threads.stop();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limit_cache(connection: &Connection) -> Result<(), StoreError> {
    Ok(connection.pragma_update(None, "cache_size", -CACHE_KIB)?)
}
