//! Between columns and domain types: times, closed sets of words, JSON.

use std::str::FromStr;

use super::{MalformedValue, StoreError};
use crate::clock::Timestamp;

pub(super) fn timestamp(seconds: i64) -> Result<Timestamp, MalformedValue> {
    Timestamp::from_second(seconds).map_err(|_| MalformedValue::Time(seconds))
}

/// Reads a closed enum from the word that is stored for it.
pub(super) fn parse_word<T: FromStr>(word: &str) -> Result<T, MalformedValue> {
    T::from_str(word).map_err(|_| MalformedValue::EnumValue(word.to_owned()))
}

pub(super) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    Ok(serde_json::to_string(value).map_err(MalformedValue::Json)?)
}

pub(super) fn from_json<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, StoreError> {
    Ok(serde_json::from_str(text).map_err(MalformedValue::Json)?)
}
