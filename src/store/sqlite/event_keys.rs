//! The index of the events received so far, by which a repeated one is recognised.
//!
//! Keys are hashes, so that each falls on another page of an index: an index that is updated with every event writes a
//! page for each. The keys of the newest events are therefore held in memory and added to the table `event_dedup_keys`
//! many at a time, in its order.
//!
//! Invariant: the keys of events up to `meta.dedup_indexed_to` are in the table; those of later events are in the
//! events themselves, from which every process reads them. Inside a write the two are all keys that were committed,
//! even if the process that wrote them was killed. The keys that a transaction added are dropped if it fails.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction};
use sha2::{Digest, Sha256};

use super::StoreError;
use crate::model::connection::ConnectionId;

/// Keys that are added to the table together: 2 MiB in memory, and enough that several share a page of a table of
/// millions.
const FLUSH_SIZE: usize = 65_536;

/// The keys that are not in the table, as far as this process has read them.
#[derive(Debug)]
pub(super) struct EventKeys {
    /// Keys, each with the id of its event.
    newest: BTreeSet<(i64, i64)>,
    /// `meta.dedup_indexed_to`, when it was last read.
    indexed_to: i64,
    /// The last event that was committed and whose key is known, and the last one added since.
    committed: i64,
    added: i64,
    /// The number of keys at which they are added to the table.
    limit: usize,
}

impl Default for EventKeys {
    fn default() -> Self {
        Self { newest: BTreeSet::new(), indexed_to: 0, committed: 0, added: 0, limit: FLUSH_SIZE }
    }
}

impl EventKeys {
    /// Reads what other processes have committed. The first step of every transaction that looks keys up or adds them.
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

    /// The events that may be the one with this key: two can share a key, and an event may have been deleted.
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
    }

    pub(super) fn are_many(&self) -> bool {
        self.newest.len() >= self.limit
    }

    /// Adds all keys to the table. [`Self::catch_up`] must have run in the same transaction.
    pub(super) fn put(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let mut statement =
            transaction.prepare_cached("INSERT OR IGNORE INTO event_dedup_keys (key, event_id) VALUES (?1, ?2)")?;
        for pair in &self.newest {
            statement.execute(*pair)?;
        }
        transaction.prepare_cached("UPDATE meta SET dedup_indexed_to = ?1")?.execute([self.committed])?;
        Ok(())
    }

    /// After a failure they are tried again once there are twice as many.
    pub(super) fn put_ended(&mut self, was_put: bool) {
        if was_put {
            *self = Self { indexed_to: self.committed, committed: self.committed, ..Self::default() };
        } else {
            self.limit = self.newest.len() * 2;
        }
    }
}

/// Adds another key of an event to the table, whether or not its other keys are there already.
pub(super) fn put_now(transaction: &Transaction<'_>, key: i64, event: i64) -> Result<(), StoreError> {
    let mut statement =
        transaction.prepare_cached("INSERT OR IGNORE INTO event_dedup_keys (key, event_id) VALUES (?1, ?2)")?;
    statement.execute((key, event))?;
    Ok(())
}

/// The second key of an event, of what was signed.
pub(super) fn signed_key(connection: ConnectionId, signed: &[u8; 32]) -> i64 {
    let hash = Sha256::new().chain_update(b"signed").chain_update(connection.0.to_be_bytes()).chain_update(signed);
    hash.finalize().iter().take(8).fold(0, |key, byte| key << 8 | i64::from(*byte))
}

/// The key of an event, of its delivery id. Two events may share it: their full ids then decide.
pub(super) fn key(connection: ConnectionId, delivery_id: &str) -> i64 {
    let hash = Sha256::new().chain_update(connection.0.to_be_bytes()).chain_update(delivery_id).finalize();
    hash.iter().take(8).fold(0, |key, byte| key << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::clock::{self, Timestamp};
    use crate::store::{
        AttemptResult, ConflictResolution, EventId, EventInsertResult, EventStatus, EventVerification, InboundDelivery,
        LostWritesPolicy, NewEvent, PruneRequest, Store, StoreKey,
    };

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

    /// As many processes as wanted that have one store open, and put keys into the table every so often.
    fn opened(folder: &tempfile::TempDir, processes: usize, limit: usize) -> (Vec<Store>, ConnectionId) {
        let (path, key) = (folder.path().join("vault.db"), StoreKey::random());
        Store::create(&path, &key, NOW).unwrap();
        let stores: Vec<Store> =
            (0..processes).map(|_| Store::open(&path, &key, LostWritesPolicy::Refuse).unwrap()).collect();
        for store in &stores {
            store.event_keys().limit = limit;
        }
        let sql = "INSERT INTO connections (connector, mode, auth, params, metadata, scopes_requested, grant_status, \
                   connected_at) VALUES ('github', 'sandbox', 'none', '{}', '{}', '[]', 'active', 0)";
        let id = stores[0].write(|transaction| {
            transaction.execute(sql, [])?;
            Ok(ConnectionId(transaction.last_insert_rowid()))
        });
        (stores, id.unwrap())
    }

    #[test]
    fn whoever_took_an_event_everybody_knows_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut stores, connection) = opened(&folder, 3, 16);
        let mut known = BTreeMap::new();
        for round in 0..3000 {
            let [store, low, high] = clock::random::<3>();
            let (store, id) = (usize::from(store % 3), u64::from(u16::from_be_bytes([high, low]) % 700));
            let taken = stores[store].events().insert(&[delivery(connection, id)]).unwrap()[0][0];
            match known.get(&id) {
                Some(event) => assert_eq!(taken, EventInsertResult::Duplicate(*event), "round {round}, event {id}"),
                None => assert_eq!(taken, EventInsertResult::New(taken.id()), "round {round}, event {id}"),
            }
            known.insert(id, taken.id());
            if round % 500 == 499 {
                // One is killed and starts again; what it held in memory is lost.
                let (path, key) = (folder.path().join("vault.db"), stores[store].key.clone());
                stores[store] = Store::open(&path, &key, LostWritesPolicy::Refuse).unwrap();
            }
        }
        for (store, (id, event)) in stores.iter().cycle().zip(&known) {
            assert_eq!(store.events().find(connection, &format!("evt_{id}")).unwrap(), Some(*event));
        }
        assert_eq!(stores[0].events().find(connection, "evt_700").unwrap(), None);
        let (keys, events): (u32, u32) = stores[0]
            .read(|sqlite| {
                let sql =
                    "SELECT (SELECT count(*) FROM event_dedup_keys) AS keys, (SELECT count(*) FROM events) AS events";
                Ok(sqlite.query_row(sql, [], |row| Ok((row.get("keys")?, row.get("events")?)))?)
            })
            .unwrap();
        assert!(keys > 0 && keys <= events && events as usize == known.len(), "{keys} keys, {events} events");
    }

    fn signed(connection: ConnectionId, id: u64, signed: u8, body: u8) -> InboundDelivery {
        let mut delivery = delivery(connection, id);
        delivery.events[0].signed_digest = Some([signed; 32]);
        delivery.events[0].digest = Some([body; 32]);
        delivery
    }

    #[test]
    fn the_same_signed_bytes_are_one_event_under_any_id() {
        let folder = tempfile::tempdir().unwrap();
        let (stores, connection) = opened(&folder, 2, 8);
        let take = |store: usize, delivery: InboundDelivery| stores[store].events().insert(&[delivery]).unwrap()[0][0];
        let first = take(0, signed(connection, 1, 1, 1));
        assert_eq!(first, EventInsertResult::New(first.id()));
        for id in 2..40 {
            // Keys go into the table meanwhile, and the other process reads them there.
            let store = usize::from(id % 2 == 0);
            assert_eq!(take(store, signed(connection, id, 1, 1)), EventInsertResult::Duplicate(first.id()), "{id}");
            take(store, delivery(connection, 1000 + id));
        }
        assert_eq!(
            take(1, signed(connection, 50, 1, 2)),
            EventInsertResult::Conflict(first.id()),
            "another body is no event"
        );
        // One that was fetched, and then came signed.
        let mut fetched = delivery(connection, 60);
        fetched.events[0].digest = None;
        let known = take(0, fetched);
        assert_eq!(take(1, signed(connection, 60, 6, 6)), EventInsertResult::Duplicate(known.id()));
        assert_eq!(take(0, signed(connection, 61, 6, 6)), EventInsertResult::Duplicate(known.id()));
    }

    #[test]
    fn an_event_that_was_not_the_vendors_takes_no_id_from_one_that_is() {
        let folder = tempfile::tempdir().unwrap();
        let (stores, connection) = opened(&folder, 1, 8);
        let events = stores[0].events();
        let unconfirmed = |id: u64, body: u8| InboundDelivery {
            verification: EventVerification::Unconfirmed,
            ..signed(connection, id, body, body)
        };
        let take = |delivery: InboundDelivery| events.insert(&[delivery]).unwrap()[0][0];
        let forged = take(unconfirmed(1, 1));
        assert_eq!(events.unconfirmed(connection, 10).unwrap(), [forged.id()]);
        assert_eq!(take(unconfirmed(1, 2)), EventInsertResult::Unconfirmed(forged.id()), "to be sent again");
        events.set_verification(forged.id(), EventVerification::Rejected, Some("no")).unwrap();
        let genuine = take(unconfirmed(1, 2));
        assert_eq!(genuine, EventInsertResult::New(genuine.id()));
        events.set_verification(genuine.id(), EventVerification::Verified, None).unwrap();
        assert_eq!(take(unconfirmed(1, 2)), EventInsertResult::Duplicate(genuine.id()));
        assert_eq!(
            take(unconfirmed(1, 1)),
            EventInsertResult::Duplicate(forged.id()),
            "a rejected event is not asked about again"
        );
        let status = |id| events.get(id).unwrap().map(|event| (event.status.as_str(), event.verification.as_str()));
        assert_eq!(status(forged.id()), Some(("dead", "rejected")));
    }

    #[test]
    fn bodies_kept_aside_are_few_and_differ_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (stores, connection) = opened(&folder, 1, 8);
        let events = stores[0].events();
        let first = events.insert(&[signed(connection, 1, 1, 1)]).unwrap()[0][0].id();
        let take = |body: u8| {
            events.insert(&[InboundDelivery { body: vec![body], ..signed(connection, 1, 1, body) }]).unwrap()[0][0]
        };
        for body in [2, 2, 3, 4, 5, 6, 7, 8, 9, 3] {
            assert_eq!(take(body), EventInsertResult::Conflict(first));
        }
        assert_eq!(take(10), EventInsertResult::TooManyConflicts(first), "it is to be sent again");
        assert_eq!(events.conflicts(first).unwrap().len(), 8);
        assert_eq!(
            events.resolve_conflict(first, ConflictResolution::KeepNumber(9), NOW).unwrap(),
            None,
            "there is no such body"
        );
        let made = events.resolve_conflict(first, ConflictResolution::KeepNumber(2), NOW).unwrap().unwrap();
        assert_eq!(events.raw_request(made[0]).unwrap().unwrap().body, [3]);
        assert_eq!(events.get(first).unwrap().unwrap().status, EventStatus::Processed, "it is not handled any more");
        assert_eq!(take(3), EventInsertResult::Duplicate(made[0]), "each body is known");
        assert_eq!(take(1), EventInsertResult::Duplicate(first));
        assert_eq!(take(11), EventInsertResult::Conflict(first));
        let made = events.resolve_conflict(first, ConflictResolution::KeepAll, NOW).unwrap().unwrap();
        assert_eq!((made.len(), take(11)), (1, EventInsertResult::Duplicate(made[0])));
        take(12);
        assert_eq!(events.resolve_conflict(first, ConflictResolution::KeepFirst, NOW).unwrap(), Some(Vec::new()));
        assert!(events.conflicts(first).unwrap().is_empty());
    }

    #[test]
    fn equal_signed_bytes_that_name_no_delivery_are_events_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let (stores, connection) = opened(&folder, 1, 8);
        let events = stores[0].events();
        let unnamed = |id: u64| {
            let mut delivery = signed(connection, id, 1, 1);
            delivery.events[0].has_delivery_id = false;
            delivery
        };
        let take = |delivery: InboundDelivery| events.insert(&[delivery]).unwrap()[0][0];
        let (first, second) = (take(unnamed(1)), take(unnamed(2)));
        assert_eq!((first, second), (EventInsertResult::New(first.id()), EventInsertResult::New(second.id())));
        assert!(
            matches!(take(signed(connection, 3, 1, 1)), EventInsertResult::Duplicate(_)),
            "an id that was added makes no event"
        );
        // One that named its delivery is known, also without that.
        let named = take(signed(connection, 4, 2, 1));
        let mut stripped = unnamed(5);
        stripped.events[0].signed_digest = Some([2; 32]);
        assert_eq!(take(stripped), EventInsertResult::Duplicate(named.id()));
    }

    #[test]
    fn a_dead_event_that_is_sent_again_begins_again() {
        let folder = tempfile::tempdir().unwrap();
        let (stores, connection) = opened(&folder, 1, 8);
        let events = stores[0].events();
        let sent = || InboundDelivery { needs_handling: true, ..signed(connection, 1, 1, 1) };
        let take = |delivery: InboundDelivery| events.insert(&[delivery]).unwrap()[0][0];
        let id = take(sent()).id();
        assert_eq!(take(sent()), EventInsertResult::Duplicate(id), "it still waits");
        let error = Some("no".to_owned());
        events
            .record_attempts(&[AttemptResult {
                id,
                status: EventStatus::Dead,
                due_at: None,
                error,
                completed_handlers: 1,
            }])
            .unwrap();
        assert_eq!(
            take(InboundDelivery { needs_handling: false, ..sent() }),
            EventInsertResult::Duplicate(id),
            "nobody handles it"
        );
        assert_eq!(take(sent()), EventInsertResult::Requeued(id));
        let waiting = events.queued(connection, 10).unwrap();
        assert_eq!((waiting[0].attempts, waiting[0].completed_handlers), (0, 1), "what was done is not done again");
    }

    #[test]
    fn what_was_not_committed_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let (stores, connection) = opened(&folder, 1, 16);
        let events = stores[0].events();
        let nobody = delivery(ConnectionId(99), 2);
        assert!(events.insert(&[delivery(connection, 1), nobody]).is_err());
        let together =
            events.insert(&[delivery(connection, 1), delivery(connection, 2), delivery(connection, 1)]).unwrap();
        let ids: Vec<EventId> = together.iter().map(|taken| taken[0].id()).collect();
        assert_eq!(
            together.concat(),
            [EventInsertResult::New(ids[0]), EventInsertResult::New(ids[1]), EventInsertResult::Duplicate(ids[0])]
        );
    }

    #[test]
    fn what_is_removed_is_new_again_and_leaves_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let (stores, connection) = opened(&folder, 1, 2);
        let events = stores[0].events();
        let all = || [delivery(connection, 1), delivery(connection, 2), delivery(connection, 3)];
        events.insert(&all()).unwrap();
        let before = Timestamp::from_second(1).unwrap();
        let pruned =
            events.prune(&PruneRequest { connection, before, keeps_ids: false, include_dead: false }, 10).unwrap();
        let left = |sql: &str| stores[0].read(|sqlite| Ok(sqlite.query_row(sql, [], |row| row.get::<_, u32>(0))?));
        assert_eq!((pruned, left("SELECT count(*) FROM event_dedup_keys").unwrap()), (3, 0));
        assert!(events.insert(&all()).unwrap().concat().iter().all(|taken| matches!(taken, EventInsertResult::New(_))));
    }
}
