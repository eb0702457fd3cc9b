//! One request to a webhook's URL, from its bytes to its answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use ring::digest;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::event::Unreadable;
use super::inbox::{Inbox, NotTaken};
use super::trust::TrustStore;
use super::{body, event, fetch, handshake};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::connector::{Condition, Covered, Handshake, Scheme, Webhook};
use crate::http::serve::{LARGEST_BODY, Unread};
use crate::http::{self, Route};
use crate::model::{ConnectionId, ConnectionName};
use crate::secret::Secret;
use crate::signing::request::{Request, capped, public_query};
use crate::signing::verify::{Judged, Keys, Refused, Trust, proof_at, same, signed_digest, signed_moment, verify};
use crate::store::{Delivery, EventProof, NewEvent, Taken};

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
    /// The largest body that is taken, in bytes.
    pub max_body: usize,
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
        /// `unreadable`, `too_large`, `too_slow` or `crowded`.
        reason: &'static str,
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

/// An event that was taken.
#[derive(Clone, Debug)]
pub struct Received {
    pub event: NewEvent,
    /// The request, where what is shown is chosen by what it says.
    pub source: Option<Arc<Request>>,
    pub received_at: Timestamp,
    pub taken: Taken,
    /// Whether it is proved that the vendor sent it.
    pub verified: bool,
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
    trusted: TrustStore,
    /// Bodies that are parsed before anything is proved: a few small ones at once, and large ones one after another, which
    /// keep no small one waiting.
    parsing_small: Semaphore,
    parsing_large: Semaphore,
    /// Whether what is shown is chosen by what events say.
    is_filtered: bool,
    /// Keeps a secret that a handshake brought.
    capture: Box<Capture>,
    /// Reads the keys of a target anew.
    recall: Box<Recall>,
}

/// A request that is answered without a proof brings a token and little else.
const LARGEST_HANDSHAKE: usize = 64 * 1024;

/// How long most services wait for an answer.
const USUAL_TIMEOUT_SECS: u32 = 10;

/// Where webhooks come to.
pub const PREFIX: &str = "/webhooks/";

impl Receiver {
    pub fn new(
        targets: Vec<Arc<Target>>,
        inbox: Inbox,
        clock: Clock,
        http: http::Client,
        is_filtered: bool,
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
            trusted: TrustStore::new(http),
            parsing_small: Semaphore::new(4),
            parsing_large: Semaphore::new(1),
            is_filtered,
            capture: Box::new(capture),
            recall: Box::new(recall),
        }
    }

    /// Judges a request by its head alone, before its body is read: what certainly proves nothing is refused, and what it
    /// is to be judged by is fetched while no body waits in memory.
    ///
    /// # Errors
    /// The answer, and what became of it. Otherwise the bytes that its body may have.
    pub async fn admit(&self, path: &str, query: &str, mut head: Request) -> Result<usize, (Reply, Outcome)> {
        let Some(target) = self.target(path) else { return Err((empty(404), Outcome::Unknown)) };
        head.url = called_url(&target.public_url, path, query);
        if target.rules.proofs.is_empty() || target.rules.proofs_read_body() {
            return Ok(target.max_body);
        }
        match self.fetched(&target, &Judged::unread(&head)).await {
            Err(why) if !may_shake_hands(&target.rules, &head) => Err((empty(401), refused(&target, why))),
            _ => Ok(target.max_body),
        }
    }

    /// The bytes of the largest body that any connection takes.
    pub fn max_body(&self) -> usize {
        self.targets.values().flatten().map(|target| target.max_body).max().unwrap_or(LARGEST_BODY)
    }

    /// How long the answer to a request may wait for its handler: half a second less than the service waits.
    pub fn answer_within(&self, path: &str) -> Duration {
        let Some(target) = self.target(path) else { return Duration::ZERO };
        // What the service must confirm first is not handled in time.
        if target.rules.confirm.is_some() {
            return Duration::ZERO;
        }
        let secs = target.rules.timeout_secs.unwrap_or(USUAL_TIMEOUT_SECS);
        Duration::from_millis(u64::from(secs) * 1000).saturating_sub(Duration::from_millis(500))
    }

    /// What became of a request whose body was not read.
    pub fn unread(&self, path: &str, unread: Unread) -> Outcome {
        let Some(target) = self.target(path) else { return Outcome::Unknown };
        let (reason, why) = match unread {
            Unread::Large(most) => (TOO_LARGE, format!("its body is larger than {} MiB", most / (1024 * 1024))),
            Unread::Slow => ("too_slow", "its body did not arrive in time".to_owned()),
            Unread::Crowded => ("crowded", "too many large requests came at once".to_owned()),
        };
        Outcome::Unreadable { connection: target.name.clone(), reason, why }
    }

    /// Answers a request. `path` is the request's own, `query` what follows its question mark. It is judged before its body
    /// is parsed, and nothing that was parsed outlives an await: a tree takes many times the room of its text.
    pub async fn receive(&self, path: &str, query: &str, mut request: Request) -> (Reply, Outcome) {
        let Some(target) = self.target(path) else { return (empty(404), Outcome::Unknown) };
        request.url = called_url(&target.public_url, path, query);
        let proven = self.prove(&target, &request).await;
        if let Err(why) = &proven
            && (!may_shake_hands(&target.rules, &request) || request.body.len() > LARGEST_HANDSHAKE)
        {
            return (empty(401), refused(&target, why.clone()));
        }
        // Large documents are parsed one at a time, even if they come from different services.
        let is_ready = matches!(proven, Ok(Some(_))) && request.body.len() <= LARGEST_BODY && !request.is_encoded();
        let turn = if is_ready { None } else { Some(self.parsing(&request).await) };
        let delivery = match self.read(&target, request, proven) {
            Ok(delivery) => delivery,
            Err(answered) => return *answered,
        };
        drop(turn);
        self.take(&target, delivery).await
    }

    /// The events of a request, or its answer where it brings none.
    fn read(
        &self,
        target: &Target,
        request: Request,
        proven: Result<Option<usize>, Refused>,
    ) -> Result<Delivery, Box<(Reply, Outcome)>> {
        let rules = &target.rules;
        let refuse = |status, reason, why: String| {
            Box::new((empty(status), Outcome::Unreadable { connection: target.name.clone(), reason, why }))
        };
        let unreadable = |status, why: String| refuse(status, "unreadable", why);
        let most = if proven.is_ok() { body::LARGEST_DECODED } else { body::LARGEST_UNPROVEN };
        let document = event::document_within(&rules.event, &request, most).map_err(|error| match error {
            Unreadable::Large => refuse(413, TOO_LARGE, error.to_string()),
            Unreadable::Items => unreadable(400, error.to_string()),
        })?;
        // What the vendor sends in a shape that the connector does not know is an event all the same.
        let items = event::items(&rules.event, &document).unwrap_or(Cow::Borrowed(std::slice::from_ref(&document)));
        let judged = Judged { request: &request, document: &document, items: &items };
        let handshake = handshake::of(&rules.handshakes, &judged);
        let unsigned = handshake.is_some_and(|handshake| !handshake.signed);
        let proof = match proven {
            Err(why) if !unsigned => return Err(Box::new((empty(401), refused(target, why)))),
            Err(_) => None,
            Ok(proof) => proof.and_then(|index| rules.proofs.get(index)),
        };
        if let Some(handshake) = handshake {
            return Err(Box::new(self.shake_hands(target, handshake, &judged)));
        }
        // Whoever opens the URL in a browser sends no event.
        if request.method != "POST" {
            return Err(unreadable(405, "it is no POST".to_owned()));
        }
        let now = self.clock.precise();
        let (ids, coverage) = (rules.id_places(proof), proof.map(|proof| rules.coverage(proof)));
        let values = keys(target).values;
        let timed = proof.filter(|_| coverage.as_ref().is_some_and(|coverage| coverage.covers(Covered::Time)));
        let moment = timed.and_then(|proof| signed_moment(proof, &judged));
        let moment = moment.unwrap_or_else(|| now.as_millisecond().to_string());
        let ids = event::Ids { places: &ids, moment: &moment };
        let events = items.iter().enumerate().map(|(place, item)| {
            let text = matches!(&items, Cow::Owned(_)).then(|| item.to_string());
            let read = event::read_by(&rules.event, &ids, &judged, place, item, now);
            let repeated = proof.filter(|_| coverage.as_ref().is_some_and(|coverage| coverage.by_signed_bytes));
            let signed = repeated.and_then(|proof| signed_digest(proof, &judged, &values, place));
            NewEvent { signed, ..new_event(read, text, &request.body) }
        });
        let events: Vec<NewEvent> = events.collect();
        let state = match &coverage {
            None => EventProof::Unsigned,
            Some(coverage) if rules.confirm.is_some() && !coverage.covers(Covered::Body) => EventProof::Asking,
            Some(_) => EventProof::Verified,
        };
        drop(items);
        let delivery = delivery(target.connection, target.handled, request, events, now);
        let query = public_query(rules, &delivery.query);
        Ok(Delivery { proof: state, headers: capped(rules, delivery.headers), query, ..delivery })
    }

    fn shake_hands(&self, target: &Target, handshake: &Handshake, judged: &Judged<'_>) -> (Reply, Outcome) {
        let mut answer = handshake::answer(handshake, judged, &keys(target).values);
        if answer.status == 403 && self.is_recalled(target) {
            answer = handshake::answer(handshake, judged, &keys(target).values);
        }
        let captured = answer.captured.as_ref().is_some_and(|secret| self.keep(target, secret));
        let reply = Reply { status: answer.status, content_type: answer.content_type.to_owned(), body: answer.body };
        (reply, Outcome::Handshake { connection: target.name.clone(), captured })
    }

    /// Puts the events into the store, and answers once they are there for good.
    async fn take(&self, target: &Target, delivery: Delivery) -> (Reply, Outcome) {
        let connection = target.name.clone();
        let not_taken = |connection, why: String| (empty(503), Outcome::NotTaken { connection, why });
        match self.inbox.take(delivery).await {
            Ok((delivery, taken)) => {
                if taken.iter().any(|taken| matches!(taken, Taken::Undecided(_))) {
                    let why = "another body came under its id, and the vendor is still being asked about that";
                    return not_taken(connection, why.to_owned());
                }
                if let Some(Taken::Crowded(id)) = taken.iter().find(|taken| matches!(taken, Taken::Crowded(_))) {
                    let id = id.0;
                    let why =
                        format!("too many other bodies came under its id; hint: integ webhook resolve {id} --keep all");
                    return not_taken(connection, why);
                }
                let (received_at, verified) = (delivery.received_at, delivery.proof == EventProof::Verified);
                let mut events = Vec::with_capacity(delivery.events.len());
                let source = self.is_filtered.then(|| {
                    let (url, method) = (format!("?{}", delivery.query), "POST".to_owned());
                    Arc::new(Request { method, url, headers: delivery.headers, body: delivery.body })
                });
                for (event, taken) in delivery.events.into_iter().zip(taken) {
                    events.push(Received { event, source: source.clone(), received_at, taken, verified });
                }
                (accepted(&target.rules), Outcome::Received { connection, events })
            }
            Err(NotTaken::Full) => not_taken(connection, "more come than can be written".to_owned()),
            Err(NotTaken::Store(why)) => not_taken(connection, why),
        }
    }

    /// The target of a path, `/webhooks/CONNECTOR/SECRET`, which may stand below a path of the user's proxy and end with a
    /// slash. The secret is compared in constant time.
    fn target(&self, path: &str) -> Option<Arc<Target>> {
        let (_, own) = path.rsplit_once(PREFIX)?;
        let (connector, secret) = own.strip_suffix('/').unwrap_or(own).split_once('/')?;
        let targets = self.targets.get(connector)?;
        targets.iter().find(|target| same(target.path.as_bytes(), secret.as_bytes())).cloned()
    }

    /// Whether a request is the vendor's, and by which proof. A vendor that signs nothing is known by the URL alone, which
    /// nobody else was told.
    async fn prove(&self, target: &Target, request: &Request) -> Result<Option<usize>, Refused> {
        let rules = &target.rules;
        if rules.proofs.is_empty() {
            return Ok(None);
        }
        if !rules.proofs_read_body() {
            let judged = Judged::unread(request);
            let (index, trust) = self.fetched(target, &judged).await?;
            return self.judge(target, &judged, &trust).map(|()| Some(index));
        }
        // The proof looks into the body: parsed twice rather than held while something is fetched.
        let (index, scheme, url) = {
            let _turn = self.parsing(request).await;
            parsed(rules, request, |judged| chosen(rules, judged))?
        };
        let trust = self.trust(target, scheme, url).await?;
        let _turn = self.parsing(request).await;
        parsed(rules, request, |judged| self.judge(target, judged, &trust)).map(|()| Some(index))
    }

    /// The proof that judges a request, with what must be fetched for it.
    async fn fetched(&self, target: &Target, judged: &Judged<'_>) -> Result<(usize, Arc<Trust>), Refused> {
        let (index, scheme, url) = chosen(&target.rules, judged)?;
        Ok((index, self.trust(target, scheme, url).await?))
    }

    /// A turn to parse a body of which nothing is proved.
    async fn parsing(&self, request: &Request) -> Option<SemaphorePermit<'_>> {
        let small = request.body.len() <= LARGEST_HANDSHAKE && !request.is_encoded();
        let turns = if small { &self.parsing_small } else { &self.parsing_large };
        turns.acquire().await.ok()
    }

    async fn trust(&self, target: &Target, scheme: Scheme, url: Option<Url>) -> Result<Arc<Trust>, Refused> {
        let Some(url) = url else { return Ok(Arc::default()) };
        // Apart, so that no connection keeps room for what few proofs need.
        Box::pin(self.trusted.get(scheme, &url, &target.route, self.clock.now())).await
    }

    fn judge(&self, target: &Target, judged: &Judged<'_>, trust: &Trust) -> Result<(), Refused> {
        let judge = || verify(&target.rules.proofs, judged, &keys(target), trust, self.clock.now());
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

/// The proof that a request is judged by, and where that fetches from.
fn chosen(rules: &Webhook, judged: &Judged<'_>) -> Result<(usize, Scheme, Option<Url>), Refused> {
    let (index, proof) = proof_at(&rules.proofs, judged).ok_or(Refused::Unproven)?;
    let url = proof.needs_fetched_key().then(|| fetch::address(proof, judged)).transpose()?;
    Ok((index, proof.scheme, url))
}

/// The most values of a body that must be parsed before anything proves it. Vendors that prove an event by a token in its
/// body send some tens.
const MOST_UNPROVEN_VALUES: usize = 100_000;

/// Does something with a parsed body, which is gone when this returns.
fn parsed<T>(
    rules: &Webhook,
    request: &Request,
    work: impl FnOnce(&Judged<'_>) -> Result<T, Refused>,
) -> Result<T, Refused> {
    // A value takes some 70 bytes of memory once it is parsed: a body of zeros would take forty times its size.
    let separators = request.body.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if separators > MOST_UNPROVEN_VALUES {
        return Err(Refused::Form);
    }
    let document = event::document_within(&rules.event, request, body::LARGEST_UNPROVEN).map_err(|_| Refused::Form)?;
    let items = event::items(&rules.event, &document);
    let whole = std::slice::from_ref(&document);
    work(&Judged { request, document: &document, items: items.as_deref().unwrap_or(whole) })
}

/// Whether a request may be one of those that need no proof, as far as can be told without its body.
fn may_shake_hands(rules: &Webhook, request: &Request) -> bool {
    rules.handshakes.iter().filter(|handshake| !handshake.signed).any(|handshake| {
        let head = Condition { body: IndexMap::new(), ..handshake.when.clone() };
        head.holds(request, &Value::Null)
    })
}

fn refused(target: &Target, why: Refused) -> Outcome {
    Outcome::Refused { connection: target.name.clone(), why }
}

fn keys(target: &Target) -> Keys {
    target.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The word for a body that is too large.
const TOO_LARGE: &str = "too_large";

/// The URL that the vendor called: the registered one, with the slash at the end of its path that the request has.
fn called_url(registered: &Url, path: &str, query: &str) -> String {
    let plain = registered.as_str().trim_end_matches('/');
    let slash = if path.ends_with('/') { "/" } else { "" };
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{plain}{slash}{mark}{query}")
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

/// A delivery that was asked for, with the events of a batch as JSON. Its body is not the one that the vendor sends, so that
/// its ids alone tell what came.
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
    let query = request.url.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
    let proof = EventProof::Verified;
    Delivery { connection, received_at: now, headers, query, body: request.body, events, proof, handled }
}

/// `item` is the event within a batch; else it is the whole body.
fn new_event(event: event::Event, item: Option<String>, body: &[u8]) -> NewEvent {
    let mut hash = [0; 32];
    let text = item.as_ref().map_or(body, String::as_bytes);
    hash.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    NewEvent {
        delivery_id: event.delivery_id,
        named: event.named,
        digest: Some(hash),
        signed: None,
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
        Some(text) => crate::json::parse(text).unwrap_or_default(),
        None => event::document(&rules.event, request).unwrap_or_default(),
    }
}
