//! Exports synced records for other programs: files for databases, messages for targets.

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
