//! Jobs: runs of a sync, with their request, outcome and counts.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{SealedRow, connection_name, get, get_seconds, get_word, number, optional_seconds, signed};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::Timestamp;
use crate::model::{ConnectionId, Job, JobId, JobResult, NewJob, RecordCounts, StreamId, Traffic};
use crate::store::{Jobs, StoreError};

/// Ended jobs that are stored of each stream.
const MAX_ENDED_JOBS: i64 = 100;

const ERROR: Column = column("jobs", "error");

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, c.connector, c.account, j.stream_id, s.name AS stream, j.mode, j.status, j.since, j.until,
             j.started_at, j.ended_at, j.resumes_at, j.added, j.changed, j.deleted, j.unchanged, j.requests, j.retries,
             j.bytes, j.error, j.error_code
             FROM integ.jobs j JOIN integ.streams s ON s.workspace_id = $1 AND s.id = j.stream_id
             JOIN integ.connections c ON c.workspace_id = $1 AND c.id = s.connection_id WHERE j.workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl Jobs for PostgresStore {
    async fn begin(&self, job: &NewJob) -> Result<JobId, StoreError> {
        let transaction = self.begin().await?;
        fail_interrupted(&transaction, job).await?;
        let sql = "DELETE FROM integ.jobs WHERE workspace_id = $1 AND stream_id = $2 AND id NOT IN
                   (SELECT id FROM integ.jobs WHERE workspace_id = $1 AND stream_id = $2 ORDER BY id DESC LIMIT $3)";
        transaction.execute(sql, &[&job.stream.0, &(MAX_ENDED_JOBS - 1)]).await?;
        let id = transaction.next_id("jobs").await?;
        let sql = "INSERT INTO integ.jobs (workspace_id, id, stream_id, mode, status, since, until, started_at)
                   VALUES ($1, $2, $3, $4, 'running', $5, $6, $7)";
        let values: [Value<'_>; 6] = [
            &id,
            &job.stream.0,
            &job.mode.as_str(),
            &job.since.as_deref(),
            &job.until.as_deref(),
            &job.started_at.as_second(),
        ];
        transaction.execute(sql, &values).await?;
        transaction.commit().await?;
        Ok(JobId(id))
    }

    async fn end(&self, result: &JobResult) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let error = transaction.sealer.seal_optional(ERROR, result.id.0, result.error.as_ref())?;
        let sql = "UPDATE integ.jobs SET status = $3, error = $4, error_code = $5, resumes_at = $6, ended_at = $7
                   WHERE workspace_id = $1 AND id = $2";
        let values: [Value<'_>; 6] = [
            &result.id.0,
            &result.status.as_str(),
            &error,
            &result.error_code.as_deref(),
            &result.resumes_at.map(Timestamp::as_second),
            &result.ended_at.as_second(),
        ];
        transaction.execute(sql, &values).await?;
        progress(&transaction, result.id, RecordCounts::default(), result.traffic).await?;
        transaction.commit().await
    }

    async fn last_error_code(&self, stream: StreamId) -> Result<Option<String>, StoreError> {
        let sql =
            "SELECT error_code FROM integ.jobs WHERE workspace_id = $1 AND stream_id = $2 ORDER BY id DESC LIMIT 1";
        let row = self.row(sql, &[&stream.0]).await?;
        row.map_or(Ok(None), |row| get(&row, "error_code"))
    }

    async fn request_cancel(&self, id: JobId) -> Result<bool, StoreError> {
        let sql =
            "UPDATE integ.jobs SET cancel_requested = TRUE WHERE workspace_id = $1 AND id = $2 AND status = 'running'";
        Ok(self.execute(sql, &[&id.0]).await? == 1)
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let row = self.row(select!("AND j.id = $2"), &[&id.0]).await?;
        row.map(|row| from_row(&self.sealer, &row)).transpose()
    }

    async fn list(
        &self,
        connection: Option<ConnectionId>,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        let sql = select!("AND ($2 IS NULL OR c.id = $2) AND ($3 IS NULL OR j.id < $3) ORDER BY j.id DESC LIMIT $4");
        let values: [Value<'_>; 3] = [&connection.map(|id| id.0), &before.map(|id| id.0), &i64::from(limit)];
        let rows = self.rows(sql, &values).await?;
        rows.iter().map(|row| from_row(&self.sealer, row)).collect()
    }
}

/// Marks the jobs of the stream that are still running as failed: their processes have ended.
async fn fail_interrupted(transaction: &Transaction, job: &NewJob) -> Result<(), StoreError> {
    let sql = "SELECT id FROM integ.jobs WHERE workspace_id = $1 AND stream_id = $2 AND status = 'running' FOR UPDATE";
    for row in transaction.query(sql, &[&job.stream.0]).await? {
        let id: i64 = get(&row, "id")?;
        let error = transaction.sealer.seal(ERROR, id, "cut off")?;
        let sql = "UPDATE integ.jobs SET status = 'failed', error = $3, error_code = 'interrupted', ended_at = $4
                   WHERE workspace_id = $1 AND id = $2";
        transaction.execute(sql, &[&id, &error, &job.started_at.as_second()]).await?;
    }
    Ok(())
}

/// Adds to a job's counts, and returns whether the job is to be cancelled.
pub(super) async fn progress(
    transaction: &Transaction,
    job: JobId,
    counts: RecordCounts,
    traffic: Traffic,
) -> Result<bool, StoreError> {
    let sql = "UPDATE integ.jobs SET added = added + $3, changed = changed + $4, deleted = deleted + $5,
                   unchanged = unchanged + $6, requests = requests + $7, retries = retries + $8, bytes = bytes + $9
               WHERE workspace_id = $1 AND id = $2 RETURNING cancel_requested";
    let values: [Value<'_>; 8] = [
        &job.0,
        &signed(counts.added),
        &signed(counts.changed),
        &signed(counts.deleted),
        &signed(counts.unchanged),
        &signed(traffic.requests),
        &signed(traffic.retries),
        &signed(traffic.bytes),
    ];
    let row = transaction.first(sql, &values).await?;
    // Its connection may have been removed meanwhile: nothing of it is to go on.
    row.map_or(Err(StoreError::ConnectionNotFound), |row| get(&row, "cancel_requested"))
}

fn from_row(sealer: &Sealer, row: &Row) -> Result<Job, StoreError> {
    let id: i64 = get(row, "id")?;
    Ok(Job {
        id: JobId(id),
        connection: connection_name(row)?,
        stream_id: StreamId(get(row, "stream_id")?),
        stream: get(row, "stream")?,
        mode: get_word(row, "mode")?,
        status: get_word(row, "status")?,
        since: get(row, "since")?,
        until: get(row, "until")?,
        started_at: get_seconds(row, "started_at")?,
        ended_at: optional_seconds(row, "ended_at")?,
        resumes_at: optional_seconds(row, "resumes_at")?,
        counts: RecordCounts {
            added: number(row, "added")?,
            changed: number(row, "changed")?,
            deleted: number(row, "deleted")?,
            unchanged: number(row, "unchanged")?,
        },
        traffic: Traffic {
            requests: number(row, "requests")?,
            retries: number(row, "retries")?,
            bytes: number(row, "bytes")?,
        },
        error: SealedRow::new(sealer, row, id).text(ERROR)?,
        error_code: get(row, "error_code")?,
    })
}
