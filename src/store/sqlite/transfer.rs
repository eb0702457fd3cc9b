//! Rows of whole tables, read and written as they are carried from one store to another.

use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, params_from_iter};

use super::{SqliteStore, StoreError, event_keys};
use crate::model::ConnectionId;
use crate::store::transfer::{
    API_TOKEN_PARENTS, API_TOKENS, AUDIT_STATE, CHUNK_BYTES, CHUNK_ROWS, CONSENTS, COUNTED_TABLES, EVENTS, LOCKS,
    PARTITION_PARENTS, RECORDS, TransferKey, TransferRow, TransferTable, TransferValue, WORKSPACE, WorkspaceCounters,
};
use crate::store::{MalformedValue, RecordHasher, Store};
use crate::task::blocking;

impl ToSql for TransferValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// The workspace as it was when the reader was made: a connection within a transaction.
#[derive(Debug)]
pub struct SqliteReader {
    /// Absent only while a read runs.
    connection: Option<Connection>,
}

impl SqliteReader {
    pub(in crate::store) async fn read_rows(
        &mut self,
        table: &'static TransferTable,
        after: Option<&TransferKey>,
    ) -> Result<Vec<TransferRow>, StoreError> {
        let after = after.cloned();
        self.run(move |connection| read_rows(connection, table, after.as_ref())).await
    }

    pub(in crate::store) async fn counters(&mut self) -> Result<WorkspaceCounters, StoreError> {
        self.run(counters).await
    }

    async fn run<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = self.connection.take().ok_or(StoreError::Closed)?;
        let (connection, result) = blocking(move || {
            let result = read(&connection);
            (connection, result)
        })
        .await;
        self.connection = Some(connection);
        result
    }
}

impl SqliteStore {
    /// Returns what the store has at this moment, whatever is written meanwhile.
    pub(in crate::store) async fn reader(&self) -> Result<SqliteReader, StoreError> {
        let file = self.file.clone();
        let connection = blocking(move || {
            let connection = file.open()?;
            connection.execute_batch("BEGIN")?;
            // The first read decides which moment it is.
            connection.query_row("SELECT created_at FROM meta", [], |row| row.get::<_, i64>(0))?;
            Ok::<_, StoreError>(connection)
        });
        Ok(SqliteReader { connection: Some(connection.await?) })
    }

    pub(in crate::store) async fn write_rows(
        &self,
        table: &'static TransferTable,
        rows: Vec<TransferRow>,
    ) -> Result<(), StoreError> {
        let (rows, hasher) = (Arc::new(rows), self.record_hasher());
        self.write(move |transaction| write_rows(transaction, table, &rows, hasher)).await
    }

    pub(in crate::store) async fn last_key(
        &self,
        table: &'static TransferTable,
    ) -> Result<Option<TransferKey>, StoreError> {
        self.read(move |connection| {
            let names = key_names(table).join(", ");
            let order = key_names(table).join(" DESC, ");
            let sql = format!("SELECT {names} FROM {} ORDER BY {order} DESC LIMIT 1", source_of(table));
            let key = |row: &rusqlite::Row<'_>| (0..table.key_length).map(|index| value(row, index)).collect();
            let found: Option<rusqlite::Result<Vec<_>>> =
                connection.query_row(&sql, [], |row| Ok(key(row))).optional()?;
            Ok(found.transpose()?.map(TransferKey))
        })
        .await
    }

    pub(in crate::store) async fn raise_counters(&self, counters: &WorkspaceCounters) -> Result<(), StoreError> {
        let counters = counters.clone();
        self.write(move |transaction| raise_counters(transaction, &counters)).await
    }
}

/// What the rows of a table are read from.
fn source_of(table: &TransferTable) -> &'static str {
    match table.name {
        name if name == WORKSPACE.name => "meta",
        name if name == RECORDS.name => "records LEFT JOIN record_bodies ON record_id = id",
        name if name == PARTITION_PARENTS.name => "partitions",
        name if name == API_TOKEN_PARENTS.name => "api_tokens",
        name => name,
    }
}

/// How a column is selected.
fn source_column(table: &TransferTable, column: &'static str) -> &'static str {
    // They are numbered in the order in which they were granted.
    if *table == CONSENTS && column == "number" { "rowid" } else { column }
}

fn key_names(table: &TransferTable) -> Vec<&'static str> {
    table.key().map(|column| source_column(table, column)).collect()
}

fn value(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<TransferValue> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => TransferValue::Null,
        ValueRef::Integer(number) => TransferValue::Integer(number),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => TransferValue::Text(text.to_owned()),
            // No column of the schema takes bytes for a text.
            Err(_) => TransferValue::Bytes(text.to_vec()),
        },
        ValueRef::Blob(bytes) => TransferValue::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(rusqlite::Error::InvalidQuery),
    })
}

fn read_rows(
    connection: &Connection,
    table: &'static TransferTable,
    after: Option<&TransferKey>,
) -> Result<Vec<TransferRow>, StoreError> {
    let columns: Vec<_> = table.columns.iter().map(|column| source_column(table, column.name)).collect();
    let mut sql = format!("SELECT {} FROM {}", columns.join(", "), source_of(table));
    let keys = key_names(table).join(", ");
    if after.is_some() {
        let values = vec!["?"; table.key_length].join(", ");
        sql.push_str(&format!(" WHERE ({keys}) > ({values})"));
    }
    if table.key_length > 0 {
        sql.push_str(&format!(" ORDER BY {keys} LIMIT {CHUNK_ROWS}"));
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query(params_from_iter(after.map(|key| key.0.as_slice()).unwrap_or_default()))?;
    let (mut rows, mut size) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let values = (0..table.columns.len()).map(|index| value(row, index)).collect::<rusqlite::Result<_>>()?;
        let row = TransferRow::new(table, values)?;
        size += row.size();
        rows.push(row);
        if size >= CHUNK_BYTES as usize {
            break;
        }
    }
    Ok(rows)
}

fn write_rows(
    transaction: &Transaction<'_>,
    table: &'static TransferTable,
    rows: &[TransferRow],
    hasher: RecordHasher,
) -> Result<(), StoreError> {
    // What is written beside the columns of the table.
    let (more_columns, more_values) = match table.name {
        name if name == RECORDS.name => (", hash", ", ?13"),
        name if name == EVENTS.name => (", dedup_key, signed_dedup_key", ", ?24, ?25"),
        name if name == LOCKS.name => (", holder, expires_at", ", '', 0"),
        // It refers to itself until its references are added.
        name if name == API_TOKENS.name => (", root_id", ", ?1"),
        name if name == AUDIT_STATE.name => (", only_row", ", 1"),
        _ => ("", ""),
    };
    let sql = match table.name {
        name if name == WORKSPACE.name => "UPDATE meta SET created_at = ?1, restored_at = ?2".to_owned(),
        name if name == PARTITION_PARENTS.name => {
            "UPDATE partitions SET parent_record_id = ?2, parent_version = ?3 WHERE id = ?1".to_owned()
        }
        name if name == API_TOKEN_PARENTS.name => {
            "UPDATE api_tokens SET parent_id = ?2, root_id = ?3 WHERE id = ?1".to_owned()
        }
        name => {
            let columns = table.columns.iter().filter(|column| !is_in_other_table(table, column.name));
            let columns: Vec<_> = columns.map(|column| source_column(table, column.name)).collect();
            let values: Vec<_> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
            let (columns, values) = (columns.join(", "), values.join(", "));
            // A new store has its row already.
            let insert = if *table == AUDIT_STATE { "INSERT OR REPLACE" } else { "INSERT" };
            format!("{insert} INTO {name} ({columns}{more_columns}) VALUES ({values}{more_values})")
        }
    };
    let mut statement = transaction.prepare_cached(&sql)?;
    let mut keys: Vec<(i64, i64)> = Vec::new();
    for row in rows {
        let (values, derived) = match table.name {
            name if name == RECORDS.name => {
                let (json, others) = row.values().split_last().ok_or_else(|| misfit("row"))?;
                (others, vec![TransferValue::Bytes(hasher.hash(text(json)?).to_vec())])
            }
            name if name == EVENTS.name => (row.values(), derived_keys(row, &mut keys)?),
            _ => (row.values(), Vec::new()),
        };
        statement.execute(params_from_iter(values.iter().chain(&derived)))?;
        if *table == RECORDS {
            let sql = "INSERT INTO record_bodies (record_id, json) VALUES (?1, ?2)";
            transaction.prepare_cached(sql)?.execute((row.get(table, "id")?, row.get(table, "json")?))?;
        }
    }
    // In the order of the index, as far as that is possible.
    keys.sort_unstable();
    for (key, event) in keys {
        event_keys::put_now(transaction, key, event)?;
    }
    Ok(())
}

/// Whether a column is not one of the table of the same name.
fn is_in_other_table(table: &TransferTable, column: &str) -> bool {
    *table == RECORDS && column == "json"
}

/// Returns the keys by which a repeated event is recognised, and adds them to those of other events.
fn derived_keys(row: &TransferRow, keys: &mut Vec<(i64, i64)>) -> Result<Vec<TransferValue>, StoreError> {
    let (id, connection) = (number(row.get(&EVENTS, "id")?)?, number(row.get(&EVENTS, "connection_id")?)?);
    let connection = ConnectionId(connection);
    let key = event_keys::key(connection, text(row.get(&EVENTS, "delivery_id")?)?);
    keys.push((key, id));
    let signed = match row.get(&EVENTS, "signed_digest")? {
        TransferValue::Bytes(signed) => {
            let signed = signed.as_slice().try_into().map_err(|_| misfit("signed_digest"))?;
            let key = event_keys::signed_key(connection, signed);
            keys.push((key, id));
            TransferValue::Integer(key)
        }
        _ => TransferValue::Null,
    };
    Ok(vec![TransferValue::Integer(key), signed])
}

fn text(value: &TransferValue) -> Result<&str, StoreError> {
    match value {
        TransferValue::Text(text) => Ok(text),
        _ => Err(misfit("text")),
    }
}

fn number(value: &TransferValue) -> Result<i64, StoreError> {
    match value {
        TransferValue::Integer(number) => Ok(*number),
        _ => Err(misfit("number")),
    }
}

fn misfit(what: &str) -> StoreError {
    MalformedValue::EnumValue(what.to_owned()).into()
}

fn counters(connection: &Connection) -> Result<WorkspaceCounters, StoreError> {
    let version = connection.query_row("SELECT sequence FROM meta", [], |row| row.get(0))?;
    let mut ids = Vec::with_capacity(COUNTED_TABLES.len());
    for table in COUNTED_TABLES {
        // Ids of some tables are used again once their rows are deleted; the greatest one is what is known of them.
        let sql = format!(
            "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?1), 0), \
             coalesce((SELECT max(rowid) FROM {table}), 0))"
        );
        ids.push((*table, connection.query_row(&sql, [table], |row| row.get(0))?));
    }
    Ok(WorkspaceCounters { version, ids })
}

fn raise_counters(transaction: &Transaction<'_>, counters: &WorkspaceCounters) -> Result<(), StoreError> {
    // The keys of all events are in their table.
    let sql = "UPDATE meta SET sequence = max(sequence, ?1), \
               dedup_indexed_to = (SELECT coalesce(max(id), 0) FROM events)";
    transaction.execute(sql, [counters.version])?;
    for (table, last) in &counters.ids {
        let sql = "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1";
        let counted = "SELECT 1 FROM sqlite_schema WHERE name = ?1 AND sql LIKE '%AUTOINCREMENT%'";
        let is_counted = transaction.query_row(counted, [table], |_| Ok(())).optional()?.is_some();
        if is_counted && transaction.execute(sql, (table, last))? == 0 {
            transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", (table, last))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::migrations;
    use super::*;
    use crate::store::transfer::{TRANSFER_TABLES, TransferType};

    /// The columns that the store makes of others, or that are only its own.
    const DERIVED: &[&str] = &[
        "audit_state.only_row",
        "event_dedup_keys.event_id",
        "event_dedup_keys.key",
        "events.dedup_key",
        "events.signed_dedup_key",
        "locks.expires_at",
        "locks.holder",
        "meta.dedup_indexed_to",
        "meta.only_row",
        "meta.sequence",
        "meta.vault_id",
        "record_bodies.record_id",
        "records.hash",
    ];

    #[test]
    fn every_column_of_the_schema_is_carried_or_derived() {
        let mut sqlite = Connection::open_in_memory().unwrap();
        migrations::migrate(&mut sqlite).unwrap();
        let sql = "SELECT m.name || '.' || c.name, c.type, c.\"notnull\" FROM sqlite_schema m JOIN pragma_table_info(m.name) c
                   WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'";
        let mut statement = sqlite.prepare(sql).unwrap();
        let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        let columns: Vec<(String, String, bool)> = columns.collect::<rusqlite::Result<_>>().unwrap();
        let mut carried: BTreeSet<String> = BTreeSet::new();
        for table in TRANSFER_TABLES {
            for column in table.columns.iter().filter(|column| source_column(table, column.name) != "rowid") {
                let source = if is_in_other_table(table, column.name) { "record_bodies" } else { source_of(table) };
                let name = format!("{}.{}", source.split(' ').next().unwrap(), column.name);
                let (_, kind, is_required) = columns.iter().find(|(found, ..)| *found == name).expect(&name);
                let expected = match column.kind {
                    TransferType::Integer | TransferType::Flag => "INTEGER",
                    TransferType::Text => "TEXT",
                    TransferType::Bytes => "BLOB",
                };
                assert_eq!(kind, expected, "{name}");
                // The key of a table is never NULL, whatever is declared.
                let is_key = table.key().any(|key| key == column.name);
                assert!(is_key || *is_required != column.is_optional, "{name}");
                carried.insert(name);
            }
        }
        let known: BTreeSet<String> =
            carried.into_iter().chain(DERIVED.iter().map(|name| (*name).to_owned())).collect();
        assert_eq!(columns.into_iter().map(|(name, ..)| name).collect::<BTreeSet<_>>(), known);
    }
}
