//! Reads a request's body within limits of size, time, and total memory.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use hyper::{StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{FullResponse, HEAD_TIMEOUT, plain};

/// The largest body where the handler allows no more.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What a body may take of memory without asking.
const SMALL_BODY: usize = 64 * 1024;

/// What all bodies that are larger share, and those of over [`MAX_BODY_BYTES`], in KiB. One that is larger than all that is
/// shared takes the whole of it.
const LARGE_BODIES_KIB: usize = 12 * 1024;
const HUGE_BODIES_KIB: usize = 32 * 1024;

/// Bytes of a body that must come in a second, after the first ten seconds.
const MIN_BODY_BYTES_PER_SEC: u64 = 256 * 1024;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyReadError {
    /// It is larger than this many bytes.
    TooLarge(usize),
    TooSlow,
    Overloaded,
}

impl BodyReadError {
    /// The usual answer.
    pub fn answer(self) -> FullResponse {
        match self {
            Self::TooLarge(_) => plain(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."),
            Self::TooSlow => plain(StatusCode::REQUEST_TIMEOUT, "The request took too long."),
            Self::Overloaded => {
                let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "Too many requests at once.");
                answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
                answer
            }
        }
    }
}

/// A body in memory, and its shares of the budget, which are given back when they are dropped.
pub(super) struct ReadBody {
    pub(super) bytes: Bytes,
    pub(super) shares: Vec<OwnedSemaphorePermit>,
}

/// The memory that bodies share: beyond it they wait in the network.
pub(super) struct BodyBudget {
    large: Arc<Semaphore>,
    huge: Arc<Semaphore>,
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self { large: Arc::new(Semaphore::new(LARGE_BODIES_KIB)), huge: Arc::new(Semaphore::new(HUGE_BODIES_KIB)) }
    }
}

impl BodyBudget {
    /// Reads a body of up to `most` bytes.
    pub(super) async fn read(&self, mut body: Incoming, most: usize) -> Result<ReadBody, BodyReadError> {
        // One that says how long it is need not be read to be refused.
        if body.size_hint().lower() > most as u64 {
            return Err(BodyReadError::TooLarge(most));
        }
        let mut begun = tokio::time::Instant::now();
        let (mut bytes, mut shares, mut allowed) = (Vec::new(), Vec::new(), SMALL_BODY.min(most));
        loop {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let deadline =
                begun + HEAD_TIMEOUT + Duration::from_millis(length.saturating_mul(1000) / MIN_BODY_BYTES_PER_SEC);
            let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(BodyReadError::TooSlow),
                Ok(None) => return Ok(ReadBody { bytes: Bytes::from(bytes), shares }),
                // What goes wrong on one connection is the peer's affair.
                Ok(Some(Err(_))) => return Err(BodyReadError::TooSlow),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            let needed = bytes.len() + data.len();
            if needed > most {
                return Err(BodyReadError::TooLarge(most));
            }
            if needed > allowed {
                // All that it says it will be, so that no two wait for each other's rest. One that does not say it takes the
                // budgets one after the other, and none of those of the second waits for the first.
                let step = if needed > MAX_BODY_BYTES { most } else { MAX_BODY_BYTES.min(most) };
                let rest = body.size_hint().upper();
                let whole = rest.map_or(step, |rest| needed + usize::try_from(rest).unwrap_or(0)).clamp(needed, most);
                let Ok(share) = tokio::time::timeout_at(deadline, self.share(allowed, whole)).await else {
                    return Err(BodyReadError::Overloaded);
                };
                shares.extend(share);
                // It was this side that let it wait.
                begun = tokio::time::Instant::now();
                allowed = whole;
                bytes.reserve_exact(whole - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
    }

    /// Waits for the room that a body of `whole` bytes needs beyond the `allowed` ones that it has.
    async fn share(&self, allowed: usize, whole: usize) -> Option<OwnedSemaphorePermit> {
        let (budget, all) =
            if whole > MAX_BODY_BYTES { (&self.huge, HUGE_BODIES_KIB) } else { (&self.large, LARGE_BODIES_KIB) };
        let kib = (whole - allowed).div_ceil(1024).min(all);
        Arc::clone(budget).acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX)).await.ok()
    }
}

/// Reads a body to its end and keeps nothing of it: a peer that is still sending would lose the answer with the connection.
/// One that is too large or too slow for that is left.
pub(super) async fn discard(mut body: Incoming) {
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return;
    }
    let reading = async {
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await {
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > MAX_BODY_BYTES {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(HEAD_TIMEOUT, reading).await;
}
