//! Connections, with their health.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Connection as Sqlite, Transaction};
use url::Url;

use super::row::{
    Row, collect, connection_name, first, get_json, get_optional_json, get_optional_seconds, get_seconds, get_word,
    parse_word, query, to_json, user,
};
use super::transitions::ConnectionRef;
use super::{MalformedValue, SqliteStore, StoreError, grants, health_checks};
use crate::model::{
    Account, Check, Connection, ConnectionId, ConnectionMode, ConnectionName, ConnectionTransition, Expiry, Grant,
    GrantStatus, HealthCheck, NewConnection, RefreshMethod, RevealPolicy, SecretStorage, StoredGrant, UserId,
};
use crate::store::{Connections, state_key};

/// Selects connections with the columns of [`from_row`], and of [`grants::from_row`] too if it says `with_grant`: secrets are
/// read only where they are used.
macro_rules! select {
    (with_grant $rest:literal) => {
        select!(", g.client_id, g.from_backup, g.in_keyring, g.secrets", $rest)
    };
    ($rest:literal) => {
        select!("", $rest)
    };
    ($grant:literal, $rest:literal) => {
        concat!(
            "SELECT c.id, c.connector, c.account, c.mode, c.auth, c.origin, c.params, c.metadata, c.account_id, \
             c.account_name, c.user_id, c.reveal, c.scopes_requested, c.scopes_granted, c.grant_status, c.status_reason, \
             c.connected_at, c.checked_at, c.check_passed, c.error_count, c.last_error, g.issued_at, g.expires_at, \
             g.refresh_expires_at, g.refresh_method, g.refresh_generation, g.generation, g.refresh_started_at",
            $grant,
            " FROM connections c LEFT JOIN grants g ON g.connection_id = c.id ",
            $rest
        )
    };
}

#[async_trait]
impl Connections for SqliteStore {
    async fn list(&self) -> Result<Vec<Connection>, StoreError> {
        self.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(select!("ORDER BY c.connector, c.account"))?;
            collect(query(&mut statement, [])?, from_row)
        })
        .await
    }

    async fn names(&self) -> Result<Vec<ConnectionName>, StoreError> {
        self.read(|sqlite| {
            let mut statement =
                sqlite.prepare("SELECT connector, account FROM connections ORDER BY connector, account")?;
            collect(query(&mut statement, [])?, connection_name)
        })
        .await
    }

    async fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        let name = name.clone();
        self.read(move |sqlite| find(sqlite, &name, from_row)).await
    }

    async fn find_with_grant(
        &self,
        name: &ConnectionName,
    ) -> Result<Option<(Connection, Option<StoredGrant>)>, StoreError> {
        let name = name.clone();
        self.read(move |sqlite| find(sqlite, &name, with_grant)).await
    }

    async fn connect(
        &self,
        new: &NewConnection,
        grant: &Grant,
        storage: SecretStorage,
    ) -> Result<(Connection, Option<ConnectionTransition>), StoreError> {
        let columns = JsonColumns::new(new)?;
        let (new, grant) = (new.clone(), grant.clone());
        self.write_tracked(ConnectionRef::Name(new.name.clone()), move |transaction| {
            connect(transaction, &new, &columns, &grant, storage)
        })
        .await
    }

    async fn rename(&self, id: ConnectionId, name: &ConnectionName) -> Result<(), StoreError> {
        let name = name.clone();
        self.write_tracked(ConnectionRef::Id(id), move |transaction| {
            if find(transaction, &name, from_row)?.is_some() {
                return Err(StoreError::NameTaken(name.clone()));
            }
            // Bindings name their connection.
            let sql = "UPDATE bindings SET account = nullif(?3, '') WHERE (connector, account) = \
                       (SELECT connector, account FROM connections WHERE id = ?1) AND ?2 = connector";
            transaction.execute(sql, (id.0, name.connector(), name.account().unwrap_or_default()))?;
            // So do consents.
            let sql = "UPDATE consents SET resource_id = ?2 WHERE resource_type = 'connection' AND resource_id = \
                       (SELECT connector || CASE account WHEN '' THEN '' ELSE '@' || account END \
                        FROM connections WHERE id = ?1)";
            transaction.execute(sql, (id.0, name.to_string()))?;
            let sql = "UPDATE connections SET connector = ?2, account = ?3 WHERE id = ?1";
            match transaction.execute(sql, (id.0, name.connector(), name.account().unwrap_or_default()))? {
                0 => Err(StoreError::ConnectionNotFound),
                _ => Ok(()),
            }
        })
        .await
        .map(drop)
    }

    async fn remove(&self, id: ConnectionId) -> Result<(), StoreError> {
        let sql = "DELETE FROM connections WHERE id = ?1";
        self.update_connection(id, move |transaction| transaction.execute(sql, [id.0])).await.map(drop)
    }

    async fn set_grant_status(
        &self,
        id: ConnectionId,
        status: GrantStatus,
        reason: Option<&str>,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let reason = reason.map(str::to_owned);
        self.update_connection(id, move |transaction| {
            let sql = "UPDATE connections SET grant_status = ?2, status_reason = ?3 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((id.0, status.as_str(), &reason))
        })
        .await
    }

    async fn record_check(
        &self,
        id: ConnectionId,
        check: &HealthCheck,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let check = check.clone();
        self.update_connection(id, move |transaction| {
            let sql = "UPDATE connections SET checked_at = ?2, check_passed = ?3, last_error = ?4,
                           error_count = CASE WHEN ?3 THEN 0 ELSE error_count + 1 END,
                           check_unauthorized = CASE WHEN ?3 THEN 0 ELSE max(check_unauthorized, ?5) END
                       WHERE id = ?1";
            let passed = check.outcome.is_healthy();
            let error = (!passed).then(|| check.error.as_deref().unwrap_or(check.outcome.as_str()));
            let values = (id.0, check.at.as_second(), passed, error, check.is_unauthorized());
            let updated = transaction.prepare_cached(sql)?.execute(values)?;
            health_checks::append(transaction, id, &check)?;
            Ok(updated)
        })
        .await
    }

    async fn update_metadata(
        &self,
        id: ConnectionId,
        account: Option<&Account>,
        scopes_granted: Option<&[String]>,
        metadata: Option<&BTreeMap<String, String>>,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let account = account.cloned();
        let scopes = scopes_granted.map(to_json).transpose()?;
        let metadata = metadata.map(to_json).transpose()?;
        self.update_connection(id, move |transaction| {
            let sql = "UPDATE connections SET account_id = coalesce(?2, account_id),
                           account_name = CASE WHEN ?2 IS NULL THEN account_name ELSE ?3 END,
                           scopes_granted = coalesce(?4, scopes_granted), metadata = coalesce(?5, metadata)
                       WHERE id = ?1";
            let account_id = account.as_ref().map(|account| &account.id);
            let account_name = account.as_ref().and_then(|account| account.name.as_ref());
            transaction.prepare_cached(sql)?.execute((id.0, account_id, account_name, &scopes, &metadata))
        })
        .await
    }

    async fn set_reveal_policy(&self, id: ConnectionId, policy: RevealPolicy) -> Result<(), StoreError> {
        let sql = "UPDATE connections SET reveal = ?2 WHERE id = ?1";
        self.update_connection(id, move |transaction| transaction.execute(sql, (id.0, policy.as_str()))).await.map(drop)
    }

    async fn record_failure(&self, id: ConnectionId, error: &str) -> Result<Option<ConnectionTransition>, StoreError> {
        let error = error.to_owned();
        self.update_connection(id, move |transaction| {
            let sql = "UPDATE connections SET error_count = error_count + 1, last_error = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((id.0, &error))
        })
        .await
    }
}

impl SqliteStore {
    /// Returns a connection and its grant, read on this thread: `integ token` needs nothing else, and starts no runtime
    /// for it.
    pub fn find_with_grant_blocking(
        &self,
        name: &ConnectionName,
    ) -> Result<Option<(Connection, Option<StoredGrant>)>, StoreError> {
        self.read_blocking(|sqlite| find(sqlite, name, with_grant))
    }

    /// Runs a statement that changes the row of one connection, or deletes it.
    async fn update_connection(
        &self,
        id: ConnectionId,
        update: impl Fn(&Transaction<'_>) -> rusqlite::Result<usize> + Send + 'static,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let subject = ConnectionRef::Id(id);
        let written = self.write_tracked(subject, move |transaction| match update(transaction)? {
            0 => Err(StoreError::ConnectionNotFound),
            _ => Ok(()),
        });
        Ok(written.await?.1)
    }
}

/// Stores a connection of a store that is being made.
pub(super) fn insert(transaction: &Transaction<'_>, new: &NewConnection, grant: &Grant) -> Result<(), StoreError> {
    connect(transaction, new, &JsonColumns::new(new)?, grant, SecretStorage::Store).map(drop)
}

fn connect(
    transaction: &Transaction<'_>,
    new: &NewConnection,
    columns: &JsonColumns,
    grant: &Grant,
    storage: SecretStorage,
) -> Result<Connection, StoreError> {
    let storage = match remove_elsewhere(transaction, new)? {
        // Where the keyring may hold an entry of this name, the new grant takes its place there.
        Some(SecretStorage::Keyring) => SecretStorage::Keyring,
        _ => storage,
    };
    let id: i64 = transaction.query_row(
        "INSERT INTO connections (connector, account, mode, auth, origin, params, metadata, account_id, account_name,
             scopes_requested, scopes_granted, grant_status, connected_at, user_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'active', ?12, ?13)
         ON CONFLICT (connector, account) DO UPDATE SET
             mode = excluded.mode, auth = excluded.auth, origin = excluded.origin, params = excluded.params,
             metadata = excluded.metadata, account_id = excluded.account_id, account_name = excluded.account_name,
             scopes_requested = excluded.scopes_requested, scopes_granted = excluded.scopes_granted,
             grant_status = 'active', status_reason = NULL, connected_at = excluded.connected_at, checked_at = NULL,
             check_passed = NULL, check_unauthorized = 0, error_count = 0, last_error = NULL,
             user_id = coalesce(excluded.user_id, user_id)
         RETURNING id",
        (
            new.name.connector(),
            new.name.account().unwrap_or_default(),
            new.mode.as_str(),
            &new.auth,
            new.origin.as_ref().map(Url::as_str),
            &columns.params,
            &columns.metadata,
            new.account.as_ref().map(|account| &account.id),
            new.account.as_ref().and_then(|account| account.name.as_ref()),
            &columns.scopes_requested,
            &columns.scopes_granted,
            new.connected_at.as_second(),
            new.user.as_ref().map(UserId::as_str),
        ),
        |row| row.get(0),
    )?;
    grants::replace(transaction, ConnectionId(id), grant, storage)?;
    find(transaction, &new.name, from_row)?.ok_or(StoreError::ConnectionNotFound)
}

/// Removes the connection of the new one's name if it has another mode or origin, so that neither sees anything of the
/// other, and returns where its secrets belonged.
fn remove_elsewhere(transaction: &Transaction<'_>, new: &NewConnection) -> Result<Option<SecretStorage>, StoreError> {
    let found = find(transaction, &new.name, with_grant)?;
    let Some((before, grant)) = found.filter(|(before, _)| !before.has_target(new.mode, new.origin.as_ref())) else {
        return Ok(None);
    };
    if !before.is_replaceable_by(new.mode) {
        return Err(StoreError::NameTaken(new.name.clone()));
    }
    transaction.execute("DELETE FROM connections WHERE id = ?1", [before.id.0])?;
    let sql = "DELETE FROM sandbox_state WHERE key = ?1 AND ?2 \
               AND NOT EXISTS (SELECT 1 FROM connections WHERE connector = ?3 AND mode = 'sandbox')";
    let connector = new.name.connector();
    transaction.execute(sql, (state_key(connector), before.mode == ConnectionMode::Sandbox, connector))?;
    Ok(grant.map(|grant| grant.storage))
}

/// The JSON columns of a new connection.
struct JsonColumns {
    params: String,
    metadata: String,
    scopes_requested: String,
    scopes_granted: Option<String>,
}

impl JsonColumns {
    fn new(new: &NewConnection) -> Result<Self, StoreError> {
        Ok(Self {
            params: to_json(&new.params)?,
            metadata: to_json(&new.metadata)?,
            scopes_requested: to_json(&new.scopes_requested)?,
            scopes_granted: new.scopes_granted.as_ref().map(to_json).transpose()?,
        })
    }
}

/// Reads the row of the connection with this name.
fn find<T>(
    sqlite: &Sqlite,
    name: &ConnectionName,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!(with_grant "WHERE c.connector = ?1 AND c.account = ?2"))?;
    first(query(&mut statement, (name.connector(), name.account().unwrap_or_default()))?, read)
}

/// Returns the connection with this id.
pub(super) fn find_by_id(sqlite: &Sqlite, id: ConnectionId) -> Result<Option<Connection>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE c.id = ?1"))?;
    first(query(&mut statement, [id.0])?, from_row)
}

/// Returns all grants with their connections, sorted by name.
pub(super) fn list_with_grants(sqlite: &Sqlite) -> Result<Vec<(Connection, StoredGrant)>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!(with_grant "ORDER BY c.connector, c.account"))?;
    let all = collect(query(&mut statement, [])?, with_grant)?;
    Ok(all.into_iter().filter_map(|(connection, grant)| Some((connection, grant?))).collect())
}

/// Returns the grant of the connection with this id.
pub(super) fn grant_of(sqlite: &Sqlite, id: ConnectionId) -> Result<Option<StoredGrant>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!(with_grant "WHERE c.id = ?1"))?;
    Ok(first(query(&mut statement, [id.0])?, grants::from_row)?.flatten())
}

fn with_grant(row: &Row<'_>) -> Result<(Connection, Option<StoredGrant>), StoreError> {
    Ok((from_row(row)?, grants::from_row(row)?))
}

fn from_row(row: &Row<'_>) -> Result<Connection, StoreError> {
    let origin: Option<String> = row.get("origin")?;
    let account_name: Option<String> = row.get("account_name")?;
    // The grant's columns are NULL where the connection has none.
    let method = row.get::<Option<String>>("refresh_method")?;
    let method = method.map_or(Ok(RefreshMethod::None), |word| parse_word(&word))?;
    Ok(Connection {
        id: ConnectionId(row.get("id")?),
        name: connection_name(row)?,
        mode: get_word(row, "mode")?,
        auth: row.get("auth")?,
        origin: origin.map(|origin| Url::parse(&origin).map_err(|_| MalformedValue::Name)).transpose()?,
        params: get_json(row, "params")?,
        metadata: get_json(row, "metadata")?,
        account: row.get::<Option<String>>("account_id")?.map(|id| Account { id, name: account_name }),
        user: user(row, "user_id")?,
        reveal: get_word(row, "reveal")?,
        scopes_requested: get_json(row, "scopes_requested")?,
        scopes_granted: get_optional_json(row, "scopes_granted")?,
        grant_status: get_word(row, "grant_status")?,
        status_reason: row.get("status_reason")?,
        connected_at: get_seconds(row, "connected_at")?,
        expiry: Expiry {
            issued_at: get_optional_seconds(row, "issued_at")?,
            expires_at: get_optional_seconds(row, "expires_at")?,
            is_refreshable: method != RefreshMethod::None,
            refresh_expires_at: get_optional_seconds(row, "refresh_expires_at")?.filter(|_| method.has_refresh_token()),
            refresh_started_at: grants::refresh_started_at(row)?,
        },
        last_check: get_optional_seconds(row, "checked_at")?
            .zip(row.get("check_passed")?)
            .map(|(at, passed)| Check { at, passed }),
        error_count: row.get("error_count")?,
        last_error: row.get("last_error")?,
    })
}
