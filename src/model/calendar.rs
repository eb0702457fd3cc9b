//! Calendars, their events and when they are busy, in the terms of JSCalendar (RFC 8984).

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use super::{ConnectionName, words};
use crate::clock::Timestamp;

/// A calendar of a connection. Without an id it is the one that the service writes to by default.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CalendarName {
    pub connection: ConnectionName,
    pub id: Option<String>,
}

impl fmt::Display for CalendarName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{}/{id}", self.connection),
            None => self.connection.fmt(f),
        }
    }
}

/// When an event starts or ends: a whole day, or a moment with its time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventTime {
    /// Of an event of whole days. As an end it is the day after the last one.
    Date(Date),
    At(Zoned),
}

impl EventTime {
    /// Returns the moment; of a date, when that day begins in a time zone.
    ///
    /// # Errors
    /// A date at the edge of what can be represented.
    pub fn instant(&self, zone: &TimeZone) -> Result<Timestamp, jiff::Error> {
        match self {
            Self::Date(date) => Ok(date.to_zoned(zone.clone())?.timestamp()),
            Self::At(time) => Ok(time.timestamp()),
        }
    }

    /// Whether it is a whole day.
    pub fn is_date(&self) -> bool {
        matches!(self, Self::Date(_))
    }

    /// Returns the same moment as it reads in a time zone. A date stays that date.
    #[must_use]
    pub fn in_zone(&self, zone: &TimeZone) -> Self {
        match self {
            Self::Date(date) => Self::Date(*date),
            Self::At(time) => Self::At(time.with_time_zone(zone.clone())),
        }
    }

    /// Returns the time that is later by this much, by the local clock; None past what can be represented.
    pub fn plus(&self, span: Span) -> Option<Self> {
        match self {
            Self::Date(date) => date.checked_add(span).ok().map(Self::Date),
            Self::At(time) => time.checked_add(span).ok().map(Self::At),
        }
    }
}

/// A date, or the local time with its offset and its time zone (RFC 9557): `2026-12-01T09:00:00+01:00[Europe/Berlin]`.
impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date(date) => date.fmt(f),
            Self::At(time) => time.fmt(f),
        }
    }
}

/// An event, or one occurrence of a recurring one: the service expands series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarEvent {
    pub calendar: CalendarName,
    /// The service's id of the event or occurrence.
    pub id: String,
    /// The same for every copy of the event in any calendar (RFC 7986 section 5.3).
    pub uid: Option<String>,
    /// Changes whenever the event does.
    pub etag: Option<String>,
    pub title: Option<String>,
    pub description: Option<String>,
    pub location: Option<String>,
    /// The event's page at the service.
    pub url: Option<String>,
    /// Where to join the online meeting.
    pub meeting_url: Option<String>,
    pub start: EventTime,
    /// Exclusive.
    pub end: EventTime,
    /// The time zone in which its days begin, if it is an event of whole days and the service says so.
    pub day_zone: Option<TimeZone>,
    pub status: CalendarEventStatus,
    pub free_busy: FreeBusyStatus,
    pub privacy: Privacy,
    /// What the account's owner answered to the invitation.
    pub own_participation: Option<ParticipationStatus>,
    pub attendees: Vec<Attendee>,
    /// The recurring event that it is an occurrence of.
    pub series_id: Option<String>,
    /// When the occurrence was to start before it was moved: what identifies it in its series.
    pub recurrence_id: Option<EventTime>,
}

impl CalendarEvent {
    /// Whether it takes up time: a cancelled, declined or transparent event does not.
    pub fn is_busy(&self) -> bool {
        self.status != CalendarEventStatus::Cancelled
            && self.free_busy == FreeBusyStatus::Busy
            && self.own_participation != Some(ParticipationStatus::Declined)
    }

    /// Whether it is an event of whole days.
    pub fn is_all_day(&self) -> bool {
        self.start.is_date()
    }
}

/// Whether an event takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CalendarEventStatus {
    #[default]
    Confirmed,
    Tentative,
    Cancelled,
}

words!(CalendarEventStatus { Confirmed => "confirmed", Tentative => "tentative", Cancelled => "cancelled" });

/// Whether an event takes up time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FreeBusyStatus {
    Free,
    #[default]
    Busy,
}

words!(FreeBusyStatus { Free => "free", Busy => "busy" });

/// Who sees an event's details.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privacy {
    /// Those who may see the calendar.
    #[default]
    Public,
    /// Others see only that the time is taken.
    Private,
    /// Others see nothing of it.
    Secret,
}

words!(Privacy { Public => "public", Private => "private", Secret => "secret" });

/// The answer to an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParticipationStatus {
    NeedsAction,
    Accepted,
    Declined,
    Tentative,
}

words!(ParticipationStatus {
    NeedsAction => "needs-action",
    Accepted => "accepted",
    Declined => "declined",
    Tentative => "tentative",
});

/// Somebody who was invited to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendee {
    pub email: Option<String>,
    pub name: Option<String>,
    pub participation: ParticipationStatus,
    pub is_optional: bool,
}

/// Time that is taken, or free: from `start` up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Interval {
    /// Creates an interval; None if it is empty.
    pub fn new(start: Timestamp, end: Timestamp) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// Returns what two intervals have in common.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

/// An event as it is to be. What is None is left to the service, or as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventChanges {
    pub title: Option<String>,
    pub description: Option<String>,
    pub location: Option<String>,
    pub time: Option<EventSpan>,
    pub attendees: Option<Vec<String>>,
    pub free_busy: Option<FreeBusyStatus>,
    pub privacy: Option<Privacy>,
    /// Whether to add a link to an online meeting.
    pub adds_meeting: bool,
}

/// From when to when an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSpan {
    pub start: EventTime,
    /// Exclusive; of the same kind as `start`.
    pub end: EventTime,
    /// The time zone in which the days of an event of whole days begin, for services that want one.
    pub day_zone: TimeZone,
}

/// An attempt to add an event for an entity of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCreationAttempt {
    /// 128 random bits in hexadecimal.
    pub key: String,
    /// None for the default calendar.
    pub calendar: Option<String>,
    /// When the event was to be.
    pub window: Interval,
}
