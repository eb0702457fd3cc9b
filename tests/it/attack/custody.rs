//! Keys and backups that their owner can use: exporting, restoring, deleting.
