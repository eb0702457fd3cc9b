//! Runs of a sync: what each was to do, how it went, and what it brought.

use rusqlite::{OptionalExtension, Row, Transaction};

use super::row::{parse_word, timestamp};
use super::{MalformedValue, Store, StoreError};
use crate::clock::Timestamp;
use crate::model::connection::ConnectionId;
use crate::model::job::{Job, JobId, JobResult, NewJob};
use crate::model::name::ConnectionName;
use crate::model::record::{RecordCounts, Traffic};
use crate::model::stream::StreamId;

/// Ended jobs that are kept of each stream.
const MAX_ENDED_JOBS: u32 = 100;

/// The jobs of a store.
#[derive(Clone, Copy, Debug)]
pub struct Jobs<'a>(pub(super) &'a Store);

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, c.connector, c.account, s.id, s.name, j.mode, j.status, j.since, j.until, j.started_at, \
             j.ended_at, j.resumes_at, j.added, j.changed, j.deleted, j.unchanged, j.requests, j.retries, j.bytes, \
             j.error, j.error_code FROM jobs j JOIN streams s ON s.id = j.stream_id JOIN connections c ON c.id = s.connection_id ",
            $rest
        )
    };
}

impl Jobs<'_> {
    /// Begins a job. The oldest ended ones of the stream are forgotten; one that was cut off has failed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin(&self, job: &NewJob) -> Result<JobId, StoreError> {
        self.0.write(|transaction| {
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
    }

    /// # Errors
    /// [`StoreError`].
    pub fn end(&self, ended: &JobResult) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE jobs SET status = ?2, error = ?3, error_code = ?4, resumes_at = ?5, ended_at = ?6 WHERE id = ?1";
            let resumes_at = ended.resumes_at.map(Timestamp::as_second);
            let ended_at = ended.ended_at.as_second();
            let state = ended.status.as_str();
            transaction.execute(sql, (ended.id.0, state, &ended.error, &ended.error_code, resumes_at, ended_at))?;
            progress(transaction, ended.id, RecordCounts::default(), ended.traffic)?;
            Ok(())
        })
    }

    /// The code with which a stream's last job failed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_error_code(&self, stream: StreamId) -> Result<Option<String>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT error_code FROM jobs WHERE stream_id = ?1 ORDER BY id DESC LIMIT 1";
            let code: Option<Option<String>> = sqlite.query_row(sql, [stream.0], |row| row.get(0)).optional()?;
            Ok(code.flatten())
        })
    }

    /// Asks a job that is under way to end. False where it is not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn request_cancel(&self, id: JobId) -> Result<bool, StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE jobs SET cancel_requested = 1 WHERE id = ?1 AND status = 'running'";
            Ok(transaction.execute(sql, [id.0])? == 1)
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.0.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(select!("WHERE j.id = ?1"))?;
            let mut rows = statement.query([id.0])?;
            rows.next()?.map(job).transpose()
        })
    }

    /// The newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, connection: Option<ConnectionId>, limit: u32) -> Result<Vec<Job>, StoreError> {
        self.0.read(|sqlite| {
            let sql = select!("WHERE ?1 IS NULL OR c.id = ?1 ORDER BY j.id DESC LIMIT ?2");
            let mut statement = sqlite.prepare_cached(sql)?;
            let mut rows = statement.query((connection.map(|id| id.0), limit))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(job(row)?);
            }
            Ok(found)
        })
    }
}

/// Adds to a job's counts; true where somebody wants it to end.
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
    let cancel = statement.query_row(
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
    Ok(cancel)
}

fn job(row: &Row<'_>) -> Result<Job, StoreError> {
    let account: String = row.get(2)?;
    let name = ConnectionName::new(&row.get::<_, String>(1)?, Some(account.as_str()).filter(|name| !name.is_empty()));
    let time = |at: Option<i64>| at.map(timestamp).transpose();
    Ok(Job {
        id: JobId(row.get(0)?),
        connection: name.map_err(|_| MalformedValue::Name)?,
        stream_id: StreamId(row.get(3)?),
        stream: row.get(4)?,
        mode: parse_word(&row.get::<_, String>(5)?)?,
        status: parse_word(&row.get::<_, String>(6)?)?,
        since: row.get(7)?,
        until: row.get(8)?,
        started_at: timestamp(row.get(9)?)?,
        ended_at: time(row.get(10)?)?,
        resumes_at: time(row.get(11)?)?,
        counts: RecordCounts {
            added: row.get(12)?,
            changed: row.get(13)?,
            deleted: row.get(14)?,
            unchanged: row.get(15)?,
        },
        traffic: Traffic { requests: row.get(16)?, retries: row.get(17)?, bytes: row.get(18)? },
        error: row.get(19)?,
        error_code: row.get(20)?,
    })
}
