//! The chain of the audit log: each entry's hash covers its content, its place and the hash of the entry before.
//!
//! The canonical bytes of an entry, which SHA-256 digests:
//!
//! | bytes | content |
//! | --- | --- |
//! | 14 | `integ-audit-1` and a zero byte |
//! | 32 | the hash of the entry before; zeros for the first |
//! | 8 | the sequence, big-endian |
//! | 8 | the time in Unix milliseconds, big-endian, two's complement |
//! | … | twelve texts: actor, actor's id, operation, effect, connection, user, consent, source, request id, detail, outcome, error code |
//!
//! A text is a byte 1, its length in four big-endian bytes, and its UTF-8; an absent one is a byte 0. No two entries have
//! the same bytes, since every part has a fixed length or says its own.

use super::{AuditHash, AuditRecord, AuditSequence, CheckpointState};
use crate::hash::sha256;
use crate::model::words::words;

/// What the canonical bytes begin with.
const TAG: &[u8] = b"integ-audit-1\0";

/// Problems that are reported at most: after a few the log cannot be relied on in any case.
const MAX_PROBLEMS: usize = 20;

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub sequence: AuditSequence,
    pub record: AuditRecord,
    pub previous: AuditHash,
    pub hash: AuditHash,
}

/// A place in the chain, and the hash of its entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainLink {
    pub sequence: AuditSequence,
    pub hash: AuditHash,
}

impl ChainLink {
    /// Returns the entry that follows this link.
    pub fn append(self, record: AuditRecord) -> AuditEntry {
        let (sequence, previous) = (self.sequence.next(), self.hash);
        let hash = hash(&record, sequence, previous);
        AuditEntry { sequence, record, previous, hash }
    }
}

impl AuditEntry {
    /// Returns its place and hash.
    pub fn link(&self) -> ChainLink {
        ChainLink { sequence: self.sequence, hash: self.hash }
    }
}

/// Returns the hash of a record at a place of the chain.
fn hash(record: &AuditRecord, sequence: AuditSequence, previous: AuditHash) -> AuditHash {
    let mut bytes = TAG.to_vec();
    bytes.extend_from_slice(&previous.0);
    bytes.extend_from_slice(&sequence.0.to_be_bytes());
    bytes.extend_from_slice(&record.at.as_millisecond().to_be_bytes());
    let texts = [
        Some(record.actor.kind().as_str()),
        record.actor.id(),
        Some(record.operation.as_str()),
        Some(record.effect.as_str()),
        record.connection.as_deref(),
        record.user.as_deref(),
        record.consent.as_deref(),
        record.source.as_deref(),
        record.request_id.as_deref(),
        record.detail.as_deref(),
        Some(record.outcome.as_str()),
        record.error_code.as_deref(),
    ];
    for text in texts {
        bytes.push(u8::from(text.is_some()));
        if let Some(text) = text {
            // No text of an entry comes near 4 GiB.
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    AuditHash(sha256(&bytes))
}

/// What is wrong with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainProblemKind {
    /// The entry was changed.
    Edited,
    /// The entry is missing.
    Removed,
    /// The entry was at another place.
    Reordered,
    /// The log ends before this entry.
    Truncated,
    /// The chain is consistent, but this is not the entry that was signed.
    Replaced,
    /// A checkpoint is not signed with the workspace's key.
    BadSignature,
}

words!(ChainProblemKind {
    Edited => "edited",
    Removed => "removed",
    Reordered => "reordered",
    Truncated => "truncated",
    Replaced => "replaced",
    BadSignature => "bad_signature",
});

/// A problem, and the place of the entry that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainProblem {
    pub kind: ChainProblemKind,
    pub sequence: AuditSequence,
}

/// Verifies entries in the order of their sequence.
#[derive(Debug)]
pub struct ChainVerifier {
    /// What the first entry follows.
    base: ChainLink,
    last: ChainLink,
    head: ChainLink,
    checkpoint: Option<ChainLink>,
    checkpoint_state: CheckpointState,
    count: u64,
    problems: Vec<ChainProblem>,
}

impl ChainVerifier {
    /// Begins after `base`, for a log that should end with `head` and contain `checkpoint`.
    pub fn new(base: ChainLink, head: ChainLink, checkpoint: Option<ChainLink>) -> Self {
        let mut verifier = Self {
            base,
            last: base,
            head,
            checkpoint,
            checkpoint_state: CheckpointState::Missing,
            count: 0,
            problems: Vec::new(),
        };
        if checkpoint.is_some_and(|checkpoint| checkpoint.sequence < base.sequence) {
            verifier.checkpoint_state = CheckpointState::Pruned;
        }
        verifier.compare_checkpoint(base);
        verifier
    }

    /// Verifies the next entry.
    pub fn check(&mut self, entry: &AuditEntry) {
        self.count += 1;
        let expected = self.last.sequence.next();
        let follows = entry.sequence == expected;
        if !follows {
            self.report(ChainProblemKind::Removed, expected);
        }
        if hash(&entry.record, entry.sequence, entry.previous) != entry.hash {
            let kind =
                if self.is_from_elsewhere(entry) { ChainProblemKind::Reordered } else { ChainProblemKind::Edited };
            self.report(kind, entry.sequence);
        } else if follows && entry.previous != self.last.hash {
            // Its own hash is right: the entry before was changed, and its hash computed again.
            let is_first = self.last.sequence == self.base.sequence;
            let edited = if is_first { entry.sequence } else { self.last.sequence };
            self.report(ChainProblemKind::Edited, edited);
        }
        self.last = entry.link();
        self.compare_checkpoint(self.last);
    }

    /// Returns what is known of the checkpoint, the number of entries, and the problems.
    pub fn finish(mut self) -> (CheckpointState, u64, Vec<ChainProblem>) {
        let last = self.last;
        let checkpoint = self.checkpoint.filter(|_| self.checkpoint_state == CheckpointState::Missing);
        let signed_end = checkpoint.map_or(last.sequence, |checkpoint| checkpoint.sequence);
        if self.head.sequence.max(signed_end) > last.sequence {
            self.report(ChainProblemKind::Truncated, last.sequence.next());
        } else if self.head.sequence < last.sequence {
            self.report(ChainProblemKind::Replaced, self.head.sequence.next());
        } else if self.head.hash != last.hash {
            self.report(ChainProblemKind::Edited, last.sequence);
        }
        (self.checkpoint_state, self.count, self.problems)
    }

    fn compare_checkpoint(&mut self, link: ChainLink) {
        match self.checkpoint {
            Some(checkpoint) if checkpoint.sequence == link.sequence => {
                self.checkpoint_state = CheckpointState::Contained;
                if checkpoint.hash != link.hash {
                    self.checkpoint_state = CheckpointState::Missing;
                    self.report(ChainProblemKind::Replaced, link.sequence);
                    self.checkpoint = None;
                }
            }
            _ => {}
        }
    }

    /// Whether the content and the hash of an entry belong together at another place of the log.
    fn is_from_elsewhere(&self, entry: &AuditEntry) -> bool {
        let end = self.head.sequence.max(entry.sequence).0;
        let mut places = (self.base.sequence.0 + 1..=end).map(AuditSequence);
        places.any(|place| hash(&entry.record, place, entry.previous) == entry.hash)
    }

    /// Reports a problem, once for each entry.
    fn report(&mut self, kind: ChainProblemKind, sequence: AuditSequence) {
        let is_known = self.problems.iter().any(|problem| problem.sequence == sequence);
        if !is_known && self.problems.len() < MAX_PROBLEMS {
            self.problems.push(ChainProblem { kind, sequence });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::model::{AuditActor, AuditOutcome, Effect};

    fn record(number: u64) -> AuditRecord {
        let at = Timestamp::from_second(i64::try_from(number).unwrap()).unwrap();
        AuditRecord::new(at, AuditActor::Local, "sync", Effect::Write).with_detail(&format!("run {number}"))
    }

    fn chain(length: u64) -> Vec<AuditEntry> {
        let mut link = ChainLink::default();
        let append = |number| {
            let entry = link.append(record(number));
            link = entry.link();
            entry
        };
        (1..=length).map(append).collect()
    }

    fn problems(entries: &[AuditEntry], head: ChainLink, checkpoint: Option<ChainLink>) -> Vec<(&'static str, u64)> {
        let mut verifier = ChainVerifier::new(ChainLink::default(), head, checkpoint);
        entries.iter().for_each(|entry| verifier.check(entry));
        let (_, _, problems) = verifier.finish();
        problems.iter().map(|problem| (problem.kind.as_str(), problem.sequence.0)).collect()
    }

    /// One way to change a log of at least three entries.
    #[derive(Clone, Copy, Debug)]
    enum Change {
        Edit,
        EditAndHash,
        Remove,
        Swap,
        Truncate,
    }

    proptest! {
        #[test]
        fn each_change_is_found_and_named(length in 3_u64..20, at in 0_usize..20, change in prop::sample::select(vec![
            Change::Edit, Change::EditAndHash, Change::Remove, Change::Swap, Change::Truncate,
        ])) {
            let whole = chain(length);
            let head = whole.last().unwrap().link();
            // Neither the last nor the one before it, so that each change has something behind it.
            let at = at % (whole.len() - 2);
            let sequence = whole[at].sequence.0;
            let mut entries = whole.clone();
            let expected = match change {
                Change::Edit => {
                    entries[at].record.outcome = AuditOutcome::Refused;
                    vec![("edited", sequence)]
                }
                Change::EditAndHash => {
                    entries[at].record.user = Some("u_2".to_owned());
                    entries[at].hash = hash(&entries[at].record, entries[at].sequence, entries[at].previous);
                    vec![("edited", sequence)]
                }
                Change::Remove => {
                    entries.remove(at);
                    vec![("removed", sequence)]
                }
                Change::Swap => {
                    entries.swap(at, at + 1);
                    let place = entries[at].sequence;
                    entries[at].sequence = entries[at + 1].sequence;
                    entries[at + 1].sequence = place;
                    vec![("reordered", sequence), ("reordered", sequence + 1)]
                }
                Change::Truncate => {
                    entries.truncate(at + 1);
                    vec![("truncated", sequence + 1)]
                }
            };
            prop_assert_eq!(problems(&whole, head, Some(head)), vec![]);
            prop_assert_eq!(problems(&entries, head, None), expected);
        }

        #[test]
        fn no_two_records_have_the_same_bytes(a in "[a-z]{0,4}", b in "[a-z]{0,4}", c in "[a-z]{0,4}", d in "[a-z]{0,4}") {
            let with = |connection: &str, user: &str| {
                let own = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                let record = AuditRecord { connection: own(connection), user: own(user), ..record(1) };
                hash(&record, AuditSequence(1), AuditHash::default())
            };
            prop_assert_eq!(with(&a, &b) == with(&c, &d), (a, b) == (c, d));
        }
    }

    #[test]
    fn a_checkpoint_finds_a_log_that_was_cut_or_written_again() {
        let whole = chain(5);
        let checkpoint = Some(whole[3].link());
        // A writer of the store can change its recorded end as well.
        let cut = &whole[..2];
        assert_eq!(problems(cut, cut[1].link(), None), []);
        assert_eq!(problems(cut, cut[1].link(), checkpoint), [("truncated", 3)]);
        let mut link = whole[0].link();
        let mut again = vec![whole[0].clone()];
        for number in [7, 8, 9, 10] {
            let entry = link.append(record(number));
            link = entry.link();
            again.push(entry);
        }
        assert_eq!(problems(&again, link, None), []);
        assert_eq!(problems(&again, link, checkpoint), [("replaced", 4)]);
        let mut rest = ChainVerifier::new(whole[1].link(), whole[4].link(), Some(whole[1].link()));
        whole[2..].iter().for_each(|entry| rest.check(entry));
        assert_eq!(rest.finish(), (CheckpointState::Contained, 3, vec![]));
        let pruned = ChainVerifier::new(whole[4].link(), whole[4].link(), checkpoint);
        assert_eq!(pruned.finish(), (CheckpointState::Pruned, 0, vec![]));
    }
}
