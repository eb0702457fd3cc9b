//! Inserts deliveries, many in one commit, and finds which of their events are new.
//!
//! Deliveries that arrive during a commit of this process go into the next one. A commit first locks the workspace's
//! counter of events: what it then reads of other deliveries is all that was committed, by whichever node, and nobody
//! adds to it. Which events are new is hence decided here, in memory, for all of them.
//!
//! An event is known by its delivery id, and where the signature does not cover that, by the bytes that were signed as
//! well; see `NewEvent::has_delivery_id`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::PostgresStore;
use super::conflicts::{self, ConflictInsertion};
use super::error::is_missing_reference;
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

/// Deliveries of one commit. More would make the first of them wait for longer than a commit takes.
const MAX_BATCH: usize = 64;

type InsertReply = oneshot::Sender<Result<Vec<EventInsertResult>, StoreError>>;

/// The deliveries of this process that wait for a commit.
#[derive(Default)]
pub(super) struct InsertQueue {
    waiting: Mutex<Vec<(Arc<InboundDelivery>, InsertReply)>>,
    /// Held by the commit that is under way.
    turn: tokio::sync::Mutex<()>,
}

impl InsertQueue {
    fn push(&self, delivery: Arc<InboundDelivery>, reply: InsertReply) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((delivery, reply));
    }

    fn take(&self) -> Vec<(Arc<InboundDelivery>, InsertReply)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(MAX_BATCH);
        waiting.drain(..count).collect()
    }
}

impl PostgresStore {
    /// Stores the events of one request.
    pub(super) async fn insert_delivery(
        &self,
        delivery: Arc<InboundDelivery>,
    ) -> Result<Vec<EventInsertResult>, StoreError> {
        let (reply, result) = oneshot::channel();
        self.inserts.push(delivery, reply);
        let store = self.clone();
        // Apart from the caller, who may leave: others wait for the same commit.
        tokio::spawn(async move { store.commit_waiting().await });
        result.await.map_err(|_| StoreError::Closed)?
    }

    /// Commits deliveries that wait, if others have not.
    async fn commit_waiting(&self) {
        let _turn = self.inserts.turn.lock().await;
        let (deliveries, replies): (Vec<_>, Vec<_>) = self.inserts.take().into_iter().unzip();
        if deliveries.is_empty() {
            return;
        }
        match self.commit_deliveries(&deliveries).await {
            Ok(results) => {
                for (reply, result) in replies.into_iter().zip(results) {
                    // A caller that has left is not notified; its events stay.
                    let _ = reply.send(Ok(result));
                }
            }
            // One that fails takes no other with it.
            Err(error) => {
                let is_alone = deliveries.len() == 1;
                let mut error = Some(error);
                for (delivery, reply) in deliveries.iter().zip(replies) {
                    let result = match error.take() {
                        Some(error) if is_alone => Err(error),
                        _ => self.commit_deliveries(std::slice::from_ref(delivery)).await,
                    };
                    let _ = reply.send(result.map(|mut results| results.pop().unwrap_or_default()));
                }
            }
        }
    }

    async fn commit_deliveries(
        &self,
        deliveries: &[Arc<InboundDelivery>],
    ) -> Result<Vec<Vec<EventInsertResult>>, StoreError> {
        let transaction = self.begin().await?;
        let inserted = insert(&transaction, deliveries).await;
        if inserted.as_ref().is_err_and(is_missing_reference) {
            return Err(StoreError::ConnectionNotFound);
        }
        let results = inserted?;
        transaction.commit().await?;
        Ok(results)
    }
}

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

/// The events that came before, by their keys.
struct KnownEvents {
    events: Vec<ExistingEvent>,
    by_key: HashMap<Vec<u8>, Vec<usize>>,
}

impl KnownEvents {
    async fn read(transaction: &Transaction, events: &[Vec<KeyedEvent<'_>>]) -> Result<Self, StoreError> {
        let keys = events.iter().flatten().flat_map(|event| [Some(event.key.clone()), event.signed_key.clone()]);
        let keys: Vec<Vec<u8>> = keys.flatten().collect();
        let mut known = Self { events: Vec::new(), by_key: HashMap::new() };
        // Most events are new. To plan a query of the partitions of events takes longer than all the rest of an insertion.
        let sql = "SELECT event_id FROM integ.event_keys WHERE workspace_id = $1 AND key = ANY($2) LIMIT 1";
        if transaction.first(sql, &[&keys]).await?.is_none() {
            return Ok(known);
        }
        let sql = "SELECT k.key, e.id, e.digest, e.signed_dedup_key IS NOT NULL AS has_signed_key, e.has_delivery_id,
                       e.verification, e.status, e.request IS NULL AS is_pruned
                   FROM integ.event_keys k JOIN integ.events e ON e.workspace_id = $1 AND e.id = k.event_id
                   WHERE k.workspace_id = $1 AND k.key = ANY($2) ORDER BY e.id";
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
    signed: Vec<(i64, ConnectionId, [u8; 32], Vec<u8>)>,
    requeued: Vec<(i64, Timestamp)>,
    /// Which delivery's which event came under the id of another one.
    conflicts: Vec<(usize, usize, i64)>,
}

async fn insert(
    transaction: &Transaction,
    deliveries: &[Arc<InboundDelivery>],
) -> Result<Vec<Vec<EventInsertResult>>, StoreError> {
    let keyed: Vec<Vec<KeyedEvent<'_>>> = deliveries
        .iter()
        .map(|delivery| {
            delivery.events.iter().map(|event| KeyedEvent::new(&transaction.sealer, delivery, event)).collect()
        })
        .collect();
    // Sent together, like all that does not depend on an answer: the way to the server and back takes longer than most
    // statements. The second one sees what was committed before the first one got its lock.
    let (ids, known) = tokio::join!(biased; EventIds::lock(transaction), KnownEvents::read(transaction, &keyed));
    let (mut ids, mut known) = (ids?, known?);
    let mut plan = InsertPlan::default();
    let mut results: Vec<Vec<EventInsertResult>> = Vec::with_capacity(deliveries.len());
    for (number, events) in keyed.into_iter().enumerate() {
        results.push(plan.add(number, events, &mut known, &mut ids));
    }
    let (inserted, saved) = tokio::join!(biased; plan.insert_new(transaction), ids.save(transaction));
    // After the first failure the others fail for that alone.
    inserted?;
    saved?;
    plan.apply_changes(transaction).await?;
    for (delivery, event, existing) in &plan.conflicts {
        let new = &deliveries[*delivery];
        let stored = conflicts::insert_conflict(transaction, *existing, new, &new.events[*event]).await?;
        if stored == ConflictInsertion::Full {
            results[*delivery][*event] = EventInsertResult::TooManyConflicts(EventId(*existing));
        }
    }
    Ok(results)
}

impl<'a> InsertPlan<'a> {
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
            self.signed.push((known.id, new.delivery.connection, digest, key.clone()));
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

    /// Inserts the new events with their keys, in two statements.
    async fn insert_new(&self, transaction: &Transaction) -> Result<(), StoreError> {
        if self.new.is_empty() {
            return Ok(());
        }
        let mut columns = EventColumns::default();
        for (id, first, new) in &self.new {
            columns.push(&transaction.sealer, *id, *first, new)?;
        }
        columns.insert(transaction).await?;
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
        for (id, connection, digest, key) in &self.signed {
            let sealed = transaction.sealer.seal(SIGNED_DIGEST, *id, digest)?;
            let sql = "UPDATE integ.events SET signed_dedup_key = $3, signed_digest = $4
                       WHERE workspace_id = $1 AND id = $2";
            transaction.execute(sql, &[id, key, &sealed]).await?;
            let sql =
                "INSERT INTO integ.event_keys (workspace_id, key, event_id, connection_id) VALUES ($1, $2, $3, $4)
                       ON CONFLICT (workspace_id, key, event_id) DO NOTHING";
            transaction.execute(sql, &[key, id, &connection.0]).await?;
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

    async fn insert(&self, transaction: &Transaction) -> Result<(), StoreError> {
        let events_sql = "INSERT INTO integ.events (workspace_id, id, connection_id, details, has_delivery_id, dedup_key,
                       signed_dedup_key, digest, verification, kind, occurred_at, received_at, request, body,
                       batch_event_id, batch_item, status, signed_digest)
                   SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::boolean[], $6::bytea[], $7::bytea[],
                       $8::bytea[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bytea[], $14::bytea[],
                       $15::bigint[], $16::bytea[], $17::text[], $18::bytea[])";
        let events: [Value<'_>; 17] = [
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
        ];
        let keys_sql = "INSERT INTO integ.event_keys (workspace_id, key, event_id, connection_id)
                   SELECT $1, k.key, e.id, e.connection FROM unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])
                       AS e (id, connection, key, signed_key), unnest(ARRAY[e.key, e.signed_key]) AS k (key)
                   WHERE k.key IS NOT NULL";
        let keys: [Value<'_>; 4] = [&self.ids, &self.connections, &self.keys, &self.signed_keys];
        let (events, keys) =
            tokio::join!(biased; transaction.execute(events_sql, &events), transaction.execute(keys_sql, &keys));
        events?;
        keys.map(drop)
    }
}
