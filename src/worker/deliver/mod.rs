//! Delivers messages to endpoints, each endpoint independently.
//!
//! One loop decides and writes; the attempts run beside it. What ended together is recorded in one commit. An endpoint has
//! few attempts at a time, so that one that hangs fills no more than its own places, and those that are slow or fail share
//! places of their own: however many they are, they take none from those that answer.
//!
//! Of a workspace one process delivers at a time, under [`LockKey::Deliveries`]. Nothing is noted before an attempt, so that
//! what a killed worker had sent is sent again.

mod queue;
mod record;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::{Id, JoinSet};

use self::queue::EndpointQueue;
use super::Report;
use crate::clock::{Stopwatch, Timestamp};
use crate::endpoint::DeliverySender;
use crate::endpoint::retry_schedule::{DeliveryOutcome, MAX_WAIT};
use crate::error::Result;
use crate::model::EndpointId;
use crate::model::delivery::{Delivery, DeliveryAttempt, DeliveryFilter, DeliveryId, DeliveryStatus, RecordedAttempt};
use crate::runtime::worker::{NextWake, RunUntil, Worker, run};
use crate::runtime::{LockGuard, Workspace};
use crate::store::{Fence, LockKey, Store, StoreError};

/// How soon is seen what another process has sent.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How often due times are looked at that a fast clock has written.
const CLAMP_INTERVAL: Duration = Duration::from_secs(60);

/// A delivery that was put off by a clock that was set back comes within this.
const SPREAD: Duration = Duration::from_secs(300);

/// How long attempts may go on when the worker is stopped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often what has ended is tried to be recorded at the end, and the delay in between.
const MAX_FINAL_TRIES: u32 = 5;
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// What is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryScope {
    All,
    /// The deliveries of one message.
    Message(String),
}

/// One attempt and what it led to.
#[derive(Debug)]
pub struct CompletedAttempt {
    pub recorded: RecordedAttempt,
    pub attempt: DeliveryAttempt,
}

/// What became of the deliveries that were tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliverySummary {
    pub delivered: u64,
    pub failed: u64,
    pub dead: u64,
}

/// Delivers messages to endpoints.
pub struct DeliveryWorker<'a> {
    workspace: &'a Workspace,
    scope: DeliveryScope,
    /// Sees each attempt once it is recorded.
    on_attempt: Report<'a, CompletedAttempt>,
    sender: Arc<DeliverySender>,
    /// Absent while another process delivers.
    lock: Option<LockGuard>,
    queues: Vec<EndpointQueue>,
    /// Which queue is asked first, so that none always is.
    first: usize,
    running: JoinSet<(DeliveryAttempt, DeliveryOutcome)>,
    in_flight: HashMap<Id, (EndpointId, DeliveryId)>,
    unrecorded: Vec<(DeliveryId, DeliveryAttempt, DeliveryOutcome)>,
    last_look: Option<Stopwatch>,
    last_clamped: Option<Stopwatch>,
    /// When the first delivery to an enabled endpoint is due, as of the last look.
    next_due: Option<Timestamp>,
    summary: DeliverySummary,
}

impl<'a> DeliveryWorker<'a> {
    /// Creates a worker that delivers as soon as no other process does.
    pub fn new(workspace: &'a Workspace, scope: DeliveryScope, on_attempt: Report<'a, CompletedAttempt>) -> Self {
        Self {
            workspace,
            scope,
            on_attempt,
            sender: Arc::new(DeliverySender::new(&workspace.engine.config, workspace.clock.clone())),
            lock: None,
            queues: Vec::new(),
            first: 0,
            running: JoinSet::new(),
            in_flight: HashMap::new(),
            unrecorded: Vec::new(),
            last_look: None,
            last_clamped: None,
            next_due: None,
            summary: DeliverySummary::default(),
        }
    }

    /// Creates a worker that delivers now; `None` if another process does.
    ///
    /// # Errors
    /// The vault's.
    pub async fn try_start(
        workspace: &'a Workspace,
        scope: DeliveryScope,
        on_attempt: Report<'a, CompletedAttempt>,
    ) -> Result<Option<Self>> {
        let Some(lock) = workspace.try_lock(LockKey::Deliveries).await? else { return Ok(None) };
        Ok(Some(Self { lock: Some(lock), ..Self::new(workspace, scope, on_attempt) }))
    }

    /// Returns the number of attempts so far, by the status of the delivery after each.
    pub fn summary(&self) -> DeliverySummary {
        self.summary
    }

    /// The number that commits name; `None` if another process delivers.
    async fn fence(&mut self) -> Result<Option<Fence>> {
        if self.lock.is_none() {
            self.lock = self.workspace.try_lock(LockKey::Deliveries).await?;
        }
        Ok(self.lock.as_ref().map(LockGuard::fence))
    }

    async fn deliver_due(&mut self, store: &dyn Store, fence: Fence, now: Timestamp) -> Result<NextWake, StoreError> {
        self.take_ended();
        self.record(store, fence).await?;
        self.find_due(store, now).await?;
        let pause = self.start_attempts(store, fence, now).await?;
        Ok(match (pause, self.next_due) {
            (Some(pause), _) => NextWake::Busy(pause),
            (None, _) if !self.running.is_empty() => NextWake::Busy(POLL_INTERVAL),
            // Those of an endpoint that is paused are overdue, and are found by the next look.
            (None, Some(due)) if due > now => NextWake::At(due),
            (None, _) => NextWake::Idle,
        })
    }

    /// Reads the endpoints again from time to time, if anything is due.
    async fn find_due(&mut self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        if self.last_look.is_some_and(|look| look.elapsed() < POLL_INTERVAL) {
            return Ok(());
        }
        self.last_look = Some(Stopwatch::start());
        if self.last_clamped.is_none_or(|clamped| clamped.elapsed() >= CLAMP_INTERVAL) {
            self.last_clamped = Some(Stopwatch::start());
            store.outbox().clamp_due_times(now, MAX_WAIT, SPREAD).await?;
        }
        self.next_due = store.outbox().next_due().await?;
        if self.next_due.is_none_or(|due| due > now) {
            return Ok(());
        }
        let endpoints = store.endpoints().list().await?;
        let mut known: HashMap<EndpointId, EndpointQueue> =
            self.queues.drain(..).map(|queue| (queue.endpoint.id.clone(), queue)).collect();
        self.queues = endpoints
            .into_iter()
            .map(|endpoint| match known.remove(&endpoint.id) {
                Some(queue) => queue.with_endpoint(endpoint),
                None => EndpointQueue::new(endpoint),
            })
            .collect();
        Ok(())
    }

    /// Forgets everything that depends on the lock, because another process has taken it over. That process knows nothing
    /// of attempts that were not recorded, and makes them again; what they came to here may no longer hold.
    fn stand_by(&mut self) {
        self.lock = None;
        self.running = JoinSet::new();
        self.in_flight.clear();
        self.unrecorded.clear();
        self.queues.clear();
        self.last_look = None;
    }
}

#[async_trait]
impl Worker for DeliveryWorker<'_> {
    fn name(&self) -> &'static str {
        "delivery"
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        if !self.workspace.has_vault() {
            return Ok(NextWake::Idle);
        }
        let Some(fence) = self.fence().await? else { return Ok(NextWake::Idle) };
        let workspace = self.workspace;
        match self.deliver_due(workspace.store().await?, fence, now).await {
            Err(error @ StoreError::LeaseLost(_)) => {
                tracing::warn!("deliveries stop here for now: {error}");
                self.stand_by();
                Ok(NextWake::Busy(POLL_INTERVAL))
            }
            result => Ok(result?),
        }
    }

    async fn woken(&mut self) {
        match self.running.join_next_with_id().await {
            Some(ended) => self.take(ended),
            None => std::future::pending().await,
        }
    }

    async fn finish(&mut self) -> Result<()> {
        let Some(fence) = self.lock.as_ref().map(LockGuard::fence) else { return Ok(()) };
        let ending = async {
            while let Some(ended) = self.running.join_next_with_id().await {
                self.take(ended);
            }
        };
        // What does not end in time is sent again by the next worker.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, ending).await;
        let workspace = self.workspace;
        let mut tries = 0;
        let recorded = loop {
            tries += 1;
            match self.record(workspace.store().await?, fence).await {
                // What is not recorded is sent again: a disk that was full for a moment is worth a few tries.
                Err(error) if tries < MAX_FINAL_TRIES => {
                    tracing::debug!("what was sent cannot be recorded yet: {error}");
                    tokio::time::sleep(STORE_RETRY_DELAY).await;
                }
                result => break result,
            }
        };
        if let Some(lock) = self.lock.take() {
            lock.release().await;
        }
        Ok(recorded?)
    }

    fn poll_interval(&self) -> Duration {
        POLL_INTERVAL
    }
}

/// Waits until every delivery of a message was tried, by whichever process delivers: this one, if no other does.
///
/// # Errors
/// The vault's.
pub async fn wait_for_message(workspace: &Workspace, message: &str, most: Duration) -> Result<Vec<Delivery>> {
    let waiting = Stopwatch::start();
    let filter = DeliveryFilter { message: Some(message.to_owned()), limit: u32::MAX, ..DeliveryFilter::default() };
    loop {
        let is_tried = |delivery: &Delivery| delivery.status != DeliveryStatus::Pending;
        let deliveries = workspace.store().await?.outbox().list(&filter).await?;
        if deliveries.iter().all(is_tried) || waiting.elapsed() > most {
            return Ok(deliveries);
        }
        let scope = DeliveryScope::Message(message.to_owned());
        if let Some(mut worker) = DeliveryWorker::try_start(workspace, scope, Box::new(|_| {})).await? {
            run(&mut worker, workspace, RunUntil::Idle, std::future::pending()).await?;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
