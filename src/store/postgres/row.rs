//! Conversions between columns and domain types: names, times, closed sets of words, JSON, sealed values.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use zeroize::Zeroizing;

use super::error::failed;
use super::seal::{Column, RowKey, Sealer};
use crate::clock::Timestamp;
use crate::model::{ConnectionName, UserId};
use crate::store::{MalformedValue, StoreError};

/// Reads the value of a column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(failed)
}

/// Reads an integer that fits into a smaller or unsigned type.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: &str) -> Result<T, StoreError> {
    to_number(get(row, column)?)
}

pub(super) fn optional_number<T: TryFrom<i64>>(row: &Row, column: &str) -> Result<Option<T>, StoreError> {
    get::<Option<i64>>(row, column)?.map(to_number).transpose()
}

pub(super) fn to_number<T: TryFrom<i64>>(number: i64) -> Result<T, StoreError> {
    Ok(T::try_from(number).map_err(|_| MalformedValue::Number(number))?)
}

/// PostgreSQL's integers have signs; what is greater than any of them is the greatest.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn parse_word<T: FromStr>(word: &str) -> Result<T, MalformedValue> {
    T::from_str(word).map_err(|_| MalformedValue::EnumValue(word.to_owned()))
}

/// Reads a closed enum, or an id.
pub(super) fn get_word<T: FromStr>(row: &Row, column: &str) -> Result<T, StoreError> {
    Ok(parse_word(get(row, column)?)?)
}

pub(super) fn optional_word<T: FromStr>(row: &Row, column: &str) -> Result<Option<T>, StoreError> {
    Ok(get::<Option<&str>>(row, column)?.map(parse_word).transpose()?)
}

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    Ok(serde_json::to_string(value).map_err(MalformedValue::Json)?)
}

pub(super) fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, StoreError> {
    Ok(serde_json::from_slice(text).map_err(MalformedValue::Json)?)
}

pub(super) fn get_json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T, StoreError> {
    from_json(get::<&str>(row, column)?.as_bytes())
}

pub(super) fn optional_json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>, StoreError> {
    get::<Option<&str>>(row, column)?.map(|text| from_json(text.as_bytes())).transpose()
}

fn seconds(seconds: i64) -> Result<Timestamp, MalformedValue> {
    Timestamp::from_second(seconds).map_err(|_| MalformedValue::Time(seconds))
}

pub(super) fn millis(millis: i64) -> Result<Timestamp, MalformedValue> {
    Timestamp::from_millisecond(millis).map_err(|_| MalformedValue::Time(millis))
}

/// Reads a time in Unix seconds.
pub(super) fn get_seconds(row: &Row, column: &str) -> Result<Timestamp, StoreError> {
    Ok(seconds(get(row, column)?)?)
}

pub(super) fn optional_seconds(row: &Row, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(get::<Option<i64>>(row, column)?.map(seconds).transpose()?)
}

/// Reads a time in Unix milliseconds.
pub(super) fn get_millis(row: &Row, column: &str) -> Result<Timestamp, StoreError> {
    Ok(millis(get(row, column)?)?)
}

pub(super) fn optional_millis(row: &Row, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(get::<Option<i64>>(row, column)?.map(millis).transpose()?)
}

/// Reads a connection's name from the columns `connector` and `account`.
pub(super) fn connection_name(row: &Row) -> Result<ConnectionName, StoreError> {
    let (connector, account): (&str, &str) = (get(row, "connector")?, get(row, "account")?);
    let account = Some(account).filter(|account| !account.is_empty());
    Ok(ConnectionName::new(connector, account).map_err(|_| MalformedValue::Name)?)
}

/// Reads the id of a user. NULL and the empty text, which unique columns have in place of NULL, mean that there is none.
pub(super) fn user(row: &Row, column: &str) -> Result<Option<UserId>, StoreError> {
    let id = get::<Option<&str>>(row, column)?.filter(|id| !id.is_empty());
    Ok(id.map(|id| id.parse().map_err(|_| MalformedValue::Name)).transpose()?)
}

/// Reads bytes of a fixed number: a digest, a signature.
pub(super) fn get_bytes<const N: usize>(row: &Row, column: &str) -> Result<[u8; N], StoreError> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map_err(|_| MalformedValue::EnumValue(column.to_owned()).into())
}

/// The sealed column of a table with its place in rows, as [`Sealer`] opens it.
pub(super) struct SealedRow<'a> {
    pub(super) sealer: &'a Sealer,
    pub(super) row: &'a Row,
    pub(super) key: RowKey<'a>,
}

impl<'a> SealedRow<'a> {
    pub(super) fn new(sealer: &'a Sealer, row: &'a Row, key: impl Into<RowKey<'a>>) -> Self {
        Self { sealer, row, key: key.into() }
    }

    /// Opens the value of the column of the same name.
    pub(super) fn bytes(&self, column: Column) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(sealed) = get::<Option<&[u8]>>(self.row, column.name)? else { return Ok(None) };
        Ok(Some(self.sealer.open(column, self.key, sealed)?.to_vec()))
    }

    pub(super) fn text(&self, column: Column) -> Result<Option<String>, StoreError> {
        let text = self.bytes(column)?.map(String::from_utf8).transpose();
        text.map_err(|_| MalformedValue::EnumValue(column.name.to_owned()).into())
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: Column) -> Result<Option<T>, StoreError> {
        self.bytes(column)?.as_deref().map(from_json).transpose()
    }

    /// [`Self::text`] of secrets, whose memory is wiped.
    pub(super) fn secret(&self, column: Column) -> Result<Option<Zeroizing<String>>, StoreError> {
        let Some(sealed) = get::<Option<&[u8]>>(self.row, column.name)? else { return Ok(None) };
        let bytes = self.sealer.open(column, self.key, sealed)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| MalformedValue::EnumValue(column.name.to_owned()))?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }

    /// [`Self::text`] of a column that is not NULL.
    pub(super) fn required_text(&self, column: Column) -> Result<String, StoreError> {
        Ok(self.text(column)?.unwrap_or_default())
    }

    /// [`Self::json`] of a column for which NULL is the default.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self, column: Column) -> Result<T, StoreError> {
        Ok(self.json(column)?.unwrap_or_default())
    }
}
