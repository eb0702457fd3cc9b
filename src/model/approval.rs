//! Approvals: a person's yes to one exact request of an API token or of an agent on this machine.

use std::time::Duration;

use super::api_token::ApiTokenId;
use super::effect::Effect;
use super::name::ConnectionName;
use super::random_id::random_id;
use super::words::words;
use crate::clock::Timestamp;

/// For how long a request waits for a decision, and for how long a decision about one request is valid.
pub const APPROVAL_LIFETIME: Duration = Duration::from_secs(86_400);

/// For how long a request may be granted.
pub const MAX_APPROVAL_WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// The longest summary, in bytes.
const MAX_SUMMARY_BYTES: usize = 300;

random_id! {
    /// The id of an approval: `apr_` and 96 random bits in hexadecimal.
    ApprovalId, "apr_", 12, "an approval"
}

/// Which requests of an API token need an approval. A greater policy is stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApprovalPolicy {
    #[default]
    None,
    /// Those that destroy.
    Destroy,
    /// Those that write or destroy.
    Write,
}

words!(ApprovalPolicy { None => "none", Destroy => "destroy", Write => "write" });

impl ApprovalPolicy {
    /// Returns whether a request with this effect needs an approval.
    pub fn covers(self, effect: Effect) -> bool {
        match self {
            Self::None => false,
            Self::Destroy => effect == Effect::Destroy,
            Self::Write => effect != Effect::Read,
        }
    }
}

/// The state of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalStatus {
    Pending,
    Granted,
    Denied,
    /// It was granted for one request, which has been made.
    Used,
    /// It was not decided about, or not used, in time.
    Expired,
}

words!(ApprovalStatus {
    Pending => "pending",
    Granted => "granted",
    Denied => "denied",
    Used => "used",
    Expired => "expired",
});

/// How often an approval can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalUse {
    Once,
    /// As often as wanted, until it expires.
    Repeated,
}

words!(ApprovalUse { Once => "once", Repeated => "repeated" });

/// A request that needs an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// The token that asks; absent for an agent or a program on this machine.
    pub token: Option<ApiTokenId>,
    pub operation: String,
    pub effect: Effect,
    pub connection: Option<ConnectionName>,
    /// SHA-256 of what makes the request this one and no other.
    pub digest: [u8; 32],
    /// The request in a line.
    pub summary: String,
    /// The whole request as canonical JSON.
    pub request: String,
}

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub id: ApprovalId,
    pub request: ApprovalRequest,
    pub status: ApprovalStatus,
    pub use_limit: ApprovalUse,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
    pub decided_at: Option<Timestamp>,
    /// The last use.
    pub used_at: Option<Timestamp>,
}

impl Approval {
    /// Creates the approval that a request waits for.
    pub fn pending(request: ApprovalRequest, now: Timestamp) -> Self {
        Self {
            id: ApprovalId::random(),
            request,
            status: ApprovalStatus::Pending,
            use_limit: ApprovalUse::Once,
            requested_at: now,
            expires_at: now.checked_add(APPROVAL_LIFETIME).unwrap_or(Timestamp::MAX),
            decided_at: None,
            used_at: None,
        }
    }

    /// Returns the state at a time: what is open expires.
    pub fn status_at(&self, now: Timestamp) -> ApprovalStatus {
        match self.status {
            ApprovalStatus::Pending | ApprovalStatus::Granted if self.expires_at <= now => ApprovalStatus::Expired,
            status => status,
        }
    }
}

/// A person's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalDecision {
    Grant { use_limit: ApprovalUse, expires_at: Timestamp },
    Deny,
}

/// What a request that needs an approval gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApprovalClaim {
    /// The request may be made; an approval for one request is used up.
    Granted(Approval),
    Pending {
        approval: Approval,
        /// Whether this request is the first to ask for it.
        is_new: bool,
    },
    Denied(Approval),
    /// The requester waits for too many approvals.
    TooMany,
}

/// Returns a summary as one line of at most 300 bytes.
pub fn approval_summary(text: &str) -> String {
    let mut line = text.replace(|c: char| c.is_control(), " ");
    if line.len() > MAX_SUMMARY_BYTES {
        line.truncate(line.floor_char_boundary(MAX_SUMMARY_BYTES));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stricter_policy_covers_more() {
        let covered = |policy: ApprovalPolicy| Effect::ALL.map(|effect| policy.covers(effect));
        assert_eq!(covered(ApprovalPolicy::None), [false, false, false]);
        assert_eq!(covered(ApprovalPolicy::Destroy), [false, false, true]);
        assert_eq!(covered(ApprovalPolicy::Write), [false, true, true]);
        assert!(ApprovalPolicy::Write > ApprovalPolicy::Destroy && ApprovalPolicy::Destroy > ApprovalPolicy::None);
    }

    #[test]
    fn a_summary_is_one_short_line() {
        let summary = approval_summary(&format!("a\nb{}", "é".repeat(400)));
        assert!(summary.starts_with("a bé") && summary.ends_with('…') && summary.len() <= MAX_SUMMARY_BYTES + 3);
        assert_eq!(approval_summary("short"), "short");
    }
}
