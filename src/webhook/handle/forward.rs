//! Forwards each request to a URL as received, except for added headers and a new signature if the original is too old.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use url::Url;

use super::handler::{EventHandler, EventInput, HandleError, HandlerOutcome, HandlerResult};
use crate::connector::{ValueSelector, WebhookDefinition};
use crate::http;
use crate::model::{HandlerKind, HandlerRun};
use crate::signing::request::WebhookRequest;
use crate::signing::sign::EmulatorKeys;
use crate::webhook::inbound::handler_responses::{HandlerResponse, MAX_RESPONSE_BYTES};
use crate::webhook::resign::resign;
use crate::webhook::simulate::send::{WebhookSender, is_connection_header};

/// Headers that say what the body is.
const OF_THE_BODY: &[&str] = &["content-digest", "content-encoding", "content-type", "digest"];

/// How old a signature may be that is sent on: libraries of vendors refuse one of over five minutes.
const MAX_SIGNATURE_AGE_SECS: i64 = 120;

/// The URL that requests are sent on to; what it answers is the answer, if one is wanted.
pub(super) struct ForwardHandler {
    pub(super) url: Url,
    pub(super) headers: Arc<[(String, String)]>,
    pub(super) sender: Arc<WebhookSender>,
}

#[async_trait]
impl EventHandler for ForwardHandler {
    fn kind(&self) -> HandlerKind {
        HandlerKind::Forward
    }

    fn target(&self) -> String {
        http::redact_url(&self.url, &[])
    }

    async fn handle(&self, input: &EventInput<'_>) -> HandlerResult {
        let request = match input.mapped {
            Some(mapped) => Cow::Owned(mapped_request(input, mapped)),
            // A batch is one request: it is sent on once.
            None if !input.raw.is_first_of_request => return Ok(HandlerOutcome::Covered).into(),
            None => renewed(input),
        };
        let request = with_headers(&request, &self.headers, input.rules);
        let answer = match self.sender.send(&self.url, &request).await {
            Ok(answer) => answer,
            Err(error) => return Err(HandleError::Forward(error)).into(),
        };
        let body = &answer.response.body;
        let output = body[..body.len().min(HandlerRun::MAX_OUTPUT_BYTES)].to_vec();
        let outcome = if answer.is_success() {
            // One that is longer may have been cut off.
            let is_whole = body.len() < MAX_RESPONSE_BYTES;
            let response = (input.wants_response && is_whole).then(|| HandlerResponse {
                status: answer.status,
                content_type: answer.response.header("content-type").map(str::to_owned),
                body: body.clone(),
            });
            Ok(HandlerOutcome::Done(response))
        } else {
            Err(HandleError::Status { url: self.target(), status: answer.status })
        };
        HandlerResult { outcome, status: Some(i32::from(answer.status)), output }
    }
}

/// A request with what a binding made of an event. The vendor's headers and its proof are of another body; what they said of
/// the event is in headers of integ's own.
fn mapped_request(input: &EventInput<'_>, mapped: &str) -> WebhookRequest {
    let header = |name: &str, value: String| (name.to_owned(), value);
    let headers = vec![
        header("Content-Type", "application/json".to_owned()),
        header("Integ-Event-Id", input.event.id.0.to_string()),
        header("Integ-Event-Type", input.event.kind.chars().filter(char::is_ascii_graphic).collect()),
        header("Integ-Connection", input.event.connection.to_string()),
    ];
    WebhookRequest { method: "POST".to_owned(), url: String::new(), headers, body: mapped.as_bytes().to_vec() }
}

/// The request with a signature of now, if the one that it came with is so old that a receiver may refuse it.
fn renewed<'e>(input: &EventInput<'e>) -> Cow<'e, WebhookRequest> {
    let age = input.now.as_second().saturating_sub(input.event.received_at.as_second());
    let mut request = Cow::Borrowed(input.request);
    if age > MAX_SIGNATURE_AGE_SECS {
        resign(input.rules, input.keys, &EmulatorKeys::default(), request.to_mut(), input.now);
    }
    request
}

/// The request with the user's headers in place of those of the same names; the vendor's proof stays.
fn with_headers<'r>(
    request: &'r WebhookRequest,
    headers: &[(String, String)],
    rules: &WebhookDefinition,
) -> Cow<'r, WebhookRequest> {
    let mut request = Cow::Borrowed(request);
    for (name, value) in headers.iter().filter(|(name, _)| !is_reserved_header(name, rules)) {
        request.to_mut().set_header(name, value);
    }
    request
}

/// Whether a header of a request that is sent on is not the user's to set: it is of the connection or of the body, or a
/// vendor proves the request with it.
pub(in crate::webhook) fn is_reserved_header(name: &str, rules: &WebhookDefinition) -> bool {
    let of_body = OF_THE_BODY.iter().any(|own| name.eq_ignore_ascii_case(own));
    of_body || is_connection_header(name) || proof_headers(rules).any(|proof| name.eq_ignore_ascii_case(proof))
}

/// The headers that proofs are made of.
fn proof_headers(rules: &WebhookDefinition) -> impl Iterator<Item = &str> {
    rules.proofs.iter().flat_map(|proof| {
        let values = proof.values.values().chain(proof.certificate.as_ref().map(|rule| &rule.url));
        let places = [Some(&proof.signature), proof.timestamp.as_ref().map(|rule| &rule.place)];
        let places = places.into_iter().flatten().filter_map(|place| place.header.as_deref());
        places.chain(values.filter_map(|value: &ValueSelector| value.header.as_deref()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Catalogue;

    #[test]
    fn the_users_headers_replace_those_of_the_request_but_none_that_proves_it() {
        let stripe = Catalogue::new(std::path::Path::new("/nonexistent")).get("stripe").unwrap();
        let rules = stripe.webhook.as_ref().unwrap();
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![header("Stripe-Signature", "t=1"), header("User-Agent", "Stripe")];
        let (url, body) = (String::new(), b"{}".to_vec());
        let request = WebhookRequest { method: "POST".to_owned(), url, headers, body };
        let own = [header("user-agent", "me"), header("X-Tenant", "7"), header("stripe-signature", "forged")];
        let sent = with_headers(&request, &own, rules);
        assert_eq!(sent.single_header("User-Agent"), Some("me"));
        assert_eq!(sent.single_header("x-tenant"), Some("7"));
        assert_eq!(sent.single_header("Stripe-Signature"), Some("t=1"));
        for name in ["Host", "content-length", "Transfer-Encoding", "Content-Type", "STRIPE-SIGNATURE"] {
            assert!(is_reserved_header(name, rules), "{name}");
        }
        assert!(!is_reserved_header("Authorization", rules));
        assert!(matches!(with_headers(&request, &[], rules), Cow::Borrowed(_)));
    }
}
