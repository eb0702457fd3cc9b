//! The inbox: received webhooks, each event once, with its status.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;

use super::insert_events::{self, EventLookup};
use super::row::{Row, collect, connection_name, first, get_json, get_millis, get_optional_millis, get_word, query};
use super::{SqliteStore, StoreError, conflicts, event_keys, locks, prune, queue};
use crate::clock::Timestamp;
use crate::model::{
    AttemptResult, ConflictResolution, ConnectionId, DueEvents, EventConflict, EventFilter, EventId, EventInsertResult,
    EventProgress, EventStatus, EventVerification, HandlerRun, InboundDelivery, PruneRequest, QueuedEvent, RawRequest,
    StoredEvent, matches_any_type,
};
use crate::store::{Events, Fence};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, c.connector, c.account, e.delivery_id, e.kind, e.account AS event_account, e.resource, \
             e.actor, e.occurred_at, e.received_at, e.status, e.attempts, e.last_error, e.verification, \
             (SELECT count(*) FROM event_conflicts x WHERE x.event_id = e.id) AS conflict_count \
             FROM events e JOIN connections c ON c.id = e.connection_id ",
            $rest
        )
    };
}

#[async_trait]
impl Events for SqliteStore {
    async fn insert(&self, delivery: Arc<InboundDelivery>) -> Result<Vec<EventInsertResult>, StoreError> {
        self.write_with_keys(move |context| {
            let transaction = context.transaction;
            insert_events::insert(transaction, context.event_keys()?, &delivery)
        })
        .await
    }

    async fn list(&self, filter: &EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        let filter = filter.clone();
        self.read(move |sqlite| list(sqlite, &filter)).await
    }

    async fn after(
        &self,
        event: EventId,
        connection: Option<ConnectionId>,
        since: Timestamp,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.read(move |sqlite| {
            let sql = select!(
                "WHERE e.id > ?1 AND (?2 IS NULL OR e.connection_id = ?2) AND e.received_at >= ?3 ORDER BY e.id LIMIT 100"
            );
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(query(&mut statement, (event.0, connection.map(|id| id.0), since.as_millisecond()))?, from_row)
        })
        .await
    }

    async fn get(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.read(move |sqlite| event(sqlite, id)).await
    }

    async fn find(&self, connection: ConnectionId, delivery: &str) -> Result<Option<EventId>, StoreError> {
        let delivery = delivery.to_owned();
        self.read(move |sqlite| {
            let ids = event_keys::find_committed(sqlite, event_keys::key(connection, &delivery))?;
            let known = insert_events::known(sqlite, &ids, connection, &EventLookup::Id(&delivery), None)?;
            Ok(known.map(|known| EventId(known.id)))
        })
        .await
    }

    async fn raw_request(&self, id: EventId) -> Result<Option<RawRequest>, StoreError> {
        self.read(move |sqlite| raw_request(sqlite, id)).await
    }

    async fn get_with_request(&self, id: EventId) -> Result<Option<(StoredEvent, RawRequest)>, StoreError> {
        self.read(move |sqlite| Ok(event(sqlite, id)?.zip(raw_request(sqlite, id)?))).await
    }

    async fn queued(&self, connection: ConnectionId, limit: u32) -> Result<Vec<QueuedEvent>, StoreError> {
        self.read(move |sqlite| queue::list(sqlite, connection, limit)).await
    }

    async fn due(
        &self,
        connection: ConnectionId,
        now: Timestamp,
        longest: Duration,
        limit: u32,
    ) -> Result<DueEvents, StoreError> {
        self.read(move |sqlite| queue::due(sqlite, connection, now, longest, limit)).await
    }

    async fn find_queued(&self, id: EventId) -> Result<Option<QueuedEvent>, StoreError> {
        self.read(move |sqlite| queue::find(sqlite, id)).await
    }

    async fn handler_runs(&self, id: EventId) -> Result<Vec<HandlerRun>, StoreError> {
        self.read(move |sqlite| queue::handler_runs(sqlite, id)).await
    }

    async fn record_attempts(&self, attempts: &[AttemptResult], fence: Fence) -> Result<(), StoreError> {
        let attempts = attempts.to_vec();
        self.write(move |transaction| {
            locks::check_fence(transaction, fence)?;
            attempts.iter().try_for_each(|attempt| queue::record(transaction, attempt))
        })
        .await
    }

    async fn record_progress(&self, progress: &EventProgress, fence: Fence) -> Result<(), StoreError> {
        let progress = progress.clone();
        self.write(move |transaction| {
            locks::check_fence(transaction, fence)?;
            queue::record_progress(transaction, &progress)
        })
        .await
    }

    async fn unconfirmed(&self, connection: ConnectionId, limit: u32) -> Result<Vec<EventId>, StoreError> {
        self.read(move |sqlite| {
            let sql = "SELECT id FROM events WHERE connection_id = ?1 AND verification = 'unconfirmed' \
                       AND headers <> '' ORDER BY id LIMIT ?2";
            let mut statement = sqlite.prepare_cached(sql)?;
            let rows = statement.query_map((connection.0, limit), |row| Ok(EventId(row.get(0)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn set_verification(
        &self,
        id: EventId,
        verification: EventVerification,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        let error = error.map(str::to_owned);
        self.write(move |transaction| {
            let sql = "UPDATE events SET verification = ?2, last_error = ?3, \
                       status = CASE ?2 WHEN 'rejected' THEN 'dead' ELSE status END \
                       WHERE id = ?1 AND verification = 'unconfirmed'";
            transaction.prepare_cached(sql)?.execute((id.0, verification.as_str(), &error))?;
            Ok(())
        })
        .await
    }

    async fn requeue(&self, ids: &[EventId], now: Timestamp) -> Result<usize, StoreError> {
        let ids = ids.to_vec();
        self.write(move |transaction| {
            let sql = "UPDATE events SET status = 'pending', attempts = 0, completed_handlers = 0, due_at = ?2, \
                       verification = CASE verification WHEN 'rejected' THEN 'unconfirmed' ELSE verification END \
                       WHERE id = ?1 AND headers <> ''";
            let mut statement = transaction.prepare_cached(sql)?;
            let mut requeued = 0;
            for id in &ids {
                requeued += statement.execute((id.0, now.as_millisecond()))?;
            }
            Ok(requeued)
        })
        .await
    }

    async fn conflicts(&self, id: EventId) -> Result<Vec<EventConflict>, StoreError> {
        self.read(move |sqlite| conflicts::list(sqlite, id)).await
    }

    async fn resolve_conflict(
        &self,
        id: EventId,
        resolution: ConflictResolution,
        now: Timestamp,
    ) -> Result<Option<Vec<EventId>>, StoreError> {
        self.write_with_keys(move |context| {
            let transaction = context.transaction;
            conflicts::resolve(transaction, context.event_keys()?, id, resolution, now)
        })
        .await
    }

    async fn prune(&self, request: &PruneRequest, limit: u32) -> Result<usize, StoreError> {
        let request = *request;
        // Looking for them may take long, and is no work for the one thread that writes.
        let ids = self.read(move |sqlite| prune::find(sqlite, request, limit)).await?;
        if ids.is_empty() {
            return Ok(0);
        }
        self.write(move |transaction| prune::prune(transaction, &ids, request.keeps_ids)).await
    }

    async fn count_prunable(&self, request: &PruneRequest) -> Result<u64, StoreError> {
        let request = *request;
        self.read(move |sqlite| prune::count(sqlite, request)).await
    }
}

fn list(sqlite: &Connection, filter: &EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
    let sql = select!(
        "WHERE (?1 IS NULL OR e.connection_id = ?1) AND (?2 IS NULL OR e.status = ?2) \
         AND (NOT ?3 OR EXISTS (SELECT 1 FROM event_conflicts x WHERE x.event_id = e.id)) \
         AND (?4 IS NULL OR e.received_at >= ?4) AND (?5 IS NULL OR e.id < ?5) ORDER BY e.id DESC"
    );
    let mut statement = sqlite.prepare_cached(sql)?;
    let mut rows = query(
        &mut statement,
        (
            filter.connection.map(|id| id.0),
            filter.status.map(EventStatus::as_str),
            filter.only_conflicts,
            filter.since.map(Timestamp::as_millisecond),
            filter.before.map(|id| id.0),
        ),
    )?;
    let mut found = Vec::new();
    while found.len() < filter.limit as usize
        && let Some(row) = rows.next()?
    {
        let event = from_row(&row)?;
        if matches_any_type(&filter.kinds, &event.kind) {
            found.push(event);
        }
    }
    Ok(found)
}

fn event(sqlite: &Connection, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
    let mut statement = sqlite.prepare_cached(select!("WHERE e.id = ?1"))?;
    first(query(&mut statement, [id.0])?, from_row)
}

fn raw_request(sqlite: &Connection, id: EventId) -> Result<Option<RawRequest>, StoreError> {
    let sql = "SELECT e.headers, e.query, coalesce(e.body, first.body) AS body, e.batch_item, \
               e.body IS NOT NULL AS is_first_of_request FROM events e \
               LEFT JOIN events first ON first.id = e.batch_event_id WHERE e.id = ?1";
    let mut statement = sqlite.prepare_cached(sql)?;
    let mut rows = query(&mut statement, [id.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let Some(body) = row.get("body")? else { return Ok(None) };
    Ok(Some(RawRequest {
        headers: get_json(&row, "headers")?,
        query: row.get("query")?,
        body,
        batch_item: row.get("batch_item")?,
        is_first_of_request: row.get("is_first_of_request")?,
    }))
}

fn from_row(row: &Row<'_>) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        id: EventId(row.get("id")?),
        connection: connection_name(row)?,
        delivery_id: row.get("delivery_id")?,
        kind: row.get("kind")?,
        account: row.get("event_account")?,
        resource: row.get("resource")?,
        actor: row.get("actor")?,
        occurred_at: get_optional_millis(row, "occurred_at")?,
        received_at: get_millis(row, "received_at")?,
        status: get_word(row, "status")?,
        verification: get_word(row, "verification")?,
        attempts: row.get("attempts")?,
        last_error: row.get("last_error")?,
        conflict_count: row.get("conflict_count")?,
    })
}
