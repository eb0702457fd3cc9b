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

#[cfg(test)]
mod tests {
    use super::super::endpoints::tests::{at, opened};
    use super::*;
    use crate::model::{AuditActor, AuditRecord, Effect, IdempotencyKey};
    use crate::store::Store;

    fn request(id: &str, second: i64) -> IdempotencyRequest {
        IdempotencyRequest {
            key: IdempotencyKey { caller: "tok_1".to_owned(), key: "one".to_owned() },
            request_id: id.to_owned(),
            digest: [7; 32],
            now: at(second),
            claimed_until: at(second + 300),
        }
    }

    #[tokio::test]
    async fn a_request_that_was_interrupted_is_made_again_only_if_it_had_changed_nothing() {
        let (_folder, [store]) = opened();
        let claim = async |id: &str, second| store.idempotency_keys().claim(&request(id, second)).await.unwrap();
        let append = async |id: &str, effect| {
            let record = AuditRecord::new(at(1), AuditActor::Local, "endpoint add", effect);
            store.audit().append(vec![AuditRecord { request_id: Some(id.to_owned()), ..record }]).await.unwrap();
        };
        // An entry from before the claim is not of its request.
        append("req_1", Effect::Write).await;
        assert_eq!(claim("req_1", 1).await, IdempotencyClaim::Claimed);
        assert_eq!(claim("req_2", 2).await, IdempotencyClaim::Running);
        append("req_1", Effect::Read).await;
        assert_eq!(claim("req_3", 400).await, IdempotencyClaim::Claimed);
        append("req_3", Effect::Write).await;
        assert_eq!(claim("req_4", 401).await, IdempotencyClaim::Running);
        for second in [800, 9_000] {
            assert_eq!(claim("req_5", second).await, IdempotencyClaim::Interrupted);
        }
        let other = IdempotencyRequest { digest: [8; 32], ..request("req_6", 9_000) };
        assert_eq!(store.idempotency_keys().claim(&other).await.unwrap(), IdempotencyClaim::OtherRequest);
    }
}
