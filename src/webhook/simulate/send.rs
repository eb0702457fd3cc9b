//! Sends a webhook to a receiver: the exact body, and the vendor's headers.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::clock::Stopwatch;
use crate::config::Config;
use crate::http::egress::EgressGuard;
use crate::http::{self, Client, HttpError, Response, Route, is_loopback};
use crate::secret::Secret;
use crate::signing::request::WebhookRequest;

/// Headers that are of one connection alone.
const OF_THE_CONNECTION: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header is of one connection alone and is not sent on.
pub fn is_connection_header(name: &str) -> bool {
    OF_THE_CONNECTION.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// Sends to this machine, and through the egress guard to https URLs elsewhere.
#[derive(Debug)]
pub struct WebhookSender {
    loopback: Client,
    remote: Client,
}

/// What a receiver answered.
#[derive(Clone, Debug)]
pub struct TimedResponse {
    pub status: u16,
    pub duration: Duration,
    /// Of its body, no more than `MOST_KEPT` bytes.
    pub response: Response,
}

impl TimedResponse {
    /// Whether the receiver answered with a 2xx status.
    pub fn is_success(&self) -> bool {
        self.response.is_success()
    }

    /// What it says went wrong.
    pub fn error_message(&self) -> Option<String> {
        self.response.error_message(&[])
    }

    /// Its body as JSON, else as a text; absent where it is empty.
    pub fn document(&self) -> Option<Value> {
        let text = || Value::String(String::from_utf8_lossy(&self.response.body).into_owned());
        (!self.response.body.is_empty()).then(|| self.response.json().unwrap_or_else(text))
    }
}

/// Bytes of an answer that are returned, and those that are read.
const MOST_KEPT: usize = 1024 * 1024;
const MOST_READ: usize = 10 * 1024 * 1024;

impl WebhookSender {
    /// Creates a sender. It reaches loopback, public addresses and those in `http.allow`.
    pub fn new(config: &Config, timeout: Duration) -> Self {
        let elsewhere = Client::guarded(timeout, EgressGuard::new(&config.http.allow));
        Self {
            loopback: Client::new(timeout).with_max_retained(MOST_KEPT, MOST_READ),
            remote: elsewhere.with_max_retained(MOST_KEPT, MOST_READ),
        }
    }

    /// Posts the request to a receiver, with the query that it has. No redirect is followed.
    ///
    /// # Errors
    /// [`HttpError`] where no answer came.
    pub async fn send(&self, to: &Url, request: &WebhookRequest) -> Result<TimedResponse, HttpError> {
        let mut url = to.clone();
        if let Some((_, query)) = request.url.split_once('?') {
            let before = url.query().map(|before| format!("{before}&")).unwrap_or_default();
            url.set_query(Some(&format!("{before}{query}")));
        }
        let mut sent = http::Request::new("POST", url);
        let mut content_type = "";
        for (name, value) in &request.headers {
            if name.eq_ignore_ascii_case("content-type") {
                content_type = value;
            } else if !is_connection_header(name) {
                sent = sent.header(name, Secret::from(value.as_str()));
            }
        }
        let sent = sent.body(content_type, request.body.clone());
        let client = if is_loopback(to) { &self.loopback } else { &self.remote };
        let stopwatch = Stopwatch::start();
        let response = client.send(sent, &Route::Live).await?;
        Ok(TimedResponse { status: response.status, duration: stopwatch.elapsed(), response })
    }
}
