//! The user's entity is deleted: its object goes too if the binding says so, and stays without a link otherwise.

use super::push::PushedEntity;
use super::reconcile::Choices;
use super::vendor::{ObjectNow, WriteAnswer};
use super::{Reconciled, TwoWay};
use crate::clock::random;
use crate::error::Result;
use crate::hex;
use crate::mapping::{document_of, failure_text, same};
use crate::model::{
    ConflictPolicy, DELETION, EntityDeletion, EntityState, EntityWrite, FieldConflict, Link, SyncSide, WriteKind,
};
use crate::ops::bindings::BindingOperationError;
use crate::view::binding::{EntityOutcome, EntityOutcomeView, FieldConflictView};

impl TwoWay<'_> {
    /// Takes over that an entity was deleted. `pushed` has when, if that is known.
    ///
    /// # Errors
    /// What every other entity would fail with too.
    pub(super) async fn delete(
        &self,
        mut link: Link,
        pushed: Option<&PushedEntity>,
        choices: &Choices,
    ) -> Result<Reconciled> {
        let states = self.workspace.store().await?.entity_states();
        let state = states.find(self.binding.id, link.id).await?.unwrap_or_default();
        if self.rules.delete == EntityDeletion::Keep || link.merged_into.is_some() || state.is_deleted {
            return self.unlink(&link, EntityOutcome::Unlinked).await;
        }
        let Some(action) = self.writing.delete.clone() else {
            return Err(BindingOperationError::NotDeletable { origin: self.binding.origin.clone() }.into());
        };
        let (json, changed_at) = match Box::pin(self.read_object(&mut link)).await {
            Ok(ObjectNow::Existing { json, changed_at }) => (json, changed_at),
            Ok(ObjectNow::Deleted) => return self.unlink(&link, EntityOutcome::Deleted).await,
            Err(error) => return self.failed(&link.entity, Some(&link), error),
        };
        let theirs = match self.fields(&json) {
            Ok(theirs) => theirs,
            Err(failures) => {
                let mut view = EntityOutcomeView::new(&link.entity, Some(&link), EntityOutcome::Failed);
                view.reason = Some(failure_text(&failures));
                return Ok(Reconciled::of(view));
            }
        };
        let writable = self.outbound.writable();
        let has_changed = theirs.iter().any(|(name, value)| {
            writable.contains(name) && state.agreed.get(name).is_some_and(|agreed| !same(agreed, value))
        });
        let now = self.workspace.clock.now();
        let deleted_at = pushed.and_then(|pushed| pushed.changed_at).unwrap_or(now);
        let is_ours_newer = changed_at.is_none_or(|changed_at| deleted_at >= changed_at);
        let winner = match (has_changed, choices.get(DELETION), self.rules.conflict) {
            (false, ..) => Some(SyncSide::Ours),
            (true, Some(side), _) => Some(*side),
            (true, None, ConflictPolicy::Ours) => Some(SyncSide::Ours),
            (true, None, ConflictPolicy::Newest) if is_ours_newer => Some(SyncSide::Ours),
            (true, None, ConflictPolicy::Theirs | ConflictPolicy::Newest) => Some(SyncSide::Theirs),
            (true, None, ConflictPolicy::Ask) => None,
        };
        match winner {
            Some(SyncSide::Ours) => Box::pin(self.delete_object(link, action)).await,
            // The user's side gets it back as the service has it.
            Some(SyncSide::Theirs) => {
                let mut view = EntityOutcomeView::new(&link.entity, Some(&link), EntityOutcome::Changed);
                view.received = theirs.keys().cloned().collect();
                view.document = Some(document_of(&theirs));
                let state = EntityState { agreed: theirs.clone(), ours: theirs, ..EntityState::default() };
                Ok(Reconciled { view, then: Some((link.id, state)) })
            }
            None => {
                let conflict = FieldConflict {
                    field: DELETION.to_owned(),
                    agreed: Some(document_of(&state.agreed)),
                    ours: None,
                    theirs: Some(document_of(&theirs)),
                };
                let mut view = EntityOutcomeView::new(&link.entity, Some(&link), EntityOutcome::Conflict);
                view.conflicts = vec![FieldConflictView::from(&conflict)];
                let state = EntityState { conflicts: vec![conflict], ours_changed_at: Some(deleted_at), ..state };
                Ok(Reconciled { view, then: Some((link.id, state)) })
            }
        }
    }

    /// Deletes the object of an entity at the service, and its link.
    async fn delete_object(&self, link: Link, action: String) -> Result<Reconciled> {
        let view = EntityOutcomeView::new(&link.entity, Some(&link), EntityOutcome::Deleted);
        if self.is_dry_run {
            return Ok(Reconciled::of(view));
        }
        let (store, now) = (self.workspace.store().await?, self.workspace.clock.now());
        let write = EntityWrite {
            of: self.bound(&link.entity),
            kind: WriteKind::Delete,
            link: Some(link.id),
            action,
            params: self.identity(&link).await?,
            key: hex::encode(&random::<16>()),
            fields: Default::default(),
            started_at: now,
        };
        store.entity_states().begin_write(&write).await?;
        match self.send(&write).await {
            WriteAnswer::Done(_) => {
                store.entity_states().end_write(&write, None, now).await?;
                Ok(Reconciled::of(view))
            }
            WriteAnswer::NotDone(error) => {
                store.entity_states().cancel_write(&write).await?;
                self.failed(&link.entity, Some(&link), error)
            }
            WriteAnswer::Unknown(error) => Err(error),
        }
    }

    /// Removes the link of an entity.
    async fn unlink(&self, link: &Link, outcome: EntityOutcome) -> Result<Reconciled> {
        if !self.is_dry_run {
            self.workspace.store().await?.links().remove(link.id).await?;
        }
        Ok(Reconciled::of(EntityOutcomeView::new(&link.entity, Some(link), outcome)))
    }
}
