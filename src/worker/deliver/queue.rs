//! Selects the attempts to start: fairly among endpoints, within each one's rate and concurrency.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::{DeliveryScope, DeliveryWorker, POLL_INTERVAL};
use crate::clock::{Stopwatch, Timestamp};
use crate::http::RateLimiter;
use crate::model::delivery::{Delivery, DeliveryFilter, DeliveryId};
use crate::model::{Endpoint, Message};
use crate::store::{Fence, Store, StoreError};

/// Attempts at a time of an endpoint that answers at once, and of one that does not.
const MAX_CONCURRENT: usize = 8;
const MAX_CONCURRENT_SLOW: usize = 4;

/// Attempts at a time of all endpoints that answer at once, and of all others. Together they stay below the number of
/// files that a process may have open, and of threads that resolve names.
const MAX_CONCURRENT_TOTAL: usize = 250;

/// An endpoint is slow if its last answer took longer, or if it has not answered for this long.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// What concerns one endpoint.
pub(super) struct EndpointQueue {
    pub(super) endpoint: Endpoint,
    rate_limiter: RateLimiter,
    pub(super) running: HashMap<DeliveryId, Stopwatch>,
    pub(super) is_slow: bool,
    /// Whether more may be due.
    pub(super) may_have_due: bool,
    /// How long its rate makes it wait.
    rate_limited_for: Option<Duration>,
}

impl EndpointQueue {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            rate_limiter: RateLimiter::new(endpoint.policy.rate),
            running: HashMap::new(),
            is_slow: endpoint.health.failing_since.is_some(),
            may_have_due: true,
            rate_limited_for: None,
            endpoint,
        }
    }

    /// The queue with its endpoint as it was read again. A rate that was changed begins with a full bucket.
    pub(super) fn with_endpoint(self, endpoint: Endpoint) -> Self {
        if self.endpoint.policy.rate == endpoint.policy.rate {
            return Self { endpoint, may_have_due: true, ..self };
        }
        Self { running: self.running, is_slow: self.is_slow, ..Self::new(endpoint) }
    }

    fn is_slow(&self) -> bool {
        self.is_slow || self.running.values().any(|since| since.elapsed() > SLOW)
    }

    fn is_paused(&self, now: Timestamp) -> bool {
        let health = &self.endpoint.health;
        health.disabled.is_some() || health.paused_until.is_some_and(|until| until > now)
    }

    /// Deliveries that are due and do not run, up to `free` of them.
    async fn due(
        &self,
        store: &dyn Store,
        scope: &DeliveryScope,
        free: usize,
        now: Timestamp,
    ) -> Result<Vec<Delivery>, StoreError> {
        let outbox = store.outbox();
        let mut due = match scope {
            // Those that run are due as well, and found first.
            DeliveryScope::All => outbox.due(&self.endpoint.id, now, self.running.len() + free).await?,
            DeliveryScope::Message(message) => {
                let filter = DeliveryFilter {
                    endpoint: Some(self.endpoint.id.clone()),
                    message: Some(message.clone()),
                    limit: 1,
                    ..DeliveryFilter::default()
                };
                let mut found = outbox.list(&filter).await?;
                found.retain(|delivery| delivery.due_at.is_some_and(|due_at| due_at <= now));
                found
            }
        };
        due.retain(|delivery| !self.running.contains_key(&delivery.id));
        Ok(due)
    }
}

impl DeliveryWorker<'_> {
    /// Begins what is due and has a place. Absent: there is nothing to begin; else how long to wait for it at most.
    pub(super) async fn start_attempts(
        &mut self,
        store: &dyn Store,
        fence: Fence,
        now: Timestamp,
    ) -> Result<Option<Duration>, StoreError> {
        let mut taken = [0, 0];
        for queue in &self.queues {
            taken[usize::from(queue.is_slow())] += queue.running.len();
        }
        let mut pause = None;
        let count = self.queues.len();
        self.first = (self.first + 1) % count.max(1);
        let mut order: Vec<usize> = (self.first..count).chain(0..self.first).collect();
        // Those that answer at once are not kept waiting while others are read.
        order.sort_by_key(|index| self.queues[*index].is_slow());
        let mut messages = HashMap::new();
        for index in order {
            let queue = &self.queues[index];
            if !queue.may_have_due || queue.is_paused(now) {
                continue;
            }
            let is_slow = queue.is_slow();
            let own = if is_slow { MAX_CONCURRENT_SLOW } else { MAX_CONCURRENT };
            let free = own
                .saturating_sub(queue.running.len())
                .min(MAX_CONCURRENT_TOTAL.saturating_sub(taken[usize::from(is_slow)]));
            if free > 0 {
                taken[usize::from(is_slow)] += self.fill(index, free, store, fence, now, &mut messages).await?;
            }
            let queue = &self.queues[index];
            if queue.may_have_due {
                let wait = queue.rate_limited_for.unwrap_or(POLL_INTERVAL);
                pause = Some(pause.map_or(wait, |pause: Duration| pause.min(wait)));
            }
        }
        Ok(pause)
    }

    /// Begins up to `free` attempts of a queue; the number of them. A message is read once for all queues.
    async fn fill(
        &mut self,
        index: usize,
        free: usize,
        store: &dyn Store,
        fence: Fence,
        now: Timestamp,
        messages: &mut HashMap<String, Arc<Message>>,
    ) -> Result<usize, StoreError> {
        let queue = &mut self.queues[index];
        let outbox = store.outbox();
        let mut due = queue.due(store, &self.scope, free, now).await?;
        queue.may_have_due = due.len() >= free;
        queue.rate_limited_for = None;
        due.truncate(free);
        let (late, due): (Vec<_>, Vec<_>) = due.into_iter().partition(|delivery| delivery.expires_at <= now);
        if !late.is_empty() {
            let late: Vec<DeliveryId> = late.iter().map(|delivery| delivery.id).collect();
            outbox.mark_dead(&late, "its time to live was over", fence).await?;
            self.summary.dead += late.len() as u64;
            queue.may_have_due = true;
        }
        let mut begun = 0;
        for delivery in due {
            if let Some(wait) = queue.rate_limiter.take(1, now) {
                (queue.may_have_due, queue.rate_limited_for) = (true, Some(wait));
                break;
            }
            let message = match messages.entry(delivery.message) {
                Entry::Occupied(known) => Arc::clone(known.get()),
                Entry::Vacant(place) => {
                    let Some(message) = outbox.message(place.key()).await? else { continue };
                    Arc::clone(place.insert(Arc::new(message)))
                }
            };
            queue.running.insert(delivery.id, Stopwatch::start());
            let (sender, endpoint) = (Arc::clone(&self.sender), queue.endpoint.clone());
            let task = self.running.spawn(async move { sender.attempt(&endpoint, &message).await });
            self.in_flight.insert(task.id(), (delivery.endpoint, delivery.id));
            begun += 1;
        }
        Ok(begun)
    }
}
