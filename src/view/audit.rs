//! Views of the audit log. Times are RFC 3339, with milliseconds; hashes and keys are hexadecimal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::Time;
use super::{optional_word, word};
use crate::audit::AuditReport;
use crate::clock::Timestamp;
use crate::hex;
use crate::model::{
    AuditActorKind, AuditCheckpoint, AuditEntry, AuditHash, AuditOutcome, AuditSequence, ChainProblem,
    ChainProblemKind, CheckpointState, Effect,
};

/// An entry of the audit log.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AuditEntryView {
    /// From 1, without gaps.
    pub sequence: u64,
    #[schemars(with = "Time")]
    pub at: Timestamp,
    #[serde(serialize_with = "word")]
    pub actor: AuditActorKind,
    /// The ID of an API token, or the name of an operator.
    pub actor_id: Option<String>,
    pub operation: String,
    #[serde(serialize_with = "word")]
    pub effect: Effect,
    pub connection: Option<String>,
    pub user: Option<String>,
    /// The consent under which it was done.
    pub consent: Option<String>,
    /// The caller's address.
    pub source: Option<String>,
    pub request_id: Option<String>,
    pub detail: Option<String>,
    #[serde(serialize_with = "word")]
    pub outcome: AuditOutcome,
    pub error_code: Option<String>,
    /// The hash of the entry before; zeros for the first.
    pub previous_hash: String,
    pub hash: String,
}

impl From<AuditEntry> for AuditEntryView {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { sequence, record, previous, hash } = entry;
        Self {
            sequence: sequence.0,
            at: record.at,
            actor: record.actor.kind(),
            actor_id: record.actor.id().map(str::to_owned),
            operation: record.operation,
            effect: record.effect,
            connection: record.connection,
            user: record.user,
            consent: record.consent,
            source: record.source,
            request_id: record.request_id,
            detail: record.detail,
            outcome: record.outcome,
            error_code: record.error_code,
            previous_hash: previous.to_string(),
            hash: hash.to_string(),
        }
    }
}

/// Entries, the newest first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AuditListView {
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub listed_at: Timestamp,
    pub entries: Vec<AuditEntryView>,
}

/// The last line of an export.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct AuditCheckpointView {
    pub checkpoint: SignedCheckpointView,
}

/// A place of the log, signed with the workspace's Ed25519 key.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct SignedCheckpointView {
    /// The last entry.
    pub sequence: u64,
    pub hash: String,
    #[schemars(with = "Time")]
    pub at: Timestamp,
    pub public_key: String,
    pub signature: String,
}

impl From<AuditCheckpoint> for AuditCheckpointView {
    fn from(checkpoint: AuditCheckpoint) -> Self {
        Self {
            checkpoint: SignedCheckpointView {
                sequence: checkpoint.sequence.0,
                hash: checkpoint.hash.to_string(),
                at: checkpoint.at,
                public_key: hex::encode(&checkpoint.public_key),
                signature: hex::encode(&checkpoint.signature),
            },
        }
    }
}

impl AuditCheckpointView {
    /// Reads the checkpoint. The error says what is wrong with it.
    pub fn read(&self) -> Result<AuditCheckpoint, String> {
        let SignedCheckpointView { sequence, hash, at, public_key, signature } = &self.checkpoint;
        Ok(AuditCheckpoint {
            sequence: AuditSequence(*sequence),
            hash: hash.parse::<AuditHash>()?,
            at: *at,
            public_key: bytes(public_key).ok_or("its public key does not have 32 bytes")?,
            signature: bytes(signature).ok_or("its signature does not have 64 bytes")?,
        })
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex::decode(text)?.try_into().ok()
}

/// What is wrong with an entry of the log.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct AuditProblemView {
    #[serde(serialize_with = "word")]
    pub kind: ChainProblemKind,
    pub sequence: u64,
}

/// What a verification of the log found.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AuditVerificationView {
    /// Number of entries.
    pub entries: u64,
    /// The first entry; those before were removed after their retention.
    pub first: u64,
    /// The last entry; 0 if there never was one.
    pub last: u64,
    /// Whether the log contains the given checkpoint; null if none was given.
    #[serde(serialize_with = "optional_word")]
    pub checkpoint: Option<CheckpointState>,
    pub problems: Vec<AuditProblemView>,
}

impl From<AuditReport> for AuditVerificationView {
    fn from(report: AuditReport) -> Self {
        let problem = |problem: ChainProblem| AuditProblemView { kind: problem.kind, sequence: problem.sequence.0 };
        Self {
            entries: report.entries,
            first: report.first.0,
            last: report.last.0,
            checkpoint: report.checkpoint,
            problems: report.problems.into_iter().map(problem).collect(),
        }
    }
}
