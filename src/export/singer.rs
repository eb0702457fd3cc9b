//! Messages of the Singer specification (<https://hub.meltano.com/singer/spec>): what a tap writes and a target loads.
//!
//! integ's records are in its store, so that a tap has nothing to ask a vendor for: it sends what changed after a version of
//! the store, oldest change first. A STATE says up to which version all was sent; the target repeats it once it has
//! loaded everything before it, and only what it repeated counts. Records have the shape of every format, but for
//! `_sdc_deleted_at`, which targets know and which takes the place of `_deleted_at`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::Columns;
use super::shape::{CHANGED_AT, FIRST_SEEN_AT, KEY, VERSION, joined, member_name, object};
use crate::connector::Stream;
use crate::json::without_lone_surrogates;
use crate::model::{RecordId, StoredRecord, StreamId};
use crate::store::{Store, StoreError};

/// When a record was found to be deleted; the name is the convention of Singer's targets.
const DELETED_AT: &str = "_sdc_deleted_at";

/// Records that are taken from the store at once, and about as many between two states.
const PAGE_SIZE: u32 = 1_000;

/// The value of a STATE message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingerState {
    /// The store that the versions are of, and the connection in it.
    pub store_id: String,
    pub connection: String,
    /// By the stream's name.
    pub bookmarks: BTreeMap<String, Bookmark>,
}

/// Up to where all of a stream was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bookmark {
    pub version: u64,
}

impl SingerState {
    /// The last state among the lines that a target wrote; absent where there is none. A line that was cut off as it was
    /// written is none.
    ///
    /// # Errors
    /// Where there is something, and none of it is a state.
    pub fn last(text: &str) -> serde_json::Result<Option<Self>> {
        let state = |text| serde_json::from_str::<Self>(text);
        if let Some(last) = text.lines().rev().find_map(|line| state(line).ok()) {
            return Ok(Some(last));
        }
        match state(text) {
            Err(_) if !text.trim_start().contains('\n') => Ok(None),
            whole => whole.map(Some),
        }
    }

    /// Whether the versions mean something to this store.
    pub async fn belongs_to(&self, store: &dyn Store, connection: &str) -> Result<bool, StoreError> {
        let sequence = store.version().await?;
        let is_known = self.bookmarks.values().all(|bookmark| bookmark.version <= sequence);
        Ok(is_known && self.store_id == store.id() && self.connection == connection)
    }

    fn message(&self) -> String {
        json!({ "type": "STATE", "value": self }).to_string()
    }
}

/// A stream that is sent.
pub struct SingerStream<'a> {
    pub store: &'a dyn Store,
    pub id: StreamId,
    pub name: &'a str,
    pub stream: &'a Stream,
}

impl SingerStream<'_> {
    /// Hands over the messages of what changed after the state, and moves it on. False of `each` ends it.
    ///
    /// # Errors
    /// Those of the store and of `each`.
    pub async fn send<E: From<StoreError>>(
        &self,
        state: &mut SingerState,
        mut each: impl FnMut(&str) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let since = state.bookmarks.get(self.name).copied().unwrap_or_default().version;
        let mut last = None;
        loop {
            let page = self.store.records().changes(self.id, since, last, PAGE_SIZE).await?;
            let Some(end) = page.last() else { break };
            if last.is_none() && !each(&self.schema().await?)? {
                return Ok(false);
            }
            last = Some((end.version, end.id));
            for record in &page {
                if !each(&self.record(record))? {
                    return Ok(false);
                }
            }
            // The next page may begin with others of the same version.
            let sent = page.iter().map(|record| record.version).rfind(|version| *version < end.version);
            if let Some(version) = sent {
                state.bookmarks.insert(self.name.to_owned(), Bookmark { version });
                if !each(&state.message())? {
                    return Ok(false);
                }
            }
        }
        let version = last.map_or(since, |(version, _)| version);
        state.bookmarks.insert(self.name.to_owned(), Bookmark { version });
        each(&state.message())
    }

    /// The SCHEMA message: what the members of all records of the stream hold.
    async fn schema(&self) -> Result<String, StoreError> {
        let mut columns = Columns::default();
        let mut last: Option<(u64, RecordId)> = None;
        loop {
            let page = self.store.records().changes(self.id, 0, last, PAGE_SIZE).await?;
            let Some(end) = page.last() else { break };
            last = Some((end.version, end.id));
            page.iter().for_each(|record| columns.add(&record.json));
        }
        let mut properties = Map::new();
        for (name, types) in columns.0 {
            let (is_time, types) =
                (types.is_time(), std::iter::once("null").chain(types.json_schema_types()).collect::<Vec<_>>());
            let mut schema = json!({ "type": types });
            if types.contains(&"array") {
                schema["items"] = json!({});
            }
            if is_time && types == ["null", "string"] {
                schema["format"] = json!("date-time");
            }
            properties.insert(name, schema);
        }
        let time = json!({ "type": ["null", "string"], "format": "date-time" });
        let own = [
            (KEY, json!({ "type": "string" })),
            (VERSION, json!({ "type": "integer" })),
            (FIRST_SEEN_AT, time.clone()),
            (CHANGED_AT, time.clone()),
            (DELETED_AT, time),
        ];
        properties.extend(own.map(|(name, schema)| (name.to_owned(), schema)));
        let schema = json!({ "type": "object", "properties": properties });
        let message = json!({ "type": "SCHEMA", "stream": self.name, "schema": schema, "key_properties": self.keys() });
        Ok(message.to_string())
    }

    /// The members at a record's top that are its key, or `_key`.
    fn keys(&self) -> Vec<String> {
        if self.stream.key.is_empty() {
            return vec!["_row".to_owned()];
        }
        let member = |tokens: Vec<String>| {
            <[String; 1]>::try_from(tokens).ok().map(|[name]| member_name(Cow::Owned(name)).into_owned())
        };
        let members: Option<Vec<String>> = self.stream.key.iter().map(|at| member(at.tokens().collect())).collect();
        members.unwrap_or_else(|| vec![KEY.to_owned()])
    }

    /// A RECORD message; the record as the vendor wrote it, digit for digit.
    fn record(&self, record: &StoredRecord) -> String {
        let mut own = record.metadata();
        if let Some(at) = record.deleted_at {
            let _ = write!(own, ",{}:\"{at}\"", json!(DELETED_AT));
        }
        // Python, in which most targets are written, cannot encode half of a surrogate pair.
        let whole = joined(&without_lone_surrogates(&object(&record.json)), &own);
        let (stream, at) = (json!(self.name), record.changed_at);
        format!(r#"{{"type":"RECORD","stream":{stream},"record":{whole},"time_extracted":"{at}"}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_of_a_target_counts() {
        let line = |version: u64| {
            format!(r#"{{"store_id":"s","connection":"c","bookmarks":{{"a":{{"version":{version}}}}}}}"#)
        };
        let version = |text: &str| SingerState::last(text).unwrap().map(|state| state.bookmarks["a"].version);
        assert_eq!(version(&format!("{}\n{}\n", line(1), line(2))), Some(2));
        assert_eq!(version(&format!("{}\n{}\n{{\"sto", line(1), line(2))), Some(2));
        assert_eq!(version(" \n"), None);
        let pretty = serde_json::to_string_pretty(&SingerState::last(&line(3)).unwrap()).unwrap();
        assert_eq!(version(&pretty), Some(3));
        assert_eq!(version("{\"sto"), None);
        assert!(SingerState::last("{}\n{").is_err());
    }
}
