//! Another key for a workspace whose nodes keep running.
//!
//! ```text
//! key file   database  new values  all values
//! 1          1         1           1            before
//! 1 2        1         1           1            the new key is where every node can read it
//! 1 2        2         2           1 2          add_key: from its commit on
//! 1 2        2         2           2            reseal, as often as it takes
//! 2          2         2           2            drop_key, which looks again; then the old key may be destroyed
//! ```
//!
//! The number of the key that seals is in the workspace's row, and each transaction that writes reads it first, while it shares a
//! lock; [`PostgresStore::add_key`] takes the lock alone. No transaction therefore commits a value that is sealed with the old
//! key once the new number is committed. A node that does not have the key of that number fails with
//! [`StoreError::UnknownKey`] before it writes anything, and so does one that meets a value that is sealed with it, unless the
//! key file has it by now: that is read again ([`PostgresStore::set_key_source`]).
//!
//! Resealing needs no memory of where it was: a value says with which key it is sealed. It skips rows that others have locked
//! and comes back to them, so that nobody waits for it for longer than a batch takes, and it waits for nobody.

use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{get, number};
use super::seal::{FORMAT, Sealer};
use super::sealed_columns::{KeyColumn, KeyValue, SEALED_TABLES, SealedTable, row_key};
use super::transaction::{Access, Transaction};
use super::value::{SqlValue, Value, given};
use super::workspace::INDEX_KEY;
use crate::store::{KeySource, StoreError, StoreKey, WorkspaceKeys};

/// Rows of one batch, unless they have more than [`BATCH_BYTES`].
const BATCH_ROWS: i64 = 500;

/// Bytes after which no further row is part of a batch.
const BATCH_BYTES: i64 = 4 << 20;

/// How often all tables are looked through for rows that others had locked.
const MAX_PASSES: usize = 10;

/// How far resealing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResealProgress {
    pub table: &'static str,
    /// Rows of this table that were sealed again by this call.
    pub rows: u64,
}

/// Whether a key is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDropResult {
    /// No value is sealed with it, and this store has forgotten it.
    Dropped,
    /// It is the one that seals, or so many rows have values that are sealed with it.
    InUse { rows: u64 },
}

impl PostgresStore {
    /// Sets where the keys are read again when one is not known: the key file, which another process may have changed.
    pub fn set_key_source(&self, source: KeySource) {
        self.sealer.set_source(source);
    }

    /// Returns the number of the key that seals new values.
    pub async fn key_number(&self) -> Result<u16, StoreError> {
        let sql = "SELECT key_number FROM integ.workspaces WHERE workspace_id = $1";
        let row = self.row(sql, &[]).await?;
        row.map_or_else(|| Err(StoreError::WorkspaceNotFound(self.id.to_string())), |row| number(&row, "key_number"))
    }

    /// Seals with another key from now on. It must be where every node finds it. Does nothing if it was added before.
    ///
    /// # Errors
    /// [`StoreError::KeyNumberTaken`] if the workspace has had a key with a greater number; [`StoreError::Unsealable`] if it has
    /// another one with this number.
    pub async fn add_key(&self, number: u16, key: &StoreKey) -> Result<(), StoreError> {
        let keys = WorkspaceKeys::of(number, key.clone());
        let transaction = self.begin_with(Access::Exclusive).await?;
        let current = transaction.sealer.current();
        if current > number {
            return Err(StoreError::KeyNumberTaken(number));
        }
        let sql = "SELECT index_key FROM integ.workspaces WHERE workspace_id = $1";
        let row = transaction.first(sql, &[]).await?;
        let row = row.ok_or_else(|| StoreError::WorkspaceNotFound(self.id.to_string()))?;
        let sealed: &[u8] = get(&row, "index_key")?;
        if current == number {
            // A key of the same number may be another one.
            return Sealer::new(self.workspace, &keys).open(INDEX_KEY, 0_i64, sealed).map(drop);
        }
        self.sealer.learn(&keys);
        let index_key = transaction.sealer.open(INDEX_KEY, 0_i64, sealed)?;
        let sealed = transaction.sealer.sealing_with(number)?.seal(INDEX_KEY, 0_i64, index_key.as_slice())?;
        let sql = "UPDATE integ.workspaces SET key_number = $2, index_key = $3 WHERE workspace_id = $1";
        transaction.execute(sql, &[&i64::from(number), &sealed]).await?;
        transaction.commit().await
    }

    /// Seals everything again that is sealed with another key than the one that seals now. A call that is cut off loses nothing,
    /// and another one goes on. Returns the number of rows that are left, because others have them locked.
    pub async fn reseal(&self, mut progress: impl FnMut(ResealProgress) + Send) -> Result<u64, StoreError> {
        for _ in 0..MAX_PASSES {
            let mut resealed = 0;
            for table in SEALED_TABLES {
                let mut rows = 0;
                let mut after = None;
                while let Some((last, count)) = self.reseal_batch(table, after.as_deref()).await? {
                    after = Some(last);
                    rows += count;
                    progress(ResealProgress { table: table.name, rows });
                }
                resealed += rows;
            }
            if resealed == 0 {
                break;
            }
        }
        let current = self.key_number().await?;
        self.count_sealed(KeyFilter::Not(current)).await
    }

    /// Forgets a key, if no value is sealed with it. It looks at each row of the workspace.
    pub async fn drop_key(&self, number: u16) -> Result<KeyDropResult, StoreError> {
        let rows = self.count_sealed(KeyFilter::Is(number)).await?;
        if rows > 0 || self.key_number().await? == number {
            return Ok(KeyDropResult::InUse { rows });
        }
        self.sealer.forget(number);
        Ok(KeyDropResult::Dropped)
    }

    /// Seals some rows after a key again. Returns the key of the last row that it looked at and the number of those that it
    /// changed; `None` if there is none to look at.
    async fn reseal_batch(
        &self,
        table: &SealedTable,
        after: Option<&[KeyValue]>,
    ) -> Result<Option<(Vec<KeyValue>, u64)>, StoreError> {
        let transaction = self.begin_unaudited().await?;
        let header = header(transaction.sealer.current());
        let keys = pick(&transaction, table, after, &header).await?;
        let Some(last) = keys.last().cloned() else { return Ok(None) };
        let rows = lock(&transaction, table, &keys, &header).await?;
        let changed = update(&transaction, table, &rows).await?;
        transaction.commit().await?;
        // A table with one row has no key after which it could go on.
        Ok((!last.is_empty() || changed > 0).then_some((last, changed)))
    }

    async fn count_sealed(&self, filter: KeyFilter) -> Result<u64, StoreError> {
        let (number, operator) = match filter {
            KeyFilter::Is(number) => (number, "="),
            KeyFilter::Not(number) => (number, "<>"),
        };
        let transaction = self.snapshot().await?;
        transaction.lift_time_limits().await?;
        let mut count = 0;
        for table in SEALED_TABLES {
            let condition = condition(table, operator);
            let sql = format!(
                "SELECT count(*) AS count FROM integ.{} t WHERE workspace_id = $1 AND ({condition})",
                table.name
            );
            let row = transaction.first(&sql, &[&header(number)]).await?;
            count += row.map_or(Ok(0), |row| self::number::<u64>(&row, "count"))?;
        }
        Ok(count)
    }
}

#[derive(Clone, Copy)]
enum KeyFilter {
    Is(u16),
    Not(u16),
}

/// What a value begins with that is sealed with a key.
fn header(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![FORMAT, high, low]
}

/// Whether a value of a row begins with the header `$2`, or with another one.
fn condition(table: &SealedTable, operator: &str) -> String {
    let columns = table.columns.iter().map(|column| format!("substr(t.{column}, 1, 3) {operator} $2"));
    columns.collect::<Vec<_>>().join(" OR ")
}

fn names(table: &SealedTable, prefix: &str) -> String {
    table.key.iter().map(|key| format!("{prefix}{}", key.name())).collect::<Vec<_>>().join(", ")
}

fn key_of(table: &SealedTable, row: &Row) -> Result<Vec<KeyValue>, StoreError> {
    let value = |key: &KeyColumn| {
        Ok(match key {
            KeyColumn::Id(name) => KeyValue::Id(get(row, name)?),
            KeyColumn::Text(name) => KeyValue::Text(get(row, name)?),
        })
    };
    table.key.iter().map(value).collect()
}

fn sql_values(key: &[KeyValue]) -> Vec<Box<dyn SqlValue + Send>> {
    let value = |value: &KeyValue| -> Box<dyn SqlValue + Send> {
        match value {
            KeyValue::Id(id) => Box::new(*id),
            KeyValue::Text(text) => Box::new(text.clone()),
        }
    };
    key.iter().map(value).collect()
}

/// Returns the keys of rows to seal again, as many as one batch takes.
async fn pick(
    transaction: &Transaction,
    table: &SealedTable,
    after: Option<&[KeyValue]>,
    header: &[u8],
) -> Result<Vec<Vec<KeyValue>>, StoreError> {
    let condition = condition(table, "<>");
    if table.key.is_empty() {
        let sql = format!("SELECT 1 FROM integ.{} t WHERE workspace_id = $1 AND ({condition})", table.name);
        let found = transaction.first(&sql, &[&header]).await?;
        return Ok(found.map(|_| Vec::new()).into_iter().filter(|_| after.is_none()).collect());
    }
    let keys = names(table, "");
    let sizes = table.columns.iter().map(|column| format!("coalesce(octet_length(t.{column}), 0)"));
    let sizes = sizes.collect::<Vec<_>>().join(" + ");
    let places: Vec<String> = (0..table.key.len()).map(|index| format!("${}", index + 5)).collect();
    let beyond = if after.is_some() { format!("AND ({keys}) > ({})", places.join(", ")) } else { String::new() };
    let sql = format!(
        "SELECT {keys} FROM (SELECT {keys}, sum(size) OVER (ORDER BY {keys}) - size AS before
             FROM (SELECT {keys}, {sizes} AS size FROM integ.{} t
                 WHERE workspace_id = $1 AND ({condition}) {beyond} ORDER BY {keys} LIMIT $3) first) sized
         WHERE before < $4 ORDER BY {keys}",
        table.name
    );
    let beyond = after.map(sql_values).unwrap_or_default();
    let mut values: Vec<Value<'_>> = vec![&header, &BATCH_ROWS, &BATCH_BYTES];
    values.extend(beyond.iter().map(|value| -> Value<'_> { &**value }));
    transaction.query(&sql, &values).await?.iter().map(|row| key_of(table, row)).collect()
}

/// Locks the rows with these keys that nobody else has locked, and reads them.
async fn lock(
    transaction: &Transaction,
    table: &SealedTable,
    keys: &[Vec<KeyValue>],
    header: &[u8],
) -> Result<Vec<Row>, StoreError> {
    let columns = table.columns.iter().map(|column| format!("t.{column}")).collect::<Vec<_>>().join(", ");
    let condition = condition(table, "<>");
    if table.key.is_empty() {
        let sql = format!(
            "SELECT {columns} FROM integ.{} t WHERE workspace_id = $1 AND ({condition}) FOR UPDATE SKIP LOCKED",
            table.name
        );
        return transaction.query(&sql, &[&header]).await;
    }
    let joins = table.key.iter().map(|key| format!(" AND t.{0} = u.{0}", key.name())).collect::<String>();
    let sql = format!(
        "SELECT {}, {columns} FROM {} JOIN integ.{} t ON t.workspace_id = u.workspace_id{joins}
         WHERE {condition} FOR UPDATE OF t SKIP LOCKED",
        names(table, "t."),
        format_args!(given!("{}", "{}"), key_places(table, 3), names(table, "")),
        table.name,
    );
    let arrays = key_arrays(table, keys);
    let mut values: Vec<Value<'_>> = vec![&header];
    values.extend(arrays.iter().map(|array| -> Value<'_> { &**array }));
    transaction.query(&sql, &values).await
}

/// Writes the parameters of arrays of keys, from a number on.
fn key_places(table: &SealedTable, first: usize) -> String {
    let place = |(index, key): (usize, &KeyColumn)| match key {
        KeyColumn::Id(_) => format!("${}::bigint[]", first + index),
        KeyColumn::Text(_) => format!("${}::text[]", first + index),
    };
    table.key.iter().enumerate().map(place).collect::<Vec<_>>().join(", ")
}

/// Turns keys into an array for each column.
fn key_arrays(table: &SealedTable, keys: &[Vec<KeyValue>]) -> Vec<Box<dyn SqlValue + Send>> {
    let array = |(index, key): (usize, &KeyColumn)| -> Box<dyn SqlValue + Send> {
        let column = keys.iter().filter_map(|key| key.get(index));
        match key {
            KeyColumn::Id(_) => Box::new(
                column
                    .filter_map(|value| if let KeyValue::Id(id) = value { Some(*id) } else { None })
                    .collect::<Vec<_>>(),
            ),
            KeyColumn::Text(_) => Box::new(
                column
                    .filter_map(|value| if let KeyValue::Text(text) = value { Some(text.clone()) } else { None })
                    .collect::<Vec<_>>(),
            ),
        }
    };
    table.key.iter().enumerate().map(array).collect()
}

/// Seals the values of rows with the key that seals now.
async fn update(transaction: &Transaction, table: &SealedTable, rows: &[Row]) -> Result<u64, StoreError> {
    if rows.is_empty() {
        return Ok(0);
    }
    let mut keys = Vec::with_capacity(rows.len());
    let mut columns: Vec<Vec<Option<Vec<u8>>>> = vec![Vec::with_capacity(rows.len()); table.columns.len()];
    for row in rows {
        let key = key_of(table, row)?;
        for (values, name) in columns.iter_mut().zip(table.columns) {
            let column = super::seal::column(table.name, name);
            let sealed: Option<&[u8]> = get(row, name)?;
            let opened = sealed.map(|sealed| transaction.sealer.open(column, row_key(&key)?, sealed)).transpose()?;
            values.push(opened.map(|plain| transaction.sealer.seal(column, row_key(&key)?, &*plain)).transpose()?);
        }
        keys.push(key);
    }
    let (shift, count) = (2 + table.key.len(), table.columns.len());
    let set = table.columns.iter().map(|column| format!("{column} = u.{column}")).collect::<Vec<_>>().join(", ");
    let places = (0..count).map(|index| format!("${}::bytea[]", shift + index)).collect::<Vec<_>>();
    let all_places = [key_places(table, 2)].into_iter().filter(|places| !places.is_empty()).chain(places);
    let all_names = [names(table, "")].into_iter().filter(|names| !names.is_empty());
    let all_names = all_names.chain(table.columns.iter().map(|column| (*column).to_owned()));
    let joins = table.key.iter().map(|key| format!(" AND t.{0} = u.{0}", key.name())).collect::<String>();
    let sql = format!(
        "UPDATE integ.{} t SET {set} FROM {} WHERE t.workspace_id = u.workspace_id{joins}",
        table.name,
        format_args!(
            given!("{}", "{}"),
            all_places.collect::<Vec<_>>().join(", "),
            all_names.collect::<Vec<_>>().join(", ")
        ),
    );
    let arrays = key_arrays(table, &keys);
    let mut values: Vec<Value<'_>> = arrays.iter().map(|array| -> Value<'_> { &**array }).collect();
    values.extend(columns.iter().map(|column| -> Value<'_> { column }));
    transaction.execute(&sql, &values).await
}
