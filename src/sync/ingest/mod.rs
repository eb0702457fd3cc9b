//! Brings records into the store, in two ways that meet in the same records: pages that a sync pulls (`commit`), and
//! events that the vendor pushes (`events`). All commits are in `commit`.

mod commit;
mod events;

pub(super) use commit::{PageQueue, PageReceipt, SweepEnd, WriteEnd, page_queue, sweep};
pub use events::{EventIngest, IngestResult};
