//! Connect links.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Params, Transaction, params};
use url::Url;

use super::row::{Row, collect, first, get_json, get_optional_seconds, get_seconds, get_word, query, to_json, user};
use super::{MalformedValue, SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{ConnectLink, ConnectLinkId, UserId};
use crate::store::ConnectLinks;

/// How long a link that cannot be used any more is listed.
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, connector, account, auth, scopes, params, user_id, mode, display, return_to, is_guarded, \
             created_at, expires_at, uses_left, revoked_at FROM connect_links ",
            $rest
        )
    };
}

#[async_trait]
impl ConnectLinks for SqliteStore {
    async fn add(&self, link: &ConnectLink, secret_hash: &[u8; 32]) -> Result<(), StoreError> {
        let (link, hash) = (link.clone(), *secret_hash);
        self.write(move |transaction| {
            let before = link.created_at.checked_sub(RETENTION).unwrap_or(Timestamp::MIN).as_second();
            transaction.execute("DELETE FROM connect_links WHERE expires_at < ?1", [before])?;
            insert(transaction, &link, &hash)
        })
        .await
    }

    async fn list(&self) -> Result<Vec<ConnectLink>, StoreError> {
        self.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(select!("ORDER BY created_at DESC, id"))?;
            collect(query(&mut statement, [])?, from_row)
        })
        .await
    }

    async fn get(&self, id: &ConnectLinkId) -> Result<Option<ConnectLink>, StoreError> {
        let id = id.clone();
        self.read(move |sqlite| read(sqlite, select!("WHERE id = ?1"), [id.as_str()])).await
    }

    async fn find_by_secret(&self, secret_hash: &[u8; 32]) -> Result<Option<ConnectLink>, StoreError> {
        let hash = *secret_hash;
        self.read(move |sqlite| read(sqlite, select!("WHERE secret_hash = ?1"), [hash.as_slice()])).await
    }

    async fn take_use(&self, id: &ConnectLinkId, now: Timestamp) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |transaction| take_use(transaction, &id, Some(now))).await
    }

    async fn return_use(&self, id: &ConnectLinkId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |transaction| return_use(transaction, &id)).await
    }

    async fn revoke(&self, id: &ConnectLinkId, now: Timestamp) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |transaction| {
            let sql = "UPDATE connect_links SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL AND uses_left > 0";
            let was_active = transaction.execute(sql, params![id.as_str(), now.as_second()])? == 1;
            let sql = "DELETE FROM sign_ins WHERE link_id = ?1 AND taken_at IS NULL AND result IS NULL";
            transaction.execute(sql, [id.as_str()])?;
            Ok(was_active)
        })
        .await
    }
}

fn insert(transaction: &Transaction<'_>, link: &ConnectLink, secret_hash: &[u8; 32]) -> Result<(), StoreError> {
    let sql = "INSERT INTO connect_links (id, secret_hash, connector, account, auth, scopes, params, user_id, mode, \
               display, return_to, is_guarded, created_at, expires_at, uses_left) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    transaction.execute(
        sql,
        params![
            link.id.as_str(),
            secret_hash.as_slice(),
            link.connector,
            link.account,
            link.auth,
            to_json(&link.scopes)?,
            to_json(&link.params)?,
            link.user.as_ref().map(UserId::as_str),
            link.mode.as_str(),
            link.display.as_str(),
            link.return_to.as_ref().map(Url::as_str),
            link.is_guarded,
            link.created_at.as_second(),
            link.expires_at.as_second(),
            link.uses_left,
        ],
    )?;
    Ok(())
}

fn read(sqlite: &Connection, sql: &str, values: impl Params) -> Result<Option<ConnectLink>, StoreError> {
    let mut statement = sqlite.prepare_cached(sql)?;
    first(query(&mut statement, values)?, from_row)
}

/// Takes one use of a link. A sign-in that was begun in time may end later than its link, and names no time.
pub(super) fn take_use(
    transaction: &Transaction<'_>,
    id: &ConnectLinkId,
    now: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let sql = "UPDATE connect_links SET uses_left = uses_left - 1 \
               WHERE id = ?1 AND uses_left > 0 AND revoked_at IS NULL AND (?2 IS NULL OR expires_at > ?2)";
    Ok(transaction.execute(sql, params![id.as_str(), now.map(Timestamp::as_second)])? == 1)
}

/// Gives back a use that has connected nothing.
pub(super) fn return_use(transaction: &Transaction<'_>, id: &ConnectLinkId) -> Result<(), StoreError> {
    transaction.execute("UPDATE connect_links SET uses_left = uses_left + 1 WHERE id = ?1", [id.as_str()])?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> Result<ConnectLink, StoreError> {
    let invalid = MalformedValue::EnumValue;
    let url = |text: String| Url::parse(&text).map_err(|_| invalid(text));
    Ok(ConnectLink {
        id: row.get::<String>("id")?.parse().map_err(invalid)?,
        connector: row.get("connector")?,
        account: row.get("account")?,
        auth: row.get("auth")?,
        scopes: get_json(row, "scopes")?,
        params: get_json(row, "params")?,
        user: user(row, "user_id")?,
        mode: get_word(row, "mode")?,
        display: get_word(row, "display")?,
        return_to: row.get::<Option<String>>("return_to")?.map(url).transpose()?,
        is_guarded: row.get("is_guarded")?,
        created_at: get_seconds(row, "created_at")?,
        expires_at: get_seconds(row, "expires_at")?,
        uses_left: row.get("uses_left")?,
        revoked_at: get_optional_seconds(row, "revoked_at")?,
    })
}
