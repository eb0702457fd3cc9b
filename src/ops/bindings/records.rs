//! Mapping the records of a stream while they are read.

use std::collections::HashSet;

use super::{BindingOperationError, bound_mapper};
use crate::error::Result;
use crate::mapping::{BoundMapper, failure_text};
use crate::model::{BindingInput, BindingName, BindingResults, BoundInput, ConnectionName, RecordId, StoredRecord};
use crate::ops::sync::StreamName;
use crate::runtime::Workspace;

/// Failures that are read at once; the store keeps no more.
const MAX_FAILURES: u32 = 20_000;

/// How many records a binding mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingReport {
    pub mapped: u64,
    pub failed: u64,
    /// Why the first one failed.
    pub first_failure: Option<String>,
}

/// A binding that maps the records of a stream. What it fails on is stored, until it succeeds.
pub struct RecordMapping<'a> {
    workspace: &'a Workspace,
    bound: BoundMapper,
    /// Records that it failed on before.
    failed_before: HashSet<RecordId>,
    results: BindingResults,
    report: MappingReport,
}

impl<'a> RecordMapping<'a> {
    /// Opens a binding for the records of a stream.
    ///
    /// # Errors
    /// Those of the binding; [`BindingOperationError::OtherOrigin`] and [`BindingOperationError::NoRecords`].
    pub async fn open(workspace: &'a Workspace, name: &BindingName, stream: &StreamName) -> Result<RecordMapping<'a>> {
        let bound = bound_mapper(workspace, name).await?;
        let origin = &bound.binding.origin;
        match &origin.input {
            BindingInput::Event(_) => {
                Err(BindingOperationError::NoRecords { name: name.clone(), origin: origin.clone() }.into())
            }
            BindingInput::Stream(known) if *known != stream.stream || !origin.includes(&stream.connection) => {
                let (name, requested) = (name.clone(), stream.to_string());
                Err(BindingOperationError::OtherOrigin { name, origin: origin.clone(), requested }.into())
            }
            BindingInput::Stream(_) => Self::of(workspace, bound).await,
        }
    }

    pub(super) async fn of(workspace: &'a Workspace, bound: BoundMapper) -> Result<RecordMapping<'a>> {
        let mut failed_before = HashSet::new();
        if bound.binding.failures > 0 {
            let failures = workspace.store().await?.bindings().failures(bound.binding.id, MAX_FAILURES).await?;
            failed_before.extend(failures.iter().filter_map(|failure| match failure.input {
                BoundInput::Record(id) => Some(id),
                BoundInput::Event(_) => None,
            }));
        }
        Ok(Self {
            workspace,
            bound,
            failed_before,
            results: BindingResults::default(),
            report: MappingReport::default(),
        })
    }

    /// Puts what the binding makes of a record in its place; false if it fails.
    pub fn apply(&mut self, record: &mut StoredRecord) -> bool {
        match self.bound.mapper.map(&record.json) {
            Ok(mapped) => {
                record.json = mapped;
                self.report.mapped += 1;
                if self.failed_before.remove(&record.id) {
                    self.results.succeeded.push(BoundInput::Record(record.id));
                }
                true
            }
            Err(failures) => {
                let reason = failure_text(&failures);
                self.report.failed += 1;
                self.report.first_failure.get_or_insert_with(|| format!("{}: {reason}", record.key));
                self.results.failed.push((BoundInput::Record(record.id), reason));
                false
            }
        }
    }

    /// Stores what failed since the last time, and what fails no longer.
    ///
    /// # Errors
    /// The store's.
    pub async fn flush(&mut self) -> Result<()> {
        let results = std::mem::take(&mut self.results);
        if results.failed.is_empty() && results.succeeded.is_empty() {
            return Ok(());
        }
        let now = self.workspace.clock.now();
        Ok(self.workspace.store().await?.bindings().record_results(self.bound.binding.id, results, now).await?)
    }

    /// Begins to count again, and returns what was counted so far.
    pub fn take_report(&mut self) -> MappingReport {
        std::mem::take(&mut self.report)
    }
}

/// The stream that a binding maps, of the only connection that has it.
///
/// # Errors
/// Those of the binding; [`BindingOperationError::NoInputs`] and [`BindingOperationError::SeveralConnections`].
pub(crate) async fn only_stream(workspace: &Workspace, name: &BindingName) -> Result<StreamName> {
    let binding = super::find(workspace, name).await?;
    let origin = binding.origin;
    let BindingInput::Stream(stream) = &origin.input else {
        return Err(BindingOperationError::NoRecords { name: name.clone(), origin }.into());
    };
    let connections: Vec<ConnectionName> = super::inputs::connections(workspace, &origin).await?;
    match connections.as_slice() {
        [] => Err(BindingOperationError::NoInputs { origin }.into()),
        [connection] => Ok(StreamName { connection: connection.clone(), stream: stream.clone() }),
        [first, ..] => {
            let example = format!("{first}/{stream}");
            Err(BindingOperationError::SeveralConnections { name: name.clone(), origin, example }.into())
        }
    }
}
