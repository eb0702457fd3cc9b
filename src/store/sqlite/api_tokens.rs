//! Tokens of the HTTP API.

use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::Date;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};

use super::row::{
    Row, collect, first, get_json, get_optional_seconds, get_seconds, get_word, parse_word, query, to_json, user,
};
use super::{MalformedValue, SqliteStore, StoreError, api_usage};
use crate::clock::Timestamp;
use crate::model::{
    Admission, ApiToken, ApiTokenHash, ApiTokenId, ApiTokenName, ApiUse, ApiUseCount, ConnectionId, PresentedApiToken,
    UserId,
};
use crate::store::{ApiTokenRotation, ApiTokenWrite, ApiTokens};

/// How exact the time of the last use is: a request of a token that is in use must not cost a write.
const USE_SECS: i64 = 60;

/// Selects tokens with the columns of [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, user_id, hash, previous_hash, previous_until, scopes, is_limited, tier, parent_id, root_id, \
             is_enabled, created_at, rotated_at, expires_at, rotate_after, last_used_at, approve, trust, \
             (SELECT group_concat(connection_id) FROM (SELECT connection_id FROM api_token_connections \
             WHERE token_id = api_tokens.id ORDER BY connection_id)) AS connections FROM api_tokens ",
            $rest
        )
    };
}

#[async_trait]
impl ApiTokens for SqliteStore {
    async fn list(&self) -> Result<Vec<ApiToken>, StoreError> {
        self.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(select!("ORDER BY name"))?;
            collect(query(&mut statement, [])?, from_row)
        })
        .await
    }

    async fn find(&self, id: &ApiTokenId) -> Result<Option<ApiToken>, StoreError> {
        let id = id.clone();
        self.read(move |sqlite| find(sqlite, id.as_str())).await
    }

    async fn find_by_hash(&self, hash: &ApiTokenHash) -> Result<Option<PresentedApiToken>, StoreError> {
        let hash = *hash;
        self.read(move |sqlite| find_by_hash(sqlite, &hash)).await
    }

    async fn insert(&self, token: &ApiToken, hash: &ApiTokenHash) -> Result<ApiTokenWrite, StoreError> {
        let (token, hash) = (token.clone(), *hash);
        self.write(move |transaction| insert(transaction, &token, &hash)).await
    }

    async fn replace(&self, old: &ApiToken, new: &ApiToken) -> Result<ApiTokenWrite, StoreError> {
        let (old, new) = (old.clone(), new.clone());
        self.write(move |transaction| replace(transaction, &old, &new)).await
    }

    async fn rotate(&self, id: &ApiTokenId, rotation: &ApiTokenRotation) -> Result<Option<ApiToken>, StoreError> {
        let (id, rotation) = (id.clone(), rotation.clone());
        self.write(move |transaction| {
            let sql = "UPDATE api_tokens SET previous_hash = CASE WHEN ?5 IS NULL THEN NULL ELSE hash END, \
                       previous_until = ?5, hash = ?2, rotated_at = ?3, expires_at = ?4 WHERE id = ?1";
            let until = rotation.previous_until.map(Timestamp::as_second);
            let times = (rotation.rotated_at.as_second(), rotation.expires_at.as_second());
            transaction.execute(sql, params![id.as_str(), rotation.hash.as_bytes(), times.0, times.1, until])?;
            find(transaction, id.as_str())
        })
        .await
    }

    async fn revoke(&self, id: &ApiTokenId) -> Result<Vec<ApiToken>, StoreError> {
        let id = id.clone();
        self.write(move |transaction| {
            let sql = select!(
                "JOIN (WITH RECURSIVE made (made_id, depth) AS (SELECT ?1, 0 UNION ALL \
                 SELECT c.id, depth + 1 FROM api_tokens c JOIN made ON c.parent_id = made_id) SELECT * FROM made) \
                 ON id = made_id ORDER BY depth, name"
            );
            let mut statement = transaction.prepare_cached(sql)?;
            let revoked = collect(query(&mut statement, [id.as_str()])?, from_row)?;
            transaction.execute("DELETE FROM api_tokens WHERE id = ?1", [id.as_str()])?;
            Ok(revoked)
        })
        .await
    }

    async fn record_use(&self, id: &ApiTokenId, now: Timestamp) -> Result<(), StoreError> {
        let (id, now) = (id.clone(), now.as_second());
        self.write(move |transaction| {
            // Also where the clock was set back since.
            let sql = "UPDATE api_tokens SET last_used_at = ?2 WHERE id = ?1 \
                       AND (last_used_at IS NULL OR abs(?2 - last_used_at) >= ?3)";
            transaction.prepare_cached(sql)?.execute((id.as_str(), now, USE_SECS))?;
            Ok(())
        })
        .await
    }

    async fn admit(
        &self,
        root: &ApiTokenId,
        now: Timestamp,
        limit: u32,
        window: Duration,
    ) -> Result<Option<Admission>, StoreError> {
        self.admit_request(root.clone(), now, limit, window).await
    }

    async fn record_usage(&self, uses: &[ApiUse]) -> Result<(), StoreError> {
        let uses = uses.to_vec();
        self.write(move |transaction| api_usage::record(transaction, &uses)).await
    }

    async fn usage(&self, id: &ApiTokenId, since: Date) -> Result<Vec<ApiUseCount>, StoreError> {
        let id = id.clone();
        self.read(move |sqlite| api_usage::counts(sqlite, &id, since)).await
    }
}

fn find(sqlite: &Connection, id: &str) -> Result<Option<ApiToken>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE id = ?1"))?;
    first(query(&mut statement, [id])?, from_row)
}

/// Whether another token than this one has the name.
fn is_name_taken(sqlite: &Connection, token: &ApiToken) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM api_tokens WHERE name = ?1 AND id <> ?2";
    let mut statement = sqlite.prepare_cached(sql)?;
    Ok(statement.exists((token.name.as_str(), token.id.as_str()))?)
}

fn find_by_hash(sqlite: &Connection, hash: &ApiTokenHash) -> Result<Option<PresentedApiToken>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE hash = ?1 OR previous_hash = ?1"))?;
    let Some((token, hash, previous)) = first(query(&mut statement, [hash.as_bytes()])?, with_hashes)? else {
        return Ok(None);
    };
    let mut ancestors: Vec<ApiToken> = Vec::new();
    while let Some(parent) = &ancestors.last().unwrap_or(&token).parent {
        // Rows refer to their parents, which exist; a circle is impossible but in a file that somebody else wrote.
        let found = find(sqlite, parent.as_str())?.filter(|found| !ancestors.contains(found));
        ancestors.push(found.ok_or(MalformedValue::Name)?);
    }
    Ok(Some(PresentedApiToken { token, hash, previous, ancestors }))
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    token: &ApiToken,
    hash: &ApiTokenHash,
) -> Result<ApiTokenWrite, StoreError> {
    if is_name_taken(transaction, token)? {
        return Ok(ApiTokenWrite::NameTaken);
    }
    if let Some(parent) = &token.parent
        && find(transaction, parent.as_str())?.is_none()
    {
        return Ok(ApiTokenWrite::Conflict);
    }
    let sql = "INSERT INTO api_tokens (id, name, user_id, hash, scopes, is_limited, tier, parent_id, root_id, is_enabled, \
               created_at, rotated_at, expires_at, rotate_after, approve, trust) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    transaction.execute(
        sql,
        params![
            token.id.as_str(),
            token.name.as_str(),
            token.user.as_ref().map(UserId::as_str),
            hash.as_bytes(),
            scopes_column(token)?,
            token.connections.is_some(),
            token.tier.as_str(),
            token.parent.as_ref().map(ApiTokenId::as_str),
            token.root.as_str(),
            token.is_enabled,
            token.created_at.as_second(),
            token.rotated_at.as_second(),
            token.expires_at.as_second(),
            token.rotate_after.map(|after| after.as_secs()),
            token.approve.as_str(),
            token.trust.as_ref().map(ApiTokenName::as_str),
        ],
    )?;
    put_connections(transaction, token)?;
    Ok(ApiTokenWrite::Stored)
}

fn replace(transaction: &Transaction<'_>, old: &ApiToken, new: &ApiToken) -> Result<ApiTokenWrite, StoreError> {
    let stored = find(transaction, old.id.as_str())?;
    let is_unchanged = stored.is_some_and(|stored| ApiToken { last_used_at: old.last_used_at, ..stored } == *old);
    if !is_unchanged {
        return Ok(ApiTokenWrite::Conflict);
    }
    if is_name_taken(transaction, new)? {
        return Ok(ApiTokenWrite::NameTaken);
    }
    // First: a token whose limit is lifted must not be disabled by the deletion of its connections.
    let sql = "UPDATE api_tokens SET name = ?2, scopes = ?3, is_limited = ?4, tier = ?5, is_enabled = ?6, \
               rotate_after = ?7, approve = ?8 WHERE id = ?1";
    transaction.execute(
        sql,
        params![
            new.id.as_str(),
            new.name.as_str(),
            scopes_column(new)?,
            new.connections.is_some(),
            new.tier.as_str(),
            new.is_enabled,
            new.rotate_after.map(|after| after.as_secs()),
            new.approve.as_str(),
        ],
    )?;
    put_connections(transaction, new)?;
    Ok(ApiTokenWrite::Stored)
}

/// Stores the connections of a token, and then deletes its other ones: it always has one.
fn put_connections(transaction: &Transaction<'_>, token: &ApiToken) -> Result<(), StoreError> {
    let connections = token.connections.as_deref().unwrap_or_default();
    let add = "INSERT OR IGNORE INTO api_token_connections (token_id, connection_id) VALUES (?1, ?2)";
    for connection in connections {
        let added = transaction.prepare_cached(add)?.execute((token.id.as_str(), connection.0));
        added.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => StoreError::ConnectionNotFound,
            _ => error.into(),
        })?;
    }
    let stored = "SELECT connection_id FROM api_token_connections WHERE token_id = ?1";
    let stored: Vec<i64> = transaction
        .prepare_cached(stored)?
        .query_map([token.id.as_str()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let remove = "DELETE FROM api_token_connections WHERE token_id = ?1 AND connection_id = ?2";
    for connection in stored.into_iter().filter(|stored| connections.iter().all(|kept| kept.0 != *stored)) {
        transaction.prepare_cached(remove)?.execute((token.id.as_str(), connection))?;
    }
    Ok(())
}

fn scopes_column(token: &ApiToken) -> Result<String, StoreError> {
    to_json(&token.scopes.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn from_row(row: &Row<'_>) -> Result<ApiToken, StoreError> {
    let scopes: Vec<String> = get_json(row, "scopes")?;
    let scopes = scopes.iter().map(|word| word.parse().map_err(|_| MalformedValue::EnumValue(word.clone())));
    // Numbers with commas between them; NULL for none.
    let connections: Option<String> = row.get("connections")?;
    let connections = connections.unwrap_or_default();
    let connections = connections.split(',').filter_map(|id| id.parse().ok().map(ConnectionId));
    let is_limited: bool = row.get("is_limited")?;
    Ok(ApiToken {
        id: get_word(row, "id")?,
        name: get_word(row, "name")?,
        user: user(row, "user_id")?,
        scopes: scopes.collect::<Result<_, _>>()?,
        connections: is_limited.then(|| connections.collect()),
        tier: get_word(row, "tier")?,
        created_at: get_seconds(row, "created_at")?,
        rotated_at: get_seconds(row, "rotated_at")?,
        expires_at: get_seconds(row, "expires_at")?,
        last_used_at: get_optional_seconds(row, "last_used_at")?,
        is_enabled: row.get("is_enabled")?,
        parent: row.get::<Option<String>>("parent_id")?.map(|id| parse_id(&id)).transpose()?,
        root: get_word(row, "root_id")?,
        rotate_after: row.get::<Option<u64>>("rotate_after")?.map(Duration::from_secs),
        approve: get_word(row, "approve")?,
        trust: row.get::<Option<String>>("trust")?.map(|name| parse_word(&name)).transpose()?,
    })
}

fn parse_id(text: &str) -> Result<ApiTokenId, MalformedValue> {
    text.parse().map_err(|_| MalformedValue::EnumValue(text.to_owned()))
}

type TokenWithHashes = (ApiToken, ApiTokenHash, Option<(ApiTokenHash, Timestamp)>);

fn with_hashes(row: &Row<'_>) -> Result<TokenWithHashes, StoreError> {
    let previous = row.get::<Option<[u8; 32]>>("previous_hash")?.map(ApiTokenHash::from_bytes);
    let until = get_optional_seconds(row, "previous_until")?;
    Ok((from_row(row)?, ApiTokenHash::from_bytes(row.get("hash")?), previous.zip(until)))
}

/// Whether there is a token with this id.
pub(super) fn exists(sqlite: &Connection, id: &ApiTokenId) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM api_tokens WHERE id = ?1";
    let found = sqlite.prepare_cached(sql)?.query_row([id.as_str()], |_| Ok(())).optional()?;
    Ok(found.is_some())
}
