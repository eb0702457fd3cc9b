//! The inbox: events as they came, each once, and what became of them.

use rusqlite::{OptionalExtension, Row};

use super::event_keys;
use super::intake::{self, By};
use super::row::{from_word, to_word};
use super::{Malformed, Store, StoreError};
use crate::clock::Timestamp;
use crate::connection::{ConnectionId, ConnectionName};
use crate::event_type::matches_type;

/// The inbox of a store.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a>(pub(super) &'a Store);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub i64);

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStatus {
    /// Waits to be handled for the first time.
    Pending,
    Processed,
    /// Waits to be handled again.
    Failed,
    /// Handled in vain for too often; `retry` brings it back.
    Dead,
}

pub(super) const STATUSES: &[(EventStatus, &str)] = &[
    (EventStatus::Pending, "pending"),
    (EventStatus::Processed, "processed"),
    (EventStatus::Failed, "failed"),
    (EventStatus::Dead, "dead"),
];

impl EventStatus {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Processed, Self::Failed, Self::Dead];

    pub fn as_str(self) -> &'static str {
        to_word(STATUSES, self)
    }
}

/// Whether it is proved that the vendor sent an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventProof {
    Verified,
    /// The service signs nothing: only who knows the URL can send.
    Unsigned,
    /// The signature covers too little, and the vendor is still to be asked. Nobody handles it until then.
    Asking,
    /// The vendor says that it did not send it.
    Refused,
}

pub(super) const PROOFS: &[(EventProof, &str)] = &[
    (EventProof::Verified, "verified"),
    (EventProof::Unsigned, "unsigned"),
    (EventProof::Asking, "asking"),
    (EventProof::Refused, "refused"),
];

impl EventProof {
    pub fn as_str(self) -> &'static str {
        to_word(PROOFS, self)
    }

    /// Whether what the event says may be acted upon.
    pub fn may_be_handled(self) -> bool {
        matches!(self, Self::Verified | Self::Unsigned)
    }
}

/// One request that was taken, with its events.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub connection: ConnectionId,
    pub received_at: Timestamp,
    pub headers: Vec<(String, String)>,
    /// The query string of the request, without its question mark.
    pub query: String,
    pub body: Vec<u8>,
    pub events: Vec<NewEvent>,
    pub proof: EventProof,
    /// Whether anybody is to handle them.
    pub handled: bool,
}

#[derive(Clone, Debug)]
pub struct NewEvent {
    pub delivery_id: String,
    /// Whether the request named its delivery, or the connector says that equal bodies are one event. Equal signed bytes of
    /// two requests that name none are two events.
    pub named: bool,
    /// Absent of one that was fetched, whose bytes are not those that are delivered: its id alone tells it.
    pub digest: Option<[u8; 32]>,
    /// Of what was signed, where the signature does not cover the id.
    pub signed: Option<[u8; 32]>,
    pub kind: String,
    pub account: Option<String>,
    pub resource: Option<String>,
    pub actor: Option<String>,
    pub occurred_at: Option<Timestamp>,
    /// The event within a batch, as JSON.
    pub item: Option<String>,
}

/// What became of an event that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    New(EventId),
    Duplicate(EventId),
    /// It came before and was dead: it waits to be handled again.
    Restarted(EventId),
    /// Its id is known with another body: it was put aside.
    Conflict(EventId),
    /// So it is, and as many bodies as an event may have wait to be resolved: it was not stored.
    Crowded(EventId),
    /// So it is, and of the other one the vendor is still to be asked: the vendor should send it again later.
    Undecided(EventId),
}

impl Taken {
    pub fn id(self) -> EventId {
        match self {
            Self::New(id)
            | Self::Duplicate(id)
            | Self::Restarted(id)
            | Self::Conflict(id)
            | Self::Crowded(id)
            | Self::Undecided(id) => id,
        }
    }
}

/// An event as it is kept.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub id: EventId,
    pub connection: ConnectionName,
    pub delivery_id: String,
    pub kind: String,
    pub account: Option<String>,
    pub resource: Option<String>,
    pub actor: Option<String>,
    pub occurred_at: Option<Timestamp>,
    pub received_at: Timestamp,
    pub status: EventStatus,
    pub proof: EventProof,
    pub attempts: u32,
    pub last_error: Option<String>,
    pub conflicts: u32,
}

/// The request of an event, byte for byte, and the event within it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub headers: Vec<(String, String)>,
    pub query: String,
    pub body: Vec<u8>,
    pub item: Option<String>,
    /// Whether it is the first event of its request.
    pub first: bool,
}

/// An event that waits to be handled.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub id: EventId,
    pub due_at: Timestamp,
    pub proof: EventProof,
    pub attempts: u32,
    /// The handlers that have done with it, as a set of bits.
    pub done: u32,
}

/// How an attempt to handle an event ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub id: EventId,
    pub status: EventStatus,
    /// When it is tried again.
    pub due_at: Option<Timestamp>,
    pub error: Option<String>,
    pub done: u32,
}

/// Which events are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub connection: Option<ConnectionId>,
    pub status: Option<EventStatus>,
    /// Types or patterns, `charge.*`; all where empty.
    pub kinds: Vec<String>,
    /// Only those with other bodies under their id.
    pub conflicts: bool,
    pub since: Option<Timestamp>,
    pub limit: u32,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, c.connector, c.account, e.delivery_id, e.kind, e.account, e.resource, e.actor, \
             e.occurred_at, e.received_at, e.status, e.attempts, e.last_error, \
             (SELECT count(*) FROM conflicts x WHERE x.event_id = e.id), e.proof \
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
    pub fn take(&self, deliveries: &[Delivery]) -> Result<Vec<Vec<Taken>>, StoreError> {
        let mut keys = self.0.event_keys();
        let taken = self.0.write(|transaction| {
            keys.catch_up(transaction)?;
            deliveries.iter().map(|delivery| intake::take(transaction, &mut keys, delivery)).collect()
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
    pub fn list(&self, filter: &Filter) -> Result<Vec<StoredEvent>, StoreError> {
        self.0.read(|sqlite| {
            let sql = select!(
                "WHERE (?1 IS NULL OR e.connection_id = ?1) AND (?2 IS NULL OR e.status = ?2) \
                 AND (NOT ?3 OR EXISTS (SELECT 1 FROM conflicts x WHERE x.event_id = e.id)) \
                 AND (?4 IS NULL OR e.received_at >= ?4) ORDER BY e.id DESC"
            );
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query((
                filter.connection.map(|id| id.0),
                filter.status.map(EventStatus::as_str),
                filter.conflicts,
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
            Ok(intake::known(sqlite, &ids, connection, &By::Id(delivery), None)?.map(|known| EventId(known.id)))
        })
    }

    /// The request that an event came with; absent once its time is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn kept(&self, id: EventId) -> Result<Option<Kept>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT e.headers, coalesce(e.body, o.body), e.item, e.body IS NOT NULL, e.query FROM events e \
                       LEFT JOIN events o ON o.id = e.body_of WHERE e.id = ?1";
            let row = sqlite
                .prepare_cached(sql)?
                .query_row([id.0], |row| {
                    let (headers, body) = (row.get::<_, String>(0)?, row.get::<_, Option<Vec<u8>>>(1)?);
                    Ok((headers, body, row.get(2)?, row.get(3)?, row.get(4)?))
                })
                .optional()?;
            let Some((headers, Some(body), item, first, query)) = row else { return Ok(None) };
            Ok(Some(Kept { headers: super::row::from_json(&headers)?, query, body, item, first }))
        })
    }

    /// Those of a connection that wait to be handled, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting(&self, connection: ConnectionId, limit: u32) -> Result<Vec<Waiting>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT id, due_at, attempts, done, proof FROM events \
                       WHERE connection_id = ?1 AND status IN ('pending', 'failed') ORDER BY id LIMIT ?2";
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query((connection.0, limit))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let due_at: Option<i64> = row.get(1)?;
                let due_at = Timestamp::from_millisecond(due_at.unwrap_or_default()).unwrap_or(Timestamp::UNIX_EPOCH);
                found.push(Waiting {
                    id: EventId(row.get(0)?),
                    due_at,
                    proof: from_word(PROOFS, &row.get::<_, String>(4)?)?,
                    attempts: row.get(2)?,
                    done: row.get(3)?,
                });
            }
            Ok(found)
        })
    }

    /// Notes how attempts to handle events ended, in one commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record(&self, ended: &[Ended]) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET status = ?2, due_at = ?3, last_error = ?4, done = ?5, attempts = attempts + 1 \
                       WHERE id = ?1";
            let mut statement = transaction.prepare_cached(sql)?;
            for ended in ended {
                statement.execute((
                    ended.id.0,
                    ended.status.as_str(),
                    ended.due_at.map(Timestamp::as_millisecond),
                    &ended.error,
                    ended.done,
                ))?;
            }
            Ok(())
        })
    }

    /// Stores which handlers have done with an event whose attempt does not count, and why it waits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pause(&self, id: EventId, done: u32, error: &str) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET done = ?2, last_error = ?3 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute((id.0, done, error))?;
            Ok(())
        })
    }

    /// Those of a connection that the vendor is to be asked about, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unproved(&self, connection: ConnectionId, limit: u32) -> Result<Vec<EventId>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT id FROM events WHERE connection_id = ?1 AND proof = 'asking' AND headers <> '' \
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
    pub fn prove(&self, id: EventId, proof: EventProof, error: Option<&str>) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET proof = ?2, last_error = ?3, \
                       status = CASE ?2 WHEN 'refused' THEN 'dead' ELSE status END WHERE id = ?1 AND proof = 'asking'";
            transaction.prepare_cached(sql)?.execute((id.0, proof.as_str(), error))?;
            Ok(())
        })
    }

    /// Brings events back to be handled from the beginning; the number of them. One whose content is gone stays, and one
    /// that the vendor did not send is asked about again first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revive(&self, ids: &[EventId], now: Timestamp) -> Result<usize, StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE events SET status = 'pending', attempts = 0, done = 0, due_at = ?2, \
                       proof = CASE proof WHEN 'refused' THEN 'asking' ELSE proof END WHERE id = ?1 AND headers <> ''";
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
    let millis = |at: i64| Timestamp::from_millisecond(at).map_err(|_| Malformed::Time(at));
    Ok(StoredEvent {
        id: EventId(row.get(0)?),
        connection: name.map_err(|_| Malformed::Name)?,
        delivery_id: row.get(3)?,
        kind: row.get(4)?,
        account: row.get(5)?,
        resource: row.get(6)?,
        actor: row.get(7)?,
        occurred_at: row.get::<_, Option<i64>>(8)?.map(millis).transpose()?,
        received_at: millis(row.get(9)?)?,
        status: from_word(STATUSES, &row.get::<_, String>(10)?)?,
        attempts: row.get(11)?,
        last_error: row.get(12)?,
        conflicts: row.get(13)?,
        proof: from_word(PROOFS, &row.get::<_, String>(14)?)?,
    })
}
