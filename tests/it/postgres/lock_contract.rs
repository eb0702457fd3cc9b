//! What the locks of every store do.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use integ::model::{ConnectionId, GrantWriteResult};
use integ::store::{Fence, Lease, LockKey, StoreError};

use super::{Subject, at, grant, on_both_stores};

const KEY: LockKey = LockKey::Grant(ConnectionId(1));

/// Some moment; only a lease that expires depends on it.
const NOW: i64 = 1_700_000_000;

async fn acquire(subject: &Subject, handle: usize, key: LockKey, second: i64) -> Option<Lease> {
    subject.handles[handle].locks().try_acquire(key, at(second)).await.unwrap()
}

/// Takes a lock whose holder does not know that it has lost it: its lease expires, or its lock file is another by now.
async fn take_over(subject: &Subject, key: LockKey) -> Lease {
    if let Some(folder) = subject.lock_files() {
        std::fs::remove_file(folder.join(format!("{key}.lock"))).unwrap();
    }
    subject.expire_leases().await;
    acquire(subject, 1, key, NOW + 61).await.unwrap()
}

#[test]
fn of_many_takers_one_has_the_lock_and_each_holder_a_greater_number() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let mut numbers = Vec::new();
        for _ in 0..4 {
            let takers = (0..32).map(|taker| acquire(subject, taker % subject.handles.len(), KEY, NOW));
            let mut leases: Vec<Lease> = join_all(takers).await.into_iter().flatten().collect();
            assert_eq!(leases.len(), 1, "{name}");
            let lease = leases.remove(0);
            assert_eq!(lease.fence.key, KEY, "{name}");
            numbers.push(lease.fence.number);
            subject.store().locks().release(lease).await.unwrap();
        }
        assert!(numbers.is_sorted_by(|before, after| before < after), "{name}: {numbers:?}");
        let others = [
            LockKey::Grant(ConnectionId(2)),
            LockKey::Subscriptions(ConnectionId(1)),
            LockKey::Events(ConnectionId(1)),
            LockKey::Confirmations(ConnectionId(1)),
            LockKey::Deliveries,
        ];
        let leases = join_all(others.map(|key| acquire(subject, 0, key, NOW))).await;
        let keys: BTreeSet<String> = leases.iter().flatten().map(|lease| lease.fence.key.to_string()).collect();
        assert_eq!(keys.len(), others.len(), "{name}: locks of different keys have nothing to do with each other");
    });
}

#[test]
fn a_lock_is_held_until_it_is_released() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let (own, other) = (subject.store().locks(), subject.other().locks());
        assert!(!other.is_held(KEY, at(NOW)).await.unwrap(), "{name}: nobody has ever taken it");
        let lease = acquire(subject, 0, KEY, NOW).await.unwrap();
        assert!(own.is_held(KEY, at(NOW)).await.unwrap() && other.is_held(KEY, at(NOW)).await.unwrap(), "{name}");
        own.renew(lease.fence, at(NOW + 20)).await.unwrap();
        let fence = lease.fence;
        own.release(lease).await.unwrap();
        assert!(!own.is_held(KEY, at(NOW)).await.unwrap() && !other.is_held(KEY, at(NOW)).await.unwrap(), "{name}");
        let next = acquire(subject, 1, KEY, NOW).await.unwrap();
        assert!(next.fence.number > fence.number, "{name}");
        let late = own.renew(fence, at(NOW + 21)).await;
        assert!(matches!(late, Err(StoreError::LeaseLost(KEY))), "{name}: {late:?}");
    });
}

#[test]
fn a_lease_that_is_not_renewed_expires_after_a_minute() {
    on_both_stores(async |subject| {
        if subject.lock_files().is_some() {
            // The operating system says when a holder has ended, and the time does not matter.
            return;
        }
        // The server's clock counts, and no user's.
        let (own, other) = (subject.store().locks(), subject.other().locks());
        let lease = acquire(subject, 0, KEY, NOW).await.unwrap();
        assert!(acquire(subject, 1, KEY, NOW + 1_000_000).await.is_none());
        own.renew(lease.fence, at(NOW - 1_000_000)).await.unwrap();
        assert!(
            acquire(subject, 1, KEY, NOW).await.is_none() && other.is_held(KEY, at(NOW + 1_000_000)).await.unwrap()
        );
        subject.expire_leases().await;
        assert!(!other.is_held(KEY, at(NOW)).await.unwrap());
        // Nobody has taken it yet.
        own.renew(lease.fence, at(NOW)).await.unwrap();
        assert!(acquire(subject, 1, KEY, NOW).await.is_none());
        subject.expire_leases().await;
        let next = acquire(subject, 1, KEY, NOW).await.unwrap();
        assert!(next.fence.number > lease.fence.number);
        let late = own.renew(lease.fence, at(NOW)).await;
        assert!(matches!(late, Err(StoreError::LeaseLost(KEY))), "{late:?}");
        // A renewal that was under way when the lease was released does not bring it back.
        let fence = next.fence;
        other.release(next).await.unwrap();
        assert!(matches!(other.renew(fence, at(NOW)).await, Err(StoreError::LeaseLost(KEY))));
        assert!(!own.is_held(KEY, at(NOW)).await.unwrap());
    });
}

#[test]
fn a_holder_whose_lock_was_taken_over_commits_nothing_and_releases_nothing() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let id = subject.connect("slack").await.id;
        let key = LockKey::Grant(id);
        let lost = |result: Result<GrantWriteResult, StoreError>| {
            assert!(matches!(result, Err(StoreError::LeaseLost(found)) if found == key), "{name}: {result:?}");
        };
        let grants = subject.store().grants();
        let paused = acquire(subject, 0, key, NOW).await.unwrap();
        let done = grants.begin_refresh(id, 1, at(NOW), paused.fence).await.unwrap();
        assert_eq!(done, GrantWriteResult::Done { generation: 1 }, "{name}");
        let holder = take_over(subject, key).await;
        assert!(holder.fence.number > paused.fence.number, "{name}");
        lost(grants.begin_refresh(id, 1, at(NOW + 70), paused.fence).await);
        lost(grants.cancel_refresh(id, 1, paused.fence).await);
        lost(grants.replace(id, 1, &grant("late"), paused.fence).await.map(|(result, _)| result));
        let never = Fence { key, number: holder.fence.number + 1 };
        lost(grants.cancel_refresh(id, 1, never).await);
        let stored = grants.get(id).await.unwrap().unwrap();
        let marked = stored.refresh_attempt.unwrap();
        assert_eq!((stored.generation, marked.at), (1, at(NOW)), "{name}");
        assert_eq!(stored.grant.unwrap().access_token.expose(), "access-first", "{name}");
        subject.store().locks().release(paused).await.unwrap();
        assert!(acquire(subject, 2, key, NOW + 62).await.is_none(), "{name}: it is another's by now");
        assert!(subject.other().locks().is_held(key, at(NOW + 62)).await.unwrap(), "{name}");
        let (done, _) = subject.other().grants().replace(id, 1, &grant("new"), holder.fence).await.unwrap();
        assert_eq!(done, GrantWriteResult::Done { generation: 2 }, "{name}");
    });
}
