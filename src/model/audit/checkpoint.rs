//! Signed checkpoints: a place of the log, stored elsewhere, that the log must still contain.

use super::{AuditHash, AuditSequence, ChainLink};
use crate::clock::Timestamp;
use crate::model::words::words;

/// What the signed bytes begin with.
const TAG: &[u8] = b"integ-audit-checkpoint-1\0";

/// A place of the log, signed with the workspace's Ed25519 key (RFC 8032).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCheckpoint {
    pub sequence: AuditSequence,
    pub hash: AuditHash,
    /// In milliseconds.
    pub at: Timestamp,
    pub public_key: [u8; 32],
    pub signature: [u8; 64],
}

/// Whether a checkpoint is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointState {
    /// The log has its entry.
    Contained,
    /// Its entry was removed after the retention period.
    Pruned,
    Missing,
}

words!(CheckpointState { Contained => "contained", Pruned => "pruned", Missing => "missing" });

impl AuditCheckpoint {
    /// Returns its place in the chain.
    pub fn link(&self) -> ChainLink {
        ChainLink { sequence: self.sequence, hash: self.hash }
    }

    /// Returns the bytes that are signed: a tag, the sequence, the hash, and the time in Unix milliseconds, numbers
    /// big-endian.
    pub fn signed_bytes(link: ChainLink, at: Timestamp) -> Vec<u8> {
        let mut bytes = TAG.to_vec();
        bytes.extend_from_slice(&link.sequence.0.to_be_bytes());
        bytes.extend_from_slice(&link.hash.0);
        bytes.extend_from_slice(&at.as_millisecond().to_be_bytes());
        bytes
    }
}
