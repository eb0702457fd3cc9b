//! Finds an event of a calendar by its ID, or by the entity that it is linked to.

use serde_json::json;

use super::error::CalendarError;
use super::mapping::{Placeholders, read_event};
use super::read::{self, action_name};
use crate::api::refusal_error;
use crate::connector::{CalendarDefinition, Connector, ErrorClass};
use crate::error::Result;
use crate::model::calendar::{CalendarEvent, CalendarEventStatus, CalendarName};
use crate::model::{
    Connection, ConnectionId, Entity, Link, LinkFilter, LinkId, LinkInsertResult, LinkedObject, NewLink,
};
use crate::runtime::Workspace;

/// What links call the events of a connection.
const RESOURCE: &str = "events";

/// Where an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventLocation {
    pub(super) calendar: CalendarName,
    pub(super) id: String,
}

/// Returns the link of an entity with an event of a connection.
pub(super) async fn link_of(workspace: &Workspace, connection: &Connection, entity: &Entity) -> Result<Option<Link>> {
    let filter = LinkFilter {
        user: connection.user.clone(),
        entity_type: Some(entity.kind().to_owned()),
        entity_id: Some(entity.id().to_owned()),
        connection: Some(connection.id),
        resource: Some(RESOURCE.to_owned()),
        object_id: None,
    };
    Ok(workspace.store().await?.links().list(&filter, LinkId(0), 1).await?.pop())
}

/// Returns where the event of an entity is, if it has one.
///
/// # Errors
/// The store's.
pub(super) async fn of_entity(
    workspace: &Workspace,
    connection: &Connection,
    entity: &Entity,
) -> Result<Option<EventLocation>> {
    let Some(link) = link_of(workspace, connection, entity).await? else { return Ok(None) };
    let attempt = workspace.store().await?.event_creations().find(connection.id, entity).await?;
    let calendar =
        CalendarName { connection: connection.name.clone(), id: attempt.and_then(|attempt| attempt.calendar) };
    Ok(Some(EventLocation { calendar, id: link.object.id().to_owned() }))
}

/// Links an entity with its event. An event that was there before and was deleted gives way.
pub(super) async fn link(
    workspace: &Workspace,
    connection: ConnectionId,
    entity: &Entity,
    event: &CalendarEvent,
) -> Result<()> {
    let user = workspace.connection(&event.calendar.connection).await?.user;
    let object = LinkedObject::new(RESOURCE, &event.id)?;
    let link = NewLink { user, entity: entity.clone(), connection, object };
    let links = workspace.store().await?.links();
    let now = workspace.clock.now();
    for _ in 0..2 {
        match links.insert(vec![link.clone()], now).await?.pop() {
            // The event that the entity had is deleted, or it would have been returned instead.
            Some(LinkInsertResult::EntityLinked(former)) => _ = links.remove(former.id).await?,
            Some(LinkInsertResult::ObjectLinked(other)) => {
                return Err(CalendarError::LinkedElsewhere { id: event.id.clone(), entity: other.entity }.into());
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// Forgets the event of an entity: its link, and the key that it was added with.
pub(super) async fn unlink(workspace: &Workspace, connection: &Connection, entity: &Entity) -> Result<()> {
    let store = workspace.store().await?;
    if let Some(link) = link_of(workspace, connection, entity).await? {
        store.links().remove(link.id).await?;
    }
    if let Some(attempt) = store.event_creations().find(connection.id, entity).await? {
        store.event_creations().remove(connection.id, entity, &attempt.key).await?;
    }
    Ok(())
}

/// Reads an event; None if it does not exist, or was deleted.
///
/// # Errors
/// [`CalendarError::Unsupported`], and those of the request.
pub(super) async fn read(
    workspace: &Workspace,
    connector: &Connector,
    definition: &CalendarDefinition,
    event: &EventLocation,
) -> Result<Option<CalendarEvent>> {
    let unsupported = || CalendarError::unsupported(&event.calendar, connector, "reading single events");
    let call = definition.get.as_ref().ok_or_else(unsupported)?;
    let mut values = Placeholders::of_calendar(&event.calendar);
    values.set("event", json!(event.id));
    let done = read::call(workspace, call, &event.calendar, &values, None).await?;
    let answer = &done.response;
    match answer.error_class {
        None => {}
        Some(ErrorClass::NotFound) => return Ok(None),
        Some(_) if matches!(answer.response.status, 404 | 410) => return Ok(None),
        Some(class) => {
            let action = action_name(call, &event.calendar);
            return Err(refusal_error(&done.session, action, class, &answer.response).into());
        }
    }
    let malformed = |problem| CalendarError::MalformedEvent { calendar: event.calendar.clone(), problem };
    let item = answer.response.json().ok_or_else(|| malformed("the answer is not JSON".to_owned()))?;
    match read_event(&definition.event, &item, &event.calendar, None) {
        Ok(found) if found.status == CalendarEventStatus::Cancelled => Ok(None),
        Ok(found) => Ok(Some(found)),
        Err(_) if crate::connector::any_holds(&definition.event.cancelled, &item) => Ok(None),
        Err(problem) => Err(malformed(problem).into()),
    }
}
