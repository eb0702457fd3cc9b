//! The HTTP side of receiving: the listening addresses, and requests to and from the receiver.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::http::request::Parts;

use super::handler_responses::{HandlerResponse, HandlerResponses};
use super::outcome::{ReceiveOutcome, WebhookResponse};
use super::receiver::{AdmittedRequest, Receiver};
use super::target::ReceiveTarget;
use crate::http::loopback::{self, BindError, ListenAddresses};
use crate::http::serve::{BodyReadError, FullResponse, RequestHandler, StatusCode, header, page, plain};
use crate::model::{EventId, EventInsertResult};
use crate::signing::request::WebhookRequest;
use crate::webhook::feed::{ActivityFeed, ListenEvent};

/// No answer is a page.
const CONTENT_POLICY: &str = "default-src 'none'";

/// Binds the port at the addresses that `localhost` leads to, and at a further one.
pub(in crate::webhook) fn bind(further: Option<IpAddr>, port: u16) -> Result<Vec<TcpListener>, BindError> {
    match further {
        // All addresses of the machine, those of `localhost` among them.
        Some(all) if all.is_unspecified() => loopback::bind(ListenAddresses::Only(all), port),
        Some(one) if !one.is_loopback() => {
            let mut listeners = loopback::bind(ListenAddresses::Both, port)?;
            let port = port_of(&listeners).unwrap_or(port);
            listeners.extend(loopback::bind(ListenAddresses::Only(one), port)?);
            Ok(listeners)
        }
        _ => loopback::bind(ListenAddresses::Both, port),
    }
}

/// Answers the requests to webhook URLs.
pub struct WebhookHandler {
    receiver: Receiver,
    feed: Arc<ActivityFeed>,
    /// Where answers come from that services wait for.
    answers: Option<Arc<HandlerResponses>>,
}

impl RequestHandler for WebhookHandler {
    type Admitted = AdmittedRequest;
    type Body = Full<Bytes>;

    async fn admit(&self, head: Parts) -> Result<(AdmittedRequest, usize), FullResponse> {
        if !matches!(head.method.as_str(), "GET" | "HEAD" | "POST") {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "");
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD, POST"));
            return Err(answer);
        }
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        match self.receiver.admit(path, query, request(&head)).await {
            Ok(admitted) => {
                let most = admitted.max_body();
                Ok((admitted, most))
            }
            Err((reply, outcome)) => {
                self.feed.send(ListenEvent::Request(outcome));
                Err(answer(&reply))
            }
        }
    }

    async fn respond(&self, admitted: AdmittedRequest, body: Result<Bytes, BodyReadError>) -> FullResponse {
        let body = match body {
            Ok(body) => body,
            Err(unread) => {
                self.feed.send(ListenEvent::Request(admitted.body_error(unread)));
                return unread.answer();
            }
        };
        let target = Arc::clone(admitted.target());
        // Nobody else has the body: it is moved, not copied.
        let (reply, outcome) = self.receiver.receive(admitted, body.into()).await;
        let given = self.await_handler(&target, &outcome);
        self.feed.send(ListenEvent::Request(outcome));
        match given {
            Some((answers, event, timeout)) => match answers.wait_for(event, timeout).await {
                Some(given) => handlers_answer(given, &reply.content_type),
                None => answer(&reply),
            },
            None => answer(&reply),
        }
    }
}

impl WebhookHandler {
    pub(in crate::webhook) fn new(
        receiver: Receiver,
        feed: Arc<ActivityFeed>,
        answers: Option<Arc<HandlerResponses>>,
    ) -> Self {
        Self { receiver, feed, answers }
    }

    /// Returns whether the path is the webhook URL of one of its connections.
    pub fn receives(&self, path: &str) -> bool {
        self.receiver.receives(path)
    }

    /// The event that is answered with its handler's output, and how long to wait for it; absent for an immediate answer.
    fn await_handler(
        &self,
        target: &ReceiveTarget,
        outcome: &ReceiveOutcome,
    ) -> Option<(&HandlerResponses, EventId, Duration)> {
        let ReceiveOutcome::Received { events, .. } = outcome else { return None };
        let (answers, first) = (self.answers.as_deref()?, events.first()?);
        let timeout = answers.timeout(&target.rules, &first.event.kind)?;
        let is_handled = matches!(first.inserted, EventInsertResult::New(_) | EventInsertResult::Requeued(_));
        let event = first.inserted.id();
        (is_handled && target.signals.await_answer(event)).then_some((answers, event, timeout))
    }
}

/// The answer of a handler.
fn handlers_answer(given: HandlerResponse, usual_type: &str) -> FullResponse {
    let content_type = given.content_type.unwrap_or_else(|| kind_of(&given.body, usual_type));
    let status = StatusCode::from_u16(given.status).unwrap_or(StatusCode::OK);
    let mut answer = page(status, &content_type, "", CONTENT_POLICY);
    *answer.body_mut() = Bytes::from(given.body).into();
    answer
}

/// The content type of what a command printed: JSON where it is, else the connector's.
fn kind_of(text: &[u8], usual: &str) -> String {
    let is_json = text.trim_ascii_start().starts_with(b"{") || text.trim_ascii_start().starts_with(b"[");
    let is_json = is_json && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
    if is_json { "application/json" } else { usual }.to_owned()
}

/// A request without its body, and without its URL, which is the registered one.
fn request(head: &Parts) -> WebhookRequest {
    let text = |value: &header::HeaderValue| match value.to_str() {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    WebhookRequest {
        method: head.method.as_str().to_owned(),
        url: String::new(),
        headers: head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
        body: Vec::new(),
    }
}

fn answer(reply: &WebhookResponse) -> FullResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    page(status, &reply.content_type, &reply.body, CONTENT_POLICY)
}

pub(in crate::webhook) fn port_of(listeners: &[TcpListener]) -> io::Result<u16> {
    Ok(listeners.first().ok_or(io::ErrorKind::AddrNotAvailable)?.local_addr()?.port())
}
