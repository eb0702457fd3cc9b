//! Grants: generations are compared in the statements that change them.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::locks::check_fence;
use super::row::{SealedRow, get, get_seconds, get_word, optional_number, optional_seconds, signed};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::transitions::{HealthBefore, TrackedConnection};
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{
    Connection, ConnectionId, ConnectionTransition, Grant, GrantMetadata, GrantWriteResult, RefreshAttempt,
    SecretStorage, StoredGrant,
};
use crate::store::sqlite::{grant_from_text, secrets_text};
use crate::store::{Fence, Grants, StoreError};

const SECRETS: Column = column("grants", "secrets");

#[async_trait]
impl Grants for PostgresStore {
    async fn get(&self, id: ConnectionId) -> Result<Option<StoredGrant>, StoreError> {
        self.grant_of(id).await
    }

    async fn begin_refresh(
        &self,
        id: ConnectionId,
        generation: u64,
        at: Timestamp,
        fence: Fence,
    ) -> Result<GrantWriteResult, StoreError> {
        let transaction = self.begin().await?;
        check_fence(&transaction, fence).await?;
        let sql = "UPDATE integ.grants SET refresh_started_at = $4, refresh_generation = generation
                   WHERE workspace_id = $1 AND connection_id = $2 AND generation = $3";
        update(transaction, sql, generation, &[&id.0, &signed(generation), &at.as_second()]).await
    }

    async fn cancel_refresh(
        &self,
        id: ConnectionId,
        generation: u64,
        fence: Fence,
    ) -> Result<GrantWriteResult, StoreError> {
        let transaction = self.begin().await?;
        check_fence(&transaction, fence).await?;
        let sql = "UPDATE integ.grants SET refresh_started_at = NULL, refresh_generation = NULL
                   WHERE workspace_id = $1 AND connection_id = $2 AND generation = $3";
        update(transaction, sql, generation, &[&id.0, &signed(generation)]).await
    }

    async fn replace(
        &self,
        id: ConnectionId,
        generation: u64,
        grant: &Grant,
        fence: Fence,
    ) -> Result<(GrantWriteResult, Option<ConnectionTransition>), StoreError> {
        let transaction = self.begin().await?;
        check_fence(&transaction, fence).await?;
        let before = HealthBefore::read(&transaction, TrackedConnection::Id(id)).await?;
        if !put(&transaction, id, Some(generation), grant).await? {
            return Ok((GrantWriteResult::Superseded, None));
        }
        let sql = "UPDATE integ.connections SET grant_status = 'active', status_reason = NULL, error_count = 0,
                       last_error = NULL
                   WHERE workspace_id = $1 AND id = $2";
        transaction.execute(sql, &[&id.0]).await?;
        let transition = before.transition(&transaction).await?;
        transaction.commit().await?;
        Ok((GrantWriteResult::Done { generation: generation + 1 }, transition))
    }

    async fn move_to_keyring(&self, id: ConnectionId, generation: u64) -> Result<GrantWriteResult, StoreError> {
        let sql = "UPDATE integ.grants SET secrets = NULL, in_keyring = TRUE
                   WHERE workspace_id = $1 AND connection_id = $2 AND generation = $3";
        update(self.begin().await?, sql, generation, &[&id.0, &signed(generation)]).await
    }

    async fn move_to_store(
        &self,
        id: ConnectionId,
        generation: u64,
        grant: &Grant,
    ) -> Result<GrantWriteResult, StoreError> {
        let transaction = self.begin().await?;
        let secrets = transaction.sealer.seal(SECRETS, id.0, secrets_text(grant, None)?.as_bytes())?;
        let sql = "UPDATE integ.grants SET secrets = $4
                   WHERE workspace_id = $1 AND connection_id = $2 AND generation = $3";
        update(transaction, sql, generation, &[&id.0, &signed(generation), &secrets]).await
    }

    async fn mark_all_in_keyring(&self) -> Result<(), StoreError> {
        self.execute("UPDATE integ.grants SET in_keyring = TRUE WHERE workspace_id = $1", &[]).await.map(drop)
    }

    async fn clear_in_keyring(&self, id: ConnectionId) -> Result<(), StoreError> {
        let sql = "UPDATE integ.grants SET in_keyring = FALSE
                   WHERE workspace_id = $1 AND connection_id = $2 AND secrets IS NOT NULL";
        self.execute(sql, &[&id.0]).await.map(drop)
    }

    async fn list(&self) -> Result<Vec<(Connection, StoredGrant)>, StoreError> {
        self.list_with_grants().await
    }

    async fn restored(&self) -> Result<Vec<ConnectionId>, StoreError> {
        let sql =
            "SELECT connection_id FROM integ.grants WHERE workspace_id = $1 AND from_backup ORDER BY connection_id";
        self.rows(sql, &[]).await?.iter().map(|row| Ok(ConnectionId(get(row, "connection_id")?))).collect()
    }
}

/// Runs an update of a grant that changes no row if another generation has taken its place, and commits.
async fn update(
    transaction: Transaction,
    sql: &str,
    generation: u64,
    values: &[Value<'_>],
) -> Result<GrantWriteResult, StoreError> {
    let changed = transaction.execute(sql, values).await?;
    transaction.commit().await?;
    Ok(if changed == 0 { GrantWriteResult::Superseded } else { GrantWriteResult::Done { generation } })
}

/// Writes the grant of a connection that has just been connected. A grant that is replaced stays in its storage.
pub(super) async fn replace(
    transaction: &Transaction,
    id: ConnectionId,
    grant: &Grant,
    storage: SecretStorage,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO integ.grants (workspace_id, connection_id, secrets, in_keyring, issued_at, refresh_method, generation)
               VALUES ($1, $2, '', $3, 0, 'none', 0) ON CONFLICT (workspace_id, connection_id) DO NOTHING";
    transaction.execute(sql, &[&id.0, &(storage == SecretStorage::Keyring)]).await?;
    put(transaction, id, None, grant).await.map(drop)
}

/// Writes the next generation of a grant in place of the `expected` one, if one is named. Returns whether it was there.
async fn put(
    transaction: &Transaction,
    id: ConnectionId,
    expected: Option<u64>,
    grant: &Grant,
) -> Result<bool, StoreError> {
    let secrets = transaction.sealer.seal(SECRETS, id.0, secrets_text(grant, None)?.as_bytes())?;
    let sql = "UPDATE integ.grants SET secrets = $4, client_id = $5, issued_at = $6, expires_at = $7,
                   refresh_expires_at = $8, refresh_method = $9, generation = generation + 1,
                   refresh_started_at = NULL, refresh_generation = NULL, from_backup = FALSE
               WHERE workspace_id = $1 AND connection_id = $2 AND generation = coalesce($3, generation)";
    let values: [Value<'_>; 8] = [
        &id.0,
        &expected.map(signed),
        &secrets,
        &grant.client.as_ref().map(|client| &client.id),
        &grant.issued_at.as_second(),
        &grant.expires_at.map(Timestamp::as_second),
        &grant.refresh_expires_at.map(Timestamp::as_second),
        &grant.refresh_method.as_str(),
    ];
    Ok(transaction.execute(sql, &values).await? == 1)
}

/// Reads the grant's part of a row that `connections` selected; absent where the connection has none.
pub(super) fn from_row(sealer: &Sealer, row: &Row) -> Result<Option<StoredGrant>, StoreError> {
    let Some(generation) = optional_number(row, "generation")? else { return Ok(None) };
    let metadata = GrantMetadata {
        client_id: get(row, "client_id")?,
        issued_at: get_seconds(row, "issued_at")?,
        expires_at: optional_seconds(row, "expires_at")?,
        refresh_expires_at: optional_seconds(row, "refresh_expires_at")?,
        refresh_method: get_word(row, "refresh_method")?,
    };
    let secrets = SealedRow::new(sealer, row, get::<i64>(row, "id")?).secret(SECRETS)?;
    let grant = secrets.map(|text| grant_from_text(&metadata, &text)).transpose()?;
    Ok(Some(StoredGrant {
        generation,
        refresh_attempt: refresh_started_at(row)?.map(|at| RefreshAttempt { at }),
        is_from_backup: get(row, "from_backup")?,
        storage: if get(row, "in_keyring")? { SecretStorage::Keyring } else { SecretStorage::Store },
        grant,
        metadata,
    }))
}

/// Reads when a refresh without a stored answer began. A marker of another generation is of a grant that has been
/// replaced since.
pub(super) fn refresh_started_at(row: &Row) -> Result<Option<Timestamp>, StoreError> {
    let (marked, current): (Option<i64>, Option<i64>) = (get(row, "refresh_generation")?, get(row, "generation")?);
    if marked.is_none() || marked != current {
        return Ok(None);
    }
    optional_seconds(row, "refresh_started_at")
}
