//! Connect links.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use url::Url;

use super::PostgresStore;
use super::row::{SealedRow, get, get_json, get_seconds, get_word, number, optional_seconds, to_json, user};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{ConnectLink, ConnectLinkId, UserId};
use crate::store::{ConnectLinks, MalformedValue, StoreError};

const PARAMS: Column = column("connect_links", "params");

/// How long a link that cannot be used any more is listed.
const RETENTION: Duration = Duration::from_secs(30 * 86_400);

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, connector, account, auth, scopes, params, user_id, mode, display, return_to, is_guarded,
             created_at, expires_at, uses_left, revoked_at FROM integ.connect_links WHERE workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl ConnectLinks for PostgresStore {
    async fn add(&self, link: &ConnectLink, secret_hash: &[u8; 32]) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let before = link.created_at.checked_sub(RETENTION).unwrap_or(Timestamp::MIN).as_second();
        let sql = "DELETE FROM integ.connect_links WHERE workspace_id = $1 AND expires_at < $2";
        transaction.execute(sql, &[&before]).await?;
        insert(&transaction, link, secret_hash).await?;
        transaction.commit().await
    }

    async fn list(&self) -> Result<Vec<ConnectLink>, StoreError> {
        let rows = self.rows(select!("ORDER BY created_at DESC, id"), &[]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn get(&self, id: &ConnectLinkId) -> Result<Option<ConnectLink>, StoreError> {
        let row = self.row(select!("AND id = $2"), &[&id.as_str()]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn find_by_secret(&self, secret_hash: &[u8; 32]) -> Result<Option<ConnectLink>, StoreError> {
        let row = self.row(select!("AND secret_hash = $2"), &[&secret_hash.as_slice()]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn take_use(&self, id: &ConnectLinkId, now: Timestamp) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        let is_taken = take_use(&transaction, id, Some(now)).await?;
        transaction.commit().await?;
        Ok(is_taken)
    }

    async fn return_use(&self, id: &ConnectLinkId) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        return_use(&transaction, id).await?;
        transaction.commit().await
    }

    async fn revoke(&self, id: &ConnectLinkId, now: Timestamp) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        let sql = "UPDATE integ.connect_links SET revoked_at = $3
                   WHERE workspace_id = $1 AND id = $2 AND revoked_at IS NULL AND uses_left > 0";
        let was_active = transaction.execute(sql, &[&id.as_str(), &now.as_second()]).await? == 1;
        let sql = "DELETE FROM integ.sign_ins
                   WHERE workspace_id = $1 AND link_id = $2 AND taken_at IS NULL AND result IS NULL";
        transaction.execute(sql, &[&id.as_str()]).await?;
        transaction.commit().await?;
        Ok(was_active)
    }
}

async fn insert(transaction: &Transaction, link: &ConnectLink, secret_hash: &[u8; 32]) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO integ.connect_links (workspace_id, id, secret_hash, connector, account, auth, scopes, params,
                   user_id, mode, display, return_to, is_guarded, created_at, expires_at, uses_left)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    let params = transaction.sealer.seal(PARAMS, link.id.as_str(), to_json(&link.params)?)?;
    let values: [Value<'_>; 15] = [
        &link.id.as_str(),
        &secret_hash.as_slice(),
        &link.connector,
        &link.account.as_deref(),
        &link.auth.as_deref(),
        &to_json(&link.scopes)?,
        &params,
        &link.user.as_ref().map(UserId::as_str),
        &link.mode.as_str(),
        &link.display.as_str(),
        &link.return_to.as_ref().map(Url::as_str),
        &link.is_guarded,
        &link.created_at.as_second(),
        &link.expires_at.as_second(),
        &i64::from(link.uses_left),
    ];
    transaction.execute(sql, &values).await.map(drop)
}

/// Takes one use of a link. A sign-in that was begun in time may end later than its link, and names no time.
pub(super) async fn take_use(
    transaction: &Transaction,
    id: &ConnectLinkId,
    now: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let sql = "UPDATE integ.connect_links SET uses_left = uses_left - 1 WHERE workspace_id = $1 AND id = $2
               AND uses_left > 0 AND revoked_at IS NULL AND ($3 IS NULL OR expires_at > $3)";
    Ok(transaction.execute(sql, &[&id.as_str(), &now.map(Timestamp::as_second)]).await? == 1)
}

/// Gives back a use that has connected nothing.
pub(super) async fn return_use(transaction: &Transaction, id: &ConnectLinkId) -> Result<(), StoreError> {
    let sql = "UPDATE integ.connect_links SET uses_left = uses_left + 1 WHERE workspace_id = $1 AND id = $2";
    transaction.execute(sql, &[&id.as_str()]).await.map(drop)
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<ConnectLink, StoreError> {
    let id: &str = get(row, "id")?;
    let invalid = MalformedValue::EnumValue;
    let url = |text: String| Url::parse(&text).map_err(|_| invalid(text));
    Ok(ConnectLink {
        id: id.parse().map_err(invalid)?,
        connector: get(row, "connector")?,
        account: get(row, "account")?,
        auth: get(row, "auth")?,
        scopes: get_json(row, "scopes")?,
        params: SealedRow::new(sealer, row, id).json_or_default(PARAMS)?,
        user: user(row, "user_id")?,
        mode: get_word(row, "mode")?,
        display: get_word(row, "display")?,
        return_to: get::<Option<String>>(row, "return_to")?.map(url).transpose()?,
        is_guarded: get(row, "is_guarded")?,
        created_at: get_seconds(row, "created_at")?,
        expires_at: get_seconds(row, "expires_at")?,
        uses_left: number(row, "uses_left")?,
        revoked_at: optional_seconds(row, "revoked_at")?,
    })
}
