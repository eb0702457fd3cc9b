//! Blocking work, off the threads of the runtime.

use std::{future, panic};

use tokio::task;

/// Runs work that blocks (files, the keyring, long computing) on a thread for it. A panic goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        // The runtime is ending, and polls nobody again.
        Err(_) => future::pending().await,
    }
}
