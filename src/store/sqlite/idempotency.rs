//! Idempotency keys and the responses of their requests.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{IdempotencyClaim, IdempotencyKey, IdempotencyRequest, StoredResponse};
use crate::store::IdempotencyKeys;

/// The row of a key.
struct KeyRow {
    digest: Vec<u8>,
    claimed_until: i64,
    response: Option<StoredResponse>,
    /// Whether its request has begun to change something.
    has_begun: bool,
}

#[async_trait]
impl IdempotencyKeys for SqliteStore {
    async fn claim(&self, request: &IdempotencyRequest) -> Result<IdempotencyClaim, StoreError> {
        let request = request.clone();
        self.write(move |transaction| {
            let IdempotencyRequest { key, request_id, digest, now, claimed_until } = &request;
            let sql = "SELECT digest, claimed_until, status, content_type, location, body, EXISTS \
                       (SELECT 1 FROM audit_entries WHERE sequence > audit_sequence \
                       AND audit_entries.request_id = idempotency_keys.request_id AND effect <> 'read') AS has_begun \
                       FROM idempotency_keys WHERE caller = ?1 AND key = ?2";
            let row = |row: &rusqlite::Row<'_>| {
                let status: Option<u16> = row.get("status")?;
                let response = match status {
                    Some(status) => Some(StoredResponse {
                        status,
                        content_type: row.get("content_type")?,
                        location: row.get("location")?,
                        body: row.get("body")?,
                    }),
                    None => None,
                };
                Ok(KeyRow {
                    digest: row.get("digest")?,
                    claimed_until: row.get("claimed_until")?,
                    response,
                    has_begun: row.get("has_begun")?,
                })
            };
            let found = transaction.prepare_cached(sql)?.query_row(params![key.caller, key.key], row).optional()?;
            match found {
                Some(found) if found.digest != digest => return Ok(IdempotencyClaim::OtherRequest),
                Some(KeyRow { response: Some(response), .. }) => return Ok(IdempotencyClaim::Done(response)),
                Some(found) if found.claimed_until > now.as_millisecond() => return Ok(IdempotencyClaim::Running),
                Some(found) if found.has_begun => return Ok(IdempotencyClaim::Interrupted),
                _ => {}
            }
            let sql = "INSERT INTO idempotency_keys \
                       (caller, key, digest, claimed_at, claimed_until, request_id, audit_sequence) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT sequence FROM audit_state)) \
                       ON CONFLICT DO UPDATE SET claimed_until = excluded.claimed_until, \
                       request_id = excluded.request_id, audit_sequence = excluded.audit_sequence";
            let (at, until) = (now.as_millisecond(), claimed_until.as_millisecond());
            let values = params![key.caller, key.key, digest, at, until, request_id];
            transaction.prepare_cached(sql)?.execute(values)?;
            Ok(IdempotencyClaim::Claimed)
        })
        .await
    }

    async fn finish(&self, key: &IdempotencyKey, response: &StoredResponse) -> Result<(), StoreError> {
        let (key, response) = (key.clone(), response.clone());
        self.write(move |transaction| {
            let sql = "UPDATE idempotency_keys SET status = ?3, content_type = ?4, location = ?5, body = ?6 \
                       WHERE caller = ?1 AND key = ?2";
            let StoredResponse { status, content_type, location, body } = &response;
            transaction.execute(sql, params![key.caller, key.key, status, content_type, location, body])?;
            Ok(())
        })
        .await
    }

    async fn release(&self, key: &IdempotencyKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.write(move |transaction| {
            let sql = "DELETE FROM idempotency_keys WHERE caller = ?1 AND key = ?2 AND status IS NULL";
            transaction.execute(sql, params![key.caller, key.key])?;
            Ok(())
        })
        .await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(move |transaction| {
            let sql = "DELETE FROM idempotency_keys WHERE claimed_at < ?1";
            Ok(u64::try_from(transaction.execute(sql, [before.as_millisecond()])?).unwrap_or(u64::MAX))
        })
        .await
    }
}
