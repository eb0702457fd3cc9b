//! Merging a linked entity with its object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::push::PushedEntity;
use super::vendor::{ObjectNow, WriteAnswer};
use super::{Reconciled, TwoWay};
use crate::clock::{Timestamp, random};
use crate::error::Result;
use crate::hex;
use crate::mapping::{MergeInput, MergeOutcome, document_of, failure_text, fields_of, merge, same};
use crate::model::{
    ConflictPolicy, DELETION, EntityFields, EntityState, EntityWrite, FieldConflict, Link, SyncSide, WriteKind,
};
use crate::view::binding::{EntityOutcome, EntityOutcomeView, FieldConflictView};

/// Whose values the user chose for fields.
pub(super) type Choices = BTreeMap<String, SyncSide>;

impl TwoWay<'_> {
    /// Merges the two sides of a linked entity, and writes what the service lacks. `pushed` is what the user's side has now;
    /// without it, that is what it had last.
    ///
    /// # Errors
    /// What every other entity would fail with too.
    pub(super) async fn reconcile(
        &self,
        mut link: Link,
        pushed: Option<&PushedEntity>,
        choices: &Choices,
    ) -> Result<Reconciled> {
        if let Some(outcome) = self.merged_outcome(&link) {
            return Ok(outcome);
        }
        let store = self.workspace.store().await?;
        // What changes from now on is seen the next time.
        let version = store.version().await?;
        let stored = store.entity_states().find(self.binding.id, link.id).await?;
        let is_known = stored.is_some();
        let mut state = EntityState { seen_version: version, ..stored.unwrap_or_default() };
        if let Some(pushed) = pushed {
            self.take_over(&mut state, pushed);
        }
        let is_pending = self.is_pending(&state);
        if pushed.is_some() && is_known && !is_pending && !state.is_deleted {
            return Ok(Reconciled::of(EntityOutcomeView::new(&link.entity, Some(&link), EntityOutcome::Unchanged)));
        }
        let object = match Box::pin(self.read_object(&mut link)).await {
            Ok(object) => object,
            Err(error) => return self.failed(&link.entity, Some(&link), error),
        };
        if let Some(outcome) = self.merged_outcome(&link) {
            return Ok(outcome);
        }
        let (json, changed_at) = match object {
            ObjectNow::Existing { json, changed_at } => (json, changed_at),
            ObjectNow::Deleted => return Box::pin(self.object_deleted(link, state, choices)).await,
        };
        let theirs = match self.fields(&json) {
            Ok(theirs) => theirs,
            Err(failures) => {
                let mut view = EntityOutcomeView::new(&link.entity, Some(&link), EntityOutcome::Failed);
                view.reason = Some(failure_text(&failures));
                return Ok(Reconciled { view, then: Some((link.id, state)) });
            }
        };
        state.is_deleted = false;
        let newer = newer_side(state.ours_changed_at, changed_at);
        let merged = merge(&MergeInput {
            agreed: &state.agreed,
            ours: &state.ours,
            theirs: &theirs,
            writable: self.outbound.writable(),
            policy: self.rules.conflict,
            newer,
            chosen: choices,
        });
        Box::pin(self.write_merged(link, state, merged, &theirs)).await
    }

    /// What the user's side has now.
    fn take_over(&self, state: &mut EntityState, pushed: &PushedEntity) {
        let names = self.field_names();
        let fields = pushed.document.as_ref().map(|document| fields_of(document, &names)).unwrap_or_default();
        let is_new = |(name, value): (&String, &Value)| state.ours.get(name).is_none_or(|known| !same(known, value));
        if fields.iter().any(is_new) {
            let now = self.workspace.clock.now();
            state.ours_changed_at = Some(pushed.changed_at.unwrap_or(now));
        }
        state.ours.extend(fields);
    }

    /// Whether the user's side has something that the service was not given.
    pub(super) fn is_pending(&self, state: &EntityState) -> bool {
        let writable = self.outbound.writable();
        let differs = |(name, ours): (&String, &Value)| {
            writable.contains(name) && state.agreed.get(name).is_none_or(|agreed| !same(agreed, ours))
        };
        !state.conflicts.is_empty() || state.ours.iter().any(differs)
    }

    /// The outcome of an entity after its object was merged into that of another entity.
    fn merged_outcome(&self, link: &Link) -> Option<Reconciled> {
        let into = link.merged_into.as_ref()?;
        let mut view = EntityOutcomeView::new(&link.entity, Some(link), EntityOutcome::Merged);
        view.reason = Some(format!("{} was merged into {into}, which is linked with another entity", link.object.id()));
        Some(Reconciled::of(view))
    }

    /// Writes the result of a merge to the service.
    async fn write_merged(
        &self,
        link: Link,
        mut state: EntityState,
        merged: MergeOutcome,
        theirs: &EntityFields,
    ) -> Result<Reconciled> {
        let mut view = EntityOutcomeView::new(&link.entity, Some(&link), EntityOutcome::Unchanged);
        let (store, now) = (self.workspace.store().await?, self.workspace.clock.now());
        let mut whole: EntityFields = state.ours.clone();
        whole.extend(theirs.clone());
        whole.extend(merged.to_theirs.clone());
        if !merged.to_theirs.is_empty() {
            let changed: BTreeSet<String> = merged.to_theirs.keys().cloned().collect();
            let params = match self.outbound.parameters(WriteKind::Update, &whole, &changed, &self.writing.empty) {
                Ok(params) => params,
                Err(failures) => {
                    view.outcome = EntityOutcome::Failed;
                    view.reason = Some(failure_text(&failures));
                    return Ok(Reconciled { view, then: Some((link.id, state)) });
                }
            };
            if !self.is_dry_run && !params.is_empty() {
                let mut all = self.identity(&link).await?;
                all.extend(params);
                let write = EntityWrite {
                    of: self.bound(&link.entity),
                    kind: WriteKind::Update,
                    link: Some(link.id),
                    action: self.writing.update.clone(),
                    params: all,
                    key: hex::encode(&random::<16>()),
                    fields: merged.to_theirs.clone(),
                    started_at: now,
                };
                store.entity_states().begin_write(&write).await?;
                match self.send(&write).await {
                    WriteAnswer::Done(_) => {
                        state.agreed.extend(merged.to_theirs.clone());
                        store.entity_states().end_write(&write, Some(&state), now).await?;
                    }
                    WriteAnswer::NotDone(error) => {
                        store.entity_states().save(self.binding.id, link.id, &state, now).await?;
                        store.entity_states().cancel_write(&write).await?;
                        return self.failed(&link.entity, Some(&link), error);
                    }
                    WriteAnswer::Unknown(error) => {
                        store.entity_states().save(self.binding.id, link.id, &state, now).await?;
                        return Err(error);
                    }
                }
            }
            state.agreed.extend(merged.to_theirs.clone());
            view.outcome = EntityOutcome::Updated;
            view.sent = changed.into_iter().collect();
        }
        if !merged.to_ours.is_empty() {
            view.received = merged.to_ours.keys().cloned().collect();
            if view.outcome == EntityOutcome::Unchanged {
                view.outcome = EntityOutcome::Changed;
            }
        }
        state.agreed.extend(merged.same);
        state.agreed.extend(merged.to_ours.clone());
        state.ours.extend(merged.to_ours);
        state.conflicts = merged.conflicts;
        if !state.conflicts.is_empty() {
            view.outcome = EntityOutcome::Conflict;
            view.conflicts = state.conflicts.iter().map(FieldConflictView::from).collect();
        }
        view.document = Some(document_of(&state.ours));
        Ok(Reconciled { view, then: Some((link.id, state)) })
    }

    /// The object of an entity does not exist any more.
    async fn object_deleted(&self, link: Link, mut state: EntityState, choices: &Choices) -> Result<Reconciled> {
        let is_known = !state.agreed.is_empty();
        let has_changed = is_known && self.is_pending(&EntityState { conflicts: Vec::new(), ..state.clone() });
        let winner = match (has_changed, choices.get(DELETION), self.rules.conflict) {
            (false, ..) => Some(SyncSide::Theirs),
            (true, Some(side), _) => Some(*side),
            (true, None, ConflictPolicy::Ours) => Some(SyncSide::Ours),
            // When it was deleted is not known: it was there when it was last looked at.
            (true, None, ConflictPolicy::Theirs | ConflictPolicy::Newest) => Some(SyncSide::Theirs),
            (true, None, ConflictPolicy::Ask) => None,
        };
        match winner {
            Some(SyncSide::Ours) => {
                let fields = state.ours;
                Box::pin(self.create(&link.entity, fields, Some(&link))).await
            }
            Some(SyncSide::Theirs) => {
                state.ours = state.agreed.clone();
                (state.is_deleted, state.conflicts) = (true, Vec::new());
                let view = EntityOutcomeView::new(&link.entity, Some(&link), EntityOutcome::Deleted);
                Ok(Reconciled { view, then: Some((link.id, state)) })
            }
            None => {
                let document = |fields: &EntityFields| Some(document_of(fields));
                let conflict = FieldConflict {
                    field: DELETION.to_owned(),
                    agreed: document(&state.agreed),
                    ours: document(&state.ours),
                    theirs: None,
                };
                state.conflicts = vec![conflict];
                let mut view = EntityOutcomeView::new(&link.entity, Some(&link), EntityOutcome::Conflict);
                view.conflicts = state.conflicts.iter().map(FieldConflictView::from).collect();
                Ok(Reconciled { view, then: Some((link.id, state)) })
            }
        }
    }
}

/// The side that was changed last; the service if that is not known.
fn newer_side(ours: Option<Timestamp>, theirs: Option<Timestamp>) -> SyncSide {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours >= theirs => SyncSide::Ours,
        (Some(_), None) => SyncSide::Ours,
        _ => SyncSide::Theirs,
    }
}
