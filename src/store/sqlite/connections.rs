//! Connections, with when their grants expire.

use std::collections::BTreeMap;

use rusqlite::{Connection as Sqlite, OptionalExtension, Row, Transaction};
use url::Url;

use super::row::{
    collect, connection_name, get_json, get_optional_json, get_optional_seconds, get_seconds, get_word, parse_word,
    to_json,
};
use super::sandbox::state_key;
use super::transitions::ConnectionRef;
use super::{MalformedValue, Store, StoreError, grants};
use crate::clock::Timestamp;
use crate::model::connection::{
    Account, Check, CheckRecord, Connection, ConnectionId, ConnectionMode, GrantStatus, NewConnection,
};
use crate::model::grant::{Expiry, Grant, RefreshMethod, SecretStorage, StoredGrant};
use crate::model::name::ConnectionName;

/// What every query of a connection selects: the columns of [`from_row`] and of [`grants::from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT c.id, c.connector, c.account, c.mode, c.auth, c.origin, c.params, c.metadata, c.account_id, \
             c.account_name, c.scopes_requested, c.scopes_granted, c.grant_status, c.status_reason, c.connected_at, \
             c.checked_at, c.check_passed, c.error_count, c.last_error, g.issued_at, g.expires_at, g.refresh_method, \
             g.refresh_started_at, g.refresh_expires_at, g.client_id, g.generation, g.refresh_generation, \
             g.from_backup, g.in_keyring, g.secrets FROM connections c LEFT JOIN grants g ON g.connection_id = c.id ",
            $rest
        )
    };
}

/// The connections of a store.
#[derive(Clone, Copy, Debug)]
pub struct Connections<'a>(pub(super) &'a Store);

impl Connections<'_> {
    /// All connections, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self) -> Result<Vec<Connection>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(select!("ORDER BY c.connector, c.account"))?;
            collect(statement.query([])?, from_row)
        })
    }

    /// The names alone, which is all that completion needs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn names(&self) -> Result<Vec<ConnectionName>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement =
                sqlite.prepare("SELECT connector, account FROM connections ORDER BY connector, account")?;
            collect(statement.query([])?, connection_name)
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        self.0.read(|sqlite| find(sqlite, name, from_row))
    }

    /// A connection and its grant in one query: what handing out a token reads.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find_with_grant(
        &self,
        name: &ConnectionName,
    ) -> Result<Option<(Connection, Option<StoredGrant>)>, StoreError> {
        self.0.read(|sqlite| find(sqlite, name, |row| Ok((from_row(row)?, grants::from_row(row)?))))
    }

    /// Records that an account was connected.
    ///
    /// A connection of the same name with the same mode and origin keeps its id and everything that refers to it; its
    /// grant is replaced and its errors are cleared. One with another mode or origin is removed with everything that
    /// refers to it, in the same transaction. The secrets of a new connection belong into `place`. Even if that is the
    /// keyring, they are written into the store until [`super::Grants::move_to_keyring`] says that they are there.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] if the name is taken by a connection that must not be removed.
    pub fn connect(&self, new: &NewConnection, grant: &Grant, place: SecretStorage) -> Result<Connection, StoreError> {
        let row = ConnectionColumns::of(new)?;
        self.0.write_tracked(ConnectionRef::Name(&new.name), |transaction| {
            let place = match remove_elsewhere(transaction, new)? {
                // The keyring may hold an entry of this name, which the new grant then replaces.
                Some(SecretStorage::Keyring) => SecretStorage::Keyring,
                _ => place,
            };
            let id: i64 = transaction.query_row(
                "INSERT INTO connections (connector, account, mode, auth, origin, params, metadata, account_id,
                     account_name, scopes_requested, scopes_granted, grant_status, connected_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'active', ?12)
                 ON CONFLICT (connector, account) DO UPDATE SET
                     mode = excluded.mode, auth = excluded.auth, origin = excluded.origin, params = excluded.params,
                     metadata = excluded.metadata, account_id = excluded.account_id,
                     account_name = excluded.account_name, scopes_requested = excluded.scopes_requested,
                     scopes_granted = excluded.scopes_granted, grant_status = 'active', status_reason = NULL,
                     connected_at = excluded.connected_at, checked_at = NULL, check_passed = NULL,
                     check_unauthorized = 0, error_count = 0, last_error = NULL
                 RETURNING id",
                (
                    new.name.connector(),
                    new.name.account().unwrap_or_default(),
                    new.mode.as_str(),
                    &new.auth,
                    new.origin.as_ref().map(Url::as_str),
                    row.params,
                    row.metadata,
                    new.account.as_ref().map(|account| &account.id),
                    new.account.as_ref().and_then(|account| account.name.as_ref()),
                    row.scopes_requested,
                    row.scopes_granted,
                    new.connected_at.as_second(),
                ),
                |row| row.get(0),
            )?;
            grants::replace(transaction, ConnectionId(id), grant, place)?;
            find(transaction, &new.name, from_row)?.ok_or(StoreError::ConnectionNotFound)
        })
    }

    /// Removes the connection and everything that refers to it.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`] if it was removed already.
    pub fn remove(&self, id: ConnectionId) -> Result<(), StoreError> {
        self.update("DELETE FROM connections WHERE id = ?1", id, &[])
    }

    /// # Errors
    /// [`StoreError`].
    pub fn set_grant_status(
        &self,
        id: ConnectionId,
        status: GrantStatus,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE connections SET grant_status = ?2, status_reason = ?3 WHERE id = ?1";
        self.update(sql, id, &[&status.as_str(), &reason])
    }

    /// Records a health check: one that passed clears the errors, another counts one more. That the vendor refused the
    /// token is remembered until a check passes, since a check that fails for another reason says nothing about the
    /// grant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record_check(&self, id: ConnectionId, at: Timestamp, finding: CheckRecord<'_>) -> Result<(), StoreError> {
        let (passed, unauthorized, error) = match finding {
            CheckRecord::Healthy => (true, false, None),
            CheckRecord::Failing(error) => (false, false, Some(error)),
            CheckRecord::Unauthorized(error) => (false, true, Some(error)),
        };
        let sql = "UPDATE connections SET checked_at = ?2, check_passed = ?3, last_error = ?4,
                       error_count = CASE WHEN ?3 THEN 0 ELSE error_count + 1 END,
                       check_unauthorized = CASE WHEN ?3 THEN 0 ELSE max(check_unauthorized, ?5) END
                   WHERE id = ?1";
        self.update(sql, id, &[&at.as_second(), &passed, &error, &unauthorized])
    }

    /// Stores what a check or a refresh learned about the connection; absent values stay as they were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn update_metadata(
        &self,
        id: ConnectionId,
        account: Option<&Account>,
        scopes_granted: Option<&[String]>,
        metadata: Option<&BTreeMap<String, String>>,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE connections SET account_id = coalesce(?2, account_id),
                       account_name = CASE WHEN ?2 IS NULL THEN account_name ELSE ?3 END,
                       scopes_granted = coalesce(?4, scopes_granted), metadata = coalesce(?5, metadata)
                   WHERE id = ?1";
        let scopes = scopes_granted.map(to_json).transpose()?;
        let metadata = metadata.map(to_json).transpose()?;
        let account_id = account.map(|account| account.id.as_str());
        let account_name = account.and_then(|account| account.name.as_deref());
        self.update(sql, id, &[&account_id, &account_name, &scopes, &metadata])
    }

    /// Records a refresh or a call that failed for a temporary reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record_failure(&self, id: ConnectionId, error: &str) -> Result<(), StoreError> {
        let sql = "UPDATE connections SET error_count = error_count + 1, last_error = ?2 WHERE id = ?1";
        self.update(sql, id, &[&error])
    }

    fn update(&self, sql: &str, id: ConnectionId, values: &[&dyn rusqlite::ToSql]) -> Result<(), StoreError> {
        self.0.write_tracked(ConnectionRef::Id(id), |transaction| {
            let parameters: Vec<&dyn rusqlite::ToSql> =
                std::iter::once(&id.0 as _).chain(values.iter().copied()).collect();
            match transaction.prepare_cached(sql)?.execute(parameters.as_slice())? {
                0 => Err(StoreError::ConnectionNotFound),
                _ => Ok(()),
            }
        })
    }
}

/// Removes the connection of the same name if its mode or origin is another: neither may see the other's data. Returns
/// where its secrets belonged.
fn remove_elsewhere(transaction: &Transaction<'_>, new: &NewConnection) -> Result<Option<SecretStorage>, StoreError> {
    let found = find(transaction, &new.name, |row| Ok((from_row(row)?, grants::from_row(row)?)))?;
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
struct ConnectionColumns {
    params: String,
    metadata: String,
    scopes_requested: String,
    scopes_granted: Option<String>,
}

impl ConnectionColumns {
    fn of(new: &NewConnection) -> Result<Self, StoreError> {
        Ok(Self {
            params: to_json(&new.params)?,
            metadata: to_json(&new.metadata)?,
            scopes_requested: to_json(&new.scopes_requested)?,
            scopes_granted: new.scopes_granted.as_ref().map(to_json).transpose()?,
        })
    }
}

/// Reads the row of a connection.
fn find<T>(
    sqlite: &Sqlite,
    name: &ConnectionName,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE c.connector = ?1 AND c.account = ?2"))?;
    let mut rows = statement.query((name.connector(), name.account().unwrap_or_default()))?;
    rows.next()?.map(read).transpose()
}

/// The connection with this id.
pub(super) fn find_by_id(sqlite: &Sqlite, id: ConnectionId) -> Result<Option<Connection>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE c.id = ?1"))?;
    let mut rows = statement.query([id.0])?;
    rows.next()?.map(from_row).transpose()
}

/// The grant of the connection with this id.
pub(super) fn grant_of(sqlite: &Sqlite, id: ConnectionId) -> Result<Option<StoredGrant>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE c.id = ?1"))?;
    let grant = statement.query_row([id.0], |row| Ok(grants::from_row(row))).optional()?;
    Ok(grant.transpose()?.flatten())
}

fn from_row(row: &Row<'_>) -> Result<Connection, StoreError> {
    let origin: Option<String> = row.get("origin")?;
    let account_name: Option<String> = row.get("account_name")?;
    // The grant's columns are NULL where the connection has none.
    let method = row.get::<_, Option<String>>("refresh_method")?;
    let method = method.map_or(Ok(RefreshMethod::None), |word| parse_word(&word))?;
    Ok(Connection {
        id: ConnectionId(row.get("id")?),
        name: connection_name(row)?,
        mode: get_word(row, "mode")?,
        auth: row.get("auth")?,
        origin: origin.map(|origin| Url::parse(&origin).map_err(|_| MalformedValue::Name)).transpose()?,
        params: get_json(row, "params")?,
        metadata: get_json(row, "metadata")?,
        account: row.get::<_, Option<String>>("account_id")?.map(|id| Account { id, name: account_name }),
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
