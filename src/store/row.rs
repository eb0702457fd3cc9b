//! Between columns and domain types: times, closed sets of words, JSON.

use thiserror::Error;

use super::StoreError;
use crate::clock::Timestamp;

/// A value in the store that this program would not have written.
#[derive(Debug, Error)]
pub enum Malformed {
    #[error("{0} is not a time")]
    Time(i64),
    #[error("{0:?} is not one of the words that its column takes")]
    Word(String),
    #[error("a JSON column does not parse")]
    Json(#[source] serde_json::Error),
    #[error("a connection's name or address does not parse")]
    Name,
}

pub(super) fn timestamp(seconds: i64) -> Result<Timestamp, Malformed> {
    Timestamp::from_second(seconds).map_err(|_| Malformed::Time(seconds))
}

/// The member of `table` that is written as `word`.
pub(super) fn from_word<T: Copy>(table: &[(T, &str)], word: &str) -> Result<T, Malformed> {
    table
        .iter()
        .find_map(|(value, text)| (*text == word).then_some(*value))
        .ok_or_else(|| Malformed::Word(word.to_owned()))
}

/// How `value` is written; every member of a closed set is in its table.
pub(super) fn to_word<T: Copy + PartialEq>(table: &[(T, &'static str)], value: T) -> &'static str {
    table.iter().find_map(|(member, text)| (*member == value).then_some(*text)).unwrap_or_default()
}

pub(super) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    Ok(serde_json::to_string(value).map_err(Malformed::Json)?)
}

pub(super) fn from_json<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, StoreError> {
    Ok(serde_json::from_str(text).map_err(Malformed::Json)?)
}
