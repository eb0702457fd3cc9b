//! The inbox: events as they came, each once, and what became of them.

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::event_keys::{self, EventKeys};
use super::row::{from_word, to_json, to_word};
use super::{Malformed, Store, StoreError};
use crate::clock::Timestamp;
use crate::connection::{ConnectionId, ConnectionName};

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

const STATUSES: &[(EventStatus, &str)] = &[
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

const PROOFS: &[(EventProof, &str)] = &[
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
    pub body: Vec<u8>,
    pub events: Vec<NewEvent>,
    pub proof: EventProof,
    /// Whether anybody is to handle them.
    pub handled: bool,
}

#[derive(Clone, Debug)]
pub struct NewEvent {
    pub delivery_id: String,
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
    /// Its id is known with another body: it was put aside.
    Conflict(EventId),
    /// So it is, and of the other one the vendor is still to be asked: the vendor should send it again later.
    Undecided(EventId),
}

impl Taken {
    pub fn id(self) -> EventId {
        match self {
            Self::New(id) | Self::Duplicate(id) | Self::Conflict(id) | Self::Undecided(id) => id,
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
    pub kind: Option<String>,
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
            deliveries.iter().map(|delivery| take(transaction, &mut keys, delivery)).collect()
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
                 AND (?3 IS NULL OR e.kind = ?3) AND (?4 IS NULL OR e.received_at >= ?4) ORDER BY e.id DESC LIMIT ?5"
            );
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query((
                filter.connection.map(|id| id.0),
                filter.status.map(EventStatus::as_str),
                &filter.kind,
                filter.since.map(Timestamp::as_millisecond),
                filter.limit,
            ))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(stored(row)?);
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
            Ok(known(sqlite, &ids, connection, &By::Id(delivery))?.map(|(id, ..)| EventId(id)))
        })
    }

    /// The request that an event came with; absent once its time is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn kept(&self, id: EventId) -> Result<Option<Kept>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT e.headers, coalesce(e.body, o.body), e.item, e.body IS NOT NULL FROM events e \
                       LEFT JOIN events o ON o.id = e.body_of WHERE e.id = ?1";
            let row = sqlite
                .prepare_cached(sql)?
                .query_row([id.0], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, Option<Vec<u8>>>(1)?, row.get(2)?, row.get(3)?))
                })
                .optional()?;
            let Some((headers, Some(body), item, first)) = row else { return Ok(None) };
            Ok(Some(Kept { headers: super::row::from_json(&headers)?, body, item, first }))
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

fn take(transaction: &Transaction<'_>, keys: &mut EventKeys, delivery: &Delivery) -> Result<Vec<Taken>, StoreError> {
    let sql = "INSERT INTO events (connection_id, delivery_id, key, digest, kind, account, resource, actor, occurred_at, \
               received_at, headers, body, body_of, item, status, due_at, signed, signed_key, proof) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
    let mut insert = transaction.prepare_cached(sql)?;
    let headers = to_json(&delivery.headers)?;
    let received_at = delivery.received_at.as_millisecond();
    let status = if delivery.handled { EventStatus::Pending } else { EventStatus::Processed };
    let mut first = None;
    let mut taken = Vec::with_capacity(delivery.events.len());
    for event in &delivery.events {
        let signed_key = event.signed.as_ref().map(|signed| event_keys::signed_key(delivery.connection, signed));
        let key = event_keys::key(delivery.connection, &event.delivery_id);
        // The same signed bytes are the same event, under whatever id and type they come: first, for an id that is not
        // signed may be another event's.
        let mut found = None;
        if let (Some(key), Some(signed)) = (signed_key, &event.signed) {
            let by = By::Signed(signed);
            found = known(transaction, &keys.find(transaction, key)?, delivery.connection, &by)?;
        }
        if found.is_none() {
            let by = By::Id(&event.delivery_id);
            found = known(transaction, &keys.find(transaction, key)?, delivery.connection, &by)?;
        }
        let same = |digest: &[u8]| digest.is_empty() || event.digest.is_none_or(|known| known == *digest);
        // What the vendor did not send takes no id from what it did.
        let found = found
            .filter(|(_, digest, proof)| *proof != EventProof::Refused || (event.digest.is_some() && same(digest)));
        let Some((id, digest, proof)) = found else {
            insert.execute(rusqlite::params![
                delivery.connection.0,
                event.delivery_id,
                key,
                event.digest.as_ref().map_or(&[][..], |digest| digest),
                event.kind,
                event.account,
                event.resource,
                event.actor,
                event.occurred_at.map(Timestamp::as_millisecond),
                received_at,
                headers,
                if first.is_none() { Some(&delivery.body) } else { None },
                first,
                event.item,
                status.as_str(),
                delivery.handled.then_some(received_at),
                event.signed,
                signed_key,
                delivery.proof.as_str(),
            ])?;
            let id = transaction.last_insert_rowid();
            keys.add(key, id);
            if let Some(key) = signed_key {
                keys.add(key, id);
            }
            first.get_or_insert(id);
            taken.push(Taken::New(EventId(id)));
            continue;
        };
        if same(&digest) {
            // One that was fetched first, and now comes signed.
            if let (Some(key), Some(signed)) = (signed_key, &event.signed) {
                let sql = "UPDATE events SET signed = ?2, signed_key = ?3 WHERE id = ?1 AND signed IS NULL";
                if transaction.prepare_cached(sql)?.execute((id, signed, key))? > 0 {
                    event_keys::put_now(transaction, key, id)?;
                }
            }
            taken.push(Taken::Duplicate(EventId(id)));
        } else if proof == EventProof::Asking {
            taken.push(Taken::Undecided(EventId(id)));
        } else {
            put_aside(transaction, id, received_at, &headers, &delivery.body)?;
            taken.push(Taken::Conflict(EventId(id)));
        }
    }
    Ok(taken)
}

/// Bodies that are kept aside for one event: repeated requests must not fill the disk with them.
const MOST_CONFLICTS: u32 = 8;

/// Keeps a body that came under the id of another, once.
fn put_aside(
    transaction: &Transaction<'_>,
    event: i64,
    received_at: i64,
    headers: &str,
    body: &[u8],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO conflicts (event_id, received_at, headers, body) SELECT ?1, ?2, ?3, ?4 \
               WHERE (SELECT count(*) FROM conflicts WHERE event_id = ?1) < ?5 \
               AND NOT EXISTS (SELECT 1 FROM conflicts WHERE event_id = ?1 AND body = ?4)";
    transaction.prepare_cached(sql)?.execute((event, received_at, headers, body, MOST_CONFLICTS))?;
    Ok(())
}

/// What an event that comes again is recognised by.
enum By<'a> {
    Id(&'a str),
    Signed(&'a [u8; 32]),
}

/// The one of these events that is this delivery, its digest and its proof. One that was refused counts where there is no
/// other.
fn known(
    sqlite: &Connection,
    ids: &[i64],
    connection: ConnectionId,
    by: &By<'_>,
) -> Result<Option<(i64, Vec<u8>, EventProof)>, StoreError> {
    let sql = match by {
        By::Id(_) => "SELECT id, digest, proof FROM events WHERE id = ?1 AND connection_id = ?2 AND delivery_id = ?3",
        By::Signed(_) => "SELECT id, digest, proof FROM events WHERE id = ?1 AND connection_id = ?2 AND signed = ?3",
    };
    let value: &dyn rusqlite::ToSql = match by {
        By::Id(id) => id,
        By::Signed(signed) => signed,
    };
    let mut refused = None;
    for id in ids {
        let mut statement = sqlite.prepare_cached(sql)?;
        let found = statement.query_row(rusqlite::params![id, connection.0, value], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))
        });
        let Some((id, digest, proof)) = found.optional()? else { continue };
        let found = (id, digest, from_word(PROOFS, &proof)?);
        if found.2 != EventProof::Refused {
            return Ok(Some(found));
        }
        refused.get_or_insert(found);
    }
    Ok(refused)
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
