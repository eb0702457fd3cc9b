//! Events received under the delivery id of another one with a different body. They wait until `webhook resolve`
//! decides.

use rusqlite::{Connection, Transaction};

use super::StoreError;
use super::event_keys::{self, EventKeys};
use super::row::{Row, collect, get_json, get_millis, get_word, query};
use crate::clock::Timestamp;
use crate::model::{ConflictResolution, ConnectionId, EventConflict, EventId, InboundDelivery, NewEvent, RawRequest};

/// Bodies that may wait for one event: repeated requests must not fill the disk with them.
const MAX_CONFLICTS: u32 = 8;

/// What became of a body that was to be put aside.
pub(super) enum ConflictInsertResult {
    Stored,
    /// [`MAX_CONFLICTS`] others wait already.
    Full,
}

/// Stores an event that came under the id of another, once.
pub(super) fn insert_conflict(
    transaction: &Transaction<'_>,
    event: i64,
    delivery: &InboundDelivery,
    other: &NewEvent,
    headers: &str,
) -> Result<ConflictInsertResult, StoreError> {
    let digest = other.digest.as_ref().map_or(&[][..], |digest| digest);
    let known = "SELECT EXISTS (SELECT 1 FROM event_conflicts WHERE event_id = ?1 AND digest = ?2)";
    if transaction.prepare_cached(known)?.query_row((event, digest), |row| row.get(0))? {
        return Ok(ConflictInsertResult::Stored);
    }
    let sql = "INSERT INTO event_conflicts (event_id, received_at, digest, signed_digest, verification, kind, account, \
               resource, actor, occurred_at, headers, query, body, batch_item) \
               SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14 \
               WHERE (SELECT count(*) FROM event_conflicts WHERE event_id = ?1) < ?15";
    let stored = transaction.prepare_cached(sql)?.execute(rusqlite::params![
        event,
        delivery.received_at.as_millisecond(),
        digest,
        other.signed_digest,
        delivery.verification.as_str(),
        other.kind,
        other.account,
        other.resource,
        other.actor,
        other.occurred_at.map(Timestamp::as_millisecond),
        headers,
        delivery.query,
        delivery.body,
        other.batch_item,
        MAX_CONFLICTS,
    ])?;
    Ok(if stored == 0 { ConflictInsertResult::Full } else { ConflictInsertResult::Stored })
}

pub(super) fn list(sqlite: &Connection, id: EventId) -> Result<Vec<EventConflict>, StoreError> {
    let sql = "SELECT kind, received_at, verification, headers, query, body, batch_item FROM event_conflicts \
               WHERE event_id = ?1 ORDER BY id";
    let mut statement = sqlite.prepare_cached(sql)?;
    collect(query(&mut statement, [id.0])?, from_row)
}

/// Makes events of the chosen bodies and deletes the others. `None` if no body has the number.
pub(super) fn resolve(
    transaction: &Transaction<'_>,
    keys: &mut EventKeys,
    id: EventId,
    resolution: ConflictResolution,
    now: Timestamp,
) -> Result<Option<Vec<EventId>>, StoreError> {
    let sql = "SELECT id FROM event_conflicts WHERE event_id = ?1 ORDER BY id";
    let mut statement = transaction.prepare_cached(sql)?;
    let waiting: Vec<i64> = statement.query_map([id.0], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let chosen: &[i64] = match resolution {
        ConflictResolution::KeepFirst => &[],
        ConflictResolution::KeepAll => &waiting,
        ConflictResolution::KeepNumber(number) => {
            let index = number.checked_sub(1);
            let Some(one) = index.and_then(|index| waiting.get(index..=index)) else { return Ok(None) };
            let sql = "UPDATE events SET status = 'processed', due_at = NULL, \
                       last_error = 'another body of this delivery was chosen' \
                       WHERE id = ?1 AND status IN ('pending', 'failed')";
            transaction.prepare_cached(sql)?.execute([id.0])?;
            one
        }
    };
    let made = chosen.iter().map(|conflict| make_event(transaction, keys, *conflict, now));
    let made = made.collect::<Result<Vec<_>, _>>()?;
    transaction.prepare_cached("DELETE FROM event_conflicts WHERE event_id = ?1")?.execute([id.0])?;
    Ok(Some(made))
}

/// Makes an event of a conflicting body. Its keys are added at once: a later event of the same commit moves the mark
/// from which keys are read past this one.
fn make_event(
    transaction: &Transaction<'_>,
    keys: &mut EventKeys,
    conflict: i64,
    now: Timestamp,
) -> Result<EventId, StoreError> {
    let sql = "INSERT INTO events (connection_id, delivery_id, has_delivery_id, dedup_key, digest, kind, account, \
               resource, actor, occurred_at, received_at, headers, query, body, batch_item, status, due_at, \
               signed_digest, signed_dedup_key, verification) \
               SELECT e.connection_id, e.delivery_id, e.has_delivery_id, e.dedup_key, x.digest, x.kind, x.account, \
               x.resource, x.actor, x.occurred_at, x.received_at, x.headers, x.query, x.body, x.batch_item, \
               'pending', ?2, x.signed_digest, NULL, x.verification \
               FROM event_conflicts x JOIN events e ON e.id = x.event_id WHERE x.id = ?1";
    transaction.prepare_cached(sql)?.execute((conflict, now.as_millisecond()))?;
    let id = transaction.last_insert_rowid();
    let sql = "SELECT connection_id, dedup_key, signed_digest FROM events WHERE id = ?1";
    let (connection, key, signed): (i64, i64, Option<[u8; 32]>) = transaction
        .prepare_cached(sql)?
        .query_row([id], |row| Ok((row.get("connection_id")?, row.get("dedup_key")?, row.get("signed_digest")?)))?;
    keys.add(key, id);
    if let Some(signed) = signed {
        let key = event_keys::signed_key(ConnectionId(connection), &signed);
        transaction.prepare_cached("UPDATE events SET signed_dedup_key = ?2 WHERE id = ?1")?.execute((id, key))?;
        keys.add(key, id);
    }
    Ok(EventId(id))
}

fn from_row(row: &Row<'_>) -> Result<EventConflict, StoreError> {
    Ok(EventConflict {
        kind: row.get("kind")?,
        received_at: get_millis(row, "received_at")?,
        verification: get_word(row, "verification")?,
        request: RawRequest {
            headers: get_json(row, "headers")?,
            query: row.get("query")?,
            body: row.get("body")?,
            batch_item: row.get("batch_item")?,
            is_first_of_request: true,
        },
    })
}
