//! How the columns that are carried from store to store are stored in PostgreSQL.
//!
//! Most are columns of the same name, sealed or not. The others:
//!
//! | carried | here |
//! | --- | --- |
//! | `delivery_id`, `digest`, `account`, `resource`, `actor` of events | sealed in `details`; keys and a keyed digest beside it |
//! | `headers`, `query` of events | sealed in `request` |
//! | `key`, `json` of records | sealed in `body`; a keyed hash of the key beside it |
//! | `digest` of idempotency keys and approvals | sealed in `request_digest`; keyed beside it |

use super::events::{EventDetails, RequestHead};
use super::inserting::{delivery_key, keyed_digest, signed_key};
use super::records::{key_hash, seal_body, split_body};
use super::row::{from_json, to_json};
use super::seal::{Column, Sealer};
use super::sealed_columns::{KeyValue, row_key};
use super::transfer::sealed_column;
use super::value::Value;
use crate::hex;
use crate::model::{ConnectionId, StreamId};
use crate::store::transfer::{
    API_TOKEN_PARENTS, API_TOKENS, APPROVALS, ENTITY_STATES, EVENT_CONFLICTS, EVENTS, IDEMPOTENCY_KEYS, LOCKS,
    PARTITION_PARENTS, PARTITIONS, RECORDS, TransferRow, TransferTable, TransferType, TransferValue, WORKSPACE,
};
use crate::store::{MalformedValue, RecordHasher, StoreError};

/// The columns that may be NULL here although they are never carried as NULL, and what NULL means.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("webhooks", "params", "{}"),
    ("webhooks", "secrets", "[]"),
    ("subscriptions", "metadata", "{}"),
    ("streams", "params", "{}"),
];

/// A column that is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhysicalColumn {
    pub(super) name: &'static str,
    pub(super) kind: TransferType,
    pub(super) sealed: Option<Column>,
}

/// A table with the columns that are read of it. The first ones are those of the key.
#[derive(Debug)]
pub(super) struct PhysicalTable {
    name: &'static str,
    key_length: usize,
    pub(super) columns: Vec<PhysicalColumn>,
}

/// The table in which a carried one is.
fn table_name(table: &TransferTable) -> &'static str {
    match table.name {
        name if name == WORKSPACE.name => "workspaces",
        name if name == PARTITION_PARENTS.name => "partitions",
        name if name == API_TOKEN_PARENTS.name => "api_tokens",
        name => name,
    }
}

/// What carried columns are in one sealed column here.
fn merged_into(table: &TransferTable, column: &str) -> Option<&'static str> {
    match (table.name, column) {
        ("events" | "event_conflicts", "delivery_id" | "digest" | "account" | "resource" | "actor") => Some("details"),
        ("events" | "event_conflicts", "headers" | "query") => Some("request"),
        ("records", "key" | "json") => Some("body"),
        ("idempotency_keys" | "approvals", "digest") => Some("request_digest"),
        _ => None,
    }
}

impl PhysicalTable {
    pub(super) fn of(table: &'static TransferTable) -> Self {
        let name = table_name(table);
        let mut columns: Vec<PhysicalColumn> = Vec::with_capacity(table.columns.len());
        for column in table.columns {
            let (name_here, kind) = match merged_into(table, column.name) {
                Some(merged) => (
                    merged,
                    if merged == "details" || merged == "request" { TransferType::Text } else { TransferType::Bytes },
                ),
                None => (column.name, column.kind),
            };
            if columns.iter().any(|known| known.name == name_here) {
                continue;
            }
            columns.push(PhysicalColumn { name: name_here, kind, sealed: sealed_column(name, name_here) });
        }
        Self { name, key_length: table.key_length, columns }
    }

    fn names(&self) -> String {
        self.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
    }

    fn keys(&self) -> String {
        self.columns.iter().take(self.key_length).map(|column| column.name).collect::<Vec<_>>().join(", ")
    }

    /// Selects rows in the order of their keys: at most `$2`, and none after the first ones that have `$3` bytes together; those
    /// after a key that follows.
    pub(super) fn select(&self, is_after: bool) -> String {
        let (table, names, keys) = (self.name, self.names(), self.keys());
        if self.key_length == 0 {
            return format!("SELECT {names} FROM integ.{table} WHERE workspace_id = $1");
        }
        let sizes = self.columns.iter().filter(|column| column.sealed.is_some() || column.kind == TransferType::Bytes);
        let sizes: Vec<_> = sizes.map(|column| format!("coalesce(octet_length({}), 0)", column.name)).collect();
        let size = if sizes.is_empty() { "0".to_owned() } else { sizes.join(" + ") };
        let places: Vec<String> = (0..self.key_length).map(|index| format!("${}", index + 4)).collect();
        let beyond = if is_after { format!("AND ({keys}) > ({})", places.join(", ")) } else { String::new() };
        format!(
            "SELECT {names} FROM (SELECT {names}, sum(size) OVER (ORDER BY {keys}) - size AS before
                 FROM (SELECT {names}, {size} AS size FROM integ.{table}
                     WHERE workspace_id = $1 {beyond} ORDER BY {keys} LIMIT $2) first) sized
             WHERE before < $3 ORDER BY {keys}"
        )
    }

    /// Selects the greatest key.
    pub(super) fn select_last_key(&self) -> String {
        let keys = self.keys();
        let order = keys.replace(", ", " DESC, ");
        format!("SELECT {keys} FROM integ.{} WHERE workspace_id = $1 ORDER BY {order} DESC LIMIT 1", self.name)
    }
}

/// Returns a value of a key.
pub(super) fn key_value(value: &TransferValue) -> Result<KeyValue, StoreError> {
    match value {
        TransferValue::Integer(id) => Ok(KeyValue::Id(*id)),
        TransferValue::Text(text) => Ok(KeyValue::Text(text.clone())),
        // Nothing is sealed in a row whose key is a hash.
        TransferValue::Bytes(_) => Ok(KeyValue::Text(String::new())),
        TransferValue::Null => Err(misfit("key")),
    }
}

fn misfit(what: &str) -> StoreError {
    MalformedValue::EnumValue(what.to_owned()).into()
}

fn text_of(value: TransferValue) -> Result<String, StoreError> {
    match value {
        TransferValue::Text(text) => Ok(text),
        _ => Err(misfit("text")),
    }
}

fn number_of(value: &TransferValue) -> Result<i64, StoreError> {
    match value {
        TransferValue::Integer(number) => Ok(*number),
        _ => Err(misfit("number")),
    }
}

fn bytes_of(value: &TransferValue) -> Result<&[u8], StoreError> {
    match value {
        TransferValue::Bytes(bytes) => Ok(bytes),
        _ => Err(misfit("bytes")),
    }
}

fn optional_text(text: Option<String>) -> TransferValue {
    text.map_or(TransferValue::Null, TransferValue::Text)
}

/// Turns the opened values of a row into those that are carried, in the order of the table's columns.
pub(super) fn carried(
    table: &'static TransferTable,
    columns: &[PhysicalColumn],
    mut found: Vec<TransferValue>,
) -> Result<Vec<TransferValue>, StoreError> {
    let mut take = |name: &str| {
        let value = columns.iter().zip(&mut found).find(|(column, _)| column.name == name);
        value.map(|(_, value)| std::mem::take(value)).unwrap_or_default()
    };
    let mut merged: Vec<(&str, TransferValue)> = Vec::new();
    if *table == EVENTS || *table == EVENT_CONFLICTS {
        let details: EventDetails = from_json(text_of(take("details"))?.as_bytes())?;
        let digest = hex::decode(&details.digest).ok_or_else(|| misfit("digest"))?;
        let (headers, query) = match take("request") {
            // Its content was pruned.
            TransferValue::Null => (String::new(), String::new()),
            request => {
                let head: RequestHead = from_json(text_of(request)?.as_bytes())?;
                (to_json(&head.headers)?, head.query)
            }
        };
        merged.extend([
            ("delivery_id", TransferValue::Text(details.delivery_id)),
            ("digest", TransferValue::Bytes(digest)),
            ("account", optional_text(details.account)),
            ("resource", optional_text(details.resource)),
            ("actor", optional_text(details.actor)),
            ("headers", TransferValue::Text(headers)),
            ("query", TransferValue::Text(query)),
        ]);
    }
    if *table == RECORDS {
        let TransferValue::Bytes(body) = take("body") else { return Err(misfit("body")) };
        let (key, json) = split_body(body)?;
        merged.extend([("key", TransferValue::Text(key)), ("json", TransferValue::Text(json))]);
    }
    if *table == IDEMPOTENCY_KEYS || *table == APPROVALS {
        merged.push(("digest", take("request_digest")));
    }
    let mut values = Vec::with_capacity(table.columns.len());
    for column in table.columns {
        let from_merged = merged.iter_mut().find(|(name, _)| *name == column.name);
        let value = from_merged.map_or_else(|| take(column.name), |(_, value)| std::mem::take(value));
        let default = DEFAULTS.iter().find(|(name, of, _)| *name == table.name && *of == column.name);
        values.push(match (value, default) {
            (TransferValue::Null, Some((_, _, default))) => TransferValue::Text((*default).to_owned()),
            (value, _) => value,
        });
    }
    Ok(values)
}

/// The values of a column of many rows.
#[derive(Debug)]
pub(super) enum Cells {
    Integers(Vec<Option<i64>>),
    Flags(Vec<Option<bool>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Cells {
    fn new(kind: TransferType) -> Self {
        match kind {
            TransferType::Integer => Self::Integers(Vec::new()),
            TransferType::Flag => Self::Flags(Vec::new()),
            TransferType::Text => Self::Texts(Vec::new()),
            TransferType::Bytes => Self::Bytes(Vec::new()),
        }
    }

    /// Adds a value, whose type was checked with its row.
    fn push(&mut self, value: TransferValue) -> Result<(), StoreError> {
        match (self, value) {
            (Self::Integers(cells), TransferValue::Integer(number)) => cells.push(Some(number)),
            (Self::Flags(cells), TransferValue::Integer(number)) => cells.push(Some(number != 0)),
            (Self::Texts(cells), TransferValue::Text(text)) => cells.push(Some(text)),
            (Self::Bytes(cells), TransferValue::Bytes(bytes)) => cells.push(Some(bytes)),
            (Self::Integers(cells), TransferValue::Null) => cells.push(None),
            (Self::Flags(cells), TransferValue::Null) => cells.push(None),
            (Self::Texts(cells), TransferValue::Null) => cells.push(None),
            (Self::Bytes(cells), TransferValue::Null) => cells.push(None),
            _ => return Err(misfit("column")),
        }
        Ok(())
    }

    pub(super) fn sql_type(&self) -> &'static str {
        match self {
            Self::Integers(_) => "bigint",
            Self::Flags(_) => "boolean",
            Self::Texts(_) => "text",
            Self::Bytes(_) => "bytea",
        }
    }

    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Integers(cells) => cells,
            Self::Flags(cells) => cells,
            Self::Texts(cells) => cells,
            Self::Bytes(cells) => cells,
        }
    }
}

/// A column to write, with a value for each row.
type NamedCells = (&'static str, Cells);

/// Returns the columns of rows as they are written, with what is derived.
pub(super) fn cells(
    sealer: &Sealer,
    table: &'static TransferTable,
    rows: Vec<TransferRow>,
) -> Result<Vec<NamedCells>, StoreError> {
    let mut columns = derived_columns(sealer, table, &rows)?;
    let name = table_name(table);
    let first = columns.len();
    let written: Vec<(usize, Option<Column>)> = table
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| merged_into(table, column.name).is_none())
        .map(|(index, column)| (index, sealed_column(name, column.name)))
        .collect();
    for (index, sealed) in &written {
        let column = &table.columns[*index];
        let kind = if sealed.is_some() { TransferType::Bytes } else { column.kind };
        columns.push((column.name, Cells::new(kind)));
    }
    for mut row in rows {
        let key = row.key(table).0.iter().map(key_value).collect::<Result<Vec<_>, _>>()?;
        for ((index, sealed), (_, cells)) in written.iter().zip(&mut columns[first..]) {
            let value = row.take(table, table.columns[*index].name)?;
            cells.push(match sealed {
                None => value,
                Some(column) => seal(sealer, *column, &key, value)?,
            })?;
        }
    }
    // The keys come first, as callers that write their own statements expect.
    columns.rotate_left(first);
    Ok(columns)
}

fn seal(sealer: &Sealer, column: Column, key: &[KeyValue], value: TransferValue) -> Result<TransferValue, StoreError> {
    let sealed = match &value {
        TransferValue::Text(text) => sealer.seal(column, row_key(key)?, text)?,
        TransferValue::Bytes(bytes) => sealer.seal(column, row_key(key)?, bytes)?,
        _ => return Ok(value),
    };
    Ok(TransferValue::Bytes(sealed))
}

/// Returns the columns that are made of others.
fn derived_columns(
    sealer: &Sealer,
    table: &'static TransferTable,
    rows: &[TransferRow],
) -> Result<Vec<NamedCells>, StoreError> {
    let mut columns: Vec<NamedCells> = match table.name {
        name if name == EVENTS.name => vec![
            ("details", Cells::new(TransferType::Bytes)),
            ("request", Cells::new(TransferType::Bytes)),
            ("digest", Cells::new(TransferType::Bytes)),
            ("dedup_key", Cells::new(TransferType::Bytes)),
            ("signed_dedup_key", Cells::new(TransferType::Bytes)),
        ],
        name if name == EVENT_CONFLICTS.name => vec![
            ("details", Cells::new(TransferType::Bytes)),
            ("request", Cells::new(TransferType::Bytes)),
            ("digest", Cells::new(TransferType::Bytes)),
        ],
        name if name == RECORDS.name => {
            ["key_hash", "hash", "body"].map(|name| (name, Cells::new(TransferType::Bytes))).into()
        }
        name if name == PARTITIONS.name => vec![("params_hash", Cells::new(TransferType::Bytes))],
        name if name == ENTITY_STATES.name => vec![("has_conflicts", Cells::new(TransferType::Flag))],
        name if name == IDEMPOTENCY_KEYS.name || name == APPROVALS.name => {
            vec![("digest", Cells::new(TransferType::Bytes)), ("request_digest", Cells::new(TransferType::Bytes))]
        }
        name if name == LOCKS.name => {
            vec![("holder", Cells::new(TransferType::Text)), ("expires_at", Cells::new(TransferType::Integer))]
        }
        // It refers to itself until its references are added.
        name if name == API_TOKENS.name => vec![("root_id", Cells::new(TransferType::Text))],
        _ => Vec::new(),
    };
    if columns.is_empty() {
        return Ok(columns);
    }
    for row in rows {
        for ((_, cells), value) in columns.iter_mut().zip(derived_values(sealer, table, row)?) {
            cells.push(value)?;
        }
    }
    Ok(columns)
}

fn derived_values(
    sealer: &Sealer,
    table: &'static TransferTable,
    row: &TransferRow,
) -> Result<Vec<TransferValue>, StoreError> {
    use TransferValue::{Bytes, Integer, Text};
    let get = |column| row.get(table, column);
    let text = |column| text_of(row.get(table, column)?.clone());
    let key = row.key(table).0.iter().map(key_value).collect::<Result<Vec<_>, _>>()?;
    Ok(match table.name {
        name if name == EVENTS.name => {
            let mut values = request_values(sealer, table, row, &key)?;
            let (delivery, signed) = keys_of_event(sealer, row)?;
            values.push(Bytes(delivery));
            values.push(signed.map_or(TransferValue::Null, Bytes));
            values
        }
        name if name == EVENT_CONFLICTS.name => request_values(sealer, table, row, &key)?,
        name if name == RECORDS.name => {
            let (stream, id) = (StreamId(number_of(get("stream_id")?)?), number_of(get("id")?)?);
            let (key, json) = (text("key")?, text("json")?);
            let hash = RecordHasher::from_key(sealer.record_key()).hash(&json).to_vec();
            vec![Bytes(key_hash(sealer, stream, &key)), Bytes(hash), Bytes(seal_body(sealer, id, &key, &json)?)]
        }
        name if name == PARTITIONS.name => {
            let stream = number_of(get("stream_id")?)?;
            vec![Bytes(super::streams::params_hash(sealer, StreamId(stream), &text("params")?))]
        }
        name if name == ENTITY_STATES.name => {
            let conflicts: Vec<serde_json::Value> = from_json(text("conflicts")?.as_bytes())?;
            vec![Integer((!conflicts.is_empty()).into())]
        }
        name if name == IDEMPOTENCY_KEYS.name || name == APPROVALS.name => {
            let digest = bytes_of(get("digest")?)?;
            let purpose = if *table == APPROVALS { "approvals" } else { "requests" };
            let column = sealed_column(table.name, "request_digest").ok_or_else(|| misfit("request_digest"))?;
            vec![Bytes(sealer.hash(purpose, &[digest])), seal(sealer, column, &key, Bytes(digest.to_vec()))?]
        }
        // Nobody holds it.
        name if name == LOCKS.name => vec![Text(String::new()), Integer(0)],
        _ => vec![get("id")?.clone()],
    })
}

/// Returns the sealed details and the sealed request of an event, and its keyed digest.
fn request_values(
    sealer: &Sealer,
    table: &'static TransferTable,
    row: &TransferRow,
    key: &[KeyValue],
) -> Result<Vec<TransferValue>, StoreError> {
    let text = |column| text_of(row.get(table, column)?.clone());
    let optional = |column| match row.get(table, column)? {
        TransferValue::Null => Ok(None),
        value => text_of(value.clone()).map(Some),
    };
    let digest = bytes_of(row.get(table, "digest")?)?;
    let details = EventDetails {
        // That of a conflict is its event's.
        delivery_id: if *table == EVENTS { text("delivery_id")? } else { String::new() },
        digest: hex::encode(digest),
        account: optional("account")?,
        resource: optional("resource")?,
        actor: optional("actor")?,
    };
    // Its content was pruned.
    let headers = text("headers")?;
    let request = if headers.is_empty() {
        TransferValue::Null
    } else {
        let head = RequestHead { headers: from_json(headers.as_bytes())?, query: text("query")? };
        TransferValue::Text(to_json(&head)?)
    };
    let column = |name| sealed_column(table.name, name).ok_or_else(|| misfit(name));
    Ok(vec![
        seal(sealer, column("details")?, key, TransferValue::Text(to_json(&details)?))?,
        seal(sealer, column("request")?, key, request)?,
        TransferValue::Bytes(keyed_digest(sealer, digest)),
    ])
}

/// Returns the keys by which a repeated event is recognised.
fn keys_of_event(sealer: &Sealer, row: &TransferRow) -> Result<(Vec<u8>, Option<Vec<u8>>), StoreError> {
    let connection = ConnectionId(number_of(row.get(&EVENTS, "connection_id")?)?);
    let delivery = text_of(row.get(&EVENTS, "delivery_id")?.clone())?;
    let signed = match row.get(&EVENTS, "signed_digest")? {
        TransferValue::Bytes(signed) => {
            let signed = signed.as_slice().try_into().map_err(|_| misfit("signed_digest"))?;
            Some(signed_key(sealer, connection, signed))
        }
        _ => None,
    };
    Ok((delivery_key(sealer, connection, &delivery), signed))
}

/// Returns the rows of the index of deliveries that belong to events.
pub(super) fn event_keys(sealer: &Sealer, rows: &[TransferRow]) -> Result<Vec<NamedCells>, StoreError> {
    let (mut keys, mut events) = (Vec::new(), Vec::new());
    for row in rows {
        let (delivery, signed) = keys_of_event(sealer, row)?;
        for key in [Some(delivery), signed].into_iter().flatten() {
            keys.push(Some(key));
            events.push(Some(number_of(row.get(&EVENTS, "id")?)?));
        }
    }
    Ok(vec![("key", Cells::Bytes(keys)), ("event_id", Cells::Integers(events))])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::migrations;
    use super::*;
    use crate::store::transfer::TRANSFER_TABLES;

    /// The columns that the store makes of others, or that are only its own.
    const DERIVED: &[&str] = &[
        "approvals.digest",
        "counters.name",
        "counters.value",
        "entity_states.has_conflicts",
        "event_conflicts.digest",
        "event_keys.event_id",
        "event_keys.key",
        "events.dedup_key",
        "events.digest",
        "events.signed_dedup_key",
        "idempotency_keys.digest",
        "locks.expires_at",
        "locks.holder",
        "partitions.params_hash",
        "records.hash",
        "records.key_hash",
        "workspaces.index_key",
        "workspaces.key_number",
    ];

    #[test]
    fn every_column_of_the_schema_is_carried_or_derived() {
        let columns = migrations::columns();
        let mut carried: BTreeSet<String> = BTreeSet::new();
        for table in TRANSFER_TABLES {
            for column in PhysicalTable::of(table).columns {
                let holder = column.sealed.map_or(table_name(table), |sealed| sealed.table);
                let name = format!("{holder}.{}", column.name);
                let declared = columns.iter().find(|found| found.table == holder && found.name == column.name);
                let expected = match column.kind {
                    _ if column.sealed.is_some() => "BYTEA",
                    TransferType::Integer => "BIGINT",
                    TransferType::Flag => "BOOLEAN",
                    TransferType::Text => "TEXT",
                    TransferType::Bytes => "BYTEA",
                };
                assert_eq!(declared.expect(&name).kind, expected, "{name}");
                carried.insert(name);
            }
        }
        let known: BTreeSet<String> =
            carried.into_iter().chain(DERIVED.iter().map(|name| (*name).to_owned())).collect();
        let declared = columns.iter().map(|column| format!("{}.{}", column.table, column.name));
        assert_eq!(declared.collect::<BTreeSet<_>>(), known);
    }
}
