//! One request to a webhook's URL, from its bytes to its answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::digest;
use serde_json::Value;
use tokio::sync::Mutex as Turn;
use url::Url;

use super::inbox::{Inbox, NotTaken};
use super::proof::{Judged, Keys, Refused, Trust, proof_of, same, verify};
use super::request::Request;
use super::{event, fetch, handshake};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::connection::{ConnectionId, ConnectionName};
use crate::connector::Webhook;
use crate::http::{self, Route};
use crate::secret::Secret;
use crate::store::{Delivery, NewEvent, Taken};

/// A connection that webhooks are received for.
pub struct Target {
    pub connection: ConnectionId,
    pub name: ConnectionName,
    pub connector: String,
    /// The last part of its URL.
    pub path: String,
    /// What the vendor calls, without a query; some sign it.
    pub public_url: Url,
    pub rules: Webhook,
    pub keys: Mutex<Keys>,
    /// When they were last read from the store.
    pub read: Mutex<Stopwatch>,
    /// What the vendor's own pages are fetched through.
    pub route: Route,
    /// Whether anybody handles its events.
    pub handled: bool,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// What a request turned out to be, for whoever watches.
#[derive(Clone, Debug)]
pub enum Outcome {
    Received {
        connection: ConnectionName,
        events: Vec<Received>,
    },
    Handshake {
        connection: ConnectionName,
        captured: bool,
    },
    Refused {
        connection: ConnectionName,
        why: Refused,
    },
    Unreadable {
        connection: ConnectionName,
        why: String,
    },
    /// It was good, and could not be kept.
    NotTaken {
        connection: ConnectionName,
        why: String,
    },
    /// Nobody is there at this path.
    Unknown,
}

/// An event that was taken, with the vendor's document as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub event: NewEvent,
    pub payload: Value,
    pub received_at: Timestamp,
    pub taken: Taken,
}

type Capture = dyn Fn(&Target, &Secret) -> Result<(), String> + Send + Sync;
type Recall = dyn Fn(&Target) + Send + Sync;

/// What is refused is judged again by the keys of the store, unless those were read so recently: a vendor may call while
/// another process has just put a secret in force.
pub const STALE: Duration = Duration::from_millis(100);

/// Receives for any number of connections.
pub struct Receiver {
    targets: HashMap<String, Vec<Arc<Target>>>,
    inbox: Inbox,
    clock: Clock,
    http: http::Client,
    trusted: Turn<HashMap<String, Trust>>,
    /// Keeps a secret that a handshake brought.
    capture: Box<Capture>,
    /// Reads the keys of a target anew.
    recall: Box<Recall>,
}

/// Where webhooks come to.
pub const PREFIX: &str = "/webhooks/";

impl Receiver {
    pub fn new(
        targets: Vec<Arc<Target>>,
        inbox: Inbox,
        clock: Clock,
        http: http::Client,
        capture: impl Fn(&Target, &Secret) -> Result<(), String> + Send + Sync + 'static,
        recall: impl Fn(&Target) + Send + Sync + 'static,
    ) -> Self {
        let mut by_connector: HashMap<String, Vec<Arc<Target>>> = HashMap::new();
        for target in targets {
            by_connector.entry(target.connector.clone()).or_default().push(target);
        }
        Self {
            targets: by_connector,
            inbox,
            clock,
            http,
            trusted: Turn::default(),
            capture: Box::new(capture),
            recall: Box::new(recall),
        }
    }

    /// Answers a request. `path` is the request's own, `query` what follows its question mark.
    pub async fn receive(&self, path: &str, query: &str, mut request: Request) -> (Reply, Outcome) {
        let Some(target) = self.target(path) else { return (empty(404), Outcome::Unknown) };
        request.url = with_query(&target.public_url, query);
        let name = || target.name.clone();
        let document = match event::document(&target.rules.event, &request) {
            Ok(document) => document,
            Err(error) => {
                let why = error.to_string();
                return (empty(400), Outcome::Unreadable { connection: name(), why });
            }
        };
        let items = event::items(&target.rules.event, &document);
        let whole = std::slice::from_ref(&document);
        let judged = Judged { request: &request, document: &document, items: items.as_deref().unwrap_or(whole) };
        let handshake = handshake::of(&target.rules.handshakes, &judged);
        if handshake.is_none_or(|handshake| handshake.signed)
            && let Err(why) = self.prove(&target, &judged).await
        {
            return (empty(401), Outcome::Refused { connection: name(), why });
        }
        if let Some(handshake) = handshake {
            let mut answer = handshake::answer(handshake, &judged, &keys(&target).values);
            if answer.status == 403 && self.is_recalled(&target) {
                answer = handshake::answer(handshake, &judged, &keys(&target).values);
            }
            let captured = answer.captured.as_ref().is_some_and(|secret| self.keep(&target, secret));
            let reply =
                Reply { status: answer.status, content_type: answer.content_type.to_owned(), body: answer.body };
            return (reply, Outcome::Handshake { connection: name(), captured });
        }
        // Whoever opens the URL in a browser sends no event.
        if request.method != "POST" {
            let why = "it is no POST".to_owned();
            return (empty(405), Outcome::Unreadable { connection: name(), why });
        }
        let found = match &items {
            Ok(items) => items,
            Err(error) => {
                let why = error.to_string();
                return (empty(400), Outcome::Unreadable { connection: name(), why });
            }
        };
        let now = self.clock.precise();
        let events = found.iter().enumerate().map(|(place, item)| {
            let text = matches!(found, Cow::Owned(_)).then(|| item.to_string());
            new_event(event::read(&target.rules.event, &judged, place, item, now), text, &request.body)
        });
        let events = events.collect();
        let payloads = match items {
            Ok(Cow::Owned(items)) => items,
            _ => vec![document],
        };
        let delivery = delivery(target.connection, target.handled, request, events, now);
        match self.inbox.take(delivery).await {
            Ok((delivery, taken)) => {
                let events = delivery.events.into_iter().zip(payloads).zip(taken);
                let received =
                    |((event, payload), taken)| Received { event, payload, received_at: delivery.received_at, taken };
                let events = events.map(received).collect();
                (accepted(&target.rules), Outcome::Received { connection: name(), events })
            }
            Err(why) => {
                let why = match why {
                    NotTaken::Full => "more come than can be written".to_owned(),
                    NotTaken::Store(why) => why,
                };
                (empty(503), Outcome::NotTaken { connection: name(), why })
            }
        }
    }

    /// The target of a path, `/webhooks/CONNECTOR/SECRET`. The secret is compared in constant time.
    fn target(&self, path: &str) -> Option<Arc<Target>> {
        let (connector, secret) = path.strip_prefix(PREFIX)?.split_once('/')?;
        let targets = self.targets.get(connector)?;
        targets.iter().find(|target| same(target.path.as_bytes(), secret.as_bytes())).cloned()
    }

    async fn prove(&self, target: &Target, judged: &Judged<'_>) -> Result<(), Refused> {
        // A vendor that signs nothing is known by the URL, which nobody else was told.
        if target.rules.proofs.is_empty() {
            return Ok(());
        }
        let proof = proof_of(&target.rules.proofs, judged).ok_or(Refused::Unproven)?;
        let trust = if fetch::is_needed(proof) {
            let mut trusted = self.trusted.lock().await;
            // Apart, so that no connection keeps room for what few proofs need.
            Box::pin(fetch::trust(proof, judged, &self.http, &target.route, &mut trusted, self.clock.now())).await?
        } else {
            Trust::default()
        };
        let judge = || verify(&target.rules.proofs, judged, &keys(target), &trust, self.clock.now());
        judge().or_else(|why| if self.is_recalled(target) { judge() } else { Err(why) })
    }

    /// Whether the keys were read anew.
    fn is_recalled(&self, target: &Target) -> bool {
        let mut read = target.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.elapsed() < STALE {
            return false;
        }
        *read = Stopwatch::start();
        drop(read);
        (self.recall)(target);
        true
    }

    /// A secret is taken only where there is none: nobody can put another in its place from outside.
    fn keep(&self, target: &Target, secret: &Secret) -> bool {
        let mut keys = target.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.secrets.is_empty() || (self.capture)(target, secret).is_err() {
            return false;
        }
        keys.secrets.push(secret.clone());
        true
    }
}

fn keys(target: &Target) -> Keys {
    target.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn with_query(url: &Url, query: &str) -> String {
    if query.is_empty() { url.to_string() } else { format!("{url}?{query}") }
}

fn empty(status: u16) -> Reply {
    Reply { status, content_type: "text/plain; charset=utf-8".to_owned(), body: String::new() }
}

fn accepted(rules: &Webhook) -> Reply {
    Reply {
        status: rules.reply.status,
        content_type: rules.reply.content_type.clone().unwrap_or_else(|| "text/plain; charset=utf-8".to_owned()),
        body: rules.reply.body.clone().unwrap_or_default(),
    }
}

/// Headers that carry the vendor's credentials to us are of no use later.
const DROPPED_HEADERS: &[&str] = &["authorization", "cookie", "proxy-authorization"];

/// A delivery that was asked for, with the events of a batch as JSON. Its body is not the one that the vendor sends, so that its ids alone tell what came.
pub(super) fn fetched(
    connection: ConnectionId,
    request: Request,
    read: Vec<(event::Event, Option<String>)>,
    now: Timestamp,
) -> Delivery {
    let new = |(event, item)| NewEvent { digest: None, ..new_event(event, item, &request.body) };
    let events = read.into_iter().map(new);
    let events = events.collect();
    delivery(connection, true, request, events, now)
}

fn delivery(
    connection: ConnectionId,
    handled: bool,
    request: Request,
    events: Vec<NewEvent>,
    now: Timestamp,
) -> Delivery {
    let mut headers = request.headers;
    headers.retain(|(name, _)| !DROPPED_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
    Delivery { connection, received_at: now, headers, body: request.body, events, handled }
}

/// `item` is the event within a batch; else it is the whole body.
fn new_event(event: event::Event, item: Option<String>, body: &[u8]) -> NewEvent {
    let mut hash = [0; 32];
    let text = item.as_ref().map_or(body, String::as_bytes);
    hash.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    NewEvent {
        delivery_id: event.delivery_id,
        digest: Some(hash),
        kind: event.kind,
        account: event.account,
        resource: event.resource,
        actor: event.actor,
        occurred_at: event.time,
        item,
    }
}

/// The events of a request that was kept, read anew.
pub fn payload(rules: &Webhook, request: &Request, item: Option<&str>) -> Value {
    match item {
        Some(text) => serde_json::from_str(text).unwrap_or_default(),
        None => event::document(&rules.event, request).unwrap_or_default(),
    }
}
