//! The lists of one stream: all of it, or one for each record of its parents.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use futures_util::stream::{self, StreamExt};
use indexmap::IndexMap;

use super::ingest::{SweepEnd, sweep};
use super::list::read_list;
use super::outcome::{ListOutcome, SyncOutcome};
use super::record;
use super::selection::parent_params;
use super::stream::StreamRun;
use crate::connector::{ParentStream, Pointer};
use crate::error::{Kind, Result};
use crate::json::Json;
use crate::model::{CompletedList, RecordId, StoredRecord, StreamParams, SyncMode};
use crate::runtime::BoxFuture;

/// Lists of one stream that are read side by side.
const CONCURRENT_PARTITIONS: usize = 4;

/// Records of a parent that are taken from the store at once.
const PARENTS_PER_PAGE: u32 = 200;

/// What gives a list its values: a record of the parent.
#[derive(Clone, Copy)]
struct ParentRecord {
    id: RecordId,
    version: u64,
    /// Whether the list is read only if the record changed.
    only_if_changed: bool,
}

/// A list to read.
struct PartitionSource {
    params: StreamParams,
    /// Absent if the user gave the values, or the stream has no parent.
    parent: Option<ParentRecord>,
}

/// Reads all lists of a stream, then sweeps those that were read in full. `params` are the stream's own parameters.
///
/// # Errors
/// The store's.
pub(super) async fn sync_partitions(run: &StreamRun<'_>, params: &StreamParams) -> Result<SyncOutcome> {
    let mut batches = PartitionBatches::new(run, params);
    let (mut full_lists, mut first_failure) = (Vec::new(), None);
    while let Some(sources) = batches.next().await? {
        if let ControlFlow::Break(outcome) = read_side_by_side(run, sources, &mut full_lists, &mut first_failure).await
        {
            return Ok(outcome);
        }
    }
    // Records of different batches may have given the same list.
    full_lists.sort_by_key(|read| read.partition);
    full_lists.dedup_by_key(|read| read.partition);
    if let SweepEnd::Blocked(error) = sweep(run, &full_lists).await? {
        return Ok(SyncOutcome::DeletesBlocked(error));
    }
    let tally = *run.tally();
    let is_skipped = tally.skipped_partitions > 0 && tally.listed_partitions == 0;
    let outcome = if is_skipped { SyncOutcome::Skipped } else { SyncOutcome::Done };
    Ok(first_failure.unwrap_or(outcome))
}

/// Reads lists side by side; breaks if the run ends with one of them. A failure that says nothing about the other lists is
/// `first_failure`.
async fn read_side_by_side(
    run: &StreamRun<'_>,
    sources: Vec<PartitionSource>,
    full_lists: &mut Vec<CompletedList>,
    first_failure: &mut Option<SyncOutcome>,
) -> ControlFlow<SyncOutcome> {
    let read = |source| -> BoxFuture<'_, _> { Box::pin(read_partition(run, source)) };
    let mut reads = stream::iter(sources).map(read).buffer_unordered(CONCURRENT_PARTITIONS);
    let mut end = None;
    while let Some(read) = reads.next().await {
        match read {
            Ok(ListOutcome::Read) => run.tally().listed_partitions += 1,
            Ok(ListOutcome::FullyListed(listed)) => {
                run.tally().listed_partitions += 1;
                full_lists.push(listed);
            }
            Ok(ListOutcome::Skipped) => run.tally().skipped_partitions += 1,
            // Every other list would end as this one did.
            Ok(ListOutcome::RateLimited(resumes_at)) => {
                run.stop.store(true, Ordering::Relaxed);
                end.get_or_insert(SyncOutcome::RateLimited(resumes_at));
            }
            Err(error) if matches!(error.kind(), Kind::Temporary | Kind::AuthNeeded | Kind::Vault) => {
                run.stop.store(true, Ordering::Relaxed);
                end.get_or_insert(SyncOutcome::Failed(error));
            }
            Ok(ListOutcome::Cancelled) => {
                end.get_or_insert(SyncOutcome::Cancelled);
                break;
            }
            Ok(ListOutcome::DeletesBlocked(error)) => {
                first_failure.get_or_insert(SyncOutcome::DeletesBlocked(error));
            }
            Err(error) => {
                first_failure.get_or_insert(SyncOutcome::Failed(error));
            }
        }
    }
    end.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

/// The lists of a stream, in batches that are read one after the other.
struct PartitionBatches<'a> {
    run: &'a StreamRun<'a>,
    /// The stream's own parameters.
    params: &'a StreamParams,
    /// The only list, if the stream has no parent or the user gave the parent's values.
    only: Option<StreamParams>,
    /// The parents with records that have not been read yet, the last one first, and the record to go on after.
    parents: Vec<&'a ParentStream>,
    after: RecordId,
}

impl<'a> PartitionBatches<'a> {
    fn new(run: &'a StreamRun<'a>, params: &'a StreamParams) -> Self {
        let values = match run.stream.parents.is_empty() {
            true => Some(StreamParams::new()),
            false => parent_params(run.stream, run.request),
        };
        let only = values.map(|values| params.clone().into_iter().chain(values).collect());
        // What is listed for records of the stream itself comes last: they are there by then.
        let (mut parents, others): (Vec<_>, Vec<_>) =
            run.stream.parents.iter().rev().partition(|parent| parent.stream == run.name);
        parents.extend(others);
        if only.is_some() {
            parents.clear();
        }
        Self { run, params, only, parents, after: RecordId(0) }
    }

    /// Returns the lists of the next records of a parent; `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<PartitionSource>>> {
        if let Some(params) = self.only.take() {
            return Ok(Some(vec![PartitionSource { params, parent: None }]));
        }
        let StreamRun { store, session, .. } = self.run;
        while let Some(parent) = self.parents.last() {
            if let Some(above) = store.streams().find(session.connection.id, &parent.stream).await? {
                let records = store.records().list(above.id, self.after, PARENTS_PER_PAGE).await?;
                if let Some(last) = records.last() {
                    self.after = last.id;
                    return Ok(Some(self.sources(parent, &records)));
                }
            }
            self.parents.pop();
            self.after = RecordId(0);
        }
        Ok(None)
    }

    /// The lists that records of a parent give. Records that give the same values have one list, and the newest of them says
    /// whether it changed.
    fn sources(&self, parent: &ParentStream, records: &[StoredRecord]) -> Vec<PartitionSource> {
        let mut lists: IndexMap<StreamParams, ParentRecord> = IndexMap::new();
        for record in records {
            let Some(params) = self.values(parent, record) else { continue };
            let above = ParentRecord { id: record.id, version: record.version, only_if_changed: parent.changed };
            let known = lists.entry(params).or_insert(above);
            if record.version > known.version {
                *known = above;
            }
        }
        lists.into_iter().map(|(params, parent)| PartitionSource { params, parent: Some(parent) }).collect()
    }

    /// What a parent's record gives; absent where nothing is listed for it.
    fn values(&self, parent: &ParentStream, record: &StoredRecord) -> Option<StreamParams> {
        let document = Json::from_validated(&record.json);
        if !parent.when.iter().all(|(at, values)| record::holds(document, at, values)) {
            return None;
        }
        let value = |(name, at): (&String, &Pointer)| Some((name.clone(), at.text_in(document)?));
        let values: Option<StreamParams> = parent.values.iter().map(value).collect();
        Some(self.params.clone().into_iter().chain(values?).collect())
    }
}

/// Reads one list, unless it holds nothing new or the run is to stop.
async fn read_partition(run: &StreamRun<'_>, source: PartitionSource) -> Result<ListOutcome> {
    if run.stop.load(Ordering::Relaxed) {
        return Ok(ListOutcome::Read);
    }
    let PartitionSource { params, parent } = source;
    let partition = run.store.streams().ensure_partition(run.id, &params, parent.map(|parent| parent.id)).await?;
    let parent_version = parent.map(|parent| parent.version);
    let is_unchanged =
        parent_version.is_some() && partition.parent_version >= parent_version && partition.checkpoint.is_none();
    if is_unchanged && parent.is_some_and(|parent| parent.only_if_changed) && run.goal.mode == SyncMode::Incremental {
        run.tally().used_cursor = true;
        return Ok(ListOutcome::Read);
    }
    read_list(run, partition, parent_version).await
}
