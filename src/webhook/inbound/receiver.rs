//! Handles one request to a webhook URL, from its bytes to the response.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::delivery::{delivery, new_event};
use super::event::{self, RequestParseError};
use super::inbox::Inbox;
use super::outcome::{EventSource, ReceiveOutcome, ReceivedEvent, WebhookResponse};
use super::registry::TargetRegistry;
use super::target::ReceiveTarget;
use super::verification_keys::VerificationKeyStore;
use super::{body, fetch_keys, handshake};
use crate::clock::{Clock, Stopwatch};
use crate::connector::{Condition, Handshake, SignatureAlgorithm, SignedPart, WebhookDefinition};
use crate::http;
use crate::http::serve::{BodyReadError, MAX_BODY_BYTES};
use crate::model::{EventVerification, InboundDelivery, NewEvent};
use crate::secret::Secret;
use crate::signing::request::{WebhookRequest, capped, public_query};
use crate::signing::verify::{
    ParsedRequest, VerificationKeys, VerifyError, find_scheme_indexed, signed_digest, timestamp_text, verify,
};

/// What is refused is judged again by the keys of the store, unless those were read so recently: a vendor may call while
/// another process has just put a secret in force.
pub const KEY_RELOAD_MIN_AGE: Duration = Duration::from_millis(100);

/// Judges requests and stores what they bring, for every connection of a [`TargetRegistry`].
pub struct Receiver {
    registry: Arc<TargetRegistry>,
    inbox: Inbox,
    clock: Clock,
    key_store: VerificationKeyStore,
    /// Bodies that are parsed before anything is proved: a few small ones at once, and large ones one after another, which
    /// keep no small one waiting.
    parsing_small: Semaphore,
    parsing_large: Semaphore,
    /// Whether what is shown is chosen by what events say.
    is_filtered: bool,
}

/// A request to a connection, judged by its head: its body is missing.
pub struct AdmittedRequest {
    target: Arc<ReceiveTarget>,
    head: WebhookRequest,
    scheme: SchemeChoice,
}

/// The proof that a request is judged by: its place in the connector's file, with what was fetched for it.
enum SchemeChoice {
    /// The vendor proves nothing.
    NotNeeded,
    ByHead(Result<(usize, Arc<VerificationKeys>), VerifyError>),
    /// To be chosen once the body is there.
    ByBody,
}

impl AdmittedRequest {
    /// Returns the bytes that its body may have.
    pub fn max_body(&self) -> usize {
        self.target.max_body
    }

    /// The connection that it came for.
    pub fn target(&self) -> &Arc<ReceiveTarget> {
        &self.target
    }

    /// What became of the request if its body was not read.
    pub fn body_error(&self, unread: BodyReadError) -> ReceiveOutcome {
        let (reason, why) = match unread {
            BodyReadError::TooLarge(most) => {
                (TOO_LARGE, format!("its body is larger than {} MiB", most / (1024 * 1024)))
            }
            BodyReadError::TooSlow => ("too_slow", "its body did not arrive in time".to_owned()),
            BodyReadError::Overloaded => ("overloaded", "too many concurrent requests".to_owned()),
        };
        ReceiveOutcome::Unreadable { connection: self.target.name.clone(), reason, error: why }
    }
}

/// A request that is answered without a proof brings a token and little else.
const MAX_HANDSHAKE_BYTES: usize = 64 * 1024;

impl Receiver {
    /// Creates a receiver for the connections of a registry, now and later. With `is_filtered`, each event comes with its
    /// request, for filters.
    pub fn new(registry: Arc<TargetRegistry>, clock: Clock, http: http::Client, is_filtered: bool) -> Self {
        Self {
            registry,
            inbox: Inbox::default(),
            clock,
            key_store: VerificationKeyStore::new(http),
            parsing_small: Semaphore::new(4),
            parsing_large: Semaphore::new(1),
            is_filtered,
        }
    }

    /// Returns whether the path is the webhook URL of one of its connections.
    pub fn receives(&self, path: &str) -> bool {
        self.registry.find(path).is_some()
    }

    /// Judges a request by its head alone, before its body is read: what certainly proves nothing is refused, and what it
    /// is to be judged by is fetched while no body waits in memory. `path` is the request's own, `query` what follows its
    /// question mark.
    ///
    /// # Errors
    /// The answer, and what became of it.
    pub async fn admit(
        &self,
        path: &str,
        query: &str,
        mut head: WebhookRequest,
    ) -> Result<AdmittedRequest, (WebhookResponse, ReceiveOutcome)> {
        let Some(target) = self.registry.find(path) else { return Err((empty(404), ReceiveOutcome::UnknownUrl)) };
        head.url = called_url(&target.public_url, path, query);
        let rules = &target.rules;
        let scheme = if rules.proofs.is_empty() {
            SchemeChoice::NotNeeded
        } else if rules.signatures_need_body() {
            SchemeChoice::ByBody
        } else {
            match self.fetched(&target, &ParsedRequest::without_body(&head)).await {
                Err(why) if !may_be_handshake(rules, &head) => return Err((empty(401), refused(&target, why))),
                chosen => SchemeChoice::ByHead(chosen),
            }
        };
        Ok(AdmittedRequest { target, head, scheme })
    }

    /// Answers a request once its body is there. It is judged before its body is parsed, and nothing that was parsed outlives
    /// an await: a tree takes many times the room of its text.
    pub async fn receive(&self, admitted: AdmittedRequest, body: Vec<u8>) -> (WebhookResponse, ReceiveOutcome) {
        let AdmittedRequest { target, head, scheme } = admitted;
        let request = WebhookRequest { body, ..head };
        let proven = self.verify(&target, &request, scheme).await;
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
        self.store(target, delivery).await
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
        // A browser that opens the URL sends no event.
        if request.method != "POST" {
            return Err(unreadable(405, "it is not a POST".to_owned()));
        }
        let now = self.clock.now_millis();
        let (ids, coverage) = (rules.id_selectors(proof), proof.map(|proof| rules.coverage(proof)));
        let keys = target.signing_context();
        let timed = proof.filter(|_| coverage.as_ref().is_some_and(|coverage| coverage.covers(SignedPart::Time)));
        let moment = timed.and_then(|proof| timestamp_text(proof, &judged));
        let moment = moment.unwrap_or_else(|| now.as_millisecond().to_string());
        let ids = event::DeliveryIdSource { sources: &ids, timestamp: &moment };
        let events = items.iter().enumerate().map(|(index, item)| {
            let text = matches!(&items, Cow::Owned(_)).then(|| item.to_string());
            let read = event::parse_event_with(&rules.event, &ids, &judged, index, item, now);
            let repeated = proof.filter(|_| coverage.as_ref().is_some_and(|coverage| coverage.dedupes_by_signed_bytes));
            let signed = repeated.and_then(|proof| signed_digest(proof, &judged, &keys.values, index));
            let merged = event::merged_object(&rules.merges, &read.kind, item);
            NewEvent { signed_digest: signed, merged, ..new_event(read, text, &request.body) }
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

    /// Answers once the events are in the store for good.
    async fn store(&self, target: Arc<ReceiveTarget>, delivery: InboundDelivery) -> (WebhookResponse, ReceiveOutcome) {
        let connection = target.name.clone();
        let (delivery, inserted) = match self.inbox.commit(&target, delivery).await {
            Ok(stored) => stored,
            Err(error) => {
                return (empty(503), ReceiveOutcome::NotStored { connection, error: error.to_string() });
            }
        };
        let reply = accepted(&target.rules);
        let (received_at, verified) = (delivery.received_at, delivery.verification == EventVerification::Verified);
        let source = self.is_filtered.then(|| {
            let (url, method) = (format!("?{}", delivery.query), "POST".to_owned());
            let request = WebhookRequest { method, url, headers: delivery.headers, body: delivery.body };
            Arc::new(EventSource { request, target })
        });
        let received =
            |(event, inserted)| ReceivedEvent { event, source: source.clone(), received_at, inserted, verified };
        let events = delivery.events.into_iter().zip(inserted).map(received).collect();
        (reply, ReceiveOutcome::Received { connection, events })
    }

    /// Whether a request is the vendor's, and by which proof. A vendor that signs nothing is known by the URL alone, which
    /// no other process was notified.
    async fn verify(
        &self,
        target: &ReceiveTarget,
        request: &WebhookRequest,
        scheme: SchemeChoice,
    ) -> Result<Option<usize>, VerifyError> {
        let rules = &target.rules;
        match scheme {
            SchemeChoice::NotNeeded => return Ok(None),
            SchemeChoice::ByHead(chosen) => {
                let (index, trust) = chosen?;
                let judged = ParsedRequest::without_body(request);
                let check = || self.check_signature(target, &judged, &trust);
                return self.checked(target, check()).await.unwrap_or_else(check).map(|()| Some(index));
            }
            SchemeChoice::ByBody => {}
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
        target.reload_keys(&self.clock).await;
        true
    }

    /// A secret is taken only where there is none: nobody can put another in its place from outside.
    async fn store_secret(&self, target: &ReceiveTarget, secret: &Secret) -> bool {
        let now = self.clock.now();
        if !target.signing_context().secrets.is_empty() {
            return false;
        }
        if target.store.webhooks().rotate_secret(target.connection, secret, now, now).await.is_err() {
            return false;
        }
        Arc::make_mut(&mut target.keys.lock().unwrap_or_else(PoisonError::into_inner)).secrets.push(secret.clone());
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

/// Returns whether a request may need no proof, as far as is known without its body.
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
