//! Writes that were interrupted: finding out whether they were done.

use std::time::Duration;

use super::vendor::ObjectNow;
use super::{Reconciled, TwoWay};
use crate::error::Result;
use crate::mapping::same;
use crate::model::{EntityWrite, Link, WriteKind};
use crate::view::binding::{EntityOutcome, EntityOutcomeView};

/// How long a service is relied on to know a repetition by its key. Some forget keys after a day, the earliest after 6 h.
const KEY_LIFETIME: Duration = Duration::from_secs(5 * 3600);

/// How long a request of a process that was killed may still be on its way, from when the lock is taken: the process held it.
/// When the write was begun says nothing, as the wall clock may have been set since.
const IN_FLIGHT: Duration = Duration::from_secs(3);

impl TwoWay<'_> {
    /// Finds out whether a write was done, and ends it. Returns the outcome of the entity if that cannot be found out.
    ///
    /// # Errors
    /// Those of the requests.
    pub(super) async fn settle(&self, write: EntityWrite) -> Result<Option<Reconciled>> {
        match write.kind {
            WriteKind::Create => Box::pin(self.settle_creation(write)).await,
            WriteKind::Update | WriteKind::Delete => {
                if !self.is_done(&write).await? && self.wait_for_flight().await {
                    self.is_done(&write).await?;
                }
                // What was not done is done again by the merge.
                if !self.is_dry_run {
                    self.workspace.store().await?.entity_states().cancel_write(&write).await?;
                }
                Ok(None)
            }
        }
    }

    /// Whether a change or a deletion is to be seen at the service; if so, it is ended.
    async fn is_done(&self, write: &EntityWrite) -> Result<bool> {
        let Some(mut link) = self.link_of(&write.of.entity).await? else { return Ok(true) };
        let object = Box::pin(self.read_object(&mut link)).await?;
        let (store, now) = (self.workspace.store().await?, self.workspace.clock.now());
        let states = store.entity_states();
        match (write.kind, object) {
            (WriteKind::Delete, ObjectNow::Deleted) => {
                if !self.is_dry_run {
                    states.end_write(write, None, now).await?;
                }
                Ok(true)
            }
            (WriteKind::Update, ObjectNow::Existing { json, .. }) => {
                let Ok(theirs) = self.fields(&json) else { return Ok(false) };
                let mut fields = write.fields.iter();
                let is_done = fields.all(|(name, value)| theirs.get(name).is_none_or(|theirs| same(theirs, value)));
                if is_done && !self.is_dry_run {
                    let mut state = states.find(self.binding.id, link.id).await?.unwrap_or_default();
                    state.agreed.extend(write.fields.clone());
                    state.ours.extend(write.fields.clone());
                    states.end_write(write, Some(&state), now).await?;
                }
                Ok(is_done)
            }
            _ => Ok(false),
        }
    }

    async fn settle_creation(&self, write: EntityWrite) -> Result<Option<Reconciled>> {
        if self.is_dry_run {
            return Ok(Some(Self::unconfirmed(&write)));
        }
        let age = self.workspace.clock.now().duration_since(write.started_at);
        let has_key = self.connector.actions.get(&write.action).is_some_and(|action| action.idempotency.is_some())
            || self.connector.api.idempotency.is_some();
        let is_fresh = Duration::try_from(age).is_ok_and(|age| age < KEY_LIFETIME);
        if has_key && is_fresh {
            Box::pin(self.send_creation(&write)).await?;
            return Ok(None);
        }
        let is_listed = self.writing.lists_at_once && !self.rules.identify.is_empty();
        let mut found = None;
        for _ in 0..2 {
            found = match &self.find_field {
                Some(field) if write.fields.get(field).is_some_and(|value| !value.is_null()) => {
                    self.find_by(&write.fields, field).await?
                }
                _ if is_listed => {
                    self.wait_for_flight().await;
                    self.find_listed(&write.fields).await?
                }
                _ => return Ok(Some(Self::unconfirmed(&write))),
            };
            if found.is_some() || !self.wait_for_flight().await {
                break;
            }
        }
        match found {
            Some((key, theirs)) => {
                self.link_created(&write, &key, Some(&theirs), EntityOutcome::Created).await?;
            }
            None => self.workspace.store().await?.entity_states().cancel_write(&write).await?,
        }
        Ok(None)
    }

    /// Waits until a request that was sent before the process died must have arrived. Returns whether it had to.
    async fn wait_for_flight(&self) -> bool {
        let left = IN_FLIGHT.saturating_sub(self.locked.elapsed());
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(left).await;
        true
    }

    /// The outcome of an entity of which only the user can find out whether its object was created.
    pub(super) fn unconfirmed(write: &EntityWrite) -> Reconciled {
        let link: Option<&Link> = None;
        let mut view = EntityOutcomeView::new(&write.of.entity, link, EntityOutcome::Unconfirmed);
        view.reason =
            Some(format!("{} was interrupted at {}, and its result is unknown", write.action, write.started_at));
        Reconciled::of(view)
    }
}
