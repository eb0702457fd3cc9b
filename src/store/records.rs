//! Synced records, their streams, and the jobs and schedules of syncs.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{Fence, StoreError};
use crate::clock::Timestamp;
use crate::model::{
    CompletedList, ConnectionId, ConsentCondition, FormerCursor, Job, JobId, JobResult, NewJob, NewPage, Partition,
    PartitionId, PushedRecord, RecordChange, RecordCounts, RecordId, RecordSnapshot, RecordTotals, Schedule,
    StoredRecord, StoredStream, StreamId, StreamParams, SweepResult,
};

/// What must hold in the commit that stores or deletes records; if it does not, nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitConditions {
    /// The lock of the stream has not been taken over.
    pub fence: Fence,
    /// The connection's user allows it: a consent that is revoked counts from its commit on.
    pub consent: ConsentCondition,
}

/// The streams of connections, and how far each list of them has come.
#[async_trait]
pub trait Streams: Send + Sync {
    /// Returns the stream of this name; creates it if there is none.
    async fn ensure(&self, connection: ConnectionId, name: &str) -> Result<StoredStream, StoreError>;

    /// Returns the connection's stream of this name; `None` before [`Self::ensure`] has created it.
    async fn find(&self, connection: ConnectionId, name: &str) -> Result<Option<StoredStream>, StoreError>;

    /// Returns the stored streams of a connection, sorted by name.
    async fn list(&self, connection: ConnectionId) -> Result<Vec<StoredStream>, StoreError>;

    /// Returns the stored streams of connections as [`Self::list`] does, in the order of the connections.
    async fn list_of_each(&self, connections: &[ConnectionId]) -> Result<Vec<Vec<StoredStream>>, StoreError> {
        let mut found = Vec::with_capacity(connections.len());
        for connection in connections {
            found.push(self.list(*connection).await?);
        }
        Ok(found)
    }

    /// Replaces all parameters of a stream.
    async fn set_params(&self, stream: StreamId, params: &StreamParams) -> Result<(), StoreError>;

    /// Returns the partition with these values; creates it if there is none. `parent` is the record that gives them.
    async fn ensure_partition(
        &self,
        stream: StreamId,
        params: &StreamParams,
        parent: Option<RecordId>,
    ) -> Result<Partition, StoreError>;

    /// Returns the partitions of a stream, oldest first.
    async fn partitions(&self, stream: StreamId) -> Result<Vec<Partition>, StoreError>;

    /// Sets a partition's cursor and discards the checkpoint of an unfinished list.
    async fn set_cursor(&self, partition: PartitionId, cursor: Option<&str>, now: Timestamp) -> Result<(), StoreError>;

    /// Returns the former cursors of a partition, newest first.
    async fn cursor_history(&self, partition: PartitionId) -> Result<Vec<FormerCursor>, StoreError>;

    /// Returns for each connection the newest time at which one of its streams was synced completely.
    async fn last_synced(&self) -> Result<HashMap<ConnectionId, Timestamp>, StoreError>;
}

/// Records as the vendor wrote them, and what changed when.
#[async_trait]
pub trait Records: Send + Sync {
    /// Stores pages in one commit: the records of each, its checkpoint and the job's counts. The flag beside the counts
    /// says whether the job is to be cancelled.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] and [`StoreError::Consent`], with nothing stored.
    async fn commit_pages(
        &self,
        pages: Vec<NewPage>,
        conditions: &CommitConditions,
    ) -> Result<(RecordCounts, bool), StoreError>;

    /// Stores a record that came in an event, beside every cursor. Returns `None` if it is unchanged.
    async fn push(
        &self,
        record: PushedRecord,
        conditions: &CommitConditions,
    ) -> Result<Option<RecordChange>, StoreError>;

    /// Returns a record by its key, also a deleted one.
    async fn find(&self, stream: StreamId, key: &str) -> Result<Option<RecordSnapshot>, StoreError>;

    /// Returns for each key whether there is a record that is not deleted.
    async fn exist(&self, stream: StreamId, keys: &[String]) -> Result<Vec<bool>, StoreError>;

    /// Returns up to `limit` records after a record, in the order of their first arrival, without deleted ones.
    async fn list(&self, stream: StreamId, after: RecordId, limit: u32) -> Result<Vec<StoredRecord>, StoreError>;

    /// Returns up to `limit` records that changed after version `since`, oldest change first. `after` is the version and
    /// id of the last record of the previous page.
    async fn changes(
        &self,
        stream: StreamId,
        since: u64,
        after: Option<(u64, RecordId)>,
        limit: u32,
    ) -> Result<Vec<StoredRecord>, StoreError>;

    /// Returns the version before the first change at or after a time.
    async fn version_at(&self, stream: StreamId, time: Timestamp) -> Result<u64, StoreError>;

    /// Returns the number of a stream's records, without deleted ones.
    async fn count(&self, stream: StreamId) -> Result<u64, StoreError>;

    /// Returns for each stream how many records it has, and when it was last synced. A stream without partitions is missing.
    async fn totals(&self) -> Result<HashMap<StreamId, RecordTotals>, StoreError>;

    /// Completes full lists of some partitions of a stream: marks records that were not seen as deleted, with all records
    /// that were listed for them, and moves the cursors.
    ///
    /// With `limit`, nothing is deleted if that would be more than half of a stream of over 20 records, counting the
    /// `limit` records that earlier sweeps of the same run have deleted; the lists are discarded then.
    async fn sweep(
        &self,
        job: JobId,
        stream: StreamId,
        lists: &[CompletedList],
        limit: Option<u64>,
        now: Timestamp,
        conditions: &CommitConditions,
    ) -> Result<SweepResult, StoreError>;

    /// Discards the checkpoint of a partition's unfinished list and the ids that were seen in it.
    async fn reset_list(&self, partition: PartitionId) -> Result<(), StoreError>;

    /// Begins a full list of a partition, discarding what an earlier one left. Returns the store's current version.
    async fn begin_list(&self, partition: PartitionId) -> Result<u64, StoreError>;

    /// Returns whether a completed list lacks a record that is stored.
    async fn has_missing(&self, list: &CompletedList) -> Result<bool, StoreError>;
}

/// Runs of a sync.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Starts a job. A job of the stream that is still marked as running was interrupted and becomes failed; the oldest
    /// ended jobs are deleted.
    async fn begin(&self, job: &NewJob) -> Result<JobId, StoreError>;

    /// Records the outcome of a job and adds the traffic that brought no page.
    async fn end(&self, result: &JobResult) -> Result<(), StoreError>;

    /// Returns the error code of a stream's last job.
    async fn last_error_code(&self, stream: StreamId) -> Result<Option<String>, StoreError>;

    /// Requests that a running job be cancelled, and returns whether it is running.
    async fn request_cancel(&self, id: JobId) -> Result<bool, StoreError>;

    /// Returns the job with this id; `None` also once it was deleted as one of the oldest.
    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// Returns the jobs of all connections or of one, newest first; with `before`, those with a smaller id.
    async fn list(
        &self,
        connection: Option<ConnectionId>,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError>;
}

/// When streams are synced without being asked to.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Sets the schedule of a stream, or of all streams of a connection.
    async fn set(
        &self,
        connection: ConnectionId,
        stream: Option<&str>,
        rule: &str,
        jitter_secs: u32,
        next_at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Removes a schedule, and returns whether there was one.
    async fn remove(&self, connection: ConnectionId, stream: Option<&str>) -> Result<bool, StoreError>;

    /// Returns all schedules, the next one first.
    async fn list(&self) -> Result<Vec<Schedule>, StoreError>;

    /// Corrects a next time that was written while the clock was fast.
    async fn set_next_at(&self, schedule: &Schedule, next_at: Timestamp) -> Result<(), StoreError>;

    /// Advances a schedule from `due_at` to `next_at`, so that one of several processes runs it. Returns whether this one
    /// did.
    async fn claim(
        &self,
        connection: ConnectionId,
        stream: Option<&str>,
        due_at: Timestamp,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
}
