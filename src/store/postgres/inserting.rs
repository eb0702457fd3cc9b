//! Inserts deliveries, and finds which of their events are new.
//!
//! An insertion first locks the workspace's counter of events: what it then reads of other deliveries is all that was
//! committed, by whichever node, and nobody adds to it. Which events are new is hence decided here, in memory, for all of
//! them. Usually all are, and their ids, which they are sealed with, follow the last ones of this process: then everything is
//! sent at once, with the condition that it is so.
//!
//! An event is known by its delivery id, and where the signature does not cover that, by the bytes that were signed as
//! well; see `NewEvent::has_delivery_id`.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Client;

use super::PostgresStore;
use super::conflicts::{self, ConflictInsertion};
use super::events::{BATCH_ITEM, BODY, DETAILS, EventDetails, REQUEST, RequestHead, SIGNED_DIGEST, seal_details};
use super::links;
use super::row::{get, get_word, to_json};
use super::seal::Sealer;
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{
    ConnectionId, EventId, EventInsertResult, EventStatus, EventVerification, InboundDelivery, NewEvent,
};
use crate::store::StoreError;

/// The key of an event in `event_keys`.
pub(super) fn delivery_key(sealer: &Sealer, connection: ConnectionId, delivery_id: &str) -> Vec<u8> {
    sealer.short_hash("deliveries", &[&connection.0.to_be_bytes(), delivery_id.as_bytes()])
}

/// The second key of an event, of what was signed.
pub(super) fn signed_key(sealer: &Sealer, connection: ConnectionId, signed: &[u8; 32]) -> Vec<u8> {
    sealer.short_hash("signed deliveries", &[&connection.0.to_be_bytes(), signed])
}

/// The digest of an event as it is stored; empty for one that was fetched.
pub(super) fn event_digest(sealer: &Sealer, event: &NewEvent) -> Vec<u8> {
    keyed_digest(sealer, event.digest.as_ref().map_or(&[], |digest| digest))
}

/// [`event_digest`] of the digest itself.
pub(super) fn keyed_digest(sealer: &Sealer, digest: &[u8]) -> Vec<u8> {
    if digest.is_empty() { Vec::new() } else { sealer.hash("events", &[digest]) }
}

/// The ids of new events, which nobody else gives out until the transaction ends.
pub(super) struct EventIds {
    last: i64,
    is_changed: bool,
}

impl EventIds {
    /// Locks the counter. The next id is the first one of the server's day, or the one after the last.
    pub(super) async fn lock(transaction: &Transaction) -> Result<Self, StoreError> {
        let sql = "SELECT greatest(value, integ.first_event_of((clock_timestamp() AT TIME ZONE 'UTC')::date)) AS last
                   FROM integ.counters WHERE workspace_id = $1 AND name = 'events' FOR UPDATE";
        let row = transaction.first(sql, &[]).await?;
        let row = row.ok_or_else(|| StoreError::IntegrityCheck("its table `counters` lacks a row".to_owned()))?;
        Ok(Self { last: get(&row, "last")?, is_changed: false })
    }

    /// The ids after `last`, if nobody else has given out any.
    fn after(last: i64) -> Self {
        Self { last, is_changed: false }
    }

    pub(super) fn next(&mut self) -> i64 {
        self.last += 1;
        self.is_changed = true;
        self.last
    }

    /// Stores the last id that was given out.
    pub(super) async fn save(&self, transaction: &Transaction) -> Result<(), StoreError> {
        if !self.is_changed {
            return Ok(());
        }
        let sql = "UPDATE integ.counters SET value = $2 WHERE workspace_id = $1 AND name = 'events'";
        transaction.execute(sql, &[&self.last]).await.map(drop)
    }
}

/// An event that came before.
#[derive(Clone, Debug)]
struct ExistingEvent {
    id: i64,
    /// Keyed; empty for one that was fetched from the vendor's API, whose bytes are not those that are delivered.
    digest: Vec<u8>,
    has_signed_key: bool,
    has_delivery_id: bool,
    verification: EventVerification,
    status: EventStatus,
    /// Whether its content was removed because its time was over.
    is_pruned: bool,
}

impl ExistingEvent {
    /// Whether it is the same event as one with this digest.
    fn is_same(&self, digest: &[u8]) -> bool {
        self.digest.is_empty() || digest.is_empty() || self.digest == digest
    }
}

/// An event that came, with its keys.
struct KeyedEvent<'a> {
    delivery: &'a InboundDelivery,
    event: &'a NewEvent,
    digest: Vec<u8>,
    key: Vec<u8>,
    signed_key: Option<Vec<u8>>,
}

impl<'a> KeyedEvent<'a> {
    fn new(sealer: &Sealer, delivery: &'a InboundDelivery, event: &'a NewEvent) -> Self {
        let signed = event.signed_digest.as_ref();
        Self {
            delivery,
            event,
            digest: event_digest(sealer, event),
            key: delivery_key(sealer, delivery.connection, &event.delivery_id),
            signed_key: signed.map(|signed| signed_key(sealer, delivery.connection, signed)),
        }
    }
}

/// Returns the events of each delivery with their keys.
fn key_all<'a>(sealer: &Sealer, deliveries: &'a [Arc<InboundDelivery>]) -> Vec<Vec<KeyedEvent<'a>>> {
    let of = |delivery: &'a Arc<InboundDelivery>| {
        delivery.events.iter().map(|event| KeyedEvent::new(sealer, delivery, event)).collect()
    };
    deliveries.iter().map(of).collect()
}

/// The events that came before, by their keys.
#[derive(Default)]
struct KnownEvents {
    events: Vec<ExistingEvent>,
    by_key: HashMap<Vec<u8>, Vec<usize>>,
}

impl KnownEvents {
    async fn read(transaction: &Transaction, events: &[Vec<KeyedEvent<'_>>]) -> Result<Self, StoreError> {
        let keys = events.iter().flatten().flat_map(|event| [Some(event.key.clone()), event.signed_key.clone()]);
        let keys: Vec<Vec<u8>> = keys.flatten().collect();
        let mut known = Self::default();
        // Most events are new. To plan a query of the partitions of events takes longer than all the rest of an insertion.
        let sql = "SELECT event_id FROM integ.event_keys
                   WHERE key = ANY($2) AND workspace_id IS NOT DISTINCT FROM $1 LIMIT 1";
        if transaction.first(sql, &[&keys]).await?.is_none() {
            return Ok(known);
        }
        let sql = "SELECT k.key, e.id, e.digest, e.signed_dedup_key IS NOT NULL AS has_signed_key, e.has_delivery_id,
                       e.verification, e.status, e.request IS NULL AS is_pruned
                   FROM integ.event_keys k JOIN integ.events e ON e.workspace_id = $1 AND e.id = k.event_id
                   WHERE k.key = ANY($2) AND k.workspace_id IS NOT DISTINCT FROM $1 ORDER BY e.id";
        for row in transaction.query(sql, &[&keys]).await? {
            let event = ExistingEvent {
                id: get(&row, "id")?,
                digest: get(&row, "digest")?,
                has_signed_key: get(&row, "has_signed_key")?,
                has_delivery_id: get(&row, "has_delivery_id")?,
                verification: get_word(&row, "verification")?,
                status: get_word(&row, "status")?,
                is_pruned: get(&row, "is_pruned")?,
            };
            // An event is found by both of its keys; what is done with it is to be seen by either.
            let index = match known.events.iter().position(|found| found.id == event.id) {
                Some(index) => index,
                None => known.push(event),
            };
            known.by_key.entry(get(&row, "key")?).or_default().push(index);
        }
        Ok(known)
    }

    fn push(&mut self, event: ExistingEvent) -> usize {
        self.events.push(event);
        self.events.len() - 1
    }

    /// Adds an event that is inserted.
    fn add(&mut self, id: i64, new: &KeyedEvent<'_>) {
        let status = if new.delivery.needs_handling { EventStatus::Pending } else { EventStatus::Processed };
        let index = self.push(ExistingEvent {
            id,
            digest: new.digest.clone(),
            has_signed_key: new.signed_key.is_some(),
            has_delivery_id: new.event.has_delivery_id,
            verification: new.delivery.verification,
            status,
            is_pruned: false,
        });
        for key in [Some(&new.key), new.signed_key.as_ref()].into_iter().flatten() {
            self.by_key.entry(key.clone()).or_default().push(index);
        }
    }

    /// Returns the event that this one repeats, or that has the same id.
    fn find(&self, new: &KeyedEvent<'_>) -> Option<usize> {
        // The signed bytes first, for an id that is not signed may be another event's. A request that names no delivery is
        // the same only as one that did.
        let signed = new
            .signed_key
            .as_ref()
            .and_then(|key| self.best(key, &new.digest, |event| new.event.has_delivery_id || event.has_delivery_id));
        let found = signed.or_else(|| self.best(&new.key, &new.digest, |_| true))?;
        let known = &self.events[found];
        // What the vendor did not send takes no id from what it did.
        let is_usable =
            known.verification != EventVerification::Rejected || (!new.digest.is_empty() && known.is_same(&new.digest));
        is_usable.then_some(found)
    }

    /// The one of the events with a key that is this delivery: with the same digest before others, and one that was refused
    /// only where there is no other.
    fn best(&self, key: &[u8], digest: &[u8], accepts: impl Fn(&ExistingEvent) -> bool) -> Option<usize> {
        let rank = |index: &usize| {
            let event = &self.events[*index];
            (event.verification == EventVerification::Rejected, !event.is_same(digest))
        };
        let events = self.by_key.get(key)?.iter().copied();
        events.filter(|index| accepts(&self.events[*index])).min_by_key(rank)
    }
}

/// What is to be written.
#[derive(Default)]
struct InsertPlan<'a> {
    /// New events with their ids, and the first event of the same request for the others.
    new: Vec<(i64, Option<i64>, KeyedEvent<'a>)>,
    /// Events that came unsigned first, with the digest of what was signed and its key.
    signed: Vec<(i64, [u8; 32], Vec<u8>)>,
    requeued: Vec<(i64, Timestamp)>,
    /// Which delivery's which event came under the id of another one.
    conflicts: Vec<(usize, usize, i64)>,
}

/// # Errors
/// [`StoreError::ConnectionNotFound`] if the connection of one of the deliveries was removed.
async fn check_connections(transaction: &Transaction, deliveries: &[Arc<InboundDelivery>]) -> Result<(), StoreError> {
    let connections: Vec<i64> = deliveries.iter().map(|delivery| delivery.connection.0).collect();
    let sql = "SELECT 1 FROM unnest($2::bigint[]) AS new (connection)
               WHERE NOT EXISTS (SELECT 1 FROM integ.connections WHERE workspace_id = $1 AND id = new.connection)";
    let missing = transaction.first(sql, &[&connections]).await?;
    missing.map_or(Ok(()), |_| Err(StoreError::ConnectionNotFound))
}

/// What the next insertion is likely to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prediction {
    /// The last id that was given out.
    pub(super) last: i64,
    /// The number of the key that seals.
    pub(super) key: u16,
}

/// An insertion that is ready to be sent, for what is predicted.
pub(super) struct PredictedInsertion {
    columns: EventColumns,
    expected: Prediction,
    /// What the next one will find.
    pub(super) next: Prediction,
    results: Vec<Vec<EventInsertResult>>,
}

impl PredictedInsertion {
    /// Prepares the insertion of deliveries; `None` if more than new events are to be written, which takes what is stored.
    pub(super) fn prepare(
        sealer: &Sealer,
        deliveries: &[Arc<InboundDelivery>],
        expected: Prediction,
    ) -> Result<Option<Self>, StoreError> {
        let sealer = sealer.sealing_with(expected.key)?;
        let (mut ids, mut known) = (EventIds::after(expected.last), KnownEvents::default());
        let mut plan = InsertPlan::default();
        let results = plan.add_all(key_all(&sealer, deliveries), &mut known, &mut ids);
        if !plan.is_simple() {
            return Ok(None);
        }
        let columns = EventColumns::new(&sealer, &plan.new)?;
        Ok(Some(Self { columns, expected, next: Prediction { last: ids.last, ..expected }, results }))
    }

    /// Inserts the events in one go; `None` if it was not as predicted, and nothing was inserted.
    pub(super) async fn send(
        self,
        store: &PostgresStore,
        client: &Client,
    ) -> Result<Option<Vec<Vec<EventInsertResult>>>, StoreError> {
        let key = i64::from(self.expected.key);
        let first: [Value<'_>; 4] = [&true, &self.expected.last, &self.next.last, &key];
        let row = store.call(client, INSERT, &[&first[..], &self.columns.values()].concat()).await?;
        let now: Option<i64> = get(&row, "now")?;
        if let Some(now) = now {
            store.server_clock.set(now);
        }
        Ok(now.map(|_| self.results))
    }
}

/// Inserts new events; see the function.
const INSERT: &str =
    "SELECT integ.insert_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
    $18, $19, $20, $21, $22) AS now";

/// Inserts deliveries in a transaction, whatever is stored, and returns what the next insertion will find.
pub(super) async fn insert(
    transaction: &Transaction,
    deliveries: &[Arc<InboundDelivery>],
) -> Result<(Vec<Vec<EventInsertResult>>, Prediction), StoreError> {
    let keyed = key_all(&transaction.sealer, deliveries);
    // Sent together, like all that does not depend on an answer: the way to the server and back takes longer than most
    // statements. The second one sees what was committed before the first one got its lock.
    let (ids, checked, known) = tokio::join!(
        biased;
        EventIds::lock(transaction),
        check_connections(transaction, deliveries),
        KnownEvents::read(transaction, &keyed)
    );
    let (mut ids, mut known) = (ids?, known?);
    checked?;
    let (before, key) = (ids.last, transaction.sealer.current());
    let mut plan = InsertPlan::default();
    let mut results = plan.add_all(keyed, &mut known, &mut ids);
    if !plan.new.is_empty() {
        let columns = EventColumns::new(&transaction.sealer, &plan.new)?;
        let key = i64::from(key);
        let first: [Value<'_>; 4] = [&false, &before, &ids.last, &key];
        transaction.query(INSERT, &[&first[..], &columns.values()].concat()).await?;
    }
    plan.follow_links(transaction).await?;
    plan.apply_changes(transaction).await?;
    for (delivery, event, existing) in &plan.conflicts {
        let new = &deliveries[*delivery];
        let stored = conflicts::insert_conflict(transaction, *existing, new, &new.events[*event]).await?;
        if stored == ConflictInsertion::Full {
            results[*delivery][*event] = EventInsertResult::TooManyConflicts(EventId(*existing));
        }
    }
    Ok((results, Prediction { last: ids.last, key }))
}

impl<'a> InsertPlan<'a> {
    /// Decides about the events of all deliveries.
    fn add_all(
        &mut self,
        deliveries: Vec<Vec<KeyedEvent<'a>>>,
        known: &mut KnownEvents,
        ids: &mut EventIds,
    ) -> Vec<Vec<EventInsertResult>> {
        let deliveries = deliveries.into_iter().enumerate();
        deliveries.map(|(number, events)| self.add(number, events, known, ids)).collect()
    }

    /// Whether nothing but new events is to be written.
    fn is_simple(&self) -> bool {
        let has_merged = self.new.iter().any(|(_, _, new)| new.event.merged.is_some());
        !self.new.is_empty()
            && !has_merged
            && self.signed.is_empty()
            && self.requeued.is_empty()
            && self.conflicts.is_empty()
    }

    /// Decides about the events of one delivery.
    fn add(
        &mut self,
        number: usize,
        events: Vec<KeyedEvent<'a>>,
        known: &mut KnownEvents,
        ids: &mut EventIds,
    ) -> Vec<EventInsertResult> {
        let (mut first, mut results) = (None, Vec::with_capacity(events.len()));
        for (index, new) in events.into_iter().enumerate() {
            let result = match known.find(&new) {
                None => {
                    let id = ids.next();
                    known.add(id, &new);
                    self.new.push((id, first, new));
                    first.get_or_insert(id);
                    EventInsertResult::New(EventId(id))
                }
                Some(found) if known.events[found].is_same(&new.digest) => self.repeat(&new, &mut known.events[found]),
                Some(found) if known.events[found].verification == EventVerification::Unconfirmed => {
                    EventInsertResult::Unconfirmed(EventId(known.events[found].id))
                }
                Some(found) => {
                    self.conflicts.push((number, index, known.events[found].id));
                    EventInsertResult::Conflict(EventId(known.events[found].id))
                }
            };
            results.push(result);
        }
        results
    }

    /// Takes an event that came before. Where it is dead, the vendor was asked to send it again, and it is handled again: what
    /// its handlers have done is not repeated, for anyone could repeat a captured request.
    fn repeat(&mut self, new: &KeyedEvent<'_>, known: &mut ExistingEvent) -> EventInsertResult {
        // One that was fetched first, and now comes signed.
        if let (Some(digest), Some(key), false) = (new.event.signed_digest, &new.signed_key, known.has_signed_key) {
            known.has_signed_key = true;
            self.signed.push((known.id, digest, key.clone()));
        }
        let was_given_up = known.status == EventStatus::Dead && known.verification.is_trusted() && !known.is_pruned;
        // The vendor's log lists what it sent; it does not ask for it to be handled again.
        if !was_given_up || !new.delivery.needs_handling || new.digest.is_empty() {
            return EventInsertResult::Duplicate(EventId(known.id));
        }
        known.status = EventStatus::Pending;
        self.requeued.push((known.id, new.delivery.received_at));
        EventInsertResult::Requeued(EventId(known.id))
    }

    async fn follow_links(&self, transaction: &Transaction) -> Result<(), StoreError> {
        for (_, _, new) in &self.new {
            // What is not proved moves no link.
            let is_proved = new.delivery.verification == EventVerification::Verified;
            if let Some(merged) = new.event.merged.as_ref().filter(|_| is_proved) {
                links::follow(transaction, new.delivery.connection, merged, new.delivery.received_at).await?;
            }
        }
        Ok(())
    }

    async fn apply_changes(&self, transaction: &Transaction) -> Result<(), StoreError> {
        for (id, digest, key) in &self.signed {
            let sealed = transaction.sealer.seal(SIGNED_DIGEST, *id, digest)?;
            let sql = "UPDATE integ.events SET signed_dedup_key = $3, signed_digest = $4
                       WHERE workspace_id = $1 AND id = $2";
            transaction.execute(sql, &[id, key, &sealed]).await?;
            let sql = "INSERT INTO integ.event_keys (workspace_id, key, event_id) VALUES ($1, $2, $3)
                       ON CONFLICT (key, workspace_id, event_id) DO NOTHING";
            transaction.execute(sql, &[key, id]).await?;
        }
        for (id, at) in &self.requeued {
            let sql = "UPDATE integ.events SET status = 'pending', attempts = 0, due_at = $3
                       WHERE workspace_id = $1 AND id = $2";
            transaction.execute(sql, &[id, &at.as_millisecond()]).await?;
        }
        Ok(())
    }
}

/// The columns of new events and of their keys.
#[derive(Default)]
struct EventColumns {
    ids: Vec<i64>,
    connections: Vec<i64>,
    details: Vec<Vec<u8>>,
    has_delivery_id: Vec<bool>,
    keys: Vec<Vec<u8>>,
    signed_keys: Vec<Option<Vec<u8>>>,
    signed_digests: Vec<Option<Vec<u8>>>,
    digests: Vec<Vec<u8>>,
    verifications: Vec<&'static str>,
    kinds: Vec<String>,
    occurred_at: Vec<Option<i64>>,
    received_at: Vec<i64>,
    requests: Vec<Vec<u8>>,
    bodies: Vec<Option<Vec<u8>>>,
    firsts: Vec<Option<i64>>,
    batch_items: Vec<Option<Vec<u8>>>,
    statuses: Vec<&'static str>,
}

impl EventColumns {
    fn new(sealer: &Sealer, events: &[(i64, Option<i64>, KeyedEvent<'_>)]) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        for (id, first, event) in events {
            columns.push(sealer, *id, *first, event)?;
        }
        Ok(columns)
    }

    fn push(&mut self, sealer: &Sealer, id: i64, first: Option<i64>, new: &KeyedEvent<'_>) -> Result<(), StoreError> {
        let (delivery, event) = (new.delivery, new.event);
        let head = RequestHead { headers: delivery.headers.clone(), query: delivery.query.clone() };
        let status = if delivery.needs_handling { EventStatus::Pending } else { EventStatus::Processed };
        self.ids.push(id);
        self.connections.push(delivery.connection.0);
        self.details.push(seal_details(sealer, DETAILS, id, &EventDetails::of(event))?);
        self.has_delivery_id.push(event.has_delivery_id);
        self.keys.push(new.key.clone());
        self.signed_keys.push(new.signed_key.clone());
        self.signed_digests.push(sealer.seal_optional(SIGNED_DIGEST, id, event.signed_digest)?);
        self.digests.push(new.digest.clone());
        self.verifications.push(delivery.verification.as_str());
        self.kinds.push(event.kind.clone());
        self.occurred_at.push(event.occurred_at.map(Timestamp::as_millisecond));
        self.received_at.push(delivery.received_at.as_millisecond());
        self.requests.push(sealer.seal(REQUEST, id, to_json(&head)?)?);
        self.bodies.push(sealer.seal_optional(BODY, id, Some(&delivery.body).filter(|_| first.is_none()))?);
        self.firsts.push(first);
        self.batch_items.push(sealer.seal_optional(BATCH_ITEM, id, event.batch_item.as_ref())?);
        self.statuses.push(status.as_str());
        Ok(())
    }

    /// Returns the last values of [`INSERT`].
    fn values(&self) -> [Value<'_>; 17] {
        [
            &self.ids,
            &self.connections,
            &self.details,
            &self.has_delivery_id,
            &self.keys,
            &self.signed_keys,
            &self.digests,
            &self.verifications,
            &self.kinds,
            &self.occurred_at,
            &self.received_at,
            &self.requests,
            &self.bodies,
            &self.firsts,
            &self.batch_items,
            &self.statuses,
            &self.signed_digests,
        ]
    }
}
