//! One attempt: signed again, sent through the egress guard, and bounded in time and memory.

use std::time::Duration;

use super::retry_schedule::{DeliveryOutcome, RetryScope};
use crate::clock::{Clock, RunningLimit, Stopwatch, Timestamp};
use crate::config::Config;
use crate::connector::RateLimits;
use crate::error::on_one_line;
use crate::http::egress::EgressGuard;
use crate::http::{Client, Request, Response, Route};
use crate::model::{DeliveryAttempt, Endpoint, Message};
use crate::secret::{REDACTED, Secret};
use crate::signing::standard::{self, ID_HEADER, MessageId, SIGNATURE_HEADER, SigningSecret, TIMESTAMP_HEADER};

/// How much of a response the log stores.
const KEPT_BYTES: usize = 1024;

/// Of an answer so much is read; one that goes on is a failure.
const MOST_READ_BYTES: usize = 1024 * 1024;

/// The longest that an endpoint may be given.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes attempts; one for each worker.
#[derive(Debug)]
pub struct DeliverySender {
    client: Client,
    clock: Clock,
}

impl DeliverySender {
    /// Creates a sender whose requests pass the egress guard.
    pub fn new(config: &Config, clock: Clock) -> Self {
        let guard = EgressGuard::new(&config.http.allow);
        Self { client: Client::guarded(MAX_TIMEOUT, guard).with_max_retained(KEPT_BYTES, MOST_READ_BYTES), clock }
    }

    /// Sends a message to an endpoint. Every end of it is an outcome.
    pub async fn attempt(&self, endpoint: &Endpoint, message: &Message) -> (DeliveryAttempt, DeliveryOutcome) {
        let stopwatch = Stopwatch::start();
        let started_at = self.clock.now_millis();
        let mut attempt = DeliveryAttempt { started_at, ..DeliveryAttempt::default() };
        let outcome = match signed(endpoint, message, started_at) {
            Ok(request) => {
                attempt.request_headers = redacted_headers(&request);
                let sending = self.client.send(request, &Route::Live);
                match RunningLimit::new(endpoint.policy.timeout).wait(sending).await {
                    Some(Ok(response)) => classify_response(&mut attempt, &response, self.clock.now()),
                    Some(Err(error)) => {
                        attempt.error = Some(on_one_line(&error));
                        DeliveryOutcome::Failed
                    }
                    None => {
                        let limit = crate::duration::format(endpoint.policy.timeout);
                        attempt.error = Some(format!("no complete answer within {limit}"));
                        DeliveryOutcome::Failed
                    }
                }
            }
            Err(why) => {
                attempt.error = Some(why);
                DeliveryOutcome::Failed
            }
        };
        attempt.duration = stopwatch.elapsed();
        (attempt, outcome)
    }
}

/// The request, signed with every secret that is good at this moment.
fn signed(endpoint: &Endpoint, message: &Message, at: Timestamp) -> Result<Request, String> {
    let id = MessageId::parse(&message.id).map_err(|error| error.to_string())?;
    let secrets = endpoint.secrets(at).iter().map(SigningSecret::parse).collect::<Result<Vec<_>, _>>();
    let secrets = secrets.map_err(|error| format!("its secret cannot be used: {error}"))?;
    let signature = standard::sign(&secrets, &id, at, &message.body);
    Ok(Request::new("POST", endpoint.url.clone())
        .header(ID_HEADER, Secret::from(id.as_str()))
        .header(TIMESTAMP_HEADER, Secret::new(at.as_second().to_string()))
        .header(SIGNATURE_HEADER, Secret::new(signature))
        .body("application/json", message.body.clone()))
}

/// The headers as the log may have them.
fn redacted_headers(request: &Request) -> Vec<(String, String)> {
    let header = |(name, value): &(String, Secret)| {
        let value = if name == SIGNATURE_HEADER { REDACTED.to_owned() } else { value.expose().clone() };
        (name.clone(), value)
    };
    let kind = request.body.iter().map(|body| ("content-type".to_owned(), body.content_type.clone()));
    request.headers.iter().map(header).chain(kind).collect()
}

fn classify_response(attempt: &mut DeliveryAttempt, response: &Response, now: Timestamp) -> DeliveryOutcome {
    attempt.response_status = Some(response.status);
    attempt.response_body = Some(response.body.clone());
    if response.is_success() {
        return DeliveryOutcome::Accepted;
    }
    let redirect = (300..400).contains(&response.status);
    let why = if redirect { ": redirects are not followed" } else { "" };
    attempt.error = Some(format!("status {}{why}", response.status));
    match (response.status, response.retry_after(&RateLimits::default(), now)) {
        (410, _) => DeliveryOutcome::Gone,
        (status, Some(after)) => {
            let whom = if matches!(status, 429 | 503) { RetryScope::Endpoint } else { RetryScope::Delivery };
            DeliveryOutcome::RetryAfter { after, scope: whom }
        }
        (_, None) => DeliveryOutcome::Failed,
    }
}
