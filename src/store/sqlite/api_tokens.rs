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

#[cfg(test)]
pub(super) mod tests {
    use super::super::endpoints::tests::{add_connection, at, opened};
    use super::*;
    use crate::model::{ApiTokenText, ApprovalPolicy, RateTier, ScopeGrant};
    use crate::store::Store;

    pub(in crate::store::sqlite) fn token(name: &str, parent: Option<&ApiToken>) -> ApiToken {
        let id = ApiTokenId::random();
        ApiToken {
            name: name.parse().unwrap(),
            user: Some("u_1".parse().unwrap()),
            scopes: vec![ScopeGrant::known("connections:read").unwrap(), ScopeGrant::known("write:*").unwrap()],
            connections: None,
            tier: RateTier::Pro,
            created_at: at(1),
            rotated_at: at(1),
            expires_at: at(1000),
            last_used_at: None,
            is_enabled: true,
            parent: parent.map(|parent| parent.id.clone()),
            root: parent.map_or_else(|| id.clone(), |parent| parent.root.clone()),
            rotate_after: Some(Duration::from_secs(90)),
            approve: ApprovalPolicy::Destroy,
            trust: None,
            id,
        }
    }

    pub(in crate::store::sqlite) async fn add(store: &SqliteStore, token: &ApiToken) -> ApiTokenHash {
        let hash = ApiTokenText::random().hash();
        assert_eq!(store.api_tokens().insert(token, &hash).await.unwrap(), ApiTokenWrite::Stored);
        hash
    }

    #[tokio::test]
    async fn a_token_is_read_as_it_was_stored() {
        let (_folder, [store, other]) = opened();
        let connection = add_connection(&store).await;
        let limited = ApiToken { connections: Some(vec![connection]), ..token("ci", None) };
        let hash = add(&store, &limited).await;
        let tokens = other.api_tokens();
        assert_eq!(tokens.find(&limited.id).await.unwrap(), Some(limited.clone()));
        assert_eq!(tokens.list().await.unwrap(), std::slice::from_ref(&limited));
        let found = tokens.find_by_hash(&hash).await.unwrap().unwrap();
        assert_eq!((found.token, found.hash.matches(&hash), found.previous), (limited.clone(), true, None));
        assert!(tokens.find_by_hash(&ApiTokenText::random().hash()).await.unwrap().is_none());

        let again = tokens.insert(&token("ci", None), &ApiTokenText::random().hash()).await.unwrap();
        assert_eq!(again, ApiTokenWrite::NameTaken);
        let orphan = token("orphan", Some(&token("never stored", None)));
        let orphan = tokens.insert(&orphan, &ApiTokenText::random().hash()).await.unwrap();
        assert_eq!(orphan, ApiTokenWrite::Conflict);
        let lost = ApiToken { connections: Some(vec![ConnectionId(99)]), ..token("lost", None) };
        let lost = tokens.insert(&lost, &ApiTokenText::random().hash()).await;
        assert!(matches!(lost, Err(StoreError::ConnectionNotFound)));
    }

    #[tokio::test]
    async fn a_change_is_made_to_the_token_that_was_read_and_to_no_later_one() {
        let (_folder, [store, other]) = opened();
        let connection = add_connection(&store).await;
        let old = token("ci", None);
        add(&store, &old).await;
        add(&store, &token("app", None)).await;
        let tokens = store.api_tokens();
        tokens.record_use(&old.id, at(100)).await.unwrap();
        let new = ApiToken { connections: Some(vec![connection]), tier: RateTier::Free, ..old.clone() };
        // Its last use does not count as a change.
        assert_eq!(other.api_tokens().replace(&old, &new).await.unwrap(), ApiTokenWrite::Stored);
        let stored = tokens.find(&old.id).await.unwrap().unwrap();
        assert_eq!(stored, ApiToken { last_used_at: Some(at(100)), ..new.clone() });
        let late = ApiToken { name: "late".parse().unwrap(), ..old.clone() };
        assert_eq!(tokens.replace(&old, &late).await.unwrap(), ApiTokenWrite::Conflict);
        let taken = ApiToken { name: "app".parse().unwrap(), ..new.clone() };
        assert_eq!(tokens.replace(&new, &taken).await.unwrap(), ApiTokenWrite::NameTaken);
        let unlimited = ApiToken { connections: None, ..new.clone() };
        assert_eq!(tokens.replace(&new, &unlimited).await.unwrap(), ApiTokenWrite::Stored);
        assert_eq!(tokens.find(&old.id).await.unwrap().unwrap().connections, None);
        assert!(tokens.find(&old.id).await.unwrap().unwrap().is_enabled);
    }

    #[tokio::test]
    async fn a_token_without_its_last_connection_is_disabled_and_allows_none() {
        let (_folder, [store]) = opened();
        let sql = "INSERT INTO connections (connector, account, mode, auth, params, metadata, scopes_requested, \
                   grant_status, connected_at) VALUES ('github', 'b', 'sandbox', 'none', '{}', '{}', '[]', 'active', 0)";
        let first = add_connection(&store).await;
        let insert = store.write(move |transaction| {
            transaction.execute(sql, [])?;
            Ok(ConnectionId(transaction.last_insert_rowid()))
        });
        let second = insert.await.unwrap();
        let limited = ApiToken { connections: Some(vec![first, second]), ..token("ci", None) };
        let (hash, free) = (add(&store, &limited).await, token("all", None));
        add(&store, &free).await;
        store.connections().remove(first).await.unwrap();
        let stored = store.api_tokens().find(&limited.id).await.unwrap().unwrap();
        assert_eq!((stored.connections, stored.is_enabled), (Some(vec![second]), true));
        store.connections().remove(second).await.unwrap();
        let stored = store.api_tokens().find(&limited.id).await.unwrap().unwrap();
        assert_eq!((stored.connections.as_deref(), stored.is_enabled), (Some(&[][..]), false));
        assert!(!stored.allows_connection(second) && !stored.allows_connection(ConnectionId(3)));
        let found = store.api_tokens().find_by_hash(&hash).await.unwrap().unwrap();
        assert_eq!(found.effective(&hash, at(2)), None);
        assert_eq!(store.api_tokens().find(&free.id).await.unwrap(), Some(free));
    }

    #[tokio::test]
    async fn rotating_replaces_the_text_at_once_or_after_a_while() {
        let (_folder, [store]) = opened();
        let old = token("ci", None);
        let first = add(&store, &old).await;
        let [second, third] = [(); 2].map(|()| ApiTokenText::random().hash());
        let rotate = |hash, until: Option<i64>| {
            let (rotated_at, expires_at) = (at(10), at(2000));
            let rotation = ApiTokenRotation { hash, rotated_at, expires_at, previous_until: until.map(at) };
            let (store, id) = (&store, old.id.clone());
            async move { store.api_tokens().rotate(&id, &rotation).await.unwrap() }
        };
        let valid = |hash: ApiTokenHash, second: i64| {
            let store = &store;
            async move {
                let found = store.api_tokens().find_by_hash(&hash).await.unwrap();
                found.and_then(|found| found.effective(&hash, at(second))).is_some()
            }
        };
        let rotated = rotate(second, Some(20)).await.unwrap();
        assert_eq!(rotated, ApiToken { rotated_at: at(10), expires_at: at(2000), ..old.clone() });
        assert!(valid(second, 10).await && valid(first, 19).await && !valid(first, 20).await);
        rotate(third, None).await.unwrap();
        assert!(valid(third, 10).await && !valid(second, 10).await && !valid(first, 10).await);
        store.api_tokens().revoke(&old.id).await.unwrap();
        assert!(rotate(first, None).await.is_none());
    }

    #[tokio::test]
    async fn revoking_a_token_revokes_what_it_led_to() {
        let (_folder, [store, other]) = opened();
        let root = token("root", None);
        let child = token("child", Some(&root));
        let grandchild = token("a grandchild", Some(&child));
        let sibling = token("sibling", Some(&root));
        let foreign = token("foreign", None);
        for token in [&root, &child, &sibling, &foreign] {
            add(&store, token).await;
        }
        let hash = add(&store, &grandchild).await;
        let found = store.api_tokens().find_by_hash(&hash).await.unwrap().unwrap();
        assert_eq!(found.ancestors, [child.clone(), root.clone()]);
        let now = at(5);
        store.api_tokens().admit(&root.id, now, 1, Duration::from_secs(60)).await.unwrap().unwrap();

        assert_eq!(other.api_tokens().revoke(&child.id).await.unwrap(), [child.clone(), grandchild]);
        assert!(store.api_tokens().find_by_hash(&hash).await.unwrap().is_none());
        assert_eq!(store.api_tokens().revoke(&child.id).await.unwrap(), []);
        assert_eq!(store.api_tokens().revoke(&root.id).await.unwrap(), [root.clone(), sibling]);
        assert_eq!(store.api_tokens().list().await.unwrap(), [foreign]);
        assert_eq!(store.api_tokens().admit(&root.id, now, 9, Duration::from_secs(60)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_last_use_is_written_once_a_minute() {
        let (_folder, [store]) = opened();
        let token = token("ci", None);
        add(&store, &token).await;
        for (second, recorded) in [(100, 100), (159, 100), (160, 160), (50, 50), (60, 50)] {
            store.api_tokens().record_use(&token.id, at(second)).await.unwrap();
            let stored = store.api_tokens().find(&token.id).await.unwrap().unwrap();
            assert_eq!(stored.last_used_at, Some(at(recorded)), "{second}");
        }
    }

    #[tokio::test]
    async fn of_many_requests_at_once_through_two_stores_exactly_the_limit_is_admitted() {
        let (_folder, stores): (_, [SqliteStore; 2]) = opened();
        let stores = std::sync::Arc::new(stores);
        let token = token("ci", None);
        add(&stores[0], &token).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..200_usize {
            let (stores, id) = (std::sync::Arc::clone(&stores), token.id.clone());
            tasks.spawn(async move {
                let now = Timestamp::from_microsecond(1_000_000_000 + number as i64).unwrap();
                let tokens = stores[number % 2].api_tokens();
                tokens.admit(&id, now, 60, Duration::from_secs(60)).await.unwrap().unwrap().is_allowed
            });
        }
        let admitted = tasks.join_all().await.into_iter().filter(|is_allowed| *is_allowed).count();
        assert_eq!(admitted, 60);
    }
}
