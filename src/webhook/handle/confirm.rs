//! Asks the vendor whether it sent an event whose signature covers too little.
//!
//! The event is in the store and was answered with a success; until the vendor has said yes it is unverified, and
//! neither handlers nor syncs see it. If it cannot be reached, it is asked again with growing delays; a denial makes
//! the event dead.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::in_flight::InFlight;
use super::workers::{ConnectionWork, StartedWork};
use crate::api::{self, ActionCall, Input, SendError};
use crate::backoff::Backoff;
use crate::clock::{Stopwatch, Timestamp};
use crate::connector::{ErrorClass, EventConfirmation, Pointer, ValueSelector, Values, WebhookDefinition};
use crate::error::{Error, Kind, Result};
use crate::http::Response;
use crate::model::{ConnectionName, EventId, EventVerification, RawRequest};
use crate::runtime::worker::{LONGEST_SLEEP, NextWake, Worker};
use crate::runtime::{LockGuard, Workspace};
use crate::signing::request::WebhookRequest;
use crate::signing::verify::ParsedRequest;
use crate::store::{LockKey, StoreError};
use crate::webhook::feed::{ActivityFeed, ListenEvent};
use crate::webhook::inbound::delivery::payload;
use crate::webhook::inbound::event;
use crate::webhook::inbound::target::ReceiveTarget;

/// Events that are looked at together.
const BATCH_SIZE: u32 = 1024;

/// How long the vendor is left alone after it could not say.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));

/// What another process wrote is seen after so long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How often a vendor that knows no such event is believed to be late. PayPal sends some events shortly before they can be
/// fetched (PayPal-node-SDK issue 125): this is half a minute.
const LATE: u32 = 5;

/// What the vendor said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Confirmation {
    Confirmed,
    Mismatch(String),
    /// It knows of none, and may be late.
    NotFound(String),
    /// It could not be asked.
    Unknown(String),
}

/// Creates the confirmers of connections with vendors that have to be asked, unless another process asks them.
pub(in crate::webhook) struct Confirming<'a> {
    pub(in crate::webhook) workspace: &'a Workspace,
    pub(in crate::webhook) feed: Arc<ActivityFeed>,
}

#[async_trait]
impl<'a> ConnectionWork<'a> for Confirming<'a> {
    const NAME: &'static str = "event confirmation";

    async fn start(&self, target: &Arc<ReceiveTarget>) -> Result<StartedWork<'a>> {
        let Some(rules) = target.rules.confirm.clone() else { return Ok(StartedWork::NotNeeded) };
        let Some(lock) = self.workspace.try_lock(LockKey::Confirmations(target.connection)).await? else {
            return Ok(StartedWork::HeldElsewhere);
        };
        let target = Arc::clone(target);
        Ok(StartedWork::Worker(Box::new(Confirmer {
            vendor: Arc::new(ConfirmingVendor { workspace: self.workspace, target, rules }),
            feed: Arc::clone(&self.feed),
            queue: VecDeque::new(),
            in_flight: InFlight::Nothing,
            tries: HashMap::new(),
            _lock: lock,
        })))
    }
}

/// Asks about the events of one connection, one after the other.
struct Confirmer<'a> {
    vendor: Arc<ConfirmingVendor<'a>>,
    feed: Arc<ActivityFeed>,
    /// Events that were read and not asked about yet.
    queue: VecDeque<EventId>,
    in_flight: InFlight<'a, VendorAnswer>,
    tries: HashMap<EventId, RetryState>,
    /// Held so long as this asks: no second process does.
    _lock: LockGuard,
}

/// What the vendor said about an event.
struct VendorAnswer {
    id: EventId,
    kind: String,
    confirmation: Confirmation,
}

/// How often one event was asked about, and when last.
struct RetryState {
    number: u32,
    last: Stopwatch,
}

impl RetryState {
    /// How long to wait until it may be asked about again.
    fn left(&self) -> Duration {
        BACKOFF.delay(self.number).saturating_sub(self.last.elapsed())
    }
}

/// Whether the events behind one are asked about at once.
enum NextEvents {
    Now,
    /// Who cannot be reached now is not asked about all the others.
    Later,
}

#[async_trait]
impl Worker for Confirmer<'_> {
    fn name(&self) -> &'static str {
        Confirming::NAME
    }

    async fn tick(&mut self, _: Timestamp) -> Result<NextWake> {
        if self.in_flight.is_running() {
            return Ok(NextWake::Busy(LONGEST_SLEEP));
        }
        match self.record().await? {
            NextEvents::Now => Ok(self.begin_next().await?),
            NextEvents::Later => {
                self.queue.clear();
                Ok(NextWake::Idle)
            }
        }
    }

    async fn woken(&mut self) {
        if self.in_flight.is_running() {
            self.in_flight.drive().await;
        } else {
            self.vendor.target.signals.to_confirm.notified().await;
        }
    }

    /// Waits for the vendor's answer and records it.
    async fn finish(&mut self) -> Result<()> {
        self.in_flight.drive().await;
        self.record().await?;
        Ok(())
    }

    fn poll_interval(&self) -> Duration {
        POLL_INTERVAL
    }
}

impl Confirmer<'_> {
    /// Records what the vendor said about an event.
    async fn record(&mut self) -> Result<NextEvents, StoreError> {
        let InFlight::Done(VendorAnswer { id, kind, confirmation }) = &self.in_flight else {
            return Ok(NextEvents::Now);
        };
        let (id, target) = (*id, &self.vendor.target);
        let number = self.tries.get(&id).map_or(1, |tries| tries.number + 1);
        let (verification, error) = match confirmation {
            Confirmation::Confirmed => (EventVerification::Verified, None),
            Confirmation::Mismatch(why) => (EventVerification::Rejected, Some(why.clone())),
            Confirmation::NotFound(why) if number > LATE => (EventVerification::Rejected, Some(why.clone())),
            Confirmation::NotFound(why) | Confirmation::Unknown(why) => {
                (EventVerification::Unconfirmed, Some(why.clone()))
            }
        };
        target.store.events().set_verification(id, verification, error.as_deref()).await?;
        self.tries.insert(id, RetryState { number, last: Stopwatch::start() });
        let next = match confirmation {
            Confirmation::Unknown(_) if number > 1 => NextEvents::Later,
            _ => NextEvents::Now,
        };
        if verification != EventVerification::Unconfirmed {
            target.signals.event_confirmed();
            let (connection, kind) = (target.name.clone(), kind.clone());
            let verified = verification == EventVerification::Verified;
            self.feed.send(ListenEvent::Confirmed { connection, id, kind, verified, error });
        }
        self.in_flight = InFlight::Nothing;
        Ok(next)
    }

    /// Asks about the next event that is due.
    async fn begin_next(&mut self) -> Result<NextWake, StoreError> {
        let target = &self.vendor.target;
        let events = target.store.events();
        if self.queue.is_empty() {
            let unconfirmed = events.unconfirmed(target.connection, BATCH_SIZE).await?;
            self.tries.retain(|id, _| unconfirmed.contains(id));
            self.queue = unconfirmed.into();
        }
        while let Some(id) = self.queue.pop_front() {
            if self.tries.get(&id).is_some_and(|tries| !tries.left().is_zero()) {
                continue;
            }
            let Some((event, raw)) = events.get_with_request(id).await? else { continue };
            let (vendor, kind) = (Arc::clone(&self.vendor), event.kind);
            self.in_flight = InFlight::Running(Box::pin(async move {
                VendorAnswer { id, kind, confirmation: vendor.confirm(&raw).await }
            }));
            return Ok(NextWake::Busy(LONGEST_SLEEP));
        }
        Ok(NextWake::Idle)
    }
}

/// The vendor of a connection, and what it is asked.
struct ConfirmingVendor<'a> {
    workspace: &'a Workspace,
    target: Arc<ReceiveTarget>,
    rules: EventConfirmation,
}

impl ConfirmingVendor<'_> {
    async fn confirm(&self, raw: &RawRequest) -> Confirmation {
        let values = self.target.keys.lock().unwrap_or_else(PoisonError::into_inner).values.clone();
        let input = match input(&self.rules, &self.target.rules, raw, &values) {
            Ok(input) => input,
            Err(why) => return Confirmation::Mismatch(why),
        };
        let order = ActionCall {
            connection: &self.target.name,
            action: &self.rules.action,
            input: &input,
            idempotency_key: None,
        };
        let done = match api::try_call(self.workspace, &order).await {
            Ok(done) => done,
            // What the event says cannot even be asked about.
            Err(SendError::Build(error)) if is_of_the_event(&error) => return Confirmation::Mismatch(error.message()),
            Err(error) => return Confirmation::Unknown(Error::from(error).message()),
        };
        match done.response.error_class {
            None => {
                compare(&self.rules, &received(&self.target.rules, raw), &done.response.response, &self.target.name)
            }
            Some(ErrorClass::NotFound | ErrorClass::Fail) => {
                Confirmation::NotFound(format!("{} does not know the event", self.target.connector))
            }
            Some(class) => {
                let error = api::refusal_error(&done.session, &self.rules.action, class, &done.response.response);
                Confirmation::Unknown(Error::from(error).message())
            }
        }
    }
}

/// Whether it is the event's values that no request can be made of, and not the connection's grant.
fn is_of_the_event(error: &Error) -> bool {
    matches!((error.code(), error.kind()), ("invalid_parameters", _) | ("missing_value", Kind::Usage))
}

/// The event as it was received.
fn received(rules: &WebhookDefinition, raw: &RawRequest) -> Value {
    payload(rules, &WebhookRequest::from_raw(raw), raw.batch_item.as_deref())
}

/// What the vendor is asked with.
fn input(
    confirm: &EventConfirmation,
    rules: &WebhookDefinition,
    raw: &RawRequest,
    values: &Values,
) -> Result<Input, String> {
    let (request, item) = (WebhookRequest::from_raw(raw), received(rules, raw));
    let document = event::document(&rules.event, &request).unwrap_or_default();
    let judged = ParsedRequest { request: &request, document: &document, items: std::slice::from_ref(&item) };
    Ok(params(confirm, &judged, &item, values)?.into_iter().collect())
}

/// The parameters of the action that asks about an event.
///
/// # Errors
/// What the event or the connection lacks.
pub(crate) fn params(
    confirm: &EventConfirmation,
    judged: &ParsedRequest<'_>,
    item: &Value,
    values: &Values,
) -> Result<Vec<(String, Value)>, String> {
    let of_request = confirm.params.iter().map(|(name, find)| {
        let value = value_at(find, judged, item)
            .filter(|value| !value.is_null())
            .ok_or_else(|| format!("the event does not say {name}"))?;
        Ok((name.clone(), value))
    });
    let of_values = confirm.values.iter().map(|(name, template)| {
        let text = template.fill(values).map_err(|error| error.to_string())?;
        Ok((name.clone(), Value::String(text)))
    });
    of_request.chain(of_values).collect()
}

fn value_at(find: &ValueSelector, judged: &ParsedRequest<'_>, item: &Value) -> Option<Value> {
    let find_in = |at: &Pointer, document: &Value| at.find(document).cloned();
    match (&find.at, &find.body) {
        (Some(at), _) if find.matches(judged, item) => find_in(at, item),
        (_, Some(at)) if find.matches(judged, item) => find_in(at, judged.document),
        _ => find.text(judged, item).map(Value::String),
    }
}

fn compare(confirm: &EventConfirmation, event: &Value, response: &Response, name: &ConnectionName) -> Confirmation {
    let Some(answer) = response.json() else {
        return Confirmation::Unknown(format!("the answer to {name} is not JSON"));
    };
    for (at, wanted) in &confirm.holds {
        if !at.find(&answer).is_some_and(|found| wanted.contains(found)) {
            return Confirmation::Mismatch(format!(
                "the service says {} at {at}",
                at.text(&answer).unwrap_or_default()
            ));
        }
    }
    let Some(at) = &confirm.event else { return Confirmation::Confirmed };
    let Some(known) = at.find(&answer) else {
        return Confirmation::Unknown(format!("the answer holds no event at {at}"));
    };
    match difference(event, known) {
        None => Confirmation::Confirmed,
        Some(place) => Confirmation::Mismatch(format!("the service's copy of the event differs at \"{place}\"")),
    }
}

/// The first place at which an event holds something that the vendor's does not. The vendor may know more of it.
fn difference(event: &Value, known: &Value) -> Option<String> {
    let below = |token: &str, event: &Value, known: Option<&Value>| {
        let token = token.replace('~', "~0").replace('/', "~1");
        match known {
            None => Some(format!("/{token}")),
            Some(known) => difference(event, known).map(|rest| format!("/{token}{rest}")),
        }
    };
    match (event, known) {
        (Value::Object(event), Value::Object(known)) => {
            event.iter().find_map(|(name, value)| below(name, value, known.get(name)))
        }
        (Value::Array(event), Value::Array(known)) if event.len() == known.len() => event
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(at, (value, known))| below(&at.to_string(), value, Some(known))),
        (event, known) => (event != known).then(String::new),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_may_say_no_more_than_the_vendors() {
        let known = json!({"id": "1", "resource": {"amount": "19.99", "items": [1, 2]}, "links": [{"rel": "self"}]});
        assert_eq!(difference(&json!({"id": "1", "resource": {"items": [1, 2]}}), &known), None);
        for (event, place) in [
            (json!({"id": "2"}), "/id"),
            (json!({"resource": {"amount": "1000000.00"}}), "/resource/amount"),
            (json!({"resource": {"items": [1, 2, 3]}}), "/resource/items"),
            (json!({"resource": {"items": [2, 1]}}), "/resource/items/0"),
            (json!({"extra": true}), "/extra"),
            (json!([]), ""),
        ] {
            assert_eq!(difference(&event, &known).as_deref(), Some(place), "{event}");
        }
    }
}
