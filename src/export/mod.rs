//! Writes synced records for other programs: as a file that databases read, as messages that targets load.

mod columns;
#[cfg(feature = "parquet")]
mod parquet;
pub mod singer;

pub use columns::{Columns, JsonTypes};
#[cfg(feature = "parquet")]
pub use parquet::{ParquetError, ParquetFile};
