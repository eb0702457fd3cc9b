//! Views of calendars: events, busy time, conflicts and free slots.

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;

use super::{optional_word, word};
use crate::calendar::agenda::{self, Conflict};
use crate::calendar::create::CreationOutcome;
use crate::calendar::freebusy::CalendarBusyTime;
use crate::calendar::merge;
use crate::calendar::read::CalendarDescription;
use crate::calendar::time::{with_offset, zone_name};
use crate::error::Error;
use crate::model::calendar::{
    Attendee, CalendarEvent, CalendarEventStatus, CalendarName, EventTime, FreeBusyStatus, Interval,
    ParticipationStatus, Privacy,
};
use crate::model::{ConnectionName, words};

/// A calendar of an account.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CalendarView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// Null for the default calendar of an account whose calendars are not listed.
    pub calendar: Option<String>,
    pub title: Option<String>,
    pub time_zone: Option<String>,
    pub is_default: bool,
    pub is_writable: bool,
}

impl From<CalendarDescription> for CalendarView {
    fn from(found: CalendarDescription) -> Self {
        let CalendarDescription { calendar, title, time_zone, is_default, is_writable } = found;
        Self { connection: calendar.connection, calendar: calendar.id, title, time_zone, is_default, is_writable }
    }
}

/// The calendars of several accounts.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CalendarListView {
    pub calendars: Vec<CalendarView>,
}

/// A span of time. Times are RFC 3339 with the offset of the view's time zone; the end is exclusive.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct SpanView {
    pub start: String,
    pub end: String,
}

impl SpanView {
    /// Creates the view of an interval in a time zone.
    pub fn new(interval: Interval, zone: &TimeZone) -> Self {
        let at = |time: crate::clock::Timestamp| with_offset(&time.to_zoned(zone.clone()));
        Self { start: at(interval.start), end: at(interval.end) }
    }
}

/// An attendee.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AttendeeView {
    pub email: Option<String>,
    pub name: Option<String>,
    #[serde(serialize_with = "word")]
    pub participation_status: ParticipationStatus,
    pub optional: bool,
}

impl From<&Attendee> for AttendeeView {
    fn from(attendee: &Attendee) -> Self {
        Self {
            email: attendee.email.clone(),
            name: attendee.name.clone(),
            participation_status: attendee.participation,
            optional: attendee.is_optional,
        }
    }
}

/// An event, or one occurrence of a recurring one, in the terms of JSCalendar (RFC 8984).
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CalendarEventView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    /// Null for the default calendar.
    pub calendar: Option<String>,
    pub id: String,
    pub title: Option<String>,
    /// RFC 3339 with the offset of the view's time zone; a date for an all-day event.
    pub start: String,
    /// Exclusive; the day after the last one for an all-day event.
    pub end: String,
    /// The time zone of the event itself.
    pub time_zone: Option<String>,
    /// ISO 8601.
    pub duration: Option<String>,
    pub show_without_time: bool,
    #[serde(serialize_with = "word")]
    pub status: CalendarEventStatus,
    #[serde(serialize_with = "word")]
    pub free_busy_status: FreeBusyStatus,
    #[serde(serialize_with = "word")]
    pub privacy: Privacy,
    /// The response of the account's owner.
    #[serde(serialize_with = "optional_word")]
    pub participation_status: Option<ParticipationStatus>,
    pub location: Option<String>,
    pub description: Option<String>,
    pub meeting_url: Option<String>,
    pub url: Option<String>,
    pub participants: Vec<AttendeeView>,
    /// The recurring event that this is an occurrence of.
    pub series_id: Option<String>,
    /// When the series' rule scheduled the occurrence.
    pub recurrence_id: Option<String>,
    pub uid: Option<String>,
    pub etag: Option<String>,
    /// Returns the event itself.
    #[serde(skip)]
    pub event: CalendarEvent,
}

/// A time as views have it: a date, or RFC 3339 with the offset of a time zone.
fn time_text(time: &EventTime, zone: &TimeZone) -> String {
    match time {
        EventTime::Date(date) => date.to_string(),
        EventTime::At(time) => with_offset(&time.with_time_zone(zone.clone())),
    }
}

impl CalendarEventView {
    /// Creates the view of an event, with its times in a time zone.
    pub fn new(event: CalendarEvent, zone: &TimeZone) -> Self {
        let own_zone = match &event.start {
            EventTime::At(time) => time.time_zone().iana_name(),
            EventTime::Date(_) => event.day_zone.as_ref().and_then(TimeZone::iana_name),
        };
        let duration = match (&event.start, &event.end) {
            (EventTime::Date(start), EventTime::Date(end)) => Some(end.duration_since(*start)),
            (EventTime::At(start), EventTime::At(end)) => Some(end.duration_since(start)),
            _ => None,
        };
        let days = |duration: jiff::SignedDuration| format!("P{}D", duration.as_hours() / 24);
        let is_all_day = event.is_all_day();
        Self {
            connection: event.calendar.connection.clone(),
            calendar: event.calendar.id.clone(),
            id: event.id.clone(),
            title: event.title.clone(),
            start: time_text(&event.start, zone),
            end: time_text(&event.end, zone),
            time_zone: own_zone.map(str::to_owned),
            duration: duration.map(|duration| if is_all_day { days(duration) } else { duration.to_string() }),
            show_without_time: is_all_day,
            status: event.status,
            free_busy_status: event.free_busy,
            privacy: event.privacy,
            participation_status: event.own_participation,
            location: event.location.clone(),
            description: event.description.clone(),
            meeting_url: event.meeting_url.clone(),
            url: event.url.clone(),
            participants: event.attendees.iter().map(AttendeeView::from).collect(),
            series_id: event.series_id.clone(),
            recurrence_id: event.recurrence_id.as_ref().map(|time| time_text(time, zone)),
            uid: event.uid.clone(),
            etag: event.etag.clone(),
            event,
        }
    }
}

/// A calendar that could not be read.
#[derive(Debug, JsonSchema, Serialize)]
pub struct UnreadCalendarView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub calendar: Option<String>,
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

impl From<(CalendarName, Error)> for UnreadCalendarView {
    fn from((calendar, error): (CalendarName, Error)) -> Self {
        Self {
            connection: calendar.connection,
            calendar: calendar.id,
            code: error.code(),
            message: error.on_one_line(),
            hint: error.hint().map(|hint| hint.to_string()),
        }
    }
}

/// The events of several calendars, sorted by their start.
#[derive(Debug, JsonSchema, Serialize)]
pub struct CalendarEventListView {
    #[serde(flatten)]
    pub window: SpanView,
    pub time_zone: String,
    pub events: Vec<CalendarEventView>,
    /// The calendars with missing events.
    pub unread: Vec<UnreadCalendarView>,
    #[serde(skip)]
    pub interval: Interval,
    #[serde(skip)]
    pub zone: TimeZone,
}

impl CalendarEventListView {
    /// Creates the view of the events that were read and the calendars that were not.
    pub fn new(
        events: Vec<CalendarEvent>,
        failures: Vec<(CalendarName, Error)>,
        interval: Interval,
        zone: &TimeZone,
    ) -> Self {
        Self {
            window: SpanView::new(interval, zone),
            time_zone: zone_name(zone),
            events: events.into_iter().map(|event| CalendarEventView::new(event, zone)).collect(),
            unread: failures.into_iter().map(UnreadCalendarView::from).collect(),
            interval,
            zone: zone.clone(),
        }
    }

    /// The moment at which an event starts, for those who sort or group.
    pub fn interval_of(&self, event: &CalendarEventView) -> Option<Interval> {
        agenda::interval(&event.event, &self.zone)
    }
}

/// When one calendar is busy.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CalendarBusyView {
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub calendar: Option<String>,
    /// Sorted and disjoint.
    pub busy: Vec<SpanView>,
}

/// When calendars are busy.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FreeBusyView {
    #[serde(flatten)]
    pub window: SpanView,
    pub time_zone: String,
    pub calendars: Vec<CalendarBusyView>,
    /// When any of them is busy.
    pub busy: Vec<SpanView>,
}

impl FreeBusyView {
    /// Creates the view of busy times in a time zone.
    pub fn new(times: &[CalendarBusyTime], window: Interval, zone: &TimeZone) -> Self {
        let views = |intervals: &[Interval]| intervals.iter().map(|one| SpanView::new(*one, zone)).collect();
        let calendars = times.iter().map(|time| CalendarBusyView {
            connection: time.calendar.connection.clone(),
            calendar: time.calendar.id.clone(),
            busy: views(&time.busy),
        });
        Self {
            window: SpanView::new(window, zone),
            time_zone: zone_name(zone),
            calendars: calendars.collect(),
            busy: views(&merge(times.iter().flat_map(|time| time.busy.clone()).collect())),
        }
    }
}

/// Events that overlap: two events, or one event and the requested time.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConflictView {
    /// The overlapping time.
    #[serde(flatten)]
    pub overlap: SpanView,
    pub events: Vec<CalendarEventView>,
}

impl ConflictView {
    /// Creates the view of two events that overlap.
    pub fn new(conflict: Conflict, zone: &TimeZone) -> Self {
        let Conflict { first, second, overlap } = conflict;
        let events = [first, second].map(|event| CalendarEventView::new(event, zone)).into();
        Self { overlap: SpanView::new(overlap, zone), events }
    }
}

/// The conflicts of several calendars.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConflictListView {
    #[serde(flatten)]
    pub window: SpanView,
    pub time_zone: String,
    pub conflicts: Vec<ConflictView>,
}

/// The times at which none of several calendars is busy.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SlotListView {
    #[serde(flatten)]
    pub window: SpanView,
    pub time_zone: String,
    /// Minimum length of a slot.
    pub duration_secs: u64,
    pub slots: Vec<SpanView>,
}

/// What was done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    Created,
    /// It already existed; nothing was done.
    Existing,
    Updated,
}

words!(ChangeOutcome { Created => "created", Existing => "existing", Updated => "updated" });

impl From<CreationOutcome> for ChangeOutcome {
    fn from(outcome: CreationOutcome) -> Self {
        match outcome {
            CreationOutcome::Created => Self::Created,
            CreationOutcome::Existing => Self::Existing,
        }
    }
}

/// An event after a change.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ChangedEventView {
    #[serde(serialize_with = "word")]
    pub outcome: ChangeOutcome,
    /// The user's entity that it is linked to.
    pub entity: Option<String>,
    pub event: CalendarEventView,
}

/// An event that was deleted.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DeletedEventView {
    /// False if it was already deleted.
    pub deleted: bool,
    pub entity: Option<String>,
    /// The event before it was deleted; null if the service no longer returned it.
    pub event: Option<CalendarEventView>,
}
