//! Work in progress of a worker, which is recorded when it ends.

use crate::runtime::BoxFuture;

/// What a worker has begun. Nothing else is begun until its result is recorded.
pub(in crate::webhook) enum InFlight<'a, T> {
    Nothing,
    Running(BoxFuture<'a, T>),
    /// Its result, until that is recorded.
    Done(T),
}

impl<T> InFlight<'_, T> {
    /// Drives what runs until it has ended. It may be dropped at any time and called again.
    pub(in crate::webhook) async fn drive(&mut self) {
        if let Self::Running(running) = self {
            *self = Self::Done(running.await);
        }
    }

    /// Whether something was begun that has not ended.
    pub(in crate::webhook) fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_where_it_was_after_its_driver_was_dropped() {
        let (finish, finished) = oneshot::channel();
        let mut in_flight = InFlight::Running(Box::pin(finished));
        assert!(in_flight.drive().now_or_never().is_none() && in_flight.is_running());
        finish.send("done").unwrap();
        in_flight.drive().await;
        assert!(matches!(in_flight, InFlight::Done(Ok("done"))) && !in_flight.is_running());
        in_flight.drive().await;
        assert!(matches!(in_flight, InFlight::Done(_)), "it is there until it is taken");
    }
}
