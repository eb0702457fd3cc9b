//! Writes synced records for other programs: as a file that databases read, as messages that targets load.

mod columns;
mod parquet;
pub mod singer;

pub use columns::{Columns, JsonTypes};
pub use parquet::{ParquetError, ParquetFile};
