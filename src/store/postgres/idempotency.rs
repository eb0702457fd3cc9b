//! Idempotency keys and the responses of their requests.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{SealedRow, get, optional_number};
use super::seal::{Column, Sealer, column};
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{IdempotencyClaim, IdempotencyKey, IdempotencyRequest, StoredResponse};
use crate::store::{IdempotencyKeys, StoreError};

const REQUEST_DIGEST: Column = column("idempotency_keys", "request_digest");
const LOCATION: Column = column("idempotency_keys", "location");
const BODY: Column = column("idempotency_keys", "body");

#[async_trait]
impl IdempotencyKeys for PostgresStore {
    async fn claim(&self, request: &IdempotencyRequest) -> Result<IdempotencyClaim, StoreError> {
        let IdempotencyRequest { key, request_id, digest, now, claimed_until } = request;
        let transaction = self.begin().await?;
        let row = (key.caller.as_str(), key.key.as_str());
        let sealed = transaction.sealer.seal(REQUEST_DIGEST, row, digest)?;
        let digest = transaction.sealer.hash("requests", &[digest.as_slice()]);
        // The row decides between concurrent requests: the others wait for its commit here.
        let sql = "INSERT INTO integ.idempotency_keys
                       (workspace_id, caller, key, digest, claimed_at, claimed_until, request_id, request_digest, audit_sequence)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, (SELECT sequence FROM integ.audit_state WHERE workspace_id = $1))
                   ON CONFLICT (workspace_id, caller, key) DO NOTHING";
        let (now, claimed_until) = (now.as_millisecond(), claimed_until.as_millisecond());
        let values: [Value<'_>; 7] = [&key.caller, &key.key, &digest, &now, &claimed_until, request_id, &sealed];
        if transaction.execute(sql, &values).await? == 1 {
            transaction.commit().await?;
            return Ok(IdempotencyClaim::Claimed);
        }
        let sql = "SELECT digest, claimed_until, request_id, audit_sequence, status, content_type, location, body FROM integ.idempotency_keys
                   WHERE workspace_id = $1 AND caller = $2 AND key = $3 FOR UPDATE";
        let Some(row) = transaction.first(sql, &[&key.caller, &key.key]).await? else {
            // It was released meanwhile: to the caller it is as if its request were running still.
            return Ok(IdempotencyClaim::Running);
        };
        if get::<&[u8]>(&row, "digest")? != digest {
            return Ok(IdempotencyClaim::OtherRequest);
        }
        if let Some(response) = response(&transaction.sealer, &row, key)? {
            return Ok(IdempotencyClaim::Done(response));
        }
        if get::<i64>(&row, "claimed_until")? > now {
            return Ok(IdempotencyClaim::Running);
        }
        let sql = "SELECT 1 FROM integ.audit_entries
                   WHERE workspace_id = $1 AND sequence > $2 AND request_id = $3 AND effect <> 'read' LIMIT 1";
        let claimant: (i64, &str) = (get(&row, "audit_sequence")?, get(&row, "request_id")?);
        if transaction.first(sql, &[&claimant.0, &claimant.1]).await?.is_some() {
            return Ok(IdempotencyClaim::Interrupted);
        }
        let sql = "UPDATE integ.idempotency_keys SET claimed_until = $4, request_id = $5,
                       audit_sequence = (SELECT sequence FROM integ.audit_state WHERE workspace_id = $1)
                   WHERE workspace_id = $1 AND caller = $2 AND key = $3";
        transaction.execute(sql, &[&key.caller, &key.key, &claimed_until, request_id]).await?;
        transaction.commit().await?;
        Ok(IdempotencyClaim::Claimed)
    }

    async fn finish(&self, key: &IdempotencyKey, response: &StoredResponse) -> Result<(), StoreError> {
        let row = (key.caller.as_str(), key.key.as_str());
        let transaction = self.begin().await?;
        let location = transaction.sealer.seal_optional(LOCATION, row, response.location.as_ref())?;
        let body = transaction.sealer.seal(BODY, row, &response.body)?;
        let sql = "UPDATE integ.idempotency_keys SET status = $4, content_type = $5, location = $6, body = $7
                   WHERE workspace_id = $1 AND caller = $2 AND key = $3";
        let status = i64::from(response.status);
        let values: [Value<'_>; 6] = [&key.caller, &key.key, &status, &response.content_type, &location, &body];
        transaction.execute(sql, &values).await?;
        transaction.commit().await
    }

    async fn release(&self, key: &IdempotencyKey) -> Result<(), StoreError> {
        let sql = "DELETE FROM integ.idempotency_keys
                   WHERE workspace_id = $1 AND caller = $2 AND key = $3 AND status IS NULL";
        self.execute(sql, &[&key.caller, &key.key]).await.map(drop)
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM integ.idempotency_keys WHERE workspace_id = $1 AND claimed_at < $2";
        self.execute(sql, &[&before.as_millisecond()]).await
    }
}

fn response(sealer: &Sealer, row: &Row, key: &IdempotencyKey) -> Result<Option<StoredResponse>, StoreError> {
    let Some(status) = optional_number(row, "status")? else { return Ok(None) };
    let sealed = SealedRow::new(sealer, row, (key.caller.as_str(), key.key.as_str()));
    Ok(Some(StoredResponse {
        status,
        content_type: get(row, "content_type")?,
        location: sealed.text(LOCATION)?,
        body: sealed.bytes(BODY)?.unwrap_or_default(),
    }))
}
