//! Dispatches events from the store to handlers. Connections do not wait for each other, and each handles several
//! events in parallel unless the order of arrival is required.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::attempt::{HandledEvent, handle};
use super::event_queue::{EventQueue, NextEvent};
use super::handlers::{ConnectionHandlers, HandleOutcome, Handlers, HandlingOrder};
use super::workers::{ConnectionWork, StartedWork};
use crate::backoff::Backoff;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::error::{Result, on_one_line};
use crate::model::{EventId, EventProgress, EventStatus, HandlerKind, QueuedEvent};
use crate::runtime::worker::{LONGEST_SLEEP, NextWake, Running, Worker};
use crate::runtime::{Activity, LockGuard, Workspace};
use crate::store::{LockKey, StoreError};
use crate::sync::ingest::EventIngest;
use crate::webhook::feed::{ActivityFeed, HandledReport, ListenEvent};
use crate::webhook::inbound::handler_responses::{HandlerResponse, HandlerResponses};
use crate::webhook::inbound::target::ReceiveTarget;

/// What another process brings back, or has failed, is seen after so long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Events of one connection that are handled at once.
const MAX_IN_FLIGHT: usize = 8;

/// How many of them may have failed before, so that events whose handler hangs leave room for others.
const MAX_RETRIES_IN_FLIGHT: usize = 4;

/// Events that are handled beside them because a request waits for the answer.
const MAX_AWAITED_IN_FLIGHT: usize = 16;

/// How long an event waits for another process to end its sync of the stream.
const DEFERRAL: Duration = Duration::from_secs(5);

/// How long a queue pauses after its receiver was not reachable.
const RECEIVER_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(16));

/// Creates the dispatchers of connections with events that no other process handles.
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
            let connector = workspace.catalogue().get(&target.connector)?;
            Some(EventIngest::new(workspace, Arc::clone(&target.store), target.name.clone(), connector))
        } else {
            None
        };
        let mut handlers = self.handlers.for_connection(ingest);
        let connection = target.store.connections().find(&target.name).await?;
        if let Some(connection) = connection.filter(|connection| connection.user.is_some()) {
            handlers = handlers.with_consent_of(workspace, connection);
        }
        target.signals.set_handled_here(true);
        Ok(StartedWork::Worker(Box::new(Dispatcher {
            target: Arc::clone(target),
            clock: workspace.clock.clone(),
            handlers: Arc::new(handlers),
            max_attempts: self.max_attempts,
            order: self.handlers.order,
            feed: Arc::clone(&self.feed),
            answers: self.answers.clone(),
            queue: EventQueue::default(),
            running: Running::default(),
            in_flight: HashMap::new(),
            done: Vec::new(),
            pause: None,
            unreachable_count: 0,
            lock,
        })))
    }
}

/// Hands the events of one connection to its handlers.
struct Dispatcher<'a> {
    target: Arc<ReceiveTarget>,
    clock: Clock,
    handlers: Arc<ConnectionHandlers<'a>>,
    max_attempts: u32,
    order: HandlingOrder,
    feed: Arc<ActivityFeed>,
    answers: Option<Arc<HandlerResponses>>,
    queue: EventQueue,
    running: Running<'a, HandledEvent>,
    /// Events that have begun and are not recorded.
    in_flight: HashMap<EventId, InFlight>,
    /// Those of them that were handled.
    done: Vec<HandledEvent>,
    pause: Option<Pause>,
    /// How often in a row the receiver was not reachable.
    unreachable_count: u32,
    /// Held so long as this handles the connection's events: no second process does.
    lock: LockGuard,
}

/// Why an event was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InFlight {
    New,
    Retry,
    /// A request waits for the answer.
    Awaited,
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

#[async_trait]
impl Worker for Dispatcher<'_> {
    fn name(&self) -> &'static str {
        Dispatching::NAME
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        // What has ended meanwhile is recorded first.
        while let Some(Some(handled)) = self.running.next().now_or_never() {
            self.done.push(handled);
        }
        let mut running = std::mem::take(&mut self.running);
        let worked = running.beside(self.work(now)).await;
        running.append(std::mem::take(&mut self.running));
        self.running = running;
        match worked {
            // Nothing that this one does can be recorded any more. It begins again once the lock can be had.
            Err(StoreError::LeaseLost(_)) => {
                tracing::warn!("another process has taken over the events of {}", self.target.name);
                Ok(NextWake::End)
            }
            worked => Ok(worked?),
        }
    }

    async fn woken(&mut self) {
        let signals = &self.target.signals;
        let takes_more = self.pause.is_none() && self.in_flight.len() < MAX_IN_FLIGHT;
        tokio::select! {
            Some(handled) = self.running.next(), if !self.running.is_empty() => self.done.push(handled),
            () = signals.to_answer.notified() => {}
            () = signals.to_handle.notified(), if takes_more => {}
        }
    }

    /// Waits for the handlers that run, and records what they did until that succeeds: what is not recorded is done again.
    async fn finish(&mut self) -> Result<()> {
        while let Some(handled) = self.running.next().await {
            self.done.push(handled);
        }
        loop {
            match self.record(self.clock.now_millis()).await {
                // The process that has taken the lock over handles the event in any case.
                Ok(()) | Err(StoreError::LeaseLost(_)) => return Ok(()),
                Err(error) => {
                    tracing::warn!("the end of an event of {} cannot be recorded yet: {error}", self.target.name);
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn poll_interval(&self) -> Duration {
        POLL_INTERVAL
    }
}

impl Drop for Dispatcher<'_> {
    fn drop(&mut self) {
        self.target.signals.set_handled_here(false);
    }
}

impl<'a> Dispatcher<'a> {
    /// Records what was handled and begins what is due.
    async fn work(&mut self, now: Timestamp) -> Result<NextWake, StoreError> {
        self.record(now).await?;
        self.begin_awaited().await?;
        if let Some(left) = self.pause.as_ref().and_then(Pause::left) {
            return Ok(NextWake::Busy(left));
        }
        self.pause = None;
        self.begin(now).await
    }

    /// Records what the handlers made of events, and settles what follows it.
    async fn record(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let (store, fence) = (Arc::clone(&self.target.store), self.lock.fence());
        let events = store.events();
        let counted: Vec<_> = self.done.extract_if(.., |handled| handled.counts()).collect();
        let results: Vec<_> = counted.iter().map(|handled| handled.attempt_result(self.max_attempts, now)).collect();
        if !results.is_empty()
            && let Err(error) = events.record_attempts(&results, fence).await
        {
            self.done.extend(counted);
            return Err(error);
        }
        for (handled, result) in counted.into_iter().zip(results) {
            let activity = match result.status {
                EventStatus::Processed => Some(Activity::EventProcessed),
                EventStatus::Failed => Some(Activity::EventFailed),
                EventStatus::Dead => Some(Activity::EventDead),
                EventStatus::Pending => None,
            };
            activity.into_iter().for_each(|activity| self.target.metrics.count(Some(self.target.connection), activity));
            self.follow_up(handled, result.status, result.due_at);
        }
        while let Some(handled) = self.done.last() {
            // In the order of arrival it stays at the head of the queue.
            let waits = handled.is_deferred() && self.order == HandlingOrder::Unordered;
            let progress = EventProgress {
                id: handled.event.id,
                completed_handlers: handled.completed_handlers,
                error: handled.unreachable().map(|error| on_one_line(error)),
                due_at: waits.then(|| now.checked_add(DEFERRAL).unwrap_or(now)),
            };
            events.record_progress(&progress, fence).await?;
            if let Some(handled) = self.done.pop() {
                self.postpone(&handled);
            }
        }
        Ok(())
    }

    /// Answers the service, and shows what was done.
    fn follow_up(&mut self, handled: HandledEvent, status: EventStatus, next_attempt_at: Option<Timestamp>) {
        let was_reached =
            handled.runs.iter().any(|(run, _)| run.handler == HandlerKind::Forward && run.status.is_some());
        if was_reached && std::mem::take(&mut self.unreachable_count) > 0 {
            self.pause = None;
            self.feed.send(ListenEvent::Resumed { connection: self.target.name.clone() });
        }
        if status == EventStatus::Failed && self.order == HandlingOrder::Arrival {
            // It holds up those behind it.
            self.queue.clear();
        }
        let id = handled.event.id;
        self.in_flight.remove(&id);
        let (answer, error, is_selected) = match handled.result {
            Ok(HandleOutcome::Done(answer)) => (answer, None, true),
            Ok(HandleOutcome::Filtered | HandleOutcome::Deferred | HandleOutcome::Unreachable(_)) => {
                (None, None, false)
            }
            Err(error) => (None, Some(on_one_line(&error)), true),
        };
        self.answer(id, answer);
        if is_selected {
            self.feed.send(ListenEvent::Handled(Box::new(HandledReport {
                connection: self.target.name.clone(),
                id,
                kind: handled.event.kind,
                delivery_id: handled.event.delivery_id,
                status,
                attempt: handled.attempts,
                max_attempts: self.max_attempts,
                next_attempt_at,
                error,
                runs: handled.runs,
            })));
        }
    }

    /// Settles an event that could not be handled now, which is not a failure of its own.
    fn postpone(&mut self, handled: &HandledEvent) {
        let id = handled.event.id;
        self.in_flight.remove(&id);
        self.answer(id, None);
        self.queue.clear();
        let Some(error) = handled.unreachable() else {
            if self.order == HandlingOrder::Arrival {
                self.pause = Some(Pause::begin(POLL_INTERVAL));
            }
            return;
        };
        // Those that were on their way at the same time say no more than the first.
        if self.pause.is_some() {
            return;
        }
        self.unreachable_count = self.unreachable_count.saturating_add(1);
        if self.unreachable_count == 1 {
            let (connection, error) = (self.target.name.clone(), on_one_line(error));
            self.feed.send(ListenEvent::Paused { connection, id, error });
        }
        self.pause = Some(Pause::begin(pause_after(self.unreachable_count)));
    }

    fn answer(&self, event: EventId, answer: Option<HandlerResponse>) {
        if let Some(answers) = &self.answers {
            answers.put(event, answer);
        }
    }

    /// Begins the events whose requests wait for an answer, before all others.
    async fn begin_awaited(&mut self) -> Result<(), StoreError> {
        let awaited = self.target.signals.take_awaited();
        if self.order == HandlingOrder::Arrival {
            return Ok(());
        }
        for id in awaited {
            let begun = self.in_flight.values().filter(|reason| **reason == InFlight::Awaited).count();
            if self.in_flight.contains_key(&id) || begun >= MAX_AWAITED_IN_FLIGHT {
                continue;
            }
            if self.unreachable_count > 0 {
                self.answer(id, None);
                continue;
            }
            let queued = self.target.store.events().find_queued(id).await?;
            if let Some(queued) = queued.filter(|queued| queued.verification.is_trusted()) {
                self.queue.remove(id);
                self.start(queued, InFlight::Awaited).await?;
            }
        }
        Ok(())
    }

    /// Begins events that are due, so long as there is room for them.
    async fn begin(&mut self, now: Timestamp) -> Result<NextWake, StoreError> {
        // Whether somebody is there again is found out with one event.
        let slots = match self.order {
            HandlingOrder::Unordered if self.unreachable_count == 0 => MAX_IN_FLIGHT,
            HandlingOrder::Unordered | HandlingOrder::Arrival => 1,
        };
        let mut has_read = false;
        let mut next_at = None;
        while self.in_flight.len() < slots {
            let retries = self.in_flight.values().filter(|reason| **reason == InFlight::Retry).count();
            let next = self.queue.next(self.order, retries < MAX_RETRIES_IN_FLIGHT, now);
            match next {
                NextEvent::New(queued) => self.start(queued, InFlight::New).await?,
                NextEvent::Retry(queued) => self.start(queued, InFlight::Retry).await?,
                NextEvent::WaitUntil(at) => {
                    next_at = Some(at);
                    break;
                }
                NextEvent::Unconfirmed => break,
                NextEvent::None if has_read => {
                    next_at = self.queue.next_at();
                    break;
                }
                NextEvent::None => {
                    has_read = true;
                    let (events, in_flight) = (self.target.store.events(), &self.in_flight);
                    let is_begun = |id: EventId| in_flight.contains_key(&id);
                    self.queue.read(events, self.target.connection, self.order, now, is_begun).await?;
                }
            }
        }
        Ok(match next_at {
            Some(at) => NextWake::At(at),
            None if self.in_flight.is_empty() => NextWake::Idle,
            None => NextWake::Busy(LONGEST_SLEEP),
        })
    }

    /// Gives an event to its handlers.
    async fn start(&mut self, queued: QueuedEvent, reason: InFlight) -> Result<(), StoreError> {
        let found = self.target.store.events().get_with_request(queued.id).await?;
        let Some((event, raw)) = found else { return Ok(()) };
        // Another process may have decided about it since it was read.
        if !matches!(event.status, EventStatus::Pending | EventStatus::Failed) {
            return Ok(());
        }
        let timeout = self.answers.as_ref().map(|answers| answers.timeout(&self.target.rules, &event.kind));
        let wants_response = timeout.flatten().is_some();
        self.in_flight.insert(queued.id, reason);
        let (handlers, target, clock) = (Arc::clone(&self.handlers), Arc::clone(&self.target), self.clock.clone());
        self.running.push(Box::pin(async move {
            handle(&handlers, &target, queued, event, raw, wants_response, &clock).await
        }));
        Ok(())
    }
}

/// How long a queue pauses after its receiver was not reachable so often in a row. Pure.
fn pause_after(unreached: u32) -> Duration {
    RECEIVER_BACKOFF.delay(unreached)
}
