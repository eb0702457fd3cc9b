//! A page of a list, read without a connection.

use indexmap::IndexMap;

use super::document::{Document, NotAList};
use super::record;
use crate::connector::{Pointer, Stream};
use crate::json::{self, JsonError};
use crate::model::NewRecord;
use crate::store::RecordHasher;

/// Why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("the page cannot be read")]
    NotJson(#[from] JsonError),
    #[error("the page holds {0}")]
    NotAList(#[from] NotAList),
    #[error("a record has no key at {0}")]
    MissingKey(Pointer),
}

/// Returns the records of one page of a stream's list, as a sync stores them. Pure: this is what fuzzers drive.
///
/// # Errors
/// [`PageError`].
pub fn read_page(stream: &Stream, body: &[u8]) -> Result<Vec<NewRecord>, PageError> {
    let text = json::decode(body, None)?;
    let document = Document::parse(&text)?;
    let raw = document.records(&stream.records)?.records;
    let records = record::records(stream, &raw, &IndexMap::new(), RecordHasher::new(""));
    let records = records.map_err(|record::MissingKey(at)| PageError::MissingKey(at))?;
    Ok(records.into_iter().map(|pulled| pulled.record).collect())
}
