//! Moves committed pages from the log into the store's file while others write.
//!
//! SQLite has the writer do it, inside a commit: every thousand pages one commit waits for two more fsyncs. When there
//! are many writes, a second connection does it in the meantime, and the writer only moves what is left when the log
//! restarts.

use rusqlite::Connection;

use super::{Store, StoreError, open};

/// Pages of the log at which the writer restarts it, if it can: 64 MiB.
const LOG_PAGES: u32 = 8192;

/// The second connection to a store with many writes.
#[derive(Debug)]
pub struct Checkpointer(Connection);

impl Store {
    /// Prepares the store for many writes: from here on its writers leave the log to the checkpointer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpointer(&self) -> Result<Checkpointer, StoreError> {
        let beside = open::keyed(&self.path, &self.key)?;
        let writer = self.connection();
        writer.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        Ok(Checkpointer(beside))
    }
}

impl Checkpointer {
    /// Moves as much as is possible without making a reader or writer wait.
    ///
    /// # Errors
    /// [`StoreError`]; what was committed is in the log all the same.
    pub fn run(&self) -> Result<(), StoreError> {
        Ok(self.0.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }
}
