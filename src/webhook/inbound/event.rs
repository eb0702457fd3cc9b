//! Reads the events of a request, each with its ID, type, time, account, resource and actor.

use std::borrow::Cow;
use std::slice;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ring::digest;
use serde_json::Value;
use thiserror::Error;

use super::body::{self, Content};
use crate::clock::Timestamp;
use crate::connector::{DuplicateBodyPolicy, EventSelectors, ObjectMerge, TimeUnit, ValueSelector};
use crate::hex;
use crate::json;
use crate::model::MergedObject;
use crate::signing::request::WebhookRequest;
use crate::signing::verify::ParsedRequest;

/// An event in integ's own terms.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedEvent {
    /// What the vendor knows the delivery by; a hash where it has no name for it.
    pub delivery_id: String,
    /// Whether the request names the delivery, or the connector says that equal bodies are one event.
    pub has_stable_id: bool,
    pub kind: String,
    pub account: Option<String>,
    pub time: Option<Timestamp>,
    pub resource: Option<String>,
    pub actor: Option<String>,
}

/// Why the events of a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestParseError {
    #[error("the list of events is not where the connector says")]
    MissingItems,
    #[error("the decompressed body is too large")]
    TooLarge,
}

/// The document of a request: its JSON, its form as an object, null for an empty body, and any other text as a text. What is
/// no text at all is an object whose `base64` holds it.
///
/// # Errors
/// [`RequestParseError::TooLarge`].
pub fn document(shape: &EventSelectors, request: &WebhookRequest) -> Result<Value, RequestParseError> {
    document_within(shape, request, body::MAX_DECODED_BYTES)
}

/// The same of a body that may have so many bytes once it is decompressed.
pub(super) fn document_within(
    shape: &EventSelectors,
    request: &WebhookRequest,
    most: usize,
) -> Result<Value, RequestParseError> {
    if request.body.is_empty() {
        return Ok(Value::Null);
    }
    let text = match body::content(request, most)? {
        Content::Text(text) => text,
        Content::Bytes(bytes) => return Ok(serde_json::json!({ "base64": STANDARD.encode(bytes) })),
    };
    let mut document = if request.is_form() {
        let form = body::form_object(body::form(&text, request.single_header("content-type").unwrap_or_default()));
        let field = shape.form_field.as_ref().and_then(|name| form.get(name)?.as_str());
        field.and_then(|text| json::parse(text).ok()).unwrap_or(Value::Object(form))
    } else {
        // Other formats, XML among them, are stored as text.
        json::parse(&text).unwrap_or_else(|_| Value::String(text.into_owned()))
    };
    if let Some(at) = &shape.base64
        && let Some(text) = at.text(&document)
        && let Ok(bytes) = STANDARD.decode(text)
        && let Ok(inner) = json::parse_bytes(&bytes, None)
    {
        at.set(&mut document, inner);
    }
    Ok(document)
}

/// The events of a document.
///
/// # Errors
/// [`RequestParseError::MissingItems`].
pub fn items<'d>(shape: &EventSelectors, document: &'d Value) -> Result<Cow<'d, [Value]>, RequestParseError> {
    let mut found = Cow::Borrowed(slice::from_ref(document));
    for at in &shape.items {
        let lists =
            found.iter().map(|item| at.find(item).and_then(Value::as_array).ok_or(RequestParseError::MissingItems));
        found = lists.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().cloned().collect();
    }
    Ok(found)
}

/// RFC 3339; without an offset it is UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    let civil = || Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    text.parse().ok().or_else(civil)
}

/// The event of an item, which has this index among those of the request, in integ's terms. Pure.
pub fn parse_event(
    shape: &EventSelectors,
    judged: &ParsedRequest<'_>,
    index: usize,
    item: &Value,
    received: Timestamp,
) -> ParsedEvent {
    let ids: Vec<&ValueSelector> = shape.id.iter().collect();
    parse_event_with(shape, &DeliveryIdSource { sources: &ids, timestamp: "" }, judged, index, item, received)
}

/// The object that an event says to have another id since, and the ids that it had. Pure.
pub(super) fn merged_object(merges: &[ObjectMerge], kind: &str, item: &Value) -> Option<MergedObject> {
    let merge = merges.iter().find(|merge| merge.event == kind)?;
    let id = merge.id.text(item)?;
    let former_ids = merge.former.iter().filter_map(|at| at.find(item)).flat_map(ids_in).collect();
    Some(MergedObject { resource: merge.resource.clone(), former_ids, id })
}

/// The ids that a value is: one, or a list of them.
fn ids_in(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(ids_in).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        _ => Vec::new(),
    }
}

/// How the delivery of an event is identified.
pub(super) struct DeliveryIdSource<'a> {
    /// The places that its id is read from.
    pub(super) sources: &'a [&'a ValueSelector],
    /// What distinguishes two requests without a delivery ID and with the same body: the signed time, otherwise the
    /// time at which it came. Empty where equal bodies are to have one id.
    pub(super) timestamp: &'a str,
}

/// The same, by these ids.
pub(super) fn parse_event_with(
    shape: &EventSelectors,
    ids: &DeliveryIdSource<'_>,
    judged: &ParsedRequest<'_>,
    index: usize,
    item: &Value,
    received: Timestamp,
) -> ParsedEvent {
    let text = |places: &[ValueSelector]| places.iter().find_map(|find| find.text(judged, item));
    let part = |find: &&ValueSelector| match find.received {
        true => find.matches(judged, item).then(|| received.as_second().to_string()),
        false => find.text(judged, item),
    };
    let joined = |parts: &[&ValueSelector], separator: &str| {
        let mut found: Vec<String> = parts.iter().filter_map(part).collect();
        // Some vendors say the same in two places, of which older versions have one.
        found.dedup();
        (!found.is_empty()).then(|| found.join(separator))
    };
    let time = text(&shape.time).and_then(|text| {
        match shape.time_unit {
            TimeUnit::Seconds => {
                text.split('.').next()?.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok())
            }
            TimeUnit::Milliseconds => text.parse().ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()),
            TimeUnit::Date => None,
        }
        // A newer version of a vendor's events may write dates where the older one has numbers.
        .or_else(|| parse_time(&text))
    });
    let kind = joined(&shape.kind.iter().collect::<Vec<_>>(), ".").unwrap_or_else(|| "event".to_owned());
    // What is equal within a body is not one event, nor are equal bodies at two times, unless the connector says so. What
    // proves it is not hashed: it may be another when the body comes again.
    let hash = || {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [kind.as_bytes(), &[0], index.to_string().as_bytes(), &[0], &judged.request.body] {
            context.update(part);
        }
        if shape.equal_bodies == DuplicateBodyPolicy::Each && !ids.timestamp.is_empty() {
            context.update(&[0]);
            context.update(ids.timestamp.as_bytes());
        }
        format!("sha256:{}", hex::encode(context.finish().as_ref()))
    };
    let id = joined(ids.sources, ":");
    ParsedEvent {
        has_stable_id: id.is_some() || shape.equal_bodies == DuplicateBodyPolicy::One,
        delivery_id: id.unwrap_or_else(hash),
        kind,
        account: text(&shape.account),
        time,
        resource: text(&shape.resource),
        actor: text(&shape.actor),
    }
}
