//! What the audit log of every store does.

use std::sync::Arc;

use integ::clock::Clock;
use integ::model::{
    AuditActor, AuditActorFilter, AuditActorKind, AuditFilter, AuditOutcome, AuditRecord, AuditSequence,
    ChainProblemKind, ChainVerifier, ConnectionId, Effect,
};
use integ::signing::checkpoint::is_checkpoint_of;
use integ::store::{AuditTiming, PendingAudit, Store, StoreError};

use super::super::on_both_stores;
use super::at;

fn record(second: i64, connection: &str) -> AuditRecord {
    let record = AuditRecord::new(at(second), AuditActor::Worker, "sync", Effect::Write);
    AuditRecord { connection: Some(connection.to_owned()), ..record }
}

async fn problems(store: &dyn Store) -> Vec<(ChainProblemKind, u64)> {
    let log = store.audit();
    let bounds = log.bounds().await.unwrap();
    let base = bounds.pruned.map(|pruned| pruned.link()).unwrap_or_default();
    let mut verifier = ChainVerifier::new(base, bounds.head, None);
    log.read(base.sequence, 100).await.unwrap().iter().for_each(|entry| verifier.check(entry));
    let (_, _, problems) = verifier.finish();
    problems.into_iter().map(|problem| (problem.kind, problem.sequence.0)).collect()
}

#[test]
fn entries_of_several_writers_are_one_chain() {
    on_both_stores(async |subject| {
        let (store, other) = (subject.store(), subject.other());
        for number in 0..4 {
            let (one, two) = (record(number, "slack"), record(number, "stripe"));
            let (a, b) = tokio::join!(store.audit().append(vec![one.clone(), one]), other.audit().append(vec![two]));
            a.and(b).unwrap();
        }
        assert_eq!(problems(store).await, []);
        let filter = AuditFilter { connection: "stripe".parse().ok(), since: Some(at(2)), ..Default::default() };
        let listed = other.audit().list(&filter, None, 9).await.unwrap();
        assert_eq!(listed.iter().map(|entry| entry.record.at).collect::<Vec<_>>(), [at(3), at(2)]);
        let older = other.audit().list(&filter, Some(listed[0].sequence), 9).await.unwrap();
        assert_eq!(older, listed[1..]);
    });
}

#[test]
fn entries_of_several_operations_are_listed_in_the_order_of_the_log() {
    on_both_stores(async |subject| {
        let of = |operation: &&str| AuditRecord { operation: (*operation).to_owned(), ..record(1, "slack") };
        let operations = ["sync", "test", "token", "sync", "token", "test"];
        subject.store().audit().append(operations.iter().map(of).collect()).await.unwrap();
        let filter = |names: &[&str]| AuditFilter {
            connection: "slack".parse().ok(),
            operations: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        for (names, before, limit, expected) in [
            (&["token", "sync"] as &[&str], None, 3, vec![5, 4, 3]),
            (&["token", "sync"], Some(AuditSequence(3)), 9, vec![1]),
            (&["token"], None, 9, vec![5, 3]),
            (&["rename", "refresh"], None, 9, vec![]),
        ] {
            let listed = subject.other().audit().list(&filter(names), before, limit).await.unwrap();
            let sequences: Vec<u64> = listed.iter().map(|entry| entry.sequence.0).collect();
            assert_eq!(sequences, expected, "{}: {names:?}", subject.name);
        }
    });
}

#[test]
fn old_entries_are_pruned_and_a_signed_checkpoint_takes_their_place() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let log = store.audit();
        log.append((1..=5).map(|second| record(second, "slack")).collect()).await.unwrap();
        assert_eq!(log.prune(at(3), 1, at(9)).await.unwrap(), 1);
        assert_eq!(log.prune(at(3), 100, at(9)).await.unwrap(), 1);
        assert_eq!(log.prune(at(3), 100, at(9)).await.unwrap(), 0);
        let (bounds, signed) = (log.bounds().await.unwrap(), log.checkpoint(at(9)).await.unwrap());
        let pruned = bounds.pruned.unwrap();
        assert_eq!((pruned.sequence.0, bounds.oldest_at), (2, Some(at(3))));
        assert!(is_checkpoint_of(&pruned, &signed.public_key) && is_checkpoint_of(&signed, &signed.public_key));
        assert_eq!(problems(store).await, []);
    });
}

#[test]
fn the_first_write_commits_the_pending_entry_and_a_failed_one_does_not() {
    on_both_stores(async |subject| {
        let (store, other) = (subject.store(), subject.other());
        let pending =
            Arc::new(PendingAudit::new(Clock::fixed(at(7)), "disconnect", Effect::Destroy, AuditTiming::FirstWrite));
        store.attach_audit(Arc::clone(&pending));
        let missing = store.connections().remove(ConnectionId(99)).await;
        assert!(matches!(missing, Err(StoreError::ConnectionNotFound)) && !pending.is_committed());
        subject.connect("github").await;
        let entries = other.audit().read(AuditSequence(0), 9).await.unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (entries[0].record.operation.as_str(), entries[0].record.outcome),
            ("disconnect", AuditOutcome::Started)
        );
        other.ensure_writable().await.unwrap();
        store.ensure_writable().await.unwrap();
        assert_eq!(other.audit().read(AuditSequence(0), 9).await.unwrap().len(), 1);
    });
}

#[test]
fn entries_are_listed_by_their_actor_and_since_a_time_although_the_clock_was_set_back() {
    on_both_stores(async |subject| {
        let (store, name) = (subject.store(), subject.name);
        let local = AuditRecord::new(at(7), AuditActor::Operator("kim".to_owned()), "alert list", Effect::Read);
        let mut records = [5, 9, 3, 6, 8].map(|second| record(second, "slack")).to_vec();
        // Two commits, so that the latest time is carried from one to the next.
        records.insert(3, local);
        let rest = records.split_off(3);
        store.audit().append(records).await.unwrap();
        store.audit().append(rest).await.unwrap();
        let list = async |filter: AuditFilter| {
            let listed = subject.other().audit().list(&filter, None, 9).await.unwrap();
            listed.iter().map(|entry| entry.record.at).collect::<Vec<_>>()
        };
        for (since, expected) in [(6, vec![8, 6, 7, 9]), (9, vec![9]), (10, vec![]), (0, vec![8, 6, 7, 3, 9, 5])] {
            let filter = AuditFilter { since: Some(at(since)), ..AuditFilter::default() };
            let expected: Vec<_> = expected.into_iter().map(at).collect();
            assert_eq!(list(filter).await, expected, "{name}: since {since}");
        }
        for (actor, expected) in [
            (AuditActorFilter::Kind(AuditActorKind::Operator), 1),
            (AuditActorFilter::Kind(AuditActorKind::Worker), 5),
            (AuditActorFilter::Id("kim".to_owned()), 1),
            (AuditActorFilter::Id("worker".to_owned()), 0),
        ] {
            let filter = AuditFilter { actor: Some(actor.clone()), ..AuditFilter::default() };
            assert_eq!(list(filter).await.len(), expected, "{name}: {actor:?}");
        }
        let hiding = AuditFilter { hides_monitoring: true, ..AuditFilter::default() };
        assert_eq!(list(hiding).await.len(), 5, "{name}");
    });
}
