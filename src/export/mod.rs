//! Writes synced records for other programs: as files that databases read, as messages that targets load.

mod columns;
mod csv;
#[cfg(feature = "parquet")]
mod parquet;
mod shape;
pub mod singer;
mod time_text;
mod writer;

pub use columns::Columns;
pub use shape::ExportedRecord;
pub use writer::{ExportError, RecordFormat, RecordWriter};
