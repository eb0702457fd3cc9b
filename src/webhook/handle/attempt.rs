//! One attempt to handle an event, and its log entry.

use std::time::Duration;

use super::handler::HandleError;
use super::handlers::{ConnectionHandlers, HandleOutcome, HandledBy};
use crate::backoff::Backoff;
use crate::clock::{Clock, Timestamp};
use crate::error::on_one_line;
use crate::model::{AttemptResult, EventStatus, HandlerRun, QueuedEvent, RawRequest, StoredEvent};
use crate::webhook::inbound::target::ReceiveTarget;

/// How long an event waits after a failure.
const EVENT_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), LONGEST_WAIT);

/// The longest of these waits.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// An event, and what its handlers made of it.
pub(super) struct HandledEvent {
    pub(super) event: StoredEvent,
    /// With this one.
    pub(super) attempts: u32,
    pub(super) completed_handlers: u32,
    pub(super) result: Result<HandleOutcome, HandleError>,
    /// What each handler did, with what it was given the event for.
    pub(super) runs: Vec<(HandlerRun, String)>,
}

impl HandledEvent {
    /// Whether the attempt counts.
    pub(super) fn counts(&self) -> bool {
        !self.is_deferred() && self.unreachable().is_none()
    }

    /// Whether it waits for another process to end what it does.
    pub(super) fn is_deferred(&self) -> bool {
        matches!(self.result, Ok(HandleOutcome::Deferred))
    }

    /// Why it was not delivered, if nothing listens there.
    pub(super) fn unreachable(&self) -> Option<&HandleError> {
        match &self.result {
            Ok(HandleOutcome::Unreachable(error)) => Some(error),
            _ => None,
        }
    }

    /// What is recorded of an attempt that counts.
    pub(super) fn attempt_result(&self, max_attempts: u32, now: Timestamp) -> AttemptResult {
        let status = match &self.result {
            Ok(_) => EventStatus::Processed,
            // It fails again until the binding is changed: `integ binding retry` then brings the event back.
            Err(HandleError::Binding { .. }) => EventStatus::Dead,
            Err(_) if self.attempts >= max_attempts => EventStatus::Dead,
            Err(_) => EventStatus::Failed,
        };
        let retry_at = || now.checked_add(wait_after(self.attempts)).unwrap_or(now);
        let run = |run: &HandlerRun| match &run.error {
            Some(_) => run.clone(),
            // What was printed and answered is stored to find faults by.
            None => HandlerRun { output: Vec::new(), ..run.clone() },
        };
        AttemptResult {
            id: self.event.id,
            status,
            due_at: (status == EventStatus::Failed).then(retry_at),
            error: self.result.as_ref().err().map(|error| on_one_line(error)),
            completed_handlers: self.completed_handlers,
            runs: self.runs.iter().map(|(one, _)| run(one)).collect(),
        }
    }
}

/// Gives one event to its handlers.
pub(super) async fn handle(
    handlers: &ConnectionHandlers<'_>,
    target: &ReceiveTarget,
    queued: QueuedEvent,
    event: StoredEvent,
    raw: RawRequest,
    wants_response: bool,
    clock: &Clock,
) -> HandledEvent {
    let completed = queued.completed_handlers;
    let HandledBy { result, completed, runs } =
        handlers.handle((&event, &raw), target, completed, wants_response, clock).await;
    HandledEvent { event, attempts: queued.attempts.saturating_add(1), completed_handlers: completed, result, runs }
}

/// How long an event waits that has failed so often; one that has just come does not wait. Pure.
pub(super) fn wait_after(attempts: u32) -> Duration {
    EVENT_BACKOFF.delay(attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_a_second_to_five_minutes() {
        let waits = [0, 1, 2, 3, 9, 10, u32::MAX].map(|attempts| wait_after(attempts).as_secs());
        assert_eq!(waits, [0, 1, 2, 4, 256, 300, 300]);
    }
}
