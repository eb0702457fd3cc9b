//! Converts events from and to a service's format, as its connector's `[calendar]` says. Pure.

use indexmap::IndexMap;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::time::with_offset;
use crate::clock::Timestamp;
use crate::connector::{
    AnswerConditions, AttendeeFields, CalendarAction, EventFields, Pointer, TimeFields, any_holds, service_zone,
};
use crate::model::calendar::{
    Attendee, CalendarEvent, CalendarEventStatus, CalendarName, EventChanges, EventSpan, EventTime, FreeBusyStatus,
    ParticipationStatus, Privacy,
};

/// What Microsoft's services call a time zone that a program defined itself.
const CUSTOM_ZONE: &str = "tzone://Microsoft/Custom";

/// Reads an event. `calendar_zone` is the one in which its days begin, if the event does not say another.
///
/// # Errors
/// What the event lacks, or what of it cannot be read.
pub(super) fn read_event(
    fields: &EventFields,
    event: &Value,
    calendar: &CalendarName,
    calendar_zone: Option<&TimeZone>,
) -> Result<CalendarEvent, String> {
    let text = |at: &Option<Pointer>| at.as_ref().and_then(|at| at.text(event));
    let is_all_day = any_holds(&fields.all_day, event);
    let time = |fields: &TimeFields, what: &str| match fields.read(event, is_all_day)? {
        Some(time) => Ok(time),
        None => Err(format!("it has no {what}")),
    };
    let (start, end) = (time(&fields.start, "start")?, time(&fields.end, "end")?);
    if matches!(start, EventTime::Date(_)) != matches!(end, EventTime::Date(_)) {
        return Err("only one of its start and its end is a date".to_owned());
    }
    let own_zone = match text(&fields.day_zone).filter(|_| matches!(start, EventTime::Date(_))) {
        // A zone with rules of its own has no name that says which.
        Some(name) if name == CUSTOM_ZONE => None,
        Some(name) => Some(service_zone(&name).ok_or_else(|| format!("unknown time zone {name:?}"))?),
        None => None,
    };
    let original = fields.original_start.as_ref().map(|at| at.read(event, is_all_day)).transpose()?;
    let status = if any_holds(&fields.cancelled, event) {
        CalendarEventStatus::Cancelled
    } else if any_holds(&fields.tentative, event) {
        CalendarEventStatus::Tentative
    } else {
        CalendarEventStatus::Confirmed
    };
    let privacy = if any_holds(&fields.secret, event) {
        Privacy::Secret
    } else if any_holds(&fields.private, event) {
        Privacy::Private
    } else {
        Privacy::Public
    };
    let (attendees, own) = fields.attendees.as_ref().map(|at| read_attendees(at, event)).unwrap_or_default();
    Ok(CalendarEvent {
        calendar: calendar.clone(),
        id: fields.id.text(event).ok_or("it has no id")?,
        uid: text(&fields.uid),
        etag: text(&fields.etag),
        title: text(&fields.title),
        description: text(&fields.description),
        location: text(&fields.location),
        url: text(&fields.url),
        meeting_url: text(&fields.meeting_url),
        start,
        end,
        day_zone: own_zone.or_else(|| calendar_zone.cloned()),
        status,
        free_busy: if any_holds(&fields.free, event) { FreeBusyStatus::Free } else { FreeBusyStatus::Busy },
        privacy,
        own_participation: fields.own_answer.as_ref().map_or(own, |answer| Some(read_answer(answer, event))),
        attendees,
        series_id: text(&fields.series),
        recurrence_id: original.flatten(),
    })
}

/// The attendees of an event, and what the account's owner answered if he is one of them.
fn read_attendees(fields: &AttendeeFields, event: &Value) -> (Vec<Attendee>, Option<ParticipationStatus>) {
    let mut own = None;
    let mut attendees = Vec::new();
    for item in fields.list.find(event).and_then(Value::as_array).into_iter().flatten() {
        let participation = read_answer(&fields.answer, item);
        if any_holds(&fields.own, item) {
            own = Some(participation);
        }
        attendees.push(Attendee {
            email: fields.email.text(item),
            name: fields.name.as_ref().and_then(|at| at.text(item)),
            participation,
            is_optional: any_holds(&fields.optional, item),
        });
    }
    (attendees, own)
}

fn read_answer(conditions: &AnswerConditions, document: &Value) -> ParticipationStatus {
    if any_holds(&conditions.declined, document) {
        ParticipationStatus::Declined
    } else if any_holds(&conditions.accepted, document) {
        ParticipationStatus::Accepted
    } else if any_holds(&conditions.tentative, document) {
        ParticipationStatus::Tentative
    } else {
        ParticipationStatus::NeedsAction
    }
}

/// What the parameters of a calendar's action may name.
#[derive(Clone, Debug, Default)]
pub(super) struct Placeholders(Map<String, Value>);

impl Placeholders {
    /// Starts with the id of a calendar, if it has one.
    pub(super) fn of_calendar(calendar: &CalendarName) -> Self {
        let mut values = Self::default();
        if let Some(id) = &calendar.id {
            values.set("calendar", json!(id));
        }
        values
    }

    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// Adds the span of a query.
    #[must_use]
    pub(super) fn with_window(mut self, from: Timestamp, to: Timestamp) -> Self {
        for (name, time) in [("from", from), ("to", to)] {
            self.set(name, json!(time.to_string()));
            self.set(&format!("{name}_utc"), json!(time.to_zoned(TimeZone::UTC).datetime().to_string()));
        }
        self
    }

    /// Adds what an event is to be. `key` makes the request for an online meeting unique. If the event changes from whole
    /// days to moments or back, `before` is its start until then: what it no longer has becomes null.
    #[must_use]
    pub(super) fn with_changes(
        mut self,
        changes: &EventChanges,
        call: &CalendarAction,
        key: &str,
        before: Option<&EventTime>,
    ) -> Self {
        let texts = [("title", &changes.title), ("description", &changes.description), ("location", &changes.location)];
        for (name, text) in texts {
            if let Some(text) = text {
                self.set(name, json!(text));
            }
        }
        if let Some(span) = &changes.time {
            self.set_span(span, before.is_some_and(|before| before.is_date() != span.start.is_date()));
        }
        if let Some(attendees) = &changes.attendees {
            self.set("attendees", json!(attendees));
        }
        let words = [
            ("show_as", changes.free_busy.map(FreeBusyStatus::as_str)),
            ("privacy", changes.privacy.map(Privacy::as_str)),
        ];
        for (name, word) in words {
            if let Some(word) = word {
                let theirs = call.words.get(name).and_then(|words| words.get(word));
                self.set(name, json!(theirs.map_or(word, String::as_str)));
            }
        }
        if changes.adds_meeting {
            self.set("meeting", json!(key));
            self.set("with_meeting", json!(true));
        }
        self
    }

    fn set_span(&mut self, span: &EventSpan, clears_other_kind: bool) {
        self.set("all_day", json!(span.start.is_date()));
        for (name, time) in [("start", &span.start), ("end", &span.end)] {
            let (parts, other): (Vec<(&str, Value)>, &[&str]) = match time {
                EventTime::Date(date) => {
                    let midnight = format!("{date}T00:00:00");
                    let zone = span.day_zone.iana_name().unwrap_or("UTC");
                    (
                        vec![
                            ("_date", json!(date.to_string())),
                            ("_local", json!(midnight)),
                            ("_local_zone", json!(zone)),
                        ],
                        &["", "_zone"],
                    )
                }
                EventTime::At(time) => {
                    // A zone without a name can be written as UTC alone.
                    let named = time.time_zone().iana_name();
                    let local = if named.is_some() { time.clone() } else { time.with_time_zone(TimeZone::UTC) };
                    let mut parts = vec![
                        ("", json!(with_offset(time))),
                        ("_local", json!(local.datetime().to_string())),
                        ("_local_zone", json!(named.unwrap_or("UTC"))),
                    ];
                    parts.extend(named.map(|named| ("_zone", json!(named))));
                    (parts, &["_date"])
                }
            };
            for (part, value) in parts {
                self.set(&format!("{name}{part}"), value);
            }
            for part in other.iter().filter(|_| clears_other_kind) {
                self.set(&format!("{name}{part}"), Value::Null);
            }
        }
    }
}

/// The parameters of an action with their placeholders filled. One that names a value that is not there is left out.
pub(super) fn parameters(call: &CalendarAction, values: &Placeholders) -> IndexMap<String, Value> {
    let filled = call.params.iter().map(|(name, template)| Some((name.clone(), fill(template, &values.0)?)));
    filled.flatten().collect()
}

/// A placeholder alone is its value, whatever its type; None if any placeholder has none.
fn fill(template: &Value, values: &Map<String, Value>) -> Option<Value> {
    match template {
        Value::String(text) => match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) => values.get(name).cloned(),
            None => Some(template.clone()),
        },
        Value::Array(items) => {
            items.iter().map(|item| fill(item, values)).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| Some((name.clone(), fill(value, values)?)));
            members.collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        other => Some(other.clone()),
    }
}
