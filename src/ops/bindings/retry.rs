//! Trying again what a binding failed on.

use super::bound_mapper;
use super::records::RecordMapping;
use crate::error::Result;
use crate::export::ExportedRecord;
use crate::model::{BindingName, BindingResults, BoundInput};
use crate::runtime::Workspace;
use crate::view::binding::BindingRetryView;

/// Failures that are tried again in one run; the store keeps no more.
const MAX_FAILURES: u32 = 20_000;

/// Maps the records again that a binding failed on, as they are now, and hands what is mapped to `each`; events are queued to
/// be handled again. What fails again stays a failure.
///
/// # Errors
/// [`super::BindingOperationError::NotFound`] and [`super::BindingOperationError::Unusable`]; those of `each`.
pub async fn retry_binding(
    workspace: &Workspace,
    name: BindingName,
    mut each: impl FnMut(ExportedRecord) -> Result<()>,
) -> Result<BindingRetryView> {
    let bound = bound_mapper(workspace, &name).await?;
    let (store, id) = (workspace.store().await?, bound.binding.id);
    let failures = store.bindings().failures(id, MAX_FAILURES).await?;
    let mut mapping = RecordMapping::of(workspace, bound).await?;
    let (mut events, mut removed) = (Vec::new(), Vec::new());
    for failure in failures {
        match (failure.input, failure.record) {
            (BoundInput::Event(event), _) => events.push(event),
            (BoundInput::Record(_), Some((stream, key))) => {
                let found = store.records().find(stream, &key).await?;
                let Some(mut stored) = found.map(|found| found.record) else {
                    removed.push(failure.input);
                    continue;
                };
                if mapping.apply(&mut stored) {
                    each(ExportedRecord { change: None, stored })?;
                }
            }
            (input, None) => removed.push(input),
        }
    }
    mapping.flush().await?;
    let now = workspace.clock.now_millis();
    let queued = if events.is_empty() { 0 } else { store.events().requeue(&events, now).await? };
    let succeeded = removed.into_iter().chain(events.into_iter().map(BoundInput::Event)).collect();
    // An event that fails again becomes a failure again.
    store.bindings().record_results(id, BindingResults { failed: Vec::new(), succeeded }, now).await?;
    let report = mapping.take_report();
    let queued = u64::try_from(queued).unwrap_or(u64::MAX);
    Ok(BindingRetryView { mapped: report.mapped, queued, failed: report.failed, first_failure: report.first_failure })
}
