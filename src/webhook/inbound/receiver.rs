//! One request to a webhook's URL, from its bytes to its answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::event::{self, RequestParseError};
use super::target::ReceiveTarget;
use super::verification_keys::VerificationKeyStore;
use super::{body, fetch_keys, handshake};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::connector::{Condition, Handshake, SignatureAlgorithm, SignedPart, WebhookDefinition};
use crate::hash;
use crate::http;
use crate::http::serve::{BodyReadError, MAX_BODY_BYTES};
use crate::model::{ConnectionId, ConnectionName, EventInsertResult, EventVerification, InboundDelivery, NewEvent};
use crate::secret::Secret;
use crate::signing::request::{WebhookRequest, capped, public_query};
use crate::signing::verify::{
    ParsedRequest, VerificationKeys, VerifyError, constant_time_eq, find_scheme_indexed, signed_digest, timestamp_text,
    verify,
};
use crate::store::Store;

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookResponse {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// What a request turned out to be, for whoever watches.
#[derive(Clone, Debug)]
pub enum ReceiveOutcome {
    Received {
        connection: ConnectionName,
        events: Vec<ReceivedEvent>,
    },
    Handshake {
        connection: ConnectionName,
        captured: bool,
    },
    Rejected {
        connection: ConnectionName,
        error: VerifyError,
    },
    Unreadable {
        connection: ConnectionName,
        /// `unreadable`, `too_large`, `too_slow` or `overloaded`.
        reason: &'static str,
        error: String,
    },
    /// It was good, and could not be stored.
    NotStored {
        connection: ConnectionName,
        error: String,
    },
    /// Nobody is there at this path.
    UnknownUrl,
}

/// An event that was taken.
#[derive(Clone, Debug)]
pub struct ReceivedEvent {
    pub event: NewEvent,
    /// The request, where what is shown is chosen by what it says.
    pub source: Option<Arc<WebhookRequest>>,
    pub received_at: Timestamp,
    pub inserted: EventInsertResult,
    /// Whether it is proved that the vendor sent it.
    pub verified: bool,
}

/// What is refused is judged again by the keys of the store, unless those were read so recently: a vendor may call while
/// another process has just put a secret in force.
pub const KEY_RELOAD_MIN_AGE: Duration = Duration::from_millis(100);

/// Receives for any number of connections.
pub struct Receiver {
    targets: HashMap<String, Vec<Arc<ReceiveTarget>>>,
    store: Arc<dyn Store>,
    /// Places for deliveries that wait for their commit.
    commit_slots: Semaphore,
    clock: Clock,
    key_store: VerificationKeyStore,
    /// Bodies that are parsed before anything is proved: a few small ones at once, and large ones one after another, which
    /// keep no small one waiting.
    parsing_small: Semaphore,
    parsing_large: Semaphore,
    /// Whether what is shown is chosen by what events say.
    is_filtered: bool,
}

/// Deliveries that wait for their commit at a time; beyond them the vendor is asked to come again. A commit takes 256 of
/// them, so that none waits for more than a few.
const MAX_WAITING: usize = 1024;

/// A request that is answered without a proof brings a token and little else.
const MAX_HANDSHAKE_BYTES: usize = 64 * 1024;

/// How long most services wait for an answer.
const USUAL_TIMEOUT_SECS: u32 = 10;

/// Where webhooks come to.
pub const PREFIX: &str = "/webhooks/";

impl Receiver {
    /// Creates a receiver for these connections. With `is_filtered`, each event comes with its request, for filters.
    pub fn new(
        targets: Vec<Arc<ReceiveTarget>>,
        store: Arc<dyn Store>,
        clock: Clock,
        http: http::Client,
        is_filtered: bool,
    ) -> Self {
        let mut by_connector: HashMap<String, Vec<Arc<ReceiveTarget>>> = HashMap::new();
        for target in targets {
            by_connector.entry(target.connector.clone()).or_default().push(target);
        }
        Self {
            targets: by_connector,
            store,
            commit_slots: Semaphore::new(MAX_WAITING),
            clock,
            key_store: VerificationKeyStore::new(http),
            parsing_small: Semaphore::new(4),
            parsing_large: Semaphore::new(1),
            is_filtered,
        }
    }

    /// Judges a request by its head alone, before its body is read: what certainly proves nothing is refused, and what it
    /// is to be judged by is fetched while no body waits in memory.
    ///
    /// # Errors
    /// The answer, and what became of it. Otherwise the bytes that its body may have.
    pub async fn admit(
        &self,
        path: &str,
        query: &str,
        mut head: WebhookRequest,
    ) -> Result<usize, (WebhookResponse, ReceiveOutcome)> {
        let Some(target) = self.target(path) else { return Err((empty(404), ReceiveOutcome::UnknownUrl)) };
        head.url = called_url(&target.public_url, path, query);
        if target.rules.proofs.is_empty() || target.rules.signatures_need_body() {
            return Ok(target.max_body);
        }
        match self.fetched(&target, &ParsedRequest::without_body(&head)).await {
            Err(why) if !may_be_handshake(&target.rules, &head) => Err((empty(401), refused(&target, why))),
            _ => Ok(target.max_body),
        }
    }

    /// The bytes of the largest body that any connection takes.
    pub fn max_body(&self) -> usize {
        self.targets.values().flatten().map(|target| target.max_body).max().unwrap_or(MAX_BODY_BYTES)
    }

    /// How long the answer to a request may wait for its handler: half a second less than the service waits.
    pub fn response_timeout(&self, path: &str) -> Duration {
        let Some(target) = self.target(path) else { return Duration::ZERO };
        // What the service must confirm first is not handled in time.
        if target.rules.confirm.is_some() {
            return Duration::ZERO;
        }
        let secs = target.rules.timeout_secs.unwrap_or(USUAL_TIMEOUT_SECS);
        Duration::from_millis(u64::from(secs) * 1000).saturating_sub(Duration::from_millis(500))
    }

    /// What became of a request whose body was not read.
    pub fn body_error(&self, path: &str, unread: BodyReadError) -> ReceiveOutcome {
        let Some(target) = self.target(path) else { return ReceiveOutcome::UnknownUrl };
        let (reason, why) = match unread {
            BodyReadError::TooLarge(most) => {
                (TOO_LARGE, format!("its body is larger than {} MiB", most / (1024 * 1024)))
            }
            BodyReadError::TooSlow => ("too_slow", "its body did not arrive in time".to_owned()),
            BodyReadError::Overloaded => ("overloaded", "too many large requests came at once".to_owned()),
        };
        ReceiveOutcome::Unreadable { connection: target.name.clone(), reason, error: why }
    }

    /// Answers a request. `path` is the request's own, `query` what follows its question mark. It is judged before its body
    /// is parsed, and nothing that was parsed outlives an await: a tree takes many times the room of its text.
    pub async fn receive(
        &self,
        path: &str,
        query: &str,
        mut request: WebhookRequest,
    ) -> (WebhookResponse, ReceiveOutcome) {
        let Some(target) = self.target(path) else { return (empty(404), ReceiveOutcome::UnknownUrl) };
        request.url = called_url(&target.public_url, path, query);
        let proven = self.verify(&target, &request).await;
        if let Err(why) = &proven
            && (!may_be_handshake(&target.rules, &request) || request.body.len() > MAX_HANDSHAKE_BYTES)
        {
            return (empty(401), refused(&target, why.clone()));
        }
        // Large documents are parsed one at a time, even if they come from different services.
        let is_ready = matches!(proven, Ok(Some(_))) && request.body.len() <= MAX_BODY_BYTES && !request.is_encoded();
        let turn = if is_ready { None } else { Some(self.parsing(&request).await) };
        let delivery = match self.read(&target, request, proven).await {
            Ok(delivery) => delivery,
            Err(answered) => return *answered,
        };
        drop(turn);
        self.store(&target, delivery).await
    }

    /// The events of a request, or its answer where it brings none.
    async fn read(
        &self,
        target: &ReceiveTarget,
        request: WebhookRequest,
        proven: Result<Option<usize>, VerifyError>,
    ) -> Result<InboundDelivery, Box<(WebhookResponse, ReceiveOutcome)>> {
        let rules = &target.rules;
        let refuse = |status, reason, why: String| {
            Box::new((
                empty(status),
                ReceiveOutcome::Unreadable { connection: target.name.clone(), reason, error: why },
            ))
        };
        let unreadable = |status, why: String| refuse(status, "unreadable", why);
        let most = if proven.is_ok() { body::MAX_DECODED_BYTES } else { body::MAX_UNVERIFIED_BYTES };
        let document = event::document_within(&rules.event, &request, most).map_err(|error| match error {
            RequestParseError::TooLarge => refuse(413, TOO_LARGE, error.to_string()),
            RequestParseError::MissingItems => unreadable(400, error.to_string()),
        })?;
        // What the vendor sends in a shape that the connector does not know is an event all the same.
        let items = event::items(&rules.event, &document).unwrap_or(Cow::Borrowed(std::slice::from_ref(&document)));
        let judged = ParsedRequest { request: &request, document: &document, items: &items };
        let handshake = handshake::find(&rules.handshakes, &judged);
        let unsigned = handshake.is_some_and(|handshake| !handshake.signed);
        let proof = match proven {
            Err(why) if !unsigned => return Err(Box::new((empty(401), refused(target, why)))),
            Err(_) => None,
            Ok(proof) => proof.and_then(|index| rules.proofs.get(index)),
        };
        if let Some(handshake) = handshake {
            return Err(Box::new(self.answer_handshake(target, handshake, &judged).await));
        }
        // Whoever opens the URL in a browser sends no event.
        if request.method != "POST" {
            return Err(unreadable(405, "it is not a POST".to_owned()));
        }
        let now = self.clock.now_millis();
        let (ids, coverage) = (rules.id_selectors(proof), proof.map(|proof| rules.coverage(proof)));
        let values = target.signing_context().values;
        let timed = proof.filter(|_| coverage.as_ref().is_some_and(|coverage| coverage.covers(SignedPart::Time)));
        let moment = timed.and_then(|proof| timestamp_text(proof, &judged));
        let moment = moment.unwrap_or_else(|| now.as_millisecond().to_string());
        let ids = event::DeliveryIdSource { sources: &ids, timestamp: &moment };
        let events = items.iter().enumerate().map(|(index, item)| {
            let text = matches!(&items, Cow::Owned(_)).then(|| item.to_string());
            let read = event::parse_event_with(&rules.event, &ids, &judged, index, item, now);
            let repeated = proof.filter(|_| coverage.as_ref().is_some_and(|coverage| coverage.dedupes_by_signed_bytes));
            let signed = repeated.and_then(|proof| signed_digest(proof, &judged, &values, index));
            NewEvent { signed_digest: signed, ..new_event(read, text, &request.body) }
        });
        let events: Vec<NewEvent> = events.collect();
        let state = match &coverage {
            None => EventVerification::Unsigned,
            Some(coverage) if rules.confirm.is_some() && !coverage.covers(SignedPart::Body) => {
                EventVerification::Unconfirmed
            }
            Some(_) => EventVerification::Verified,
        };
        drop(items);
        let delivery = delivery(target.connection, target.has_handlers, request, events, now);
        let query = public_query(rules, &delivery.query);
        Ok(InboundDelivery { verification: state, headers: capped(rules, delivery.headers), query, ..delivery })
    }

    async fn answer_handshake(
        &self,
        target: &ReceiveTarget,
        handshake: &Handshake,
        judged: &ParsedRequest<'_>,
    ) -> (WebhookResponse, ReceiveOutcome) {
        let mut answer = handshake::answer(handshake, judged, &target.signing_context().values);
        if answer.status == 403 && self.reload_keys(target).await {
            answer = handshake::answer(handshake, judged, &target.signing_context().values);
        }
        let captured = match &answer.captured {
            Some(secret) => self.store_secret(target, secret).await,
            None => false,
        };
        let reply =
            WebhookResponse { status: answer.status, content_type: answer.content_type.to_owned(), body: answer.body };
        (reply, ReceiveOutcome::Handshake { connection: target.name.clone(), captured })
    }

    /// Puts the events into the store, and answers once they are there for good.
    async fn store(&self, target: &ReceiveTarget, delivery: InboundDelivery) -> (WebhookResponse, ReceiveOutcome) {
        let connection = target.name.clone();
        let not_taken = |connection, why: String| (empty(503), ReceiveOutcome::NotStored { connection, error: why });
        let Ok(_slot) = self.commit_slots.try_acquire() else {
            return not_taken(connection, "more come than can be written".to_owned());
        };
        let delivery = Arc::new(delivery);
        match self.store.events().insert(Arc::clone(&delivery)).await {
            Ok(taken) => {
                let delivery = Arc::unwrap_or_clone(delivery);
                if taken.iter().any(|taken| matches!(taken, EventInsertResult::Unconfirmed(_))) {
                    let why = "another body came under its id, and the vendor is still being asked about that";
                    return not_taken(connection, why.to_owned());
                }
                if let Some(EventInsertResult::TooManyConflicts(id)) =
                    taken.iter().find(|taken| matches!(taken, EventInsertResult::TooManyConflicts(_)))
                {
                    let id = id.0;
                    let why =
                        format!("too many other bodies came under its id; hint: integ webhook resolve {id} --keep all");
                    return not_taken(connection, why);
                }
                let (received_at, verified) =
                    (delivery.received_at, delivery.verification == EventVerification::Verified);
                let mut events = Vec::with_capacity(delivery.events.len());
                let source = self.is_filtered.then(|| {
                    let (url, method) = (format!("?{}", delivery.query), "POST".to_owned());
                    Arc::new(WebhookRequest { method, url, headers: delivery.headers, body: delivery.body })
                });
                for (event, taken) in delivery.events.into_iter().zip(taken) {
                    events.push(ReceivedEvent {
                        event,
                        source: source.clone(),
                        received_at,
                        inserted: taken,
                        verified,
                    });
                }
                (accepted(&target.rules), ReceiveOutcome::Received { connection, events })
            }
            // The disk is full, most likely.
            Err(error) => not_taken(connection, error.to_string()),
        }
    }

    /// The target of a path, `/webhooks/CONNECTOR/SECRET`, which may stand below a path of the user's proxy and end with a
    /// slash. The secret is compared in constant time.
    fn target(&self, path: &str) -> Option<Arc<ReceiveTarget>> {
        let (_, own) = path.rsplit_once(PREFIX)?;
        let (connector, secret) = own.strip_suffix('/').unwrap_or(own).split_once('/')?;
        let targets = self.targets.get(connector)?;
        targets.iter().find(|target| constant_time_eq(target.path.as_bytes(), secret.as_bytes())).cloned()
    }

    /// Whether a request is the vendor's, and by which proof. A vendor that signs nothing is known by the URL alone, which
    /// nobody else was told.
    async fn verify(&self, target: &ReceiveTarget, request: &WebhookRequest) -> Result<Option<usize>, VerifyError> {
        let rules = &target.rules;
        if rules.proofs.is_empty() {
            return Ok(None);
        }
        if !rules.signatures_need_body() {
            let judged = ParsedRequest::without_body(request);
            let (index, trust) = self.fetched(target, &judged).await?;
            let check = || self.check_signature(target, &judged, &trust);
            return self.checked(target, check()).await.unwrap_or_else(check).map(|()| Some(index));
        }
        // The proof looks into the body: parsed twice rather than held while something is fetched.
        let (index, scheme, url) = {
            let _turn = self.parsing(request).await;
            parsed(rules, request, |judged| select_scheme(rules, judged))?
        };
        let trust = self.verification_keys(target, scheme, url).await?;
        let _turn = self.parsing(request).await;
        let check = || parsed(rules, request, |judged| self.check_signature(target, judged, &trust));
        self.checked(target, check()).await.unwrap_or_else(check).map(|()| Some(index))
    }

    /// The result of a check; `None` if it failed and the keys were read again meanwhile, so that it must be repeated.
    async fn checked(
        &self,
        target: &ReceiveTarget,
        result: Result<(), VerifyError>,
    ) -> Option<Result<(), VerifyError>> {
        (result.is_ok() || !self.reload_keys(target).await).then_some(result)
    }

    /// The proof that judges a request, with what must be fetched for it.
    async fn fetched(
        &self,
        target: &ReceiveTarget,
        judged: &ParsedRequest<'_>,
    ) -> Result<(usize, Arc<VerificationKeys>), VerifyError> {
        let (index, scheme, url) = select_scheme(&target.rules, judged)?;
        Ok((index, self.verification_keys(target, scheme, url).await?))
    }

    /// A turn to parse a body of which nothing is proved.
    async fn parsing(&self, request: &WebhookRequest) -> Option<SemaphorePermit<'_>> {
        let small = request.body.len() <= MAX_HANDSHAKE_BYTES && !request.is_encoded();
        let turns = if small { &self.parsing_small } else { &self.parsing_large };
        turns.acquire().await.ok()
    }

    async fn verification_keys(
        &self,
        target: &ReceiveTarget,
        scheme: SignatureAlgorithm,
        url: Option<Url>,
    ) -> Result<Arc<VerificationKeys>, VerifyError> {
        let Some(url) = url else { return Ok(Arc::default()) };
        // Apart, so that no connection keeps room for what few proofs need.
        Box::pin(self.key_store.get(scheme, &url, &target.route, self.clock.now())).await
    }

    fn check_signature(
        &self,
        target: &ReceiveTarget,
        judged: &ParsedRequest<'_>,
        trust: &VerificationKeys,
    ) -> Result<(), VerifyError> {
        verify(&target.rules.proofs, judged, &target.signing_context(), trust, self.clock.now())
    }

    /// Whether the keys were read again.
    async fn reload_keys(&self, target: &ReceiveTarget) -> bool {
        {
            let mut read = target.keys_read_at.lock().unwrap_or_else(PoisonError::into_inner);
            if read.elapsed() < KEY_RELOAD_MIN_AGE {
                return false;
            }
            *read = Stopwatch::start();
        }
        target.reload_keys(&*self.store, &self.clock).await;
        true
    }

    /// A secret is taken only where there is none: nobody can put another in its place from outside.
    async fn store_secret(&self, target: &ReceiveTarget, secret: &Secret) -> bool {
        let now = self.clock.now();
        if !target.signing_context().secrets.is_empty() {
            return false;
        }
        if self.store.webhooks().rotate_secret(target.connection, secret, now, now).await.is_err() {
            return false;
        }
        target.keys.lock().unwrap_or_else(PoisonError::into_inner).secrets.push(secret.clone());
        true
    }
}

/// The proof that a request is judged by, and where that fetches from.
fn select_scheme(
    rules: &WebhookDefinition,
    judged: &ParsedRequest<'_>,
) -> Result<(usize, SignatureAlgorithm, Option<Url>), VerifyError> {
    let (index, proof) = find_scheme_indexed(&rules.proofs, judged).ok_or(VerifyError::Unsigned)?;
    let url = proof.needs_fetched_key().then(|| fetch_keys::address(proof, judged)).transpose()?;
    Ok((index, proof.scheme, url))
}

/// The most values of a body that must be parsed before anything proves it. Vendors that prove an event by a token in its
/// body send some tens.
const MAX_UNVERIFIED_VALUES: usize = 100_000;

/// Does something with a parsed body, which is dropped when this returns.
fn parsed<T>(
    rules: &WebhookDefinition,
    request: &WebhookRequest,
    work: impl FnOnce(&ParsedRequest<'_>) -> Result<T, VerifyError>,
) -> Result<T, VerifyError> {
    // A value takes some 70 bytes of memory once it is parsed: a body of zeros would take forty times its size.
    let separators = request.body.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if separators > MAX_UNVERIFIED_VALUES {
        return Err(VerifyError::MalformedSignature);
    }
    let document = event::document_within(&rules.event, request, body::MAX_UNVERIFIED_BYTES)
        .map_err(|_| VerifyError::MalformedSignature)?;
    let items = event::items(&rules.event, &document);
    let whole = std::slice::from_ref(&document);
    work(&ParsedRequest { request, document: &document, items: items.as_deref().unwrap_or(whole) })
}

/// Whether a request may be one of those that need no proof, as far as can be told without its body.
fn may_be_handshake(rules: &WebhookDefinition, request: &WebhookRequest) -> bool {
    rules.handshakes.iter().filter(|handshake| !handshake.signed).any(|handshake| {
        let head = Condition { body: IndexMap::new(), ..handshake.when.clone() };
        head.matches(request, &Value::Null)
    })
}

fn refused(target: &ReceiveTarget, why: VerifyError) -> ReceiveOutcome {
    ReceiveOutcome::Rejected { connection: target.name.clone(), error: why }
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

fn empty(status: u16) -> WebhookResponse {
    WebhookResponse { status, content_type: "text/plain; charset=utf-8".to_owned(), body: String::new() }
}

fn accepted(rules: &WebhookDefinition) -> WebhookResponse {
    WebhookResponse {
        status: rules.reply.status,
        content_type: rules.reply.content_type.clone().unwrap_or_else(|| "text/plain; charset=utf-8".to_owned()),
        body: rules.reply.body.clone().unwrap_or_default(),
    }
}

/// Headers that carry the vendor's credentials to us are of no use later.
const DROPPED_HEADERS: &[&str] = &["authorization", "cookie", "proxy-authorization"];

/// A delivery that was asked for, with the events of a batch as JSON. Its body is not the one that the vendor sends, so that
/// its ids alone tell what came.
pub(in crate::webhook) fn fetched(
    connection: ConnectionId,
    request: WebhookRequest,
    read: Vec<(event::ParsedEvent, Option<String>)>,
    now: Timestamp,
) -> InboundDelivery {
    let new = |(event, item)| NewEvent { digest: None, ..new_event(event, item, &request.body) };
    let events = read.into_iter().map(new);
    let events = events.collect();
    delivery(connection, true, request, events, now)
}

fn delivery(
    connection: ConnectionId,
    handled: bool,
    request: WebhookRequest,
    events: Vec<NewEvent>,
    now: Timestamp,
) -> InboundDelivery {
    let mut headers = request.headers;
    headers.retain(|(name, _)| !DROPPED_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
    let query = request.url.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
    let proof = EventVerification::Verified;
    InboundDelivery {
        connection,
        received_at: now,
        headers,
        query,
        body: request.body,
        events,
        verification: proof,
        needs_handling: handled,
    }
}

/// `item` is the event within a batch; else it is the whole body.
fn new_event(event: event::ParsedEvent, item: Option<String>, body: &[u8]) -> NewEvent {
    let text = item.as_ref().map_or(body, String::as_bytes);
    NewEvent {
        delivery_id: event.delivery_id,
        has_delivery_id: event.has_stable_id,
        digest: Some(hash::sha256(text)),
        signed_digest: None,
        kind: event.kind,
        account: event.account,
        resource: event.resource,
        actor: event.actor,
        occurred_at: event.time,
        batch_item: item,
    }
}

/// The events of a request that was stored, parsed again.
pub fn payload(rules: &WebhookDefinition, request: &WebhookRequest, item: Option<&str>) -> Value {
    match item {
        Some(text) => crate::json::parse(text).unwrap_or_default(),
        None => event::document(&rules.event, request).unwrap_or_default(),
    }
}
