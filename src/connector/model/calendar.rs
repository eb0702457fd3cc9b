//! How a service's calendars are read and written: which of its actions do it, and what its events look like.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::connector::Pointer;

/// Places in a document and the values that one of them must hold; `*` for any.
pub type Conditions = IndexMap<Pointer, Vec<Value>>;

/// The calendars of a service, as `integ calendar` uses them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarDefinition {
    /// What an event looks like.
    pub event: EventFields,
    /// How to list the calendars of the account.
    #[serde(default)]
    pub calendars: Option<CalendarListing>,
    /// How to list what takes place in a span of time, recurring events expanded.
    pub events: EventListing,
    /// How to ask when calendars are busy; where absent, that follows from the events.
    #[serde(default)]
    pub freebusy: Option<FreeBusyQuery>,
    /// How to read one event. The action is given `{event}`, its id.
    #[serde(default)]
    pub get: Option<CalendarAction>,
    #[serde(default)]
    pub create: Option<EventCreation>,
    /// How to change an event. The action is given `{event}`, `{etag}` and what is changed.
    #[serde(default)]
    pub update: Option<CalendarAction>,
    /// How to delete an event. The action is given `{event}` and `{etag}`.
    #[serde(default)]
    pub delete: Option<CalendarAction>,
}

/// Where an event has what, and which values mean what.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventFields {
    pub id: Pointer,
    /// The same for every copy of an event in any calendar.
    #[serde(default)]
    pub uid: Option<Pointer>,
    #[serde(default)]
    pub etag: Option<Pointer>,
    #[serde(default)]
    pub title: Option<Pointer>,
    #[serde(default)]
    pub description: Option<Pointer>,
    #[serde(default)]
    pub location: Option<Pointer>,
    /// The event's page at the service.
    #[serde(default)]
    pub url: Option<Pointer>,
    /// Where to join its online meeting.
    #[serde(default)]
    pub meeting_url: Option<Pointer>,
    pub start: TimeFields,
    /// Exclusive: of an event of whole days the day after the last one.
    pub end: TimeFields,
    /// It is an event of whole days, where its times do not say so.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub all_day: Conditions,
    /// The time zone in which the days of an event of whole days begin.
    #[serde(default)]
    pub day_zone: Option<Pointer>,
    /// The recurring event that it is an occurrence of.
    #[serde(default)]
    pub series: Option<Pointer>,
    /// When the occurrence was to start by its series' rule.
    #[serde(default)]
    pub original_start: Option<TimeFields>,
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub cancelled: Conditions,
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub tentative: Conditions,
    /// It takes up no time.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub free: Conditions,
    /// Others see only that the time is taken.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub private: Conditions,
    /// Others see nothing of it.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub secret: Conditions,
    /// What the account's owner answered to the invitation; where absent, the attendee that is the owner says it.
    #[serde(default)]
    pub own_answer: Option<AnswerConditions>,
    #[serde(default)]
    pub attendees: Option<AttendeeFields>,
}

/// Where a time is written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeFields {
    /// A date and time, with its offset or as the clock of `zone` shows it.
    pub time: Pointer,
    /// A date, of an event of whole days.
    #[serde(default)]
    pub date: Option<Pointer>,
    /// The name of its time zone, of the IANA database or of Windows; a time without both is in UTC.
    #[serde(default)]
    pub zone: Option<Pointer>,
}

/// What the answers to an invitation are written as.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerConditions {
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub accepted: Conditions,
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub declined: Conditions,
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub tentative: Conditions,
}

/// Where those are who were invited; the pointers lead from each of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttendeeFields {
    pub list: Pointer,
    pub email: Pointer,
    #[serde(default)]
    pub name: Option<Pointer>,
    /// It is the account's owner.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub own: Conditions,
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub optional: Conditions,
    pub answer: AnswerConditions,
}

/// One of the connector's actions, and what it is called with.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarAction {
    pub action: String,
    /// The action for a calendar that is named, where that is another one.
    #[serde(default)]
    pub in_calendar: Option<String>,
    /// The action's parameters. `{name}` stands for a value, and a parameter that names a value that is not there is left
    /// out. Every action may name `{calendar}`; the guide lists what each one may name beside it.
    #[serde(default)]
    pub params: IndexMap<String, Value>,
    /// What the service calls the values of `{show_as}` and `{privacy}`, by the name of the placeholder.
    #[serde(default)]
    pub words: IndexMap<String, IndexMap<String, String>>,
}

/// The action that lists calendars, and where it has what of each.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarListing {
    pub call: CalendarAction,
    pub id: Pointer,
    pub name: Pointer,
    #[serde(default)]
    pub zone: Option<Pointer>,
    /// It is the one that is meant where none is named.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub default: Conditions,
    /// Events can be added to it; every calendar where absent.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub writable: Conditions,
}

/// The action that lists the events of a calendar, recurring events expanded. It is given `{from}` and `{to}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventListing {
    pub call: CalendarAction,
    /// The calendar's time zone in an answer.
    #[serde(default)]
    pub zone: Option<Pointer>,
    /// Days that one request may span.
    #[serde(default)]
    pub max_days: Option<u32>,
}

/// The action that says when calendars are busy. It is given `{calendars}`, `{from}` and `{to}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreeBusyQuery {
    pub call: CalendarAction,
    /// The id by which it knows the default calendar.
    #[serde(default)]
    pub default_calendar: Option<String>,
    /// It is asked only about calendars that are named by an e-mail address: those of other people.
    #[serde(default)]
    pub addresses_only: bool,
    /// Calendars that one request may ask about.
    pub max_calendars: u32,
    /// Days that one request may span.
    #[serde(default)]
    pub max_days: Option<u32>,
    /// The calendars in an answer: an object by their ids, or a list if `calendar` is given.
    pub answer: Pointer,
    /// The id of a calendar in the list.
    #[serde(default)]
    pub calendar: Option<Pointer>,
    /// The busy spans of a calendar.
    pub busy: Pointer,
    /// Why the calendar could not be looked at.
    pub errors: Pointer,
    pub start: TimeFields,
    pub end: TimeFields,
    /// A span that takes up no time.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub free: Conditions,
}

/// The action that adds an event.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventCreation {
    pub call: CalendarAction,
    /// How an event is found that was added by a request whose answer is lost.
    pub key: CreationKey,
}

/// The key by which the service knows that a request was sent twice.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreationKey {
    /// Where the event has it.
    pub at: Pointer,
    pub format: CreationKeyFormat,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreationKeyFormat {
    /// The digits and the letters a to v (RFC 4648 section 7), in lower case.
    Base32hex,
    Uuid,
}
