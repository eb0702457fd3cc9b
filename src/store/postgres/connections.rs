//! Connections, with their health.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio_postgres::Row;
use url::Url;

use super::inserting::EventIds;
use super::row::{
    SealedRow, connection_name, get, get_json, get_seconds, get_word, number, optional_json, optional_seconds,
    optional_word, to_json, user,
};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::transitions::{HealthBefore, TrackedConnection};
use super::upsert::RecordVersions;
use super::value::Value;
use super::{PostgresStore, grants, health_checks};
use crate::model::{
    Account, Check, Connection, ConnectionId, ConnectionMode, ConnectionName, ConnectionTransition, Expiry, Grant,
    GrantStatus, HealthCheck, NewConnection, RefreshMethod, RevealPolicy, SecretStorage, StoredGrant, UserId,
};
use crate::store::{Connections, MalformedValue, StoreError, state_key};

const PARAMS: Column = column("connections", "params");
const METADATA: Column = column("connections", "metadata");
const STATUS_REASON: Column = column("connections", "status_reason");
const LAST_ERROR: Column = column("connections", "last_error");

/// Selects connections with the columns of [`from_row`] and of [`grants::from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT c.id, c.connector, c.account, c.mode, c.auth, c.origin, c.params, c.metadata, c.account_id,
             c.account_name, c.user_id, c.reveal, c.scopes_requested, c.scopes_granted, c.grant_status, c.status_reason,
             c.connected_at, c.checked_at, c.check_passed, c.error_count, c.last_error, g.issued_at, g.expires_at,
             g.refresh_method, g.refresh_started_at, g.refresh_expires_at, g.client_id, g.generation,
             g.refresh_generation, g.from_backup, g.in_keyring, g.secrets
             FROM integ.connections c LEFT JOIN integ.grants g ON g.workspace_id = $1 AND g.connection_id = c.id
             WHERE c.workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl Connections for PostgresStore {
    async fn list(&self) -> Result<Vec<Connection>, StoreError> {
        let rows = self.rows(select!("ORDER BY c.connector, c.account"), &[]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn names(&self) -> Result<Vec<ConnectionName>, StoreError> {
        let sql =
            "SELECT connector, account FROM integ.connections WHERE workspace_id = $1 ORDER BY connector, account";
        self.rows(sql, &[]).await?.iter().map(connection_name).collect()
    }

    async fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        Ok(self.find_with_grant(name).await?.map(|(connection, _)| connection))
    }

    async fn find_with_grant(
        &self,
        name: &ConnectionName,
    ) -> Result<Option<(Connection, Option<StoredGrant>)>, StoreError> {
        let values: [Value<'_>; 2] = [&name.connector(), &name.account().unwrap_or_default()];
        let row = self.row(select!("AND c.connector = $2 AND c.account = $3"), &values).await?;
        row.as_ref().map(|row| with_grant(&self.sealer, row)).transpose()
    }

    async fn connect(
        &self,
        new: &NewConnection,
        grant: &Grant,
        storage: SecretStorage,
    ) -> Result<(Connection, Option<ConnectionTransition>), StoreError> {
        let transaction = self.begin().await?;
        lock_names(&transaction).await?;
        let before = HealthBefore::read(&transaction, TrackedConnection::Name(&new.name)).await?;
        // Where the keyring may hold an entry of this name, the new grant takes its place there.
        let storage = match remove_elsewhere(&transaction, new).await? {
            Some(SecretStorage::Keyring) => SecretStorage::Keyring,
            _ => storage,
        };
        let id = put(&transaction, new).await?;
        grants::replace(&transaction, id, grant, storage).await?;
        let connection = find_by_id(&transaction, id).await?.ok_or(StoreError::ConnectionNotFound)?;
        let transition = before.transition(&transaction).await?;
        transaction.commit().await?;
        Ok((connection, transition))
    }

    async fn rename(&self, id: ConnectionId, name: &ConnectionName) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        lock_names(&transaction).await?;
        if find_by_name(&transaction, name).await?.is_some() {
            return Err(StoreError::NameTaken(name.clone()));
        }
        let (connector, account) = (name.connector(), name.account().unwrap_or_default());
        // Bindings name their connection.
        let sql = "UPDATE integ.bindings SET account = nullif($4, '') WHERE workspace_id = $1 AND connector = $3
                   AND (connector, account) = (SELECT connector, account FROM integ.connections
                       WHERE workspace_id = $1 AND id = $2)";
        transaction.execute(sql, &[&id.0, &connector, &account]).await?;
        // So do consents.
        let sql = "UPDATE integ.consents SET resource_id = $3 WHERE workspace_id = $1 AND resource_type = 'connection'
                   AND resource_id = (SELECT connector || CASE account WHEN '' THEN '' ELSE '@' || account END
                       FROM integ.connections WHERE workspace_id = $1 AND id = $2)";
        transaction.execute(sql, &[&id.0, &name.to_string()]).await?;
        let sql = "UPDATE integ.connections SET connector = $3, account = $4 WHERE workspace_id = $1 AND id = $2";
        if transaction.execute(sql, &[&id.0, &connector, &account]).await? == 0 {
            return Err(StoreError::ConnectionNotFound);
        }
        transaction.commit().await
    }

    async fn remove(&self, id: ConnectionId) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let before = HealthBefore::read(&transaction, TrackedConnection::Id(id)).await?;
        if delete(&transaction, id).await? == 0 {
            return Err(StoreError::ConnectionNotFound);
        }
        before.transition(&transaction).await?;
        transaction.commit().await
    }

    async fn set_grant_status(
        &self,
        id: ConnectionId,
        status: GrantStatus,
        reason: Option<&str>,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let transaction = self.begin().await?;
        let reason = transaction.sealer.seal_optional(STATUS_REASON, id.0, reason)?;
        let sql =
            "UPDATE integ.connections SET grant_status = $3, status_reason = $4 WHERE workspace_id = $1 AND id = $2";
        update_connection(transaction, id, sql, &[&id.0, &status.as_str(), &reason]).await
    }

    async fn record_check(
        &self,
        id: ConnectionId,
        check: &HealthCheck,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let passed = check.outcome.is_healthy();
        let error = (!passed).then(|| check.error.as_deref().unwrap_or(check.outcome.as_str()));
        let transaction = self.begin().await?;
        let error = transaction.sealer.seal_optional(LAST_ERROR, id.0, error)?;
        let sql = "UPDATE integ.connections SET checked_at = $3, check_passed = $4, last_error = $5,
                       error_count = CASE WHEN $4 THEN 0 ELSE error_count + 1 END,
                       check_unauthorized = NOT $4 AND (check_unauthorized OR $6)
                   WHERE workspace_id = $1 AND id = $2";
        let before = HealthBefore::read(&transaction, TrackedConnection::Id(id)).await?;
        let values: [Value<'_>; 5] = [&id.0, &check.at.as_second(), &passed, &error, &check.is_unauthorized()];
        if transaction.execute(sql, &values).await? == 0 {
            return Err(StoreError::ConnectionNotFound);
        }
        health_checks::append(&transaction, id, check).await?;
        let transition = before.transition(&transaction).await?;
        transaction.commit().await?;
        Ok(transition)
    }

    async fn update_metadata(
        &self,
        id: ConnectionId,
        account: Option<&Account>,
        scopes_granted: Option<&[String]>,
        metadata: Option<&BTreeMap<String, String>>,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let sql = "UPDATE integ.connections SET account_id = coalesce($3, account_id),
                       account_name = CASE WHEN $3 IS NULL THEN account_name ELSE $4 END,
                       scopes_granted = coalesce($5, scopes_granted), metadata = coalesce($6, metadata)
                   WHERE workspace_id = $1 AND id = $2";
        let account_id = account.map(|account| &account.id);
        let account_name = account.and_then(|account| account.name.as_ref());
        let scopes = scopes_granted.map(to_json).transpose()?;
        let metadata = metadata.map(to_json).transpose()?;
        let transaction = self.begin().await?;
        let metadata = transaction.sealer.seal_optional(METADATA, id.0, metadata)?;
        update_connection(transaction, id, sql, &[&id.0, &account_id, &account_name, &scopes, &metadata]).await
    }

    async fn set_reveal_policy(&self, id: ConnectionId, policy: RevealPolicy) -> Result<(), StoreError> {
        let sql = "UPDATE integ.connections SET reveal = $3 WHERE workspace_id = $1 AND id = $2";
        update_connection(self.begin().await?, id, sql, &[&id.0, &policy.as_str()]).await.map(drop)
    }

    async fn record_failure(&self, id: ConnectionId, error: &str) -> Result<Option<ConnectionTransition>, StoreError> {
        let transaction = self.begin().await?;
        let error = transaction.sealer.seal(LAST_ERROR, id.0, error)?;
        let sql = "UPDATE integ.connections SET error_count = error_count + 1, last_error = $3
                   WHERE workspace_id = $1 AND id = $2";
        update_connection(transaction, id, sql, &[&id.0, &error]).await
    }
}

/// Lets one transaction at a time give names to connections. Rows that refer to the workspace can be added meanwhile.
async fn lock_names(transaction: &Transaction) -> Result<(), StoreError> {
    let sql = "SELECT 1 FROM integ.workspaces WHERE workspace_id = $1 FOR NO KEY UPDATE";
    transaction.query(sql, &[]).await.map(drop)
}

/// Writes the row of a connection that has just been connected, and returns its id.
async fn put(transaction: &Transaction, new: &NewConnection) -> Result<ConnectionId, StoreError> {
    let (connector, account) = (new.name.connector(), new.name.account().unwrap_or_default());
    let known = find_by_name(transaction, &new.name).await?.map(|(connection, _)| connection.id.0);
    let id = match known {
        Some(id) => id,
        None => transaction.next_id("connections").await?,
    };
    let params = transaction.sealer.seal(PARAMS, id, to_json(&new.params)?)?;
    let metadata = transaction.sealer.seal(METADATA, id, to_json(&new.metadata)?)?;
    let scopes_granted = new.scopes_granted.as_ref().map(to_json).transpose()?;
    let sql =
        "INSERT INTO integ.connections (workspace_id, id, connector, account, mode, auth, origin, params, metadata,
            account_id, account_name, scopes_requested, scopes_granted, grant_status, connected_at, user_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'active', $14, $15)
        ON CONFLICT (workspace_id, id) DO UPDATE SET
            mode = excluded.mode, auth = excluded.auth, origin = excluded.origin, params = excluded.params,
            metadata = excluded.metadata, account_id = excluded.account_id, account_name = excluded.account_name,
            scopes_requested = excluded.scopes_requested, scopes_granted = excluded.scopes_granted,
            grant_status = 'active', status_reason = NULL, connected_at = excluded.connected_at, checked_at = NULL,
            check_passed = NULL, check_unauthorized = FALSE, error_count = 0, last_error = NULL,
            user_id = coalesce(excluded.user_id, connections.user_id)";
    let values: [Value<'_>; 14] = [
        &id,
        &connector,
        &account,
        &new.mode.as_str(),
        &new.auth,
        &new.origin.as_ref().map(Url::as_str),
        &params,
        &metadata,
        &new.account.as_ref().map(|account| &account.id),
        &new.account.as_ref().and_then(|account| account.name.as_ref()),
        &to_json(&new.scopes_requested)?,
        &scopes_granted,
        &new.connected_at.as_second(),
        &new.user.as_ref().map(UserId::as_str),
    ];
    transaction.execute(sql, &values).await?;
    Ok(ConnectionId(id))
}

/// Removes the connection of the new one's name if it has another mode or origin, so that neither sees anything of the
/// other, and returns where its secrets belonged.
async fn remove_elsewhere(transaction: &Transaction, new: &NewConnection) -> Result<Option<SecretStorage>, StoreError> {
    let found = find_by_name(transaction, &new.name).await?;
    let Some((before, grant)) = found.filter(|(before, _)| !before.has_target(new.mode, new.origin.as_ref())) else {
        return Ok(None);
    };
    if !before.is_replaceable_by(new.mode) {
        return Err(StoreError::NameTaken(new.name.clone()));
    }
    delete(transaction, before.id).await?;
    let sql = "DELETE FROM integ.sandbox_state WHERE workspace_id = $1 AND key = $2 AND $3 AND NOT EXISTS
               (SELECT 1 FROM integ.connections WHERE workspace_id = $1 AND connector = $4 AND mode = 'sandbox')";
    let connector = new.name.connector();
    let was_sandbox = before.mode == ConnectionMode::Sandbox;
    transaction.execute(sql, &[&state_key(connector), &was_sandbox, &connector]).await?;
    Ok(grant.map(|grant| grant.storage))
}

/// Deletes a connection with all that belongs to it, and returns how many there were.
async fn delete(transaction: &Transaction, id: ConnectionId) -> Result<u64, StoreError> {
    transaction.lift_time_limits().await?;
    // Nobody inserts events or records meanwhile.
    EventIds::lock(transaction).await?;
    RecordVersions::read(transaction).await?.take(transaction).await?;
    let sql = "WITH deleted AS (DELETE FROM integ.events WHERE workspace_id = $1 AND connection_id = $2
                   RETURNING id, dedup_key, signed_dedup_key)
               DELETE FROM integ.event_keys k USING deleted WHERE k.workspace_id IS NOT DISTINCT FROM $1
                   AND k.key IN (deleted.dedup_key, deleted.signed_dedup_key) AND k.event_id = deleted.id";
    transaction.execute(sql, &[&id.0]).await?;
    let sql = "DELETE FROM integ.records WHERE workspace_id = $1
                   AND stream_id IN (SELECT id FROM integ.streams WHERE workspace_id = $1 AND connection_id = $2)";
    transaction.execute(sql, &[&id.0]).await?;
    transaction.execute("DELETE FROM integ.connections WHERE workspace_id = $1 AND id = $2", &[&id.0]).await
}

async fn find_by_name(
    transaction: &Transaction,
    name: &ConnectionName,
) -> Result<Option<(Connection, Option<StoredGrant>)>, StoreError> {
    let values: [Value<'_>; 2] = [&name.connector(), &name.account().unwrap_or_default()];
    let row = transaction.first(select!("AND c.connector = $2 AND c.account = $3"), &values).await?;
    row.as_ref().map(|row| with_grant(&transaction.sealer, row)).transpose()
}

/// Returns the connection with this id.
pub(super) async fn find_by_id(transaction: &Transaction, id: ConnectionId) -> Result<Option<Connection>, StoreError> {
    let row = transaction.first(select!("AND c.id = $2"), &[&id.0]).await?;
    row.as_ref().map(|row| from_row(&transaction.sealer, row)).transpose()
}

impl PostgresStore {
    /// Returns all grants with their connections, sorted by name.
    pub(super) async fn list_with_grants(&self) -> Result<Vec<(Connection, StoredGrant)>, StoreError> {
        let rows = self.rows(select!("ORDER BY c.connector, c.account"), &[]).await?;
        let all = rows.iter().map(|row| with_grant(&self.sealer, row)).collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().filter_map(|(connection, grant)| Some((connection, grant?))).collect())
    }

    /// Returns the grant of the connection with this id.
    pub(super) async fn grant_of(&self, id: ConnectionId) -> Result<Option<StoredGrant>, StoreError> {
        let row = self.row(select!("AND c.id = $2"), &[&id.0]).await?;
        Ok(row.as_ref().map(|row| grants::from_row(&self.sealer, row)).transpose()?.flatten())
    }
}

fn with_grant(sealer: &Sealer, row: &Row) -> Result<(Connection, Option<StoredGrant>), StoreError> {
    Ok((from_row(sealer, row)?, grants::from_row(sealer, row)?))
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<Connection, StoreError> {
    let id: i64 = get(row, "id")?;
    let sealed = SealedRow::new(sealer, row, id);
    let origin: Option<&str> = get(row, "origin")?;
    let account_name: Option<String> = get(row, "account_name")?;
    // The grant's columns are NULL where the connection has none.
    let method = optional_word(row, "refresh_method")?.unwrap_or(RefreshMethod::None);
    Ok(Connection {
        id: ConnectionId(id),
        name: connection_name(row)?,
        mode: get_word(row, "mode")?,
        auth: get(row, "auth")?,
        origin: origin.map(|origin| Url::parse(origin).map_err(|_| MalformedValue::Name)).transpose()?,
        params: sealed.json_or_default(PARAMS)?,
        metadata: sealed.json_or_default(METADATA)?,
        account: get::<Option<String>>(row, "account_id")?.map(|id| Account { id, name: account_name }),
        user: user(row, "user_id")?,
        reveal: get_word(row, "reveal")?,
        scopes_requested: get_json(row, "scopes_requested")?,
        scopes_granted: optional_json(row, "scopes_granted")?,
        grant_status: get_word(row, "grant_status")?,
        status_reason: sealed.text(STATUS_REASON)?,
        connected_at: get_seconds(row, "connected_at")?,
        expiry: Expiry {
            issued_at: optional_seconds(row, "issued_at")?,
            expires_at: optional_seconds(row, "expires_at")?,
            is_refreshable: method != RefreshMethod::None,
            refresh_expires_at: optional_seconds(row, "refresh_expires_at")?.filter(|_| method.has_refresh_token()),
            refresh_started_at: grants::refresh_started_at(row)?,
        },
        last_check: optional_seconds(row, "checked_at")?
            .zip(get(row, "check_passed")?)
            .map(|(at, passed)| Check { at, passed }),
        error_count: number(row, "error_count")?,
        last_error: sealed.text(LAST_ERROR)?,
    })
}

/// Runs a statement that changes the row of one connection, or deletes it.
async fn update_connection(
    transaction: Transaction,
    id: ConnectionId,
    sql: &str,
    values: &[Value<'_>],
) -> Result<Option<ConnectionTransition>, StoreError> {
    let before = HealthBefore::read(&transaction, TrackedConnection::Id(id)).await?;
    if transaction.execute(sql, values).await? == 0 {
        return Err(StoreError::ConnectionNotFound);
    }
    let transition = before.transition(&transaction).await?;
    transaction.commit().await?;
    Ok(transition)
}
