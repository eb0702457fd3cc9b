//! Grants: the secrets of connections, protected against being used twice.

use std::borrow::Cow;
use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Connection as Sqlite, OptionalExtension, Params, Transaction};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::locks::check_fence;
use super::row::{Row, from_json, get_optional_seconds, get_seconds, get_word};
use super::transitions::ConnectionRef;
use super::{MalformedValue, SqliteStore, StoreError, connections};
use crate::clock::Timestamp;
use crate::model::{
    ClientCredentials, Connection, ConnectionId, ConnectionTransition, Grant, GrantMetadata, GrantWriteResult,
    RefreshAttempt, SecretStorage, StoredGrant,
};
use crate::secret::Secret;
use crate::store::{Fence, Grants};

/// How secrets are written: the column `secrets`, and the entry of the OS keyring.
#[derive(Serialize, Deserialize)]
struct SecretsJson<'a> {
    /// The row and generation that an entry of the OS keyring belongs to; absent in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<(i64, u64)>,
    #[serde(borrow)]
    access_token: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<Cow<'a, str>>,
}

#[async_trait]
impl Grants for SqliteStore {
    async fn get(&self, id: ConnectionId) -> Result<Option<StoredGrant>, StoreError> {
        self.read(move |sqlite| connections::grant_of(sqlite, id)).await
    }

    async fn begin_refresh(
        &self,
        id: ConnectionId,
        generation: u64,
        at: Timestamp,
        fence: Fence,
    ) -> Result<GrantWriteResult, StoreError> {
        self.write(move |transaction| {
            check_fence(transaction, fence)?;
            let sql = "UPDATE grants SET refresh_started_at = ?3, refresh_generation = generation
                       WHERE connection_id = ?1 AND generation = ?2";
            update(transaction, sql, generation, (id.0, generation, at.as_second()))
        })
        .await
    }

    async fn cancel_refresh(
        &self,
        id: ConnectionId,
        generation: u64,
        fence: Fence,
    ) -> Result<GrantWriteResult, StoreError> {
        self.write(move |transaction| {
            check_fence(transaction, fence)?;
            let sql = "UPDATE grants SET refresh_started_at = NULL, refresh_generation = NULL
                       WHERE connection_id = ?1 AND generation = ?2";
            update(transaction, sql, generation, (id.0, generation))
        })
        .await
    }

    async fn replace(
        &self,
        id: ConnectionId,
        generation: u64,
        grant: &Grant,
        fence: Fence,
    ) -> Result<(GrantWriteResult, Option<ConnectionTransition>), StoreError> {
        let grant = grant.clone();
        self.write_tracked(ConnectionRef::Id(id), move |transaction| {
            check_fence(transaction, fence)?;
            if current_generation(transaction, id)? != Some(generation) {
                return Ok(GrantWriteResult::Superseded);
            }
            put(transaction, id, &grant)?;
            let sql = "UPDATE connections SET grant_status = 'active', status_reason = NULL, error_count = 0,
                           last_error = NULL
                       WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute([id.0])?;
            Ok(GrantWriteResult::Done { generation: generation + 1 })
        })
        .await
    }

    async fn move_to_keyring(&self, id: ConnectionId, generation: u64) -> Result<GrantWriteResult, StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE grants SET secrets = NULL, in_keyring = 1 WHERE connection_id = ?1 AND generation = ?2";
            update(transaction, sql, generation, (id.0, generation))
        })
        .await
    }

    async fn move_to_store(
        &self,
        id: ConnectionId,
        generation: u64,
        grant: &Grant,
    ) -> Result<GrantWriteResult, StoreError> {
        let secrets = secrets_text(grant, None)?;
        self.write(move |transaction| {
            let sql = "UPDATE grants SET secrets = ?3 WHERE connection_id = ?1 AND generation = ?2";
            update(transaction, sql, generation, (id.0, generation, secrets.as_str()))
        })
        .await
    }

    async fn mark_all_in_keyring(&self) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute("UPDATE grants SET in_keyring = 1", [])?;
            Ok(())
        })
        .await
    }

    async fn clear_in_keyring(&self, id: ConnectionId) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE grants SET in_keyring = 0 WHERE connection_id = ?1 AND secrets IS NOT NULL";
            transaction.execute(sql, [id.0])?;
            Ok(())
        })
        .await
    }

    async fn list(&self) -> Result<Vec<(Connection, StoredGrant)>, StoreError> {
        self.read(connections::list_with_grants).await
    }

    async fn restored(&self) -> Result<Vec<ConnectionId>, StoreError> {
        self.read(|sqlite| {
            let mut statement =
                sqlite.prepare("SELECT connection_id FROM grants WHERE from_backup ORDER BY connection_id")?;
            let ids = statement.query_map([], |row| row.get(0).map(ConnectionId))?.collect::<Result<_, _>>()?;
            Ok(ids)
        })
        .await
    }
}

/// Runs an update of a grant that changes no row if another generation has taken its place.
fn update(
    transaction: &Transaction<'_>,
    sql: &str,
    generation: u64,
    values: impl Params,
) -> Result<GrantWriteResult, StoreError> {
    Ok(match transaction.prepare_cached(sql)?.execute(values)? {
        0 => GrantWriteResult::Superseded,
        _ => GrantWriteResult::Done { generation },
    })
}

/// Returns the grant with the secrets that an entry of the OS keyring holds; `None` if the entry is not of this
/// generation of this connection.
///
/// # Errors
/// [`StoreError::Malformed`] if the entry is not one of ours.
pub fn from_keyring_entry(stored: &StoredGrant, id: ConnectionId, entry: &str) -> Result<Option<Grant>, StoreError> {
    let secrets: SecretsJson<'_> = from_json(entry)?;
    Ok((secrets.of == Some((id.0, stored.generation))).then(|| whole(&stored.metadata, secrets)))
}

/// Returns the grant whose secrets are in a text that [`secrets_text`] has written.
pub(in crate::store) fn grant_from_text(metadata: &GrantMetadata, text: &str) -> Result<Grant, StoreError> {
    Ok(whole(metadata, from_json(text)?))
}

fn whole(metadata: &GrantMetadata, secrets: SecretsJson<'_>) -> Grant {
    let secret = |text: Cow<'_, str>| Secret::new(text.into_owned());
    let client_secret = secrets.client_secret.map(secret);
    Grant {
        access_token: secret(secrets.access_token),
        refresh_token: secrets.refresh_token.map(secret),
        fields: secrets.fields.into_iter().map(|(name, value)| (name.into_owned(), secret(value))).collect(),
        client: metadata.client_id.clone().map(|id| ClientCredentials { id, secret: client_secret }),
        issued_at: metadata.issued_at,
        expires_at: metadata.expires_at,
        refresh_expires_at: metadata.refresh_expires_at,
        refresh_method: metadata.refresh_method,
    }
}

/// Returns what an entry of the OS keyring is to hold for this generation of a grant.
pub fn keyring_entry(id: ConnectionId, generation: u64, grant: &Grant) -> Result<Secret, StoreError> {
    let text = secrets_text(grant, Some((id.0, generation)))?;
    Ok(Secret::from(text.as_str()))
}

/// Writes the grant of a connection that has just been connected. A grant that is replaced stays in its storage.
pub(super) fn replace(
    transaction: &Transaction<'_>,
    id: ConnectionId,
    grant: &Grant,
    storage: SecretStorage,
) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO grants (connection_id, secrets, in_keyring, issued_at, refresh_method, generation)
         VALUES (?1, '', ?2, 0, 'none', 0) ON CONFLICT (connection_id) DO NOTHING",
        (id.0, storage == SecretStorage::Keyring),
    )?;
    put(transaction, id, grant)
}

/// Writes a new grant, of the next generation, into a row that exists.
fn put(transaction: &Transaction<'_>, id: ConnectionId, grant: &Grant) -> Result<(), StoreError> {
    let secrets = secrets_text(grant, None)?;
    transaction
        .prepare_cached(
            "UPDATE grants SET secrets = ?2, client_id = ?3, issued_at = ?4, expires_at = ?5, refresh_expires_at = ?6,
                 refresh_method = ?7, generation = generation + 1, refresh_started_at = NULL, refresh_generation = NULL,
                 from_backup = 0
             WHERE connection_id = ?1",
        )?
        .execute((
            id.0,
            secrets.as_str(),
            grant.client.as_ref().map(|client| &client.id),
            grant.issued_at.as_second(),
            grant.expires_at.map(Timestamp::as_second),
            grant.refresh_expires_at.map(Timestamp::as_second),
            grant.refresh_method.as_str(),
        ))?;
    Ok(())
}

fn current_generation(sqlite: &Sqlite, id: ConnectionId) -> Result<Option<u64>, StoreError> {
    let mut statement = sqlite.prepare_cached("SELECT generation FROM grants WHERE connection_id = ?1")?;
    Ok(statement.query_row([id.0], |row| row.get("generation")).optional()?)
}

/// Writes the secrets of a grant, and the row and generation that they are of.
pub(in crate::store) fn secrets_text(grant: &Grant, of: Option<(i64, u64)>) -> Result<Zeroizing<String>, StoreError> {
    let text = SecretsJson {
        of,
        access_token: Cow::Borrowed(grant.access_token.expose()),
        refresh_token: grant.refresh_token.as_ref().map(|token| Cow::Borrowed(token.expose().as_str())),
        fields: grant
            .fields
            .iter()
            .map(|(name, secret)| (Cow::Borrowed(name.as_str()), Cow::Borrowed(secret.expose().as_str())))
            .collect(),
        client_secret: grant
            .client
            .as_ref()
            .and_then(|client| client.secret.as_ref())
            .map(|secret| Cow::Borrowed(secret.expose().as_str())),
    };
    Ok(Zeroizing::new(serde_json::to_string(&text).map_err(MalformedValue::Json)?))
}

/// Reads the grant's part of a row that `connections` selected; absent where the connection has none.
pub(super) fn from_row(row: &Row<'_>) -> Result<Option<StoredGrant>, StoreError> {
    let Some(generation) = row.get::<Option<u64>>("generation")? else { return Ok(None) };
    let metadata = GrantMetadata {
        client_id: row.get("client_id")?,
        issued_at: get_seconds(row, "issued_at")?,
        expires_at: get_optional_seconds(row, "expires_at")?,
        refresh_expires_at: get_optional_seconds(row, "refresh_expires_at")?,
        refresh_method: get_word(row, "refresh_method")?,
    };
    let secrets = row.get::<Option<String>>("secrets")?.map(Zeroizing::new);
    let grant = match &secrets {
        Some(text) => Some(whole(&metadata, from_json(text)?)),
        None => None,
    };
    Ok(Some(StoredGrant {
        generation,
        refresh_attempt: refresh_started_at(row)?.map(|at| RefreshAttempt { at }),
        is_from_backup: row.get("from_backup")?,
        storage: if row.get("in_keyring")? { SecretStorage::Keyring } else { SecretStorage::Store },
        grant,
        metadata,
    }))
}

/// Reads when a refresh without a stored answer began. A marker of another generation is of a grant that has been
/// replaced since.
pub(super) fn refresh_started_at(row: &Row<'_>) -> Result<Option<Timestamp>, StoreError> {
    let (marked, current): (Option<u64>, Option<u64>) = (row.get("refresh_generation")?, row.get("generation")?);
    if marked.is_none() || marked != current {
        return Ok(None);
    }
    get_optional_seconds(row, "refresh_started_at")
}

/// Puts the secrets of a grant into the copy of its row in an attached database.
pub(super) fn fill_in(
    sqlite: &Sqlite,
    schema: &str,
    id: ConnectionId,
    generation: u64,
    grant: &Grant,
) -> Result<(), StoreError> {
    let sql =
        format!("UPDATE {schema}.grants SET secrets = ?3, in_keyring = 0 WHERE connection_id = ?1 AND generation = ?2");
    sqlite.execute(&sql, (id.0, generation, secrets_text(grant, None)?.as_str()))?;
    Ok(())
}
