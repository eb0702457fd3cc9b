//! Verifies the whole log.

use super::AuditError;
use crate::error::Result;
use crate::model::{AuditCheckpoint, AuditSequence, ChainProblem, ChainProblemKind, ChainVerifier, CheckpointState};
use crate::runtime::Workspace;
use crate::signing::checkpoint::is_checkpoint_of;

/// Entries that are read at once.
const PAGE_SIZE: u32 = 1000;

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Number of entries.
    pub entries: u64,
    /// The first entry that is there, or would be.
    pub first: AuditSequence,
    /// The last entry that was written.
    pub last: AuditSequence,
    /// What is known of the given checkpoint; absent if none was given.
    pub checkpoint: Option<CheckpointState>,
    /// In the order of the entries.
    pub problems: Vec<ChainProblem>,
}

/// Verifies that no entry was edited, removed, reordered or cut off, and that the log contains a checkpoint.
///
/// # Errors
/// [`AuditError::ForeignCheckpoint`] for a checkpoint of another log; the store's.
pub async fn verify(workspace: &Workspace, checkpoint: Option<&AuditCheckpoint>) -> Result<AuditReport> {
    let log = workspace.store().await?.audit();
    let own = log.checkpoint(workspace.clock.now()).await?;
    if checkpoint.is_some_and(|checkpoint| !is_checkpoint_of(checkpoint, &own.public_key)) {
        return Err(AuditError::ForeignCheckpoint.into());
    }
    // Entries that are added from here on are left for the next verification.
    let bounds = log.bounds().await?;
    let base = bounds.pruned.as_ref().map(AuditCheckpoint::link).unwrap_or_default();
    let mut verifier = ChainVerifier::new(base, bounds.head, checkpoint.map(AuditCheckpoint::link));
    let mut last = base.sequence;
    loop {
        let page = log.read(last, PAGE_SIZE).await?;
        let Some(end) = page.last().map(|entry| entry.sequence) else { break };
        let known = |sequence: AuditSequence| sequence <= bounds.head.sequence;
        page.iter().filter(|entry| known(entry.sequence)).for_each(|entry| verifier.check(entry));
        if !known(end) {
            break;
        }
        last = end;
    }
    let (state, entries, mut problems) = verifier.finish();
    if let Some(pruned) = bounds.pruned.filter(|pruned| !is_checkpoint_of(pruned, &own.public_key)) {
        problems.insert(0, ChainProblem { kind: ChainProblemKind::BadSignature, sequence: pruned.sequence });
    }
    problems.sort_by_key(|problem| problem.sequence);
    Ok(AuditReport {
        entries,
        first: base.sequence.next(),
        last: bounds.head.sequence,
        checkpoint: checkpoint.map(|_| state),
        problems,
    })
}
