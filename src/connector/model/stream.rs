//! What can be pulled from a service: kinds of records, how they are listed, and how to ask only for what is new.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{HttpMethod, Pagination, Param};
use crate::connector::{Pointer, Template};

/// A kind of record, as `integ sync` pulls it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// One line.
    pub about: String,
    #[serde(default)]
    pub method: HttpMethod,
    /// After the API's base, or a whole URL. `{name}` is a value of the connection, a parameter of the stream or a value of
    /// the parent; here as in `query`, `headers` and `body`.
    pub path: Template,
    /// The ways of authenticating that may list it; all where absent.
    #[serde(default)]
    pub auth: Vec<String>,
    /// The least scopes that it needs, all of them.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What the user gives for it; kept for later runs.
    #[serde(default)]
    pub params: IndexMap<String, Param>,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    #[serde(default)]
    pub headers: IndexMap<String, Template>,
    /// The JSON body of a list that is read by POST; its strings are templates.
    #[serde(default)]
    pub body: Option<Value>,
    /// Where the records are: each place a list. A part `*` stands for every item, and what is below it, like the answer
    /// itself, may be one record in place of a list. Where absent, the answer itself or the one list at its top. An answer
    /// without such a list is an error.
    #[serde(default)]
    pub records: Vec<Pointer>,
    /// What marks an answer without the list as an empty list, for services that leave an empty list out: any of these
    /// places holds one of its values; `*` for any.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub empty: IndexMap<Pointer, Vec<Value>>,
    /// Records of the list that are left out: any of these places holds one of its values, whose strings are templates.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub omit: IndexMap<Pointer, Vec<Value>>,
    /// The parts of a record's key. None: the row's number, of a `table`.
    #[serde(default)]
    pub key: Vec<Pointer>,
    /// Members that every record is given, where it does not carry them: as a rule the parent's values.
    #[serde(default)]
    pub add: IndexMap<String, Template>,
    /// Records are no objects: the member that each becomes.
    #[serde(default)]
    pub scalar: Option<String>,
    /// The list is a table: rows of cells, of which the first that is not blank names the columns. `_row` counts from the
    /// first row. A column without a name is `column_N`, a second one of the same name `NAME_2`.
    #[serde(default)]
    pub table: bool,
    /// What marks a record as gone: any of these places holds one of its values; `*` for any.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub deleted: IndexMap<Pointer, Vec<Value>>,
    /// What speaks against `deleted`: a record where any of these places holds one of its values is there all the same.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub deleted_unless: IndexMap<Pointer, Vec<Value>>,
    /// Where a record has the keys of the records that became part of it, each place a list, or a text with `;` between
    /// them: links follow them.
    #[serde(default)]
    pub merged: Vec<Pointer>,
    /// The vendor forgets old records: what it no longer lists is not gone.
    #[serde(default)]
    pub forgets: bool,
    /// How the list is paginated, in place of `api.pages`.
    #[serde(default)]
    pub pages: Option<Pagination>,
    /// How to ask for what is new, by the time or the number of records.
    #[serde(default)]
    pub incremental: Option<Incremental>,
    /// How to ask for what is new, by a token of the vendor.
    #[serde(default)]
    pub token: Option<SyncToken>,
    /// The streams whose records this one is listed for. The user may give all of `values` instead.
    #[serde(default)]
    pub parents: Vec<ParentStream>,
    /// The list tells only which records there are: how to fetch each.
    #[serde(default)]
    pub detail: Option<DetailRequest>,
    /// Answers that mean that there is nothing to list here, or nothing for this account.
    #[serde(default)]
    pub skip: Vec<SkipRule>,
    /// What one request costs of `rate.budget`; `rate.cost` where absent.
    #[serde(default)]
    pub cost: Option<u32>,
    /// What an incremental sync does not look for, and how to have it looked for: a sentence that a sync prints, in which
    /// `{name}` is the connection.
    #[serde(default)]
    pub overlooks: Option<String>,
    /// One record as the vendor writes it, for the sandbox: JSON whose strings may name what samples of events may, the
    /// parent's values, and what the format's guide lists for records: numbers, codes, people, titles, amounts, times.
    #[serde(default)]
    pub sample: Option<String>,
}

/// Asking for what is newer than the newest that is known.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    /// What a record is newer by.
    pub at: Pointer,
    #[serde(default)]
    pub format: CursorFormat,
    /// How `{since}` and `{until}` are written where requests write them otherwise than records do.
    #[serde(default)]
    pub write: Option<CursorFormat>,
    /// What requests carry where there is a cursor, over the stream's own. `{since}` is the cursor, included; `{until}` the
    /// end, which is now unless the run has another.
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// Laid over the stream's body.
    #[serde(default)]
    pub body: Option<Value>,
    /// What requests carry where the run has an end of its own: `{until}`.
    #[serde(default)]
    pub until: IndexMap<String, Template>,
    /// The list comes newest first, and nothing filters it: reading stops at the first page without anything new.
    #[serde(default)]
    pub newest_first: bool,
    /// The list comes oldest first: after this many records it is requested again from the newest one, so that records which
    /// change meanwhile, and move, are not missed; also where the vendor ends a list.
    #[serde(default)]
    pub restart_after: Option<u32>,
    /// How to list a moment that more than `restart_after` records share, where the vendor ends a list there.
    #[serde(default)]
    pub ties: Option<CursorTieBreak>,
    /// How much before the cursor is asked for again, once in a sync: in seconds, or in numbers.
    #[serde(default)]
    pub lookback: u32,
    /// The longest time that one list may cover. Both ends are then always said, the first list begins `earliest_secs` ago.
    #[serde(default)]
    pub window_secs: Option<u32>,
    #[serde(default)]
    pub earliest_secs: Option<u32>,
}

/// Listing the records of one moment by a second key, and then what is newer than the moment.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CursorTieBreak {
    /// The second key within a record: a number that no two records share.
    pub at: Pointer,
    /// What the first request carries as `{after}`.
    pub from: String,
    /// What requests for records of the moment `{since}` whose second key is greater than `{after}` carry, over
    /// `incremental.query`, in the order of that key.
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// Laid over the stream's body in place of `incremental.body`.
    #[serde(default)]
    pub body: Option<Value>,
    /// What requests for records newer than the moment `{since}` carry.
    pub past: NewerThanQuery,
}

/// Asking for what is newer than a moment, without that moment.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewerThanQuery {
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    #[serde(default)]
    pub body: Option<Value>,
}

/// How times, or what takes their place, are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CursorFormat {
    /// RFC 3339; without an offset it is UTC.
    #[default]
    Rfc3339,
    /// RFC 2822.
    Rfc2822,
    /// A day: 2026-11-20.
    Date,
    /// Seconds of Unix time, with or without decimals.
    Unix,
    UnixMs,
    /// A number that grows, however long.
    Integer,
    /// By its letters.
    Text,
    /// `strftime`, in UTC: for `write` alone.
    Strftime(String),
}

/// Asking for what changed since a token that the vendor gave.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncToken {
    /// Where an answer, as a rule the last page's, holds the next token.
    pub at: Pointer,
    /// The token is a URL, called as it is.
    #[serde(default)]
    pub url: bool,
    /// What requests carry where there is a token, over the stream's own: `{token}`.
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// What they do not carry then, of the stream's own query.
    #[serde(default)]
    pub without: Vec<String>,
    /// Where changes are listed, if not at the stream's path, and where they are in the answer.
    #[serde(default)]
    pub path: Option<Template>,
    #[serde(default)]
    pub records: Vec<Pointer>,
    /// Where that answer tells of records that are gone.
    #[serde(default)]
    pub gone: Option<DeletionMarker>,
    /// Asked before a full list, for the token that later changes begin with.
    #[serde(default)]
    pub first: Option<InitialToken>,
    /// Statuses that say that the token is too old, beside the class `cursor_expired`.
    #[serde(default)]
    pub expired: Vec<u16>,
}

/// The request for a first sync token, and where its answer holds that token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitialToken {
    pub path: Template,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    pub at: Pointer,
}

/// Records that are gone, told apart from the others.
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

/// A stream whose records are each listed for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParentStream {
    /// Another stream of the connector; this one itself for trees.
    pub stream: String,
    /// What templates may name, and where it is in the parent's record.
    pub values: IndexMap<String, Pointer>,
    /// Only of records where every place holds one of its values; `*` for any.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub when: IndexMap<Pointer, Vec<Value>>,
    /// Only of records that changed since.
    #[serde(default)]
    pub changed: bool,
}

/// How one record is fetched.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetailRequest {
    pub path: Template,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// What its templates may name, and where it is in the listed record.
    pub values: IndexMap<String, Pointer>,
    /// A record never changes: one that is known is not fetched again, unless a change was told.
    #[serde(default)]
    pub once: bool,
}

/// An answer that is neither a list nor a failure.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SkipRule {
    /// Any of these HTTP statuses; any status where absent.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Places in the body, all of which must hold one of their values.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub body: IndexMap<Pointer, Vec<Value>>,
}
