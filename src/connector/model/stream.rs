//! What can be synced from a service: kinds of records, how to list them, and how to request only changes.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{HttpMethod, Pagination, Param, RecordWriting};
use crate::connector::{Pointer, Template};

/// A kind of record, for `integ sync`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Summary, in one line.
    pub about: String,
    #[serde(default)]
    pub method: HttpMethod,
    /// Relative to the API's base, or a full URL. `{name}` is a value of the connection, a parameter of the stream or a
    /// value of the parent; the same in `query`, `headers` and `body`.
    pub path: Template,
    /// Authentication methods that allow listing it (default: all).
    #[serde(default)]
    pub auth: Vec<String>,
    /// The minimal scopes that it needs, all of them.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Values that the user gives for it, stored for later runs.
    #[serde(default)]
    pub params: IndexMap<String, Param>,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    #[serde(default)]
    pub headers: IndexMap<String, Template>,
    /// The JSON body of a list requested by POST; its strings are templates.
    #[serde(default)]
    pub body: Option<Value>,
    /// Where the lists of records are. `*` as a part matches every item; below it, and at the top level, one record is
    /// accepted in place of a list. By default, the response itself or the only list at its top level. A response
    /// without such a list is an error.
    #[serde(default)]
    pub records: Vec<Pointer>,
    /// Marks a response without the list as an empty list, for services that omit empty lists: any of these places must
    /// have one of its values; `*` for any value.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub empty: IndexMap<Pointer, Vec<Value>>,
    /// Records of the list to ignore: any of these places has one of its values, which are templates.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub omit: IndexMap<Pointer, Vec<Value>>,
    /// The parts of a record's key. None for a `table`, whose key is the row number.
    #[serde(default)]
    pub key: Vec<Pointer>,
    /// Members to add to records that do not have them, usually the parent's values.
    #[serde(default)]
    pub add: IndexMap<String, Template>,
    /// Records are not objects: the member that each value becomes.
    #[serde(default)]
    pub scalar: Option<String>,
    /// The list is a table, with rows of cells; the first row that is not blank contains the column names. `_row`
    /// counts from the first row. A column without a name is `column_N`, a second one of the same name `NAME_2`.
    #[serde(default)]
    pub table: bool,
    /// Marks a record as deleted: any of these places must have one of its values; `*` for any value.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub deleted: IndexMap<Pointer, Vec<Value>>,
    /// Overrides `deleted`: a record in which any of these places has one of its values is not deleted.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub deleted_unless: IndexMap<Pointer, Vec<Value>>,
    /// Where a record has the keys of the records that were merged into it: lists, or texts separated by `;`. Links
    /// follow them.
    #[serde(default)]
    pub merged: Vec<Pointer>,
    /// The vendor forgets old records: records that are no longer listed are not marked as deleted.
    #[serde(default)]
    pub forgets: bool,
    /// How the list is paginated, instead of `api.pages`.
    #[serde(default)]
    pub pages: Option<Pagination>,
    /// How to request changes by the time or number of records.
    #[serde(default)]
    pub incremental: Option<Incremental>,
    /// How to request changes with a token from the vendor.
    #[serde(default)]
    pub token: Option<SyncToken>,
    /// Parent streams: this stream is listed once for each of their records. The user can give all of `values` instead.
    #[serde(default)]
    pub parents: Vec<ParentStream>,
    /// How to fetch each record, if the list only contains references.
    #[serde(default)]
    pub detail: Option<DetailRequest>,
    /// Responses that mean that there is nothing to list here, or nothing for this account.
    #[serde(default)]
    pub skip: Vec<SkipRule>,
    /// Units of `rate.budget` that a request costs (default: `rate.cost`).
    #[serde(default)]
    pub cost: Option<u32>,
    /// A sentence that a sync prints: what an incremental sync does not find, and the command that does. `{name}` is
    /// the connection.
    #[serde(default)]
    pub overlooks: Option<String>,
    /// How to write records, for two-way bindings.
    #[serde(default)]
    pub write: Option<Box<RecordWriting>>,
    /// A record as the vendor writes it, for the sandbox: JSON whose strings can use the names of event samples, the
    /// parent's values, and the names that the guide lists for records: numbers, codes, people, titles, amounts, times.
    #[serde(default)]
    pub sample: Option<String>,
}

/// How to request records newer than the newest stored one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    /// The value that orders records by age.
    pub at: Pointer,
    #[serde(default)]
    pub format: CursorFormat,
    /// Format of `{since}` and `{until}` in requests, if it differs from that of records.
    #[serde(default)]
    pub write: Option<CursorFormat>,
    /// Added to requests if there is a cursor; overrides the stream's own. `{since}` is the cursor (inclusive);
    /// `{until}` is the end: now, unless the run has another.
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// Merged into the stream's body.
    #[serde(default)]
    pub body: Option<Value>,
    /// Added to requests if the run has its own end: `{until}`.
    #[serde(default)]
    pub until: IndexMap<String, Template>,
    /// The list is newest first and cannot be filtered: reading stops at the first page without anything new.
    #[serde(default)]
    pub newest_first: bool,
    /// The list is oldest first: after this many records it is requested again from the newest one, so that records
    /// that change and move meanwhile are not missed; also if the vendor ends a list.
    #[serde(default)]
    pub restart_after: Option<u32>,
    /// How to list a time that more than `restart_after` records share, if the vendor ends a list there.
    #[serde(default)]
    pub ties: Option<CursorTieBreak>,
    /// How far before the cursor to request again, once per sync: in seconds, or in numbers.
    #[serde(default)]
    pub lookback: u32,
    /// The longest time range of a request. Both ends are then always sent, and the first range starts `earliest_secs`
    /// ago.
    #[serde(default)]
    pub window_secs: Option<u32>,
    #[serde(default)]
    pub earliest_secs: Option<u32>,
}

/// How to list the records of one time by a second key, and then newer records.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CursorTieBreak {
    /// The second key within a record: a unique number.
    pub at: Pointer,
    /// The value of `{after}` in the first request.
    pub from: String,
    /// Added to requests for records with the time `{since}` and a second key greater than `{after}`, ordered by that
    /// key; overrides `incremental.query`.
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// Merged into the stream's body instead of `incremental.body`.
    #[serde(default)]
    pub body: Option<Value>,
    /// Added to requests for records newer than the time `{since}`.
    pub past: NewerThanQuery,
}

/// How to request records newer than a time, excluding that time.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewerThanQuery {
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    #[serde(default)]
    pub body: Option<Value>,
}

/// Format of times, or of what is used instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CursorFormat {
    /// RFC 3339; without an offset it is UTC.
    #[default]
    Rfc3339,
    /// RFC 2822.
    Rfc2822,
    /// A date: 2026-11-20.
    Date,
    /// Seconds of Unix time, with or without decimals.
    Unix,
    UnixMs,
    /// An increasing number of any length.
    Integer,
    /// A text, compared by its characters.
    Text,
    /// `strftime`, in UTC; only for `write`.
    Strftime(String),
}

/// How to request changes since a token from the vendor.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncToken {
    /// Where a response (usually the last page) has the next token.
    pub at: Pointer,
    /// The token is a URL, requested as it is.
    #[serde(default)]
    pub url: bool,
    /// Added to requests if there is a token; overrides the stream's own: `{token}`.
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// Parameters of the stream's query to omit then.
    #[serde(default)]
    pub without: Vec<String>,
    /// Where changes are listed, if not at the stream's path, and where they are in the response.
    #[serde(default)]
    pub path: Option<Template>,
    #[serde(default)]
    pub records: Vec<Pointer>,
    /// Where that response lists deleted records.
    #[serde(default)]
    pub gone: Option<DeletionMarker>,
    /// Requested before a full list, for the token from which later changes start.
    #[serde(default)]
    pub first: Option<InitialToken>,
    /// Statuses that mean that the token has expired, in addition to the class `cursor_expired`.
    #[serde(default)]
    pub expired: Vec<u16>,
}

/// The request for a first sync token, and where its response has the token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitialToken {
    pub path: Template,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    pub at: Pointer,
}

/// Deleted records that are listed separately.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeletionMarker {
    pub at: Vec<Pointer>,
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub when: IndexMap<Pointer, Vec<Value>>,
    /// The parts of the record's key in them.
    pub key: Vec<Pointer>,
}

/// A parent stream: another stream is listed once for each of its records.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParentStream {
    /// Another stream of the connector; for trees, also this stream itself.
    pub stream: String,
    /// Values for templates, and where they are in the parent's record.
    pub values: IndexMap<String, Pointer>,
    /// Only for records in which every place has one of its values; `*` for any value.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub when: IndexMap<Pointer, Vec<Value>>,
    /// Only for records that have changed since the last sync.
    #[serde(default)]
    pub changed: bool,
}

/// How to fetch one record.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailRequest {
    pub path: Template,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// Values for its templates, and where they are in the listed record.
    pub values: IndexMap<String, Pointer>,
    /// Records never change: a stored one is not fetched again, unless a change is reported.
    #[serde(default)]
    pub once: bool,
}

/// A response that is neither a list nor a failure.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SkipRule {
    /// Any of these HTTP statuses (default: any status).
    #[serde(default)]
    pub status: Vec<u16>,
    /// Places in the body, all of which must have one of their values.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub body: IndexMap<Pointer, Vec<Value>>,
}
