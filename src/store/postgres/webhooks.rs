//! The webhook URL of a connection, and the secrets that verify requests.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::error::is_missing_reference;
use super::row::{SealedRow, get, optional_number, to_json};
use super::seal::{Column, Sealer, column};
use super::subscriptions;
use super::transaction::Transaction;
use crate::clock::Timestamp;
use crate::model::secrets::RotatingSecrets;
use crate::model::{ConnectionId, Webhook};
use crate::secret::Secret;
use crate::store::{StoreError, Webhooks};

const PATH: Column = column("webhooks", "path");
const PUBLIC_URL: Column = column("webhooks", "public_url");
const PARAMS: Column = column("webhooks", "params");
const SECRETS: Column = column("webhooks", "secrets");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT connection_id, path, public_url, params, secrets, port FROM integ.webhooks
             WHERE workspace_id = $1 AND connection_id = $2 ",
            $rest
        )
    };
}

#[async_trait]
impl Webhooks for PostgresStore {
    async fn get(&self, id: ConnectionId) -> Result<Option<Webhook>, StoreError> {
        // One snapshot: a secret that moves from one table to the other between two reads would be in neither.
        find(&self.snapshot().await?, id).await
    }

    async fn list(&self) -> Result<Vec<Webhook>, StoreError> {
        list(&self.snapshot().await?).await
    }

    async fn ensure(&self, id: ConnectionId, path: &str) -> Result<Webhook, StoreError> {
        if let Some(webhook) = Webhooks::get(self, id).await? {
            return Ok(webhook);
        }
        let transaction = self.begin().await?;
        let sealed = transaction.sealer.seal(PATH, id.0, path)?;
        let sql = "INSERT INTO integ.webhooks (workspace_id, connection_id, path) VALUES ($1, $2, $3)
                   ON CONFLICT (workspace_id, connection_id) DO NOTHING";
        let inserted = transaction.execute(sql, &[&id.0, &sealed]).await;
        if inserted.as_ref().is_err_and(is_missing_reference) {
            return Err(StoreError::ConnectionNotFound);
        }
        inserted?;
        let webhook = find(&transaction, id).await?.ok_or(StoreError::ConnectionNotFound)?;
        transaction.commit().await?;
        Ok(webhook)
    }

    async fn rotate_secret(
        &self,
        id: ConnectionId,
        secret: &Secret,
        overlap_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let row = transaction.first(select!("FOR UPDATE"), &[&id.0]).await?.ok_or(StoreError::ConnectionNotFound)?;
        let mut secrets: RotatingSecrets = SealedRow::new(&transaction.sealer, &row, id.0).json_or_default(SECRETS)?;
        secrets.rotate(secret.clone(), overlap_until, now);
        let sealed = transaction.sealer.seal(SECRETS, id.0, to_json(&secrets)?)?;
        let sql = "UPDATE integ.webhooks SET secrets = $3 WHERE workspace_id = $1 AND connection_id = $2";
        transaction.execute(sql, &[&id.0, &sealed]).await?;
        transaction.commit().await
    }

    async fn set_public_url(&self, id: ConnectionId, url: Option<&str>) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let url = transaction.sealer.seal_optional(PUBLIC_URL, id.0, url)?;
        let sql = "UPDATE integ.webhooks SET public_url = $3 WHERE workspace_id = $1 AND connection_id = $2";
        transaction.execute(sql, &[&id.0, &url]).await?;
        transaction.commit().await
    }

    async fn set_port(&self, ids: &[ConnectionId], port: u16) -> Result<(), StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let sql = "UPDATE integ.webhooks SET port = $3 WHERE workspace_id = $1 AND connection_id = ANY($2)";
        self.execute(sql, &[&ids, &i64::from(port)]).await.map(drop)
    }

    async fn add_params(&self, id: ConnectionId, params: &BTreeMap<String, String>) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        add_params(&transaction, id, params).await?;
        transaction.commit().await
    }

    async fn set_params(&self, id: ConnectionId, params: &BTreeMap<String, String>) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        put_params(&transaction, id, params).await?;
        transaction.commit().await
    }
}

async fn find(transaction: &Transaction, id: ConnectionId) -> Result<Option<Webhook>, StoreError> {
    let Some(row) = transaction.first(select!(""), &[&id.0]).await? else { return Ok(None) };
    let mut webhook = from_row(&transaction.sealer, &row)?;
    webhook.subscription_secrets = subscriptions::secrets(transaction, id).await?;
    Ok(Some(webhook))
}

async fn list(transaction: &Transaction) -> Result<Vec<Webhook>, StoreError> {
    let sql =
        "SELECT connection_id, path, public_url, params, secrets, port FROM integ.webhooks WHERE workspace_id = $1";
    let rows = transaction.query(sql, &[]).await?;
    let mut of_subscriptions: HashMap<ConnectionId, Vec<Secret>> = HashMap::new();
    for (id, secret) in subscriptions::all_secrets(transaction).await? {
        of_subscriptions.entry(id).or_default().push(secret);
    }
    let webhook = |row: &Row| {
        let webhook = from_row(&transaction.sealer, row)?;
        let subscription_secrets = of_subscriptions.remove(&webhook.connection).unwrap_or_default();
        Ok(Webhook { subscription_secrets, ..webhook })
    };
    rows.iter().map(webhook).collect()
}

/// Adds parameters and overwrites those of the same names.
pub(super) async fn add_params(
    transaction: &Transaction,
    id: ConnectionId,
    more: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let row = transaction.first(select!("FOR UPDATE"), &[&id.0]).await?.ok_or(StoreError::ConnectionNotFound)?;
    let mut params: BTreeMap<String, String> =
        SealedRow::new(&transaction.sealer, &row, id.0).json_or_default(PARAMS)?;
    params.extend(more.clone());
    put_params(transaction, id, &params).await
}

async fn put_params(
    transaction: &Transaction,
    id: ConnectionId,
    params: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let sealed = transaction.sealer.seal(PARAMS, id.0, to_json(params)?)?;
    let sql = "UPDATE integ.webhooks SET params = $3 WHERE workspace_id = $1 AND connection_id = $2";
    transaction.execute(sql, &[&id.0, &sealed]).await.map(drop)
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<Webhook, StoreError> {
    let id: i64 = get(row, "connection_id")?;
    let sealed = SealedRow::new(sealer, row, id);
    Ok(Webhook {
        connection: ConnectionId(id),
        path: sealed.required_text(PATH)?,
        public_url: sealed.text(PUBLIC_URL)?,
        port: optional_number(row, "port")?,
        params: sealed.json_or_default(PARAMS)?,
        secrets: sealed.json_or_default(SECRETS)?,
        subscription_secrets: Vec::new(),
    })
}
