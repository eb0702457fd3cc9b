//! Asking the vendor whether it sent an event whose signature covers too little.
//!
//! The event is in the store and was answered with a success; until the vendor has said yes it is unverified, and neither
//! handlers nor syncs see it. Who cannot be reached is asked again, ever more slowly; a no makes the event dead.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};

use super::event;
use super::listen::Seen;
use super::receive::{Target, payload};
use crate::api::{self, Input, Order, SendError};
use crate::clock::Stopwatch;
use crate::connector::{Confirm, ErrorClass, Find, Pointer, Values, Webhook};
use crate::error::{Error, Kind};
use crate::http::Response;
use crate::model::ConnectionName;
use crate::runtime::App;
use crate::signing::request::Request;
use crate::signing::verify::Judged;
use crate::store::{EventId, EventProof, Kept, StoreError};
use crate::vault::Opened;

/// Events that are looked at together.
const TOGETHER: u32 = 1024;

/// How long the vendor is left alone after it could not say: a second, and twice as long each time.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What another process wrote is seen after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often a vendor that knows no such event is believed to be late. PayPal sends some events shortly before they can be
/// fetched (PayPal-node-SDK issue 125): this is half a minute.
const LATE: u32 = 5;

/// What the vendor said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Yes,
    No(String),
    /// It knows of none, and may be late.
    NotThere(String),
    /// It could not be asked.
    Unknown(String),
}

/// Asks about the events of one connection.
pub(super) struct Confirmer<'a> {
    pub(super) app: &'a App,
    pub(super) target: Arc<Target>,
    pub(super) rules: Confirm,
    pub(super) opened: Arc<Opened>,
    /// Called when something has come.
    pub(super) came: Arc<Notify>,
    /// Called when something may be handled.
    pub(super) wake: Option<Arc<Notify>>,
    pub(super) told: mpsc::Sender<Seen>,
    /// Held so long as this asks: no second process does.
    pub(super) _lock: File,
}

/// How often one event was asked about, and when last.
struct Tries {
    number: u32,
    last: Stopwatch,
}

impl Tries {
    /// How long to wait until it may be asked about again.
    fn left(&self) -> Duration {
        let wait = Duration::from_secs(1 << self.number.saturating_sub(1).min(10)).min(LONGEST_WAIT);
        wait.saturating_sub(self.last.elapsed())
    }
}

impl Confirmer<'_> {
    /// Asks until it is told to stop.
    pub(super) async fn work(&self, mut stop: watch::Receiver<bool>) {
        let mut tries = HashMap::new();
        while !*stop.borrow() {
            if let Err(error) = self.round(&mut tries, &stop).await {
                tracing::warn!("events of {} cannot be confirmed now: {error}", self.target.name);
            }
            tokio::select! {
                () = self.came.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn round(&self, tries: &mut HashMap<EventId, Tries>, stop: &watch::Receiver<bool>) -> Result<(), StoreError> {
        let connection = self.target.connection;
        let unproved = self.with_store(move |opened| opened.store.events().unproved(connection, TOGETHER)).await?;
        tries.retain(|id, _| unproved.contains(id));
        for id in unproved {
            if *stop.borrow() {
                return Ok(());
            }
            if tries.get(&id).is_some_and(|tries| !tries.left().is_zero()) {
                continue;
            }
            let read = move |opened: &Opened| {
                let events = opened.store.events();
                Ok((events.get(id)?, events.kept(id)?))
            };
            let (Some(event), Some(kept)) = self.with_store(read).await? else { continue };
            let verdict = self.ask(&kept).await;
            let number = tries.get(&id).map_or(1, |tries| tries.number + 1);
            tries.insert(id, Tries { number, last: Stopwatch::start() });
            let (proof, error) = match &verdict {
                Verdict::Yes => (EventProof::Verified, None),
                Verdict::No(why) => (EventProof::Refused, Some(why.clone())),
                Verdict::NotThere(why) if number > LATE => (EventProof::Refused, Some(why.clone())),
                Verdict::NotThere(why) | Verdict::Unknown(why) => (EventProof::Asking, Some(why.clone())),
            };
            let noted = error.clone();
            self.with_store(move |opened| opened.store.events().prove(id, proof, noted.as_deref())).await?;
            if proof == EventProof::Asking {
                // Who cannot be reached now is not asked about all the others.
                if matches!(verdict, Verdict::Unknown(_)) && number > 1 {
                    return Ok(());
                }
                continue;
            }
            if let Some(wake) = &self.wake {
                wake.notify_one();
            }
            let (connection, verified) = (self.target.name.clone(), proof == EventProof::Verified);
            let _ = self.told.send(Seen::Confirmed { connection, id, kind: event.kind, verified, error }).await;
        }
        Ok(())
    }

    async fn ask(&self, kept: &Kept) -> Verdict {
        let values = self.target.keys.lock().unwrap_or_else(PoisonError::into_inner).values.clone();
        let input = match input(&self.rules, &self.target.rules, kept, &values) {
            Ok(input) => input,
            Err(why) => return Verdict::No(why),
        };
        let order = Order { connection: &self.target.name, action: &self.rules.action, input: &input, key: None };
        let done = match api::attempt(self.app, &order).await {
            Ok(done) => done,
            // What the event says cannot even be asked about.
            Err(SendError::Build(error)) if is_of_the_event(&error) => return Verdict::No(error.message()),
            Err(error) => return Verdict::Unknown(Error::from(error).message()),
        };
        match done.answer.class {
            None => judge(&self.rules, &received(&self.target.rules, kept), &done.answer.response, &self.target.name),
            Some(ErrorClass::NotFound | ErrorClass::Fail) => {
                Verdict::NotThere(format!("{} does not know the event", self.target.connector))
            }
            Some(class) => {
                let error = api::refused(&done.session, &self.rules.action, class, &done.answer.response);
                Verdict::Unknown(Error::from(error).message())
            }
        }
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Opened) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let opened = Arc::clone(&self.opened);
        let done = tokio::task::spawn_blocking(move || work(&opened)).await;
        done.unwrap_or_else(|error| Err(StoreError::Io(std::io::Error::other(error))))
    }
}

/// Whether it is the event's values that no request can be made of, and not the connection's grant.
fn is_of_the_event(error: &Error) -> bool {
    matches!((error.code(), error.kind()), ("invalid_parameters", _) | ("missing_value", Kind::Usage))
}

/// The event as it was received.
fn received(rules: &Webhook, kept: &Kept) -> Value {
    payload(rules, &Request::stored(kept), kept.item.as_deref())
}

/// What the vendor is asked with.
fn input(confirm: &Confirm, rules: &Webhook, kept: &Kept, values: &Values) -> Result<Input, String> {
    let (request, item) = (Request::stored(kept), received(rules, kept));
    let document = event::document(&rules.event, &request).unwrap_or_default();
    let judged = Judged { request: &request, document: &document, items: std::slice::from_ref(&item) };
    Ok(params(confirm, &judged, &item, values)?.into_iter().collect())
}

/// The parameters of the action that asks about an event.
///
/// # Errors
/// What the event or the connection lacks.
pub(crate) fn params(
    confirm: &Confirm,
    judged: &Judged<'_>,
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

fn value_at(find: &Find, judged: &Judged<'_>, item: &Value) -> Option<Value> {
    let place = |at: &Pointer, document: &Value| at.find(document).cloned();
    match (&find.at, &find.body) {
        (Some(at), _) if find.fits(judged, item) => place(at, item),
        (_, Some(at)) if find.fits(judged, item) => place(at, judged.document),
        _ => find.text(judged, item).map(Value::String),
    }
}

fn judge(confirm: &Confirm, event: &Value, response: &Response, name: &ConnectionName) -> Verdict {
    let Some(answer) = response.json() else { return Verdict::Unknown(format!("the answer to {name} is not JSON")) };
    for (at, wanted) in &confirm.holds {
        if !at.find(&answer).is_some_and(|found| wanted.contains(found)) {
            return Verdict::No(format!("the vendor says {} at {at}", at.text(&answer).unwrap_or_default()));
        }
    }
    let Some(at) = &confirm.event else { return Verdict::Yes };
    let Some(known) = at.find(&answer) else { return Verdict::Unknown(format!("the answer holds no event at {at}")) };
    match difference(event, known) {
        None => Verdict::Yes,
        Some(place) => Verdict::No(format!("the vendor's event says otherwise at \"{place}\"")),
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
