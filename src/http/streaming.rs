//! Responses that are read piece by piece, such as endless streams of server-sent events.

use std::time::Duration;

use super::client::{Client, Request, Response, headers_of};
use super::{HttpError, Route, transport_error};
use crate::clock::RunningLimit;

/// The head of an answer, and what is still to be read of it. Dropping it closes the connection.
#[derive(Debug)]
pub struct StreamingResponse {
    /// Status and headers; its body is empty.
    pub head: Response,
    answer: reqwest::Response,
    host: String,
    origin: String,
}

impl Client {
    /// Sends a request where the route says, and returns as soon as the answer's head has arrived, which may take up to `limit`.
    /// No redirect is followed.
    ///
    /// # Errors
    /// [`HttpError`] if no head came; an answer of any status is none.
    pub async fn open(
        &self,
        request: &Request,
        route: &Route,
        limit: Duration,
    ) -> Result<StreamingResponse, HttpError> {
        let url = route.resolve(&request.url)?;
        let (host, origin) = (url.host_str().unwrap_or_default().to_owned(), url.origin().ascii_serialization());
        let answer = self.begin(request, url, route.is_checked(&request.url), &mut RunningLimit::new(limit)).await?;
        let head = Response::head(answer.status().as_u16(), headers_of(&answer));
        tracing::debug!(status = head.status, "head of an answer");
        Ok(StreamingResponse { head, answer, host, origin })
    }
}

impl StreamingResponse {
    /// Returns the next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// [`HttpError::ConnectionLost`].
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        match self.answer.chunk().await {
            Ok(chunk) => Ok(chunk.map(|bytes| bytes.to_vec())),
            Err(error) => Err(transport_error::explain(&error.without_url(), self.host.clone(), self.origin.clone())),
        }
    }

    /// Reads the rest of the body.
    ///
    /// # Errors
    /// [`HttpError::TooLarge`] if it has more than `limit` bytes; those of [`Self::chunk`].
    pub async fn into_response(mut self, limit: usize) -> Result<Response, HttpError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > limit {
                return Err(HttpError::TooLarge { host: self.host, limit, is_configurable: false });
            }
            body.extend_from_slice(&chunk);
        }
        self.head.body = body;
        Ok(self.head)
    }
}
