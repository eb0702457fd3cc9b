//! Responses that list events and busy times.

use serde_json::{Value, json};

use super::{CalendarCall, week};
use crate::connector::{CalendarAction, FreeBusyQuery, PageParam, PaginationKind, any_holds};
use crate::model::calendar::{EventTime, Interval};
use crate::sandbox::message::SandboxResponse;
use crate::sandbox::state::SandboxState;
use crate::sandbox::stream::records::RecordSet;
use crate::sandbox::stream::with_query;
use crate::sandbox::vendor_emulator::RequestContext;

/// Events of a page, where neither the request nor the file says how many.
const DEFAULT_PAGE_SIZE: usize = 100;

/// What the parameter of a link's cursor is called where the file does not say.
const CURSOR: &str = "cursor";

impl CalendarCall<'_> {
    pub(super) fn list(
        &self,
        visit: &RequestContext<'_>,
        action: &CalendarAction,
        state: &SandboxState,
    ) -> SandboxResponse {
        let Some(window) = self.window(action) else {
            return self.emulator.bad_request("the span of time is empty or cannot be read");
        };
        let calendar = self.text(action, "calendar");
        let partition = self.partition(calendar.as_deref(), state);
        let set = partition.and_then(|partition| RecordSet::new(self.world(state), &self.stream, partition));
        let Some(set) = set else { return self.emulator.record_not_found(&self.stream) };
        let events: Vec<Value> = self.events(&set, window).into_iter().map(|(_, _, record)| record).collect();
        let mut document = self.success();
        if let Some(at) = &self.definition.events.zone {
            let zone = week::zone_of(self.definition, &set.sample_row());
            at.set(&mut document, json!(zone.iana_name()));
        }
        let connector = &self.emulator.connector;
        let pages = connector.api.pages.as_ref();
        let number = |name: &str| visit.request.query_all(name).pop()?.parse::<usize>().ok();
        let named = |param: Option<&'_ PageParam>| param.and_then(PageParam::query_name).map(str::to_owned);
        let param = named(pages.and_then(|pages| pages.param.as_ref())).unwrap_or_else(|| CURSOR.to_owned());
        let size_param = named(pages.and_then(|pages| pages.size_param.as_ref()));
        let size = size_param.and_then(|name| number(&name)).unwrap_or(DEFAULT_PAGE_SIZE).max(1);
        let start = number(&param).unwrap_or_default();
        let rest = events.get(start..).unwrap_or_default();
        let page = rest.get(..size).unwrap_or(rest);
        if let Some(at) = &self.given.action.list {
            at.set(&mut document, json!(page));
        }
        if let Some((pages, at)) = pages.and_then(|pages| Some((pages, pages.next.as_ref()?)))
            && rest.len() > size
        {
            let next = (start + size).to_string();
            let value = match pages.kind {
                PaginationKind::NextUrl => {
                    let origin = self.emulator.link_origin(visit.request, &self.given.action.path);
                    let query = with_query(&visit.request.query, &[], &param, &next);
                    format!("{origin}{}?{query}", visit.request.path)
                }
                _ => next,
            };
            at.set(&mut document, json!(value));
        }
        SandboxResponse::json(self.given.action.status, &document)
    }

    pub(super) fn free_busy(&self, query: &FreeBusyQuery, state: &SandboxState) -> SandboxResponse {
        let Some(window) = self.window(&query.call) else {
            return self.emulator.bad_request("the span of time is empty or cannot be read");
        };
        let ids = match self.argument(&query.call, "calendars") {
            Some(Value::Array(ids)) => ids,
            _ => return self.emulator.bad_request("no calendar is named"),
        };
        // Each may be an object that names it.
        let text = |id: &Value| {
            let member = || id.as_object()?.values().find_map(Value::as_str).map(str::to_owned);
            id.as_str().map(str::to_owned).or_else(member)
        };
        let mut document = self.success();
        let mut list = Vec::new();
        for id in ids.iter().filter_map(text) {
            let mut entry = json!({});
            match self.busy(&id, window, state) {
                Some(busy) => {
                    let spans: Vec<Value> = busy.into_iter().map(|busy| span(query, busy)).collect();
                    query.busy.set(&mut entry, json!(spans));
                }
                None => query.errors.set(&mut entry, json!([{ "domain": "global", "reason": "notFound" }])),
            }
            match &query.calendar {
                Some(at) => {
                    at.set(&mut entry, json!(id));
                    list.push(entry);
                }
                None => {
                    let mut calendars = query.answer.find(&document).cloned().unwrap_or_else(|| json!({}));
                    calendars[&id] = entry;
                    query.answer.set(&mut document, calendars);
                }
            }
        }
        if query.calendar.is_some() {
            query.answer.set(&mut document, json!(list));
        }
        SandboxResponse::json(self.given.action.status, &document)
    }

    /// When a calendar is busy; None for one that does not exist.
    fn busy(&self, id: &str, window: Interval, state: &SandboxState) -> Option<Vec<Interval>> {
        let set = RecordSet::new(self.world(state), &self.stream, self.partition(Some(id), state)?)?;
        let zone = week::zone_of(self.definition, &set.sample_row());
        let mut busy: Vec<Interval> = Vec::new();
        for (start, end, record) in self.events(&set, window) {
            if any_holds(&self.definition.event.free, &record) {
                continue;
            }
            let interval = Interval::new(start.instant(&zone).ok()?, end.instant(&zone).ok()?);
            let Some(interval) = interval.and_then(|interval| interval.intersection(window)) else { continue };
            match busy.last_mut() {
                Some(last) if interval.start <= last.end => last.end = last.end.max(interval.end),
                _ => busy.push(interval),
            }
        }
        Some(busy)
    }
}

/// A busy span as the vendor writes it.
fn span(query: &FreeBusyQuery, busy: Interval) -> Value {
    let mut like = json!({});
    for fields in [&query.start, &query.end].into_iter().filter(|fields| fields.zone.is_some()) {
        fields.time.set(&mut like, json!("2026-01-01T00:00:00.0000000"));
    }
    let mut span = json!({});
    for (fields, time) in [(&query.start, busy.start), (&query.end, busy.end)] {
        fields.write(&mut span, &EventTime::At(time.to_zoned(jiff::tz::TimeZone::UTC)), &like);
    }
    span
}
