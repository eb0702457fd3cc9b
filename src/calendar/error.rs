//! Why calendars cannot be read or changed.

use std::time::Duration;

use thiserror::Error;

use super::event::EventLocation;
use crate::connector::Connector;
use crate::error::{Diagnostic, Error as AnyError, Hint, Kind, Remedy};
use crate::model::calendar::{CalendarName, EventTime};
use crate::model::{ConnectionName, Entity};

/// Why something cannot be done with calendars.
#[derive(Debug, Error)]
pub enum CalendarError {
    #[error("no connection has a calendar")]
    NoCalendars,
    #[error("{connection} has no calendar")]
    NotACalendar { connection: ConnectionName },
    #[error("{connector} does not support {what}")]
    Unsupported { connection: ConnectionName, connector: String, what: &'static str },
    #[error("{what} is unknown: {} cannot be read: {reason}", names(calendars))]
    Unreadable {
        /// `free/busy`, `the conflicts`.
        what: &'static str,
        calendars: Vec<CalendarName>,
        /// Of the first calendar.
        reason: String,
        kind: Kind,
        hint: Option<Hint>,
    },
    #[error("no answer within {} s", limit.as_secs())]
    Late { limit: Duration },
    #[error("the answer is not a whole list of events: {problem}")]
    Incomplete { problem: String },
    #[error("it kept changing while it was read")]
    Changing,
    #[error("the service says: {reason}")]
    Reported { reason: String },
    #[error("it was requested together with another calendar")]
    SameQuery,
    #[error("an event of {calendar} cannot be read: {problem}")]
    MalformedEvent { calendar: CalendarName, problem: String },
    #[error("{calendar} has no event {id:?}")]
    EventNotFound { calendar: CalendarName, id: String },
    #[error("{entity} has no event in {connection}")]
    NotLinked { connection: ConnectionName, entity: Entity },
    #[error("{entity} is linked with event {id:?}, which no longer exists in {connection}")]
    LinkedEventMissing { connection: ConnectionName, entity: Entity, id: String },
    #[error("event {id:?} is linked with {entity}")]
    LinkedElsewhere { id: String, entity: Entity },
    #[error("event {id:?} has been changed meanwhile{}", list(differences))]
    ChangedMeanwhile {
        id: String,
        /// `title from "A" to "B"`; empty if the former state is not known.
        differences: Vec<String>,
    },
    #[error("the key of this event was used for a deleted event")]
    UsedKey,
    #[error("the event ends ({end}) before it starts ({start})")]
    EndsBeforeStart { start: EventTime, end: EventTime },
    #[error("the start and the end must both be dates or both be times")]
    MixedSpan,
    #[error("changing an event between all-day and timed needs an end or a duration")]
    LengthNeeded,
    #[error("the duration of an all-day event must be in whole days")]
    PartOfDay,
}

/// An entity as a word of a command line.
fn shell_word(entity: &Entity) -> String {
    let text = entity.to_string();
    shlex::try_quote(&text).map_or_else(|_| "TYPE/ID".to_owned(), std::borrow::Cow::into_owned)
}

fn list(differences: &[String]) -> String {
    if differences.is_empty() { String::new() } else { format!(": {}", differences.join("; ")) }
}

fn names(calendars: &[CalendarName]) -> String {
    calendars.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl CalendarError {
    pub(super) fn unsupported(calendar: &CalendarName, connector: &Connector, what: &'static str) -> Self {
        Self::Unsupported { connection: calendar.connection.clone(), connector: connector.id.clone(), what }
    }

    pub(super) fn not_found(event: &EventLocation) -> Self {
        Self::EventNotFound { calendar: event.calendar.clone(), id: event.id.clone() }
    }

    /// Combines the failures of several calendars, of which there is at least one.
    pub fn unreadable(what: &'static str, failures: Vec<(CalendarName, AnyError)>) -> Self {
        let first = failures.first().map(|(_, error)| error);
        let reason = first.map(AnyError::on_one_line).unwrap_or_default();
        let (kind, hint) = first.map_or((Kind::Failed, None), |error| (error.kind(), error.hint()));
        let mut calendars: Vec<CalendarName> = Vec::new();
        for (calendar, _) in failures {
            if !calendars.contains(&calendar) {
                calendars.push(calendar);
            }
        }
        Self::Unreadable { what, calendars, reason, kind, hint }
    }
}

impl Remedy for CalendarError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoCalendars => Diagnostic::new(Kind::NotFound, "no_calendar").hint(Hint::new(
                "connect one, or try it without an account:",
                "integ connect google-calendar --sandbox",
            )),
            Self::NotACalendar { connection } => Diagnostic::new(Kind::Usage, "no_calendar")
                .hint(Hint::new("list the services that have one:", "integ connector search calendar"))
                .connection(connection),
            Self::Unsupported { connection, connector, .. } => Diagnostic::new(Kind::Usage, "unsupported")
                .hint(Hint::new("see what it can do:", format!("integ connector show {connector}")))
                .connection(connection),
            Self::Unreadable { calendars, kind, hint, .. } => Diagnostic::new(*kind, "calendar_unreadable")
                .maybe_hint(hint.clone())
                .maybe_connection(calendars.first().map(|calendar| &calendar.connection)),
            Self::Late { .. } => {
                Diagnostic::new(Kind::Temporary, "calendar_late").hint(Hint::text("try again, or allow more time"))
            }
            Self::Changing => Diagnostic::new(Kind::Temporary, "calendar_changing").hint(Hint::text("try again")),
            Self::Incomplete { .. } => Diagnostic::new(Kind::Rejected, "calendar_incomplete"),
            Self::Reported { .. } | Self::SameQuery => Diagnostic::new(Kind::Rejected, "calendar_refused"),
            Self::MalformedEvent { .. } => Diagnostic::new(Kind::Rejected, "malformed_event"),
            Self::EventNotFound { calendar, .. } => Diagnostic::new(Kind::NotFound, "event_not_found")
                .hint(Hint::new(
                    "list the events of the week:",
                    format!("integ calendar events {} --week", calendar.connection),
                ))
                .connection(&calendar.connection),
            Self::NotLinked { connection, .. } => Diagnostic::new(Kind::NotFound, "event_not_linked")
                .hint(Hint::new("list the links:", "integ link list"))
                .connection(connection),
            Self::LinkedEventMissing { connection, entity, .. } => {
                Diagnostic::new(Kind::Conflict, "linked_event_missing")
                    .hint(Hint::new(
                        "remove the link, then add the event again:",
                        format!("integ calendar delete {connection} --entity {}", shell_word(entity)),
                    ))
                    .connection(connection)
            }
            Self::LinkedElsewhere { entity, .. } => Diagnostic::new(Kind::Conflict, "event_linked")
                .hint(Hint::new("see what that is linked with:", format!("integ link find {}", shell_word(entity)))),
            Self::ChangedMeanwhile { .. } => {
                Diagnostic::new(Kind::Conflict, "event_changed").hint(Hint::text("look at it, then try again"))
            }
            Self::UsedKey => Diagnostic::new(Kind::Conflict, "used_event_key"),
            Self::EndsBeforeStart { .. } => Diagnostic::new(Kind::Usage, "ends_before_start"),
            Self::MixedSpan => {
                Diagnostic::new(Kind::Usage, "mixed_span").hint(Hint::text("give two dates or two times"))
            }
            Self::LengthNeeded => {
                Diagnostic::new(Kind::Usage, "length_needed").hint(Hint::text("give an end or a duration as well"))
            }
            Self::PartOfDay => Diagnostic::new(Kind::Usage, "part_of_day").hint(Hint::text("write 1d or 2d")),
        }
    }
}
