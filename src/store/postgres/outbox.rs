//! The outbox: messages to send, one delivery for each matching endpoint, and a row for each attempt.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::locks::check_fence;
use super::row::{SealedRow, get, get_millis, get_word, number, optional_millis, optional_number, signed, to_json};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use super::{PostgresStore, endpoints};
use crate::clock::Timestamp;
use crate::model::{
    AttemptRecord, Delivery, DeliveryAttempt, DeliveryFilter, DeliveryId, DeliveryStatus, DeliveryUpdate, Endpoint,
    EndpointId, Message, MessageInsertResult, RecordedAttempt,
};
use crate::store::{Fence, MalformedValue, Outbox, StoreError};

const BODY: Column = column("messages", "body");
const LAST_ERROR: Column = column("deliveries", "last_error");
const REQUEST_HEADERS: Column = column("attempts", "request_headers");
const RESPONSE_BODY: Column = column("attempts", "response_body");
const ERROR: Column = column("attempts", "error");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.message_id, m.kind, d.endpoint_id, d.status, d.attempts, d.due_at, d.expires_at,
             d.created_at, d.last_error
             FROM integ.deliveries d JOIN integ.messages m ON m.workspace_id = $1 AND m.id = d.message_id
             WHERE d.workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl Outbox for PostgresStore {
    async fn insert(
        &self,
        message: &Message,
        endpoint: Option<&EndpointId>,
    ) -> Result<MessageInsertResult, StoreError> {
        let transaction = self.begin().await?;
        let inserted = insert(&transaction, message, endpoint).await?;
        transaction.commit().await?;
        Ok(inserted)
    }

    async fn list(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>, StoreError> {
        let sql = select!(
            "AND ($2 IS NULL OR d.endpoint_id = $2) AND ($3 IS NULL OR d.message_id = $3)
             AND ($4 IS NULL OR d.status = $4) AND ($5 IS NULL OR d.created_at >= $5)
             AND ($6 IS NULL OR d.id < $6) ORDER BY d.id DESC LIMIT $7"
        );
        let values: [Value<'_>; 6] = [
            &filter.endpoint.as_ref().map(EndpointId::as_str),
            &filter.message.as_deref(),
            &filter.status.map(DeliveryStatus::as_str),
            &filter.since.map(Timestamp::as_millisecond),
            &filter.before.map(|id| id.0),
            &i64::from(filter.limit),
        ];
        let rows = self.rows(sql, &values).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn get(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let row = self.row(select!("AND d.id = $2"), &[&id.0]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn message(&self, id: &str) -> Result<Option<Message>, StoreError> {
        let sql = "SELECT id, kind, body, created_at FROM integ.messages WHERE workspace_id = $1 AND id = $2";
        let row = self.row(sql, &[&id]).await?;
        row.map(|row| message_from_row(&self.sealer, &row)).transpose()
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<DeliveryAttempt>, StoreError> {
        let sql = "SELECT id, started_at, duration_ms, request_headers, response_status, response_body, error
                   FROM integ.attempts WHERE workspace_id = $1 AND delivery_id = $2 ORDER BY id";
        let rows = self.rows(sql, &[&id.0]).await?;
        rows.iter().map(|row| attempt_from_row(&self.sealer, row)).collect()
    }

    async fn due(&self, endpoint: &EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let sql = select!(
            "AND d.endpoint_id = $2 AND d.status IN ('pending', 'failed') AND d.due_at <= $3 ORDER BY d.due_at LIMIT $4"
        );
        let rows = self.rows(sql, &[&endpoint.as_str(), &now.as_millisecond(), &signed(limit as u64)]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        // One look into the index for each endpoint, however many deliveries wait.
        let sql = "SELECT min((SELECT min(d.due_at) FROM integ.deliveries d WHERE d.workspace_id = $1
                       AND d.endpoint_id = e.id AND d.status IN ('pending', 'failed'))) AS due_at
                   FROM integ.endpoints e WHERE e.workspace_id = $1 AND e.disabled_reason IS NULL";
        let row = self.row(sql, &[]).await?;
        row.map_or(Ok(None), |row| optional_millis(&row, "due_at"))
    }

    async fn record_attempts(
        &self,
        attempts: &[AttemptRecord],
        fence: Fence,
    ) -> Result<Option<Vec<RecordedAttempt>>, StoreError> {
        let transaction = self.begin().await?;
        check_fence(&transaction, fence).await?;
        // What was recorded before one that does not fit is rolled back with the transaction.
        let Some(recorded) = record_all(&transaction, attempts).await? else { return Ok(None) };
        transaction.commit().await?;
        Ok(Some(recorded))
    }

    async fn mark_dead(&self, ids: &[DeliveryId], error: &str, fence: Fence) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        check_fence(&transaction, fence).await?;
        for id in ids {
            let error = transaction.sealer.seal(LAST_ERROR, id.0, error)?;
            let sql = "UPDATE integ.deliveries SET status = 'dead', due_at = NULL, last_error = $3
                       WHERE workspace_id = $1 AND id = $2";
            transaction.execute(sql, &[&id.0, &error]).await?;
        }
        transaction.commit().await
    }

    async fn requeue(&self, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
        let transaction = self.begin().await?;
        let sql = "UPDATE integ.deliveries SET status = 'pending', attempts = 0, due_at = $3, last_error = NULL,
                       expires_at = $3 + 1000 * (SELECT e.ttl_secs FROM integ.endpoints e
                           WHERE e.workspace_id = $1 AND e.id = endpoint_id)
                   WHERE workspace_id = $1 AND id = $2";
        let mut requeued = Vec::new();
        for id in ids {
            transaction.execute(sql, &[&id.0, &now.as_millisecond()]).await?;
            requeued.extend(find(&transaction, *id).await?);
        }
        transaction.commit().await?;
        Ok(requeued)
    }

    async fn requeue_failed(
        &self,
        endpoint: &EndpointId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let sql = "UPDATE integ.deliveries SET status = 'pending', attempts = 0, due_at = $4, last_error = NULL,
                       expires_at = $4 + 1000 * (SELECT e.ttl_secs FROM integ.endpoints e
                           WHERE e.workspace_id = $1 AND e.id = endpoint_id)
                   WHERE workspace_id = $1 AND endpoint_id = $2 AND created_at >= $3 AND status IN ('dead', 'failed')";
        let values: [Value<'_>; 3] = [&endpoint.as_str(), &since.as_millisecond(), &now.as_millisecond()];
        Ok(usize::try_from(self.execute(sql, &values).await?).unwrap_or(usize::MAX))
    }

    async fn clamp_due_times(&self, now: Timestamp, longest: Duration, spread: Duration) -> Result<usize, StoreError> {
        let far = later(now, longest).as_millisecond();
        let sql = "SELECT 1 FROM integ.endpoints e WHERE e.workspace_id = $1 AND (e.paused_until > $2 OR
                   (SELECT max(d.due_at) FROM integ.deliveries d WHERE d.workspace_id = $1 AND d.endpoint_id = e.id
                    AND d.status IN ('pending', 'failed')) > $2) LIMIT 1";
        if self.row(sql, &[&far]).await?.is_none() {
            return Ok(0);
        }
        let transaction = self.begin().await?;
        let sql = "UPDATE integ.endpoints SET paused_until = NULL WHERE workspace_id = $1 AND paused_until > $2";
        transaction.execute(sql, &[&far]).await?;
        let sql = "UPDATE integ.deliveries SET due_at = $3 + floor(random() * $4)::bigint
                   WHERE workspace_id = $1 AND status IN ('pending', 'failed') AND due_at > $2";
        let spread = i64::try_from(spread.as_millis()).unwrap_or(i64::MAX).max(1);
        let moved = transaction.execute(sql, &[&far, &now.as_millisecond(), &spread]).await?;
        transaction.commit().await?;
        Ok(usize::try_from(moved).unwrap_or(usize::MAX))
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        // No delivery of theirs waits for an endpoint that is enabled.
        let sql = "DELETE FROM integ.messages WHERE workspace_id = $1 AND id IN (SELECT m.id FROM integ.messages m
                   WHERE m.workspace_id = $1 AND m.created_at < $2 AND NOT EXISTS (SELECT 1 FROM integ.deliveries d
                       JOIN integ.endpoints e ON e.workspace_id = $1 AND e.id = d.endpoint_id AND e.disabled_reason IS NULL
                       WHERE d.workspace_id = $1 AND d.message_id = m.id AND d.status IN ('pending', 'failed')) LIMIT $3)";
        let pruned = self.execute(sql, &[&before.as_millisecond(), &signed(limit as u64)]).await?;
        Ok(usize::try_from(pruned).unwrap_or(usize::MAX))
    }
}

/// Returns the time after a duration, or the last one that there is.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(at.as_millisecond().saturating_add(by)).unwrap_or(Timestamp::MAX)
}

/// Inserts a message and its deliveries.
async fn insert(
    transaction: &Transaction,
    message: &Message,
    only: Option<&EndpointId>,
) -> Result<MessageInsertResult, StoreError> {
    let body = transaction.sealer.seal(BODY, message.id.as_str(), &message.body)?;
    let created_at = message.created_at.as_millisecond();
    let sql = "INSERT INTO integ.messages (workspace_id, id, kind, body, created_at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (workspace_id, id) DO NOTHING";
    if transaction.execute(sql, &[&message.id, &message.kind.as_str(), &body, &created_at]).await? == 0 {
        let sql = "SELECT body FROM integ.messages WHERE workspace_id = $1 AND id = $2";
        let row = transaction.first(sql, &[&message.id]).await?;
        let known =
            row.map_or(Ok(None), |row| SealedRow::new(&transaction.sealer, &row, message.id.as_str()).bytes(BODY))?;
        let is_same = known.is_some_and(|known| message.is_same(&known));
        return Ok(if is_same { MessageInsertResult::Duplicate } else { MessageInsertResult::Conflict });
    }
    let endpoints = match only {
        Some(id) => endpoints::find(transaction, id).await?.into_iter().collect(),
        None => endpoints::all(transaction).await?,
    };
    let accepting = endpoints.into_iter().filter(|endpoint| only.is_some() || endpoint.accepts(&message.kind));
    let (disabled, enabled): (Vec<Endpoint>, Vec<Endpoint>) =
        accepting.partition(|endpoint| endpoint.health.disabled.is_some());
    let ids = transaction.next_ids("deliveries", enabled.len()).await?;
    let names: Vec<&str> = enabled.iter().map(|endpoint| endpoint.id.as_str()).collect();
    let ends = enabled.iter().map(|endpoint| later(message.created_at, endpoint.policy.ttl).as_millisecond());
    let sql = "INSERT INTO integ.deliveries (workspace_id, id, message_id, endpoint_id, status, due_at, expires_at, created_at)
               SELECT $1, d.id, $2, d.endpoint, 'pending', $3, d.expires_at, $3
               FROM unnest($4::bigint[], $5::text[], $6::bigint[]) AS d (id, endpoint, expires_at)
               JOIN integ.endpoints e ON e.workspace_id = $1 AND e.id = d.endpoint";
    transaction.execute(sql, &[&message.id, &created_at, &ids, &names, &ends.collect::<Vec<i64>>()]).await?;
    Ok(MessageInsertResult::Stored { disabled_endpoints: disabled.into_iter().map(|endpoint| endpoint.id).collect() })
}

/// Records attempts in order, each on top of what the one before has written: of two attempts at one endpoint, the second
/// was computed from the health that follows from the first. `None` if one does not fit.
async fn record_all(
    transaction: &Transaction,
    attempts: &[AttemptRecord],
) -> Result<Option<Vec<RecordedAttempt>>, StoreError> {
    let mut recorded = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let row = transaction.first(select!("AND d.id = $2 FOR NO KEY UPDATE OF d"), &[&attempt.delivery.0]).await?;
        let Some(row) = row else { continue };
        let delivery = from_row(&transaction.sealer, &row)?;
        let Some(endpoint) = endpoints::find_locked(transaction, &delivery.endpoint).await? else { continue };
        if delivery.attempts != attempt.attempts_before
            || !endpoints::is_same_health(&endpoint.health, &attempt.health_before)
        {
            return Ok(None);
        }
        recorded.push(record(transaction, &endpoint, delivery, &attempt.attempt, &attempt.update).await?);
    }
    Ok(Some(recorded))
}

async fn record(
    transaction: &Transaction,
    endpoint: &Endpoint,
    delivery: Delivery,
    attempt: &DeliveryAttempt,
    update: &DeliveryUpdate,
) -> Result<RecordedAttempt, StoreError> {
    let id = transaction.next_id("attempts").await?;
    let sql = "INSERT INTO integ.attempts (workspace_id, id, delivery_id, started_at, duration_ms, request_headers,
                   response_status, response_body, error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let values: [Value<'_>; 8] = [
        &id,
        &delivery.id.0,
        &attempt.started_at.as_millisecond(),
        &i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX),
        &transaction.sealer.seal(REQUEST_HEADERS, id, to_json(&attempt.request_headers)?)?,
        &attempt.response_status.map(i64::from),
        &transaction.sealer.seal_optional(RESPONSE_BODY, id, attempt.response_body.as_ref())?,
        &transaction.sealer.seal_optional(ERROR, id, attempt.error.as_ref())?,
    ];
    transaction.execute(sql, &values).await?;
    let error = transaction.sealer.seal_optional(LAST_ERROR, delivery.id.0, attempt.error.as_ref())?;
    let sql = "UPDATE integ.deliveries SET status = $3, attempts = attempts + 1, due_at = $4, last_error = $5
               WHERE workspace_id = $1 AND id = $2";
    let due_at = update.due_at.map(Timestamp::as_millisecond);
    transaction.execute(sql, &[&delivery.id.0, &update.status.as_str(), &due_at, &error]).await?;
    if update.endpoint_health != endpoint.health {
        endpoints::put_health(transaction, &endpoint.id, &update.endpoint_health).await?;
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

async fn find(transaction: &Transaction, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
    let row = transaction.first(select!("AND d.id = $2"), &[&id.0]).await?;
    row.map(|row| from_row(&transaction.sealer, &row)).transpose()
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<Delivery, StoreError> {
    let id: i64 = get(row, "id")?;
    Ok(Delivery {
        id: DeliveryId(id),
        message: get(row, "message_id")?,
        kind: get(row, "kind")?,
        endpoint: get::<&str>(row, "endpoint_id")?.parse().map_err(MalformedValue::EnumValue)?,
        status: get_word(row, "status")?,
        attempts: number(row, "attempts")?,
        due_at: optional_millis(row, "due_at")?,
        expires_at: get_millis(row, "expires_at")?,
        created_at: get_millis(row, "created_at")?,
        last_error: SealedRow::new(sealer, row, id).text(LAST_ERROR)?,
    })
}

fn message_from_row(sealer: &Sealer, row: &Row) -> Result<Message, StoreError> {
    let id: &str = get(row, "id")?;
    Ok(Message {
        id: id.to_owned(),
        kind: get::<&str>(row, "kind")?.parse().map_err(MalformedValue::EnumValue)?,
        body: SealedRow::new(sealer, row, id).bytes(BODY)?.unwrap_or_default(),
        created_at: get_millis(row, "created_at")?,
    })
}

fn attempt_from_row(sealer: &Sealer, row: &Row) -> Result<DeliveryAttempt, StoreError> {
    let sealed = SealedRow::new(sealer, row, get::<i64>(row, "id")?);
    Ok(DeliveryAttempt {
        started_at: get_millis(row, "started_at")?,
        duration: Duration::from_millis(number(row, "duration_ms")?),
        request_headers: sealed.json_or_default(REQUEST_HEADERS)?,
        response_status: optional_number(row, "response_status")?,
        response_body: sealed.bytes(RESPONSE_BODY)?,
        error: sealed.text(ERROR)?,
    })
}
