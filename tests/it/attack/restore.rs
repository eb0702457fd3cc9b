//! Crafted backups.
