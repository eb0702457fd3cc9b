//! Between columns and domain types: times, closed sets of words, JSON.

use std::str::FromStr;

use super::{Malformed, StoreError};
use crate::clock::Timestamp;

pub(super) fn timestamp(seconds: i64) -> Result<Timestamp, Malformed> {
    Timestamp::from_second(seconds).map_err(|_| Malformed::Time(seconds))
}

/// Reads a closed enum from the word that is stored for it.
pub(super) fn word<T: FromStr>(word: &str) -> Result<T, Malformed> {
    T::from_str(word).map_err(|_| Malformed::Word(word.to_owned()))
}

pub(super) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    Ok(serde_json::to_string(value).map_err(Malformed::Json)?)
}

pub(super) fn from_json<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, StoreError> {
    Ok(serde_json::from_str(text).map_err(Malformed::Json)?)
}
