//! Moving what was committed from the log into the store's file, beside whoever writes.
//!
//! SQLite has the writer do it, inside a commit: each thousand pages somebody waits for two fsyncs more. Where many writes
//! come a second connection does it meanwhile, and the writer what is left, once the log is to begin anew.

use rusqlite::Connection;

use super::{Store, StoreError, open};

/// Pages of the log at which the writer begins it anew, if it can: 64 MiB.
const LOG_PAGES: u32 = 8192;

/// The second connection to a store that is written much.
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
    /// Moves as much as is possible without anybody waiting.
    ///
    /// # Errors
    /// [`StoreError`]; what was committed is in the log all the same.
    pub fn run(&self) -> Result<(), StoreError> {
        Ok(self.0.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }
}
