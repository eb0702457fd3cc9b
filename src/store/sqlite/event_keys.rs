//! Index of the delivery IDs seen so far, used to drop duplicates.
//!
//! Keys are hashes, so that each belongs on another page of an index, and an index that is kept up with every event costs
//! a page for each. The keys of the newest events are therefore held in memory, and go into the table `event_dedup_keys` many
//! at a time, in its order.
//!
//! Invariants:
//! - The keys of events up to `meta.dedup_indexed_to` are in the table, those of later ones in the events themselves, from which
//!   every process reads them. Inside a write both together are hence all keys that were committed, by whichever process,
//!   even if it was killed since; what a transaction adds itself is dropped if it fails.
//! - A write that makes an event calls [`WriteContext::event_keys`] first and adds the event's keys. What it made would
//!   otherwise be taken for committed by the next write of the same commit.
//!
//! [`WriteContext::event_keys`]: super::writer::WriteContext::event_keys

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction};

use super::StoreError;
use crate::hash;
use crate::model::ConnectionId;

/// Keys that are put into the table together. Where it holds millions, several of them share each of its pages; in
/// memory they are 2 MiB.
const FLUSH_SIZE: usize = 65_536;

/// The keys that are not in the table, as far as this process has read them.
#[derive(Debug)]
pub(super) struct EventKeys {
    /// Keys, each with the id of its event.
    newest: BTreeSet<(i64, i64)>,
    /// `meta.dedup_indexed_to`, when it was last read.
    indexed_to: i64,
    /// The last committed event with a known key, and the last one added since.
    committed: i64,
    added: i64,
    /// How many are too many.
    limit: usize,
}

impl Default for EventKeys {
    fn default() -> Self {
        Self { newest: BTreeSet::new(), indexed_to: 0, committed: 0, added: 0, limit: FLUSH_SIZE }
    }
}

impl EventKeys {
    /// Reads what other processes have committed. Comes first in every transaction that asks or adds.
    pub(super) fn catch_up(&mut self, transaction: &Connection) -> Result<(), StoreError> {
        let indexed_to =
            transaction.prepare_cached("SELECT dedup_indexed_to FROM meta")?.query_row([], |row| row.get(0))?;
        if self.indexed_to != indexed_to {
            self.newest.retain(|(_, event)| *event > indexed_to);
            self.indexed_to = indexed_to;
            self.committed = self.committed.max(indexed_to);
        }
        let mut statement = transaction
            .prepare_cached("SELECT dedup_key, signed_dedup_key, id FROM events WHERE id > ?1 ORDER BY id")?;
        let mut rows = statement.query([self.committed])?;
        while let Some(row) = rows.next()? {
            let (key, event) = (row.get("dedup_key")?, row.get("id")?);
            let signed: Option<i64> = row.get("signed_dedup_key")?;
            self.newest.insert((key, event));
            self.newest.extend(signed.map(|key| (key, event)));
            self.committed = event;
        }
        self.added = self.committed;
        Ok(())
    }

    /// The events that may be the one with this key: two can share it, and one may be gone.
    pub(super) fn find(&self, connection: &Connection, key: i64) -> Result<Vec<i64>, StoreError> {
        let mut statement = connection.prepare_cached("SELECT event_id FROM event_dedup_keys WHERE key = ?1")?;
        let mut found = statement.query_map([key], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
        found.extend(self.newest.range((key, i64::MIN)..=(key, i64::MAX)).map(|(_, event)| *event));
        Ok(found)
    }

    /// Adds the key of an event that this transaction has made.
    pub(super) fn add(&mut self, key: i64, event: i64) {
        self.newest.insert((key, event));
        self.added = event;
    }

    pub(super) fn committed(&mut self) {
        self.committed = self.added;
    }

    pub(super) fn rolled_back(&mut self) {
        let committed = self.committed;
        self.newest.retain(|(_, event)| *event <= committed);
        // The next commit may add no event, and does not read what others have added.
        self.added = committed;
    }

    pub(super) fn are_many(&self) -> bool {
        self.newest.len() >= self.limit
    }

    /// Puts all of them into the table, unless others were added since [`Self::catch_up`].
    pub(super) fn put(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let mut statement =
            transaction.prepare_cached("INSERT OR IGNORE INTO event_dedup_keys (key, event_id) VALUES (?1, ?2)")?;
        for pair in &self.newest {
            statement.execute(*pair)?;
        }
        transaction.prepare_cached("UPDATE meta SET dedup_indexed_to = ?1")?.execute([self.committed])?;
        Ok(())
    }

    /// Where they could not be put, they are tried again once there are twice as many.
    pub(super) fn put_ended(&mut self, was_put: bool) {
        if was_put {
            let committed = self.committed;
            *self = Self { indexed_to: committed, committed, added: committed, ..Self::default() };
        } else {
            self.limit = self.newest.len() * 2;
        }
    }
}

/// Returns the committed events that may be the one with this key, for a reader.
///
/// There is no index on the keys of the events that are not in the table, so this reads up to [`FLUSH_SIZE`] rows. Keys
/// held in memory for readers as well would be faster, but only `webhook backfill --dry-run` asks this way: what inserts
/// events asks the writer's [`EventKeys`].
pub(super) fn find_committed(sqlite: &Connection, key: i64) -> Result<Vec<i64>, StoreError> {
    // One statement, so that no key can move into the table between two looks. `UNION` drops an id that is in both:
    // `put_now` adds keys of events whose other keys are not in the table yet.
    let sql = "SELECT event_id FROM event_dedup_keys WHERE key = ?1 UNION \
               SELECT id FROM events WHERE id > (SELECT dedup_indexed_to FROM meta) AND dedup_key = ?1";
    let mut statement = sqlite.prepare_cached(sql)?;
    let ids = statement.query_map([key], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Puts a further key of an event into the table, whether or not its other keys are there already.
pub(super) fn put_now(transaction: &Transaction<'_>, key: i64, event: i64) -> Result<(), StoreError> {
    let mut statement =
        transaction.prepare_cached("INSERT OR IGNORE INTO event_dedup_keys (key, event_id) VALUES (?1, ?2)")?;
    statement.execute((key, event))?;
    Ok(())
}

/// The second key of an event, of what was signed.
pub(super) fn signed_key(connection: ConnectionId, signed: &[u8; 32]) -> i64 {
    first_8_bytes(&hash::sha256_of_parts(&[b"signed", &connection.0.to_be_bytes(), signed]))
}

/// What an event is found by; two that share it are distinguished by what they are made of.
pub(super) fn key(connection: ConnectionId, delivery_id: &str) -> i64 {
    first_8_bytes(&hash::sha256_of_parts(&[&connection.0.to_be_bytes(), delivery_id.as_bytes()]))
}

/// Big-endian.
fn first_8_bytes(digest: &[u8; 32]) -> i64 {
    digest.iter().take(8).fold(0, |key, byte| key << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;
    use crate::clock::{self, Timestamp};
    use crate::model::{
        AttemptResult, ConflictResolution, EventId, EventInsertResult, EventStatus, EventVerification, InboundDelivery,
        NewEvent, PruneRequest,
    };
    use crate::store::{LockKey, LostWritesPolicy, SqliteStore, Store, StoreKey};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn delivery(connection: ConnectionId, id: u64) -> InboundDelivery {
        let event = NewEvent {
            delivery_id: format!("evt_{id}"),
            has_delivery_id: true,
            digest: Some([7; 32]),
            signed_digest: None,
            kind: "push".to_owned(),
            account: None,
            resource: None,
            actor: None,
            occurred_at: None,
            batch_item: None,
            merged: None,
        };
        InboundDelivery {
            connection,
            received_at: NOW,
            headers: vec![("a".to_owned(), "b".to_owned())],
            query: String::new(),
            body: b"{}".to_vec(),
            events: vec![event],
            verification: EventVerification::Verified,
            needs_handling: false,
        }
    }

    /// A store that several processes have open.
    struct Fixture {
        folder: TempDir,
        key: StoreKey,
        stores: Vec<SqliteStore>,
        connection: ConnectionId,
    }

    impl Fixture {
        /// Each process puts its keys into the table once there are `limit` of them.
        async fn new(processes: usize, limit: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut fixture = Self { folder, key: StoreKey::random(), stores: Vec::new(), connection: ConnectionId(0) };
            SqliteStore::create(&fixture.path(), &fixture.key, NOW).unwrap();
            for _ in 0..processes {
                let store = fixture.open();
                let set_limit = store.write_with_keys(move |context| {
                    context.event_keys()?.limit = limit;
                    Ok(())
                });
                set_limit.await.unwrap();
                fixture.stores.push(store);
            }
            let sql = "INSERT INTO connections (connector, mode, auth, params, metadata, scopes_requested, grant_status, connected_at) \
                       VALUES ('github', 'sandbox', 'none', '{}', '{}', '[]', 'active', 0)";
            let id = fixture.stores[0].write(move |transaction| {
                transaction.execute(sql, [])?;
                Ok(ConnectionId(transaction.last_insert_rowid()))
            });
            fixture.connection = id.await.unwrap();
            fixture
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("vault.db")
        }

        fn open(&self) -> SqliteStore {
            SqliteStore::open(&self.path(), &self.key, LostWritesPolicy::Refuse).unwrap()
        }
    }

    /// Inserts a delivery of one event.
    async fn insert(store: &SqliteStore, delivery: InboundDelivery) -> EventInsertResult {
        let results = store.events().insert(Arc::new(delivery)).await.unwrap();
        assert_eq!(results.len(), 1);
        results[0]
    }

    async fn count(store: &SqliteStore, table: &str) -> usize {
        let sql = format!("SELECT count(*) FROM {table}");
        store.read(move |sqlite| Ok(sqlite.query_row(&sql, [], |row| row.get(0))?)).await.unwrap()
    }

    #[tokio::test]
    async fn every_process_knows_an_event_that_one_took() {
        let mut fixture = Fixture::new(3, 16).await;
        let connection = fixture.connection;
        let mut known = BTreeMap::new();
        for round in 0..3000 {
            let [store, low, high] = clock::random::<3>();
            let (store, id) = (usize::from(store % 3), u64::from(u16::from_be_bytes([high, low]) % 700));
            let taken = insert(&fixture.stores[store], delivery(connection, id)).await;
            match known.get(&id) {
                Some(event) => assert_eq!(taken, EventInsertResult::Duplicate(*event), "round {round}, event {id}"),
                None => assert_eq!(taken, EventInsertResult::New(taken.id()), "round {round}, event {id}"),
            }
            known.insert(id, taken.id());
            if round % 500 == 499 {
                // One is killed and restarts; what it held in memory is lost.
                fixture.stores[store] = fixture.open();
            }
        }
        for (store, (id, event)) in fixture.stores.iter().cycle().zip(&known) {
            assert_eq!(store.events().find(connection, &format!("evt_{id}")).await.unwrap(), Some(*event));
        }
        assert_eq!(fixture.stores[0].events().find(connection, "evt_700").await.unwrap(), None);
        let keys = count(&fixture.stores[0], "event_dedup_keys").await;
        let events = count(&fixture.stores[0], "events").await;
        assert!(keys > 0 && keys <= events && events == known.len(), "{keys} keys, {events} events");
    }

    fn signed(connection: ConnectionId, id: u64, signed: u8, body: u8) -> InboundDelivery {
        let mut delivery = delivery(connection, id);
        delivery.events[0].signed_digest = Some([signed; 32]);
        delivery.events[0].digest = Some([body; 32]);
        delivery
    }

    #[tokio::test]
    async fn the_same_signed_bytes_are_one_event_under_any_id() {
        let fixture = Fixture::new(2, 8).await;
        let (stores, connection) = (&fixture.stores, fixture.connection);
        let take = async |store: usize, delivery: InboundDelivery| insert(&stores[store], delivery).await;
        let first = take(0, signed(connection, 1, 1, 1)).await;
        assert_eq!(first, EventInsertResult::New(first.id()));
        for id in 2..40 {
            // Keys go into the table meanwhile, and the other process reads them there.
            let store = usize::from(id % 2 == 0);
            assert_eq!(
                take(store, signed(connection, id, 1, 1)).await,
                EventInsertResult::Duplicate(first.id()),
                "{id}"
            );
            take(store, delivery(connection, 1000 + id)).await;
        }
        assert_eq!(
            take(1, signed(connection, 50, 1, 2)).await,
            EventInsertResult::Conflict(first.id()),
            "another body is no event"
        );
        // One that was fetched, and then came signed.
        let mut fetched = delivery(connection, 60);
        fetched.events[0].digest = None;
        let known = take(0, fetched).await;
        assert_eq!(take(1, signed(connection, 60, 6, 6)).await, EventInsertResult::Duplicate(known.id()));
        assert_eq!(take(0, signed(connection, 61, 6, 6)).await, EventInsertResult::Duplicate(known.id()));
    }

    #[tokio::test]
    async fn an_event_that_was_not_the_vendors_takes_no_id_from_one_that_is() {
        let fixture = Fixture::new(1, 8).await;
        let (stores, connection) = (&fixture.stores, fixture.connection);
        let events = stores[0].events();
        let asking = |id: u64, body: u8| InboundDelivery {
            verification: EventVerification::Unconfirmed,
            ..signed(connection, id, body, body)
        };
        let take = async |delivery: InboundDelivery| insert(&stores[0], delivery).await;
        let forged = take(asking(1, 1)).await;
        assert_eq!(events.unconfirmed(connection, 10).await.unwrap(), [forged.id()]);
        assert_eq!(take(asking(1, 2)).await, EventInsertResult::Unconfirmed(forged.id()), "to be sent again");
        events.set_verification(forged.id(), EventVerification::Rejected, Some("no")).await.unwrap();
        let genuine = take(asking(1, 2)).await;
        assert_eq!(genuine, EventInsertResult::New(genuine.id()));
        events.set_verification(genuine.id(), EventVerification::Verified, None).await.unwrap();
        assert_eq!(take(asking(1, 2)).await, EventInsertResult::Duplicate(genuine.id()));
        assert_eq!(
            take(asking(1, 1)).await,
            EventInsertResult::Duplicate(forged.id()),
            "what was refused is asked about no more"
        );
        let event = events.get(forged.id()).await.unwrap();
        assert_eq!(event.map(|event| (event.status.as_str(), event.verification.as_str())), Some(("dead", "rejected")));
    }

    #[tokio::test]
    async fn bodies_kept_aside_are_few_and_differ_and_none_is_lost() {
        let fixture = Fixture::new(1, 8).await;
        let (stores, connection) = (&fixture.stores, fixture.connection);
        let events = stores[0].events();
        let first = insert(&stores[0], signed(connection, 1, 1, 1)).await.id();
        let take = async |body: u8| {
            insert(&stores[0], InboundDelivery { body: vec![body], ..signed(connection, 1, 1, body) }).await
        };
        for body in [2, 2, 3, 4, 5, 6, 7, 8, 9, 3] {
            assert_eq!(take(body).await, EventInsertResult::Conflict(first));
        }
        assert_eq!(take(10).await, EventInsertResult::TooManyConflicts(first), "it is to be sent again");
        assert_eq!(events.conflicts(first).await.unwrap().len(), 8);
        assert_eq!(
            events.resolve_conflict(first, ConflictResolution::KeepNumber(9), NOW).await.unwrap(),
            None,
            "there is no such body"
        );
        let made = events.resolve_conflict(first, ConflictResolution::KeepNumber(2), NOW).await.unwrap().unwrap();
        assert_eq!(events.raw_request(made[0]).await.unwrap().unwrap().body, [3]);
        assert_eq!(
            events.get(first).await.unwrap().unwrap().status,
            EventStatus::Processed,
            "it is not handled any more"
        );
        assert_eq!(take(3).await, EventInsertResult::Duplicate(made[0]), "each body is known");
        assert_eq!(take(1).await, EventInsertResult::Duplicate(first));
        assert_eq!(take(11).await, EventInsertResult::Conflict(first));
        let made = events.resolve_conflict(first, ConflictResolution::KeepAll, NOW).await.unwrap().unwrap();
        assert_eq!((made.len(), take(11).await), (1, EventInsertResult::Duplicate(made[0])));
        take(12).await;
        assert_eq!(events.resolve_conflict(first, ConflictResolution::KeepFirst, NOW).await.unwrap(), Some(Vec::new()));
        assert!(events.conflicts(first).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn equal_signed_bytes_that_name_no_delivery_are_events_of_their_own() {
        let fixture = Fixture::new(1, 8).await;
        let (stores, connection) = (&fixture.stores, fixture.connection);
        let unnamed = |id: u64| {
            let mut delivery = signed(connection, id, 1, 1);
            delivery.events[0].has_delivery_id = false;
            delivery
        };
        let take = async |delivery: InboundDelivery| insert(&stores[0], delivery).await;
        let (first, second) = (take(unnamed(1)).await, take(unnamed(2)).await);
        assert_eq!((first, second), (EventInsertResult::New(first.id()), EventInsertResult::New(second.id())));
        assert!(
            matches!(take(signed(connection, 3, 1, 1)).await, EventInsertResult::Duplicate(_)),
            "an id that was added makes no event"
        );
        // One that named its delivery is known, also without that.
        let named = take(signed(connection, 4, 2, 1)).await;
        let mut stripped = unnamed(5);
        stripped.events[0].signed_digest = Some([2; 32]);
        assert_eq!(take(stripped).await, EventInsertResult::Duplicate(named.id()));
    }

    #[tokio::test]
    async fn a_dead_event_that_is_sent_again_begins_again() {
        let fixture = Fixture::new(1, 8).await;
        let (stores, connection) = (&fixture.stores, fixture.connection);
        let events = stores[0].events();
        let sent = || InboundDelivery { needs_handling: true, ..signed(connection, 1, 1, 1) };
        let take = async |delivery: InboundDelivery| insert(&stores[0], delivery).await;
        let id = take(sent()).await.id();
        assert_eq!(take(sent()).await, EventInsertResult::Duplicate(id), "it still waits");
        let attempt = AttemptResult {
            id,
            status: EventStatus::Dead,
            due_at: None,
            error: Some("no".to_owned()),
            completed_handlers: 1,
            runs: Vec::new(),
        };
        let lease = stores[0].locks().try_acquire(LockKey::Events(connection), NOW).await.unwrap().unwrap();
        events.record_attempts(&[attempt], lease.fence).await.unwrap();
        assert_eq!(
            take(InboundDelivery { needs_handling: false, ..sent() }).await,
            EventInsertResult::Duplicate(id),
            "nobody handles it"
        );
        assert_eq!(take(sent()).await, EventInsertResult::Requeued(id));
        let waiting = events.queued(connection, 10).await.unwrap();
        assert_eq!((waiting[0].attempts, waiting[0].completed_handlers), (0, 1), "what was done is not done again");
    }

    #[tokio::test]
    async fn what_was_not_committed_is_not_known() {
        let fixture = Fixture::new(1, 16).await;
        let (store, connection) = (&fixture.stores[0], fixture.connection);
        let insert = |delivery: InboundDelivery| store.events().insert(Arc::new(delivery));
        // They wait for one commit, which fails for the second of them.
        let (first, nobody, second, again) = tokio::join!(
            insert(delivery(connection, 1)),
            insert(delivery(ConnectionId(99), 2)),
            insert(delivery(connection, 2)),
            insert(delivery(connection, 1)),
        );
        assert!(nobody.is_err());
        let (first, second, again) = (first.unwrap()[0], second.unwrap()[0], again.unwrap()[0]);
        assert_eq!(
            [first, second, again],
            [
                EventInsertResult::New(first.id()),
                EventInsertResult::New(second.id()),
                EventInsertResult::Duplicate(first.id())
            ]
        );
        assert_eq!(count(store, "events").await, 2);
    }

    #[tokio::test]
    async fn a_commit_without_events_after_a_failed_one_skips_no_key() {
        let fixture = Fixture::new(2, 16).await;
        let (ours, theirs, connection) = (&fixture.stores[0], &fixture.stores[1], fixture.connection);
        let failed = ours.write_with_keys(move |context| {
            let transaction = context.transaction;
            super::super::insert_events::insert(transaction, context.event_keys()?, &delivery(connection, 1))?;
            Err::<(), _>(StoreError::Closed)
        });
        assert!(failed.await.is_err());
        ours.ensure_writable().await.unwrap();
        let event = insert(theirs, delivery(connection, 2)).await;
        assert_eq!(insert(ours, delivery(connection, 2)).await, EventInsertResult::Duplicate(event.id()));
        assert_eq!(insert(ours, delivery(connection, 1)).await, EventInsertResult::New(EventId(event.id().0 + 1)));
    }

    #[tokio::test]
    async fn the_chosen_body_is_known_to_what_is_committed_with_it() {
        let fixture = Fixture::new(2, 16).await;
        let (store, connection) = (&fixture.stores[0], fixture.connection);
        let event = insert(store, signed(connection, 1, 1, 1)).await.id();
        assert_eq!(insert(store, signed(connection, 1, 2, 2)).await, EventInsertResult::Conflict(event));
        let insert = |delivery: InboundDelivery| store.events().insert(Arc::new(delivery));
        let (made, other, again) = tokio::join!(
            store.events().resolve_conflict(event, ConflictResolution::KeepAll, NOW),
            insert(delivery(connection, 2)),
            insert(signed(connection, 3, 2, 2)),
        );
        let made = made.unwrap().unwrap();
        assert!(matches!(other.unwrap()[..], [EventInsertResult::New(_)]));
        assert_eq!(again.unwrap(), [EventInsertResult::Duplicate(made[0])], "by its signed bytes");
        assert_eq!(insert(signed(connection, 4, 2, 2)).await.unwrap(), [EventInsertResult::Duplicate(made[0])]);
    }

    #[tokio::test]
    async fn what_is_removed_is_new_again_and_leaves_no_key() {
        let fixture = Fixture::new(1, 2).await;
        let (store, connection) = (&fixture.stores[0], fixture.connection);
        for id in 1..=3 {
            insert(store, delivery(connection, id)).await;
        }
        assert_eq!(count(store, "event_dedup_keys").await, 2, "the third is in memory");
        let before = Timestamp::from_second(1).unwrap();
        let request = PruneRequest { connection, before, keeps_ids: false, include_dead: false };
        assert_eq!(store.events().prune(&request, 10).await.unwrap(), 3);
        assert_eq!(count(store, "event_dedup_keys").await, 0);
        for id in 1..=3 {
            let result = insert(store, delivery(connection, id)).await;
            assert!(matches!(result, EventInsertResult::New(_)), "{result:?}");
        }
    }
}
