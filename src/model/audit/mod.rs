//! The audit log of a workspace: who did what, with which outcome.

mod chain;
mod checkpoint;

use std::fmt;
use std::str::FromStr;

pub use chain::{AuditEntry, ChainLink, ChainProblem, ChainProblemKind, ChainVerifier};
pub use checkpoint::{AuditCheckpoint, CheckpointState};

use super::effect::Effect;
use super::name::ConnectionName;
use super::user::UserId;
use super::words::words;
use crate::clock::Timestamp;
use crate::hex;

/// The longest detail of an entry, in bytes.
const MAX_DETAIL_BYTES: usize = 500;

/// The place of an entry in the log, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditSequence(pub u64);

impl AuditSequence {
    /// Returns the place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for AuditSequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The SHA-256 digest of an entry. Zeros come before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditHash(pub [u8; 32]);

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for AuditHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = hex::decode(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| format!("{text:?} is not a SHA-256 digest"))
    }
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditActor {
    /// The owner at the machine.
    Local,
    /// The holder of an API token, by the token's id.
    ApiToken(String),
    /// An operator, by name.
    Operator(String),
    /// A worker, with nobody's request.
    Worker,
}

/// The kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditActorKind {
    Local,
    ApiToken,
    Operator,
    Worker,
}

words!(AuditActorKind { Local => "local", ApiToken => "api_token", Operator => "operator", Worker => "worker" });

impl AuditActor {
    /// Returns the actor of a kind; the id is that of a token or the name of an operator.
    pub fn new(kind: AuditActorKind, id: Option<String>) -> Self {
        match kind {
            AuditActorKind::Local => Self::Local,
            AuditActorKind::ApiToken => Self::ApiToken(id.unwrap_or_default()),
            AuditActorKind::Operator => Self::Operator(id.unwrap_or_default()),
            AuditActorKind::Worker => Self::Worker,
        }
    }

    /// Returns its kind.
    pub fn kind(&self) -> AuditActorKind {
        match self {
            Self::Local => AuditActorKind::Local,
            Self::ApiToken(_) => AuditActorKind::ApiToken,
            Self::Operator(_) => AuditActorKind::Operator,
            Self::Worker => AuditActorKind::Worker,
        }
    }

    /// Returns the token's id or the operator's name.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::ApiToken(id) | Self::Operator(id) => Some(id),
            Self::Local | Self::Worker => None,
        }
    }
}

/// How far it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOutcome {
    /// Committed with the first change, or before a service is asked.
    Started,
    Done,
    /// It was not allowed.
    Refused,
    Failed,
}

words!(AuditOutcome { Started => "started", Done => "done", Refused => "refused", Failed => "failed" });

/// The content of an entry. Names are texts: the log outlives what they name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// In milliseconds.
    pub at: Timestamp,
    pub actor: AuditActor,
    /// The name of the operation: `webhook retry`.
    pub operation: String,
    pub effect: Effect,
    pub connection: Option<String>,
    pub user: Option<String>,
    /// The id of the consent under which it was done.
    pub consent: Option<String>,
    /// The address of the caller.
    pub source: Option<String>,
    pub request_id: Option<String>,
    /// A short text without secrets.
    pub detail: Option<String>,
    pub outcome: AuditOutcome,
    /// The code of the error that refused or ended it.
    pub error_code: Option<String>,
}

impl AuditRecord {
    /// Creates the record of an operation that begins.
    pub fn new(at: Timestamp, actor: AuditActor, operation: &str, effect: Effect) -> Self {
        Self {
            at,
            actor,
            operation: operation.to_owned(),
            effect,
            connection: None,
            user: None,
            consent: None,
            source: None,
            request_id: None,
            detail: None,
            outcome: AuditOutcome::Started,
            error_code: None,
        }
    }

    /// Sets the connection, with its user.
    #[must_use]
    pub fn with_connection(self, connection: &ConnectionName, user: Option<&UserId>) -> Self {
        let user = user.map(ToString::to_string).or(self.user);
        Self { connection: Some(connection.to_string()), user, ..self }
    }

    /// Sets the detail: one line, cut after 500 bytes.
    #[must_use]
    pub fn with_detail(self, detail: &str) -> Self {
        let mut detail = detail.replace(|c: char| c.is_control(), " ");
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
        Self { detail: Some(detail).filter(|detail| !detail.is_empty()), ..self }
    }

    /// Sets the outcome.
    #[must_use]
    pub fn with_outcome(self, at: Timestamp, outcome: AuditOutcome, error_code: Option<&str>) -> Self {
        Self { at, outcome, error_code: error_code.map(str::to_owned), ..self }
    }
}

/// Whose entries to list: all of a kind, or one by the token's id or the operator's name. A kind's word names the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditActorFilter {
    Kind(AuditActorKind),
    Id(String),
}

impl From<String> for AuditActorFilter {
    fn from(text: String) -> Self {
        text.parse().map_or(Self::Id(text), Self::Kind)
    }
}

/// Which entries to list. Absent values match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub connection: Option<ConnectionName>,
    pub user: Option<UserId>,
    pub actor: Option<AuditActorFilter>,
    /// Those of any of these operations; all if empty.
    pub operations: Vec<String>,
    pub since: Option<Timestamp>,
    /// Leaves out that logs, metrics and alerts were read: a program that watches them would fill the log.
    pub hides_monitoring: bool,
}

/// The ends of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditBounds {
    /// The last entry.
    pub head: ChainLink,
    /// The checkpoint in place of the entries that were removed after their retention.
    pub pruned: Option<AuditCheckpoint>,
    /// The time of the oldest entry.
    pub oldest_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_one_short_line() {
        let record = AuditRecord::new(Timestamp::UNIX_EPOCH, AuditActor::Local, "sync", Effect::Write);
        let detail = record.clone().with_detail(&format!("a\n{}", "é".repeat(400))).detail.unwrap();
        assert!(detail.starts_with("a é") && detail.len() <= MAX_DETAIL_BYTES, "{detail}");
        assert_eq!(record.with_detail("").detail, None);
    }
}
