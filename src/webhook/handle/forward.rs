//! Sends each request on to a URL of the user's, exactly as it came.

use std::sync::Arc;

use async_trait::async_trait;
use url::Url;

use super::handler::{EventHandler, EventInput, HandleError, HandlerOutcome, HandlerStep};
use crate::http;
use crate::webhook::inbound::handler_responses::HandlerResponse;
use crate::webhook::simulate::send::WebhookSender;

/// The URL that requests are sent on to; what it answers is the answer, if one is wanted.
pub(super) struct ForwardHandler {
    pub(super) url: Url,
    pub(super) returns_response: bool,
    pub(super) sender: Arc<WebhookSender>,
}

#[async_trait]
impl EventHandler for ForwardHandler {
    fn step(&self) -> HandlerStep {
        HandlerStep::Forward
    }

    async fn handle(&self, input: &EventInput<'_>) -> Result<HandlerOutcome, HandleError> {
        // A batch is one request: it is sent on once.
        if !input.raw.is_first_of_request {
            return Ok(HandlerOutcome::Done(None));
        }
        let answer = self.sender.send(&self.url, input.request).await?;
        if !answer.is_success() {
            let url = http::redact_url(&self.url, &[]);
            return Err(HandleError::Status { url, status: answer.status });
        }
        let body = String::from_utf8_lossy(&answer.response.body).into_owned();
        let content_type = answer.response.header("content-type").map(str::to_owned);
        let response = HandlerResponse { status: answer.status, content_type, body };
        Ok(HandlerOutcome::Done(self.returns_response.then_some(response)))
    }
}
