//! The guard of a lock: dropped, released, and dropped at the end of a command.

use std::sync::Arc;
use std::time::Duration;

use integ::clock::Clock;
use integ::error;
use integ::model::ConnectionId;
use integ::runtime::LockGuard;
use integ::store::LockKey;
use tokio::runtime::Runtime;

use super::{Subject, engine, on_both_stores};

const KEY: LockKey = LockKey::Deliveries;

/// Far less than a lease lasts, far more than a release takes.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_guard_that_is_dropped_releases_its_lock() {
    on_both_stores(async |subject| {
        let engine = engine(subject.home.path());
        let (own, other) = (&subject.handles[0], &subject.handles[1]);
        for _ in 0..3 {
            let guard = LockGuard::try_acquire(Arc::clone(own), &engine, KEY).await.unwrap().unwrap();
            assert!(
                LockGuard::try_acquire(Arc::clone(other), &engine, KEY).await.unwrap().is_none(),
                "{}",
                subject.name
            );
            drop(guard);
            let next = LockGuard::acquire(Arc::clone(other), &engine, KEY, SOON).await.unwrap();
            let next = next.unwrap_or_else(|| panic!("{}: it is not released", subject.name));
            next.release().await;
            // It waited, so that no second try is needed.
            let again = LockGuard::try_acquire(Arc::clone(own), &engine, KEY).await.unwrap();
            again.unwrap_or_else(|| panic!("{}: release did not wait", subject.name)).release().await;
        }
        engine.shutdown.released().await;
    });
}

#[test]
fn a_guard_of_sqlite_is_released_within_its_drop() {
    on_both_stores(async |subject| {
        if subject.lock_files().is_none() {
            return;
        }
        let engine = engine(subject.home.path());
        for handle in [0, 1, 0, 1] {
            let store = Arc::clone(&subject.handles[handle]);
            let guard = LockGuard::try_acquire(store, &engine, KEY).await.unwrap();
            drop(guard.unwrap());
        }
    });
}

/// Runs commands that end with a lock in their hands, each on a runtime of its own that ends with it.
fn end_with_a_lock(runtime: &Runtime, subject: &Subject) {
    let is_free = |what: &str| {
        let workspace = runtime.block_on(subject.workspace());
        let held = workspace
            .run(async { Ok(workspace.store().await?.locks().is_held(KEY, Clock::system().now_millis()).await?) });
        assert!(!held.unwrap(), "{}: {what}", subject.name);
    };
    let workspace = runtime.block_on(subject.workspace());
    workspace
        .run(async {
            let _guard = workspace.try_lock(KEY).await?.unwrap();
            Ok(())
        })
        .unwrap();
    is_free("after a command");
    let workspace = runtime.block_on(subject.workspace());
    let interrupted: error::Result<()> = workspace.run(async {
        let _guard = workspace.try_lock(KEY).await?.unwrap();
        workspace.engine.shutdown.request();
        std::future::pending().await
    });
    assert_eq!(interrupted.unwrap_err().code(), "interrupted", "{}", subject.name);
    is_free("after an interrupted command");
}

#[test]
fn a_command_ends_once_its_locks_are_released() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let subjects = runtime.block_on(async { [Some(Subject::sqlite().await), Subject::postgres().await] });
    subjects.iter().flatten().for_each(|subject| end_with_a_lock(&runtime, subject));
}

#[test]
fn a_guard_that_outlives_its_runtime_is_dropped_all_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let subjects = runtime.block_on(async { [Some(Subject::sqlite().await), Subject::postgres().await] });
    for subject in subjects.iter().flatten() {
        let workspace = runtime.block_on(subject.workspace());
        let guard = workspace.run(workspace.try_lock(LockKey::Grant(ConnectionId(1)))).unwrap();
        drop(guard.unwrap());
    }
}
