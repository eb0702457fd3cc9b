//! Connections, with what is known of their health, and which writes change it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use integ::clock::Timestamp;
use integ::model::{
    Account, Check, Connection, ConnectionHealth, ConnectionId, ConnectionName, ConnectionTransition, Expiry, Grant,
    GrantStatus, HealthCheck, NewConnection, RefreshMethod, RevealPolicy, SecretStorage, StoredGrant, Transition,
};
use integ::store::{Connections, MalformedValue, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Row, Transaction};
use url::Url;

use super::grants;
use super::store::{PostgresStore, failed, word};

/// Selects connections with the columns of [`from_row`] and of [`grants::from_row`].
pub const SELECT: &str = "SELECT c.id, c.connector, c.account, c.mode, c.auth, c.origin, c.params, c.metadata,
    c.account_id, c.account_name, c.reveal, c.scopes_requested, c.scopes_granted, c.grant_status, c.status_reason, c.connected_at,
    c.checked_at, c.check_passed, c.error_count, c.last_error, g.issued_at, g.expires_at, g.refresh_method,
    g.refresh_started_at, g.refresh_expires_at, g.client_id, g.generation, g.from_backup, g.in_keyring, g.secrets
    FROM connections c LEFT JOIN grants g ON g.connection_id = c.id";

/// A value of a statement.
pub type Value<'a> = &'a (dyn ToSql + Sync);

/// The connection that a write is about: one that is to be made has no id yet.
#[derive(Clone, Copy)]
pub enum ConnectionRef<'a> {
    Id(ConnectionId),
    Name(&'a ConnectionName),
}

#[async_trait]
impl Connections for PostgresStore {
    async fn list(&self) -> Result<Vec<Connection>, StoreError> {
        let sql = format!("{SELECT} ORDER BY c.connector, c.account");
        self.client().await?.query(&sql, &[]).await.map_err(failed)?.iter().map(from_row).collect()
    }

    async fn names(&self) -> Result<Vec<ConnectionName>, StoreError> {
        let sql = "SELECT connector, account FROM connections ORDER BY connector, account";
        self.client().await?.query(sql, &[]).await.map_err(failed)?.iter().map(connection_name).collect()
    }

    async fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        Ok(self.find_with_grant(name).await?.map(|(connection, _)| connection))
    }

    async fn find_with_grant(
        &self,
        name: &ConnectionName,
    ) -> Result<Option<(Connection, Option<StoredGrant>)>, StoreError> {
        let sql = format!("{SELECT} WHERE c.connector = $1 AND c.account = $2");
        let values: [Value<'_>; 2] = [&name.connector(), &name.account().unwrap_or_default()];
        let row = self.client().await?.query_opt(&sql, &values).await.map_err(failed)?;
        row.as_ref().map(with_grant).transpose()
    }

    async fn connect(
        &self,
        new: &NewConnection,
        grant: &Grant,
        storage: SecretStorage,
    ) -> Result<(Connection, Option<ConnectionTransition>), StoreError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let subject = ConnectionRef::Name(&new.name);
        let before = health(&transaction, subject).await?;
        let storage = remove_elsewhere(&transaction, new).await?.unwrap_or(storage);
        let id = upsert(&transaction, new).await?;
        grants::connect(&transaction, id, grant, storage).await?;
        let transition = transition(&transaction, before, subject).await?;
        let connection = find_by_id(&transaction, id).await?.ok_or(StoreError::ConnectionNotFound)?.0;
        transaction.commit().await.map_err(failed)?;
        Ok((connection, transition))
    }

    async fn rename(&self, id: ConnectionId, name: &ConnectionName) -> Result<(), StoreError> {
        if self.find(name).await?.is_some() {
            return Err(StoreError::NameTaken(name.clone()));
        }
        let sql = "UPDATE connections SET connector = $2, account = $3 WHERE id = $1";
        let values: [Value<'_>; 3] = [&id.0, &name.connector(), &name.account().unwrap_or_default()];
        self.update_connection(id, sql, &values).await.map(drop)
    }

    async fn remove(&self, id: ConnectionId) -> Result<(), StoreError> {
        self.update_connection(id, "DELETE FROM connections WHERE id = $1", &[&id.0]).await.map(drop)
    }

    async fn set_grant_status(
        &self,
        id: ConnectionId,
        status: GrantStatus,
        reason: Option<&str>,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let sql = "UPDATE connections SET grant_status = $2, status_reason = $3 WHERE id = $1";
        self.update_connection(id, sql, &[&id.0, &status.as_str(), &reason]).await
    }

    async fn record_check(
        &self,
        id: ConnectionId,
        check: &HealthCheck,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let (passed, unauthorized) = (check.outcome.is_healthy(), check.is_unauthorized());
        let error = check.error.as_deref();
        let sql = "UPDATE connections SET checked_at = $2, check_passed = $3, last_error = $4,
                       error_count = CASE WHEN $3 THEN 0 ELSE error_count + 1 END,
                       check_unauthorized = NOT $3 AND (check_unauthorized OR $5)
                   WHERE id = $1";
        self.update_connection(id, sql, &[&id.0, &check.at.as_second(), &passed, &error, &unauthorized]).await
    }

    async fn update_metadata(
        &self,
        id: ConnectionId,
        account: Option<&Account>,
        scopes_granted: Option<&[String]>,
        metadata: Option<&BTreeMap<String, String>>,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let sql = "UPDATE connections SET account_id = coalesce($2, account_id),
                       account_name = CASE WHEN $2 IS NULL THEN account_name ELSE $3 END,
                       scopes_granted = coalesce($4, scopes_granted), metadata = coalesce($5, metadata)
                   WHERE id = $1";
        let account_id = account.map(|account| &account.id);
        let account_name = account.and_then(|account| account.name.as_ref());
        let scopes = scopes_granted.map(to_json).transpose()?;
        let metadata = metadata.map(to_json).transpose()?;
        self.update_connection(id, sql, &[&id.0, &account_id, &account_name, &scopes, &metadata]).await
    }

    async fn set_reveal_policy(&self, id: ConnectionId, policy: RevealPolicy) -> Result<(), StoreError> {
        let sql = "UPDATE connections SET reveal = $2 WHERE id = $1";
        self.update_connection(id, sql, &[&id.0, &policy.as_str()]).await.map(drop)
    }

    async fn record_failure(&self, id: ConnectionId, error: &str) -> Result<Option<ConnectionTransition>, StoreError> {
        let sql = "UPDATE connections SET error_count = error_count + 1, last_error = $2 WHERE id = $1";
        self.update_connection(id, sql, &[&id.0, &error]).await
    }
}

impl PostgresStore {
    /// Runs a statement that changes the row of one connection, or deletes it.
    async fn update_connection(
        &self,
        id: ConnectionId,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let subject = ConnectionRef::Id(id);
        let before = health(&transaction, subject).await?;
        if transaction.execute(sql, values).await.map_err(failed)? == 0 {
            return Err(StoreError::ConnectionNotFound);
        }
        let transition = transition(&transaction, before, subject).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(transition)
    }
}

/// Returns the connection's id and health, if there is such a connection. Its row is locked, so that a second writer reads
/// what the first has committed.
pub async fn health(
    transaction: &Transaction<'_>,
    subject: ConnectionRef<'_>,
) -> Result<Option<(ConnectionId, ConnectionHealth)>, StoreError> {
    const SELECT: &str = "SELECT id, grant_status, check_unauthorized, \
        error_count > 0 OR check_passed IS FALSE AS is_failing FROM connections";
    let row = match subject {
        ConnectionRef::Id(id) => transaction.query_opt(&format!("{SELECT} WHERE id = $1 FOR UPDATE"), &[&id.0]).await,
        ConnectionRef::Name(name) => {
            let sql = format!("{SELECT} WHERE connector = $1 AND account = $2 FOR UPDATE");
            transaction.query_opt(&sql, &[&name.connector(), &name.account().unwrap_or_default()]).await
        }
    };
    let Some(row) = row.map_err(failed)? else { return Ok(None) };
    let health = match word(&get::<String>(&row, "grant_status")?)? {
        GrantStatus::NeedsReauth => ConnectionHealth::Unauthorized,
        GrantStatus::Disconnected => ConnectionHealth::Disconnected,
        GrantStatus::Active if get(&row, "check_unauthorized")? => ConnectionHealth::Unauthorized,
        GrantStatus::Active if get(&row, "is_failing")? => ConnectionHealth::Failing,
        GrantStatus::Active => ConnectionHealth::Healthy,
    };
    Ok(Some((ConnectionId(get(&row, "id")?), health)))
}

/// Returns the transition that the transaction has made of a health of before.
pub async fn transition(
    transaction: &Transaction<'_>,
    before: Option<(ConnectionId, ConnectionHealth)>,
    subject: ConnectionRef<'_>,
) -> Result<Option<ConnectionTransition>, StoreError> {
    let (Some((_, before)), Some((id, after))) = (before, health(transaction, subject).await?) else { return Ok(None) };
    let Some(transition) = Transition::between(before, after) else { return Ok(None) };
    let connection = find_by_id(transaction, id).await?;
    Ok(connection.map(|(connection, _)| ConnectionTransition { connection, transition }))
}

/// Writes the row of a connection that has just been made, and returns its id.
async fn upsert(transaction: &Transaction<'_>, new: &NewConnection) -> Result<ConnectionId, StoreError> {
    let sql =
        "INSERT INTO connections (connector, account, mode, auth, origin, params, metadata, account_id, account_name,
            scopes_requested, scopes_granted, grant_status, connected_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'active', $12)
        ON CONFLICT (connector, account) DO UPDATE SET
            mode = excluded.mode, auth = excluded.auth, origin = excluded.origin, params = excluded.params,
            metadata = excluded.metadata, account_id = excluded.account_id, account_name = excluded.account_name,
            scopes_requested = excluded.scopes_requested, scopes_granted = excluded.scopes_granted,
            grant_status = 'active', status_reason = NULL, connected_at = excluded.connected_at, checked_at = NULL,
            check_passed = NULL, check_unauthorized = FALSE, error_count = 0, last_error = NULL
        RETURNING id";
    let (params, metadata) = (to_json(&new.params)?, to_json(&new.metadata)?);
    let scopes_requested = to_json(&new.scopes_requested)?;
    let scopes_granted = new.scopes_granted.as_ref().map(to_json).transpose()?;
    let values: [Value<'_>; 12] = [
        &new.name.connector(),
        &new.name.account().unwrap_or_default(),
        &new.mode.as_str(),
        &new.auth,
        &new.origin.as_ref().map(Url::as_str),
        &params,
        &metadata,
        &new.account.as_ref().map(|account| &account.id),
        &new.account.as_ref().and_then(|account| account.name.as_ref()),
        &scopes_requested,
        &scopes_granted,
        &new.connected_at.as_second(),
    ];
    let row = transaction.query_one(sql, &values).await.map_err(failed)?;
    Ok(ConnectionId(get(&row, "id")?))
}

/// Removes the connection of the new one's name if it has another mode or origin, and returns where the new grant belongs
/// if the keyring may hold an entry of the old one.
async fn remove_elsewhere(
    transaction: &Transaction<'_>,
    new: &NewConnection,
) -> Result<Option<SecretStorage>, StoreError> {
    let sql = format!("{SELECT} WHERE c.connector = $1 AND c.account = $2");
    let values: [Value<'_>; 2] = [&new.name.connector(), &new.name.account().unwrap_or_default()];
    let row = transaction.query_opt(&sql, &values).await.map_err(failed)?;
    let found = row.as_ref().map(with_grant).transpose()?;
    let Some((before, grant)) = found.filter(|(before, _)| !before.has_target(new.mode, new.origin.as_ref())) else {
        return Ok(None);
    };
    if !before.is_replaceable_by(new.mode) {
        return Err(StoreError::NameTaken(new.name.clone()));
    }
    transaction.execute("DELETE FROM connections WHERE id = $1", &[&before.id.0]).await.map_err(failed)?;
    Ok(grant.map(|grant| grant.storage).filter(|storage| *storage == SecretStorage::Keyring))
}

async fn find_by_id(
    transaction: &Transaction<'_>,
    id: ConnectionId,
) -> Result<Option<(Connection, Option<StoredGrant>)>, StoreError> {
    let row = transaction.query_opt(&format!("{SELECT} WHERE c.id = $1"), &[&id.0]).await.map_err(failed)?;
    row.as_ref().map(with_grant).transpose()
}

pub fn with_grant(row: &Row) -> Result<(Connection, Option<StoredGrant>), StoreError> {
    let connection = from_row(row)?;
    let grant = grants::from_row(row, connection.id)?;
    Ok((connection, grant))
}

fn from_row(row: &Row) -> Result<Connection, StoreError> {
    let origin: Option<String> = get(row, "origin")?;
    let account_name: Option<String> = get(row, "account_name")?;
    // The grant's columns are NULL where the connection has none.
    let method: Option<String> = get(row, "refresh_method")?;
    let method = method.map_or(Ok(RefreshMethod::None), |text| word(&text))?;
    Ok(Connection {
        id: ConnectionId(get(row, "id")?),
        name: connection_name(row)?,
        mode: word(&get::<String>(row, "mode")?)?,
        auth: get(row, "auth")?,
        origin: origin.map(|origin| Url::parse(&origin).map_err(|_| MalformedValue::Name)).transpose()?,
        params: from_json(&get::<String>(row, "params")?)?,
        metadata: from_json(&get::<String>(row, "metadata")?)?,
        account: get::<Option<String>>(row, "account_id")?.map(|id| Account { id, name: account_name }),
        user: None,
        reveal: word(&get::<String>(row, "reveal")?)?,
        scopes_requested: from_json(&get::<String>(row, "scopes_requested")?)?,
        scopes_granted: get::<Option<String>>(row, "scopes_granted")?.as_deref().map(from_json).transpose()?,
        grant_status: word(&get::<String>(row, "grant_status")?)?,
        status_reason: get(row, "status_reason")?,
        connected_at: seconds(get(row, "connected_at")?)?,
        expiry: Expiry {
            issued_at: optional_seconds(row, "issued_at")?,
            expires_at: optional_seconds(row, "expires_at")?,
            is_refreshable: method != RefreshMethod::None,
            refresh_expires_at: optional_seconds(row, "refresh_expires_at")?.filter(|_| method.has_refresh_token()),
            refresh_started_at: optional_seconds(row, "refresh_started_at")?,
        },
        last_check: optional_seconds(row, "checked_at")?
            .zip(get(row, "check_passed")?)
            .map(|(at, passed)| Check { at, passed }),
        error_count: u32::try_from(get::<i64>(row, "error_count")?).unwrap_or(u32::MAX),
        last_error: get(row, "last_error")?,
    })
}

fn connection_name(row: &Row) -> Result<ConnectionName, StoreError> {
    let (connector, account): (String, String) = (get(row, "connector")?, get(row, "account")?);
    let account = Some(account.as_str()).filter(|account| !account.is_empty());
    Ok(ConnectionName::new(&connector, account).map_err(|_| MalformedValue::Name)?)
}

pub fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(failed)
}

pub fn seconds(seconds: i64) -> Result<Timestamp, MalformedValue> {
    Timestamp::from_second(seconds).map_err(|_| MalformedValue::Time(seconds))
}

pub fn optional_seconds(row: &Row, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(get::<Option<i64>>(row, column)?.map(seconds).transpose()?)
}

fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, MalformedValue> {
    serde_json::to_string(value).map_err(MalformedValue::Json)
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, MalformedValue> {
    serde_json::from_str(text).map_err(MalformedValue::Json)
}
