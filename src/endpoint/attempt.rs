//! One attempt: signed anew, sent through the egress guard, and bounded in time and memory.

use std::time::Duration;

use super::schedule::{Outcome, Whom};
use crate::clock::{Clock, RunningLimit, Stopwatch, Timestamp};
use crate::config::Config;
use crate::connector::Rate;
use crate::error::on_one_line;
use crate::http::egress::Guard;
use crate::http::{Client, Request, Response, Route};
use crate::secret::{REDACTED, Secret};
use crate::signing::standard::{self, ID_HEADER, MessageId, SIGNATURE_HEADER, SigningSecret, TIMESTAMP_HEADER};
use crate::store::Endpoint;
use crate::store::outbox::{Attempt, Message};

/// Of an answer so much is kept, for the log.
const KEPT_BYTES: usize = 1024;

/// Of an answer so much is read; one that goes on is a failure.
const MOST_READ_BYTES: usize = 1024 * 1024;

/// The longest that an endpoint may be given.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes attempts; one for each worker.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    clock: Clock,
}

impl Sender {
    pub(super) fn new(config: &Config, clock: Clock) -> Self {
        let guard = Guard::new(&config.http.allow);
        Self { client: Client::guarded(LONGEST_TIMEOUT, guard).keeping(KEPT_BYTES, MOST_READ_BYTES), clock }
    }

    /// Sends a message to an endpoint. Every end of it is an outcome.
    pub(super) async fn attempt(&self, endpoint: &Endpoint, message: &Message) -> (Attempt, Outcome) {
        let stopwatch = Stopwatch::start();
        let started_at = self.clock.precise();
        let mut attempt = Attempt { started_at, ..Attempt::default() };
        let outcome = match signed(endpoint, message, started_at) {
            Ok(request) => {
                attempt.request_headers = shown(&request);
                let sending = self.client.send(request, &Route::Live);
                match RunningLimit::new(endpoint.rules.timeout).wait(sending).await {
                    Some(Ok(response)) => answered(&mut attempt, &response, self.clock.now()),
                    Some(Err(error)) => {
                        attempt.error = Some(on_one_line(&error));
                        Outcome::Failed
                    }
                    None => {
                        let limit = crate::duration::show(endpoint.rules.timeout);
                        attempt.error = Some(format!("no complete answer within {limit}"));
                        Outcome::Failed
                    }
                }
            }
            Err(why) => {
                attempt.error = Some(why);
                Outcome::Failed
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
fn shown(request: &Request) -> Vec<(String, String)> {
    let header = |(name, value): &(String, Secret)| {
        let value = if name == SIGNATURE_HEADER { REDACTED.to_owned() } else { value.expose().clone() };
        (name.clone(), value)
    };
    let kind = request.body.iter().map(|body| ("content-type".to_owned(), body.content_type.clone()));
    request.headers.iter().map(header).chain(kind).collect()
}

fn answered(attempt: &mut Attempt, response: &Response, now: Timestamp) -> Outcome {
    attempt.response_status = Some(response.status);
    attempt.response_body = Some(response.body.clone());
    if response.is_success() {
        return Outcome::Accepted;
    }
    let redirect = (300..400).contains(&response.status);
    let why = if redirect { ": redirects are not followed" } else { "" };
    attempt.error = Some(format!("status {}{why}", response.status));
    match (response.status, response.retry_after(&Rate::default(), now)) {
        (410, _) => Outcome::Gone,
        (status, Some(after)) => {
            let whom = if matches!(status, 429 | 503) { Whom::Endpoint } else { Whom::Delivery };
            Outcome::Later { after, whom }
        }
        (_, None) => Outcome::Failed,
    }
}
