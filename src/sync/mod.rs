//! Syncs records from a service: incrementally, as fast as the vendor allows, and resumable at any point.
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | partition | one list of a stream: all of it, or what belongs to one record of its parent. Its cursor and its checkpoint are stored with it |
//! | cursor | up to where a partition has been synced: a time or number that its records are newer by, or a sync token. The next sync asks for what changed since; it moves only at the end of a list |
//! | sync token | a cursor that the vendor gives, for a feed of changes; its text means nothing to others |
//! | checkpoint | how far the list that is being read has come, and what to ask for next. It is saved with each page, and removed at the end of the list |
//! | position | the part of a checkpoint that the rules of paging know: the page token, and the number of records before that page |
//! | page token | how to ask for one page of a list: a URL, or a parameter with its value |
//!
//! A bookmark is a Singer target's, and is only in `export`.
//!
//! # Stages
//!
//! A page passes through these, in this order; each uses only those below it.
//!
//! | stage | what it owns |
//! | --- | --- |
//! | `run` | the lock, the job and the outcome of each stream, and their order: parents before children; `selection` says which streams a request means, `plan` what they would ask |
//! | `partition` | the lists of a stream, and the sweep of those that were read in full |
//! | `list` | the passes over one list: resume, restart, verification |
//! | `pass` | one pass from page to page, by an [`api::Pager`](crate::api::Pager): the next page is asked for while one is stored |
//! | `fetch` | sends requests, which `request` builds, until an answer can be read; `detail` asks for the records of a page one by one |
//! | `page` | finds the list in an answer and reads its records, with `document` and `record`. Pure |
//! | `checkpoint` | what is saved with a page: what to ask for next, where a list begins and ends. Pure |
//! | `ingest` | the store's commits, of pages as of pushed events |
//!
//! `stream` is what the stages of one stream share, and `outcome` lists how each of them ends.
//!
//! # Invariants
//!
//! - The records of a page and its checkpoint are one commit: the cursor is never ahead of the records, and a process
//!   that dies loses at most the page it was reading.
//! - A cursor moves when a list is at its end. A backfill never moves it.
//! - Only a full list shows what was deleted, and only if each of its pages was read.
//! - One process at a time syncs a stream.

mod checkpoint;
mod cursor_value;
mod detail;
mod document;
mod error;
mod fetch;
pub mod ingest;
mod list;
mod observer;
mod outcome;
mod page;
mod partition;
mod pass;
mod plan;
mod record;
mod request;
mod run;
mod schedule;
mod selection;
mod stream;
#[cfg(test)]
mod tests;

pub use cursor_value::CursorValue;
pub use document::NotAList;
pub use error::SyncError;
pub use observer::{StoredPage, SyncObserver};
pub use outcome::{SyncOutcome, SyncReport};
pub use page::{PageError, read_page};
pub use plan::{PlannedStream, dry_run};
pub use run::run;
pub use schedule::{ScheduleRule, ScheduleRuleError};
pub use selection::{SyncRequest, find_stream};
