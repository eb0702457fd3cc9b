//! Requests that may be repeated: the `Idempotency-Key` header, and the response that a repetition gets.

use hyper::http::request::Parts;

use super::problem::{Problem, RequestError};
use super::reply::Reply;
use crate::error::Result;
use crate::hash::sha256_of_parts;
use crate::http::serve::{StatusCode, header};
use crate::model::{IdempotencyClaim, IdempotencyKey, StoredResponse};
use crate::ops::idempotency;
use crate::runtime::Workspace;

pub(super) const HEADER: &str = "idempotency-key";

/// The content types of stored responses.
const CONTENT_TYPES: [&str; 3] = [super::reply::JSON, "text/calendar; charset=utf-8", "application/octet-stream"];

/// In place of the content type of a response that held a secret: its body is not stored, as the store has only the hash of
/// what it made.
const WITHHELD: &str = "withheld";

/// Reads the key of a request.
///
/// # Errors
/// [`RequestError::InvalidIdempotencyKey`].
pub(super) fn key_of(head: &Parts) -> Result<Option<String>, RequestError> {
    let Some(value) = head.headers.get(HEADER) else { return Ok(None) };
    let is_visible = |text: &&str| (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let text = value.to_str().ok().filter(is_visible);
    text.map(|text| Some(text.to_owned())).ok_or(RequestError::InvalidIdempotencyKey)
}

/// A key that was claimed for a running request.
pub(super) struct ClaimedKey {
    key: IdempotencyKey,
}

/// Claims the key of a request.
///
/// # Errors
/// [`RequestError::OtherRequest`], [`RequestError::StillRunning`] and [`RequestError::UnknownOutcome`].
pub(super) async fn claim(
    workspace: &Workspace,
    key: IdempotencyKey,
    request_id: &str,
    request: &[&[u8]],
) -> Result<Result<ClaimedKey, Reply>, Problem> {
    match idempotency::claim_key(workspace, key.clone(), request_id, sha256_of_parts(request)).await? {
        IdempotencyClaim::Claimed => Ok(Ok(ClaimedKey { key })),
        IdempotencyClaim::Running => {
            Err(Problem::from(RequestError::StillRunning).with_header(header::RETRY_AFTER, &1))
        }
        IdempotencyClaim::Interrupted => Err(RequestError::UnknownOutcome.into()),
        IdempotencyClaim::OtherRequest => Err(RequestError::OtherRequest.into()),
        IdempotencyClaim::Done(response) if response.content_type == WITHHELD => {
            let location = response.location.unwrap_or_default();
            Err(Problem::from(RequestError::SecretReturned).with_header(header::LOCATION, &location))
        }
        IdempotencyClaim::Done(response) => Ok(Err(Reply {
            status: StatusCode::from_u16(response.status).unwrap_or(StatusCode::OK),
            content_type: CONTENT_TYPES.into_iter().find(|known| *known == response.content_type).unwrap_or_default(),
            body: response.body.into(),
            location: response.location,
        })),
    }
}

impl ClaimedKey {
    /// Stores a successful response, or releases the key: a request that failed may be sent again.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn finish(
        self,
        workspace: &Workspace,
        result: &Result<Reply, Problem>,
        has_secret: bool,
    ) -> Result<()> {
        let response = result.as_ref().ok().map(|reply| StoredResponse {
            status: reply.status.as_u16(),
            content_type: if has_secret { WITHHELD } else { reply.content_type }.to_owned(),
            location: reply.location.clone(),
            body: if has_secret { Vec::new() } else { reply.body.to_vec() },
        });
        idempotency::finish_key(workspace, &self.key, response.as_ref()).await
    }
}
