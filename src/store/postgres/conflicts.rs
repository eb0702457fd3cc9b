//! Events received under the delivery id of another one with a different body. They wait until `webhook resolve`
//! decides.

use tokio_postgres::Row;

use super::PostgresStore;
use super::events::{
    BATCH_ITEM, BODY, DETAILS, EventDetails, LAST_ERROR, REQUEST, RequestHead, SIGNED_DIGEST, seal_details,
};
use super::inserting::{EventIds, event_digest, signed_key};
use super::row::{SealedRow, from_json, get, get_millis, get_word, to_json};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{ConflictResolution, ConnectionId, EventConflict, EventId, InboundDelivery, NewEvent, RawRequest};
use crate::store::{MalformedValue, StoreError};

/// Bodies that may wait for one event: repeated requests must not fill the disk with them.
const MAX_CONFLICTS: i64 = 8;

const CONFLICT_DETAILS: Column = column("event_conflicts", "details");
const CONFLICT_SIGNED_DIGEST: Column = column("event_conflicts", "signed_digest");
const CONFLICT_REQUEST: Column = column("event_conflicts", "request");
const CONFLICT_BODY: Column = column("event_conflicts", "body");
const CONFLICT_BATCH_ITEM: Column = column("event_conflicts", "batch_item");

/// What became of a body that was to be put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConflictInsertion {
    Stored,
    /// [`MAX_CONFLICTS`] others wait already.
    Full,
}

/// Stores an event that came under the id of another, once.
pub(super) async fn insert_conflict(
    transaction: &Transaction,
    event: i64,
    delivery: &InboundDelivery,
    other: &NewEvent,
) -> Result<ConflictInsertion, StoreError> {
    let digest = event_digest(&transaction.sealer, other);
    let sql = "SELECT 1 FROM integ.event_conflicts WHERE workspace_id = $1 AND event_id = $2 AND digest = $3";
    if transaction.first(sql, &[&event, &digest]).await?.is_some() {
        return Ok(ConflictInsertion::Stored);
    }
    let id = transaction.next_id("event_conflicts").await?;
    let sealer = &transaction.sealer;
    let head = RequestHead { headers: delivery.headers.clone(), query: delivery.query.clone() };
    let sql = "INSERT INTO integ.event_conflicts (workspace_id, id, event_id, received_at, digest, signed_digest,
                   verification, kind, occurred_at, details, request, body, batch_item)
               SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 WHERE (SELECT count(*)
                   FROM integ.event_conflicts WHERE workspace_id = $1 AND event_id = $3) < $14";
    let values: [Value<'_>; 13] = [
        &id,
        &event,
        &delivery.received_at.as_millisecond(),
        &digest,
        &sealer.seal_optional(CONFLICT_SIGNED_DIGEST, id, other.signed_digest)?,
        &delivery.verification.as_str(),
        &other.kind,
        &other.occurred_at.map(Timestamp::as_millisecond),
        &seal_details(sealer, CONFLICT_DETAILS, id, &EventDetails::of(other))?,
        &sealer.seal(CONFLICT_REQUEST, id, to_json(&head)?)?,
        &sealer.seal(CONFLICT_BODY, id, &delivery.body)?,
        &sealer.seal_optional(CONFLICT_BATCH_ITEM, id, other.batch_item.as_ref())?,
        &MAX_CONFLICTS,
    ];
    let stored = transaction.execute(sql, &values).await?;
    Ok(if stored == 0 { ConflictInsertion::Full } else { ConflictInsertion::Stored })
}

impl PostgresStore {
    /// Returns the bodies that wait for an event.
    pub(super) async fn list_conflicts(&self, id: EventId) -> Result<Vec<EventConflict>, StoreError> {
        let sql = "SELECT id, kind, received_at, verification, request, body, batch_item FROM integ.event_conflicts
                   WHERE workspace_id = $1 AND event_id = $2 ORDER BY id";
        let rows = self.rows(sql, &[&id.0]).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }
}

/// Makes events of the chosen bodies and deletes the others. `None` if no body has the number.
pub(super) async fn resolve(
    transaction: &Transaction,
    id: EventId,
    resolution: ConflictResolution,
    now: Timestamp,
) -> Result<Option<Vec<EventId>>, StoreError> {
    // First of all, as inserting does, which may add a conflict meanwhile.
    let mut ids = EventIds::lock(transaction).await?;
    let sql = "SELECT id FROM integ.event_conflicts WHERE workspace_id = $1 AND event_id = $2 ORDER BY id FOR UPDATE";
    let rows = transaction.query(sql, &[&id.0]).await?;
    let waiting = rows.iter().map(|row| get(row, "id")).collect::<Result<Vec<i64>, _>>()?;
    let chosen: &[i64] = match resolution {
        ConflictResolution::KeepFirst => &[],
        ConflictResolution::KeepAll => &waiting,
        ConflictResolution::KeepNumber(number) => {
            let index = number.checked_sub(1);
            let Some(one) = index.and_then(|index| waiting.get(index..=index)) else { return Ok(None) };
            let error = transaction.sealer.seal(LAST_ERROR, id.0, "another body of this delivery was chosen")?;
            let sql = "UPDATE integ.events SET status = 'processed', due_at = NULL, last_error = $3
                       WHERE workspace_id = $1 AND id = $2 AND status IN ('pending', 'failed')";
            transaction.execute(sql, &[&id.0, &error]).await?;
            one
        }
    };
    let mut made = Vec::with_capacity(chosen.len());
    for conflict in chosen {
        let new = ids.next();
        make_event(transaction, *conflict, new, now).await?;
        made.push(EventId(new));
    }
    let sql = "DELETE FROM integ.event_conflicts WHERE workspace_id = $1 AND event_id = $2";
    transaction.execute(sql, &[&id.0]).await?;
    ids.save(transaction).await?;
    Ok(Some(made))
}

/// Makes an event of a conflicting body, which is sealed again for its new place.
async fn make_event(transaction: &Transaction, conflict: i64, new: i64, now: Timestamp) -> Result<(), StoreError> {
    let sql =
        "SELECT e.id AS event_id, e.connection_id, e.details AS event_details, x.details, x.signed_digest, x.request,
                   x.body, x.batch_item
               FROM integ.event_conflicts x JOIN integ.events e ON e.workspace_id = $1 AND e.id = x.event_id
               WHERE x.workspace_id = $1 AND x.id = $2";
    let row = transaction.first(sql, &[&conflict]).await?.ok_or(MalformedValue::Name)?;
    let (sealer, sealed) = (&transaction.sealer, SealedRow::new(&transaction.sealer, &row, conflict));
    let reseal = |from: Column, to: Column| sealer.seal_optional(to, new, sealed.bytes(from)?);
    let connection = ConnectionId(get(&row, "connection_id")?);
    // It came under the id of the event.
    let of_event = sealer.open(DETAILS, get::<i64>(&row, "event_id")?, get(&row, "event_details")?)?;
    let EventDetails { delivery_id, .. } = from_json(&of_event)?;
    let details = EventDetails { delivery_id, ..from_json(&sealed.bytes(CONFLICT_DETAILS)?.unwrap_or_default())? };
    let signed = sealed.bytes(CONFLICT_SIGNED_DIGEST)?.and_then(|digest| digest.try_into().ok());
    let sql = "WITH made AS (INSERT INTO integ.events (workspace_id, id, connection_id, has_delivery_id, dedup_key,
                   signed_dedup_key, digest, verification, kind, occurred_at, received_at, details, request, body,
                   batch_item, status, due_at, signed_digest)
               SELECT $1, $3, e.connection_id, e.has_delivery_id, e.dedup_key, $9, x.digest,
                   x.verification, x.kind, x.occurred_at, x.received_at, $5, $6, $7, $8, 'pending', $4, $10
               FROM integ.event_conflicts x JOIN integ.events e ON e.workspace_id = $1 AND e.id = x.event_id
               WHERE x.workspace_id = $1 AND x.id = $2 RETURNING dedup_key, signed_dedup_key)
               INSERT INTO integ.event_keys (workspace_id, key, event_id)
               SELECT $1, k.key, $3 FROM made, unnest(ARRAY[dedup_key, signed_dedup_key]) AS k (key)
               WHERE k.key IS NOT NULL";
    let values: [Value<'_>; 9] = [
        &conflict,
        &new,
        &now.as_millisecond(),
        &seal_details(sealer, DETAILS, new, &details)?,
        &reseal(CONFLICT_REQUEST, REQUEST)?,
        &reseal(CONFLICT_BODY, BODY)?,
        &reseal(CONFLICT_BATCH_ITEM, BATCH_ITEM)?,
        &signed.as_ref().map(|signed| signed_key(sealer, connection, signed)),
        &reseal(CONFLICT_SIGNED_DIGEST, SIGNED_DIGEST)?,
    ];
    transaction.execute(sql, &values).await.map(drop)
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<EventConflict, StoreError> {
    let sealed = SealedRow::new(sealer, row, get::<i64>(row, "id")?);
    let head: Option<RequestHead> = sealed.json(CONFLICT_REQUEST)?;
    let RequestHead { headers, query } = head.unwrap_or(RequestHead { headers: Vec::new(), query: String::new() });
    Ok(EventConflict {
        kind: get(row, "kind")?,
        received_at: get_millis(row, "received_at")?,
        verification: get_word(row, "verification")?,
        request: RawRequest {
            headers,
            query,
            body: sealed.bytes(CONFLICT_BODY)?.unwrap_or_default(),
            batch_item: sealed.text(CONFLICT_BATCH_ITEM)?,
            is_first_of_request: true,
        },
    })
}
