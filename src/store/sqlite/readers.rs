//! The reading connections: several in parallel, none of which waits for a write.
//!
//! In write-ahead mode a reader sees the last commit before its statement and is not held up by the writer. Reads run on
//! threads for blocking work, so that a slow disk holds up no other operation.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::StoreError;
use super::open::StoreFile;
use crate::task::blocking;

/// Connections that read at a time. Each costs a page cache of 2 MB; more of them would wait for the same disk.
const MAX_READERS: usize = 4;

/// The readers of one store.
#[derive(Debug)]
pub(super) struct Readers {
    file: StoreFile,
    idle: Mutex<Vec<Connection>>,
    free: Semaphore,
}

impl Readers {
    /// `opened` is a connection that was used to look at the file.
    pub(super) fn new(file: StoreFile, opened: Connection) -> Self {
        Self { file, idle: Mutex::new(vec![opened]), free: Semaphore::new(MAX_READERS) }
    }

    /// Reads on a thread for blocking work.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // The semaphore is never closed.
        let _permit = self.free.acquire().await.ok();
        let readers = Arc::clone(self);
        blocking(move || readers.read_blocking(read)).await
    }

    /// Reads on this thread.
    pub(super) fn read_blocking<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = match self.take() {
            Some(connection) => connection,
            None => self.file.open()?,
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
