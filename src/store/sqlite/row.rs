//! Conversions between columns and domain types: names, times, closed sets of words, JSON.
//!
//! Rows are read by column name, so that a query can gain a column without moving the others. Each aggregate has one
//! `from_row`; its queries select at least the columns that it names.
//!
//! rusqlite compares a name with the names of all columns at each read, which was a quarter of the work of a list of a
//! thousand connections. [`query`] therefore notes the columns of a statement once for all of its rows, and a search begins
//! behind the column that was read last: `from_row` mostly reads them in their order.

use std::cell::Cell;
use std::str::FromStr;

use rusqlite::types::FromSql;
use rusqlite::{Params, Statement};

use super::{MalformedValue, StoreError};
use crate::clock::Timestamp;
use crate::model::UserId;
use crate::model::name::ConnectionName;

/// The rows of a query.
pub(super) struct Rows<'s> {
    rows: rusqlite::Rows<'s>,
    columns: Columns,
}

/// A row, read by column name.
pub(super) struct Row<'r> {
    row: &'r rusqlite::Row<'r>,
    columns: &'r Columns,
}

/// The names of a statement's columns.
struct Columns {
    names: Vec<String>,
    /// Where the next search begins.
    next: Cell<usize>,
}

/// Runs a query.
pub(super) fn query<'s>(statement: &'s mut Statement<'_>, params: impl Params) -> rusqlite::Result<Rows<'s>> {
    let names = statement.column_names().map(str::to_owned).collect();
    let columns = Columns { names, next: Cell::new(0) };
    Ok(Rows { rows: statement.query(params)?, columns })
}

impl Rows<'_> {
    pub(super) fn next(&mut self) -> rusqlite::Result<Option<Row<'_>>> {
        Ok(self.rows.next()?.map(|row| Row { row, columns: &self.columns }))
    }
}

impl Columns {
    fn index(&self, name: &str) -> Option<usize> {
        let (before, after) = self.names.split_at(self.next.get().min(self.names.len()));
        let is_named = |known: &String| known == name;
        let found = after.iter().position(is_named).map(|index| before.len() + index);
        let index = found.or_else(|| before.iter().position(is_named))?;
        self.next.set(index + 1);
        Some(index)
    }
}

impl Row<'_> {
    /// Reads the value of a column. A name that the query does not select is an error.
    pub(super) fn get<T: FromSql>(&self, column: &str) -> rusqlite::Result<T> {
        match self.columns.index(column) {
            Some(index) => self.row.get(index),
            None => Err(rusqlite::Error::InvalidColumnName(column.to_owned())),
        }
    }
}

/// Reads all rows.
pub(super) fn collect<T>(
    mut rows: Rows<'_>,
    mut from_row: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_row(&row)?);
    }
    Ok(found)
}

/// Reads the first row.
pub(super) fn first<T>(
    mut rows: Rows<'_>,
    from_row: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    rows.next()?.map(|row| from_row(&row)).transpose()
}

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

/// Reads the id of a user. None and the empty text, which unique columns have in place of NULL, mean that there is none.
pub(super) fn user(row: &Row<'_>, column: &str) -> Result<Option<UserId>, StoreError> {
    let id = row.get::<Option<String>>(column)?.filter(|id| !id.is_empty());
    Ok(id.map(|id| id.parse().map_err(|_| MalformedValue::Name)).transpose()?)
}

/// Reads a time in Unix seconds.
pub(super) fn get_seconds(row: &Row<'_>, column: &str) -> Result<Timestamp, StoreError> {
    Ok(timestamp(row.get(column)?)?)
}

pub(super) fn get_optional_seconds(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<Option<i64>>(column)?.map(timestamp).transpose()?)
}

/// Reads a time in Unix milliseconds.
pub(super) fn get_millis(row: &Row<'_>, column: &str) -> Result<Timestamp, StoreError> {
    Ok(timestamp_millis(row.get(column)?)?)
}

pub(super) fn get_optional_millis(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<Option<i64>>(column)?.map(timestamp_millis).transpose()?)
}

/// Reads a closed enum.
pub(super) fn get_word<T: FromStr>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    Ok(parse_word(&row.get::<String>(column)?)?)
}

pub(super) fn get_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, StoreError> {
    from_json(&row.get::<String>(column)?)
}

pub(super) fn get_optional_json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
) -> Result<Option<T>, StoreError> {
    row.get::<Option<String>>(column)?.as_deref().map(from_json).transpose()
}
