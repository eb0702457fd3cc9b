//! The inbox: events as they came, each once, and what became of them.

use rusqlite::{OptionalExtension, Row};

use super::insert_events::{self, EventLookup};
use super::row::parse_word;
use super::{MalformedValue, Store, StoreError, event_keys};
use crate::clock::Timestamp;
use crate::model::connection::ConnectionId;
use crate::model::event::{
    AttemptResult, EventFilter, EventId, EventInsertResult, EventStatus, EventVerification, InboundDelivery,
    QueuedEvent, RawRequest, StoredEvent,
};
use crate::model::event_type::matches_type;
use crate::model::name::ConnectionName;

/// The inbox of a store.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a>(pub(super) &'a Store);

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, c.connector, c.account, e.delivery_id, e.kind, e.account, e.resource, e.actor, \
             e.occurred_at, e.received_at, e.status, e.attempts, e.last_error, \
             (SELECT count(*) FROM event_conflicts x WHERE x.event_id = e.id), e.verification \
             FROM events e JOIN connections c ON c.id = e.connection_id ",
            $rest
        )
    };
}

impl Events<'_> {
    /// Takes any number of deliveries in one commit. What is new is durable when this returns; what came before is told
    /// from what only bears the same id.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was taken then.
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
                let event = stored(row)?;
                if wanted(&event.kind) {
                    found.push(event);
                }
            }
            Ok(found)
        })
    }

    /// A page of those that came after an event and not before a time, the oldest first.
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
                "WHERE e.id > ?1 AND (?2 IS NULL OR e.connection_id = ?2) AND e.received_at >= ?3 ORDER BY e.id LIMIT 100"
            );
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query((event.0, connection.map(|id| id.0), since.as_millisecond()))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(stored(row)?);
            }
            Ok(found)
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(select!("WHERE e.id = ?1"))?;
            let mut rows = statement.query([id.0])?;
            rows.next()?.map(stored).transpose()
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

    /// The request that an event came with; absent once its time is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn raw_request(&self, id: EventId) -> Result<Option<RawRequest>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT e.headers, coalesce(e.body, o.body), e.batch_item, e.body IS NOT NULL, e.query FROM events e \
                       LEFT JOIN events o ON o.id = e.batch_event_id WHERE e.id = ?1";
            let row = sqlite
                .prepare_cached(sql)?
                .query_row([id.0], |row| {
                    let (headers, body) = (row.get::<_, String>(0)?, row.get::<_, Option<Vec<u8>>>(1)?);
                    Ok((headers, body, row.get(2)?, row.get(3)?, row.get(4)?))
                })
                .optional()?;
            let Some((headers, Some(body), item, first, query)) = row else { return Ok(None) };
            Ok(Some(RawRequest {
                headers: super::row::from_json(&headers)?,
                query,
                body,
                batch_item: item,
                is_first_of_request: first,
            }))
        })
    }

    /// Those of a connection that wait to be handled, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn queued(&self, connection: ConnectionId, limit: u32) -> Result<Vec<QueuedEvent>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT id, due_at, attempts, completed_handlers, verification FROM events \
                       WHERE connection_id = ?1 AND status IN ('pending', 'failed') ORDER BY id LIMIT ?2";
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query((connection.0, limit))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let due_at: Option<i64> = row.get(1)?;
                let due_at = Timestamp::from_millisecond(due_at.unwrap_or_default()).unwrap_or(Timestamp::UNIX_EPOCH);
                found.push(QueuedEvent {
                    id: EventId(row.get(0)?),
                    due_at,
                    verification: parse_word(&row.get::<_, String>(4)?)?,
                    attempts: row.get(2)?,
                    completed_handlers: row.get(3)?,
                });
            }
            Ok(found)
        })
    }

    /// Notes how attempts to handle events ended, in one commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record_attempts(&self, ended: &[AttemptResult]) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET status = ?2, due_at = ?3, last_error = ?4, completed_handlers = ?5, attempts = attempts + 1 \
                       WHERE id = ?1";
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

    /// Stores which handlers have done with an event whose attempt does not count, and why it waits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record_progress(&self, id: EventId, done: u32, error: &str) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET completed_handlers = ?2, last_error = ?3 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((id.0, done, error))?;
            Ok(())
        })
    }

    /// Those of a connection that the vendor is to be asked about, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unconfirmed(&self, connection: ConnectionId, limit: u32) -> Result<Vec<EventId>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT id FROM events WHERE connection_id = ?1 AND verification = 'unconfirmed' AND headers <> '' \
                       ORDER BY id LIMIT ?2";
            let mut statement = sqlite.prepare_cached(sql)?;
            let rows = statement.query_map((connection.0, limit), |row| Ok(EventId(row.get(0)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Notes what the vendor said of an event that it was asked about. One that it did not send is dead.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_verification(
        &self,
        id: EventId,
        proof: EventVerification,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET verification = ?2, last_error = ?3, \
                       status = CASE ?2 WHEN 'rejected' THEN 'dead' ELSE status END WHERE id = ?1 AND verification = 'unconfirmed'";
            transaction.prepare_cached(sql)?.execute((id.0, proof.as_str(), error))?;
            Ok(())
        })
    }

    /// Brings events back to be handled from the beginning; the number of them. One whose content is gone stays, and one
    /// that the vendor did not send is asked about again first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn requeue(&self, ids: &[EventId], now: Timestamp) -> Result<usize, StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET status = 'pending', attempts = 0, completed_handlers = 0, due_at = ?2, \
                       verification = CASE verification WHEN 'rejected' THEN 'unconfirmed' ELSE verification END WHERE id = ?1 AND headers <> ''";
            let mut statement = transaction.prepare_cached(sql)?;
            let mut revived = 0;
            for id in ids {
                revived += statement.execute((id.0, now.as_millisecond()))?;
            }
            Ok(revived)
        })
    }
}

fn stored(row: &Row<'_>) -> Result<StoredEvent, StoreError> {
    let account: String = row.get(2)?;
    let name = ConnectionName::new(&row.get::<_, String>(1)?, Some(account.as_str()).filter(|name| !name.is_empty()));
    let millis = |at: i64| Timestamp::from_millisecond(at).map_err(|_| MalformedValue::Time(at));
    Ok(StoredEvent {
        id: EventId(row.get(0)?),
        connection: name.map_err(|_| MalformedValue::Name)?,
        delivery_id: row.get(3)?,
        kind: row.get(4)?,
        account: row.get(5)?,
        resource: row.get(6)?,
        actor: row.get(7)?,
        occurred_at: row.get::<_, Option<i64>>(8)?.map(millis).transpose()?,
        received_at: millis(row.get(9)?)?,
        status: parse_word(&row.get::<_, String>(10)?)?,
        attempts: row.get(11)?,
        last_error: row.get(12)?,
        conflict_count: row.get(13)?,
        verification: parse_word(&row.get::<_, String>(14)?)?,
    })
}
