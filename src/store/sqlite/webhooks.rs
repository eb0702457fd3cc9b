//! How webhooks reach a connection, and the secrets that verify them.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction};

use super::row::{from_json, get_json, to_json};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::model::connection::ConnectionId;
use crate::model::secrets::RotatingSecrets;
use crate::model::webhook::Webhook;
use crate::secret::Secret;

/// The webhooks of a store.
#[derive(Clone, Copy, Debug)]
pub struct Webhooks<'a>(pub(super) &'a Store);

impl Webhooks<'_> {
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, id: ConnectionId) -> Result<Option<Webhook>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT connection_id, path, public_url, params, secrets, port FROM webhooks \
                 WHERE connection_id = ?1";
            let found = sqlite.prepare_cached(sql)?.query_row([id.0], |row| Ok(from_row(row))).optional()?;
            let Some(mut webhook) = found.transpose()? else { return Ok(None) };
            let sql =
                "SELECT secret FROM subscriptions WHERE connection_id = ?1 AND secret IS NOT NULL ORDER BY id DESC";
            let mut statement = sqlite.prepare_cached(sql)?;
            let secrets = statement.query_map([id.0], |row| Ok(Secret::new(row.get::<_, String>(0)?)))?;
            webhook.subscription_secrets = secrets.collect::<Result<_, _>>()?;
            Ok(Some(webhook))
        })
    }

    /// The webhook of a connection, created with this path if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ensure(&self, id: ConnectionId, path: &str) -> Result<Webhook, StoreError> {
        if let Some(webhook) = self.get(id)? {
            return Ok(webhook);
        }
        self.0.write(|transaction| {
            let sql = "INSERT INTO webhooks (connection_id, path) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            transaction.execute(sql, (id.0, path))?;
            Ok(())
        })?;
        self.get(id)?.ok_or(StoreError::ConnectionNotFound)
    }

    /// Makes a secret the current one; the previous one is accepted until `overlap_until`, which may be now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rotate_secret(
        &self,
        id: ConnectionId,
        secret: &Secret,
        overlap_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let text: String =
                transaction
                    .query_row("SELECT secrets FROM webhooks WHERE connection_id = ?1", [id.0], |row| row.get(0))?;
            let mut secrets: RotatingSecrets = from_json(&text)?;
            secrets.rotate(secret.clone(), overlap_until, now);
            let sql = "UPDATE webhooks SET secrets = ?2 WHERE connection_id = ?1";
            transaction.execute(sql, (id.0, to_json(&secrets)?))?;
            Ok(())
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn set_public_url(&self, id: ConnectionId, url: Option<&str>) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            transaction.execute("UPDATE webhooks SET public_url = ?2 WHERE connection_id = ?1", (id.0, url))?;
            Ok(())
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn set_port(&self, ids: &[ConnectionId], port: u16) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let mut statement = transaction.prepare_cached("UPDATE webhooks SET port = ?2 WHERE connection_id = ?1")?;
            for id in ids {
                statement.execute((id.0, port))?;
            }
            Ok(())
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn add_params(&self, id: ConnectionId, params: &BTreeMap<String, String>) -> Result<(), StoreError> {
        self.0.write(|transaction| add_params(transaction, id, params))
    }

    /// # Errors
    /// [`StoreError`].
    pub fn set_params(&self, id: ConnectionId, params: &BTreeMap<String, String>) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE webhooks SET params = ?2 WHERE connection_id = ?1";
            transaction.execute(sql, (id.0, to_json(params)?))?;
            Ok(())
        })
    }
}

/// Adds values, replacing those of the same names.
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
