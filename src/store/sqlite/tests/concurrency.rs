//! Several writers at once: in one process, in several, and one whose lock was taken over.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::runtime;

use super::{Fixture, at, connected, grant, lock, name, put, subscription_request, transition};
use crate::error::Remedy;
use crate::model::{ConnectionId, GrantStatus, GrantWriteResult, RefreshAttempt};
use crate::store::{Fence, LEASE_DURATION, LockKey, Store, StoreError};

#[tokio::test]
async fn of_two_writers_of_one_generation_the_second_is_superseded() {
    let fixture = Fixture::new();
    let (ours, theirs) = (fixture.open(), fixture.open());
    let id = connected(&ours, "slack", "one").await.id;
    ours.connections().set_grant_status(id, GrantStatus::NeedsReauth, Some("x")).await.unwrap();
    let lease = lock(&ours, id).await;
    let (replaced, _) = ours.grants().replace(id, 1, &grant("two"), lease.fence).await.unwrap();
    assert_eq!(replaced, GrantWriteResult::Done { generation: 2 });
    ours.locks().release(lease).await.unwrap();

    let fence = lock(&theirs, id).await.fence;
    let grants = theirs.grants();
    let (late, change) = grants.replace(id, 1, &grant("late"), fence).await.unwrap();
    assert_eq!((late, transition(change)), (GrantWriteResult::Superseded, None));
    assert_eq!(grants.begin_refresh(id, 1, at(50), fence).await.unwrap(), GrantWriteResult::Superseded);
    let (unknown, _) = grants.replace(ConnectionId(99), 1, &grant("x"), fence).await.unwrap();
    assert_eq!(unknown, GrantWriteResult::Superseded);
    let stored = grants.get(id).await.unwrap().unwrap();
    assert_eq!(stored.grant.unwrap().access_token.expose(), "two");
    assert_eq!(ours.connections().find(&name("slack")).await.unwrap().unwrap().grant_status, GrantStatus::Active);
}

/// A worker's begun work is not polled while the worker itself reads, and must not keep a turn that nobody else gets then.
#[tokio::test]
async fn reads_that_nobody_polls_hold_up_no_other() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let mut begun: Vec<_> = (0..64).map(|_| store.connections().names()).collect();
    for read in &mut begun {
        let _ = futures_util::poll!(read.as_mut());
    }
    for _ in 0..200 {
        tokio::time::timeout(Duration::from_secs(30), store.connections().names())
            .await
            .expect("waits for ever")
            .unwrap();
    }
    for read in begun {
        read.await.unwrap();
    }
}

#[tokio::test]
async fn a_holder_whose_lock_was_taken_over_commits_nothing() {
    let fixture = Fixture::new();
    let (ours, theirs) = (fixture.open(), fixture.open());
    let id = connected(&ours, "slack", "one").await.id;
    let key = LockKey::Grant(id);
    assert!(!ours.locks().is_held(key, at(0)).await.unwrap());
    let lease = lock(&ours, id).await;
    assert_eq!(lease.expires_at, at(0) + LEASE_DURATION);
    assert!(theirs.locks().is_held(key, at(0)).await.unwrap());
    assert!(theirs.locks().try_acquire(key, at(0)).await.unwrap().is_none());
    ours.locks().renew(lease.fence, at(1)).await.unwrap();
    // Paused for longer than its lease.
    let old = lease.fence;
    ours.locks().release(lease).await.unwrap();
    assert!(!theirs.locks().is_held(key, at(0)).await.unwrap());
    let lease = lock(&theirs, id).await;
    assert_eq!(lease.fence, Fence { key, number: old.number + 1 });

    let lost = |result: Result<(), StoreError>| matches!(result, Err(StoreError::LeaseLost(lost)) if lost == key);
    let grants = ours.grants();
    assert!(lost(ours.locks().renew(old, at(2)).await));
    assert!(lost(grants.begin_refresh(id, 1, at(50), old).await.map(drop)));
    assert!(lost(grants.replace(id, 1, &grant("late"), old).await.map(drop)));
    assert!(lost(ours.subscriptions().begin(&subscription_request(id), at(50), old).await.map(drop)));
    let _ = theirs.grants().begin_refresh(id, 1, at(60), lease.fence).await.unwrap();
    assert!(lost(grants.cancel_refresh(id, 1, old).await.map(drop)));
    let stored = grants.get(id).await.unwrap().unwrap();
    assert_eq!((stored.generation, stored.refresh_attempt), (1, Some(RefreshAttempt { at: at(60) })));
    assert!(ours.subscriptions().list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_write_that_fails_takes_no_other_with_it() {
    const WRITES: u64 = 100;
    let fixture = Fixture::new();
    let store = Arc::new(fixture.open());
    let tasks: Vec<_> = (0..WRITES)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let write = store.write(move |transaction| {
                    let sql = "INSERT INTO sandbox_state (key, value) VALUES (?1, '1')";
                    transaction.execute(sql, [number.to_string()])?;
                    assert_ne!(number, 50, "a panic is the caller's");
                    if number % 10 == 3 { Err(StoreError::ConnectionNotFound) } else { Ok(number) }
                });
                write.await
            })
        })
        .collect();
    for (number, task) in (0..).zip(tasks) {
        match task.await {
            Ok(Ok(written)) => assert_eq!(written, number),
            Ok(Err(error)) => assert_eq!((error.code(), number % 10), ("no_such_connection", 3)),
            Err(error) => assert!(error.is_panic() && number == 50, "{number}: {error}"),
        }
    }
    assert_eq!(store.sandbox().list("").await.unwrap().len() as u64, WRITES - 11);
    let commits = store.meta().unwrap().sequence;
    assert!((1..=WRITES - 11).contains(&commits), "{commits}");
}

#[test]
fn many_writers_at_once_lose_no_write_and_never_find_it_locked() {
    const WRITERS: u64 = 64;
    const WRITES: u64 = 5;
    let fixture = Fixture::new();
    let work = async |writer: u64| {
        for write in 0..WRITES {
            // A store of its own each time, so that opening and closing meet recovery and checkpoints.
            let store = fixture.open();
            put(&store, &format!("{writer}/{write}"), &json!(1)).await.unwrap();
            let add = store.write(|transaction| {
                let sql = "INSERT INTO sandbox_state (key, value) VALUES ('sum', '1') \
                           ON CONFLICT (key) DO UPDATE SET value = ?1";
                let sum = "SELECT CAST(coalesce(max(value), 0) AS INTEGER) FROM sandbox_state WHERE key = 'sum'";
                let sum: u64 = transaction.query_row(sum, [], |row| row.get(0))?;
                Ok(transaction.execute(sql, [(sum + 1).to_string()])?)
            });
            add.await.unwrap();
        }
    };
    // Threads, each with a runtime: opening and closing a store block.
    let block_on = |writer| runtime::Builder::new_current_thread().build().unwrap().block_on(work(writer));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || block_on(writer));
        }
    });
    let store = fixture.open();
    let entries = store.read_blocking(|sqlite| {
        Ok(sqlite.query_row("SELECT count(*) FROM sandbox_state", [], |row| row.get::<_, u64>(0))?)
    });
    assert_eq!(entries.unwrap(), WRITERS * WRITES + 1);
    let sum = store.read_blocking(|sqlite| {
        let sql = "SELECT value FROM sandbox_state WHERE key = 'sum'";
        Ok(sqlite.query_row(sql, [], |row| row.get::<_, String>(0))?)
    });
    assert_eq!(sum.unwrap(), (WRITERS * WRITES).to_string());
    assert_eq!(store.meta().unwrap().sequence, 2 * WRITERS * WRITES);
    store.check().unwrap();
}

#[tokio::test]
async fn of_writers_that_replace_the_same_value_one_succeeds() {
    const WRITERS: u64 = 8;
    let fixture = Fixture::new();
    let stores: Vec<_> = (0..WRITERS).map(|_| Arc::new(fixture.open())).collect();
    put(&stores[0], "sum", &json!(0)).await.unwrap();
    let tasks = stores.iter().map(|store| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            loop {
                let old = store.sandbox().get("sum").await.unwrap().unwrap();
                let new = json!(old.as_u64().unwrap() + 1);
                if store.sandbox().replace("sum", Some(&old), Some(&new)).await.unwrap() {
                    break;
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(stores[0].sandbox().get("sum").await.unwrap(), Some(json!(WRITERS)));
}

#[tokio::test]
async fn the_sandbox_is_read_while_another_process_writes() {
    let fixture = Fixture::new();
    let (reader, writer) = (fixture.open(), fixture.open());
    put(&writer, "state/slack", &json!(1)).await.unwrap();
    let before = reader.meta().unwrap().sequence;
    let (lock, locked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let writing = tokio::spawn(async move {
        let write = writer.write(move |_| {
            let _ = lock.send(());
            // Ends when the test lets go of its end.
            let _ = released.recv();
            Ok(())
        });
        write.await
    });
    tokio::task::spawn_blocking(move || locked.recv()).await.unwrap().unwrap();
    assert_eq!(reader.sandbox().get("state/slack").await.unwrap(), Some(json!(1)));
    assert_eq!(reader.meta().unwrap().sequence, before);
    drop(release);
    writing.await.unwrap().unwrap();
}
