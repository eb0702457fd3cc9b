//! The webhook URL of a connection, and the secrets that verify requests.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use rusqlite::{Connection as Sqlite, Transaction};

use super::row::{Row, collect, first, from_json, get_json, query, to_json};
use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::secrets::RotatingSecrets;
use crate::model::{ConnectionId, Webhook};
use crate::secret::Secret;
use crate::store::Webhooks;

#[async_trait]
impl Webhooks for SqliteStore {
    async fn get(&self, id: ConnectionId) -> Result<Option<Webhook>, StoreError> {
        // One snapshot: a secret that moves from one table to the other between two reads would be in neither.
        self.read(move |sqlite| find(&*sqlite.unchecked_transaction()?, id)).await
    }

    async fn list(&self) -> Result<Vec<Webhook>, StoreError> {
        self.read(|sqlite| list(&*sqlite.unchecked_transaction()?)).await
    }

    async fn ensure(&self, id: ConnectionId, path: &str) -> Result<Webhook, StoreError> {
        // Nearly always there is one, and reading costs no flush to the disk.
        if let Some(webhook) = Webhooks::get(self, id).await? {
            return Ok(webhook);
        }
        let path = path.to_owned();
        self.write(move |transaction| {
            let sql = "INSERT INTO webhooks (connection_id, path) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            transaction.execute(sql, (id.0, &path))?;
            find(transaction, id)?.ok_or(StoreError::ConnectionNotFound)
        })
        .await
    }

    async fn rotate_secret(
        &self,
        id: ConnectionId,
        secret: &Secret,
        overlap_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let secret = secret.clone();
        self.write(move |transaction| {
            let sql = "SELECT secrets FROM webhooks WHERE connection_id = ?1";
            let text: String = transaction.query_row(sql, [id.0], |row| row.get(0))?;
            let mut secrets: RotatingSecrets = from_json(&text)?;
            secrets.rotate(secret.clone(), overlap_until, now);
            let sql = "UPDATE webhooks SET secrets = ?2 WHERE connection_id = ?1";
            transaction.execute(sql, (id.0, to_json(&secrets)?))?;
            Ok(())
        })
        .await
    }

    async fn set_public_url(&self, id: ConnectionId, url: Option<&str>) -> Result<(), StoreError> {
        let url = url.map(str::to_owned);
        self.write(move |transaction| {
            transaction.execute("UPDATE webhooks SET public_url = ?2 WHERE connection_id = ?1", (id.0, &url))?;
            Ok(())
        })
        .await
    }

    async fn set_port(&self, ids: &[ConnectionId], port: u16) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.write(move |transaction| {
            let mut statement = transaction.prepare_cached("UPDATE webhooks SET port = ?2 WHERE connection_id = ?1")?;
            for id in &ids {
                statement.execute((id.0, port))?;
            }
            Ok(())
        })
        .await
    }

    async fn add_params(&self, id: ConnectionId, params: &BTreeMap<String, String>) -> Result<(), StoreError> {
        let params = params.clone();
        self.write(move |transaction| add_params(transaction, id, &params)).await
    }

    async fn set_params(&self, id: ConnectionId, params: &BTreeMap<String, String>) -> Result<(), StoreError> {
        let params = to_json(params)?;
        self.write(move |transaction| {
            transaction.execute("UPDATE webhooks SET params = ?2 WHERE connection_id = ?1", (id.0, &params))?;
            Ok(())
        })
        .await
    }
}

fn find(sqlite: &Sqlite, id: ConnectionId) -> Result<Option<Webhook>, StoreError> {
    let sql = "SELECT connection_id, path, public_url, params, secrets, port FROM webhooks WHERE connection_id = ?1";
    let mut statement = sqlite.prepare_cached(sql)?;
    let Some(mut webhook) = first(query(&mut statement, [id.0])?, from_row)? else { return Ok(None) };
    let sql = "SELECT secret FROM subscriptions WHERE connection_id = ?1 AND secret IS NOT NULL ORDER BY id DESC";
    let mut statement = sqlite.prepare_cached(sql)?;
    let secrets = statement.query_map([id.0], |row| Ok(Secret::new(row.get::<_, String>(0)?)))?;
    webhook.subscription_secrets = secrets.collect::<Result<_, _>>()?;
    Ok(Some(webhook))
}

fn list(sqlite: &Sqlite) -> Result<Vec<Webhook>, StoreError> {
    let sql = "SELECT connection_id, path, public_url, params, secrets, port FROM webhooks";
    let mut webhooks = collect(query(&mut *sqlite.prepare_cached(sql)?, [])?, from_row)?;
    let sql = "SELECT connection_id, secret FROM subscriptions WHERE secret IS NOT NULL ORDER BY id DESC";
    let mut statement = sqlite.prepare_cached(sql)?;
    let secrets =
        statement.query_map([], |row| Ok((ConnectionId(row.get(0)?), Secret::new(row.get::<_, String>(1)?))))?;
    let mut of_subscriptions: HashMap<ConnectionId, Vec<Secret>> = HashMap::new();
    for found in secrets {
        let (id, secret) = found?;
        of_subscriptions.entry(id).or_default().push(secret);
    }
    for webhook in &mut webhooks {
        webhook.subscription_secrets = of_subscriptions.remove(&webhook.connection).unwrap_or_default();
    }
    Ok(webhooks)
}

/// Adds parameters and overwrites those of the same names.
pub(super) fn add_params(
    transaction: &Transaction<'_>,
    id: ConnectionId,
    more: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let text: String =
        transaction.query_row("SELECT params FROM webhooks WHERE connection_id = ?1", [id.0], |row| row.get(0))?;
    let mut params: BTreeMap<String, String> = from_json(&text)?;
    params.extend(more.clone());
    transaction.execute("UPDATE webhooks SET params = ?2 WHERE connection_id = ?1", (id.0, to_json(&params)?))?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> Result<Webhook, StoreError> {
    Ok(Webhook {
        connection: ConnectionId(row.get("connection_id")?),
        path: row.get("path")?,
        public_url: row.get("public_url")?,
        port: row.get("port")?,
        params: get_json(row, "params")?,
        secrets: get_json(row, "secrets")?,
        subscription_secrets: Vec::new(),
    })
}
