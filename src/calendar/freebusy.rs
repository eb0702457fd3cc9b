//! Requests busy times: from the service if it supports that, otherwise from its events.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use jiff::ToSpan;
use serde_json::{Value, json};

use super::error::CalendarError;
use super::mapping::Placeholders;
use super::read::{self, MAX_CONCURRENT_READS, ReadOptions, connector_of, reason_of, within};
use super::{agenda, merge};
use crate::api;
use crate::clock::Timestamp;
use crate::connector::{FreeBusyQuery, TimeFields, any_holds};
use crate::error::{Error, Result};
use crate::model::ConnectionName;
use crate::model::calendar::{CalendarName, EventTime, Interval};
use crate::runtime::{BoxFuture, Workspace};

/// When a calendar is busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarBusyTime {
    pub calendar: CalendarName,
    /// Sorted and disjoint, within the requested window.
    pub busy: Vec<Interval>,
}

/// The calendars of a connection that its service's own query is asked about, each with the id by which it knows it.
type AskedCalendars<'a> = (&'a FreeBusyQuery, Vec<(&'a CalendarName, String)>);

/// One request to a service's own query.
struct Query<'a> {
    connection: &'a ConnectionName,
    definition: &'a FreeBusyQuery,
    /// Each with the id by which the query knows it.
    calendars: Vec<(&'a CalendarName, String)>,
    window: Interval,
}

/// Returns when calendars are busy within a window, in their order.
///
/// # Errors
/// [`CalendarError::Unreadable`] if any calendar could not be read.
pub async fn busy(
    workspace: &Workspace,
    calendars: &[CalendarName],
    window: Interval,
    options: &ReadOptions,
) -> Result<Vec<CalendarBusyTime>> {
    const WHAT: &str = "free/busy";
    let mut definitions = BTreeMap::new();
    for calendar in calendars {
        if !definitions.contains_key(&calendar.connection) {
            definitions.insert(calendar.connection.clone(), connector_of(workspace, &calendar.connection).await?.1);
        }
    }
    let mut asked: BTreeMap<&ConnectionName, AskedCalendars<'_>> = BTreeMap::new();
    let mut listed = Vec::new();
    for calendar in calendars {
        let query = definitions.get(&calendar.connection).and_then(|definition| definition.freebusy.as_ref());
        match query.and_then(|query| Some((query, query_id(query, calendar)?))) {
            Some((query, id)) => {
                asked.entry(&calendar.connection).or_insert_with(|| (query, Vec::new())).1.push((calendar, id));
            }
            None => listed.push(calendar.clone()),
        }
    }
    let mut queries = Vec::new();
    for (connection, (definition, calendars)) in asked {
        for calendars in calendars.chunks(definition.max_calendars.max(1) as usize) {
            for window in parts_of(window, definition.max_days) {
                queries.push(Query { connection, definition, calendars: calendars.to_vec(), window });
            }
        }
    }
    let mut times: BTreeMap<CalendarName, Vec<Interval>> = BTreeMap::new();
    let mut failures: Vec<(CalendarName, Error)> = Vec::new();
    let answers: Vec<BoxFuture<'_, (&Query<'_>, Result<Value>)>> = queries
        .iter()
        .map(|query| {
            let answer = Box::pin(within(workspace, query.connection, options.limit, ask(workspace, query)));
            Box::pin(async move { (query, answer.await) }) as BoxFuture<'_, _>
        })
        .collect();
    let mut answers = stream::iter(answers).buffered(MAX_CONCURRENT_READS);
    while let Some((query, answer)) = answers.next().await {
        match answer {
            Ok(answer) => {
                for (calendar, id) in &query.calendars {
                    match busy_of(query.definition, &answer, id) {
                        Ok(busy) => times.entry((*calendar).clone()).or_default().extend(busy),
                        Err(error) => failures.push(((*calendar).clone(), error.into())),
                    }
                }
            }
            Err(error) => {
                let mut names = query.calendars.iter().map(|(calendar, _)| (*calendar).clone());
                let Some(first) = names.next() else { continue };
                failures.push((first, error));
                failures.extend(names.map(|name| (name, CalendarError::SameQuery.into())));
            }
        }
    }
    let (events, unread) = read::events(workspace, &listed, window, options).await?;
    failures.extend(unread);
    if !failures.is_empty() {
        return Err(CalendarError::unreadable(WHAT, failures).into());
    }
    for calendar in &listed {
        let own: Vec<_> = events.iter().filter(|event| event.calendar == *calendar).cloned().collect();
        times.insert(calendar.clone(), agenda::busy(&own, window, &options.zone));
    }
    let of = |calendar: &CalendarName| {
        let busy = times.get(calendar).into_iter().flatten().filter_map(|busy| busy.intersection(window));
        CalendarBusyTime { calendar: calendar.clone(), busy: merge(busy.collect()) }
    };
    Ok(calendars.iter().map(of).collect())
}

/// The id by which a service's own query knows a calendar; None if it is not asked about this one.
fn query_id(query: &FreeBusyQuery, calendar: &CalendarName) -> Option<String> {
    let id = calendar.id.clone().or_else(|| query.default_calendar.clone())?;
    (!query.addresses_only || id.contains('@')).then_some(id)
}

/// A window in parts of so many days.
fn parts_of(window: Interval, max_days: Option<u32>) -> Vec<Interval> {
    let Some(hours) = max_days.and_then(|days| i64::from(days).checked_mul(24)) else { return vec![window] };
    let mut parts = Vec::new();
    let mut start = window.start;
    while start < window.end {
        let end = start.checked_add(hours.hours()).unwrap_or(Timestamp::MAX).min(window.end);
        parts.extend(Interval::new(start, end));
        if end <= start {
            break;
        }
        start = end;
    }
    parts
}

async fn ask(workspace: &Workspace, query: &Query<'_>) -> Result<Value> {
    let ids: Vec<&String> = query.calendars.iter().map(|(_, id)| id).collect();
    let mut values = Placeholders::default().with_window(query.window.start, query.window.end);
    values.set("calendars", json!(ids));
    let whole = CalendarName { connection: query.connection.clone(), id: None };
    let call = &query.definition.call;
    let done = read::call(workspace, call, &whole, &values, None).await?;
    if let Some(class) = done.response.error_class {
        return Err(api::refusal_error(&done.session, &call.action, class, &done.response.response).into());
    }
    let answer = done.response.response.json();
    Ok(answer.ok_or_else(|| CalendarError::Incomplete { problem: "it is not JSON".to_owned() })?)
}

/// The busy times of one calendar in an answer.
fn busy_of(query: &FreeBusyQuery, answer: &Value, id: &str) -> Result<Vec<Interval>, CalendarError> {
    let incomplete = |problem: &str| CalendarError::Incomplete { problem: problem.to_owned() };
    let entry = match (query.answer.find(answer), &query.calendar) {
        (Some(Value::Object(calendars)), None) => calendars.get(id),
        (Some(Value::Array(calendars)), Some(at)) => {
            calendars.iter().find(|entry| at.text(entry).is_some_and(|known| known.eq_ignore_ascii_case(id)))
        }
        _ => return Err(incomplete("it has no calendars")),
    };
    let entry = entry.ok_or_else(|| incomplete("it says nothing of this calendar"))?;
    let is_empty = |errors: &Value| errors.as_array().is_some_and(Vec::is_empty);
    if let Some(errors) = query.errors.find(entry).filter(|errors| !is_empty(errors)) {
        return Err(CalendarError::Reported { reason: reason_of(errors) });
    }
    let Some(Value::Array(spans)) = query.busy.find(entry) else { return Err(incomplete("it has no busy times")) };
    let mut busy = Vec::with_capacity(spans.len());
    for span in spans.iter().filter(|span| !any_holds(&query.free, span)) {
        let time = |fields: &TimeFields| match fields.read(span, false) {
            Ok(Some(EventTime::At(time))) => Ok(time.timestamp()),
            Ok(_) => Err(incomplete("a busy time has no start or no end")),
            Err(problem) => Err(incomplete(&problem)),
        };
        let (start, end) = (time(&query.start)?, time(&query.end)?);
        if end < start {
            return Err(incomplete("a busy time ends before it starts"));
        }
        busy.extend(Interval::new(start, end));
    }
    Ok(busy)
}
