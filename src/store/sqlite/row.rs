//! Between columns and domain types: names, times, closed sets of words, JSON.
//!
//! Rows are read by column name, so that a query can gain a column without moving the others. Each aggregate has one
//! `from_row`; its queries select at least the columns that it names.

use std::str::FromStr;

use rusqlite::{Row, Rows};

use super::{MalformedValue, StoreError};
use crate::clock::Timestamp;
use crate::model::name::ConnectionName;

pub(super) fn timestamp(seconds: i64) -> Result<Timestamp, MalformedValue> {
    Timestamp::from_second(seconds).map_err(|_| MalformedValue::Time(seconds))
}

pub(super) fn timestamp_millis(millis: i64) -> Result<Timestamp, MalformedValue> {
    Timestamp::from_millisecond(millis).map_err(|_| MalformedValue::Time(millis))
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

/// Reads a connection's name from the columns `connector` and `account`.
pub(super) fn connection_name(row: &Row<'_>) -> Result<ConnectionName, StoreError> {
    let (connector, account): (String, String) = (row.get("connector")?, row.get("account")?);
    let account = Some(account.as_str()).filter(|account| !account.is_empty());
    Ok(ConnectionName::new(&connector, account).map_err(|_| MalformedValue::Name)?)
}

/// Reads a time in Unix seconds.
pub(super) fn get_seconds(row: &Row<'_>, column: &str) -> Result<Timestamp, StoreError> {
    Ok(timestamp(row.get(column)?)?)
}

pub(super) fn get_optional_seconds(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(timestamp).transpose()?)
}

/// Reads a time in Unix milliseconds.
pub(super) fn get_millis(row: &Row<'_>, column: &str) -> Result<Timestamp, StoreError> {
    Ok(timestamp_millis(row.get(column)?)?)
}

pub(super) fn get_optional_millis(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(timestamp_millis).transpose()?)
}

/// Reads a closed enum.
pub(super) fn get_word<T: FromStr>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    Ok(parse_word(&row.get::<_, String>(column)?)?)
}

pub(super) fn get_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    from_json(&row.get::<_, String>(column)?)
}

pub(super) fn get_optional_json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
) -> Result<Option<T>, StoreError> {
    row.get::<_, Option<String>>(column)?.as_deref().map(from_json).transpose()
}

/// Reads all rows.
pub(super) fn collect<T>(
    mut rows: Rows<'_>,
    mut from_row: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_row(row)?);
    }
    Ok(found)
}
