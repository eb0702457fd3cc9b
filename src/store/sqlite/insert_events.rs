//! Inserts deliveries, and finds which of their events are new.
//!
//! An event is known by its delivery id, and where the signature does not cover that, by the bytes that were signed as well: a
//! captured request is the same event under any id. Two requests that name no delivery are distinguished by what else they
//! differ in, so that equal signed bytes of the two are two events (`NewEvent::has_delivery_id`).

use rusqlite::{Connection, Transaction};

use super::conflicts::{self, ConflictInsertResult};
use super::event_keys::{self, EventKeys};
use super::row::{Row, first, get_word, query, to_json};
use super::{StoreError, links};
use crate::clock::Timestamp;
use crate::model::{
    ConnectionId, EventId, EventInsertResult, EventStatus, EventVerification, InboundDelivery, NewEvent,
};

/// What an event that comes again is recognised by.
pub(super) enum EventLookup<'a> {
    Id(&'a str),
    /// The signed bytes. `has_delivery_id` is whether this request names its delivery: one that does not matches only one
    /// that did.
    Signed {
        digest: &'a [u8; 32],
        has_delivery_id: bool,
    },
}

/// An event that came before.
pub(super) struct ExistingEvent {
    pub(super) id: i64,
    digest: Vec<u8>,
    verification: EventVerification,
    status: EventStatus,
    /// Whether its content was removed because its time was over.
    is_pruned: bool,
}

impl ExistingEvent {
    /// Whether it is the same event as one with this digest. One that was fetched from the vendor's API has none: its bytes
    /// are not those that are delivered.
    fn is_same(&self, digest: Option<&[u8; 32]>) -> bool {
        self.digest.is_empty() || digest.is_none_or(|digest| digest == self.digest.as_slice())
    }
}

/// Inserts one delivery. The result has one entry for each of its events.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    keys: &mut EventKeys,
    delivery: &InboundDelivery,
) -> Result<Vec<EventInsertResult>, StoreError> {
    let headers = to_json(&delivery.headers)?;
    let mut first = None;
    let mut results = Vec::with_capacity(delivery.events.len());
    for event in &delivery.events {
        let result = match find(transaction, keys, delivery.connection, event)? {
            None => {
                let id = insert_event(transaction, keys, delivery, event, &headers, first)?;
                first.get_or_insert(id);
                EventInsertResult::New(EventId(id))
            }
            Some(known) if known.is_same(event.digest.as_ref()) => repeat(transaction, delivery, event, &known)?,
            Some(known) if known.verification == EventVerification::Unconfirmed => {
                EventInsertResult::Unconfirmed(EventId(known.id))
            }
            Some(known) => match conflicts::insert_conflict(transaction, known.id, delivery, event, &headers)? {
                ConflictInsertResult::Stored => EventInsertResult::Conflict(EventId(known.id)),
                ConflictInsertResult::Full => EventInsertResult::TooManyConflicts(EventId(known.id)),
            },
        };
        results.push(result);
    }
    Ok(results)
}

/// The event that this one repeats, or that has the same id.
fn find(
    transaction: &Transaction<'_>,
    keys: &EventKeys,
    connection: ConnectionId,
    event: &NewEvent,
) -> Result<Option<ExistingEvent>, StoreError> {
    let digest = event.digest.as_ref();
    // The signed bytes first, for an id that is not signed may be another event's.
    let mut found = None;
    if let Some(signed) = &event.signed_digest {
        let ids = keys.find(transaction, event_keys::signed_key(connection, signed))?;
        found = known(
            transaction,
            &ids,
            connection,
            &EventLookup::Signed { digest: signed, has_delivery_id: event.has_delivery_id },
            digest,
        )?;
    }
    if found.is_none() {
        let ids = keys.find(transaction, event_keys::key(connection, &event.delivery_id))?;
        found = known(transaction, &ids, connection, &EventLookup::Id(&event.delivery_id), digest)?;
    }
    // What the vendor did not send takes no id from what it did.
    Ok(found.filter(|known| {
        known.verification != EventVerification::Rejected || (digest.is_some() && known.is_same(digest))
    }))
}

fn insert_event(
    transaction: &Transaction<'_>,
    keys: &mut EventKeys,
    delivery: &InboundDelivery,
    event: &NewEvent,
    headers: &str,
    first: Option<i64>,
) -> Result<i64, StoreError> {
    let sql = "INSERT INTO events (connection_id, delivery_id, has_delivery_id, dedup_key, digest, kind, account, \
               resource, actor, occurred_at, received_at, headers, query, body, batch_event_id, batch_item, status, \
               signed_digest, signed_dedup_key, verification) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
    let key = event_keys::key(delivery.connection, &event.delivery_id);
    let signed_key = event.signed_digest.as_ref().map(|signed| event_keys::signed_key(delivery.connection, signed));
    let received_at = delivery.received_at.as_millisecond();
    let status = if delivery.needs_handling { EventStatus::Pending } else { EventStatus::Processed };
    transaction.prepare_cached(sql)?.execute(rusqlite::params![
        delivery.connection.0,
        event.delivery_id,
        event.has_delivery_id,
        key,
        event.digest.as_ref().map_or(&[][..], |digest| digest),
        event.kind,
        event.account,
        event.resource,
        event.actor,
        event.occurred_at.map(Timestamp::as_millisecond),
        received_at,
        headers,
        delivery.query,
        if first.is_none() { Some(&delivery.body) } else { None },
        first,
        event.batch_item,
        status.as_str(),
        event.signed_digest,
        signed_key,
        delivery.verification.as_str(),
    ])?;
    let id = transaction.last_insert_rowid();
    keys.add(key, id);
    if let Some(key) = signed_key {
        keys.add(key, id);
    }
    // What is not proved moves no link.
    if let Some(merged) = event.merged.as_ref().filter(|_| delivery.verification == EventVerification::Verified) {
        links::follow(transaction, delivery.connection, merged, delivery.received_at)?;
    }
    Ok(id)
}

/// Takes an event that came before. Where it is dead, the vendor was asked to send it again, and it is handled again: what
/// its handlers have done is not repeated, for anyone could repeat a captured request.
fn repeat(
    transaction: &Transaction<'_>,
    delivery: &InboundDelivery,
    event: &NewEvent,
    known: &ExistingEvent,
) -> Result<EventInsertResult, StoreError> {
    // One that was fetched first, and now comes signed.
    if let Some(signed) = &event.signed_digest {
        let key = event_keys::signed_key(delivery.connection, signed);
        let sql = "UPDATE events SET signed_digest = ?2, signed_dedup_key = ?3 WHERE id = ?1 AND signed_digest IS NULL";
        if transaction.prepare_cached(sql)?.execute((known.id, signed, key))? > 0 {
            event_keys::put_now(transaction, key, known.id)?;
        }
    }
    let was_given_up = known.status == EventStatus::Dead && known.verification.is_trusted() && !known.is_pruned;
    // The vendor's log lists what it sent; it does not ask for it to be handled again.
    if !was_given_up || !delivery.needs_handling || event.digest.is_none() {
        return Ok(EventInsertResult::Duplicate(EventId(known.id)));
    }
    let sql = "UPDATE events SET status = 'pending', attempts = 0, due_at = ?2 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute((known.id, delivery.received_at.as_millisecond()))?;
    Ok(EventInsertResult::Requeued(EventId(known.id)))
}

/// The one of these events that is this delivery: with the same digest before others, and one that was refused only where
/// there is no other.
pub(super) fn known(
    sqlite: &Connection,
    ids: &[i64],
    connection: ConnectionId,
    by: &EventLookup<'_>,
    digest: Option<&[u8; 32]>,
) -> Result<Option<ExistingEvent>, StoreError> {
    let (sql, value, has_delivery_id): (_, &dyn rusqlite::ToSql, bool) = match by {
        EventLookup::Id(id) => (
            "SELECT id, digest, verification, status, headers = '' AS is_pruned FROM events \
             WHERE id = ?1 AND connection_id = ?2 AND delivery_id = ?3 AND (?4 OR has_delivery_id)",
            id,
            true,
        ),
        EventLookup::Signed { digest, has_delivery_id } => (
            "SELECT id, digest, verification, status, headers = '' AS is_pruned FROM events \
             WHERE id = ?1 AND connection_id = ?2 AND signed_digest = ?3 AND (?4 OR has_delivery_id)",
            digest,
            *has_delivery_id,
        ),
    };
    let rank = |known: &ExistingEvent| (known.verification == EventVerification::Rejected, !known.is_same(digest));
    let mut best: Option<ExistingEvent> = None;
    for id in ids {
        let mut statement = sqlite.prepare_cached(sql)?;
        let values = rusqlite::params![id, connection.0, value, has_delivery_id];
        let Some(found) = first(query(&mut statement, values)?, from_row)? else { continue };
        if best.as_ref().is_none_or(|best| rank(&found) < rank(best)) {
            best = Some(found);
        }
    }
    Ok(best)
}

fn from_row(row: &Row<'_>) -> Result<ExistingEvent, StoreError> {
    Ok(ExistingEvent {
        id: row.get("id")?,
        digest: row.get("digest")?,
        verification: get_word(row, "verification")?,
        status: get_word(row, "status")?,
        is_pruned: row.get("is_pruned")?,
    })
}
