//! Views of the log.

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Time;
use super::word;
use crate::clock::Timestamp;
use crate::model::{
    AuditEntry, AuditOutcome, Delivery, DeliveryStatus, EventStatus, HealthOutcome, Job, JobStatus, LogLevel,
    LogPosition, LogSource, StoredEvent, StoredHealthCheck,
};

/// An entry of the log, without secrets: what is stored of errors has none.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct LogEntryView {
    /// When it happened or began, with milliseconds where they are known.
    #[schemars(with = "Time")]
    pub at: Timestamp,
    #[serde(serialize_with = "word")]
    pub level: LogLevel,
    #[serde(serialize_with = "word")]
    pub source: LogSource,
    /// The number of the audit entry, check, event or job, or the ID of the delivery.
    pub id: String,
    pub connection: Option<String>,
    /// What it is: an operation, the type of an event, a stream.
    pub subject: String,
    /// What became of it, in the words of its source: `done`, `healthy`, `dead`.
    pub outcome: String,
    /// Who requested it: `local`, `worker`, or the ID of an API token.
    pub actor: Option<String>,
    /// The ID of the request to the HTTP API.
    pub request_id: Option<String>,
    pub duration_ms: Option<u64>,
    pub http_status: Option<u16>,
    pub attempts: Option<u32>,
    /// What was wrong, or the code of it.
    pub error: Option<String>,
    #[serde(skip)]
    pub position: LogPosition,
}

impl LogEntryView {
    fn new(at: Timestamp, source: LogSource, id: String, subject: String, level: LogLevel, outcome: &str) -> Self {
        Self {
            at,
            level,
            source,
            id,
            connection: None,
            subject,
            outcome: outcome.to_owned(),
            actor: None,
            request_id: None,
            duration_ms: None,
            http_status: None,
            attempts: None,
            error: None,
            position: LogPosition::default(),
        }
    }
}

impl From<AuditEntry> for LogEntryView {
    fn from(AuditEntry { sequence, record, .. }: AuditEntry) -> Self {
        let level = match record.outcome {
            AuditOutcome::Started | AuditOutcome::Done => LogLevel::Info,
            AuditOutcome::Refused => LogLevel::Warning,
            AuditOutcome::Failed => LogLevel::Error,
        };
        let actor = record.actor.id().unwrap_or(record.actor.kind().as_str()).to_owned();
        Self {
            connection: record.connection,
            actor: Some(actor),
            request_id: record.request_id,
            error: record.error_code,
            ..Self::new(
                record.at,
                LogSource::Audit,
                sequence.to_string(),
                record.operation,
                level,
                record.outcome.as_str(),
            )
        }
    }
}

impl From<StoredHealthCheck> for LogEntryView {
    fn from(StoredHealthCheck { id, connection, check }: StoredHealthCheck) -> Self {
        let level = match check.outcome {
            outcome if outcome.is_healthy() => LogLevel::Info,
            HealthOutcome::Temporary => LogLevel::Warning,
            _ => LogLevel::Error,
        };
        let duration = check.duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        Self {
            connection: Some(connection.to_string()),
            duration_ms: duration,
            http_status: check.http_status,
            error: check.error,
            ..Self::new(
                check.at,
                LogSource::Check,
                id.0.to_string(),
                "health check".to_owned(),
                level,
                check.outcome.as_str(),
            )
        }
    }
}

impl From<Delivery> for LogEntryView {
    fn from(delivery: Delivery) -> Self {
        let level = match delivery.status {
            DeliveryStatus::Pending | DeliveryStatus::Delivered => LogLevel::Info,
            DeliveryStatus::Failed => LogLevel::Warning,
            DeliveryStatus::Dead => LogLevel::Error,
        };
        let subject = format!("{} to {}", delivery.kind, delivery.endpoint);
        let id = delivery.id.to_string();
        Self {
            attempts: Some(delivery.attempts),
            error: delivery.last_error.filter(|_| level != LogLevel::Info),
            ..Self::new(delivery.created_at, LogSource::Delivery, id, subject, level, delivery.status.as_str())
        }
    }
}

impl From<StoredEvent> for LogEntryView {
    fn from(event: StoredEvent) -> Self {
        let level = match event.status {
            EventStatus::Pending | EventStatus::Processed => LogLevel::Info,
            EventStatus::Failed => LogLevel::Warning,
            EventStatus::Dead => LogLevel::Error,
        };
        let id = event.id.0.to_string();
        Self {
            connection: Some(event.connection.to_string()),
            attempts: Some(event.attempts),
            error: event.last_error.filter(|_| level != LogLevel::Info),
            ..Self::new(event.received_at, LogSource::Event, id, event.kind, level, event.status.as_str())
        }
    }
}

impl From<Job> for LogEntryView {
    fn from(job: Job) -> Self {
        let level = match job.status {
            JobStatus::Running | JobStatus::Done | JobStatus::Skipped => LogLevel::Info,
            JobStatus::RateLimited | JobStatus::Cancelled => LogLevel::Warning,
            JobStatus::Failed => LogLevel::Error,
        };
        let seconds = job.ended_at.map(|ended| ended.as_second() - job.started_at.as_second());
        Self {
            connection: Some(job.connection.to_string()),
            duration_ms: seconds.and_then(|seconds| u64::try_from(seconds.saturating_mul(1000)).ok()),
            error: job.error,
            ..Self::new(job.started_at, LogSource::Sync, job.id.0.to_string(), job.stream, level, job.status.as_str())
        }
    }
}

/// Entries of the log, the newest first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct LogListView {
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub listed_at: Timestamp,
    pub entries: Vec<LogEntryView>,
}
