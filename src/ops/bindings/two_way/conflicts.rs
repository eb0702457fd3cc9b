//! What only the user can decide, as a list.

use std::collections::HashMap;

use crate::error::Result;
use crate::model::{BindingId, BindingName, EntityWrite, WriteKind};
use crate::runtime::Workspace;
use crate::view::binding::{FieldConflictView, OpenConflictListView, OpenConflictView, UnconfirmedCreationView};

/// Conflicts that are listed at most.
const MAX_CONFLICTS: u32 = 10_000;

/// Returns the conflicts that are open, and the creations that were interrupted; of one binding or of all.
///
/// # Errors
/// [`super::BindingOperationError::NotFound`].
pub async fn list_conflicts(workspace: &Workspace, name: Option<BindingName>) -> Result<OpenConflictListView> {
    let only = match &name {
        Some(name) => Some(super::super::find(workspace, name).await?.id),
        None => None,
    };
    if !workspace.has_vault() {
        return Ok(OpenConflictListView::default());
    }
    let store = workspace.store().await?;
    let names: HashMap<BindingId, BindingName> =
        store.bindings().list().await?.into_iter().map(|binding| (binding.id, binding.name)).collect();
    let mut view = OpenConflictListView::default();
    for (binding, open) in store.entity_states().conflicts(only, MAX_CONFLICTS).await? {
        let Some(name) = names.get(&binding) else { continue };
        view.conflicts.push(OpenConflictView {
            binding: name.clone(),
            entity: open.link.entity.to_string(),
            connection: open.link.connection.clone(),
            object: open.link.object.id().to_owned(),
            conflict: FieldConflictView::from(&open.conflict),
        });
    }
    let creations = store.entity_states().writes(only, MAX_CONFLICTS).await?;
    for EntityWrite { of, action, started_at, kind, .. } in creations {
        if let Some(name) = names.get(&of.binding).filter(|_| kind == WriteKind::Create) {
            let (binding, entity) = (name.clone(), of.entity.to_string());
            view.interrupted.push(UnconfirmedCreationView { binding, entity, action, started_at });
        }
    }
    Ok(view)
}
