//! Locks: a file that the operating system locks for its holder, and a row with the fencing number.
//!
//! The file decides: the system lets go of it when the holder dies, however it dies, so that nobody waits for a lease to
//! expire. The row gives each holder a number that commits are checked against, and says who holds the lock.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Transaction};

use super::open::StoreFile;
use super::{SqliteStore, StoreError};
use crate::clock::{self, Stopwatch, Timestamp};
use crate::store::{Fence, LEASE_DURATION, Lease, LockKey, Locks};
use crate::task::blocking;
use crate::{files, hex};

/// How long a file is tried that others look at. A look takes microseconds, unless its thread has to wait for a processor.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait between two attempts.
const LOOK_INTERVAL: Duration = Duration::from_micros(50);

#[async_trait]
impl Locks for SqliteStore {
    async fn try_acquire(&self, key: LockKey, now: Timestamp) -> Result<Option<Lease>, StoreError> {
        let Some(guard) = self.acquire_guard(key).await? else { return Ok(None) };
        let (holder, expires_at) = (self.holder.clone(), expiry(now));
        let number = self
            .write(move |transaction| {
                let sql = "INSERT INTO locks (key, holder, fence, expires_at) VALUES (?1, ?2, 1, ?3) \
                           ON CONFLICT (key) DO UPDATE SET holder = excluded.holder, fence = fence + 1, \
                           expires_at = excluded.expires_at RETURNING fence";
                let values = (key.to_string(), &holder, expires_at.as_millisecond());
                Ok(transaction.prepare_cached(sql)?.query_row(values, |row| row.get::<_, u64>("fence"))?)
            })
            .await?;
        Ok(Some(Lease::new(Fence { key, number }, expires_at, guard)))
    }

    async fn renew(&self, fence: Fence, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE locks SET expires_at = ?3 WHERE key = ?1 AND fence = ?2";
            let values = (fence.key.to_string(), fence.number, expiry(now).as_millisecond());
            match transaction.prepare_cached(sql)?.execute(values)? {
                0 => Err(StoreError::LeaseLost(fence.key)),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn is_held(&self, key: LockKey, _: Timestamp) -> Result<bool, StoreError> {
        match &self.file {
            StoreFile::InMemory { locks, .. } => Ok(locks.held().contains(&key)),
            StoreFile::OnDisk { path, .. } => {
                let path = lock_path(path, key);
                blocking(move || is_file_locked(path)).await
            }
        }
    }

    /// The row stays: the system tells the next holder that the lock is free, and the number must go on from here.
    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        drop(lease);
        Ok(())
    }
}

impl SqliteStore {
    async fn acquire_guard(&self, key: LockKey) -> Result<Option<LockFileGuard>, StoreError> {
        match &self.file {
            StoreFile::InMemory { locks, .. } => Ok(locks.acquire(key).map(LockFileGuard::InMemory)),
            StoreFile::OnDisk { path, .. } => {
                let path = lock_path(path, key);
                Ok(blocking(move || lock_file(path)).await?.map(LockFileGuard::OnDisk))
            }
        }
    }
}

fn lock_path(store: &Path, key: LockKey) -> PathBuf {
    store.with_file_name("locks").join(format!("{key}.lock"))
}

/// What is held with a lease: dropping it lets the lock go.
#[expect(dead_code, reason = "held, not read")]
enum LockFileGuard {
    OnDisk(LockedFile),
    InMemory(MemoryLockGuard),
}

/// A file that is unlocked when this is dropped. Closing it is not enough: a child that another thread has just forked has a
/// copy of the descriptor until it executes its program, and the lock lasts as long as any copy.
struct LockedFile(File);

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing it is what is left if the system refuses.
        let _ = self.0.unlock();
    }
}

/// The locks of a store in memory, which no other process can want.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryLocks(Arc<Mutex<HashSet<LockKey>>>);

impl MemoryLocks {
    fn held(&self) -> MutexGuard<'_, HashSet<LockKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acquire(&self, key: LockKey) -> Option<MemoryLockGuard> {
        self.held().insert(key).then(|| MemoryLockGuard { locks: self.clone(), key })
    }
}

struct MemoryLockGuard {
    locks: MemoryLocks,
    key: LockKey,
}

impl Drop for MemoryLockGuard {
    fn drop(&mut self) {
        self.locks.held().remove(&self.key);
    }
}

/// Names this process in the rows of its locks.
pub(super) fn new_holder() -> String {
    format!("{}-{}", std::process::id(), hex::encode(&clock::random::<4>()))
}

/// Fails the transaction if another has taken the lock.
pub(super) fn check_fence(transaction: &Transaction<'_>, fence: Fence) -> Result<(), StoreError> {
    let sql = "SELECT fence FROM locks WHERE key = ?1";
    let found = transaction.prepare_cached(sql)?.query_row([fence.key.to_string()], |row| row.get::<_, u64>("fence"));
    match found.optional()? {
        Some(number) if fence.number == number => Ok(()),
        _ => Err(StoreError::LeaseLost(fence.key)),
    }
}

fn lock_file(path: PathBuf) -> Result<Option<LockedFile>, StoreError> {
    match files::open_lock(&path).and_then(lock_exclusively) {
        Ok(locked) => Ok(locked),
        Err(source) => Err(StoreError::Lock { path, source }),
    }
}

/// Whether somebody has locked a file exclusively.
fn is_file_locked(path: PathBuf) -> Result<bool, StoreError> {
    match files::open_existing(&path) {
        Ok(file) => Ok(matches!(LockedFile(file).0.try_lock_shared(), Err(TryLockError::WouldBlock))),
        // Nobody has ever taken it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StoreError::Lock { path, source }),
    }
}

/// Locks a file unless somebody holds it. Those who only look lock it as well, for a moment and shared, and are not in the way:
/// where no exclusive lock is held, a shared one can be had, and the file is tried again.
fn lock_exclusively(file: File) -> io::Result<Option<LockedFile>> {
    let waiting = Stopwatch::start();
    while waiting.elapsed() < LOOK_TIMEOUT {
        match file.try_lock() {
            Ok(()) => return Ok(Some(LockedFile(file))),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match file.try_lock_shared() {
            Ok(()) => file.unlock()?,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(None)
}

fn expiry(now: Timestamp) -> Timestamp {
    now.checked_add(LEASE_DURATION).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_released_lock_is_free_while_a_forked_child_has_the_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream.lock");
        let held = lock_file(path.clone()).unwrap().unwrap();
        // As a fork does, this shares the open file.
        let inherited = held.0.try_clone().unwrap();
        assert!(lock_file(path.clone()).unwrap().is_none());
        drop(held);
        assert!(lock_file(path).unwrap().is_some());
        drop(inherited);
    }

    struct SetOnDrop<'a>(&'a AtomicBool);

    impl Drop for SetOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_looks_at_a_lock_keeps_nobody_from_taking_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream.lock");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let lookers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut held = 0;
                        while !is_over.load(Ordering::Relaxed) {
                            held += u32::from(is_file_locked(path.clone()).unwrap());
                        }
                        held
                    })
                })
                .collect();
            // They also end if the test fails.
            let over = SetOnDrop(&is_over);
            for round in 0..5000 {
                let lock = lock_file(path.clone()).unwrap();
                assert!(lock.is_some(), "refused in round {round}, and nobody else takes it");
                assert!(is_file_locked(path.clone()).unwrap(), "round {round}");
                assert!(lock_file(path.clone()).unwrap().is_none(), "taken twice in round {round}");
            }
            drop(over);
            let held: Vec<u32> = lookers.into_iter().map(|looker| looker.join().unwrap()).collect();
            assert!(held.iter().any(|held| *held > 0), "nobody has looked while it was held: {held:?}");
        });
    }
}
