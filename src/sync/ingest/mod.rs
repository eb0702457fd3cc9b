//! Stores records from two sources: pages of a sync (`commit`), and events from the vendor (`events`). All commits are
//! in `commit`.

mod commit;
mod events;

pub(super) use commit::{PageQueue, PageReceipt, SweepEnd, WriteEnd, commit_conditions, page_queue, sweep};
pub use events::{EventIngest, IngestResult};
