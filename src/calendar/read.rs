//! Reads several calendars in parallel. An incomplete response is a failure.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::agenda;
use super::error::CalendarError;
use super::mapping::{Placeholders, parameters, read_event};
use crate::api::{self, ActionCall, CompletedCall, Input};
use crate::connector::{CalendarAction, CalendarDefinition, Connector, any_holds, service_zone};
use crate::error::{Error, Result};
use crate::http::Response;
use crate::model::ConnectionName;
use crate::model::calendar::{CalendarEvent, CalendarName, Interval};
use crate::oauth::refresh::{self, Freshness};
use crate::runtime::{BoxFuture, Workspace};

/// Calendars that are read at the same time.
pub(super) const MAX_CONCURRENT_READS: usize = 8;

/// How often a list of several pages is read until two readings agree.
const MAX_READINGS: usize = 4;

/// How calendars are read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// What a calendar may take to answer.
    pub limit: Duration,
    /// The time zone in which days begin where neither an event nor its calendar says so.
    pub zone: TimeZone,
}

/// A calendar of an account, as its service describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarDescription {
    pub calendar: CalendarName,
    pub title: Option<String>,
    pub time_zone: Option<String>,
    pub is_default: bool,
    pub is_writable: bool,
}

/// The connector of a connection, and its calendars.
pub(super) async fn connector_of(
    workspace: &Workspace,
    name: &ConnectionName,
) -> Result<(Arc<Connector>, Box<CalendarDefinition>)> {
    let connection = workspace.connection(name).await?;
    let connector = workspace.catalogue().get(connection.name.connector())?;
    let definition = connector.calendar.clone();
    let definition = definition.ok_or_else(|| CalendarError::NotACalendar { connection: name.clone() })?;
    Ok((connector, definition))
}

/// Returns the connections that have a calendar, by their names.
///
/// # Errors
/// The store's; [`CalendarError::NoCalendars`] if there is none.
pub async fn connections(workspace: &Workspace) -> Result<Vec<ConnectionName>> {
    let has_calendar = |name: &ConnectionName| {
        workspace.catalogue().get(name.connector()).is_ok_and(|connector| connector.calendar.is_some())
    };
    let names: Vec<_> = workspace.connection_names().await?.into_iter().filter(has_calendar).collect();
    if names.is_empty() { Err(CalendarError::NoCalendars.into()) } else { Ok(names) }
}

/// Lists the calendars of an account.
///
/// # Errors
/// Whatever keeps the list from being read whole.
pub async fn calendars(
    workspace: &Workspace,
    connection: &ConnectionName,
    options: &ReadOptions,
) -> Result<Vec<CalendarDescription>> {
    let (connector, definition) = connector_of(workspace, connection).await?;
    let whole = CalendarName { connection: connection.clone(), id: None };
    let Some(listing) = &definition.calendars else {
        return Ok(vec![CalendarDescription {
            calendar: whole,
            title: Some(connector.name.clone()),
            time_zone: None,
            is_default: true,
            is_writable: definition.create.is_some(),
        }]);
    };
    let values = Placeholders::default();
    let listed = read_whole(workspace, &connector, &listing.call, &whole, &values);
    let pages = Box::pin(within(workspace, connection, options.limit, listed)).await?;
    let describe = |item: &Value| {
        let id =
            listing.id.text(item).ok_or(CalendarError::Incomplete { problem: "a calendar has no id".to_owned() })?;
        Ok(CalendarDescription {
            calendar: CalendarName { connection: connection.clone(), id: Some(id) },
            title: listing.name.text(item),
            time_zone: listing.zone.as_ref().and_then(|at| at.text(item)),
            is_default: any_holds(&listing.default, item),
            is_writable: listing.writable.is_empty() || any_holds(&listing.writable, item),
        })
    };
    pages.items.iter().map(describe).collect()
}

/// Does something with a connection within a limit. The token is refreshed before: a refresh that is cut off may lose it.
pub(super) async fn within<T>(
    workspace: &Workspace,
    connection: &ConnectionName,
    limit: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    Box::pin(refresh::fresh_grant(workspace, connection, Freshness::Usable)).await?;
    match tokio::time::timeout(limit, Box::pin(work)).await {
        Ok(result) => result,
        Err(_) => Err(CalendarError::Late { limit }.into()),
    }
}

/// One calendar that is read.
type EventRead<'a> = BoxFuture<'a, (&'a CalendarName, Result<Vec<CalendarEvent>>)>;

/// The failures of calendars, each with its calendar.
pub type Failures = Vec<(CalendarName, Error)>;

/// Reads the events of several calendars within a window, sorted. What fails is returned beside what does not.
///
/// # Errors
/// Unknown connections, and those without a calendar.
pub async fn events(
    workspace: &Workspace,
    calendars: &[CalendarName],
    window: Interval,
    options: &ReadOptions,
) -> Result<(Vec<CalendarEvent>, Failures)> {
    let mut definitions = BTreeMap::new();
    for calendar in calendars {
        if !definitions.contains_key(&calendar.connection) {
            definitions.insert(&calendar.connection, connector_of(workspace, &calendar.connection).await?);
        }
    }
    // Boxed one by one: an async closure over borrowed items would keep the whole from being sent to another thread.
    let reads: Vec<EventRead<'_>> = calendars
        .iter()
        .filter_map(|calendar| Some((calendar, definitions.get(&calendar.connection)?)))
        .map(|(calendar, (connector, definition))| {
            let read = events_of(workspace, connector, definition, calendar, window, &options.zone);
            let read = Box::pin(within(workspace, &calendar.connection, options.limit, read));
            Box::pin(async move { (calendar, read.await) }) as BoxFuture<'_, _>
        })
        .collect();
    let mut reads = stream::iter(reads).buffered(MAX_CONCURRENT_READS);
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    while let Some((calendar, result)) = reads.next().await {
        match result {
            Ok(events) => all.extend(events),
            Err(error) => failures.push((calendar.clone(), error)),
        }
    }
    agenda::sort(&mut all, &options.zone);
    Ok((all, failures))
}

/// The same, but what is returned is whole.
///
/// # Errors
/// [`CalendarError::Unreadable`] if any calendar could not be read; `what` is then unknown.
pub async fn all_events(
    workspace: &Workspace,
    calendars: &[CalendarName],
    window: Interval,
    options: &ReadOptions,
    what: &'static str,
) -> Result<Vec<CalendarEvent>> {
    let (events, failures) = events(workspace, calendars, window, options).await?;
    if failures.is_empty() { Ok(events) } else { Err(CalendarError::unreadable(what, failures).into()) }
}

/// Reads the events of one calendar within a window.
async fn events_of(
    workspace: &Workspace,
    connector: &Connector,
    definition: &CalendarDefinition,
    calendar: &CalendarName,
    window: Interval,
    zone: &TimeZone,
) -> Result<Vec<CalendarEvent>> {
    let listing = &definition.events;
    // Services differ in where they put the days of events of whole days: more is asked for, and what is outside left out.
    let around = SignedDuration::from_hours(26);
    let (from, to) = (window.start.saturating_sub(around), window.end.saturating_add(around));
    let (from, to) = (from.unwrap_or(window.start), to.unwrap_or(window.end));
    let values = Placeholders::of_calendar(calendar).with_window(from, to);
    let pages = read_whole(workspace, connector, &listing.call, calendar, &values).await?;
    let zone_name = listing.zone.as_ref().and_then(|at| pages.first_answer.as_ref().and_then(|answer| at.text(answer)));
    let malformed = |problem: String| CalendarError::MalformedEvent { calendar: calendar.clone(), problem };
    let calendar_zone = match &zone_name {
        Some(name) => Some(service_zone(name).ok_or_else(|| malformed(format!("unknown time zone {name:?}")))?),
        None => None,
    };
    let mut events = Vec::with_capacity(pages.items.len());
    for item in &pages.items {
        // What was called off may have no times any more.
        if any_holds(&definition.event.cancelled, item) && read_event(&definition.event, item, calendar, None).is_err()
        {
            continue;
        }
        let event = read_event(&definition.event, item, calendar, calendar_zone.as_ref()).map_err(malformed)?;
        if agenda::is_within(&event, window, zone) {
            events.push(event);
        }
    }
    Ok(agenda::without_duplicates(events))
}

/// A whole list.
#[derive(Debug, Default, PartialEq)]
pub(super) struct WholeList {
    pub(super) items: Vec<Value>,
    first_answer: Option<Value>,
    pages: usize,
}

/// Reads a list with all its pages. Nothing holds several pages together, so that one of several is read again until two
/// readings agree.
pub(super) async fn read_whole(
    workspace: &Workspace,
    connector: &Connector,
    call: &CalendarAction,
    calendar: &CalendarName,
    values: &Placeholders,
) -> Result<WholeList> {
    let mut last = read_once(workspace, connector, call, calendar, values).await?;
    for _ in 1..MAX_READINGS {
        if last.pages <= 1 {
            return Ok(last);
        }
        let next = read_once(workspace, connector, call, calendar, values).await?;
        if next.items == last.items {
            return Ok(next);
        }
        last = next;
    }
    if last.pages <= 1 { Ok(last) } else { Err(CalendarError::Changing.into()) }
}

async fn read_once(
    workspace: &Workspace,
    connector: &Connector,
    call: &CalendarAction,
    calendar: &CalendarName,
    values: &Placeholders,
) -> Result<WholeList> {
    let action = action_name(call, calendar);
    let incomplete = |problem: String| CalendarError::Incomplete { problem };
    let at = connector.actions.get(action).and_then(|action| action.list.clone());
    let at = at.ok_or_else(|| incomplete(format!("the connector does not say where {action} has its list")))?;
    let input: Input = parameters(call, values).into_iter().collect();
    let order = ActionCall { connection: &calendar.connection, action, input: &input, idempotency_key: None };
    let mut list = WholeList::default();
    let mut sink = |response: &Response| {
        // A refusal is an error of its own, which `list` returns.
        if !(200..300).contains(&response.status) {
            return Ok(ControlFlow::Continue(()));
        }
        let answer = response.json().ok_or_else(|| incomplete("it is not JSON".to_owned()))?;
        let Some(Value::Array(items)) = at.find(&answer) else {
            return Err(incomplete(format!("there is no list at {at}")).into());
        };
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            return Err(CalendarError::Reported { reason: reason_of(error) }.into());
        }
        list.items.extend(items.iter().cloned());
        list.pages += 1;
        list.first_answer.get_or_insert(answer);
        Ok(ControlFlow::Continue(()))
    };
    api::list(workspace, &order, None, &mut sink).await?;
    Ok(list)
}

/// The action for a calendar: another one where it is named, if the connector says so.
pub(super) fn action_name<'c>(call: &'c CalendarAction, calendar: &CalendarName) -> &'c str {
    match (&call.in_calendar, &calendar.id) {
        (Some(action), Some(_)) => action,
        _ => &call.action,
    }
}

/// Calls an action of a calendar. A refusal is in the result.
pub(super) async fn call(
    workspace: &Workspace,
    call: &CalendarAction,
    calendar: &CalendarName,
    values: &Placeholders,
    key: Option<&str>,
) -> Result<CompletedCall, api::SendError> {
    let input: Input = parameters(call, values).into_iter().collect();
    let action = action_name(call, calendar);
    let order = ActionCall { connection: &calendar.connection, action, input: &input, idempotency_key: key };
    api::try_call(workspace, &order).await
}

/// What a report of an error says in words.
pub(super) fn reason_of(error: &Value) -> String {
    let one = |error: &Value| {
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        text("message")
            .or_else(|| text("reason"))
            .or_else(|| error.as_str().map(str::to_owned))
            .unwrap_or_else(|| error.to_string())
    };
    match error {
        Value::Array(errors) => errors.iter().map(one).collect::<Vec<_>>().join("; "),
        error => one(error),
    }
}
