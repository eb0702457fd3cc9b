//! The inbox: webhooks received, each event once, and what became of them.

use rusqlite::Row;

use super::insert_events::{self, EventLookup};
use super::row::{collect, connection_name, get_json, get_millis, get_optional_millis, get_word};
use super::{Store, StoreError, event_keys};
use crate::clock::Timestamp;
use crate::model::connection::ConnectionId;
use crate::model::event::{
    AttemptResult, EventFilter, EventId, EventInsertResult, EventStatus, EventVerification, InboundDelivery,
    QueuedEvent, RawRequest, StoredEvent,
};
use crate::model::event_type::matches_type;

/// The inbox of a store.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a>(pub(super) &'a Store);

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

impl Events<'_> {
    /// Stores any number of deliveries in one commit; new events are durable when this returns. A repeated event is
    /// told from another one with the same id.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was stored then.
    pub fn insert(&self, deliveries: &[InboundDelivery]) -> Result<Vec<Vec<EventInsertResult>>, StoreError> {
        let mut keys = self.0.event_keys();
        let taken = self.0.write(|transaction| {
            keys.catch_up(transaction)?;
            deliveries.iter().map(|delivery| insert_events::take(transaction, &mut keys, delivery)).collect()
        });
        match taken {
            Ok(_) => keys.committed(),
            Err(_) => keys.rolled_back(),
        }
        if keys.are_many() {
            let put = self.0.write(|transaction| {
                keys.catch_up(transaction)?;
                keys.put(transaction)
            });
            keys.put_ended(put.is_ok());
        }
        taken
    }

    /// The newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, filter: &EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        self.0.read(|sqlite| {
            let sql = select!(
                "WHERE (?1 IS NULL OR e.connection_id = ?1) AND (?2 IS NULL OR e.status = ?2) \
                 AND (NOT ?3 OR EXISTS (SELECT 1 FROM event_conflicts x WHERE x.event_id = e.id)) \
                 AND (?4 IS NULL OR e.received_at >= ?4) ORDER BY e.id DESC"
            );
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query((
                filter.connection.map(|id| id.0),
                filter.status.map(EventStatus::as_str),
                filter.only_conflicts,
                filter.since.map(Timestamp::as_millisecond),
            ))?;
            let wanted =
                |kind: &str| filter.kinds.is_empty() || filter.kinds.iter().any(|known| matches_type(known, kind));
            let mut found = Vec::new();
            while found.len() < filter.limit as usize
                && let Some(row) = rows.next()?
            {
                let event = from_row(row)?;
                if wanted(&event.kind) {
                    found.push(event);
                }
            }
            Ok(found)
        })
    }

    /// A page of the events after one and not received before `since`, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn after(
        &self,
        event: EventId,
        connection: Option<ConnectionId>,
        since: Timestamp,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.0.read(|sqlite| {
            let sql = select!(
                "WHERE e.id > ?1 AND (?2 IS NULL OR e.connection_id = ?2) AND e.received_at >= ?3 \
                 ORDER BY e.id LIMIT 100"
            );
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(statement.query((event.0, connection.map(|id| id.0), since.as_millisecond()))?, from_row)
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(select!("WHERE e.id = ?1"))?;
            let mut rows = statement.query([id.0])?;
            rows.next()?.map(from_row).transpose()
        })
    }

    /// The event of this delivery.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, connection: ConnectionId, delivery: &str) -> Result<Option<EventId>, StoreError> {
        let mut keys = self.0.event_keys();
        self.0.read(|sqlite| {
            keys.catch_up(sqlite)?;
            let ids = keys.find(sqlite, event_keys::key(connection, delivery))?;
            Ok(insert_events::known(sqlite, &ids, connection, &EventLookup::Id(delivery), None)?
                .map(|known| EventId(known.id)))
        })
    }

    /// The request that an event came with; absent once its content was pruned.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn raw_request(&self, id: EventId) -> Result<Option<RawRequest>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT e.headers, e.query, coalesce(e.body, first.body) AS body, e.batch_item, \
                       e.body IS NOT NULL AS is_first_of_request FROM events e \
                       LEFT JOIN events first ON first.id = e.batch_event_id WHERE e.id = ?1";
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query([id.0])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let Some(body) = row.get("body")? else { return Ok(None) };
            Ok(Some(RawRequest {
                headers: get_json(row, "headers")?,
                query: row.get("query")?,
                body,
                batch_item: row.get("batch_item")?,
                is_first_of_request: row.get("is_first_of_request")?,
            }))
        })
    }

    /// The events of a connection that wait to be handled, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn queued(&self, connection: ConnectionId, limit: u32) -> Result<Vec<QueuedEvent>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT id, due_at, attempts, completed_handlers, verification FROM events \
                       WHERE connection_id = ?1 AND status IN ('pending', 'failed') ORDER BY id LIMIT ?2";
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(statement.query((connection.0, limit))?, queued_from_row)
        })
    }

    /// Records how attempts to handle events ended, in one commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record_attempts(&self, ended: &[AttemptResult]) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET status = ?2, due_at = ?3, last_error = ?4, completed_handlers = ?5, \
                       attempts = attempts + 1 WHERE id = ?1";
            let mut statement = transaction.prepare_cached(sql)?;
            for ended in ended {
                statement.execute((
                    ended.id.0,
                    ended.status.as_str(),
                    ended.due_at.map(Timestamp::as_millisecond),
                    &ended.error,
                    ended.completed_handlers,
                ))?;
            }
            Ok(())
        })
    }

    /// Stores which handlers are done with an event whose attempt does not count, and why it waits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record_progress(&self, id: EventId, completed_handlers: u32, error: &str) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET completed_handlers = ?2, last_error = ?3 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((id.0, completed_handlers, error))?;
            Ok(())
        })
    }

    /// The events of a connection that the vendor has yet to be asked about, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unconfirmed(&self, connection: ConnectionId, limit: u32) -> Result<Vec<EventId>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT id FROM events WHERE connection_id = ?1 AND verification = 'unconfirmed' \
                       AND headers <> '' ORDER BY id LIMIT ?2";
            let mut statement = sqlite.prepare_cached(sql)?;
            let rows = statement.query_map((connection.0, limit), |row| Ok(EventId(row.get(0)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Stores the vendor's answer about an unconfirmed event. One that it did not send is dead.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_verification(
        &self,
        id: EventId,
        verification: EventVerification,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET verification = ?2, last_error = ?3, \
                       status = CASE ?2 WHEN 'rejected' THEN 'dead' ELSE status END \
                       WHERE id = ?1 AND verification = 'unconfirmed'";
            transaction.prepare_cached(sql)?.execute((id.0, verification.as_str(), error))?;
            Ok(())
        })
    }

    /// Requeues events, to be handled from the beginning; the number of them. An event whose content was pruned is left
    /// as it is, and the vendor is asked again about one that was rejected.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn requeue(&self, ids: &[EventId], now: Timestamp) -> Result<usize, StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET status = 'pending', attempts = 0, completed_handlers = 0, due_at = ?2, \
                       verification = CASE verification WHEN 'rejected' THEN 'unconfirmed' ELSE verification END \
                       WHERE id = ?1 AND headers <> ''";
            let mut statement = transaction.prepare_cached(sql)?;
            let mut revived = 0;
            for id in ids {
                revived += statement.execute((id.0, now.as_millisecond()))?;
            }
            Ok(revived)
        })
    }
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

fn queued_from_row(row: &Row<'_>) -> Result<QueuedEvent, StoreError> {
    // A time that cannot be read must not hold up the queue: the event is due at once.
    let due_at: Option<i64> = row.get("due_at")?;
    let due_at = Timestamp::from_millisecond(due_at.unwrap_or_default()).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(QueuedEvent {
        id: EventId(row.get("id")?),
        due_at,
        verification: get_word(row, "verification")?,
        attempts: row.get("attempts")?,
        completed_handlers: row.get("completed_handlers")?,
    })
}
