//! Checks the consistency of a connector's `[calendar]`.

use serde_json::Value;

use super::Diagnostics;
use crate::connector::{Action, CalendarAction, CalendarDefinition, Connector};
use crate::near::did_you_mean_or_list;

/// What a query's parameters may name.
const WINDOW: &[&str] = &["from", "to", "from_utc", "to_utc"];

/// What the parameters of an event's action may name.
const EVENT: &[&str] = &["event", "etag"];

/// What the parameters of a change may name.
const CHANGES: &[&str] = &[
    "key",
    "title",
    "description",
    "location",
    "start",
    "start_zone",
    "start_date",
    "start_local",
    "start_local_zone",
    "end",
    "end_zone",
    "end_date",
    "end_local",
    "end_local_zone",
    "all_day",
    "attendees",
    "show_as",
    "privacy",
    "meeting",
    "with_meeting",
];

pub(super) fn check(connector: &Connector, found: &mut Diagnostics) {
    let Some(calendar) = connector.calendar.as_deref() else { return };
    let CalendarDefinition { calendars, events, freebusy, get, create, update, delete, .. } = calendar;
    let mut checker = CalendarChecker { connector, found };
    if let Some(listing) = calendars {
        checker.list("calendar.calendars.call", &listing.call, &[]);
    }
    checker.list("calendar.events.call", &events.call, &[WINDOW]);
    if let Some(query) = freebusy {
        checker.call("calendar.freebusy.call", &query.call, &[WINDOW, &["calendars"]]);
        if query.max_calendars == 0 || query.max_days == Some(0) {
            checker.say("calendar.freebusy", "max_calendars and max_days are at least 1");
        }
    }
    if let Some(call) = get {
        checker.call("calendar.get", call, &[EVENT]);
    }
    if let Some(creation) = create {
        checker.call("calendar.create.call", &creation.call, &[CHANGES]);
    }
    for (key, call, names) in [("calendar.update", update, [EVENT, CHANGES]), ("calendar.delete", delete, [EVENT, &[]])]
    {
        let Some(call) = call else { continue };
        checker.call(key, call, &names);
        if get.is_none() {
            checker.say(key, "needs calendar.get: an event is read before it is changed");
        }
    }
}

struct CalendarChecker<'c, 'f> {
    connector: &'c Connector,
    found: &'f mut Diagnostics,
}

impl<'c> CalendarChecker<'c, '_> {
    fn say(&mut self, key: &str, message: impl Into<String>) {
        self.found.push((key.to_owned(), message.into()));
    }

    /// A call that returns a list.
    fn list(&mut self, key: &str, call: &'c CalendarAction, names: &[&[&str]]) {
        for (place, name, action) in self.call(key, call, names) {
            if action.list.is_none() {
                self.say(&format!("{key}.{place}"), format!("{name} does not say where its list is: give it a list"));
            }
        }
    }

    /// Checks a call, and returns the actions that it names.
    fn call(
        &mut self,
        key: &str,
        call: &'c CalendarAction,
        names: &[&[&str]],
    ) -> Vec<(&'static str, &'c str, &'c Action)> {
        let mut actions = Vec::new();
        let named = [("action", Some(&call.action)), ("in_calendar", call.in_calendar.as_ref())];
        for (place, name) in named.into_iter().filter_map(|(place, name)| Some((place, name?))) {
            match self.connector.actions.get(name) {
                Some(action) => actions.push((place, name.as_str(), action)),
                None => {
                    let known = did_you_mean_or_list(name, self.connector.actions.keys().map(String::as_str));
                    self.say(&format!("{key}.{place}"), format!("{name:?} is not an action{known}"));
                }
            }
        }
        for (param, template) in &call.params {
            // What names a calendar is left out where none is meant, and is of the action for a calendar alone.
            let needed = actions.iter().filter(|(place, ..)| {
                *place == "in_calendar" || !names_calendar(template) || call.in_calendar.is_none()
            });
            for (_, name, action) in needed.copied().collect::<Vec<_>>() {
                if !action.params.contains_key(param) {
                    let known = did_you_mean_or_list(param, action.params.keys().map(String::as_str));
                    self.say(&format!("{key}.params.{param}"), format!("{name} has no parameter {param:?}{known}"));
                }
            }
            for placeholder in placeholders(template) {
                let is_known = placeholder == "calendar" || names.iter().any(|names| names.contains(&placeholder));
                if !is_known {
                    let known = names.iter().flat_map(|names| names.iter().copied()).chain(["calendar"]);
                    let known = did_you_mean_or_list(placeholder, known.collect::<Vec<_>>());
                    self.say(
                        &format!("{key}.params.{param}"),
                        format!("{{{placeholder}}} is not a value of this call{known}"),
                    );
                }
            }
        }
        for (place, name, action) in &actions {
            let missing = action.params.iter().find(|(param, rule)| rule.required && !call.params.contains_key(*param));
            if let Some((param, _)) = missing {
                self.say(&format!("{key}.{place}"), format!("{name} needs {param:?}, which params does not give"));
            }
        }
        actions
    }
}

/// The names that a template's strings are: each a placeholder alone.
fn placeholders(template: &Value) -> Vec<&str> {
    match template {
        Value::String(text) => text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).into_iter().collect(),
        Value::Array(items) => items.iter().flat_map(placeholders).collect(),
        Value::Object(members) => members.values().flat_map(placeholders).collect(),
        _ => Vec::new(),
    }
}

fn names_calendar(template: &Value) -> bool {
    placeholders(template).contains(&"calendar")
}
