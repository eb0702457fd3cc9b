//! What a service can be told to do, how its lists are paginated, and what it tells of by itself.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{HttpMethod, SampleRequest};
use crate::connector::{Pointer, Template};

/// Something that the service can be told to do, as `integ call` does it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// One line.
    pub about: String,
    #[serde(default = "super::oauth2::post")]
    pub method: HttpMethod,
    /// After the API's base, or a whole URL. `{name}` is a parameter of the action or a value of the connection.
    pub path: Template,
    /// The ways of authenticating that may do it; all where absent.
    #[serde(default)]
    pub auth: Vec<String>,
    /// The least scopes that it needs, all of them.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What one request costs of `rate.budget`; `rate.cost` where absent.
    #[serde(default)]
    pub cost: Option<u32>,
    #[serde(default)]
    pub params: IndexMap<String, ActionParam>,
    /// Groups of parameters; of each group at least one must be given.
    #[serde(default)]
    pub one_of: Vec<Vec<String>>,
    /// How the body is written, in place of `api.body`.
    #[serde(default)]
    pub body: Option<ActionBody>,
    /// What every body holds beside the parameters.
    #[serde(default)]
    pub fixed: IndexMap<String, Value>,
    /// Where the JSON body takes a MIME message (RFC 5322) in base64url, made of the parameters that are `in = "message"`.
    #[serde(default)]
    pub message: Option<Pointer>,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    #[serde(default)]
    pub headers: IndexMap<String, Template>,
    /// The stream whose records it reads, creates, changes or deletes, where its path does not say so: for the sandbox.
    #[serde(default)]
    pub stream: Option<String>,
    /// What makes a repeated request harmless, in place of `api.idempotency`.
    #[serde(default)]
    pub idempotency: Option<Idempotency>,
    /// The request carries no credentials: its URL holds all it needs.
    #[serde(default)]
    pub anonymous: bool,
    /// The status of a success.
    #[serde(default = "ok")]
    pub status: u16,
    /// The values of a successful answer, besides those of `api.success`: `{ "/data/issueCreate/success" = true }`.
    #[serde(default)]
    pub success: IndexMap<Pointer, Value>,
    /// The list in the answer of an action that lists.
    #[serde(default)]
    pub list: Option<Pointer>,
    /// What matters of the answer: what to call each value, and where it is.
    #[serde(default)]
    pub result: IndexMap<String, Pointer>,
}

/// One parameter of an action.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionParam {
    /// One line.
    pub about: String,
    #[serde(default, rename = "type")]
    pub kind: ParamKind,
    #[serde(default)]
    pub required: bool,
    /// Where it goes; absent: into the path where that names it, else into the body, or the query where there is none.
    #[serde(default, rename = "in")]
    pub place: Option<ParamLocation>,
    /// Where in the body, or the name in the query or the header, in place of its own name written as the API writes names.
    #[serde(default)]
    pub to: Option<Pointer>,
    /// The only values there are.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Sent where the user says nothing.
    #[serde(default)]
    pub default: Option<Value>,
    #[serde(default)]
    pub example: Option<Value>,
    /// What is sent for a plain value; the string `{value}` in it stands for the value. JSON that the user gives is sent as
    /// it is.
    #[serde(default)]
    pub wrap: Option<Value>,
    /// The same for each item of an array.
    #[serde(default)]
    pub each: Option<Value>,
    /// An array is sent as one text, its items joined by this.
    #[serde(default)]
    pub join: Option<String>,
    /// In a form, an array is sent by repeating the name, without brackets.
    #[serde(default)]
    pub repeat: bool,
}

/// The type of an action's parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    #[default]
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
    /// The path of a file, whose content is sent.
    File,
    /// Several of them.
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

/// The part of a request that a parameter goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParamLocation {
    Query,
    Body,
    Header,
    /// A part of the MIME message: from, to, cc, bcc, reply_to, subject, in_reply_to, references, text, html, attach.
    Message,
}

/// How an action's body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionBody {
    #[default]
    Json,
    /// A form; what is nested is written with brackets: `metadata[order]=1`, `items[0][price]=2`.
    Form,
    /// multipart/form-data (RFC 7578).
    Multipart,
    /// multipart/related (RFC 2387): a JSON part, then the one file.
    Related,
    /// Everything goes into the query.
    Query,
    /// An empty one; parameters go into the query.
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

/// Where a request carries the key by which the vendor knows a repetition. Takes exactly one.
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
    /// The list in an answer; where absent, the answer itself or the one list at its top.
    #[serde(default)]
    pub records: Option<Pointer>,
    /// The next cursor or URL in an answer.
    #[serde(default)]
    pub next: Option<Pointer>,
    /// The parameter that takes the cursor, the page's number, the offset or the last record's id: a query parameter, or a
    /// JSON Pointer into the request's JSON body. Page numbers and offsets may go into a stream's templates as `{page}`,
    /// `{offset}` and `{size}` instead.
    #[serde(default)]
    pub param: Option<PageParam>,
    /// The parameter that takes the page size, and the size to ask for.
    #[serde(default)]
    pub size_param: Option<PageParam>,
    #[serde(default)]
    pub size: Option<u32>,
    /// False in the last answer.
    #[serde(default)]
    pub more: Option<Pointer>,
    /// True in the last answer.
    #[serde(default)]
    pub last: Option<Pointer>,
    /// How many records there are in all, or how many pages: pages are then asked for side by side.
    #[serde(default)]
    pub total: Option<Pointer>,
    #[serde(default)]
    pub total_pages: Option<Pointer>,
    /// The last record's id, within the record.
    #[serde(default)]
    pub id: Option<Pointer>,
    /// What is added to the greatest id, where the next page begins behind it.
    #[serde(default)]
    pub plus: u32,
    /// Asking for a page tells the vendor that those before it are done with, and it forgets them.
    #[serde(default)]
    pub acknowledges: bool,
    /// The first page's number, 1 where absent; the first offset, 0 where absent.
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
    /// One answer holds it all.
    None,
    /// The `Link` header with `rel="next"` (RFC 8288).
    LinkHeader,
    /// `next` is a URL, absolute or relative.
    NextUrl,
    /// `next` is a list of links, of which the one with the `rel` `next` has the URL as its `href`.
    Links,
    /// `next` is a cursor for `param`.
    Cursor,
    /// `param` counts pages.
    Page,
    /// `param` counts records.
    Offset,
    /// `param` takes the `id` of the last record.
    LastRecord,
    /// `param` takes the greatest `id` of the page.
    MaxRecord,
}

/// Something that the service tells of by a webhook.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventDefinition {
    /// One line.
    pub about: String,
    /// The scopes without which the service does not tell.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// One as it comes over the wire, for `integ webhook simulate`.
    #[serde(default)]
    pub sample: Option<SampleRequest>,
    /// What it says of a stream's record.
    #[serde(default)]
    pub sync: Option<EventSync>,
}

/// The record that an event is about, so that what is pushed and what is pulled meet in one store.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventSync {
    pub stream: String,
    /// The whole record in the event; where absent, the stream is synced for what is new.
    #[serde(default)]
    pub record: Option<Pointer>,
    /// The record is gone.
    #[serde(default)]
    pub deleted: bool,
    /// It is gone where any of these places in the event holds one of its values; `*` for any.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub deleted_when: IndexMap<Pointer, Vec<Value>>,
    /// The values of the stream's parent, and where they are in the event: they say which of its lists it is about.
    #[serde(default)]
    pub values: IndexMap<String, Pointer>,
}

impl NameCase {
    /// A snake_case name as the API writes it. Pure.
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
