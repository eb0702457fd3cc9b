//! The worker: sends what is due, each endpoint for itself.
//!
//! One loop decides and writes; the attempts run beside it. What ended together is recorded in one commit. An endpoint has
//! few attempts at a time, so that one that hangs fills no more than its own places, and those that are slow or fail share
//! places of their own: however many they are, they take none from those that answer.
//!
//! Of a workspace one process delivers at a time, under [`LockKey::Deliveries`]. Nothing is noted before an attempt, so that what a killed worker had sent is sent again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

use super::EndpointError;
use super::attempt::DeliverySender;
use super::schedule::{self, DeliveryOutcome, DeliveryProgress, MAX_WAIT};
use crate::clock::{self, Clock, Stopwatch, Timestamp};
use crate::error::{Kind, Remedy};
use crate::http::RateLimiter;
use crate::model::delivery::{Delivery, DeliveryAttempt, DeliveryFilter, DeliveryId, DeliveryStatus, RecordedAttempt};
use crate::model::{AttemptRecord, DisabledReason, Endpoint, EndpointId, Message, Notification};
use crate::runtime::Workspace;
use crate::store::{Fence, LockKey, Store, StoreError};

/// Attempts at a time of an endpoint that answers at once, and of one that does not.
const MAX_CONCURRENT: usize = 8;
const MAX_CONCURRENT_SLOW: usize = 4;

/// Attempts at a time of all endpoints that answer at once, and of all others. Together they stay below the number of
/// files that a process may have open, and of threads that resolve names.
const MAX_CONCURRENT_TOTAL: usize = 250;

/// An endpoint whose last answer took longer, or that has not answered for so long, is slow.
const SLOW: Duration = Duration::from_secs(1);

/// How soon is seen what another process has sent.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What else is looked after, and how often.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// A delivery that was put off by a clock that was set back comes within this.
const SPREAD: Duration = Duration::from_secs(300);

/// Messages that are removed at a time.
const PRUNED_TOGETHER: usize = 1000;

/// How long attempts may go on when the worker is stopped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a store that cannot be written is left alone, and how often it may refuse a worker that is to end by itself.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_STORE_FAILURES: u32 = 5;

/// What is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryScope {
    All,
    /// The deliveries of one message.
    Message(String),
}

/// When the worker returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCondition {
    /// Nothing is due at this moment.
    Idle,
    /// It is stopped.
    Stopped,
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

struct DeliveryWorker<'a> {
    workspace: &'a Workspace,
    store: &'a dyn Store,
    clock: &'a Clock,
    sender: Arc<DeliverySender>,
    /// Of the lock that this worker holds.
    fence: Fence,
    scope: &'a DeliveryScope,
    queues: Vec<EndpointQueue>,
    /// Which lane is asked first, so that none always is.
    first: usize,
    running: JoinSet<(DeliveryAttempt, DeliveryOutcome)>,
    in_flight: HashMap<Id, (EndpointId, DeliveryId)>,
    unrecorded: Vec<(DeliveryId, DeliveryAttempt, DeliveryOutcome)>,
    store_failures: u32,
    last_pruned: Option<Stopwatch>,
    summary: DeliverySummary,
}

/// What concerns one endpoint.
struct EndpointQueue {
    endpoint: Endpoint,
    rate_limiter: RateLimiter,
    running: HashMap<DeliveryId, Stopwatch>,
    is_slow: bool,
    /// Whether more may be due.
    may_have_due: bool,
    /// How long its rate makes it wait.
    rate_limited_for: Option<Duration>,
}

/// Delivers what is due until it is stopped, or nothing is due. `on_attempt` sees each attempt once it is recorded.
///
/// # Errors
/// [`EndpointError::AlreadyRunning`] where another process delivers; [`EndpointError::Store`].
pub async fn deliver(
    workspace: &Workspace,
    work: &DeliveryScope,
    until: StopCondition,
    stop: impl Future<Output = ()>,
    mut on_attempt: impl FnMut(&CompletedAttempt),
) -> crate::error::Result<DeliverySummary> {
    let lock = workspace.try_lock(LockKey::Deliveries).await?.ok_or(EndpointError::AlreadyRunning)?;
    let mut worker = DeliveryWorker {
        workspace,
        store: workspace.store().await?,
        clock: &workspace.engine.clock,
        sender: Arc::new(DeliverySender::new(&workspace.engine.config, workspace.engine.clock.clone())),
        fence: lock.fence(),
        scope: work,
        queues: Vec::new(),
        first: 0,
        running: JoinSet::new(),
        in_flight: HashMap::new(),
        unrecorded: Vec::new(),
        store_failures: 0,
        last_pruned: None,
        summary: DeliverySummary::default(),
    };
    worker.run(until, stop, &mut on_attempt).await?;
    Ok(worker.summary)
}

/// Waits until every delivery of a message was tried, by whichever process delivers: this one, if no other does.
///
/// # Errors
/// [`EndpointError::Store`].
pub async fn wait(workspace: &Workspace, message: &str, most: Duration) -> crate::error::Result<Vec<Delivery>> {
    let waiting = Stopwatch::start();
    let filter = DeliveryFilter { message: Some(message.to_owned()), limit: u32::MAX, ..DeliveryFilter::default() };
    loop {
        let tried = |delivery: &Delivery| delivery.status != DeliveryStatus::Pending;
        let deliveries = workspace.store().await?.outbox().list(&filter).await?;
        if deliveries.iter().all(tried) || waiting.elapsed() > most {
            return Ok(deliveries);
        }
        let work = DeliveryScope::Message(message.to_owned());
        match deliver(workspace, &work, StopCondition::Idle, std::future::pending(), |_| {}).await {
            Ok(_) => {}
            Err(error) if error.code() == EndpointError::AlreadyRunning.code() => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl DeliveryWorker<'_> {
    async fn run(
        &mut self,
        until: StopCondition,
        stop: impl Future<Output = ()>,
        on_attempt: &mut impl FnMut(&CompletedAttempt),
    ) -> Result<(), EndpointError> {
        tokio::pin!(stop);
        let mut looked: Option<Stopwatch> = None;
        loop {
            let pause = match self.next_attempts(&mut looked).await {
                Ok(pause) => pause,
                // A disk that is full now may have room later; a vault that is damaged stays so.
                Err(EndpointError::Store(error)) if until == StopCondition::Stopped && error.kind() != Kind::Vault => {
                    self.handle_store_error(error, until).await?;
                    Some(POLL_INTERVAL)
                }
                Err(error) => return Err(error),
            };
            let idle = self.running.is_empty() && self.unrecorded.is_empty() && pause.is_none();
            if until == StopCondition::Idle && idle {
                return Ok(());
            }
            let pause = pause.map_or(POLL_INTERVAL, |pause| pause.min(POLL_INTERVAL));
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.finish_attempt(ended),
                () = tokio::time::sleep(pause) => {}
                () = &mut stop => break,
            }
            self.record(until, on_attempt).await?;
        }
        let ending = async {
            while let Some(ended) = self.running.join_next_with_id().await {
                self.finish_attempt(ended);
            }
        };
        // What does not end in time is sent again by the next worker.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, ending).await;
        self.record(StopCondition::Idle, on_attempt).await
    }

    /// Begins what is due: see [`Self::start_attempts`].
    async fn next_attempts(&mut self, looked: &mut Option<Stopwatch>) -> Result<Option<Duration>, EndpointError> {
        self.find_due(looked).await?;
        self.start_attempts().await
    }

    /// Reads the endpoints again from time to time, where anything is due.
    async fn find_due(&mut self, looked: &mut Option<Stopwatch>) -> Result<(), EndpointError> {
        if looked.is_some_and(|looked| looked.elapsed() < POLL_INTERVAL) {
            return Ok(());
        }
        *looked = Some(Stopwatch::start());
        let now = self.clock.now_millis();
        if self.last_pruned.is_none_or(|tidied| tidied.elapsed() >= PRUNE_INTERVAL) {
            self.last_pruned = Some(Stopwatch::start());
            self.store.outbox().clamp_due_times(now, MAX_WAIT, SPREAD).await?;
            let before = now.checked_sub(self.workspace.engine.config.endpoints.retention).unwrap_or(Timestamp::MIN);
            if self.store.outbox().prune(before, PRUNED_TOGETHER).await? == PRUNED_TOGETHER {
                // There are more: they are not left for a minute.
                self.last_pruned = None;
            }
        }
        if self.store.outbox().next_due().await?.is_none_or(|due| due > now) {
            return Ok(());
        }
        let mut known: HashMap<EndpointId, EndpointQueue> =
            self.queues.drain(..).map(|lane| (lane.endpoint.id.clone(), lane)).collect();
        for endpoint in self.store.endpoints().list().await? {
            let lane = match known.remove(&endpoint.id) {
                Some(lane) if lane.endpoint.policy.rate == endpoint.policy.rate => {
                    EndpointQueue { endpoint, may_have_due: true, ..lane }
                }
                Some(lane) => {
                    EndpointQueue { running: lane.running, is_slow: lane.is_slow, ..EndpointQueue::new(endpoint) }
                }
                None => EndpointQueue::new(endpoint),
            };
            self.queues.push(lane);
        }
        Ok(())
    }

    /// Begins what is due and has a place. Absent: there is nothing to begin; else how long to wait for it at most.
    async fn start_attempts(&mut self) -> Result<Option<Duration>, EndpointError> {
        let now = self.clock.now_millis();
        let mut taken = [0, 0];
        for lane in &self.queues {
            taken[usize::from(lane.is_slow())] += lane.running.len();
        }
        let mut pause = None;
        let count = self.queues.len();
        self.first = (self.first + 1) % count.max(1);
        let mut order: Vec<usize> = (self.first..count).chain(0..self.first).collect();
        // Those that answer at once are not kept waiting while others are read.
        order.sort_by_key(|index| self.queues[*index].is_slow());
        let mut messages = HashMap::new();
        for index in order {
            let lane = &self.queues[index];
            if !lane.may_have_due || lane.is_paused(now) {
                continue;
            }
            let slow = lane.is_slow();
            let own = if slow { MAX_CONCURRENT_SLOW } else { MAX_CONCURRENT };
            let free = own
                .saturating_sub(lane.running.len())
                .min(MAX_CONCURRENT_TOTAL.saturating_sub(taken[usize::from(slow)]));
            if free > 0 {
                taken[usize::from(slow)] += self.fill(index, free, now, &mut messages).await?;
            }
            let lane = &self.queues[index];
            if lane.may_have_due {
                let wait = lane.rate_limited_for.unwrap_or(POLL_INTERVAL);
                pause = Some(pause.map_or(wait, |pause: Duration| pause.min(wait)));
            }
        }
        Ok(pause)
    }

    /// Begins up to `free` attempts of a lane; the number of them. A message is read once for all lanes.
    async fn fill(
        &mut self,
        index: usize,
        free: usize,
        now: Timestamp,
        messages: &mut HashMap<String, Arc<Message>>,
    ) -> Result<usize, EndpointError> {
        let lane = &mut self.queues[index];
        let outbox = self.store.outbox();
        let due = match self.scope {
            // Those that run are due as well, and found first.
            DeliveryScope::All => outbox.due(&lane.endpoint.id, now, lane.running.len() + free).await?,
            DeliveryScope::Message(message) => {
                let filter = DeliveryFilter {
                    endpoint: Some(lane.endpoint.id.clone()),
                    message: Some(message.clone()),
                    limit: 1,
                    ..DeliveryFilter::default()
                };
                let mut found = outbox.list(&filter).await?;
                found.retain(|delivery| delivery.due_at.is_some_and(|due_at| due_at <= now));
                found
            }
        };
        let mut due: Vec<Delivery> = due.into_iter().filter(|one| !lane.running.contains_key(&one.id)).collect();
        lane.may_have_due = due.len() >= free;
        lane.rate_limited_for = None;
        due.truncate(free);
        let (late, due): (Vec<_>, Vec<_>) = due.into_iter().partition(|delivery| delivery.expires_at <= now);
        if !late.is_empty() {
            let late: Vec<DeliveryId> = late.iter().map(|delivery| delivery.id).collect();
            outbox.mark_dead(&late, "its time to live was over", self.fence).await?;
            self.summary.dead += late.len() as u64;
            lane.may_have_due = true;
        }
        let mut begun = 0;
        for delivery in due {
            if let Some(wait) = lane.rate_limiter.take(1, now) {
                (lane.may_have_due, lane.rate_limited_for) = (true, Some(wait));
                break;
            }
            let message = match messages.entry(delivery.message) {
                Entry::Occupied(known) => Arc::clone(known.get()),
                Entry::Vacant(place) => {
                    let Some(message) = outbox.message(place.key()).await? else { continue };
                    Arc::clone(place.insert(Arc::new(message)))
                }
            };
            lane.running.insert(delivery.id, Stopwatch::start());
            let (sender, endpoint) = (Arc::clone(&self.sender), lane.endpoint.clone());
            let task = self.running.spawn(async move { sender.attempt(&endpoint, &message).await });
            self.in_flight.insert(task.id(), (delivery.endpoint, delivery.id));
            begun += 1;
        }
        Ok(begun)
    }

    /// Takes what has ended, and all that has ended beside it.
    fn finish_attempt(&mut self, ended: Result<(Id, (DeliveryAttempt, DeliveryOutcome)), JoinError>) {
        let mut next = Some(ended);
        while let Some(ended) = next {
            let (id, result) = match ended {
                Ok((id, result)) => (id, Some(result)),
                Err(error) => (error.id(), None),
            };
            if let Some((endpoint, delivery)) = self.in_flight.remove(&id) {
                let (attempt, outcome) = result.unwrap_or_else(|| {
                    let error = Some("the attempt could not be made".to_owned());
                    (
                        DeliveryAttempt { started_at: self.clock.now_millis(), error, ..DeliveryAttempt::default() },
                        DeliveryOutcome::Failed,
                    )
                });
                if let Some(lane) = self.queues.iter_mut().find(|lane| lane.endpoint.id == endpoint) {
                    lane.is_slow = outcome != DeliveryOutcome::Accepted || attempt.duration > SLOW;
                }
                self.unrecorded.push((delivery, attempt, outcome));
            }
            next = self.running.try_join_next_with_id();
        }
    }

    /// Records what has ended. Until that is done a delivery keeps its place: a store that cannot be written stops the
    /// sending, and makes nothing go out twice.
    async fn record(
        &mut self,
        until: StopCondition,
        on_attempt: &mut impl FnMut(&CompletedAttempt),
    ) -> Result<(), EndpointError> {
        if self.unrecorded.is_empty() {
            return Ok(());
        }
        let recorded = match self.record_unrecorded().await {
            Ok(recorded) => recorded,
            Err(error) => return self.handle_store_error(error, until).await,
        };
        self.store_failures = 0;
        let mut attempts: HashMap<DeliveryId, DeliveryAttempt> = HashMap::new();
        for (id, attempt, _) in self.unrecorded.drain(..) {
            for lane in &mut self.queues {
                lane.may_have_due |= lane.running.remove(&id).is_some();
            }
            attempts.insert(id, attempt);
        }
        for recorded in recorded {
            match recorded.delivery.status {
                DeliveryStatus::Delivered => self.summary.delivered += 1,
                DeliveryStatus::Dead => self.summary.dead += 1,
                DeliveryStatus::Failed | DeliveryStatus::Pending => self.summary.failed += 1,
            }
            if let Some(lane) = self.queues.iter_mut().find(|lane| lane.endpoint.id == recorded.delivery.endpoint) {
                // A pause that it asked for holds from here on.
                lane.endpoint.health = recorded.endpoint_health;
            }
            if let Some(reason) = recorded.disabled_reason {
                notify_disabled(self.workspace, &recorded.delivery.endpoint, reason);
            }
            if let Some(attempt) = attempts.remove(&recorded.delivery.id) {
                on_attempt(&CompletedAttempt { recorded, attempt });
            }
        }
        Ok(())
    }

    /// Records what has ended, with what follows from it. Where a user has changed an endpoint or a delivery meanwhile, what
    /// follows is computed again.
    async fn record_unrecorded(&self) -> Result<Vec<RecordedAttempt>, StoreError> {
        loop {
            let now = self.clock.now_millis();
            let mut endpoints: HashMap<EndpointId, Option<Endpoint>> = HashMap::new();
            let mut records = Vec::with_capacity(self.unrecorded.len());
            for (id, attempt, outcome) in &self.unrecorded {
                let Some(delivery) = self.store.outbox().get(*id).await? else { continue };
                let endpoint = match endpoints.entry(delivery.endpoint.clone()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => place.insert(self.store.endpoints().get(&delivery.endpoint).await?),
                };
                let Some(endpoint) = endpoint else { continue };
                let progress = DeliveryProgress { attempts: delivery.attempts, expires_at: delivery.expires_at };
                let random = u64::from_be_bytes(clock::random::<8>());
                let health_before = endpoint.health;
                let update = schedule::next_state(&endpoint.policy, health_before, progress, *outcome, now, random);
                // The next attempt of this batch begins from there.
                endpoint.health = update.endpoint_health;
                records.push(AttemptRecord {
                    delivery: *id,
                    attempt: attempt.clone(),
                    attempts_before: delivery.attempts,
                    health_before,
                    update,
                });
            }
            if let Some(recorded) = self.store.outbox().record_attempts(&records, self.fence).await? {
                return Ok(recorded);
            }
        }
    }

    /// The store could not be written: it is tried again.
    async fn handle_store_error(&mut self, error: StoreError, until: StopCondition) -> Result<(), EndpointError> {
        self.store_failures += 1;
        if until == StopCondition::Idle && self.store_failures >= MAX_STORE_FAILURES {
            return Err(error.into());
        }
        if self.store_failures == 1 {
            let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
            tracing::warn!("nothing is sent until the store can be written: {error}{hint}");
        }
        tokio::time::sleep(STORE_RETRY_DELAY).await;
        Ok(())
    }
}

/// The notice of it, by the one process that recorded it; the reason is stored, and `endpoint list` shows it.
fn notify_disabled(workspace: &Workspace, id: &EndpointId, reason: DisabledReason) {
    let why = match reason {
        DisabledReason::Gone => "it answered 410",
        DisabledReason::Failing => "it has done nothing but fail for five days",
        DisabledReason::User => "you said so",
    };
    workspace.notify(Notification::disabled(&id.to_string(), why, &workspace.name, workspace.engine.clock.now()));
    tracing::warn!("the endpoint {id} is disabled: {why}; hint: integ endpoint enable {id}");
}

impl EndpointQueue {
    fn new(endpoint: Endpoint) -> Self {
        let pace = RateLimiter::new(endpoint.policy.rate);
        let slow = endpoint.health.failing_since.is_some();
        Self {
            endpoint,
            rate_limiter: pace,
            running: HashMap::new(),
            is_slow: slow,
            may_have_due: true,
            rate_limited_for: None,
        }
    }

    fn is_slow(&self) -> bool {
        self.is_slow || self.running.values().any(|since| since.elapsed() > SLOW)
    }

    fn is_paused(&self, now: Timestamp) -> bool {
        let health = &self.endpoint.health;
        health.disabled.is_some() || health.paused_until.is_some_and(|until| until > now)
    }
}
