//! The threads on which a store is read, started by the reads that need them.
//!
//! They are few and stay, because the C library keeps what a thread has freed for that thread: with the runtime's threads for
//! blocking work, of which each read may get another, a server held several times the memory that it needed.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::StoreError;

type Job = Box<dyn FnOnce() + Send>;

/// The threads of one store. There are as many as jobs have run at a time.
#[derive(Debug, Default)]
pub(super) struct ReaderThreads {
    threads: Mutex<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    /// The ways to those that wait for a job.
    idle: Vec<Sender<Job>>,
    handles: Vec<JoinHandle<()>>,
    is_stopped: bool,
}

impl ReaderThreads {
    /// Runs a job on an idle thread, or on a new one. `permit` is dropped once the thread is idle again.
    pub(super) fn run(
        self: &Arc<Self>,
        permit: impl Send + 'static,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), StoreError> {
        let thread = self.take_idle()?;
        let (threads, back) = (Arc::clone(self), thread.clone());
        let job: Job = Box::new(move || {
            job();
            threads.put_back(back);
            drop(permit);
        });
        thread.send(job).map_err(|_| StoreError::Closed)
    }

    fn take_idle(&self) -> Result<Sender<Job>, StoreError> {
        let mut threads = self.lock();
        if threads.is_stopped {
            return Err(StoreError::Closed);
        }
        if let Some(thread) = threads.idle.pop() {
            return Ok(thread);
        }
        let (jobs, given) = mpsc::channel::<Job>();
        let work = move || {
            while let Ok(job) = given.recv() {
                job();
            }
        };
        threads.handles.push(thread::Builder::new().name("store-reader".to_owned()).spawn(work)?);
        Ok(jobs)
    }

    fn put_back(&self, thread: Sender<Job>) {
        let mut threads = self.lock();
        if !threads.is_stopped {
            threads.idle.push(thread);
        }
    }

    /// Waits for the reads that run, which take milliseconds, and ends the threads.
    pub(super) fn stop(&self) {
        let handles = {
            let mut threads = self.lock();
            threads.is_stopped = true;
            threads.idle.clear();
            std::mem::take(&mut threads.handles)
        };
        for handle in handles {
            // What a read holds may be the last of the store.
            if handle.thread().id() != thread::current().id() {
                let _ = handle.join();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_do_not_overlap_share_a_thread() {
        let threads = Arc::new(ReaderThreads::default());
        let (sender, receiver) = mpsc::channel();
        for _ in 0..3 {
            let sender = sender.clone();
            threads.run((), move || sender.send(thread::current().id()).unwrap()).unwrap();
            receiver.recv().unwrap();
            while threads.lock().idle.is_empty() {
                thread::yield_now();
            }
        }
        assert_eq!(threads.lock().handles.len(), 1);
        let (go, wait) = mpsc::channel::<()>();
        threads.run((), move || wait.recv().unwrap()).unwrap();
        threads.run((), move || go.send(()).unwrap()).unwrap();
        threads.stop();
        assert!(matches!(threads.run((), || ()), Err(StoreError::Closed)));
    }
}
