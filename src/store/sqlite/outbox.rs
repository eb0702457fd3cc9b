//! The outbox: messages that are to be sent, one delivery for each endpoint that wants one, and a row for each attempt.
//!
//! A message and its deliveries are one commit. An attempt is recorded after its answer has come: whoever is killed in
//! between finds the delivery as it was, and sends it again under the same id.

use std::str::FromStr;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::row::{collect, get_json, get_millis, get_optional_millis, get_word, timestamp_millis, to_json};
use super::{MalformedValue, Store, StoreError, endpoints};
use crate::clock::Timestamp;
use crate::model::delivery::{
    Delivery, DeliveryAttempt, DeliveryFilter, DeliveryId, DeliveryStatus, DeliveryUpdate, MessageInsertResult,
    RecordedAttempt,
};
use crate::model::endpoint::{Endpoint, EndpointId};
use crate::model::event_type::EventType;
use crate::model::message::Message;

/// The outbox of a store.
#[derive(Clone, Copy, Debug)]
pub struct Outbox<'a>(pub(super) &'a Store);

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.message_id, m.kind, d.endpoint_id, d.status, d.attempts, d.due_at, d.expires_at, \
             d.created_at, d.last_error FROM deliveries d JOIN messages m ON m.id = d.message_id ",
            $rest
        )
    };
}

impl Outbox<'_> {
    /// Stores a message with a delivery for each endpoint that `wants` it; durable when this returns. `same` says
    /// whether a body that is stored under this id is the same message.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was stored then.
    pub fn insert(
        &self,
        message: &Message,
        wants: impl Fn(&Endpoint) -> bool,
        same: impl FnOnce(&[u8]) -> bool,
    ) -> Result<MessageInsertResult, StoreError> {
        self.0.write(|transaction| {
            let sql = "SELECT body FROM messages WHERE id = ?1";
            let known: Option<Vec<u8>> =
                transaction.prepare_cached(sql)?.query_row([&message.id], |row| row.get(0)).optional()?;
            if let Some(known) = known {
                return Ok(if same(&known) { MessageInsertResult::Duplicate } else { MessageInsertResult::Conflict });
            }
            let created_at = message.created_at.as_millisecond();
            transaction
                .prepare_cached("INSERT INTO messages (id, kind, body, created_at) VALUES (?1, ?2, ?3, ?4)")?
                .execute((&message.id, message.kind.as_str(), &message.body, created_at))?;
            let sql = "INSERT INTO deliveries (message_id, endpoint_id, status, due_at, expires_at, created_at) \
                       VALUES (?1, ?2, 'pending', ?3, ?4, ?3)";
            let mut insert = transaction.prepare_cached(sql)?;
            let mut disabled = Vec::new();
            for endpoint in endpoints::all(transaction)?.into_iter().filter(|endpoint| wants(endpoint)) {
                if endpoint.health.disabled.is_some() {
                    disabled.push(endpoint.id);
                } else {
                    let expires_at = later(message.created_at, endpoint.policy.ttl);
                    insert.execute((&message.id, endpoint.id.as_str(), created_at, expires_at.as_millisecond()))?;
                }
            }
            Ok(MessageInsertResult::Stored { disabled_endpoints: disabled })
        })
    }

    /// The newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        self.0.read(|sqlite| {
            let sql = select!(
                "WHERE (?1 IS NULL OR d.endpoint_id = ?1) AND (?2 IS NULL OR d.message_id = ?2) \
                 AND (?3 IS NULL OR d.status = ?3) AND (?4 IS NULL OR d.created_at >= ?4) ORDER BY d.id DESC LIMIT ?5"
            );
            let mut statement = sqlite.prepare_cached(sql)?;
            let rows = statement.query(params![
                filter.endpoint.as_ref().map(EndpointId::as_str),
                filter.message,
                filter.status.map(DeliveryStatus::as_str),
                filter.since.map(Timestamp::as_millisecond),
                filter.limit,
            ])?;
            collect(rows, from_row)
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        self.0.read(|sqlite| find(sqlite, id))
    }

    /// The message of a delivery.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn message(&self, id: &str) -> Result<Option<Message>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT id, kind, body, created_at FROM messages WHERE id = ?1";
            sqlite.prepare_cached(sql)?.query_row([id], |row| Ok(message_from_row(row))).optional()?.transpose()
        })
    }

    /// The attempts of a delivery, the first one first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn attempts(&self, id: DeliveryId) -> Result<Vec<DeliveryAttempt>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT started_at, duration_ms, request_headers, response_status, response_body, error \
                       FROM attempts WHERE delivery_id = ?1 ORDER BY id";
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(statement.query([id.0])?, attempt_from_row)
        })
    }

    /// Those of an endpoint that are due, the longest overdue first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn due(&self, endpoint: &EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        self.0.read(|sqlite| {
            let sql = select!(
                "WHERE d.endpoint_id = ?1 AND d.status IN ('pending', 'failed') AND d.due_at <= ?2 \
                 ORDER BY d.due_at LIMIT ?3"
            );
            collect(
                sqlite.prepare_cached(sql)?.query((
                    endpoint.as_str(),
                    now.as_millisecond(),
                    i64::try_from(limit).unwrap_or(i64::MAX),
                ))?,
                from_row,
            )
        })
    }

    /// When the next delivery to an enabled endpoint is due.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.0.read(|sqlite| {
            // One look into the index for each endpoint, however many deliveries wait.
            let sql = "SELECT min((SELECT min(d.due_at) FROM deliveries d WHERE d.endpoint_id = e.id \
                       AND d.status IN ('pending', 'failed'))) FROM endpoints e WHERE e.disabled_reason IS NULL";
            let due: Option<i64> = sqlite.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            Ok(due.map(timestamp_millis).transpose()?)
        })
    }

    /// Records attempts in one commit. `judge` is given the current state of each delivery and its endpoint and returns
    /// what follows; it only computes, since it runs inside the transaction. A delivery that was removed meanwhile is
    /// left out.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was recorded then.
    pub fn record_attempts<T>(
        &self,
        attempts: &[(DeliveryId, DeliveryAttempt, T)],
        mut judge: impl FnMut(&Endpoint, &Delivery, &T) -> DeliveryUpdate,
    ) -> Result<Vec<RecordedAttempt>, StoreError> {
        self.0.write(|transaction| {
            let mut recorded = Vec::with_capacity(attempts.len());
            for (id, attempt, outcome) in attempts {
                let Some(delivery) = find(transaction, *id)? else { continue };
                let Some(endpoint) = endpoints::find(transaction, &delivery.endpoint)? else { continue };
                let verdict = judge(&endpoint, &delivery, outcome);
                recorded.push(record(transaction, &endpoint, delivery, attempt, verdict)?);
            }
            Ok(recorded)
        })
    }

    /// Marks deliveries as dead without an attempt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn mark_dead(&self, ids: &[DeliveryId], why: &str) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE deliveries SET status = 'dead', due_at = NULL, last_error = ?2 WHERE id = ?1";
            let mut statement = transaction.prepare_cached(sql)?;
            for id in ids {
                statement.execute((id.0, why))?;
            }
            Ok(())
        })
    }

    /// Requeues deliveries, whatever their status, and returns them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn requeue(&self, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE deliveries SET status = 'pending', attempts = 0, due_at = ?2, last_error = NULL, \
                       expires_at = ?2 + 1000 * (SELECT ttl_secs FROM endpoints e WHERE e.id = endpoint_id) WHERE id = ?1";
            let mut statement = transaction.prepare_cached(sql)?;
            let mut revived = Vec::new();
            for id in ids {
                statement.execute((id.0, now.as_millisecond()))?;
                revived.extend(find(transaction, *id)?);
            }
            Ok(revived)
        })
    }

    /// Requeues the failed and dead deliveries of an endpoint that were created since a time; the number of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn requeue_failed(&self, endpoint: &EndpointId, since: Timestamp, now: Timestamp) -> Result<usize, StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE deliveries SET status = 'pending', attempts = 0, due_at = ?3, last_error = NULL, \
                       expires_at = ?3 + 1000 * (SELECT ttl_secs FROM endpoints e WHERE e.id = endpoint_id) \
                       WHERE endpoint_id = ?1 AND created_at >= ?2 AND status IN ('dead', 'failed')";
            Ok(transaction.execute(sql, (endpoint.as_str(), since.as_millisecond(), now.as_millisecond()))?)
        })
    }

    /// Brings deliveries forward that are due later than any wait could be, since they were stored while the clock was
    /// fast; the number of them. They are spread over `spread`. Pauses of endpoints that end too late are cleared.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clamp_due_times(&self, now: Timestamp, longest: Duration, spread: Duration) -> Result<usize, StoreError> {
        let far = later(now, longest).as_millisecond();
        let any = self.0.read(|sqlite| {
            let sql = "SELECT EXISTS (SELECT 1 FROM endpoints e WHERE e.paused_until > ?1 OR \
                       (SELECT max(d.due_at) FROM deliveries d WHERE d.endpoint_id = e.id \
                       AND d.status IN ('pending', 'failed')) > ?1)";
            Ok(sqlite.prepare_cached(sql)?.query_row([far], |row| row.get::<_, bool>(0))?)
        })?;
        if !any {
            return Ok(0);
        }
        self.0.write(|transaction| {
            transaction.execute("UPDATE endpoints SET paused_until = NULL WHERE paused_until > ?1", [far])?;
            let sql = "UPDATE deliveries SET due_at = ?2 + abs(random() % ?3) \
                       WHERE status IN ('pending', 'failed') AND due_at > ?1";
            let spread = i64::try_from(spread.as_millis()).unwrap_or(i64::MAX).max(1);
            Ok(transaction.execute(sql, (far, now.as_millisecond(), spread))?)
        })
    }

    /// Deletes messages from before `before` of which no delivery waits, at most `most` of them; the number deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prune(&self, before: Timestamp, most: usize) -> Result<usize, StoreError> {
        let sql = "SELECT id FROM messages m WHERE created_at < ?1 AND NOT EXISTS (SELECT 1 FROM deliveries d \
                   WHERE d.message_id = m.id AND d.status IN ('pending', 'failed') \
                   AND EXISTS (SELECT 1 FROM endpoints e WHERE e.id = d.endpoint_id AND e.disabled_reason IS NULL)) LIMIT ?2";
        let old: Vec<String> = self.0.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(sql)?;
            let rows = statement
                .query_map((before.as_millisecond(), i64::try_from(most).unwrap_or(i64::MAX)), |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        if old.is_empty() {
            return Ok(0);
        }
        self.0.write(|transaction| {
            let mut statement = transaction.prepare_cached("DELETE FROM messages WHERE id = ?1")?;
            for id in &old {
                statement.execute([id])?;
            }
            Ok(old.len())
        })
    }
}

/// A time so much later, or the latest that there is.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(at.as_millisecond().saturating_add(by)).unwrap_or(Timestamp::MAX)
}

fn record(
    transaction: &Transaction<'_>,
    endpoint: &Endpoint,
    delivery: Delivery,
    attempt: &DeliveryAttempt,
    verdict: DeliveryUpdate,
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
        verdict.status.as_str(),
        verdict.due_at.map(Timestamp::as_millisecond),
        &attempt.error,
    ))?;
    if verdict.endpoint_health != endpoint.health {
        endpoints::put_health(transaction, &endpoint.id, &verdict.endpoint_health)?;
    }
    let disabled = verdict.endpoint_health.disabled.filter(|_| endpoint.health.disabled.is_none());
    Ok(RecordedAttempt {
        endpoint_health: verdict.endpoint_health,
        disabled_reason: disabled.map(|(reason, _)| reason),
        delivery: Delivery {
            status: verdict.status,
            attempts: delivery.attempts + 1,
            due_at: verdict.due_at,
            last_error: attempt.error.clone(),
            ..delivery
        },
    })
}

fn find(sqlite: &Connection, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE d.id = ?1"))?;
    statement.query_row([id.0], |row| Ok(from_row(row))).optional()?.transpose()
}

fn from_row(row: &Row<'_>) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: DeliveryId(row.get("id")?),
        message: row.get("message_id")?,
        kind: row.get("kind")?,
        endpoint: EndpointId::from_str(&row.get::<_, String>("endpoint_id")?).map_err(MalformedValue::EnumValue)?,
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
        kind: EventType::from_str(&row.get::<_, String>("kind")?).map_err(MalformedValue::EnumValue)?,
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
