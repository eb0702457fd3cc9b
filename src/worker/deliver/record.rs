//! Records finished attempts: the next attempt, the endpoint's health, the log.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tokio::task::{Id, JoinError};

use super::queue::SLOW;
use super::{CompletedAttempt, DeliveryWorker};
use crate::clock;
use crate::endpoint::retry_schedule::{self, DeliveryOutcome, DeliveryProgress};
use crate::model::delivery::{DeliveryAttempt, DeliveryId, DeliveryStatus, RecordedAttempt};
use crate::model::{AttemptRecord, DisabledReason, Endpoint, EndpointId, Notification};
use crate::runtime::{Activity, Workspace};
use crate::store::{Fence, Store, StoreError};

impl DeliveryWorker<'_> {
    /// Takes all that has ended.
    pub(super) fn take_ended(&mut self) {
        while let Some(ended) = self.running.try_join_next_with_id() {
            self.take(ended);
        }
    }

    /// Takes an attempt that has ended.
    pub(super) fn take(&mut self, ended: Result<(Id, (DeliveryAttempt, DeliveryOutcome)), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, Some(result)),
            Err(error) => (error.id(), None),
        };
        let Some((endpoint, delivery)) = self.in_flight.remove(&id) else { return };
        let (attempt, outcome) = result.unwrap_or_else(|| {
            let (started_at, error) = (self.workspace.clock.now_millis(), "the attempt could not be made");
            let attempt = DeliveryAttempt { started_at, error: Some(error.to_owned()), ..DeliveryAttempt::default() };
            (attempt, DeliveryOutcome::Failed)
        });
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.endpoint.id == endpoint) {
            queue.is_slow = outcome != DeliveryOutcome::Accepted || attempt.duration > SLOW;
        }
        self.unrecorded.push((delivery, attempt, outcome));
    }

    /// Records what has ended. Until that is done a delivery keeps its place: a store that cannot be written stops the
    /// sending, and makes nothing go out twice.
    pub(super) async fn record(&mut self, store: &dyn Store, fence: Fence) -> Result<(), StoreError> {
        if self.unrecorded.is_empty() {
            return Ok(());
        }
        let recorded = self.record_unrecorded(store, fence).await?;
        let mut attempts: HashMap<DeliveryId, DeliveryAttempt> = HashMap::new();
        for (id, attempt, _) in self.unrecorded.drain(..) {
            for queue in &mut self.queues {
                queue.may_have_due |= queue.running.remove(&id).is_some();
            }
            attempts.insert(id, attempt);
        }
        for recorded in recorded {
            match recorded.delivery.status {
                DeliveryStatus::Delivered => self.summary.delivered += 1,
                DeliveryStatus::Dead => self.summary.dead += 1,
                DeliveryStatus::Failed | DeliveryStatus::Pending => self.summary.failed += 1,
            }
            let activity = match recorded.delivery.status {
                DeliveryStatus::Delivered => Activity::DeliveryDone,
                DeliveryStatus::Dead => Activity::DeliveryDead,
                DeliveryStatus::Failed | DeliveryStatus::Pending => Activity::DeliveryFailed,
            };
            self.workspace.metrics().count(None, activity);
            if let Some(queue) = self.queues.iter_mut().find(|queue| queue.endpoint.id == recorded.delivery.endpoint) {
                // A pause that it asked for holds from here on.
                queue.endpoint.health = recorded.endpoint_health;
            }
            if let Some(reason) = recorded.disabled_reason {
                notify_disabled(self.workspace, &recorded.delivery.endpoint, reason);
            }
            if let Some(attempt) = attempts.remove(&recorded.delivery.id) {
                (self.on_attempt)(CompletedAttempt { recorded, attempt });
            }
        }
        Ok(())
    }

    /// Records what has ended, with what follows from it. Where a user has changed an endpoint or a delivery meanwhile, what
    /// follows is computed again.
    async fn record_unrecorded(&mut self, store: &dyn Store, fence: Fence) -> Result<Vec<RecordedAttempt>, StoreError> {
        loop {
            let now = self.workspace.clock.now_millis();
            let mut endpoints: HashMap<EndpointId, Option<Endpoint>> = HashMap::new();
            let mut records = Vec::with_capacity(self.unrecorded.len());
            for (id, attempt, outcome) in &self.unrecorded {
                let Some(delivery) = store.outbox().get(*id).await? else { continue };
                let endpoint = match endpoints.entry(delivery.endpoint.clone()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => place.insert(store.endpoints().get(&delivery.endpoint).await?),
                };
                let Some(endpoint) = endpoint else { continue };
                let progress = DeliveryProgress { attempts: delivery.attempts, expires_at: delivery.expires_at };
                let random = u64::from_be_bytes(clock::random::<8>());
                let health_before = endpoint.health;
                let update =
                    retry_schedule::next_state(&endpoint.policy, health_before, progress, *outcome, now, random);
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
            if let Some(recorded) = store.outbox().record_attempts(&records, fence).await? {
                return Ok(recorded);
            }
        }
    }
}

/// The notice of it, by the one process that recorded it; the reason is stored, and `endpoint list` shows it.
fn notify_disabled(workspace: &Workspace, id: &EndpointId, reason: DisabledReason) {
    let why = match reason {
        DisabledReason::Gone => "it answered 410",
        DisabledReason::Failing => "it has done nothing but fail for five days",
        DisabledReason::User => "you said so",
    };
    workspace.notify(Notification::disabled(&id.to_string(), why, &workspace.name, workspace.clock.now()));
    tracing::warn!("the endpoint {id} is disabled: {why}; hint: integ endpoint enable {id}");
}
