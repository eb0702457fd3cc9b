//! Operations on calendars: events, free/busy, conflicts and free slots of several services together.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Effect, Operation, OperationScope, Reach};
use crate::calendar::agenda;
pub use crate::calendar::agenda::DailyHours;
use crate::calendar::change::{self, DeletionOutcome};
pub use crate::calendar::change::{EventSelector, EventUpdate, TimeChange};
use crate::calendar::create;
pub use crate::calendar::create::NewCalendarEvent;
use crate::calendar::read::{self, ReadOptions};
use crate::calendar::time::zone_name;
use crate::calendar::{freebusy, icalendar};
use crate::error::Result;
use crate::model::calendar::{CalendarName, Interval};
use crate::runtime::Workspace;
use crate::view::calendar::{
    CalendarEventListView, CalendarEventView, CalendarListView, ChangeOutcome, ChangedEventView, ConflictListView,
    ConflictView, DeletedEventView, FreeBusyView, SlotListView, SpanView,
};

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("calendar list", OperationScope::Calendars, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("calendar events", OperationScope::Calendars, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("calendar create", OperationScope::Calendars, Effect::Write).reachable_by(Reach::Api),
    Operation::local("calendar update", OperationScope::Calendars, Effect::Write).reachable_by(Reach::Api),
    Operation::local("calendar delete", OperationScope::Calendars, Effect::Destroy).reachable_by(Reach::Api),
    Operation::local("calendar freebusy", OperationScope::Calendars, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("calendar conflicts", OperationScope::Calendars, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("calendar slots", OperationScope::Calendars, Effect::Read).reachable_by(Reach::Agent),
];

/// The calendars to read, the time range, and options.
#[derive(Clone, Debug)]
pub struct CalendarQuery {
    /// A connection without a calendar means its default calendar. If empty, all connections with calendars.
    pub calendars: Vec<CalendarName>,
    /// Read every calendar of connections that are named without a calendar.
    pub every_calendar: bool,
    pub window: Interval,
    /// The time zone of the view and of its days.
    pub zone: TimeZone,
    /// Time limit for each calendar.
    pub limit: Duration,
}

impl CalendarQuery {
    fn options(&self) -> ReadOptions {
        ReadOptions { limit: self.limit, zone: self.zone.clone() }
    }

    /// Returns the requested calendars, each once.
    async fn resolve(&self, workspace: &Workspace) -> Result<Vec<CalendarName>> {
        let mut named = self.calendars.clone();
        if named.is_empty() {
            let whole = |connection| CalendarName { connection, id: None };
            named = read::connections(workspace).await?.into_iter().map(whole).collect();
        }
        let mut calendars: Vec<CalendarName> = Vec::new();
        for name in named {
            let found = if self.every_calendar && name.id.is_none() {
                let listed = Box::pin(read::calendars(workspace, &name.connection, &self.options())).await?;
                listed.into_iter().map(|found| found.calendar).collect()
            } else {
                vec![name]
            };
            for calendar in found {
                if !calendars.contains(&calendar) {
                    calendars.push(calendar);
                }
            }
        }
        Ok(calendars)
    }
}

/// Lists the calendars of connections, or of all connections with calendars.
///
/// # Errors
/// Any error that makes a list incomplete.
pub async fn list_calendars(workspace: &Workspace, query: CalendarQuery) -> Result<CalendarListView> {
    let mut connections: Vec<_> = query.calendars.iter().map(|name| name.connection.clone()).collect();
    if connections.is_empty() {
        connections = read::connections(workspace).await?;
    }
    let mut calendars = Vec::new();
    for connection in connections {
        let listed = Box::pin(read::calendars(workspace, &connection, &query.options())).await?;
        calendars.extend(listed.into_iter().map(Into::into));
    }
    Ok(CalendarListView { calendars })
}

/// Lists the events of calendars. Calendars that cannot be read are in the view.
///
/// # Errors
/// Unknown connections, and those without a calendar.
pub async fn list_events(workspace: &Workspace, query: CalendarQuery) -> Result<CalendarEventListView> {
    let calendars = query.resolve(workspace).await?;
    let (events, failures) = read::events(workspace, &calendars, query.window, &query.options()).await?;
    Ok(CalendarEventListView::new(events, failures, query.window, &query.zone))
}

/// Returns the events of calendars as iCalendar (RFC 5545).
///
/// # Errors
/// Those of [`list_events`], and calendars that cannot be read: a file without their events would look complete.
pub async fn export_events(workspace: &Workspace, query: CalendarQuery) -> Result<String> {
    let calendars = query.resolve(workspace).await?;
    let events = read::all_events(workspace, &calendars, query.window, &query.options(), "the calendar").await?;
    Ok(icalendar::write(&events, workspace.clock.now()))
}

/// Returns when calendars are busy.
///
/// # Errors
/// Those of [`list_events`], and calendars that cannot be read.
pub async fn free_busy(workspace: &Workspace, query: CalendarQuery) -> Result<FreeBusyView> {
    let calendars = query.resolve(workspace).await?;
    let times = freebusy::busy(workspace, &calendars, query.window, &query.options()).await?;
    Ok(FreeBusyView::new(&times, query.window, &query.zone))
}

/// The conflicts to find.
#[derive(Clone, Debug)]
pub struct ConflictQuery {
    pub query: CalendarQuery,
    /// Find the events in the query's range, instead of events that overlap each other.
    pub is_proposal: bool,
}

/// Returns the events that overlap each other, or a proposed time.
///
/// # Errors
/// Those of [`free_busy`].
pub async fn list_conflicts(workspace: &Workspace, request: ConflictQuery) -> Result<ConflictListView> {
    let ConflictQuery { query, is_proposal } = request;
    let calendars = query.resolve(workspace).await?;
    let (window, zone) = (query.window, &query.zone);
    let events =
        read::all_events(workspace, &calendars, window, &query.options(), "whether there are conflicts").await?;
    let conflicts = if is_proposal {
        let busy = events.into_iter().filter(crate::model::calendar::CalendarEvent::is_busy);
        let taken = busy.filter_map(|event| {
            let overlap = agenda::interval(&event, zone)?.intersection(window)?;
            Some(ConflictView {
                overlap: SpanView::new(overlap, zone),
                events: vec![CalendarEventView::new(event, zone)],
            })
        });
        taken.collect()
    } else {
        let pairs = agenda::conflicts(&events, window, zone).into_iter();
        pairs.map(|conflict| ConflictView::new(conflict, zone)).collect()
    };
    Ok(ConflictListView { window: SpanView::new(window, zone), time_zone: zone_name(zone), conflicts })
}

/// The free slots to find.
#[derive(Clone, Debug)]
pub struct SlotQuery {
    pub query: CalendarQuery,
    /// Minimum length of a slot.
    pub length: Duration,
    /// The hours of the day to consider; all if absent.
    pub hours: Option<DailyHours>,
}

/// Returns the times at which none of the calendars is busy.
///
/// # Errors
/// Those of [`free_busy`].
pub async fn list_slots(workspace: &Workspace, request: SlotQuery) -> Result<SlotListView> {
    let SlotQuery { query, length, hours } = request;
    let calendars = query.resolve(workspace).await?;
    let times = freebusy::busy(workspace, &calendars, query.window, &query.options()).await?;
    let busy = times.into_iter().flat_map(|time| time.busy).collect();
    let slots = agenda::slots(query.window, busy, length, hours, &query.zone);
    Ok(SlotListView {
        window: SpanView::new(query.window, &query.zone),
        time_zone: zone_name(&query.zone),
        duration_secs: length.as_secs(),
        slots: slots.into_iter().map(|slot| SpanView::new(slot, &query.zone)).collect(),
    })
}

/// Creates an event. If the entity already has one in this connection, it is kept, and the view says so.
///
/// # Errors
/// Connections without a calendar, and those of the request.
pub async fn create_event(workspace: &Workspace, event: NewCalendarEvent) -> Result<ChangedEventView> {
    let (created, outcome) = Box::pin(create::create(workspace, &event)).await?;
    Ok(ChangedEventView {
        outcome: outcome.into(),
        entity: event.entity.as_ref().map(ToString::to_string),
        event: CalendarEventView::new(created, &event.span.day_zone),
    })
}

/// Changes an event.
///
/// # Errors
/// Unknown events, and events that were changed meanwhile.
pub async fn update_event(workspace: &Workspace, update: EventUpdate) -> Result<ChangedEventView> {
    let changed = Box::pin(change::update(workspace, &update)).await?;
    let entity = match &update.event {
        EventSelector::Entity(entity) => Some(entity.to_string()),
        EventSelector::Id(_) => None,
    };
    Ok(ChangedEventView {
        outcome: ChangeOutcome::Updated,
        entity,
        event: CalendarEventView::new(changed, &update.zone),
    })
}

/// An event to delete.
#[derive(Clone, Debug)]
pub struct DeleteEventRequest {
    pub calendar: CalendarName,
    pub event: EventSelector,
    /// The ETag that the event must still have.
    pub etag: Option<String>,
    /// The time zone in which the deleted event is shown.
    pub zone: TimeZone,
}

/// Deletes an event and its link. It is not an error if the entity's event was already deleted.
///
/// # Errors
/// Those of [`update_event`].
pub async fn delete_event(workspace: &Workspace, request: DeleteEventRequest) -> Result<DeletedEventView> {
    let DeleteEventRequest { calendar, event, etag, zone } = request;
    let outcome = Box::pin(change::delete(workspace, &calendar, &event, etag.as_deref())).await?;
    let entity = match &event {
        EventSelector::Entity(entity) => Some(entity.to_string()),
        EventSelector::Id(_) => None,
    };
    let (was_there, event) = match outcome {
        DeletionOutcome::Deleted(event) => (true, event.map(|event| CalendarEventView::new(*event, &zone))),
        DeletionOutcome::Missing => (false, None),
    };
    Ok(DeletedEventView { deleted: was_there, entity, event })
}
