//! The outbox: messages to send, one delivery for each matching endpoint, and a row for each attempt.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::row::{
    Row, collect, first, get_json, get_millis, get_optional_millis, get_word, query, timestamp_millis, to_json,
};
use super::{MalformedValue, SqliteStore, StoreError, endpoints, locks};
use crate::clock::Timestamp;
use crate::model::{
    AttemptRecord, Delivery, DeliveryAttempt, DeliveryFilter, DeliveryId, DeliveryStatus, DeliveryUpdate, Endpoint,
    EndpointId, EventType, Message, MessageInsertResult, RecordedAttempt,
};
use crate::store::{Fence, Outbox};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.message_id, m.kind, d.endpoint_id, d.status, d.attempts, d.due_at, d.expires_at, \
             d.created_at, d.last_error FROM deliveries d JOIN messages m ON m.id = d.message_id ",
            $rest
        )
    };
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn insert(
        &self,
        message: &Message,
        endpoint: Option<&EndpointId>,
    ) -> Result<MessageInsertResult, StoreError> {
        let (message, endpoint) = (message.clone(), endpoint.cloned());
        self.write(move |transaction| insert(transaction, &message, endpoint.as_ref())).await
    }

    async fn list(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        let filter = filter.clone();
        self.read(move |sqlite| {
            let sql = select!(
                "WHERE (?1 IS NULL OR d.endpoint_id = ?1) AND (?2 IS NULL OR d.message_id = ?2) \
                 AND (?3 IS NULL OR d.status = ?3) AND (?4 IS NULL OR d.created_at >= ?4) \
                 AND (?5 IS NULL OR d.id < ?5) ORDER BY d.id DESC LIMIT ?6"
            );
            let mut statement = sqlite.prepare_cached(sql)?;
            let rows = query(
                &mut statement,
                params![
                    filter.endpoint.as_ref().map(EndpointId::as_str),
                    filter.message,
                    filter.status.map(DeliveryStatus::as_str),
                    filter.since.map(Timestamp::as_millisecond),
                    filter.before.map(|id| id.0),
                    filter.limit,
                ],
            )?;
            collect(rows, from_row)
        })
        .await
    }

    async fn get(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        self.read(move |sqlite| find(sqlite, id)).await
    }

    async fn message(&self, id: &str) -> Result<Option<Message>, StoreError> {
        let id = id.to_owned();
        self.read(move |sqlite| {
            let sql = "SELECT id, kind, body, created_at FROM messages WHERE id = ?1";
            let mut statement = sqlite.prepare_cached(sql)?;
            first(query(&mut statement, [&id])?, message_from_row)
        })
        .await
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<DeliveryAttempt>, StoreError> {
        self.read(move |sqlite| {
            let sql = "SELECT started_at, duration_ms, request_headers, response_status, response_body, error \
                       FROM attempts WHERE delivery_id = ?1 ORDER BY id";
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(query(&mut statement, [id.0])?, attempt_from_row)
        })
        .await
    }

    async fn due(&self, endpoint: &EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let endpoint = endpoint.clone();
        self.read(move |sqlite| {
            let sql = select!(
                "WHERE d.endpoint_id = ?1 AND d.status IN ('pending', 'failed') AND d.due_at <= ?2 \
                 ORDER BY d.due_at LIMIT ?3"
            );
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(query(&mut statement, (endpoint.as_str(), now.as_millisecond(), limit_column(limit)))?, from_row)
        })
        .await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|sqlite| {
            // One look into the index for each endpoint, however many deliveries wait.
            let sql = "SELECT min((SELECT min(d.due_at) FROM deliveries d WHERE d.endpoint_id = e.id \
                       AND d.status IN ('pending', 'failed'))) FROM endpoints e WHERE e.disabled_reason IS NULL";
            let due: Option<i64> = sqlite.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            Ok(due.map(timestamp_millis).transpose()?)
        })
        .await
    }

    async fn record_attempts(
        &self,
        attempts: &[AttemptRecord],
        fence: Fence,
    ) -> Result<Option<Vec<RecordedAttempt>>, StoreError> {
        let attempts = attempts.to_vec();
        self.write(move |transaction| {
            locks::check_fence(transaction, fence)?;
            // Not an error, which would make each write of the same commit run again in one of its own.
            transaction.execute_batch("SAVEPOINT attempts")?;
            let recorded = record_all(transaction, &attempts)?;
            transaction.execute_batch(match recorded {
                Some(_) => "RELEASE attempts",
                None => "ROLLBACK TO attempts; RELEASE attempts",
            })?;
            Ok(recorded)
        })
        .await
    }

    async fn mark_dead(&self, ids: &[DeliveryId], error: &str, fence: Fence) -> Result<(), StoreError> {
        let (ids, error) = (ids.to_vec(), error.to_owned());
        self.write(move |transaction| {
            locks::check_fence(transaction, fence)?;
            let sql = "UPDATE deliveries SET status = 'dead', due_at = NULL, last_error = ?2 WHERE id = ?1";
            let mut statement = transaction.prepare_cached(sql)?;
            for id in &ids {
                statement.execute((id.0, &error))?;
            }
            Ok(())
        })
        .await
    }

    async fn requeue(&self, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
        let ids = ids.to_vec();
        self.write(move |transaction| {
            let sql = "UPDATE deliveries SET status = 'pending', attempts = 0, due_at = ?2, last_error = NULL, \
                       expires_at = ?2 + 1000 * (SELECT ttl_secs FROM endpoints e WHERE e.id = endpoint_id) WHERE id = ?1";
            let mut statement = transaction.prepare_cached(sql)?;
            let mut requeued = Vec::new();
            for id in &ids {
                statement.execute((id.0, now.as_millisecond()))?;
                requeued.extend(find(transaction, *id)?);
            }
            Ok(requeued)
        })
        .await
    }

    async fn requeue_failed(
        &self,
        endpoint: &EndpointId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let endpoint = endpoint.clone();
        self.write(move |transaction| {
            let sql = "UPDATE deliveries SET status = 'pending', attempts = 0, due_at = ?3, last_error = NULL, \
                       expires_at = ?3 + 1000 * (SELECT ttl_secs FROM endpoints e WHERE e.id = endpoint_id) \
                       WHERE endpoint_id = ?1 AND created_at >= ?2 AND status IN ('dead', 'failed')";
            Ok(transaction.execute(sql, (endpoint.as_str(), since.as_millisecond(), now.as_millisecond()))?)
        })
        .await
    }

    async fn clamp_due_times(&self, now: Timestamp, longest: Duration, spread: Duration) -> Result<usize, StoreError> {
        let far = later(now, longest).as_millisecond();
        let is_needed = self.read(move |sqlite| {
            let sql = "SELECT EXISTS (SELECT 1 FROM endpoints e WHERE e.paused_until > ?1 OR \
                       (SELECT max(d.due_at) FROM deliveries d WHERE d.endpoint_id = e.id \
                       AND d.status IN ('pending', 'failed')) > ?1)";
            Ok(sqlite.prepare_cached(sql)?.query_row([far], |row| row.get::<_, bool>(0))?)
        });
        if !is_needed.await? {
            return Ok(0);
        }
        self.write(move |transaction| {
            transaction.execute("UPDATE endpoints SET paused_until = NULL WHERE paused_until > ?1", [far])?;
            let sql = "UPDATE deliveries SET due_at = ?2 + abs(random() % ?3) \
                       WHERE status IN ('pending', 'failed') AND due_at > ?1";
            let spread = i64::try_from(spread.as_millis()).unwrap_or(i64::MAX).max(1);
            Ok(transaction.execute(sql, (far, now.as_millisecond(), spread))?)
        })
        .await
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let old = self.read(move |sqlite| find_prunable(sqlite, before, limit)).await?;
        if old.is_empty() {
            return Ok(0);
        }
        self.write(move |transaction| {
            let mut statement = transaction.prepare_cached("DELETE FROM messages WHERE id = ?1")?;
            for id in &old {
                statement.execute([id])?;
            }
            Ok(old.len())
        })
        .await
    }
}

/// Returns messages of which no delivery waits for an endpoint that is enabled.
fn find_prunable(sqlite: &Connection, before: Timestamp, limit: usize) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT id FROM messages m WHERE created_at < ?1 AND NOT EXISTS (SELECT 1 FROM deliveries d \
               WHERE d.message_id = m.id AND d.status IN ('pending', 'failed') \
               AND EXISTS (SELECT 1 FROM endpoints e WHERE e.id = d.endpoint_id AND e.disabled_reason IS NULL)) LIMIT ?2";
    let mut statement = sqlite.prepare_cached(sql)?;
    let rows = statement.query_map((before.as_millisecond(), limit_column(limit)), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn limit_column(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Returns the time after a duration, or the last one that there is.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(at.as_millisecond().saturating_add(by)).unwrap_or(Timestamp::MAX)
}

/// Inserts a message and its deliveries.
fn insert(
    transaction: &Transaction<'_>,
    message: &Message,
    only: Option<&EndpointId>,
) -> Result<MessageInsertResult, StoreError> {
    let sql = "SELECT body FROM messages WHERE id = ?1";
    let known: Option<Vec<u8>> =
        transaction.prepare_cached(sql)?.query_row([&message.id], |row| row.get(0)).optional()?;
    if let Some(known) = known {
        let is_same = message.is_same(&known);
        return Ok(if is_same { MessageInsertResult::Duplicate } else { MessageInsertResult::Conflict });
    }
    let created_at = message.created_at.as_millisecond();
    transaction
        .prepare_cached("INSERT INTO messages (id, kind, body, created_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute((&message.id, message.kind.as_str(), &message.body, created_at))?;
    let sql = "INSERT INTO deliveries (message_id, endpoint_id, status, due_at, expires_at, created_at) \
               VALUES (?1, ?2, 'pending', ?3, ?4, ?3)";
    let mut insert = transaction.prepare_cached(sql)?;
    let mut disabled_endpoints = Vec::new();
    let endpoints = match only {
        Some(id) => endpoints::find(transaction, id)?.into_iter().collect(),
        None => endpoints::all(transaction)?,
    };
    for endpoint in endpoints {
        if only.is_none() && !endpoint.accepts(&message.kind) {
            continue;
        }
        if endpoint.health.disabled.is_some() {
            disabled_endpoints.push(endpoint.id);
        } else {
            let expires_at = later(message.created_at, endpoint.policy.ttl);
            insert.execute((&message.id, endpoint.id.as_str(), created_at, expires_at.as_millisecond()))?;
        }
    }
    Ok(MessageInsertResult::Stored { disabled_endpoints })
}

/// Records attempts in order, each on top of what the one before has written: of two attempts at one endpoint, the second
/// was computed from the health that follows from the first. `None` if one does not fit; what was written before it is to
/// be rolled back.
fn record_all(
    transaction: &Transaction<'_>,
    attempts: &[AttemptRecord],
) -> Result<Option<Vec<RecordedAttempt>>, StoreError> {
    let mut recorded = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let Some(delivery) = find(transaction, attempt.delivery)? else { continue };
        let Some(endpoint) = endpoints::find(transaction, &delivery.endpoint)? else { continue };
        if delivery.attempts != attempt.attempts_before
            || !endpoints::is_same_health(&endpoint.health, &attempt.health_before)
        {
            return Ok(None);
        }
        recorded.push(record(transaction, &endpoint, delivery, &attempt.attempt, &attempt.update)?);
    }
    Ok(Some(recorded))
}

fn record(
    transaction: &Transaction<'_>,
    endpoint: &Endpoint,
    delivery: Delivery,
    attempt: &DeliveryAttempt,
    update: &DeliveryUpdate,
) -> Result<RecordedAttempt, StoreError> {
    let sql = "INSERT INTO attempts (delivery_id, started_at, duration_ms, request_headers, response_status, \
               response_body, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    transaction.prepare_cached(sql)?.execute(params![
        delivery.id.0,
        attempt.started_at.as_millisecond(),
        u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
        to_json(&attempt.request_headers)?,
        attempt.response_status,
        attempt.response_body,
        attempt.error,
    ])?;
    let sql = "UPDATE deliveries SET status = ?2, attempts = attempts + 1, due_at = ?3, last_error = ?4 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute((
        delivery.id.0,
        update.status.as_str(),
        update.due_at.map(Timestamp::as_millisecond),
        &attempt.error,
    ))?;
    if update.endpoint_health != endpoint.health {
        endpoints::put_health(transaction, &endpoint.id, &update.endpoint_health)?;
    }
    let disabled = update.endpoint_health.disabled.filter(|_| endpoint.health.disabled.is_none());
    Ok(RecordedAttempt {
        endpoint_health: update.endpoint_health,
        disabled_reason: disabled.map(|(reason, _)| reason),
        delivery: Delivery {
            status: update.status,
            attempts: delivery.attempts + 1,
            due_at: update.due_at,
            last_error: attempt.error.clone(),
            ..delivery
        },
    })
}

fn find(sqlite: &Connection, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE d.id = ?1"))?;
    first(query(&mut statement, [id.0])?, from_row)
}

fn from_row(row: &Row<'_>) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: DeliveryId(row.get("id")?),
        message: row.get("message_id")?,
        kind: row.get("kind")?,
        endpoint: EndpointId::from_str(&row.get::<String>("endpoint_id")?).map_err(MalformedValue::EnumValue)?,
        status: get_word(row, "status")?,
        attempts: row.get("attempts")?,
        due_at: get_optional_millis(row, "due_at")?,
        expires_at: get_millis(row, "expires_at")?,
        created_at: get_millis(row, "created_at")?,
        last_error: row.get("last_error")?,
    })
}

fn message_from_row(row: &Row<'_>) -> Result<Message, StoreError> {
    Ok(Message {
        id: row.get("id")?,
        kind: EventType::from_str(&row.get::<String>("kind")?).map_err(MalformedValue::EnumValue)?,
        body: row.get("body")?,
        created_at: get_millis(row, "created_at")?,
    })
}

fn attempt_from_row(row: &Row<'_>) -> Result<DeliveryAttempt, StoreError> {
    Ok(DeliveryAttempt {
        started_at: get_millis(row, "started_at")?,
        duration: Duration::from_millis(row.get("duration_ms")?),
        request_headers: get_json(row, "request_headers")?,
        response_status: row.get("response_status")?,
        response_body: row.get("response_body")?,
        error: row.get("error")?,
    })
}
