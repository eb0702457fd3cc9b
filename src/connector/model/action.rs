//! The actions of a service, how its lists are paginated, and the events that it sends.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{HttpMethod, SampleRequest};
use crate::connector::{Pointer, Template};
use crate::model::Effect;

/// An action of the service, for `integ call`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Summary, in one line.
    pub about: String,
    #[serde(default = "super::oauth2::post")]
    pub method: HttpMethod,
    /// Relative to the API's base, or a full URL. `{name}` is a parameter of the action or a value of the connection.
    pub path: Template,
    /// What it does at the service (default: `read` for GET, otherwise `destroy`).
    #[serde(default)]
    pub effect: Option<Effect>,
    /// Authentication methods that allow it (default: all).
    #[serde(default)]
    pub auth: Vec<String>,
    /// The minimal scopes that it needs, all of them.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Units of `rate.budget` that a request costs (default: `rate.cost`).
    #[serde(default)]
    pub cost: Option<u32>,
    #[serde(default)]
    pub params: IndexMap<String, ActionParam>,
    /// Groups of parameters; at least one of each group is required.
    #[serde(default)]
    pub one_of: Vec<Vec<String>>,
    /// Encoding of the body, instead of `api.body`.
    #[serde(default)]
    pub body: Option<ActionBody>,
    /// Constant members of the body.
    #[serde(default)]
    pub fixed: IndexMap<String, Value>,
    /// Where the JSON body has a MIME message (RFC 5322) in base64url, built from the parameters with `in = "message"`.
    #[serde(default)]
    pub message: Option<Pointer>,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    #[serde(default)]
    pub headers: IndexMap<String, Template>,
    /// The stream whose records it reads, creates, changes or deletes, if its path does not show it; for the sandbox.
    #[serde(default)]
    pub stream: Option<String>,
    /// Where requests have their idempotency key, instead of `api.idempotency`.
    #[serde(default)]
    pub idempotency: Option<Idempotency>,
    /// Sends no credentials, because the URL is enough.
    #[serde(default)]
    pub anonymous: bool,
    /// Status of a success.
    #[serde(default = "ok")]
    pub status: u16,
    /// Values of a successful response, besides those of `api.success`: `{ "/data/issueCreate/success" = true }`.
    #[serde(default)]
    pub success: IndexMap<Pointer, Value>,
    /// The list in the response of an action that lists.
    #[serde(default)]
    pub list: Option<Pointer>,
    /// The important values of the response: names and pointers.
    #[serde(default)]
    pub result: IndexMap<String, Pointer>,
}

impl Action {
    /// Returns what it does at the service. An action that does not say so destroys: a POST may be anything.
    pub fn effect(&self) -> Effect {
        self.effect.unwrap_or(if self.method == HttpMethod::Get { Effect::Read } else { Effect::Destroy })
    }
}

/// A parameter of an action.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionParam {
    /// Summary, in one line.
    pub about: String,
    #[serde(default, rename = "type")]
    pub kind: ParamKind,
    #[serde(default)]
    pub required: bool,
    /// Its place in the request. By default, the path if it has the parameter, otherwise the body, or the query if
    /// there is no body.
    #[serde(default, rename = "in")]
    pub place: Option<ParamLocation>,
    /// Its place in the body, or its name in the query or header, instead of its own name written as the API writes
    /// names.
    #[serde(default)]
    pub to: Option<Pointer>,
    /// Allowed values.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Sent if the user gives no value.
    #[serde(default)]
    pub default: Option<Value>,
    #[serde(default)]
    pub example: Option<Value>,
    /// JSON to send for a plain value, which replaces the string `{value}`. JSON from the user is sent unchanged.
    #[serde(default)]
    pub wrap: Option<Value>,
    /// The same for each item of an array.
    #[serde(default)]
    pub each: Option<Value>,
    /// Send an array as one text, with its items joined by this.
    #[serde(default)]
    pub join: Option<String>,
    /// In a form, send an array by repeating the name, without brackets.
    #[serde(default)]
    pub repeat: bool,
}

/// The type of an action's parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    #[default]
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
    /// The path of a file, whose contents are sent.
    File,
    /// Paths of several files.
    Files,
}

impl ParamKind {
    /// Returns the word that connector files use.
    pub fn as_str(self) -> &'static str {
        match self {
            ParamKind::String => "string",
            ParamKind::Integer => "integer",
            ParamKind::Number => "number",
            ParamKind::Boolean => "boolean",
            ParamKind::Array => "array",
            ParamKind::Object => "object",
            ParamKind::File => "file",
            ParamKind::Files => "files",
        }
    }
}

/// The part of a request that contains a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParamLocation {
    Query,
    Body,
    Header,
    /// A part of the MIME message: from, to, cc, bcc, reply_to, subject, in_reply_to, references, text, html, attach.
    Message,
}

/// Encoding of an action's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionBody {
    #[default]
    Json,
    /// A form; nested values use brackets: `metadata[order]=1`, `items[0][price]=2`.
    Form,
    /// multipart/form-data (RFC 7578).
    Multipart,
    /// multipart/related (RFC 2387): a JSON part, then one file.
    Related,
    /// All parameters are in the query.
    Query,
    /// An empty body; parameters are in the query.
    None,
}

/// How the API writes the names of parameters, which connector files write as snake_case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameCase {
    #[default]
    Snake,
    Camel,
    Pascal,
}

/// Where a request has its idempotency key. Takes exactly one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    #[serde(default)]
    pub header: Option<String>,
    #[serde(default)]
    pub query: Option<String>,
    #[serde(default)]
    pub body: Option<Pointer>,
}

/// How a list is paginated.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pagination {
    pub kind: PaginationKind,
    /// The list in a response. By default, the response itself or the only list at its top level.
    #[serde(default)]
    pub records: Option<Pointer>,
    /// The next cursor or URL in a response.
    #[serde(default)]
    pub next: Option<Pointer>,
    /// The parameter for the cursor, the page number, the offset or the last record's ID: a query parameter, or a JSON Pointer
    /// into the JSON body. A stream's templates can use `{page}`, `{offset}` and `{size}` instead.
    #[serde(default)]
    pub param: Option<PageParam>,
    /// The parameter for the page size, and the size to request.
    #[serde(default)]
    pub size_param: Option<PageParam>,
    #[serde(default)]
    pub size: Option<u32>,
    /// False in the last response.
    #[serde(default)]
    pub more: Option<Pointer>,
    /// True in the last response.
    #[serde(default)]
    pub last: Option<Pointer>,
    /// The total number of records or of pages; pages are then requested in parallel.
    #[serde(default)]
    pub total: Option<Pointer>,
    #[serde(default)]
    pub total_pages: Option<Pointer>,
    /// The ID within a record.
    #[serde(default)]
    pub id: Option<Pointer>,
    /// Added to the greatest ID to get the start of the next page.
    #[serde(default)]
    pub plus: u32,
    /// Requesting a page makes the vendor forget the earlier ones.
    #[serde(default)]
    pub acknowledges: bool,
    /// The first page number (default: 1) or offset (default: 0).
    #[serde(default)]
    pub first: Option<u32>,
}

/// Where a request says which page it wants, or of which size.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum PageParam {
    /// A parameter of the query.
    Query(String),
    /// A place in the JSON body, written as a JSON Pointer: `/variables/after`.
    Body(Pointer),
}

impl PageParam {
    /// Returns the name of the query parameter, if it is one.
    pub fn query_name(&self) -> Option<&str> {
        match self {
            Self::Query(name) => Some(name),
            Self::Body(_) => None,
        }
    }
}

impl TryFrom<String> for PageParam {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') { Pointer::parse(&text).map(Self::Body) } else { Ok(Self::Query(text)) }
    }
}

/// How the next page of a list is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaginationKind {
    /// One response contains everything.
    None,
    /// The `Link` header with `rel="next"` (RFC 8288).
    LinkHeader,
    /// `next` is a URL, absolute or relative.
    NextUrl,
    /// `next` is a list of links; the one whose `rel` is `next` has the URL as its `href`.
    Links,
    /// `param` is the cursor at `next`.
    Cursor,
    /// `param` counts pages.
    Page,
    /// `param` counts records.
    Offset,
    /// `param` is the `id` of the last record.
    LastRecord,
    /// `param` is the greatest `id` of the page.
    MaxRecord,
}

/// An event that the service sends through webhooks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventDefinition {
    /// Summary, in one line.
    pub about: String,
    /// Scopes that are needed to receive it.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// A sample as sent by the service, for `integ webhook simulate`.
    #[serde(default)]
    pub sample: Option<SampleRequest>,
    /// The record that the event is about.
    #[serde(default)]
    pub sync: Option<EventSync>,
}

/// The record that an event is about, to store it as a sync would.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventSync {
    pub stream: String,
    /// The complete record in the event. Without it, an incremental sync of the stream runs.
    #[serde(default)]
    pub record: Option<Pointer>,
    /// The record was deleted.
    #[serde(default)]
    pub deleted: bool,
    /// The record was deleted if any of these places has one of its values; `*` for any value.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub deleted_when: IndexMap<Pointer, Vec<Value>>,
    /// The values of the stream's parent and where they are in the event; they select the list.
    #[serde(default)]
    pub values: IndexMap<String, Pointer>,
}

impl NameCase {
    /// Converts a snake_case name to the API's convention. Pure.
    pub fn apply(self, name: &str) -> String {
        if self == Self::Snake {
            return name.to_owned();
        }
        let mut out = String::with_capacity(name.len());
        let mut upper = self == Self::Pascal;
        for c in name.chars() {
            match c {
                '_' => upper = true,
                c if upper => {
                    out.push(c.to_ascii_uppercase());
                    upper = false;
                }
                c => out.push(c),
            }
        }
        out
    }
}

pub(super) fn ok() -> u16 {
    200
}
