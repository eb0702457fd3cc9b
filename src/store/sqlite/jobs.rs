//! Jobs: runs of a sync, with their request, outcome and counts.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Transaction};

use super::row::{Row, collect, connection_name, first, get_optional_seconds, get_seconds, get_word, query};
use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{ConnectionId, Job, JobId, JobResult, NewJob, RecordCounts, StreamId, Traffic};
use crate::store::Jobs;

/// Ended jobs that are kept of each stream.
const MAX_ENDED_JOBS: u32 = 100;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, c.connector, c.account, j.stream_id, s.name AS stream, j.mode, j.status, j.since, j.until, \
             j.started_at, j.ended_at, j.resumes_at, j.added, j.changed, j.deleted, j.unchanged, j.requests, j.retries, \
             j.bytes, j.error, j.error_code FROM jobs j JOIN streams s ON s.id = j.stream_id \
             JOIN connections c ON c.id = s.connection_id ",
            $rest
        )
    };
}

#[async_trait]
impl Jobs for SqliteStore {
    async fn begin(&self, job: &NewJob) -> Result<JobId, StoreError> {
        let job = job.clone();
        self.write(move |transaction| {
            let sql = "UPDATE jobs SET status = 'failed', error = 'cut off', error_code = 'interrupted', ended_at = ?2 \
                       WHERE stream_id = ?1 AND status = 'running'";
            transaction.execute(sql, (job.stream.0, job.started_at.as_second()))?;
            let sql = "DELETE FROM jobs WHERE stream_id = ?1 AND id NOT IN \
                       (SELECT id FROM jobs WHERE stream_id = ?1 ORDER BY id DESC LIMIT ?2)";
            transaction.execute(sql, (job.stream.0, MAX_ENDED_JOBS - 1))?;
            let sql = "INSERT INTO jobs (stream_id, mode, status, since, until, started_at) \
                       VALUES (?1, ?2, 'running', ?3, ?4, ?5)";
            let started_at = job.started_at.as_second();
            transaction.execute(sql, (job.stream.0, job.mode.as_str(), &job.since, &job.until, started_at))?;
            Ok(JobId(transaction.last_insert_rowid()))
        })
        .await
    }

    async fn end(&self, result: &JobResult) -> Result<(), StoreError> {
        let result = result.clone();
        self.write(move |transaction| {
            let sql = "UPDATE jobs SET status = ?2, error = ?3, error_code = ?4, resumes_at = ?5, ended_at = ?6 \
                       WHERE id = ?1";
            transaction.execute(
                sql,
                (
                    result.id.0,
                    result.status.as_str(),
                    &result.error,
                    &result.error_code,
                    result.resumes_at.map(Timestamp::as_second),
                    result.ended_at.as_second(),
                ),
            )?;
            progress(transaction, result.id, RecordCounts::default(), result.traffic)?;
            Ok(())
        })
        .await
    }

    async fn last_error_code(&self, stream: StreamId) -> Result<Option<String>, StoreError> {
        self.read(move |sqlite| {
            let sql = "SELECT error_code FROM jobs WHERE stream_id = ?1 ORDER BY id DESC LIMIT 1";
            let code: Option<Option<String>> = sqlite.query_row(sql, [stream.0], |row| row.get(0)).optional()?;
            Ok(code.flatten())
        })
        .await
    }

    async fn request_cancel(&self, id: JobId) -> Result<bool, StoreError> {
        self.write(move |transaction| {
            let sql = "UPDATE jobs SET cancel_requested = 1 WHERE id = ?1 AND status = 'running'";
            Ok(transaction.execute(sql, [id.0])? == 1)
        })
        .await
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.read(move |sqlite| {
            let mut statement = sqlite.prepare_cached(select!("WHERE j.id = ?1"))?;
            first(query(&mut statement, [id.0])?, from_row)
        })
        .await
    }

    async fn list(
        &self,
        connection: Option<ConnectionId>,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        self.read(move |sqlite| {
            let sql =
                select!("WHERE (?1 IS NULL OR c.id = ?1) AND (?2 IS NULL OR j.id < ?2) ORDER BY j.id DESC LIMIT ?3");
            let mut statement = sqlite.prepare_cached(sql)?;
            let values = (connection.map(|id| id.0), before.map(|id| id.0), limit);
            collect(query(&mut statement, values)?, from_row)
        })
        .await
    }
}

/// Adds to a job's counts, and returns whether the job is to be cancelled.
pub(super) fn progress(
    transaction: &Transaction<'_>,
    job: JobId,
    counts: RecordCounts,
    traffic: Traffic,
) -> Result<bool, StoreError> {
    let sql = "UPDATE jobs SET added = added + ?2, changed = changed + ?3, deleted = deleted + ?4, \
               unchanged = unchanged + ?5, requests = requests + ?6, retries = retries + ?7, bytes = bytes + ?8 \
               WHERE id = ?1 RETURNING cancel_requested";
    let mut statement = transaction.prepare_cached(sql)?;
    let cancel_requested = statement.query_row(
        (
            job.0,
            counts.added,
            counts.changed,
            counts.deleted,
            counts.unchanged,
            traffic.requests,
            traffic.retries,
            traffic.bytes,
        ),
        |row| row.get(0),
    )?;
    Ok(cancel_requested)
}

fn from_row(row: &Row<'_>) -> Result<Job, StoreError> {
    Ok(Job {
        id: JobId(row.get("id")?),
        connection: connection_name(row)?,
        stream_id: StreamId(row.get("stream_id")?),
        stream: row.get("stream")?,
        mode: get_word(row, "mode")?,
        status: get_word(row, "status")?,
        since: row.get("since")?,
        until: row.get("until")?,
        started_at: get_seconds(row, "started_at")?,
        ended_at: get_optional_seconds(row, "ended_at")?,
        resumes_at: get_optional_seconds(row, "resumes_at")?,
        counts: RecordCounts {
            added: row.get("added")?,
            changed: row.get("changed")?,
            deleted: row.get("deleted")?,
            unchanged: row.get("unchanged")?,
        },
        traffic: Traffic { requests: row.get("requests")?, retries: row.get("retries")?, bytes: row.get("bytes")? },
        error: row.get("error")?,
        error_code: row.get("error_code")?,
    })
}
