//! What a request tells: one event or a batch, each with its id, type, time, account, resource and actor.

use std::borrow::Cow;
use std::slice;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ring::digest;
use serde_json::{Map, Value};
use thiserror::Error;

use super::proof::{Judged, hex};
use super::request::Request;
use crate::clock::Timestamp;
use crate::connector::{EventShape, Find, Pointer, TimeUnit};

/// An event in integ's own terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What the vendor knows the delivery by; a hash where it has no name for it.
    pub delivery_id: String,
    pub kind: String,
    pub account: Option<String>,
    pub time: Option<Timestamp>,
    pub resource: Option<String>,
    pub actor: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    #[error("its body is neither JSON nor a form")]
    Body,
    #[error("its list of events is not where the connector says")]
    Items,
}

/// The document of a request: its JSON, its form as an object, or null for an empty body.
///
/// # Errors
/// [`Unreadable::Body`].
pub fn document(shape: &EventShape, request: &Request) -> Result<Value, Unreadable> {
    if request.body.is_empty() {
        return Ok(Value::Null);
    }
    let mut document = if request.is_form() {
        let pairs = url::form_urlencoded::parse(&request.body);
        let form: Map<String, Value> =
            pairs.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect();
        let field = shape.form_field.as_ref().and_then(|name| form.get(name)?.as_str());
        match field {
            Some(text) => serde_json::from_str(text).map_err(|_| Unreadable::Body)?,
            None => Value::Object(form),
        }
    } else {
        match serde_json::from_slice(&request.body) {
            Ok(document) => document,
            // Other formats, XML among them, are kept as text.
            Err(_) => Value::String(String::from_utf8(request.body.clone()).map_err(|_| Unreadable::Body)?),
        }
    };
    if let Some(at) = &shape.base64
        && let Some(text) = at.text(&document)
        && let Ok(bytes) = STANDARD.decode(text)
        && let Ok(inner) = serde_json::from_slice(&bytes)
    {
        at.put(&mut document, inner);
    }
    Ok(document)
}

/// The events of a document.
///
/// # Errors
/// [`Unreadable::Items`].
pub fn items<'d>(shape: &EventShape, document: &'d Value) -> Result<Cow<'d, [Value]>, Unreadable> {
    let mut found = Cow::Borrowed(slice::from_ref(document));
    for at in &shape.items {
        let lists = found.iter().map(|item| at.find(item).and_then(Value::as_array).ok_or(Unreadable::Items));
        found = lists.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().cloned().collect();
    }
    Ok(found)
}

/// RFC 3339; without an offset it is UTC.
fn date(text: &str) -> Option<Timestamp> {
    let civil = || Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    text.parse().ok().or_else(civil)
}

/// Changes each event of a document where it stands.
pub(super) fn change_items(lists: &[Pointer], document: &mut Value, change: &mut impl FnMut(&mut Value)) {
    let Some((at, rest)) = lists.split_first() else { return change(document) };
    for item in document.pointer_mut(&at.to_string()).and_then(Value::as_array_mut).into_iter().flatten() {
        change_items(rest, item, change);
    }
}

/// The event of an item, which stands at this place among those of the request, in integ's terms. Pure.
pub fn read(shape: &EventShape, judged: &Judged<'_>, place: usize, item: &Value, received: Timestamp) -> Event {
    let ids: Vec<&Find> = shape.id.iter().collect();
    read_by(shape, &ids, judged, place, item, received)
}

/// The same, with the places that its id is read from.
pub(super) fn read_by(
    shape: &EventShape,
    ids: &[&Find],
    judged: &Judged<'_>,
    place: usize,
    item: &Value,
    received: Timestamp,
) -> Event {
    let text = |places: &[Find]| places.iter().find_map(|find| find.text(judged, item));
    let part = |find: &&Find| match find.received {
        true => find.fits(judged, item).then(|| received.as_second().to_string()),
        false => find.text(judged, item),
    };
    let joined = |parts: &[&Find], separator: &str| {
        let found: Vec<String> = parts.iter().filter_map(part).collect();
        (!found.is_empty()).then(|| found.join(separator))
    };
    let time = text(&shape.time).and_then(|text| match shape.time_unit {
        TimeUnit::Seconds => Timestamp::from_second(text.split('.').next()?.parse().ok()?).ok(),
        TimeUnit::Milliseconds => Timestamp::from_millisecond(text.parse().ok()?).ok(),
        TimeUnit::Date => date(&text),
    });
    let kind = joined(&shape.kind.iter().collect::<Vec<_>>(), ".").unwrap_or_else(|| "event".to_owned());
    // One body that comes again is the same events; what is equal within it is not, nor what is told anew in a body that
    // says another time. What proves it is not hashed: it may be another when the body comes again.
    let hash = || {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [kind.as_bytes(), &[0], place.to_string().as_bytes(), &[0], &judged.request.body] {
            context.update(part);
        }
        format!("sha256:{}", hex(context.finish().as_ref()))
    };
    Event {
        delivery_id: joined(ids, ":").unwrap_or_else(hash),
        kind,
        account: text(&shape.account),
        time,
        resource: text(&shape.resource),
        actor: text(&shape.actor),
    }
}
