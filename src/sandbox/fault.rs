//! Injected faults: `integ sandbox fault`.
//!
//! Faults wait in a list. A request takes the first that fits it: its endpoint, and, for trouble with a grant, that the
//! request credential one.

use serde::{Deserialize, Serialize};

use super::routes::EmulatedEndpoint;
use super::state::SandboxState;
use crate::model::words;

/// How the emulated vendor misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The vendor's answer to too many requests, with its hint when to try again.
    RateLimit,
    /// The access tokens there are count as expired; a refresh fixes it.
    ExpiredGrant,
    /// The whole grant is revoked, as if a person had done it at the vendor.
    RevokedGrant,
    ServerError,
    /// The answer comes late.
    Slow,
    /// In place of the answer comes broken JSON or, every second time, a page.
    Malformed,
    /// A page's cursor, or a sync token, counts as expired.
    ExpiredCursor,
    /// The answer ends in its middle.
    Truncated,
    /// A list's next page is the page that asks for it.
    RepeatedCursor,
}

words!(FaultKind {
    RateLimit => "rate_limit",
    ExpiredGrant => "expired_grant",
    RevokedGrant => "revoked_grant",
    ServerError => "server_error",
    Slow => "slow",
    Malformed => "malformed",
    ExpiredCursor => "expired_cursor",
    Truncated => "truncated",
    RepeatedCursor => "repeated_cursor",
});

/// A scripted fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub kind: FaultKind,
    /// The requests that fail; every API call if absent, but no page.
    #[serde(default)]
    pub endpoint: Option<EmulatedEndpoint>,
    /// Number of requests that will still fail; all if absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many requests that it fits are spared before.
    #[serde(default)]
    pub after: u32,
    /// How late a slow answer is, or after how long a rate limit says to try again.
    #[serde(default)]
    pub seconds: Option<u32>,
    /// How many requests have met it.
    #[serde(default)]
    pub met: u32,
}

impl Fault {
    /// Creates a fault that every fitting call of the API meets, without a limit on their number.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, endpoint: None, times: None, after: 0, seconds: None, met: 0 }
    }

    fn applies_to(&self, met: FaultTarget) -> bool {
        let FaultTarget { endpoint, credential, is_stream, is_continuation } = met;
        let page = matches!(endpoint, EmulatedEndpoint::Authorize | EmulatedEndpoint::Verification);
        let here = match self.endpoint {
            None => !page,
            // Where refreshing has its own URL, that is a part of the token endpoint.
            Some(EmulatedEndpoint::Token) => matches!(endpoint, EmulatedEndpoint::Token | EmulatedEndpoint::Refresh),
            Some(EmulatedEndpoint::Stream) => is_stream,
            Some(only) => only == endpoint,
        };
        here && match self.kind {
            FaultKind::RevokedGrant => credential != PresentedCredential::None,
            // A refresh is what renews an expired token: it fails only where it is asked for by name.
            FaultKind::ExpiredGrant => {
                credential == PresentedCredential::AccessToken
                    || (credential == PresentedCredential::RefreshToken && self.endpoint.is_some())
            }
            FaultKind::ExpiredCursor => is_continuation,
            FaultKind::RepeatedCursor => is_stream,
            FaultKind::RateLimit
            | FaultKind::ServerError
            | FaultKind::Slow
            | FaultKind::Malformed
            | FaultKind::Truncated => true,
        }
    }
}

/// What decides which faults a request meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct FaultTarget {
    pub(super) endpoint: EmulatedEndpoint,
    pub(super) credential: PresentedCredential,
    /// Whether a stream answers it, and whether it goes on from what an answer gave.
    pub(super) is_stream: bool,
    pub(super) is_continuation: bool,
}

/// What of a grant a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PresentedCredential {
    None,
    AccessToken,
    RefreshToken,
}

impl SandboxState {
    /// Adds a fault after those that wait already; a request meets the first one that fits it.
    pub fn add_fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Returns the faults that wait, in the order in which they were added.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Drops every fault and says how many there were.
    pub fn clear_faults(&mut self) -> usize {
        std::mem::take(&mut self.faults).len()
    }

    /// The fault that this request meets, as it was before.
    pub(super) fn take_fault(&mut self, meets: FaultTarget) -> Option<Fault> {
        self.faults.retain(|fault| fault.times != Some(0));
        let at = self.faults.iter_mut().position(|fault| {
            let fits = fault.applies_to(meets);
            let spared = fits && fault.after > 0;
            fault.after -= u32::from(spared);
            fits && !spared
        })?;
        let met = self.faults[at].clone();
        let fault = &mut self.faults[at];
        fault.met = fault.met.saturating_add(1);
        fault.times = fault.times.map(|times| times.saturating_sub(1));
        if fault.times == Some(0) {
            self.faults.remove(at);
        }
        Some(met)
    }
}
