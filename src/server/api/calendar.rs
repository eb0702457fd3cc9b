//! Calendars of several services as one: events, free/busy times, conflicts and free slots.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounded::Bounded;
use super::super::call::Call;
use super::super::problem::RequestError;
use super::super::reply::{Calendar, Created, JsonReply};
use super::{ApiRoute, DELETE, GET, PATCH, POST, Unused};
use crate::calendar::change::{end_after, span_between};
use crate::calendar::time;
use crate::error::Result;
use crate::model::Entity;
use crate::model::calendar::{CalendarName, EventChanges, EventTime, FreeBusyStatus, Interval, Privacy};
use crate::ops::calendar::{
    self, CalendarQuery, ConflictQuery, DeleteEventRequest, EventSelector, EventUpdate, NewCalendarEvent, SlotQuery,
    TimeChange,
};
use crate::view::calendar::{
    CalendarEventListView, CalendarListView, ChangedEventView, ConflictListView, DeletedEventView, FreeBusyView,
    SlotListView,
};
use crate::view::schema::Time;

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/calendars"), "calendar list", "List the calendars", list),
        ApiRoute::new((GET, "/v1/calendar/events"), "calendar events", "List the events of a time range", events),
        ApiRoute::new((GET, "/v1/calendar/events.ics"), "calendar events", "Return the events as iCalendar", export),
        ApiRoute::new((POST, "/v1/calendar/events"), "calendar create", "Create an event", create),
        ApiRoute::new((PATCH, "/v1/calendar/events"), "calendar update", "Change or move an event", update),
        ApiRoute::new((DELETE, "/v1/calendar/events"), "calendar delete", "Delete an event", delete),
        ApiRoute::new((GET, "/v1/calendar/freebusy"), "calendar freebusy", "Return when calendars are busy", free_busy),
        ApiRoute::new((GET, "/v1/calendar/conflicts"), "calendar conflicts", "List events that overlap", conflicts),
        ApiRoute::new(
            (GET, "/v1/calendar/slots"),
            "calendar slots",
            "List the times when all calendars are free",
            slots,
        ),
    ]
}

/// Time limit for each calendar.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// The calendars to read.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// `CONNECTION` or `CONNECTION/CALENDAR`, repeated; all connections with calendars if absent.
    #[serde(default)]
    calendar: Vec<String>,
}

/// The calendars to read, and the time range.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RangeQuery {
    /// `CONNECTION` or `CONNECTION/CALENDAR`, repeated; all connections with calendars if absent.
    #[serde(default)]
    calendar: Vec<String>,
    #[schemars(with = "Time")]
    from: Timestamp,
    #[schemars(with = "Time")]
    to: Timestamp,
    /// IANA time zone of the response and of day boundaries; UTC if absent.
    zone: Option<String>,
    /// Read every calendar of the connections for which no calendar is named.
    #[serde(default)]
    all_calendars: bool,
}

/// The longest range that is read: services are asked for months at a time.
const MAX_RANGE: SignedDuration = SignedDuration::from_hours(5 * 366 * 24);

fn calendar_name(text: &str) -> Result<CalendarName> {
    let (connection, id) = text.split_once('/').map_or((text, None), |(connection, id)| (connection, Some(id)));
    let id = id.filter(|id| !id.is_empty()).map(str::to_owned);
    Ok(CalendarName { connection: connection.parse()?, id })
}

fn zone(name: Option<&str>) -> Result<TimeZone> {
    Ok(name.map_or(Ok(TimeZone::UTC), time::zone)?)
}

fn invalid(place: &str, reason: impl Into<String>) -> RequestError {
    RequestError::Value { at: format!(" at {place}"), reason: reason.into() }
}

impl RangeQuery {
    fn query(&self) -> Result<CalendarQuery> {
        let window = Interval::new(self.from, self.to);
        if self.to.duration_since(self.from) > MAX_RANGE {
            return Err(invalid("to", "the range is longer than five years").into());
        }
        Ok(CalendarQuery {
            calendars: self.calendar.iter().map(|text| calendar_name(text)).collect::<Result<_>>()?,
            every_calendar: self.all_calendars,
            window: window.ok_or_else(|| invalid("to", "the range ends before it starts"))?,
            zone: zone(self.zone.as_deref())?,
            limit: READ_LIMIT,
        })
    }
}

async fn list(call: Call<ListQuery, Unused>) -> Result<JsonReply<CalendarListView>> {
    let query = CalendarQuery {
        calendars: call.query.calendar.iter().map(|text| calendar_name(text)).collect::<Result<_>>()?,
        every_calendar: true,
        window: Interval { start: Timestamp::UNIX_EPOCH, end: Timestamp::UNIX_EPOCH },
        zone: TimeZone::UTC,
        limit: READ_LIMIT,
    };
    Ok(JsonReply(Box::pin(calendar::list_calendars(&call.workspace, query)).await?))
}

async fn events(call: Call<RangeQuery, Unused>) -> Result<JsonReply<CalendarEventListView>> {
    let query = call.query.query()?;
    Ok(JsonReply(Box::pin(calendar::list_events(&call.workspace, query)).await?))
}

async fn export(call: Call<RangeQuery, Unused>) -> Result<Calendar> {
    let query = call.query.query()?;
    Ok(Calendar(Box::pin(calendar::export_events(&call.workspace, query)).await?))
}

async fn free_busy(call: Call<RangeQuery, Unused>) -> Result<JsonReply<FreeBusyView>> {
    let query = call.query.query()?;
    Ok(JsonReply(Box::pin(calendar::free_busy(&call.workspace, query)).await?))
}

async fn conflicts(call: Call<RangeQuery, Unused>) -> Result<JsonReply<ConflictListView>> {
    let request = ConflictQuery { query: call.query.query()?, is_proposal: false };
    Ok(JsonReply(Box::pin(calendar::list_conflicts(&call.workspace, request)).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SlotsQuery {
    /// `CONNECTION` or `CONNECTION/CALENDAR`, repeated; all connections with calendars if absent.
    #[serde(default)]
    calendar: Vec<String>,
    #[schemars(with = "Time")]
    from: Timestamp,
    #[schemars(with = "Time")]
    to: Timestamp,
    /// IANA time zone of the response; UTC if absent.
    zone: Option<String>,
    /// The length of a slot in seconds.
    duration_secs: Bounded<60, 604_800>,
}

async fn slots(call: Call<SlotsQuery, Unused>) -> Result<JsonReply<SlotListView>> {
    let SlotsQuery { calendar, from, to, zone, duration_secs } = call.query;
    let query = RangeQuery { calendar, from, to, zone, all_calendars: false }.query()?;
    let request = SlotQuery { query, length: duration_secs.seconds(), hours: None };
    Ok(JsonReply(Box::pin(calendar::list_slots(&call.workspace, request)).await?))
}

/// Everything of an event but its time.
#[derive(Clone, Default, Deserialize, JsonSchema)]
struct DetailsBody {
    title: Option<String>,
    description: Option<String>,
    location: Option<String>,
    /// E-mail addresses; the service sends the invitations.
    attendees: Option<Vec<String>>,
    /// Whether it blocks time.
    show_as: Option<ShowAsBody>,
    privacy: Option<PrivacyBody>,
    /// Add an online meeting.
    #[serde(default)]
    meeting: bool,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ShowAsBody {
    Busy,
    Free,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PrivacyBody {
    Public,
    Private,
    Secret,
}

impl From<DetailsBody> for EventChanges {
    fn from(details: DetailsBody) -> Self {
        Self {
            title: details.title,
            description: details.description,
            location: details.location,
            time: None,
            attendees: details.attendees.filter(|attendees| !attendees.is_empty()),
            free_busy: details.show_as.map(|show_as| match show_as {
                ShowAsBody::Busy => FreeBusyStatus::Busy,
                ShowAsBody::Free => FreeBusyStatus::Free,
            }),
            privacy: details.privacy.map(|privacy| match privacy {
                PrivacyBody::Public => Privacy::Public,
                PrivacyBody::Private => Privacy::Private,
                PrivacyBody::Secret => Privacy::Secret,
            }),
            adds_meeting: details.meeting,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    /// `CONNECTION` or `CONNECTION/CALENDAR`.
    calendar: String,
    /// `2026-12-01T09:00:00+01:00`, a local time, or a date for an event of whole days.
    start: String,
    /// The end; or give `duration_secs`.
    end: Option<String>,
    duration_secs: Option<Bounded<1, 31_536_000>>,
    /// IANA time zone of local times; UTC if absent.
    zone: Option<String>,
    /// Your entity, as `TYPE/ID`: a repeated request finds the event that the first one created.
    entity: Option<String>,
    /// An idempotency key for an event without an entity.
    event_key: Option<String>,
    details: DetailsBody,
}

fn entity(text: Option<&str>) -> Result<Option<Entity>> {
    let parse = |text: &str| text.parse().map_err(|error| invalid("entity", crate::error::on_one_line(&error)));
    Ok(text.map(parse).transpose()?)
}

async fn create(call: Call<Unused, CreateBody>) -> Result<Created<ChangedEventView>> {
    let body = call.body;
    let zone = zone(body.zone.as_deref())?;
    let now = call.workspace.clock.now();
    let start = time::parse(&body.start, now, &zone)?;
    let end: EventTime = match (&body.end, body.duration_secs) {
        (Some(end), None) => time::parse(end, now, &zone)?,
        (None, Some(length)) => end_after(&start, length.seconds())?,
        _ => return Err(invalid("end", "give `end` or `duration_secs`").into()),
    };
    let event = NewCalendarEvent {
        calendar: calendar_name(&body.calendar)?,
        span: span_between(start, end, &zone)?,
        changes: body.details.into(),
        entity: entity(body.entity.as_deref())?,
        idempotency_key: body.event_key,
    };
    let view = Box::pin(calendar::create_event(&call.workspace, event)).await?;
    Ok(Created("/v1/calendar/events".to_owned(), view))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    /// `CONNECTION` or `CONNECTION/CALENDAR`.
    calendar: String,
    /// The event's id; or give `entity`.
    event: Option<String>,
    /// The entity that the event is linked to, as `TYPE/ID`.
    entity: Option<String>,
    start: Option<String>,
    end: Option<String>,
    duration_secs: Option<Bounded<1, 31_536_000>>,
    /// IANA time zone of local times and of the response; UTC if absent.
    zone: Option<String>,
    /// The ETag that the event must still have.
    etag: Option<String>,
    #[serde(default)]
    details: DetailsBody,
}

fn selector(event: Option<String>, by_entity: Option<&str>) -> Result<EventSelector> {
    match (event, entity(by_entity)?) {
        (Some(id), None) => Ok(EventSelector::Id(id)),
        (None, Some(entity)) => Ok(EventSelector::Entity(entity)),
        _ => Err(invalid("event", "give `event` or `entity`").into()),
    }
}

async fn update(call: Call<Unused, UpdateBody>) -> Result<JsonReply<ChangedEventView>> {
    let body = call.body;
    let zone = zone(body.zone.as_deref())?;
    let now = call.workspace.clock.now();
    let read = |text: &Option<String>| text.as_deref().map(|text| time::parse(text, now, &zone)).transpose();
    let length = body.duration_secs.map(Bounded::seconds);
    let update = EventUpdate {
        calendar: calendar_name(&body.calendar)?,
        event: selector(body.event, body.entity.as_deref())?,
        time: TimeChange { start: read(&body.start)?, end: read(&body.end)?, length },
        changes: body.details.into(),
        etag: body.etag,
        zone,
    };
    if update.time == TimeChange::default() && update.changes == EventChanges::default() {
        return Err(RequestError::Value { at: String::new(), reason: "it changes nothing".to_owned() }.into());
    }
    Ok(JsonReply(Box::pin(calendar::update_event(&call.workspace, update)).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    /// `CONNECTION` or `CONNECTION/CALENDAR`.
    calendar: String,
    /// The event's id; or give `entity`.
    event: Option<String>,
    /// The entity that the event is linked to, as `TYPE/ID`.
    entity: Option<String>,
    /// The ETag that the event must still have.
    etag: Option<String>,
    /// IANA time zone of the response; UTC if absent.
    zone: Option<String>,
}

async fn delete(call: Call<DeleteQuery, Unused>) -> Result<JsonReply<DeletedEventView>> {
    let DeleteQuery { calendar, event, entity, etag, zone: name } = call.query;
    let request = DeleteEventRequest {
        calendar: calendar_name(&calendar)?,
        event: selector(event, entity.as_deref())?,
        etag,
        zone: zone(name.as_deref())?,
    };
    Ok(JsonReply(Box::pin(calendar::delete_event(&call.workspace, request)).await?))
}
