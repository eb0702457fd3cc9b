//! Rows of whole tables, read and written as they are carried from one store to another.
//!
//! COPY is not possible: PostgreSQL refuses it for tables with row-level security. Rows are therefore inserted from arrays, a
//! thousand in one statement. What a table here has beside or in place of the columns that are carried is made in [`super::
//! transfer_columns`].

use tokio_postgres::Row;

use super::row::{get, number, signed};
use super::seal::Sealer;
use super::sealed_columns::{KeyValue, row_key, sealed_table};
use super::transaction::Transaction;
use super::transfer_columns::{self, Cells, PhysicalTable};
use super::value::{SqlValue, Value, given};
use super::{PostgresStore, sealed_columns};
use crate::store::transfer::{
    API_TOKEN_PARENTS, AUDIT_STATE, CHUNK_BYTES, CHUNK_ROWS, COUNTED_TABLES, EVENTS, PARTITION_PARENTS, TransferKey,
    TransferRow, TransferTable, TransferType, TransferValue, WORKSPACE, WorkspaceCounters,
};
use crate::store::{MalformedValue, StoreError};

/// The workspace as it was when the reader was made: an open transaction, which holds up the server's removal of deleted rows.
pub struct PostgresReader {
    transaction: Transaction,
}

impl std::fmt::Debug for PostgresReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresReader").finish_non_exhaustive()
    }
}

impl PostgresReader {
    pub(in crate::store) async fn read_rows(
        &mut self,
        table: &'static TransferTable,
        after: Option<&TransferKey>,
    ) -> Result<Vec<TransferRow>, StoreError> {
        let transaction = &self.transaction;
        let physical = PhysicalTable::of(table);
        let sql = physical.select(after.is_some());
        let after = after.map(|key| key.0.iter().map(sql_value).collect::<Result<Vec<_>, _>>()).transpose()?;
        let after = after.unwrap_or_default();
        let limits = (i64::from(CHUNK_ROWS), i64::from(CHUNK_BYTES));
        let mut values: Vec<Value<'_>> = Vec::with_capacity(2 + after.len());
        if table.key_length > 0 {
            values.extend([&limits.0 as Value<'_>, &limits.1]);
        }
        values.extend(after.iter().map(|value| -> Value<'_> { &**value }));
        let rows = transaction.query(&sql, &values).await?;
        rows.iter().map(|row| from_row(&transaction.sealer, table, &physical, row)).collect()
    }

    pub(in crate::store) async fn counters(&mut self) -> Result<WorkspaceCounters, StoreError> {
        let sql = "SELECT name, value FROM integ.counters WHERE workspace_id = $1";
        let (mut version, mut ids) = (0, Vec::with_capacity(COUNTED_TABLES.len()));
        for row in self.transaction.query(sql, &[]).await? {
            match get::<&str>(&row, "name")? {
                "records" => version = number(&row, "value")?,
                _ => ids.push((EVENTS.name, get(&row, "value")?)),
            }
        }
        for table in COUNTED_TABLES.iter().filter(|table| **table != EVENTS.name) {
            let sql = format!("SELECT coalesce(pg_sequence_last_value('{}'), 0) AS value", sequence(table));
            let row = self.transaction.first(&sql, &[]).await?;
            ids.push((table, row.map_or(Ok(0), |row| get(&row, "value"))?));
        }
        Ok(WorkspaceCounters { version, ids })
    }
}

impl PostgresStore {
    /// Returns what the workspace has at this moment, whatever is written meanwhile.
    pub(in crate::store) async fn reader(&self) -> Result<PostgresReader, StoreError> {
        let transaction = self.snapshot().await?;
        transaction.lift_time_limits().await?;
        // A table is read in the order of its key. Without statistics the server takes what is left of it for small, and sorts
        // it for each part.
        transaction.run("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off").await?;
        Ok(PostgresReader { transaction })
    }

    pub(in crate::store) async fn write_rows(
        &self,
        table: &'static TransferTable,
        rows: Vec<TransferRow>,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let transaction = self.begin_unaudited().await?;
        match table.name {
            name if name == WORKSPACE.name => {
                let sql = "UPDATE integ.workspaces t SET created_at = u.created_at, restored_at = u.restored_at
                           FROM unnest($2::bigint[], $3::bigint[]) AS u (created_at, restored_at) WHERE t.workspace_id = $1";
                run(&transaction, sql, transfer_columns::cells(&transaction.sealer, table, rows)?).await?;
            }
            name if name == PARTITION_PARENTS.name => {
                let sql = concat!(
                    "UPDATE integ.partitions t SET parent_record_id = u.record, parent_version = u.version FROM ",
                    given!("$2::bigint[], $3::bigint[], $4::bigint[]", "id, record, version"),
                    " WHERE t.workspace_id = u.workspace_id AND t.id = u.id"
                );
                run(&transaction, sql, transfer_columns::cells(&transaction.sealer, table, rows)?).await?;
            }
            name if name == API_TOKEN_PARENTS.name => {
                let sql = concat!(
                    "UPDATE integ.api_tokens t SET parent_id = u.parent, root_id = u.root FROM ",
                    given!("$2::text[], $3::text[], $4::text[]", "id, parent, root"),
                    " WHERE t.workspace_id = u.workspace_id AND t.id = u.id"
                );
                run(&transaction, sql, transfer_columns::cells(&transaction.sealer, table, rows)?).await?;
            }
            _ => insert_rows(&transaction, table, rows).await?,
        }
        transaction.commit().await
    }

    pub(in crate::store) async fn last_key(
        &self,
        table: &'static TransferTable,
    ) -> Result<Option<TransferKey>, StoreError> {
        let physical = PhysicalTable::of(table);
        let Some(row) = self.row(&physical.select_last_key(), &[]).await? else { return Ok(None) };
        let key = table.columns.iter().take(table.key_length).enumerate();
        let key = key.map(|(index, column)| plain_value(&row, index, column.kind)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(TransferKey(key)))
    }

    pub(in crate::store) async fn raise_counters(&self, counters: &WorkspaceCounters) -> Result<(), StoreError> {
        let transaction = self.begin_unaudited().await?;
        let sql = "UPDATE integ.counters SET value = greatest(value, $3) WHERE workspace_id = $1 AND name = $2";
        transaction.execute(sql, &[&"records", &signed(counters.version)]).await?;
        for (table, last) in &counters.ids {
            if *table == EVENTS.name {
                transaction.execute(sql, &[&"events", last]).await?;
            } else if *last > 0 {
                let name = sequence(table);
                let name = name.trim_start_matches("integ.");
                transaction.query("SELECT integ.raise_sequence($2, $3)", &[&name, last]).await?;
            }
        }
        transaction.commit().await
    }
}

/// The sequence that the ids of a table come from.
fn sequence(table: &str) -> String {
    match table {
        "consents" => "integ.consents_number".to_owned(),
        table => format!("integ.{table}_id"),
    }
}

fn sql_value(value: &TransferValue) -> Result<Box<dyn SqlValue + Send>, StoreError> {
    Ok(match value {
        TransferValue::Integer(number) => Box::new(*number),
        TransferValue::Text(text) => Box::new(text.clone()),
        TransferValue::Bytes(bytes) => Box::new(bytes.clone()),
        TransferValue::Null => return Err(MalformedValue::EnumValue("key".to_owned()).into()),
    })
}

/// Reads the value of a column that is not sealed.
fn plain_value(row: &Row, index: usize, kind: TransferType) -> Result<TransferValue, StoreError> {
    use TransferValue::{Bytes, Integer, Null, Text};
    let failed = super::error::failed;
    Ok(match kind {
        TransferType::Integer => row.try_get::<_, Option<i64>>(index).map_err(failed)?.map_or(Null, Integer),
        TransferType::Flag => {
            row.try_get::<_, Option<bool>>(index).map_err(failed)?.map_or(Null, |flag| Integer(flag.into()))
        }
        TransferType::Text => row.try_get::<_, Option<String>>(index).map_err(failed)?.map_or(Null, Text),
        TransferType::Bytes => row.try_get::<_, Option<Vec<u8>>>(index).map_err(failed)?.map_or(Null, Bytes),
    })
}

/// Makes a row of what [`PhysicalTable::select`] has selected.
fn from_row(
    sealer: &Sealer,
    table: &'static TransferTable,
    physical: &PhysicalTable,
    row: &Row,
) -> Result<TransferRow, StoreError> {
    let mut found = Vec::with_capacity(physical.columns.len());
    let mut key: Vec<KeyValue> = Vec::new();
    for (index, column) in physical.columns.iter().enumerate() {
        let value = match column.sealed {
            None => plain_value(row, index, column.kind)?,
            Some(sealed) => match row.try_get::<_, Option<&[u8]>>(index).map_err(super::error::failed)? {
                None => TransferValue::Null,
                Some(bytes) => {
                    let plain = sealer.open(sealed, row_key(&key)?, bytes)?;
                    opened_value(&plain, column.kind, column.name)?
                }
            },
        };
        if index < table.key_length {
            key.push(transfer_columns::key_value(&value)?);
        }
        found.push(value);
    }
    TransferRow::new(table, transfer_columns::carried(table, &physical.columns, found)?)
}

fn opened_value(plain: &[u8], kind: TransferType, name: &str) -> Result<TransferValue, StoreError> {
    Ok(match kind {
        TransferType::Text => {
            let text = std::str::from_utf8(plain).map_err(|_| MalformedValue::EnumValue(name.to_owned()))?;
            TransferValue::Text(text.to_owned())
        }
        _ => TransferValue::Bytes(plain.to_vec()),
    })
}

async fn insert_rows(
    transaction: &Transaction,
    table: &'static TransferTable,
    rows: Vec<TransferRow>,
) -> Result<(), StoreError> {
    let is_events = *table == EVENTS;
    let keys = is_events.then(|| transfer_columns::event_keys(&transaction.sealer, &rows)).transpose()?;
    let cells = transfer_columns::cells(&transaction.sealer, table, rows)?;
    let conflict = if *table == AUDIT_STATE {
        // A new workspace has its row already.
        let set = cells.iter().map(|(name, _)| format!("{name} = excluded.{name}")).collect::<Vec<_>>().join(", ");
        format!("ON CONFLICT (workspace_id) DO UPDATE SET {set}")
    } else {
        String::new()
    };
    insert(transaction, table.name, cells, &conflict).await?;
    if let Some(keys) = keys {
        insert(transaction, "event_keys", keys, "").await?;
    }
    Ok(())
}

async fn insert(
    transaction: &Transaction,
    table: &str,
    cells: Vec<(&'static str, Cells)>,
    conflict: &str,
) -> Result<(), StoreError> {
    let names = cells.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let places = cells.iter().enumerate().map(|(index, (_, cells))| format!("${}::{}[]", index + 2, cells.sql_type()));
    let places = places.collect::<Vec<_>>().join(", ");
    let sql =
        format!("INSERT INTO integ.{table} (workspace_id, {names}) SELECT $1, * FROM unnest({places}) {conflict}");
    run(transaction, &sql, cells).await
}

async fn run(transaction: &Transaction, sql: &str, cells: Vec<(&'static str, Cells)>) -> Result<(), StoreError> {
    let values: Vec<Value<'_>> = cells.iter().map(|(_, cells)| cells.value()).collect();
    transaction.execute(sql, &values).await.map(drop)
}

/// Returns the sealed column of a table, if it is one.
pub(super) fn sealed_column(table: &str, column: &str) -> Option<super::seal::Column> {
    sealed_table(table).and_then(|table: &sealed_columns::SealedTable| table.column(column))
}
