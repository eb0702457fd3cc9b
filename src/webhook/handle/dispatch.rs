//! Events on their way from the store to the handlers: of each connection in their order, and none waits for another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::handlers::{HandleError, HandleOutcome, Handlers};
use crate::backoff::Backoff;
use crate::clock::{self, Clock};
use crate::connector::WebhookDefinition;
use crate::error::on_one_line;
use crate::model::{
    AttemptResult, ConnectionId, ConnectionName, EventId, EventStatus, QueuedEvent, RawRequest, StoredEvent,
};
use crate::runtime::LockGuard;
use crate::store::{Store, StoreError};
use crate::sync::ingest::EventIngest;
use crate::webhook::inbound::handler_responses::{HandlerResponse, HandlerResponses};
use crate::webhook::listen::ListenEvent;

/// What another process brings back, or has failed, is seen after so long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Events that are read at once.
const BATCH_SIZE: u32 = 64;

/// How long an event waits after a failure.
const EVENT_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));

/// How long a queue pauses whose receiver was not there.
const RECEIVER_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(16));

/// The queue of one connection.
pub(in crate::webhook) struct HandlerQueue<'a> {
    pub(in crate::webhook) connection: ConnectionId,
    pub(in crate::webhook) name: ConnectionName,
    pub(in crate::webhook) rules: WebhookDefinition,
    pub(in crate::webhook) store: Arc<dyn Store>,
    pub(in crate::webhook) clock: Clock,
    pub(in crate::webhook) handlers: &'a Handlers,
    pub(in crate::webhook) pusher: Option<EventIngest<'a>>,
    pub(in crate::webhook) max_attempts: u32,
    /// Called when something has come.
    pub(in crate::webhook) wake: Arc<Notify>,
    pub(in crate::webhook) events: mpsc::Sender<ListenEvent>,
    /// Where answers go that services wait for.
    pub(in crate::webhook) answers: Option<Arc<HandlerResponses>>,
    /// How often in a row nobody was there to send an event to.
    pub(in crate::webhook) unreachable_count: AtomicU32,
    /// Held so long as this handles the connection's events: no second process does.
    pub(in crate::webhook) lock: LockGuard,
}

impl HandlerQueue<'_> {
    /// Handles until it is to stop; what is begun is finished.
    pub(in crate::webhook) async fn run(&self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let until = match self.process_due(&stop).await {
                Ok(until) => until,
                Err(error) => {
                    tracing::warn!("events of {} cannot be handled now: {error}", self.name);
                    None
                }
            };
            let is_paused = self.unreachable_count.load(Ordering::Relaxed) > 0;
            let wait = until.map_or(POLL_INTERVAL, |until| if is_paused { until } else { until.min(POLL_INTERVAL) });
            tokio::select! {
                () = self.wake.notified(), if !is_paused => {}
                () = tokio::time::sleep(wait) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Handles what is due, and says how long the next one still waits.
    async fn process_due(&self, stop: &watch::Receiver<bool>) -> Result<Option<Duration>, StoreError> {
        loop {
            let waiting = self.store.events().queued(self.connection, BATCH_SIZE).await?;
            if waiting.is_empty() {
                return Ok(None);
            }
            for waiting in waiting {
                // It keeps its place until the vendor has said whether it sent it.
                if !waiting.verification.is_trusted() {
                    return Ok(None);
                }
                let now = self.clock.now_millis();
                let due_at = clock::due_at(waiting.due_at, wait_after(waiting.attempts), now);
                if due_at > now {
                    let millis = due_at.as_millisecond() - now.as_millisecond();
                    return Ok(Some(Duration::from_millis(u64::try_from(millis).unwrap_or_default())));
                }
                if *stop.borrow() {
                    return Ok(None);
                }
                let was_done = self.process(waiting).await?;
                if self.unreachable_count.load(Ordering::Relaxed) > 0 {
                    return Ok(Some(pause_after(self.unreachable_count.load(Ordering::Relaxed))));
                }
                if !was_done {
                    break;
                }
            }
        }
    }

    /// Whether the next one may follow: one that failed holds up those behind it.
    async fn process(&self, waiting: QueuedEvent) -> Result<bool, StoreError> {
        let events = self.store.events();
        let (event, raw) = (events.get(waiting.id).await?, events.raw_request(waiting.id).await?);
        let (Some(event), Some(raw)): (Option<StoredEvent>, Option<RawRequest>) = (event, raw) else {
            return Ok(true);
        };
        let mut done = waiting.completed_handlers;
        let pusher = self.pusher.as_ref();
        let result = self.handlers.handle(&event, &raw, &self.rules, pusher, &mut done).await;
        if matches!(result, Ok(HandleOutcome::Deferred)) {
            tokio::time::sleep(POLL_INTERVAL).await;
            return Ok(false);
        }
        let result = match result {
            Ok(HandleOutcome::Unreachable(error)) => {
                self.answer(event.id, None);
                self.postpone(&event, done, &error).await?;
                return Ok(false);
            }
            result => result,
        };
        if self.unreachable_count.swap(0, Ordering::Relaxed) > 0 {
            let _ = self.events.send(ListenEvent::Resumed { connection: self.name.clone() }).await;
        }
        let attempts = waiting.attempts.saturating_add(1);
        let chosen = !matches!(result, Ok(HandleOutcome::Filtered));
        let (error, answer) = match result {
            Ok(HandleOutcome::Done(answer)) => (None, answer),
            Ok(_) => (None, None),
            Err(error) => (Some(on_one_line(&error)), None),
        };
        let status = match &error {
            None => EventStatus::Processed,
            Some(_) if attempts >= self.max_attempts => EventStatus::Dead,
            Some(_) => EventStatus::Failed,
        };
        let due_at = (status == EventStatus::Failed).then(|| {
            let now = self.clock.now_millis();
            now.checked_add(wait_after(attempts)).unwrap_or(now)
        });
        let ended = AttemptResult { id: event.id, status, due_at, error: error.clone(), completed_handlers: done };
        // What was handled must be known to be, or it would be handled again.
        while let Err(failure) = events.record_attempts(std::slice::from_ref(&ended), self.lock.fence()).await {
            tracing::warn!("the end of event {} cannot be noted yet: {failure}", event.id.0);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let seen = ListenEvent::Handled {
            connection: self.name.clone(),
            id: event.id,
            kind: event.kind,
            status,
            attempts,
            error,
        };
        self.answer(waiting.id, answer);
        if chosen {
            let _ = self.events.send(seen).await;
        }
        Ok(status != EventStatus::Failed)
    }

    fn answer(&self, event: EventId, answer: Option<HandlerResponse>) {
        if let Some(answers) = &self.answers {
            answers.put(event, answer);
        }
    }

    /// Leaves an event where it is, because nobody is there to send it to: no attempt of it counts.
    async fn postpone(&self, event: &StoredEvent, done: u32, error: &HandleError) -> Result<(), StoreError> {
        let (id, error) = (event.id, on_one_line(error));
        self.store.events().record_progress(id, done, &error, self.lock.fence()).await?;
        let unreached = self.unreachable_count.load(Ordering::Relaxed).saturating_add(1);
        self.unreachable_count.store(unreached, Ordering::Relaxed);
        if unreached == 1 {
            let _ = self.events.send(ListenEvent::Paused { connection: self.name.clone(), id, error }).await;
        }
        Ok(())
    }
}

/// How long a queue pauses whose receiver was not there so often in a row. Pure.
fn pause_after(unreached: u32) -> Duration {
    RECEIVER_BACKOFF.delay(unreached)
}

/// How long an event waits that has failed so often; one that has just come does not wait. Pure.
fn wait_after(attempts: u32) -> Duration {
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
