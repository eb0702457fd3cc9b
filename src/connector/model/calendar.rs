//! How to read and write a service's calendars: the actions to use, and what its events look like.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::connector::Pointer;

/// Places in a document, each with values of which it must have one; `*` for any value.
pub type Conditions = IndexMap<Pointer, Vec<Value>>;

/// The calendars of a service, for `integ calendar`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarDefinition {
    /// What an event looks like.
    pub event: EventFields,
    /// How to list the account's calendars.
    #[serde(default)]
    pub calendars: Option<CalendarListing>,
    /// How to list the events in a time range, with recurring events expanded.
    pub events: EventListing,
    /// How to request busy times. Without it, they are computed from the events.
    #[serde(default)]
    pub freebusy: Option<FreeBusyQuery>,
    /// How to read an event. The action gets `{event}`, its ID.
    #[serde(default)]
    pub get: Option<CalendarAction>,
    #[serde(default)]
    pub create: Option<EventCreation>,
    /// How to change an event. The action gets `{event}`, `{etag}` and the changes.
    #[serde(default)]
    pub update: Option<CalendarAction>,
    /// How to delete an event. The action gets `{event}` and `{etag}`.
    #[serde(default)]
    pub delete: Option<CalendarAction>,
}

/// Where the properties of an event are, and what their values mean.
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
    /// Exclusive: for an all-day event, the day after the last one.
    pub end: TimeFields,
    /// Marks an all-day event, if its times do not show it.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub all_day: Conditions,
    /// The time zone of the dates of an all-day event.
    #[serde(default)]
    pub day_zone: Option<Pointer>,
    /// The recurring event that it is an occurrence of.
    #[serde(default)]
    pub series: Option<Pointer>,
    /// When the rule of its series scheduled the occurrence.
    #[serde(default)]
    pub original_start: Option<TimeFields>,
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub cancelled: Conditions,
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub tentative: Conditions,
    /// It does not block time.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub free: Conditions,
    /// Others only see that the time is blocked.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub private: Conditions,
    /// Others do not see it.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub secret: Conditions,
    /// The response of the account's owner. By default, taken from the owner's entry in the attendees.
    #[serde(default)]
    pub own_answer: Option<AnswerConditions>,
    #[serde(default)]
    pub attendees: Option<AttendeeFields>,
}

/// Where a time is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeFields {
    /// A date and time, with its offset or in the time zone `zone`.
    pub time: Pointer,
    /// The date of an all-day event.
    #[serde(default)]
    pub date: Option<Pointer>,
    /// The name of its time zone, from the IANA database or Windows. A time without offset and zone is in UTC.
    #[serde(default)]
    pub zone: Option<Pointer>,
}

/// The values of the responses to an invitation.
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

/// Where the attendees are; the other pointers start at each of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttendeeFields {
    pub list: Pointer,
    pub email: Pointer,
    #[serde(default)]
    pub name: Option<Pointer>,
    /// Marks the account's owner.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub own: Conditions,
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub optional: Conditions,
    pub answer: AnswerConditions,
}

/// One of the connector's actions, with its parameters.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarAction {
    pub action: String,
    /// The action for a named calendar, if it is another one.
    #[serde(default)]
    pub in_calendar: Option<String>,
    /// The action's parameters. `{name}` is replaced by a value; a parameter whose value is missing is omitted. Every
    /// action can use `{calendar}`; the guide lists the other values of each.
    #[serde(default)]
    pub params: IndexMap<String, Value>,
    /// The service's words for the values of `{show_as}` and `{privacy}`, by the name of the placeholder.
    #[serde(default)]
    pub words: IndexMap<String, IndexMap<String, String>>,
}

/// The action that lists calendars, and where the properties of each are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarListing {
    pub call: CalendarAction,
    pub id: Pointer,
    pub name: Pointer,
    #[serde(default)]
    pub zone: Option<Pointer>,
    /// Marks the default calendar.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub default: Conditions,
    /// Events can be created in it (default: in every calendar).
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub writable: Conditions,
}

/// The action that lists the events of a calendar, with recurring events expanded. It gets `{from}` and `{to}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventListing {
    pub call: CalendarAction,
    /// The calendar's time zone in a response.
    #[serde(default)]
    pub zone: Option<Pointer>,
    /// The maximum number of days of a request.
    #[serde(default)]
    pub max_days: Option<u32>,
}

/// The action that returns busy times. It gets `{calendars}`, `{from}` and `{to}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreeBusyQuery {
    pub call: CalendarAction,
    /// The service's ID for the default calendar.
    #[serde(default)]
    pub default_calendar: Option<String>,
    /// Only calendars given by e-mail address, those of other people, can be requested.
    #[serde(default)]
    pub addresses_only: bool,
    /// The maximum number of calendars of a request.
    pub max_calendars: u32,
    /// The maximum number of days of a request.
    #[serde(default)]
    pub max_days: Option<u32>,
    /// The calendars in a response: an object keyed by their IDs, or a list if `calendar` is given.
    pub answer: Pointer,
    /// The ID of a calendar in the list.
    #[serde(default)]
    pub calendar: Option<Pointer>,
    /// The busy times of a calendar.
    pub busy: Pointer,
    /// Why a calendar could not be read.
    pub errors: Pointer,
    pub start: TimeFields,
    pub end: TimeFields,
    /// An entry that does not block time.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub free: Conditions,
}

/// The action that creates an event.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventCreation {
    pub call: CalendarAction,
    /// How to find an event whose creation got no response.
    pub key: CreationKey,
}

/// The key by which the service recognizes a retry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreationKey {
    /// Where the event has it.
    pub at: Pointer,
    pub format: CreationKeyFormat,
}

/// Format of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreationKeyFormat {
    /// The digits and the letters a to v (RFC 4648 section 7), in lower case.
    Base32hex,
    Uuid,
}
