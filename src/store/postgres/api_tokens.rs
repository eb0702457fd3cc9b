//! Tokens of the HTTP API.

use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::Date;
use tokio_postgres::Row;

use super::error::is_missing_reference;
use super::row::{
    get, get_bytes, get_json, get_seconds, get_word, optional_number, optional_seconds, optional_word, signed, to_json,
    user,
};
use super::transaction::Transaction;
use super::value::Value;
use super::{PostgresStore, api_usage};
use crate::clock::Timestamp;
use crate::model::{
    Admission, ApiToken, ApiTokenHash, ApiTokenId, ApiTokenName, ApiUse, ApiUseCount, ConnectionId, PresentedApiToken,
    ScopeGrant, UserId,
};
use crate::store::{ApiTokenRotation, ApiTokenWrite, ApiTokens, MalformedValue, StoreError};

/// How exact the time of the last use is: a request of a token that is in use must not cost a write.
const USE_SECS: i64 = 60;

/// Selects tokens with the columns of [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT t.id, t.name, t.user_id, t.hash, t.previous_hash, t.previous_until, t.scopes, t.is_limited, t.tier,
             t.parent_id, t.root_id, t.is_enabled, t.created_at, t.rotated_at, t.expires_at, t.rotate_after,
             t.last_used_at, t.approve, t.trust, ARRAY(SELECT c.connection_id FROM integ.api_token_connections c
                 WHERE c.workspace_id = $1 AND c.token_id = t.id ORDER BY c.connection_id) AS connections
             FROM integ.api_tokens t WHERE t.workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl ApiTokens for PostgresStore {
    async fn list(&self) -> Result<Vec<ApiToken>, StoreError> {
        self.rows(select!("ORDER BY t.name"), &[]).await?.iter().map(from_row).collect()
    }

    async fn find(&self, id: &ApiTokenId) -> Result<Option<ApiToken>, StoreError> {
        let row = self.row(select!("AND t.id = $2"), &[&id.as_str()]).await?;
        row.as_ref().map(from_row).transpose()
    }

    async fn find_by_hash(&self, hash: &ApiTokenHash) -> Result<Option<PresentedApiToken>, StoreError> {
        let sql = select!("AND (t.hash = $2 OR t.previous_hash = $2)");
        let transaction = self.snapshot().await?;
        let Some(row) = transaction.first(sql, &[&hash.as_bytes().as_slice()]).await? else { return Ok(None) };
        let token = from_row(&row)?;
        let mut ancestors: Vec<ApiToken> = Vec::new();
        while let Some(parent) = &ancestors.last().unwrap_or(&token).parent {
            // Rows refer to their parents, which exist; a circle is impossible but in a database that somebody else wrote.
            let found = find(&transaction, parent).await?.filter(|found| !ancestors.contains(found));
            ancestors.push(found.ok_or(MalformedValue::Name)?);
        }
        let hash = ApiTokenHash::from_bytes(get_bytes(&row, "hash")?);
        let until = optional_seconds(&row, "previous_until")?;
        let previous = match until {
            Some(until) => Some((ApiTokenHash::from_bytes(get_bytes(&row, "previous_hash")?), until)),
            None => None,
        };
        Ok(Some(PresentedApiToken { token, hash, previous, ancestors }))
    }

    async fn insert(&self, token: &ApiToken, hash: &ApiTokenHash) -> Result<ApiTokenWrite, StoreError> {
        let transaction = self.begin().await?;
        let written = insert(&transaction, token, hash).await?;
        if written == ApiTokenWrite::Stored {
            transaction.commit().await?;
        }
        Ok(written)
    }

    async fn replace(&self, old: &ApiToken, new: &ApiToken) -> Result<ApiTokenWrite, StoreError> {
        let transaction = self.begin().await?;
        let written = replace(&transaction, old, new).await?;
        if written == ApiTokenWrite::Stored {
            transaction.commit().await?;
        }
        Ok(written)
    }

    async fn rotate(&self, id: &ApiTokenId, rotation: &ApiTokenRotation) -> Result<Option<ApiToken>, StoreError> {
        let sql = "UPDATE integ.api_tokens SET previous_hash = CASE WHEN $6 IS NULL THEN NULL ELSE hash END,
                       previous_until = $6, hash = $3, rotated_at = $4, expires_at = $5
                   WHERE workspace_id = $1 AND id = $2";
        let values: [Value<'_>; 5] = [
            &id.as_str(),
            &rotation.hash.as_bytes().as_slice(),
            &rotation.rotated_at.as_second(),
            &rotation.expires_at.as_second(),
            &rotation.previous_until.map(Timestamp::as_second),
        ];
        let transaction = self.begin().await?;
        transaction.execute(sql, &values).await?;
        let token = find(&transaction, id).await?;
        transaction.commit().await?;
        Ok(token)
    }

    async fn revoke(&self, id: &ApiTokenId) -> Result<Vec<ApiToken>, StoreError> {
        let transaction = self.begin().await?;
        // Locked first, so that it creates no other token meanwhile.
        let sql = "SELECT 1 FROM integ.api_tokens WHERE workspace_id = $1 AND id = $2 FOR UPDATE";
        transaction.query(sql, &[&id.as_str()]).await?;
        let sql = concat!(
            "WITH RECURSIVE made (made_id, depth) AS (SELECT $2 COLLATE \"C\", 0 UNION ALL SELECT c.id, depth + 1
                 FROM integ.api_tokens c JOIN made ON c.workspace_id = $1 AND c.parent_id = made_id),
             tokens AS (",
            select!(""),
            ") SELECT tokens.* FROM tokens JOIN made ON id = made_id ORDER BY depth, name"
        );
        let revoked = transaction.query(sql, &[&id.as_str()]).await?.iter().map(from_row).collect::<Result<_, _>>()?;
        let sql = "DELETE FROM integ.api_tokens WHERE workspace_id = $1 AND id = $2";
        transaction.execute(sql, &[&id.as_str()]).await?;
        transaction.commit().await?;
        Ok(revoked)
    }

    async fn record_use(&self, id: &ApiTokenId, now: Timestamp) -> Result<(), StoreError> {
        // Also where the clock was set back since.
        let sql = "UPDATE integ.api_tokens SET last_used_at = $3 WHERE workspace_id = $1 AND id = $2
                   AND (last_used_at IS NULL OR abs($3 - last_used_at) >= $4)";
        self.execute(sql, &[&id.as_str(), &now.as_second(), &USE_SECS]).await.map(drop)
    }

    async fn admit(
        &self,
        root: &ApiTokenId,
        now: Timestamp,
        limit: u32,
        window: Duration,
    ) -> Result<Option<Admission>, StoreError> {
        self.admit_request(root, now, limit, window).await
    }

    async fn record_usage(&self, uses: &[ApiUse]) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        api_usage::record(&transaction, uses).await?;
        transaction.commit().await
    }

    async fn usage(&self, id: &ApiTokenId, since: Date) -> Result<Vec<ApiUseCount>, StoreError> {
        let rows = self.rows(api_usage::COUNTS, &[&id.as_str(), &since.to_string()]).await?;
        rows.iter().map(api_usage::from_row).collect()
    }
}

async fn find(transaction: &Transaction, id: &ApiTokenId) -> Result<Option<ApiToken>, StoreError> {
    let row = transaction.first(select!("AND t.id = $2"), &[&id.as_str()]).await?;
    row.as_ref().map(from_row).transpose()
}

/// Whether another token than this one has the name.
async fn is_name_taken(transaction: &Transaction, token: &ApiToken) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM integ.api_tokens WHERE workspace_id = $1 AND name = $2 AND id <> $3";
    Ok(transaction.first(sql, &[&token.name.as_str(), &token.id.as_str()]).await?.is_some())
}

/// Stores a token. What is not [`ApiTokenWrite::Stored`] is to be rolled back.
pub(super) async fn insert(
    transaction: &Transaction,
    token: &ApiToken,
    hash: &ApiTokenHash,
) -> Result<ApiTokenWrite, StoreError> {
    if is_name_taken(transaction, token).await? {
        return Ok(ApiTokenWrite::NameTaken);
    }
    if let Some(parent) = &token.parent {
        let sql = "SELECT 1 FROM integ.api_tokens WHERE workspace_id = $1 AND id = $2 FOR KEY SHARE";
        if transaction.first(sql, &[&parent.as_str()]).await?.is_none() {
            return Ok(ApiTokenWrite::Conflict);
        }
    }
    let sql =
        "INSERT INTO integ.api_tokens (workspace_id, id, name, user_id, hash, scopes, is_limited, tier, parent_id,
                   root_id, is_enabled, created_at, rotated_at, expires_at, rotate_after, approve, trust)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
               ON CONFLICT (workspace_id, name) DO NOTHING";
    let values: [Value<'_>; 16] = [
        &token.id.as_str(),
        &token.name.as_str(),
        &token.user.as_ref().map(UserId::as_str),
        &hash.as_bytes().as_slice(),
        &scopes_column(&token.scopes)?,
        &token.connections.is_some(),
        &token.tier.as_str(),
        &token.parent.as_ref().map(ApiTokenId::as_str),
        &token.root.as_str(),
        &token.is_enabled,
        &token.created_at.as_second(),
        &token.rotated_at.as_second(),
        &token.expires_at.as_second(),
        &token.rotate_after.map(|after| signed(after.as_secs())),
        &token.approve.as_str(),
        &token.trust.as_ref().map(ApiTokenName::as_str),
    ];
    if transaction.execute(sql, &values).await? == 0 {
        return Ok(ApiTokenWrite::NameTaken);
    }
    put_connections(transaction, token).await?;
    Ok(ApiTokenWrite::Stored)
}

async fn replace(transaction: &Transaction, old: &ApiToken, new: &ApiToken) -> Result<ApiTokenWrite, StoreError> {
    let sql = select!("AND t.id = $2 FOR NO KEY UPDATE OF t");
    let stored = transaction.first(sql, &[&old.id.as_str()]).await?.as_ref().map(from_row).transpose()?;
    let is_unchanged = stored.is_some_and(|stored| ApiToken { last_used_at: old.last_used_at, ..stored } == *old);
    if !is_unchanged {
        return Ok(ApiTokenWrite::Conflict);
    }
    if is_name_taken(transaction, new).await? {
        return Ok(ApiTokenWrite::NameTaken);
    }
    // First: a token whose limit is lifted must not be disabled by the deletion of its connections.
    let sql = "UPDATE integ.api_tokens SET name = $3, scopes = $4, is_limited = $5, tier = $6, is_enabled = $7,
                   rotate_after = $8, approve = $9 WHERE workspace_id = $1 AND id = $2";
    let values: [Value<'_>; 8] = [
        &new.id.as_str(),
        &new.name.as_str(),
        &scopes_column(&new.scopes)?,
        &new.connections.is_some(),
        &new.tier.as_str(),
        &new.is_enabled,
        &new.rotate_after.map(|after| signed(after.as_secs())),
        &new.approve.as_str(),
    ];
    transaction.execute(sql, &values).await?;
    put_connections(transaction, new).await?;
    Ok(ApiTokenWrite::Stored)
}

/// Stores the connections of a token, and then deletes its other ones: it always has one.
async fn put_connections(transaction: &Transaction, token: &ApiToken) -> Result<(), StoreError> {
    let connections = token.connections.as_deref().unwrap_or_default();
    let connections: Vec<i64> = connections.iter().map(|connection| connection.0).collect();
    let sql = "INSERT INTO integ.api_token_connections (workspace_id, token_id, connection_id)
               SELECT $1, $2, unnest($3::bigint[]) ON CONFLICT (workspace_id, token_id, connection_id) DO NOTHING";
    let added = transaction.execute(sql, &[&token.id.as_str(), &connections]).await;
    if added.as_ref().is_err_and(is_missing_reference) {
        return Err(StoreError::ConnectionNotFound);
    }
    added?;
    let sql = "DELETE FROM integ.api_token_connections
               WHERE workspace_id = $1 AND token_id = $2 AND connection_id <> ALL($3)";
    transaction.execute(sql, &[&token.id.as_str(), &connections]).await.map(drop)
}

/// Writes scopes as JSON.
pub(super) fn scopes_column(scopes: &[ScopeGrant]) -> Result<String, StoreError> {
    to_json(&scopes.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Reads the scopes and the connections of a token or a trust.
pub(super) fn scopes_and_connections(row: &Row) -> Result<(Vec<ScopeGrant>, Vec<ConnectionId>), StoreError> {
    let scopes: Vec<String> = get_json(row, "scopes")?;
    let scopes = scopes.iter().map(|word| word.parse().map_err(|_| MalformedValue::EnumValue(word.clone())));
    let connections: Vec<i64> = get(row, "connections")?;
    Ok((scopes.collect::<Result<_, _>>()?, connections.into_iter().map(ConnectionId).collect()))
}

fn from_row(row: &Row) -> Result<ApiToken, StoreError> {
    let (scopes, connections) = scopes_and_connections(row)?;
    let is_limited: bool = get(row, "is_limited")?;
    Ok(ApiToken {
        id: get_word(row, "id")?,
        name: get_word(row, "name")?,
        user: user(row, "user_id")?,
        scopes,
        connections: is_limited.then_some(connections),
        tier: get_word(row, "tier")?,
        created_at: get_seconds(row, "created_at")?,
        rotated_at: get_seconds(row, "rotated_at")?,
        expires_at: get_seconds(row, "expires_at")?,
        last_used_at: optional_seconds(row, "last_used_at")?,
        is_enabled: get(row, "is_enabled")?,
        parent: optional_word(row, "parent_id")?,
        root: get_word(row, "root_id")?,
        rotate_after: optional_number(row, "rotate_after")?.map(Duration::from_secs),
        approve: get_word(row, "approve")?,
        trust: optional_word(row, "trust")?,
    })
}
