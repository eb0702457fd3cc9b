//! The threads on which a store is read, started by the reads that need them.
//!
//! They are few and stay, because the C library keeps what a thread has freed for that thread: with the runtime's threads for
//! blocking work, of which each read may get another, a server held several times the memory that it needed.
//!
//! A read that finds no thread idle waits in a queue, not in its caller: one that waited for a permit could be given it while
//! nobody polls it, as a worker's begun work is not polled while the worker itself reads, and every later read would then wait for
//! a permit that is never used.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::StoreError;

type Job = Box<dyn FnOnce() + Send>;

/// The threads of one store.
#[derive(Debug)]
pub(super) struct ReaderThreads {
    most: usize,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    idle: usize,
    handles: Vec<JoinHandle<()>>,
    is_stopped: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("waiting", &self.waiting.len()).field("idle", &self.idle).finish_non_exhaustive()
    }
}

impl ReaderThreads {
    /// Creates none yet, and `most` at a time.
    pub(super) fn new(most: usize) -> Self {
        Self { most, state: Arc::default() }
    }

    /// Runs a job on an idle thread or on a new one, or once a thread is idle.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let (lock, queued) = &*self.state;
        let mut state = locked(lock);
        if state.is_stopped {
            return Err(StoreError::Closed);
        }
        if state.waiting.len() >= state.idle && state.handles.len() < self.most {
            let shared = Arc::clone(&self.state);
            let handle = thread::Builder::new().name("store-reader".to_owned()).spawn(move || work(&shared))?;
            state.handles.push(handle);
        }
        state.waiting.push_back(Box::new(job));
        queued.notify_one();
        Ok(())
    }

    /// Waits for the reads that were asked for, which take milliseconds, and ends the threads.
    pub(super) fn stop(&self) {
        let (lock, queued) = &*self.state;
        let handles = {
            let mut state = locked(lock);
            state.is_stopped = true;
            std::mem::take(&mut state.handles)
        };
        queued.notify_all();
        for handle in handles {
            // What a read holds may be the last of the store.
            if handle.thread().id() != thread::current().id() {
                let _ = handle.join();
            }
        }
    }
}

/// Runs jobs until there are none and the threads are stopped.
fn work(shared: &(Mutex<State>, Condvar)) {
    let (lock, queued) = shared;
    let mut state = locked(lock);
    loop {
        if let Some(job) = state.waiting.pop_front() {
            drop(state);
            job();
            state = locked(lock);
        } else if state.is_stopped {
            return;
        } else {
            state.idle += 1;
            state = queued.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

fn locked(lock: &Mutex<State>) -> MutexGuard<'_, State> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_that_do_not_overlap_share_a_thread() {
        let threads = ReaderThreads::new(2);
        let (sender, receiver) = mpsc::channel();
        for _ in 0..3 {
            let sender = sender.clone();
            threads.run(move || sender.send(thread::current().id()).unwrap()).unwrap();
            receiver.recv().unwrap();
            while locked(&threads.state.0).idle == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(locked(&threads.state.0).handles.len(), 1);
        let (go, wait) = mpsc::channel::<()>();
        threads.run(move || wait.recv().unwrap()).unwrap();
        threads.run(move || go.send(()).unwrap()).unwrap();
        threads.stop();
        assert!(matches!(threads.run(|| ()), Err(StoreError::Closed)));
    }

    #[test]
    fn more_jobs_than_threads_wait_and_run() {
        let threads = ReaderThreads::new(2);
        let (sender, receiver) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        threads.run(move || wait.recv().unwrap()).unwrap();
        for number in 0..100 {
            let sender = sender.clone();
            threads.run(move || sender.send(number).unwrap()).unwrap();
        }
        assert_eq!(receiver.iter().take(100).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert_eq!(locked(&threads.state.0).handles.len(), 2);
        go.send(()).unwrap();
        threads.stop();
    }
}
