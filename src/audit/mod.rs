//! Records operations in the audit log, and verifies it.
//!
//! Operations get into the log in two forms:
//!
//! - An operation of the owner at the machine has a [`PendingAudit`] in the engine. The first write of the store commits
//!   it ([`crate::store`]); [`before_service_write`] commits it before a service is asked to change anything; [`finish`]
//!   adds the outcome.
//! - An operation that others request has an [`AuditTicket`]. [`begin`] commits a change before it is made, and
//!   [`AuditTicket::run`] releases what was read once its entry is committed. Neither happens if the log cannot be written.

mod error;
mod verify;

use std::sync::Arc;
use std::time::Duration;

pub use error::AuditError;
pub use verify::{AuditReport, verify};

use crate::error::{Error, Kind, Result};
use crate::model::{ApprovalId, AuditActor, AuditOutcome, AuditRecord, Effect};
use crate::runtime::Workspace;
use crate::store::Store;
pub use crate::store::{AuditTiming, PendingAudit};

/// Entries that are removed in one commit.
const PRUNE_BATCH: u32 = 1000;

/// Codes of errors that say that an operation is not allowed.
const REFUSALS: &[&str] =
    &["consent_required", "forbidden", "approval_denied", "approval_required", "missing_scope", "never_revealed"];

/// Who requests an operation, and from where.
#[derive(Clone, Debug)]
pub struct AuditCaller {
    pub actor: AuditActor,
    /// The address that the request came from.
    pub source: Option<String>,
    pub request_id: Option<String>,
    /// The approval that it is done under, or that it waits for.
    pub approval: Option<ApprovalId>,
}

/// An operation that is recorded. A change has been committed as started.
#[must_use = "an operation is recorded by running it with its ticket"]
pub struct AuditTicket<'a> {
    workspace: &'a Workspace,
    pending: Arc<PendingAudit>,
}

/// Begins an operation that somebody other than the owner at the machine requests. A change is committed as started.
///
/// # Errors
/// [`AuditError::Write`] if the log cannot be written; the operation must not run then.
pub async fn begin<'a>(workspace: &'a Workspace, record: AuditRecord) -> Result<AuditTicket<'a>> {
    let is_change = record.effect != Effect::Read;
    let pending = Arc::new(PendingAudit::from_record(workspace.clock.clone(), record));
    if is_change {
        commit_started(workspace, &pending).await?;
    }
    Ok(AuditTicket { workspace, pending })
}

impl AuditTicket<'_> {
    /// Runs the operation, records its outcome, and returns its result. Connections, users and consents that it uses are in
    /// the entry. A read is released only if its entry could be committed.
    ///
    /// # Errors
    /// Those of the operation; [`AuditError::Write`] for a read.
    pub async fn run<T>(self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let Self { workspace, pending } = self;
        let result = PendingAudit::scope(Arc::clone(&pending), operation).await;
        let (outcome, code) = outcome_of(result.as_ref().err());
        let recorded = append(workspace, pending.records(outcome, code)).await;
        match recorded {
            Ok(()) => result,
            Err(error) if pending.effect() == Effect::Read => Err(error),
            Err(error) => {
                // What was done cannot be undone; that it was started is in the log.
                tracing::error!("cannot record the outcome of an operation: {}", error.on_one_line());
                result
            }
        }
    }
}

fn outcome_of(error: Option<&Error>) -> (AuditOutcome, Option<&'static str>) {
    match error {
        None => (AuditOutcome::Done, None),
        Some(error) if REFUSALS.contains(&error.code()) => (AuditOutcome::Refused, Some(error.code())),
        Some(error) => (AuditOutcome::Failed, Some(error.code())),
    }
}

/// Commits the entry of the process's operation before a service is asked to change anything. Nothing is asked if that
/// fails. An operation that only reads at the service is not recorded for it.
///
/// # Errors
/// [`AuditError::Write`].
pub async fn before_service_write(workspace: &Workspace, effect: Effect) -> Result<()> {
    let Some(pending) = &workspace.engine.audit else { return Ok(()) };
    pending.set_service_effect(effect);
    let is_recorded = effect != Effect::Read || workspace.engine.config.audit.local;
    if !is_recorded || workspace.engine.environment.is_some() {
        return Ok(());
    }
    commit_started(workspace, pending).await
}

/// Commits that an operation was started, if that is not in the log yet.
///
/// # Errors
/// [`AuditError::Write`].
pub async fn commit_started(workspace: &Workspace, pending: &PendingAudit) -> Result<()> {
    let Some(records) = pending.take() else { return Ok(()) };
    let appended = append(workspace, records).await;
    if appended.is_err() {
        pending.put_back();
    }
    appended
}

/// Records the outcome of the process's operation. `code` is the exit code of a command without an error.
///
/// An operation that changed nothing in the store is recorded only if it is declared as one that changes something else, or
/// was refused.
///
/// # Errors
/// [`AuditError::Write`]. What was done stays as it is.
pub async fn finish(workspace: &Workspace, pending: &PendingAudit, error: Option<&Error>, code: u8) -> Result<()> {
    let (mut outcome, mut error_code) = outcome_of(error);
    if error.is_none() && code != 0 {
        let kind = Kind::ALL.into_iter().find(|kind| kind.exit_code() == code);
        (outcome, error_code) = (AuditOutcome::Failed, Some(kind.map_or("failed", exit_word)));
    }
    let is_recorded = match outcome {
        _ if pending.is_committed() => true,
        AuditOutcome::Done => pending.is_recorded_afterwards(),
        AuditOutcome::Refused => true,
        AuditOutcome::Started | AuditOutcome::Failed => false,
    };
    if is_recorded {
        pending.take();
        append(workspace, pending.records(outcome, error_code)).await?;
        prune(workspace, PRUNE_BATCH).await?;
    }
    Ok(())
}

fn exit_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Unhealthy => "unhealthy",
        Kind::Partial => "partial",
        Kind::AuthNeeded => "needs_reauth",
        Kind::NotFound => "not_found",
        Kind::Interrupted => "interrupted",
        Kind::Failed | Kind::Conflict | Kind::Rejected | Kind::Usage | Kind::Temporary | Kind::Vault => "failed",
    }
}

/// Removes up to `limit` entries that are older than the retention, and returns how many.
///
/// # Errors
/// The store's.
pub async fn prune(workspace: &Workspace, limit: u32) -> Result<u64> {
    let now = workspace.clock.now_millis();
    let retention = Duration::from_secs(u64::from(workspace.engine.config.audit.retention_days) * 86_400);
    let Ok(before) = now.checked_sub(retention) else { return Ok(0) };
    let log = workspace.store().await?.audit();
    match log.bounds().await?.oldest_at {
        Some(oldest) if oldest < before => Ok(log.prune(before, limit, now).await?),
        _ => Ok(0),
    }
}

async fn append(workspace: &Workspace, records: Vec<AuditRecord>) -> Result<()> {
    let store: &dyn Store = workspace.store().await?;
    Ok(store.audit().append(records).await.map_err(|source| AuditError::Write { source })?)
}
