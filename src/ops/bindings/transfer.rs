//! Exporting and importing bindings.

use serde::Deserialize;

use super::{BindingOperationError, ensure_origin, find, stored};
use crate::error::Result;
use crate::mapping::{BindingSource, Mapper};
use crate::model::{Binding, BindingChange, BindingName, BindingOrigin};
use crate::runtime::Workspace;
use crate::view::binding::{BindingExportView, ExportedBindingView, ImportedBindingsView};

/// Bindings to import, as [`export_bindings`] gives them.
#[derive(Clone, Debug)]
pub struct ImportBindingsRequest {
    /// JSON.
    pub text: String,
}

#[derive(Deserialize)]
struct Import {
    bindings: Vec<ImportedBinding>,
}

#[derive(Deserialize)]
struct ImportedBinding {
    name: String,
    from: String,
    text: String,
}

/// Returns bindings with their texts; all if none is named.
///
/// # Errors
/// [`BindingOperationError::NotFound`].
pub async fn export_bindings(workspace: &Workspace, names: Vec<BindingName>) -> Result<BindingExportView> {
    let mut bindings: Vec<Binding> = Vec::new();
    for name in &names {
        bindings.push(find(workspace, name).await?);
    }
    if names.is_empty() {
        bindings = stored(workspace).await?;
    }
    let view = |binding: Binding| ExportedBindingView { name: binding.name, from: binding.origin, text: binding.text };
    Ok(BindingExportView { bindings: bindings.into_iter().map(view).collect() })
}

/// Stores bindings, in place of those of the same names. All of them are compiled first: if one is wrong, none is stored.
///
/// # Errors
/// [`BindingOperationError::InvalidImport`], [`BindingOperationError::Unusable`], and those of their origins.
pub async fn import_bindings(workspace: &Workspace, request: ImportBindingsRequest) -> Result<ImportedBindingsView> {
    let invalid = |reason: String| BindingOperationError::InvalidImport { reason };
    let import: Import = serde_json::from_str(&request.text).map_err(|error| invalid(error.to_string()))?;
    let mut checked: Vec<(BindingName, BindingOrigin, String)> = Vec::with_capacity(import.bindings.len());
    for ImportedBinding { name, from, text } in import.bindings {
        let (name, origin): (BindingName, BindingOrigin) = (name.parse()?, from.parse()?);
        ensure_origin(workspace, &origin)?;
        let unusable = |source| BindingOperationError::Unusable { name: name.clone(), source };
        let source = BindingSource::parse(&text).map_err(unusable)?;
        Mapper::compile(&source).map_err(unusable)?;
        super::two_way::check(workspace, &origin, &source)?;
        checked.push((name, origin, text));
    }
    let mut view = ImportedBindingsView::default();
    let now = workspace.clock.now();
    for (name, origin, text) in checked {
        match workspace.store_or_new().await?.bindings().put(&name, &origin, &text, now).await? {
            BindingChange::Added => view.added += 1,
            BindingChange::Changed => view.changed += 1,
            BindingChange::Unchanged => view.unchanged += 1,
        }
    }
    Ok(view)
}
