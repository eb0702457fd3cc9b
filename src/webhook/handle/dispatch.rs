//! Events on their way from the store to the handlers: of each connection in their order, and none waits for another's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::handler::HandleError;
use super::handlers::{ConnectionHandlers, HandleOutcome, Handlers};
use super::in_flight::InFlight;
use super::workers::{ConnectionWork, StartedWork};
use crate::backoff::Backoff;
use crate::clock::{self, Clock, Stopwatch, Timestamp};
use crate::error::{Result, on_one_line};
use crate::model::{AttemptResult, EventId, EventStatus, QueuedEvent, RawRequest, StoredEvent};
use crate::runtime::worker::{LONGEST_SLEEP, NextWake, Worker};
use crate::runtime::{LockGuard, Workspace};
use crate::store::{LockKey, StoreError};
use crate::sync::ingest::EventIngest;
use crate::webhook::feed::{ActivityFeed, ListenEvent};
use crate::webhook::inbound::handler_responses::{HandlerResponse, HandlerResponses};
use crate::webhook::inbound::target::ReceiveTarget;

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
    const NAME: &'static str = "event handling";

    async fn start(&self, target: &Arc<ReceiveTarget>) -> Result<StartedWork<'a>> {
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
        Ok(StartedWork::Worker(Box::new(Dispatcher {
            target: Arc::clone(target),
            clock: workspace.engine.clock.clone(),
            handlers: Arc::new(self.handlers.for_connection(ingest)),
            max_attempts: self.max_attempts,
            feed: Arc::clone(&self.feed),
            answers: self.answers.clone(),
            queue: VecDeque::new(),
            in_flight: InFlight::Nothing,
            pause: None,
            unreachable_count: 0,
            lock,
        })))
    }
}

/// Hands the events of one connection to its handlers, one after the other.
struct Dispatcher<'a> {
    target: Arc<ReceiveTarget>,
    clock: Clock,
    handlers: Arc<ConnectionHandlers<'a>>,
    max_attempts: u32,
    feed: Arc<ActivityFeed>,
    answers: Option<Arc<HandlerResponses>>,
    /// Events that were read and not begun, in their order.
    queue: VecDeque<QueuedEvent>,
    in_flight: InFlight<'a, HandledEvent>,
    pause: Option<Pause>,
    /// How often in a row nobody was there to send an event to.
    unreachable_count: u32,
    /// Held so long as this handles the connection's events: no second process does.
    lock: LockGuard,
}

/// A time in which no event is begun, not even one that is new.
struct Pause {
    began: Stopwatch,
    length: Duration,
}

impl Pause {
    fn begin(length: Duration) -> Self {
        Self { began: Stopwatch::start(), length }
    }

    /// Returns how long it goes on; `None` if it is over.
    fn left(&self) -> Option<Duration> {
        self.length.checked_sub(self.began.elapsed()).filter(|left| !left.is_zero())
    }
}

/// An event, and what its handlers made of it.
struct HandledEvent {
    event: StoredEvent,
    /// With this one.
    attempts: u32,
    completed_handlers: u32,
    result: Result<HandleOutcome, HandleError>,
}

impl HandledEvent {
    /// The event's status, if the attempt counts.
    fn status(&self, max_attempts: u32) -> EventStatus {
        match &self.result {
            Ok(_) => EventStatus::Processed,
            Err(_) if self.attempts >= max_attempts => EventStatus::Dead,
            Err(_) => EventStatus::Failed,
        }
    }

    /// What is recorded of an attempt that counts.
    fn attempt_result(&self, max_attempts: u32, now: Timestamp) -> AttemptResult {
        let status = self.status(max_attempts);
        let retry_at = || now.checked_add(wait_after(self.attempts)).unwrap_or(now);
        AttemptResult {
            id: self.event.id,
            status,
            due_at: (status == EventStatus::Failed).then(retry_at),
            error: self.result.as_ref().err().map(|error| on_one_line(error)),
            completed_handlers: self.completed_handlers,
        }
    }
}

#[async_trait]
impl Worker for Dispatcher<'_> {
    fn name(&self) -> &'static str {
        Dispatching::NAME
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        if self.in_flight.is_running() {
            return Ok(NextWake::Busy(LONGEST_SLEEP));
        }
        self.record(now).await?;
        if let Some(left) = self.pause.as_ref().and_then(Pause::left) {
            return Ok(NextWake::Busy(left));
        }
        self.pause = None;
        Ok(self.begin_next(now).await?)
    }

    async fn woken(&mut self) {
        if self.in_flight.is_running() {
            self.in_flight.drive().await;
        } else if self.pause.is_some() {
            std::future::pending::<()>().await;
        } else {
            self.target.signals.to_handle.notified().await;
        }
    }

    /// Waits for the handlers that run, and records what they did until that succeeds: what is not recorded is done again.
    async fn finish(&mut self) -> Result<()> {
        self.in_flight.drive().await;
        loop {
            match self.record(self.clock.now_millis()).await {
                // The process that has taken the lock over handles the event in any case.
                Ok(()) | Err(StoreError::LeaseLost(_)) => return Ok(()),
                Err(error) => {
                    tracing::warn!("the end of an event of {} cannot be noted yet: {error}", self.target.name);
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn poll_interval(&self) -> Duration {
        POLL_INTERVAL
    }
}

impl Dispatcher<'_> {
    /// Records what the handlers made of an event, and settles what follows it.
    async fn record(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let InFlight::Done(handled) = &self.in_flight else { return Ok(()) };
        let (events, fence) = (self.target.store.events(), self.lock.fence());
        match &handled.result {
            Ok(HandleOutcome::Deferred) => {}
            // It stays where it is, and no attempt counts.
            Ok(HandleOutcome::Unreachable(error)) => {
                let (id, error) = (handled.event.id, on_one_line(error));
                events.record_progress(id, handled.completed_handlers, &error, fence).await?;
            }
            Ok(HandleOutcome::Done(_) | HandleOutcome::Filtered) | Err(_) => {
                events.record_attempts(&[handled.attempt_result(self.max_attempts, now)], fence).await?;
            }
        }
        if let InFlight::Done(handled) = std::mem::replace(&mut self.in_flight, InFlight::Nothing) {
            self.follow_up(handled);
        }
        Ok(())
    }

    /// Answers the service, shows what was done, and pauses if the event is to be begun again.
    fn follow_up(&mut self, handled: HandledEvent) {
        let status = handled.status(self.max_attempts);
        let HandledEvent { event, attempts, result, .. } = handled;
        let (answer, error, is_selected) = match result {
            Ok(HandleOutcome::Deferred) => return self.pause_for(POLL_INTERVAL),
            Ok(HandleOutcome::Unreachable(error)) => return self.postpone(event.id, &error),
            Ok(HandleOutcome::Done(answer)) => (answer, None, true),
            Ok(HandleOutcome::Filtered) => (None, None, false),
            Err(error) => (None, Some(on_one_line(&error)), true),
        };
        if std::mem::take(&mut self.unreachable_count) > 0 {
            self.feed.send(ListenEvent::Resumed { connection: self.target.name.clone() });
        }
        if status == EventStatus::Failed {
            // It holds up those behind it.
            self.queue.clear();
        }
        self.answer(event.id, answer);
        if is_selected {
            let (connection, id, kind) = (self.target.name.clone(), event.id, event.kind);
            self.feed.send(ListenEvent::Handled { connection, id, kind, status, attempts, error });
        }
    }

    /// Pauses, because nobody is there to send an event to.
    fn postpone(&mut self, id: EventId, error: &HandleError) {
        self.answer(id, None);
        self.unreachable_count = self.unreachable_count.saturating_add(1);
        if self.unreachable_count == 1 {
            let (connection, error) = (self.target.name.clone(), on_one_line(error));
            self.feed.send(ListenEvent::Paused { connection, id, error });
        }
        self.pause_for(pause_after(self.unreachable_count));
    }

    fn pause_for(&mut self, length: Duration) {
        self.queue.clear();
        self.pause = Some(Pause::begin(length));
    }

    fn answer(&self, event: EventId, answer: Option<HandlerResponse>) {
        if let Some(answers) = &self.answers {
            answers.put(event, answer);
        }
    }

    /// Gives the next event to its handlers, if it is due. If not, the rest of the queue is read again later.
    async fn begin_next(&mut self, now: Timestamp) -> Result<NextWake, StoreError> {
        let events = self.target.store.events();
        let mut queue = std::mem::take(&mut self.queue);
        if queue.is_empty() {
            queue = events.queued(self.target.connection, BATCH_SIZE).await?.into();
        }
        while let Some(queued) = queue.pop_front() {
            // It keeps its place until the vendor has said whether it sent it.
            if !queued.verification.is_trusted() {
                return Ok(NextWake::Idle);
            }
            let due_at = clock::due_at(queued.due_at, wait_after(queued.attempts), now);
            if due_at > now {
                return Ok(NextWake::At(due_at));
            }
            let (event, raw) = (events.get(queued.id).await?, events.raw_request(queued.id).await?);
            let (Some(event), Some(raw)) = (event, raw) else { continue };
            self.queue = queue;
            let (handlers, target) = (Arc::clone(&self.handlers), Arc::clone(&self.target));
            self.in_flight = InFlight::Running(Box::pin(handle(handlers, target, queued, event, raw)));
            return Ok(NextWake::Busy(LONGEST_SLEEP));
        }
        Ok(NextWake::Idle)
    }
}

/// Gives one event to its handlers.
async fn handle(
    handlers: Arc<ConnectionHandlers<'_>>,
    target: Arc<ReceiveTarget>,
    queued: QueuedEvent,
    event: StoredEvent,
    raw: RawRequest,
) -> HandledEvent {
    let mut completed_handlers = queued.completed_handlers;
    let result = handlers.handle(&event, &raw, &target.rules, &mut completed_handlers).await;
    HandledEvent { event, attempts: queued.attempts.saturating_add(1), completed_handlers, result }
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
