//! Changes and deletes events, unless they were changed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, ToSpan};
use serde_json::json;

use super::error::CalendarError;
use super::event::{self, EventLocation};
use super::mapping::{Placeholders, read_event};
use super::read::{self, action_name, connector_of};
use super::time::TimeError;
use crate::api::refusal_error;
use crate::clock::random;
use crate::connector::{CalendarAction, CalendarDefinition, Connector, ErrorClass};
use crate::error::Result;
use crate::hex;
use crate::model::calendar::{CalendarEvent, CalendarName, EventChanges, EventSpan, EventTime};
use crate::model::{Connection, Entity};
use crate::runtime::Workspace;

/// The event that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventSelector {
    /// By its id.
    Id(String),
    /// The one that is linked with an entity.
    Entity(Entity),
}

/// What an event's time is to be. What is absent stays as it is, as far as that is possible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeChange {
    pub start: Option<EventTime>,
    pub end: Option<EventTime>,
    pub length: Option<Duration>,
}

/// A change of an event.
#[derive(Clone, Debug)]
pub struct EventUpdate {
    pub calendar: CalendarName,
    pub event: EventSelector,
    pub time: TimeChange,
    /// Everything but its time.
    pub changes: EventChanges,
    /// The ETag that the event must still have.
    pub etag: Option<String>,
    /// The time zone in which the days of an event of whole days begin.
    pub zone: TimeZone,
}

/// What deleting an event came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletionOutcome {
    /// With the event as it was, if the service still showed it.
    Deleted(Option<Box<CalendarEvent>>),
    /// Somebody had deleted it.
    Missing,
}

/// A changed event with the one that it was.
struct Located {
    connector: Arc<Connector>,
    definition: Box<CalendarDefinition>,
    connection: Connection,
    stored: EventLocation,
    /// None if it does not exist any more.
    event: Option<CalendarEvent>,
}

async fn locate(workspace: &Workspace, calendar: &CalendarName, selector: &EventSelector) -> Result<Located> {
    let (connector, definition) = connector_of(workspace, &calendar.connection).await?;
    let connection = workspace.connection(&calendar.connection).await?;
    let stored = match selector {
        EventSelector::Id(id) => EventLocation { calendar: calendar.clone(), id: id.clone() },
        EventSelector::Entity(entity) => {
            let found = event::of_entity(workspace, &connection, entity).await?;
            let found = found.ok_or_else(|| CalendarError::NotLinked {
                connection: connection.name.clone(),
                entity: entity.clone(),
            })?;
            // A calendar that is named wins over the one that is known.
            let id = calendar.id.clone().or(found.calendar.id);
            EventLocation { calendar: CalendarName { id, ..found.calendar }, id: found.id }
        }
    };
    let event = event::read(workspace, &connector, &definition, &stored).await?;
    Ok(Located { connector, definition, connection, stored, event })
}

/// Changes an event, and returns it as it is then.
///
/// # Errors
/// [`CalendarError::EventNotFound`]; [`CalendarError::ChangedMeanwhile`] with what changed.
pub async fn update(workspace: &Workspace, update: &EventUpdate) -> Result<CalendarEvent> {
    let located = Box::pin(locate(workspace, &update.calendar, &update.event)).await?;
    let Located { connector, definition, stored, .. } = &located;
    let unsupported = || CalendarError::unsupported(&stored.calendar, connector, "changing events");
    let call = definition.update.as_ref().ok_or_else(unsupported)?;
    let before = located.event.clone().ok_or_else(|| CalendarError::not_found(stored))?;
    ensure_unchanged(&before, update.etag.as_deref())?;
    let time = moved(&before, &update.time, &update.zone)?;
    let changes = EventChanges { time, ..update.changes.clone() };
    let key = hex::encode(&random::<16>());
    let mut values =
        Placeholders::of_calendar(&stored.calendar).with_changes(&changes, call, &key, Some(&before.start));
    values.set("key", json!(key));
    let answer = Box::pin(send(workspace, &located, call, values, Some(&before))).await?;
    match answer.and_then(|item| read_event(&definition.event, &item, &stored.calendar, None).ok()) {
        Some(changed) => Ok(changed),
        None => {
            let changed = event::read(workspace, connector, definition, stored).await?;
            Ok(changed.ok_or_else(|| CalendarError::not_found(stored))?)
        }
    }
}

/// Deletes an event, and forgets its link.
///
/// # Errors
/// [`CalendarError::EventNotFound`] for an id; [`CalendarError::ChangedMeanwhile`] with what changed.
pub async fn delete(
    workspace: &Workspace,
    calendar: &CalendarName,
    selector: &EventSelector,
    etag: Option<&str>,
) -> Result<DeletionOutcome> {
    let located = Box::pin(locate(workspace, calendar, selector)).await?;
    let Located { connector, definition, connection, stored, .. } = &located;
    let unsupported = || CalendarError::unsupported(&stored.calendar, connector, "deleting events");
    let call = definition.delete.as_ref().ok_or_else(unsupported)?;
    if let Some(before) = &located.event {
        ensure_unchanged(before, etag)?;
    }
    let values = Placeholders::of_calendar(&stored.calendar);
    // What the service does not show it may have all the same.
    let outcome = match Box::pin(send(workspace, &located, call, values, located.event.as_ref())).await {
        Ok(_) => DeletionOutcome::Deleted(located.event.clone().map(Box::new)),
        Err(error) => match (error.downcast_ref(), selector) {
            (Some(CalendarError::EventNotFound { .. }), EventSelector::Entity(_)) => DeletionOutcome::Missing,
            _ => return Err(error),
        },
    };
    if let EventSelector::Entity(entity) = selector {
        event::unlink(workspace, connection, entity).await?;
    }
    Ok(outcome)
}

fn ensure_unchanged(event: &CalendarEvent, etag: Option<&str>) -> Result<(), CalendarError> {
    match etag {
        Some(wanted) if event.etag.as_deref() != Some(wanted) => {
            Err(CalendarError::ChangedMeanwhile { id: event.id.clone(), differences: Vec::new() })
        }
        _ => Ok(()),
    }
}

/// Sends a change of an event, and returns the answer. A service that has it changed already refuses by the ETag.
async fn send(
    workspace: &Workspace,
    located: &Located,
    call: &CalendarAction,
    mut values: Placeholders,
    before: Option<&CalendarEvent>,
) -> Result<Option<serde_json::Value>> {
    let Located { connector, definition, stored, .. } = located;
    values.set("event", json!(stored.id));
    if let Some(etag) = before.and_then(|before| before.etag.as_ref()) {
        values.set("etag", json!(etag));
    }
    let done = read::call(workspace, call, &stored.calendar, &values, None).await?;
    let answer = &done.response;
    let Some(class) = answer.error_class else { return Ok(answer.response.json()) };
    if let Some(before) = before
        && matches!(answer.response.status, 409 | 412)
    {
        let now = event::read(workspace, connector, definition, stored).await?;
        let now = now.ok_or_else(|| CalendarError::not_found(stored))?;
        if now.etag != before.etag {
            let differences = differences(before, &now);
            return Err(CalendarError::ChangedMeanwhile { id: stored.id.clone(), differences }.into());
        }
    }
    if class == ErrorClass::NotFound || answer.response.status == 410 {
        return Err(CalendarError::not_found(stored).into());
    }
    let action = action_name(call, &stored.calendar);
    Err(refusal_error(&done.session, action, class, &answer.response).into())
}

/// What differs between two states of an event, in words.
fn differences(before: &CalendarEvent, after: &CalendarEvent) -> Vec<String> {
    let text = |value: &Option<String>| value.as_ref().map_or_else(|| "nothing".to_owned(), |text| format!("{text:?}"));
    let people = |event: &CalendarEvent| {
        let emails: Vec<&str> = event.attendees.iter().filter_map(|attendee| attendee.email.as_deref()).collect();
        emails.join(", ")
    };
    let pairs = [
        ("title", text(&before.title), text(&after.title)),
        ("start", before.start.to_string(), after.start.to_string()),
        ("end", before.end.to_string(), after.end.to_string()),
        ("location", text(&before.location), text(&after.location)),
        ("description", text(&before.description), text(&after.description)),
        ("attendees", people(before), people(after)),
        ("status", before.status.to_string(), after.status.to_string()),
        ("free_busy_status", before.free_busy.to_string(), after.free_busy.to_string()),
        ("privacy", before.privacy.to_string(), after.privacy.to_string()),
    ];
    let changed = pairs.into_iter().filter(|(_, before, after)| before != after);
    changed.map(|(name, before, after)| format!("{name} from {before} to {after}")).collect()
}

/// The time of an event after a change; None if it stays. A start alone moves the event, whose length by the local clock
/// stays.
///
/// # Errors
/// An end before the start, or a day beside a time.
pub fn moved(event: &CalendarEvent, change: &TimeChange, zone: &TimeZone) -> Result<Option<EventSpan>> {
    if *change == TimeChange::default() {
        return Ok(None);
    }
    let start = change.start.clone().unwrap_or_else(|| event.start.clone());
    let out_of_range = || TimeError::OutOfRange { text: start.to_string() };
    let end = match (&change.end, change.length) {
        (Some(end), _) => end.clone(),
        (None, Some(length)) => end_after(&start, length)?,
        (None, None) => {
            let length = match (&event.start, &event.end) {
                (EventTime::Date(from), EventTime::Date(to)) => from.until(*to).ok(),
                (EventTime::At(from), EventTime::At(to)) => from.timestamp().until(to.timestamp()).ok(),
                _ => None,
            };
            let is_same_kind = start.is_date() == event.start.is_date();
            let length = length.filter(|_| is_same_kind).ok_or(CalendarError::LengthNeeded)?;
            start.plus(length).ok_or_else(out_of_range)?
        }
    };
    span_between(start, end, zone).map(Some)
}

/// Returns the time of an event. The days of an event of whole days begin in `zone`.
///
/// # Errors
/// An end before the start, or a day beside a time.
pub fn span_between(start: EventTime, end: EventTime, zone: &TimeZone) -> Result<EventSpan> {
    if start.is_date() != end.is_date() {
        return Err(CalendarError::MixedSpan.into());
    }
    match (start.instant(zone), end.instant(zone)) {
        (Ok(from), Ok(to)) if from < to => Ok(EventSpan { start, end, day_zone: zone.clone() }),
        (Ok(_), Ok(_)) => Err(CalendarError::EndsBeforeStart { start, end }.into()),
        _ => Err(TimeError::OutOfRange { text: start.to_string() }.into()),
    }
}

/// Returns the end of something that begins then and is so long. Days are days of the calendar, hours are elapsed time.
///
/// # Errors
/// A part of a day for something of whole days.
pub fn end_after(start: &EventTime, length: Duration) -> Result<EventTime> {
    const DAY_SECS: u64 = 86_400;
    let out_of_range = || TimeError::OutOfRange { text: start.to_string() };
    let seconds = i64::try_from(length.as_secs()).map_err(|_| out_of_range())?;
    let span: Span = match start {
        EventTime::Date(_) if !length.as_secs().is_multiple_of(DAY_SECS) => return Err(CalendarError::PartOfDay.into()),
        EventTime::Date(_) => (seconds / DAY_SECS.cast_signed()).days(),
        EventTime::At(_) => Span::try_from(SignedDuration::from_secs(seconds)).map_err(|_| out_of_range())?,
    };
    Ok(start.plus(span).ok_or_else(out_of_range)?)
}
