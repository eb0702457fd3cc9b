//! The lists of one stream: all of it, or one for each record of its parents.

use std::sync::atomic::Ordering;

use futures_util::stream::{self, StreamExt};
use indexmap::IndexMap;

use super::run::SyncRun;
use super::selection::parent_params;
use super::stream_reader::{PartitionOutcome, StreamReader, Totals};
use super::{SyncError, record};
use crate::connector::{ParentStream, Pointer};
use crate::error::{Error, Kind, Result};
use crate::json::Json;
use crate::model::{CompletedList, Partition, RecordId, StoredRecord, StreamParams, SyncMode};
use crate::runtime::BoxFuture;

/// Lists of one stream that are read side by side.
const CONCURRENT_PARTITIONS: usize = 4;

/// Records of a parent that are taken from the store at once.
const PARENTS_PER_PAGE: u32 = 200;

/// The lists of one stream.
pub(super) struct PartitionReader<'a> {
    pub(super) run: &'a SyncRun<'a>,
    pub(super) reader: &'a StreamReader<'a>,
    /// The stream's own parameters.
    pub(super) params: StreamParams,
}

/// What became of all lists of a stream.
#[derive(Default)]
pub(super) struct StreamTotals {
    pub(super) totals: Totals,
    listed: Vec<CompletedList>,
    pub(super) skipped: usize,
    /// Lists that the vendor gave.
    listed_count: usize,
    /// The first failure, which is no reason not to go on with the other lists.
    first_error: Option<Error>,
}

impl StreamTotals {
    /// Whether the vendor gave none of the lists that it was asked for.
    pub(super) fn is_skipped(&self) -> bool {
        self.skipped > 0 && self.listed_count == 0
    }
}

impl PartitionReader<'_> {
    pub(super) async fn read_all(&self, stream_totals: &mut StreamTotals) -> Result<()> {
        let stream = self.reader.stream;
        if stream.parents.is_empty() {
            self.read_partitions(vec![(self.params.clone(), None)], stream_totals).await?;
        } else if let Some(values) = parent_params(stream, self.run.request) {
            let params = self.params.clone().into_iter().chain(values).collect();
            self.read_partitions(vec![(params, None)], stream_totals).await?;
        } else {
            // What is listed for records of the stream itself comes last: they are there by then.
            let own = |parent: &&ParentStream| parent.stream == self.reader.name;
            for parent in stream.parents.iter().filter(|parent| !own(parent)).chain(stream.parents.iter().filter(own)) {
                self.read_children(parent, stream_totals).await?;
            }
        }
        let mut listed = std::mem::take(&mut stream_totals.listed);
        // Records of different pages may have given the same list.
        listed.sort_by_key(|read| read.partition);
        listed.dedup_by_key(|read| read.partition);
        self.reader.sweep(listed, &mut stream_totals.totals).await?;
        stream_totals.first_error.take().map_or(Ok(()), Err)
    }

    /// The lists of all records of a parent.
    async fn read_children(&self, parent: &ParentStream, stream_totals: &mut StreamTotals) -> Result<()> {
        let store = &*self.run.store;
        let Some(above) = store.streams().find(self.run.session.connection.id, &parent.stream).await? else {
            return Ok(());
        };
        let mut after = RecordId(0);
        loop {
            let records = store.records().list(above.id, after, PARENTS_PER_PAGE).await?;
            let Some(last) = records.last() else { return Ok(()) };
            after = last.id;
            // Records that give the same values have one list, and the newest of them says whether it changed.
            let mut lists: IndexMap<StreamParams, ParentVersion> = IndexMap::new();
            for record in &records {
                let Some(params) = self.values(parent, record) else { continue };
                let above = (record.id, record.version, parent.changed);
                let known = lists.entry(params).or_insert(above);
                if record.version > known.1 {
                    *known = above;
                }
            }
            let lists = lists.into_iter().map(|(params, above)| (params, Some(above)));
            self.read_partitions(lists.collect(), stream_totals).await?;
        }
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

    async fn read_partitions(&self, lists: Vec<PartitionSource>, stream_totals: &mut StreamTotals) -> Result<()> {
        let read = |(params, parent)| -> BoxFuture<'_, _> {
            Box::pin(async move {
                let mut totals = Totals::default();
                let end = self.read_partition(params, parent, &mut totals).await;
                (totals, end)
            })
        };
        let mut reads = stream::iter(lists).map(read).buffer_unordered(CONCURRENT_PARTITIONS);
        let mut last = None;
        while let Some((totals, end)) = reads.next().await {
            stream_totals.totals.counts += totals.counts;
            stream_totals.totals.traffic.add(totals.traffic);
            match end {
                Ok(None) => stream_totals.listed_count += 1,
                Ok(Some(PartitionOutcome::Read)) => stream_totals.listed_count += 1,
                Ok(Some(PartitionOutcome::FullyListed(read))) => {
                    stream_totals.listed_count += 1;
                    stream_totals.listed.push(read);
                }
                Ok(Some(PartitionOutcome::Skipped)) => stream_totals.skipped += 1,
                // Every other list would fail as this one did.
                Err(error) if matches!(error.kind(), Kind::Temporary | Kind::AuthNeeded | Kind::Vault) => {
                    self.run.stop.store(true, Ordering::Relaxed);
                    last.get_or_insert(error);
                }
                Err(error) if error.downcast_ref::<SyncError>().is_some_and(is_cancelled) => {
                    last.get_or_insert(error);
                    break;
                }
                Err(error) => _ = stream_totals.first_error.get_or_insert(error),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Reads one list; absent where nothing was to be read.
    async fn read_partition(
        &self,
        params: StreamParams,
        parent: Option<ParentVersion>,
        totals: &mut Totals,
    ) -> Result<Option<PartitionOutcome>> {
        if self.run.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let record = parent.map(|(record, ..)| record);
        let streams = self.reader.store.streams();
        let partition: Partition = streams.ensure_partition(self.reader.id, &params, record).await?;
        let version = parent.map(|(_, version, _)| version);
        let unchanged = version.is_some() && partition.parent_version >= version && partition.checkpoint.is_none();
        if parent.is_some_and(|(.., changed)| changed)
            && unchanged
            && self.reader.read_goal.mode == SyncMode::Incremental
        {
            self.reader.used_cursor.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        self.reader.read(&partition, version, &self.run.token, totals).await.map(Some)
    }
}

/// A parent's record, its version, and whether only changed ones are listed for.
type ParentVersion = (RecordId, u64, bool);

/// The values of a list, and what gives them.
type PartitionSource = (StreamParams, Option<ParentVersion>);

fn is_cancelled(error: &SyncError) -> bool {
    matches!(error, SyncError::Cancelled { .. })
}
