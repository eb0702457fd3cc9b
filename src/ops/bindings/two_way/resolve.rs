//! Settling what only the user can decide: conflicts, and creations that were interrupted.

use serde_json::Value;

use super::reconcile::Choices;
use super::{Reconciled, TwoWay};
use crate::error::Result;
use crate::model::{BindingName, ConnectionName, DELETION, Entity, EntityState, EntityWrite, Link, SyncSide};
use crate::ops::bindings::BindingOperationError;
use crate::runtime::Workspace;
use crate::view::binding::{EntityOutcome, EntityOutcomeView, EntitySyncView};

/// What the user decides.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// Whose values count; for all fields in conflict if none is named.
    Side { side: SyncSide, fields: Vec<String> },
    /// A value for both sides, of a field in conflict.
    Value { field: String, value: Value },
    /// The object that an interrupted creation has created.
    Created { object: String },
    /// An interrupted creation has created nothing: it is done again.
    NotCreated,
}

/// A conflict to resolve.
#[derive(Clone, Debug)]
pub struct ResolveEntityRequest {
    pub name: BindingName,
    /// The only connection of the binding if absent.
    pub connection: Option<ConnectionName>,
    pub entity: Entity,
    pub resolution: Resolution,
}

/// Resolves a conflict of an entity, writes the result to the service, and passes the outcome to `each`.
///
/// # Errors
/// [`BindingOperationError::NoConflict`], and those of [`super::push_entities`].
pub async fn resolve_conflict(
    workspace: &Workspace,
    request: ResolveEntityRequest,
    mut each: impl FnMut(EntityOutcomeView) -> Result<()>,
) -> Result<EntitySyncView> {
    let ResolveEntityRequest { name, connection, entity, resolution } = request;
    let two_way = TwoWay::open(workspace, &name, connection.as_ref(), false).await?;
    let none = || BindingOperationError::NoConflict { name: name.clone(), entity: entity.clone() };
    let states = workspace.store().await?.entity_states();
    let write = states.find_write(&two_way.bound(&entity)).await?;
    let reconciled = match (resolution, write) {
        (Resolution::Created { object }, Some(write)) => two_way.confirm(&write, &object).await?,
        (Resolution::NotCreated, Some(write)) => {
            states.cancel_write(&write).await?;
            Box::pin(two_way.create(&entity, write.fields, None)).await?
        }
        (Resolution::Created { .. } | Resolution::NotCreated, None) => return Err(none().into()),
        (Resolution::Side { side, fields }, _) => {
            let (link, state) = two_way.in_conflict(&entity).await?.ok_or_else(none)?;
            let names: Vec<String> = state.conflicts.iter().map(|conflict| conflict.field.clone()).collect();
            if let Some(unknown) = fields.iter().find(|field| !names.contains(field)) {
                let (field, known) = (unknown.clone(), names.join(", "));
                return Err(BindingOperationError::NoFieldConflict { entity, field, known }.into());
            }
            let chosen = if fields.is_empty() { names } else { fields };
            let choices: Choices = chosen.into_iter().map(|field| (field, side)).collect();
            Box::pin(two_way.decide(link, &state, &choices)).await?
        }
        (Resolution::Value { field, value }, _) => {
            let (link, mut state) = two_way.in_conflict(&entity).await?.ok_or_else(none)?;
            let is_open = state.conflicts.iter().any(|conflict| conflict.field == field && field != DELETION);
            if !is_open {
                let known =
                    state.conflicts.iter().map(|conflict| conflict.field.clone()).collect::<Vec<_>>().join(", ");
                return Err(BindingOperationError::NoFieldConflict { entity, field, known }.into());
            }
            let now = workspace.clock.now();
            state.ours.insert(field.clone(), value);
            states.save(two_way.binding.id, link.id, &state, now).await?;
            let choices = Choices::from([(field.clone(), SyncSide::Ours)]);
            let mut reconciled = Box::pin(two_way.decide(link, &state, &choices)).await?;
            // The user's side does not have it yet.
            reconciled.view.received.push(field);
            reconciled
        }
    };
    let mut summary = EntitySyncView::default();
    two_way.deliver(reconciled, &mut summary, &mut each).await?;
    Ok(summary)
}

impl TwoWay<'_> {
    /// The link and the state of an entity that has a conflict.
    async fn in_conflict(&self, entity: &Entity) -> Result<Option<(Link, EntityState)>> {
        let Some(link) = self.link_of(entity).await? else { return Ok(None) };
        let state = self.workspace.store().await?.entity_states().find(self.binding.id, link.id).await?;
        Ok(state.filter(|state| !state.conflicts.is_empty()).map(|state| (link, state)))
    }

    /// Does what was chosen. A conflict with a deletion of the user's own is a deletion, any other one a merge.
    pub(super) async fn decide(&self, link: Link, state: &EntityState, choices: &Choices) -> Result<Reconciled> {
        let is_own_deletion =
            state.conflicts.iter().any(|conflict| conflict.field == DELETION && conflict.ours.is_none());
        match is_own_deletion {
            true => Box::pin(self.delete(link, None, choices)).await,
            false => Box::pin(self.reconcile(link, None, choices)).await,
        }
    }

    /// Links the object that an interrupted creation has created.
    async fn confirm(&self, write: &EntityWrite, object: &str) -> Result<Reconciled> {
        let linked = self.link_created(write, object, Some(&Default::default()), EntityOutcome::Linked).await?;
        match self.link_of(&write.of.entity).await? {
            Some(link) if linked.view.outcome == EntityOutcome::Linked => {
                Box::pin(self.reconcile(link, None, &Choices::new())).await
            }
            _ => Ok(linked),
        }
    }
}
