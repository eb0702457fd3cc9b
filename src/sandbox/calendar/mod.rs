//! The calendars of the emulated vendor: events in a time range, free/busy, and changes that respect ETags and keys.
//!
//! A connector's `[calendar]` says which actions these are and what an event looks like. The records are those of the stream
//! that the actions are about, and between them occurrences of weekly series, which no stream lists.

mod reply;
mod week;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub(in crate::sandbox) use self::week::{place_in_week, set_etag};
use super::account::SandboxAccount;
use super::action_call::EmulatedActionCall;
use super::message::SandboxResponse;
use super::relation::relate;
use super::state::{ListKey, RecordEditKind, SandboxState, created_number};
use super::stream::records::{RecordSet, World, partition_names};
use super::vendor_emulator::{RequestContext, VendorEmulator, success_document};
use crate::clock::Timestamp;
use crate::connector::{
    CalendarAction, CalendarDefinition, CalendarListing, Connector, ErrorClass, Pointer, any_holds,
};
use crate::model::calendar::{EventTime, Interval};

/// Records of a list that are looked through.
const MAX_RECORDS: u64 = 1_000;

/// Maximum number of weeks with listed occurrences.
const MAX_WEEKS: i64 = 60;

/// What a stream's records are to the connector's calendars.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) enum CalendarRole<'c> {
    None,
    Events(&'c CalendarDefinition),
    Calendars(&'c CalendarListing),
}

impl<'c> CalendarRole<'c> {
    /// The role of a stream.
    pub(in crate::sandbox) fn of(connector: &'c Connector, stream: &str) -> Self {
        let Some(calendar) = &connector.calendar else { return Self::None };
        if event_stream(connector, calendar).as_deref() == Some(stream) {
            return Self::Events(calendar);
        }
        match &calendar.calendars {
            Some(listing) if calendar_stream(connector, listing) == Some(stream) => Self::Calendars(listing),
            _ => Self::None,
        }
    }
}

/// The stream of a calendar's events: the one below the path that lists them, or the one that an event is created in.
fn event_stream(connector: &Connector, calendar: &CalendarDefinition) -> Option<String> {
    let listed = connector.actions.get(&calendar.events.call.action)?.path.to_string();
    let mut below = connector.streams.iter().filter(|(_, stream)| {
        let path = stream.path.to_string();
        path.strip_prefix(&listed).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if let Some((name, _)) = below.next() {
        return Some(name.clone());
    }
    let create = calendar.create.as_ref().map(|create| &create.call);
    let calls = [create, calendar.get.as_ref()].into_iter().flatten();
    let mut relations = calls.filter_map(|call| relate(connector, &call.action, connector.actions.get(&call.action)?));
    relations.next().map(|relation| relation.stream)
}

/// The stream that lists what the action lists.
fn calendar_stream<'c>(connector: &'c Connector, listing: &CalendarListing) -> Option<&'c str> {
    let path = connector.actions.get(&listing.call.action)?.path.to_string();
    connector.streams.iter().find(|(_, stream)| stream.path.to_string() == path).map(|(name, _)| name.as_str())
}

/// The default calendar is the first one.
pub(in crate::sandbox) fn mark_default(listing: &CalendarListing, index: u64, record: &mut Value) {
    week::set_condition(record, &listing.default, index == 0);
    if index == 0 {
        week::set_condition(record, &listing.writable, true);
    }
}

/// One call that is about calendars.
struct CalendarCall<'a> {
    emulator: &'a VendorEmulator,
    definition: &'a CalendarDefinition,
    stream: String,
    given: &'a EmulatedActionCall<'a>,
    account: &'a SandboxAccount,
    now: i64,
}

impl VendorEmulator {
    /// Whether a request asks for the events of a span of time, and not for the records of a stream of the same path.
    pub(super) fn is_event_query(
        &self,
        request: &super::message::SandboxRequest,
        actions: &[(String, super::pattern::PathParams)],
    ) -> bool {
        let Some(calendar) = &self.connector.calendar else { return false };
        let call = &calendar.events.call;
        let asks = |name: &str| {
            let (param, _) = place_of(call, "from")?;
            let action = self.connector.actions.get(name)?;
            let label = self.connector.wire_name(param, action.params.get(param)?).tokens().next()?;
            Some(!request.query_all(&label).is_empty())
        };
        actions.iter().any(|(name, _)| is_call(call, name) && asks(name) == Some(true))
    }

    /// Answers a call that is about calendars; None for every other call.
    pub(super) fn calendar_call(
        &self,
        visit: &RequestContext<'_>,
        name: &str,
        given: &EmulatedActionCall<'_>,
        account: &SandboxAccount,
        state: &mut SandboxState,
    ) -> Option<SandboxResponse> {
        let definition = self.connector.calendar.as_ref()?;
        let stream = event_stream(&self.connector, definition)?;
        let call = CalendarCall { emulator: self, definition, stream, given, account, now: visit.now };
        fn named<'c>(call: Option<&'c CalendarAction>, name: &str) -> Option<&'c CalendarAction> {
            call.filter(|call| is_call(call, name))
        }
        let query = definition.freebusy.as_ref();
        let create = definition.create.as_ref();
        if let Some(action) = named(Some(&definition.events.call), name) {
            // Without a span it is a list of records like any other.
            call.argument(action, "from")?;
            state.streams.start(visit.now);
            return Some(call.list(visit, action, state));
        }
        if let (Some(query), Some(_)) = (query, named(query.map(|query| &query.call), name)) {
            state.streams.start(visit.now);
            return Some(call.free_busy(query, state));
        }
        if let (Some(create), Some(_)) = (create, named(create.map(|create| &create.call), name)) {
            state.streams.start(visit.now);
            return Some(call.create(create, state));
        }
        if let Some(action) = named(definition.get.as_ref(), name) {
            state.streams.start(visit.now);
            return Some(call.read(action, state));
        }
        if let Some(action) = named(definition.update.as_ref(), name) {
            return Some(call.change(action, state, |call, set| RecordEditKind::Update(call.update_patch(set))));
        }
        let action = named(definition.delete.as_ref(), name)?;
        Some(call.change(action, state, |_, _| RecordEditKind::Delete))
    }
}

fn is_call(call: &CalendarAction, name: &str) -> bool {
    call.action == name || call.in_calendar.as_deref() == Some(name)
}

/// The parameter that takes a value, and where in it that is.
fn place_of<'c>(call: &'c CalendarAction, name: &str) -> Option<(&'c str, Pointer)> {
    let placeholder = format!("{{{name}}}");
    call.params.iter().find_map(|(param, template)| match template {
        Value::String(text) if *text == placeholder => Some((param.as_str(), Pointer::default())),
        Value::Object(members) => {
            let member = members.iter().find(|(_, value)| value.as_str() == Some(&placeholder))?.0;
            Some((param.as_str(), Pointer::from_member(member)))
        }
        _ => None,
    })
}

impl<'a> CalendarCall<'a> {
    /// What the request gives for a value.
    fn argument(&self, call: &CalendarAction, name: &str) -> Option<Value> {
        let (param, at) = place_of(call, name)?;
        let value = self.given.value(param, self.given.action.params.get(param)?)?;
        at.find(&value).cloned()
    }

    fn text(&self, call: &CalendarAction, name: &str) -> Option<String> {
        Pointer::default().text(&self.argument(call, name)?)
    }

    /// The span that a query asks for.
    fn window(&self, call: &CalendarAction) -> Option<Interval> {
        let time = |name: &str| {
            let local = || self.text(call, &format!("{name}_utc"));
            let text = self.text(call, name).or_else(local)?;
            let civil = || {
                Some(text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
            };
            text.parse::<Timestamp>().ok().or_else(civil)
        };
        Interval::new(time("from")?, time("to")?)
    }

    fn world<'s>(&'s self, state: &'s SandboxState) -> World<'s> {
        World { connector: &self.emulator.connector, account: self.account, state: &state.streams }
    }

    /// The ids of the account's calendars; the first is the default one.
    fn calendar_ids(&self, state: &SandboxState) -> Vec<String> {
        let connector = &self.emulator.connector;
        let listing = self.definition.calendars.as_ref();
        let stream = listing.and_then(|listing| calendar_stream(connector, listing));
        let set = stream.and_then(|stream| RecordSet::new(self.world(state), stream, BTreeMap::new()));
        let (Some(set), Some(listing)) = (set, listing) else { return Vec::new() };
        let rows = (0..set.len().min(MAX_RECORDS)).map(|index| set.row(index)).filter(|row| !row.is_deleted());
        rows.filter_map(|row| listing.id.text(&set.record(&row))).collect()
    }

    /// The list of a calendar: the default one's where none is named. None for a calendar that does not exist.
    fn partition(&self, id: Option<&str>, state: &SandboxState) -> Option<BTreeMap<String, String>> {
        self.partition_among(id, &self.calendar_ids(state))
    }

    /// The same, of an account with these calendars.
    fn partition_among(&self, id: Option<&str>, ids: &[String]) -> Option<BTreeMap<String, String>> {
        let connector = &self.emulator.connector;
        let name = partition_names(connector.streams.get(&self.stream)?).next();
        let default = self.definition.freebusy.as_ref().and_then(|query| query.default_calendar.as_deref());
        let is_default = |id: &str| {
            Some(id) == default || id == self.account.email() || ids.first().is_some_and(|first| first == id)
        };
        match (id.filter(|id| !is_default(id)), name) {
            (None, None) => Some(BTreeMap::new()),
            (None, Some(name)) => {
                let id = ids.first().map(String::as_str).or(default).unwrap_or("primary");
                Some(BTreeMap::from([(name.clone(), id.to_owned())]))
            }
            (Some(id), name) => {
                let is_known = id.contains('@') || ids.iter().any(|known| known == id);
                let name = name.map_or("calendar", String::as_str);
                is_known.then(|| BTreeMap::from([(name.to_owned(), id.to_owned())]))
            }
        }
    }

    /// The events of a calendar that are partly within a window and were not called off, by their starts.
    fn events(&self, set: &RecordSet<'_>, window: Interval) -> Vec<(EventTime, EventTime, Value)> {
        let fields = &self.definition.event;
        let zone = week::zone_of(self.definition, &set.sample_row());
        let day = |time: Timestamp| time.to_zoned(zone.clone()).date();
        let first = week::week_of(day(window.start)) - 1;
        let last = (week::week_of(day(window.end)) + 1).min(first + MAX_WEEKS);
        let listed = 0..set.len().min(MAX_RECORDS);
        let occurrences = (first..=last).flat_map(week::places_of).filter(|index| week::is_taken(set, *index));
        let created = set.changed_places().filter(|index| created_number(*index).is_some());
        let mut events = Vec::new();
        for index in listed.chain(occurrences).chain(created) {
            let row = set.row(index);
            if row.is_deleted() {
                continue;
            }
            let record = set.record(&row);
            let is_all_day = any_holds(&fields.all_day, &record);
            let read = (fields.start.read(&record, is_all_day), fields.end.read(&record, is_all_day));
            let (Ok(Some(start)), Ok(Some(end))) = read else { continue };
            let (Ok(from), Ok(to)) = (start.instant(&zone), end.instant(&zone)) else { continue };
            let is_within = from < window.end && (to > window.start || (from == to && from >= window.start));
            if is_within && !any_holds(&fields.cancelled, &record) {
                events.push((from, start, end, record));
            }
        }
        events.sort_by_key(|(from, ..)| *from);
        events.into_iter().map(|(_, start, end, record)| (start, end, record)).collect()
    }

    /// Finds an event by its id, in the calendar that is named, or in all if ids alone say which.
    fn find(&self, action: &CalendarAction, state: &SandboxState) -> Option<(BTreeMap<String, String>, u64)> {
        let id = self.text(action, "event")?;
        let named = self.text(action, "calendar");
        let ids = self.calendar_ids(state);
        let mut partitions = vec![self.partition_among(named.as_deref(), &ids)?];
        if place_of(action, "calendar").is_none() {
            partitions.extend(ids.iter().skip(1).filter_map(|id| self.partition_among(Some(id), &ids)));
        }
        partitions.into_iter().find_map(|partition| {
            let set = RecordSet::new(self.world(state), &self.stream, partition.clone())?;
            let index = week::find(&set, self.definition, &id)
                .or_else(|| set.find_likely(&[(&self.definition.event.id, &id)]).map(|row| row.index))?;
            (!set.row(index).is_deleted()).then_some((partition, index))
        })
    }

    fn record(&self, partition: &BTreeMap<String, String>, index: u64, state: &SandboxState) -> Value {
        let set = RecordSet::new(self.world(state), &self.stream, partition.clone());
        set.map(|set| set.record(&set.row(index))).unwrap_or_default()
    }

    /// What a change makes of a record, with a link to the online meeting that it asks for.
    fn update_patch(&self, set: &RecordSet<'_>) -> Value {
        let mut patch = self.emulator.typed_body(set, self.given);
        let update = self.definition.update.as_ref();
        self.add_meeting(update, &mut patch);
        patch
    }

    fn add_meeting(&self, call: Option<&CalendarAction>, patch: &mut Value) {
        let asked = call.and_then(|call| {
            self.argument(call, "meeting")
                .or_else(|| self.argument(call, "with_meeting").filter(|value| *value == true))
        });
        if let (Some(at), Some(_)) = (&self.definition.event.meeting_url, asked) {
            let code = crate::hash::sha256(self.given.document.to_string().as_bytes());
            at.set(patch, json!(format!("https://meet.example.com/{}", crate::hex::encode(&code[..5]))));
        }
    }

    fn create(&self, creation: &crate::connector::EventCreation, state: &mut SandboxState) -> SandboxResponse {
        let calendar = self.text(&creation.call, "calendar");
        let Some(partition) = self.partition(calendar.as_deref(), state) else {
            return self.emulator.record_not_found(&self.stream);
        };
        let is_id = creation.key.at == self.definition.event.id;
        let id = creation.key.at.text(&self.given.document).filter(|_| is_id);
        let Some(set) = RecordSet::new(self.world(state), &self.stream, partition.clone()) else {
            return self.emulator.record_not_found(&self.stream);
        };
        // The id of an event that was deleted is never given again.
        if id.as_ref().is_some_and(|id| set.find(&[(&self.definition.event.id, id)]).is_some()) {
            return self.emulator.error_response(ErrorClass::Fail, 409, "duplicate", &self.emulator.success());
        }
        let mut patch = self.emulator.new_record(&set, self.given);
        if let Some(id) = id {
            self.definition.event.id.set(&mut patch, json!(id));
        }
        self.add_meeting(Some(&creation.call), &mut patch);
        drop(set);
        let list = ListKey { account: self.account, stream: &self.stream, partition: &partition };
        let index = state.streams.edit(&list, None, RecordEditKind::Create(patch), self.now);
        self.reply(self.record(&partition, index, state))
    }

    fn read(&self, action: &CalendarAction, state: &SandboxState) -> SandboxResponse {
        match self.find(action, state) {
            Some((partition, index)) => self.reply(self.record(&partition, index, state)),
            None => self.emulator.record_not_found(&self.stream),
        }
    }

    /// Changes or deletes an event, unless somebody else has changed it since its ETag was read.
    fn change(
        &self,
        action: &CalendarAction,
        state: &mut SandboxState,
        edit: impl Fn(&Self, &RecordSet<'_>) -> RecordEditKind,
    ) -> SandboxResponse {
        state.streams.start(self.now);
        let Some((partition, index)) = self.find(action, state) else {
            return self.emulator.record_not_found(&self.stream);
        };
        let etag = self.definition.event.etag.as_ref();
        let known = etag.and_then(|at| at.text(&self.record(&partition, index, state)));
        if self.text(action, "etag").is_some_and(|wanted| wanted != "*" && Some(wanted) != known) {
            return self.emulator.error_response(ErrorClass::Fail, 412, "conditionNotMet", &self.emulator.success());
        }
        let Some(set) = RecordSet::new(self.world(state), &self.stream, partition.clone()) else {
            return self.emulator.record_not_found(&self.stream);
        };
        let kind = edit(self, &set);
        drop(set);
        let list = ListKey { account: self.account, stream: &self.stream, partition: &partition };
        let is_deletion = matches!(kind, RecordEditKind::Delete);
        state.streams.edit(&list, Some(index), kind, self.now);
        if is_deletion {
            return SandboxResponse::empty(self.given.action.status);
        }
        self.reply(self.record(&partition, index, state))
    }

    /// The answer that is one record.
    fn reply(&self, mut record: Value) -> SandboxResponse {
        for (at, value) in self.emulator.success() {
            at.set(&mut record, value);
        }
        SandboxResponse::json(self.given.action.status, &record)
    }

    fn success(&self) -> Value {
        success_document(&self.emulator.success(), true)
    }
}
