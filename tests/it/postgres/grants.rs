//! Grants: generations are compared in the statements that change them.

use async_trait::async_trait;
use integ::clock::Timestamp;
use integ::model::{
    Connection, ConnectionId, ConnectionTransition, Grant, GrantMetadata, GrantWriteResult, RefreshAttempt,
    SecretStorage, StoredGrant,
};
use integ::store::{Fence, Grants, StoreError, from_keyring_entry, keyring_entry};
use tokio_postgres::{Row, Transaction};

use super::connections::{
    ConnectionRef, SELECT, Value, get, health, optional_seconds, seconds, transition, with_grant,
};
use super::locks::check_fence;
use super::store::{PostgresStore, failed, signed, unsigned, word};

#[async_trait]
impl Grants for PostgresStore {
    async fn get(&self, id: ConnectionId) -> Result<Option<StoredGrant>, StoreError> {
        let sql = format!("{SELECT} WHERE c.id = $1");
        let row = self.client().await?.query_opt(&sql, &[&id.0]).await.map_err(failed)?;
        Ok(row.as_ref().map(|row| from_row(row, id)).transpose()?.flatten())
    }

    async fn begin_refresh(
        &self,
        id: ConnectionId,
        generation: u64,
        at: Timestamp,
        fence: Fence,
    ) -> Result<GrantWriteResult, StoreError> {
        self.mark(id, generation, Some(at), fence).await
    }

    async fn cancel_refresh(
        &self,
        id: ConnectionId,
        generation: u64,
        fence: Fence,
    ) -> Result<GrantWriteResult, StoreError> {
        self.mark(id, generation, None, fence).await
    }

    async fn replace(
        &self,
        id: ConnectionId,
        generation: u64,
        grant: &Grant,
        fence: Fence,
    ) -> Result<(GrantWriteResult, Option<ConnectionTransition>), StoreError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        check_fence(&transaction, fence).await?;
        let subject = ConnectionRef::Id(id);
        let before = health(&transaction, subject).await?;
        if !put(&transaction, id, generation, grant).await? {
            return Ok((GrantWriteResult::Superseded, None));
        }
        let sql = "UPDATE connections SET grant_status = 'active', status_reason = NULL, error_count = 0,
                       last_error = NULL
                   WHERE id = $1";
        transaction.execute(sql, &[&id.0]).await.map_err(failed)?;
        let transition = transition(&transaction, before, subject).await?;
        transaction.commit().await.map_err(failed)?;
        Ok((GrantWriteResult::Done { generation: generation + 1 }, transition))
    }

    async fn move_to_keyring(&self, id: ConnectionId, generation: u64) -> Result<GrantWriteResult, StoreError> {
        let sql = "UPDATE grants SET secrets = NULL, in_keyring = TRUE WHERE connection_id = $1 AND generation = $2";
        let values: [Value<'_>; 2] = [&id.0, &signed(generation)?];
        let count = self.client().await?.execute(sql, &values).await.map_err(failed)?;
        Ok(result(count, generation))
    }

    async fn move_to_store(
        &self,
        id: ConnectionId,
        generation: u64,
        grant: &Grant,
    ) -> Result<GrantWriteResult, StoreError> {
        let sql = "UPDATE grants SET secrets = $3 WHERE connection_id = $1 AND generation = $2";
        let secrets = keyring_entry(id, generation, grant)?;
        let values: [Value<'_>; 3] = [&id.0, &signed(generation)?, secrets.expose()];
        let count = self.client().await?.execute(sql, &values).await.map_err(failed)?;
        Ok(result(count, generation))
    }

    async fn mark_all_in_keyring(&self) -> Result<(), StoreError> {
        self.client().await?.execute("UPDATE grants SET in_keyring = TRUE", &[]).await.map_err(failed)?;
        Ok(())
    }

    async fn clear_in_keyring(&self, id: ConnectionId) -> Result<(), StoreError> {
        let sql = "UPDATE grants SET in_keyring = FALSE WHERE connection_id = $1 AND secrets IS NOT NULL";
        self.client().await?.execute(sql, &[&id.0]).await.map_err(failed)?;
        Ok(())
    }

    async fn list(&self) -> Result<Vec<(Connection, StoredGrant)>, StoreError> {
        let sql = format!("{SELECT} ORDER BY c.connector, c.account");
        let rows = self.client().await?.query(&sql, &[]).await.map_err(failed)?;
        let all = rows.iter().map(with_grant).collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().filter_map(|(connection, grant)| Some((connection, grant?))).collect())
    }

    async fn restored(&self) -> Result<Vec<ConnectionId>, StoreError> {
        let sql = "SELECT connection_id FROM grants WHERE from_backup ORDER BY connection_id";
        let rows = self.client().await?.query(sql, &[]).await.map_err(failed)?;
        rows.iter().map(|row| get(row, "connection_id").map(ConnectionId)).collect()
    }
}

impl PostgresStore {
    /// Sets or clears the refresh marker of a generation.
    async fn mark(
        &self,
        id: ConnectionId,
        generation: u64,
        at: Option<Timestamp>,
        fence: Fence,
    ) -> Result<GrantWriteResult, StoreError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        check_fence(&transaction, fence).await?;
        let sql = "UPDATE grants SET refresh_started_at = $3 WHERE connection_id = $1 AND generation = $2";
        let values: [Value<'_>; 3] = [&id.0, &signed(generation)?, &at.map(Timestamp::as_second)];
        let count = transaction.execute(sql, &values).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(result(count, generation))
    }
}

fn result(count: u64, generation: u64) -> GrantWriteResult {
    match count {
        0 => GrantWriteResult::Superseded,
        _ => GrantWriteResult::Done { generation },
    }
}

/// Writes the grant of a connection that has just been connected. A grant that is replaced stays in its storage.
pub async fn connect(
    transaction: &Transaction<'_>,
    id: ConnectionId,
    grant: &Grant,
    storage: SecretStorage,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO grants (connection_id, secrets, in_keyring, issued_at, refresh_method, generation)
               VALUES ($1, '', $2, 0, 'none', 0) ON CONFLICT (connection_id) DO NOTHING";
    transaction.execute(sql, &[&id.0, &(storage == SecretStorage::Keyring)]).await.map_err(failed)?;
    // The row of the connection is this transaction's, which a refresh that replaces the grant waits for.
    let sql = "SELECT generation FROM grants WHERE connection_id = $1 FOR UPDATE";
    let row = transaction.query_one(sql, &[&id.0]).await.map_err(failed)?;
    put(transaction, id, unsigned(get(&row, "generation")?)?, grant).await.map(drop)
}

/// Writes a new grant, of the next generation, in place of that of a generation. Returns whether it was still there.
async fn put(
    transaction: &Transaction<'_>,
    id: ConnectionId,
    generation: u64,
    grant: &Grant,
) -> Result<bool, StoreError> {
    let secrets = keyring_entry(id, generation + 1, grant)?;
    let sql =
        "UPDATE grants SET secrets = $3, client_id = $4, issued_at = $5, expires_at = $6, refresh_expires_at = $7,
                   refresh_method = $8, generation = generation + 1, refresh_started_at = NULL, from_backup = FALSE
               WHERE connection_id = $1 AND generation = $2";
    let values: [Value<'_>; 8] = [
        &id.0,
        &signed(generation)?,
        secrets.expose(),
        &grant.client.as_ref().map(|client| &client.id),
        &grant.issued_at.as_second(),
        &grant.expires_at.map(Timestamp::as_second),
        &grant.refresh_expires_at.map(Timestamp::as_second),
        &grant.refresh_method.as_str(),
    ];
    Ok(transaction.execute(sql, &values).await.map_err(failed)? > 0)
}

/// Reads the grant's part of a row of [`SELECT`]; absent where the connection has none.
pub fn from_row(row: &Row, id: ConnectionId) -> Result<Option<StoredGrant>, StoreError> {
    let Some(generation) = get::<Option<i64>>(row, "generation")? else { return Ok(None) };
    let stored = StoredGrant {
        generation: unsigned(generation)?,
        refresh_attempt: optional_seconds(row, "refresh_started_at")?.map(|at| RefreshAttempt { at }),
        is_from_backup: get(row, "from_backup")?,
        storage: if get(row, "in_keyring")? { SecretStorage::Keyring } else { SecretStorage::Store },
        grant: None,
        metadata: GrantMetadata {
            client_id: get(row, "client_id")?,
            issued_at: seconds(get(row, "issued_at")?)?,
            expires_at: optional_seconds(row, "expires_at")?,
            refresh_expires_at: optional_seconds(row, "refresh_expires_at")?,
            refresh_method: word(&get::<String>(row, "refresh_method")?)?,
        },
    };
    let secrets: Option<String> = get(row, "secrets")?;
    let grant = secrets.map(|secrets| from_keyring_entry(&stored, id, &secrets)).transpose()?.flatten();
    Ok(Some(StoredGrant { grant, ..stored }))
}
