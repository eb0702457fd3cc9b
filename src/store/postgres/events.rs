//! The inbox: received webhooks, each event once, with its status.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::inserting::delivery_key;
use super::locks::check_fence;
use super::row::{SealedRow, connection_name, from_json, get, get_millis, get_word, number, optional_millis, to_json};
use super::seal::{Column, Sealer, column};
use super::value::{Value, given};
use super::{PostgresStore, conflicts, prune, queue};
use crate::clock::Timestamp;
use crate::hex;
use crate::model::{
    AttemptResult, ConflictResolution, ConnectionId, DueEvents, EventConflict, EventFilter, EventId, EventInsertResult,
    EventProgress, EventStatus, EventVerification, HandlerRun, InboundDelivery, NewEvent, PruneRequest, QueuedEvent,
    RawRequest, StoredEvent, matches_any_type,
};
use crate::store::{Events, Fence, StoreError};

pub(super) const DETAILS: Column = column("events", "details");
pub(super) const SIGNED_DIGEST: Column = column("events", "signed_digest");
pub(super) const REQUEST: Column = column("events", "request");
pub(super) const BODY: Column = column("events", "body");
pub(super) const BATCH_ITEM: Column = column("events", "batch_item");
pub(super) const LAST_ERROR: Column = column("events", "last_error");

/// Rows that are read at once where a list leaves some out.
const PAGE: u32 = 500;

/// What the vendor says of an event beside its type and time.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EventDetails {
    pub(super) delivery_id: String,
    /// In hexadecimal, as it came; empty for an event that was fetched. Another store needs it.
    pub(super) digest: String,
    pub(super) account: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) actor: Option<String>,
}

impl EventDetails {
    /// Returns the details of an event that came.
    pub(super) fn of(event: &NewEvent) -> Self {
        Self {
            delivery_id: event.delivery_id.clone(),
            digest: event.digest.as_ref().map(|digest| hex::encode(digest)).unwrap_or_default(),
            account: event.account.clone(),
            resource: event.resource.clone(),
            actor: event.actor.clone(),
        }
    }
}

/// The head of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RequestHead {
    pub(super) headers: Vec<(String, String)>,
    pub(super) query: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, c.connector, c.account, e.kind, e.details, e.occurred_at, e.received_at, e.status, e.attempts,
             e.last_error, e.verification, (SELECT count(*) FROM integ.event_conflicts x
                 WHERE x.workspace_id = $1 AND x.event_id = e.id) AS conflict_count
             FROM integ.events e JOIN integ.connections c ON c.workspace_id = $1 AND c.id = e.connection_id
             WHERE e.workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl Events for PostgresStore {
    async fn insert(&self, delivery: Arc<InboundDelivery>) -> Result<Vec<EventInsertResult>, StoreError> {
        self.insert_delivery(delivery).await
    }

    async fn list(&self, filter: &EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        let page = if filter.kinds.is_empty() { filter.limit } else { filter.limit.max(PAGE) };
        let (mut found, mut before) = (Vec::new(), filter.before);
        loop {
            let events = self.list_page(filter, before, page).await?;
            let is_last = events.len() < page as usize;
            before = events.last().map(|event| event.id);
            found.extend(events.into_iter().filter(|event| matches_any_type(&filter.kinds, &event.kind)));
            if is_last || found.len() >= filter.limit as usize {
                found.truncate(filter.limit as usize);
                return Ok(found);
            }
        }
    }

    async fn after(
        &self,
        event: EventId,
        connection: Option<ConnectionId>,
        since: Timestamp,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let sql = select!(
            "AND e.id > $2 AND ($3 IS NULL OR e.connection_id = $3) AND e.received_at >= $4 ORDER BY e.id LIMIT 100"
        );
        let values: [Value<'_>; 3] = [&event.0, &connection.map(|id| id.0), &since.as_millisecond()];
        let rows = self.rows(sql, &values).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }

    async fn get(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        let row = self.row(select!("AND e.id = $2"), &[&id.0]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn find(&self, connection: ConnectionId, delivery: &str) -> Result<Option<EventId>, StoreError> {
        let key = delivery_key(&self.sealer, connection, delivery);
        let sql = "SELECT e.id FROM integ.event_keys k JOIN integ.events e ON e.workspace_id = $1 AND e.id = k.event_id
                   WHERE k.key = $2 AND k.workspace_id IS NOT DISTINCT FROM $1 ORDER BY e.verification = 'rejected', e.id LIMIT 1";
        self.row(sql, &[&key]).await?.map(|row| get(&row, "id").map(EventId)).transpose()
    }

    async fn raw_request(&self, id: EventId) -> Result<Option<RawRequest>, StoreError> {
        let sql = "SELECT e.request, e.batch_item, coalesce(e.body, f.body) AS body,
                       CASE WHEN e.body IS NULL THEN f.id ELSE e.id END AS body_id
                   FROM integ.events e LEFT JOIN integ.events f ON f.workspace_id = $1 AND f.id = e.batch_event_id
                   WHERE e.workspace_id = $1 AND e.id = $2";
        self.row(sql, &[&id.0]).await?.map_or(Ok(None), |row| request_from_row(&self.sealer, &row, id))
    }

    async fn get_with_request(&self, id: EventId) -> Result<Option<(StoredEvent, RawRequest)>, StoreError> {
        let Some(row) = self.row("SELECT * FROM integ.event_with_request($1, $2)", &[&id.0]).await? else {
            return Ok(None);
        };
        let request = request_from_row(&self.sealer, &row, id)?;
        request.map(|request| Ok((from_row(&self.sealer, &row)?, request))).transpose()
    }

    async fn queued(&self, connection: ConnectionId, limit: u32) -> Result<Vec<QueuedEvent>, StoreError> {
        self.list_queued(connection, limit).await
    }

    async fn due(
        &self,
        connection: ConnectionId,
        now: Timestamp,
        longest: Duration,
        limit: u32,
    ) -> Result<DueEvents, StoreError> {
        queue::due(self, connection, now, longest, limit).await
    }

    async fn find_queued(&self, id: EventId) -> Result<Option<QueuedEvent>, StoreError> {
        self.find_waiting(id).await
    }

    async fn handler_runs(&self, id: EventId) -> Result<Vec<HandlerRun>, StoreError> {
        self.list_handler_runs(id).await
    }

    async fn record_attempts(&self, attempts: &[AttemptResult], fence: Fence) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        check_fence(&transaction, fence).await?;
        queue::record(&transaction, attempts).await?;
        transaction.commit().await
    }

    async fn record_progress(&self, progress: &EventProgress, fence: Fence) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        check_fence(&transaction, fence).await?;
        queue::record_progress(&transaction, progress).await?;
        transaction.commit().await
    }

    async fn unconfirmed(&self, connection: ConnectionId, limit: u32) -> Result<Vec<EventId>, StoreError> {
        let sql = "SELECT id FROM integ.events WHERE workspace_id = $1 AND connection_id = $2
                   AND verification = 'unconfirmed' AND request IS NOT NULL ORDER BY id LIMIT $3";
        let rows = self.rows(sql, &[&connection.0, &i64::from(limit)]).await?;
        rows.iter().map(|row| get(row, "id").map(EventId)).collect()
    }

    async fn set_verification(
        &self,
        id: EventId,
        verification: EventVerification,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let error = transaction.sealer.seal_optional(LAST_ERROR, id.0, error)?;
        let sql = "UPDATE integ.events SET verification = $3, last_error = $4,
                       status = CASE $3 WHEN 'rejected' THEN 'dead' ELSE status END
                   WHERE workspace_id = $1 AND id = $2 AND verification = 'unconfirmed'";
        transaction.execute(sql, &[&id.0, &verification.as_str(), &error]).await?;
        transaction.commit().await
    }

    async fn requeue(&self, ids: &[EventId], now: Timestamp) -> Result<usize, StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let sql = concat!(
            "UPDATE integ.events e SET status = 'pending', attempts = 0, completed_handlers = 0, due_at = $3,
                       verification = CASE e.verification WHEN 'rejected' THEN 'unconfirmed' ELSE e.verification END
                   FROM ",
            given!("$2::bigint[]", "id"),
            " WHERE e.workspace_id = u.workspace_id AND e.id = u.id AND e.request IS NOT NULL"
        );
        let requeued = self.execute(sql, &[&ids, &now.as_millisecond()]).await?;
        Ok(usize::try_from(requeued).unwrap_or(usize::MAX))
    }

    async fn conflicts(&self, id: EventId) -> Result<Vec<EventConflict>, StoreError> {
        self.list_conflicts(id).await
    }

    async fn resolve_conflict(
        &self,
        id: EventId,
        resolution: ConflictResolution,
        now: Timestamp,
    ) -> Result<Option<Vec<EventId>>, StoreError> {
        let transaction = self.begin().await?;
        let Some(made) = conflicts::resolve(&transaction, id, resolution, now).await? else { return Ok(None) };
        transaction.commit().await?;
        Ok(Some(made))
    }

    async fn prune(&self, request: &PruneRequest, limit: u32) -> Result<usize, StoreError> {
        let ids = self.find_prunable(request, limit).await?;
        if ids.is_empty() {
            return Ok(0);
        }
        let transaction = self.begin().await?;
        let pruned = prune::prune(&transaction, &ids, request.keeps_ids).await?;
        transaction.commit().await?;
        Ok(pruned)
    }

    async fn count_prunable(&self, request: &PruneRequest) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) AS count FROM integ.events e WHERE workspace_id = $1 AND connection_id = $2
                   AND received_at < $3 AND request IS NOT NULL AND status = $4 AND NOT EXISTS
                   (SELECT 1 FROM integ.event_conflicts x WHERE x.workspace_id = $1 AND x.event_id = e.id)";
        let status = if request.include_dead { EventStatus::Dead } else { EventStatus::Processed };
        let values: [Value<'_>; 3] = [&request.connection.0, &request.before.as_millisecond(), &status.as_str()];
        self.row(sql, &values).await?.map_or(Ok(0), |row| number(&row, "count"))
    }
}

impl PostgresStore {
    async fn list_page(
        &self,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let sql = select!(
            "AND ($2 IS NULL OR e.connection_id = $2) AND ($3 IS NULL OR e.status = $3)
             AND (NOT $4 OR EXISTS (SELECT 1 FROM integ.event_conflicts x
                 WHERE x.workspace_id = $1 AND x.event_id = e.id))
             AND ($5 IS NULL OR e.received_at >= $5) AND ($6 IS NULL OR e.id < $6) ORDER BY e.id DESC LIMIT $7"
        );
        let values: [Value<'_>; 6] = [
            &filter.connection.map(|id| id.0),
            &filter.status.map(EventStatus::as_str),
            &filter.only_conflicts,
            &filter.since.map(Timestamp::as_millisecond),
            &before.map(|id| id.0),
            &i64::from(limit),
        ];
        let rows = self.rows(sql, &values).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }
}

/// Seals the details of an event, or of a body that conflicts with it.
pub(super) fn seal_details(
    sealer: &Sealer,
    column: Column,
    id: i64,
    details: &EventDetails,
) -> Result<Vec<u8>, StoreError> {
    sealer.seal(column, id, to_json(details)?)
}

fn request_from_row(sealer: &Sealer, row: &Row, id: EventId) -> Result<Option<RawRequest>, StoreError> {
    let (Some(sealed_body), Some(body_id)) = (get::<Option<&[u8]>>(row, "body")?, get::<Option<i64>>(row, "body_id")?)
    else {
        return Ok(None);
    };
    let sealed = SealedRow::new(sealer, row, id.0);
    let Some(RequestHead { headers, query }) = sealed.json(REQUEST)? else { return Ok(None) };
    Ok(Some(RawRequest {
        headers,
        query,
        body: sealer.open(BODY, body_id, sealed_body)?.to_vec(),
        batch_item: sealed.text(BATCH_ITEM)?,
        is_first_of_request: body_id == id.0,
    }))
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<StoredEvent, StoreError> {
    let id: i64 = get(row, "id")?;
    let sealed = SealedRow::new(sealer, row, id);
    let details: EventDetails = from_json(&sealed.bytes(DETAILS)?.unwrap_or_default())?;
    Ok(StoredEvent {
        id: EventId(id),
        connection: connection_name(row)?,
        delivery_id: details.delivery_id,
        kind: get(row, "kind")?,
        account: details.account,
        resource: details.resource,
        actor: details.actor,
        occurred_at: optional_millis(row, "occurred_at")?,
        received_at: get_millis(row, "received_at")?,
        status: get_word(row, "status")?,
        verification: get_word(row, "verification")?,
        attempts: number(row, "attempts")?,
        last_error: sealed.text(LAST_ERROR)?,
        conflict_count: number(row, "conflict_count")?,
    })
}
