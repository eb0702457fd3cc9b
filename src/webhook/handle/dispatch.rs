//! Events on their way from the store to the handlers: of each connection in their order, and none waits for another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use super::handler::HandleError;
use super::handlers::{ConnectionHandlers, HandleOutcome, Handlers};
use super::workers::{ConnectionWork, StartedWork};
use crate::backoff::Backoff;
use crate::clock::{self, Clock};
use crate::error::{Result, on_one_line};
use crate::model::{AttemptResult, EventId, EventStatus, QueuedEvent, RawRequest, StoredEvent};
use crate::runtime::{LockGuard, Workspace};
use crate::store::{LockKey, StoreError};
use crate::sync::ingest::EventIngest;
use crate::webhook::feed::{ActivityFeed, ListenEvent};
use crate::webhook::inbound::handler_responses::{HandlerResponse, HandlerResponses};
use crate::webhook::inbound::target::ReceiveTarget;
use crate::webhook::recurring::{self, Recurring, Rest};

/// What another process brings back, or has failed, is seen after so long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Events that are read at once.
const BATCH_SIZE: u32 = 64;

/// How long an event waits after a failure.
const EVENT_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));

/// How long a queue pauses whose receiver was not there.
const RECEIVER_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(16));

/// Makes the dispatchers of connections whose events no other process handles.
pub(in crate::webhook) struct Dispatching<'a> {
    pub(in crate::webhook) workspace: &'a Workspace,
    pub(in crate::webhook) handlers: Arc<Handlers>,
    pub(in crate::webhook) max_attempts: u32,
    pub(in crate::webhook) feed: Arc<ActivityFeed>,
    /// Where answers go that services wait for.
    pub(in crate::webhook) answers: Option<Arc<HandlerResponses>>,
}

#[async_trait]
impl<'a> ConnectionWork<'a> for Dispatching<'a> {
    async fn start(&self, target: &Arc<ReceiveTarget>, stop: watch::Receiver<bool>) -> Result<StartedWork<'a>> {
        if self.handlers.is_empty() {
            return Ok(StartedWork::NotNeeded);
        }
        let workspace = self.workspace;
        let Some(lock) = workspace.try_lock(LockKey::Events(target.connection)).await? else {
            return Ok(StartedWork::HeldElsewhere);
        };
        let ingest = if self.handlers.sync {
            let connector = workspace.engine.catalogue.get(&target.connector)?;
            Some(EventIngest::new(workspace, Arc::clone(&target.store), target.name.clone(), connector))
        } else {
            None
        };
        let dispatcher = Dispatcher {
            target: Arc::clone(target),
            clock: workspace.engine.clock.clone(),
            handlers: self.handlers.for_connection(ingest),
            max_attempts: self.max_attempts,
            feed: Arc::clone(&self.feed),
            answers: self.answers.clone(),
            unreachable_count: AtomicU32::new(0),
            lock,
        };
        Ok(StartedWork::Running(Box::pin(async move { recurring::run(&dispatcher, stop).await })))
    }
}

/// Hands the events of one connection to its handlers.
struct Dispatcher<'a> {
    target: Arc<ReceiveTarget>,
    clock: Clock,
    handlers: ConnectionHandlers<'a>,
    max_attempts: u32,
    feed: Arc<ActivityFeed>,
    answers: Option<Arc<HandlerResponses>>,
    /// How often in a row nobody was there to send an event to.
    unreachable_count: AtomicU32,
    /// Held so long as this handles the connection's events: no second process does.
    lock: LockGuard,
}

/// What follows an event.
enum NextEvent {
    /// The one behind it.
    Behind,
    /// The queue is read again: it holds up those behind it.
    First,
    /// Nothing for so long.
    After(Duration),
}

impl Recurring for Dispatcher<'_> {
    async fn tick(&self, stop: &watch::Receiver<bool>) -> Rest {
        match self.process_due(stop).await {
            Ok(rest) => rest,
            Err(error) => {
                tracing::warn!("events of {} cannot be handled now: {error}", self.target.name);
                Rest::UntilWoken(POLL_INTERVAL)
            }
        }
    }

    fn wakeup(&self) -> Option<&Notify> {
        Some(&self.target.signals.to_handle)
    }
}

impl Dispatcher<'_> {
    /// Handles what is due.
    async fn process_due(&self, stop: &watch::Receiver<bool>) -> Result<Rest, StoreError> {
        loop {
            let waiting = self.target.store.events().queued(self.target.connection, BATCH_SIZE).await?;
            if waiting.is_empty() {
                return Ok(Rest::UntilWoken(POLL_INTERVAL));
            }
            for waiting in waiting {
                // It keeps its place until the vendor has said whether it sent it.
                if !waiting.verification.is_trusted() || *stop.borrow() {
                    return Ok(Rest::UntilWoken(POLL_INTERVAL));
                }
                let now = self.clock.now_millis();
                let due_at = clock::due_at(waiting.due_at, wait_after(waiting.attempts), now);
                if due_at > now {
                    let millis = due_at.as_millisecond() - now.as_millisecond();
                    let wait = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
                    return Ok(Rest::UntilWoken(wait.min(POLL_INTERVAL)));
                }
                match self.process(waiting).await? {
                    NextEvent::Behind => {}
                    NextEvent::First => break,
                    NextEvent::After(pause) => return Ok(Rest::Exactly(pause)),
                }
            }
        }
    }

    /// Handles one event.
    async fn process(&self, waiting: QueuedEvent) -> Result<NextEvent, StoreError> {
        let events = self.target.store.events();
        let (event, raw) = (events.get(waiting.id).await?, events.raw_request(waiting.id).await?);
        let (Some(event), Some(raw)): (Option<StoredEvent>, Option<RawRequest>) = (event, raw) else {
            return Ok(NextEvent::Behind);
        };
        let mut done = waiting.completed_handlers;
        let result = match self.handlers.handle(&event, &raw, &self.target.rules, &mut done).await {
            Ok(HandleOutcome::Deferred) => return Ok(NextEvent::After(POLL_INTERVAL)),
            Ok(HandleOutcome::Unreachable(error)) => {
                self.answer(event.id, None);
                return self.postpone(&event, done, &error).await;
            }
            result => result,
        };
        if self.unreachable_count.swap(0, Ordering::Relaxed) > 0 {
            self.feed.send(ListenEvent::Resumed { connection: self.target.name.clone() });
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
        self.answer(waiting.id, answer);
        if chosen {
            let connection = self.target.name.clone();
            self.feed.send(ListenEvent::Handled {
                connection,
                id: event.id,
                kind: event.kind,
                status,
                attempts,
                error,
            });
        }
        Ok(if status == EventStatus::Failed { NextEvent::First } else { NextEvent::Behind })
    }

    fn answer(&self, event: EventId, answer: Option<HandlerResponse>) {
        if let Some(answers) = &self.answers {
            answers.put(event, answer);
        }
    }

    /// Leaves an event where it is, because nobody is there to send it to: no attempt of it counts.
    async fn postpone(&self, event: &StoredEvent, done: u32, error: &HandleError) -> Result<NextEvent, StoreError> {
        let (id, error) = (event.id, on_one_line(error));
        self.target.store.events().record_progress(id, done, &error, self.lock.fence()).await?;
        let unreached = self.unreachable_count.load(Ordering::Relaxed).saturating_add(1);
        self.unreachable_count.store(unreached, Ordering::Relaxed);
        if unreached == 1 {
            self.feed.send(ListenEvent::Paused { connection: self.target.name.clone(), id, error });
        }
        Ok(NextEvent::After(pause_after(unreached)))
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
