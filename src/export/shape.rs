//! The shape of a record in every format. Pure.
//!
//! A record is the members that the service wrote, in its order, and then integ's own: `_change` in a list of changes,
//! `_key`, `_version`, `_first_seen_at`, `_changed_at`, `_deleted_at`. What is a member in JSON is a column of the same name
//! in a table. A record that is not an object becomes the member `_record`, the name that a Parquet file has for whole records.
//!
//! A member of the service's that has one of these names gets one more underscore, as does every name that this could make
//! it equal to: `_key` becomes `__key`, and `__key` becomes `___key`. No two names ever meet, and no record has to be known
//! to name another.

use std::borrow::Cow;
use std::fmt::Write;

use crate::clock::Timestamp;
use crate::json::{Json, JsonType};
use crate::model::record::{RecordChange, StoredRecord};

pub(super) const CHANGE: &str = "_change";
pub(super) const KEY: &str = "_key";
pub(super) const VERSION: &str = "_version";
pub(super) const FIRST_SEEN_AT: &str = "_first_seen_at";
pub(super) const CHANGED_AT: &str = "_changed_at";
pub(super) const DELETED_AT: &str = "_deleted_at";
pub(super) const RECORD: &str = "_record";

/// integ's own members but `_change`, in the order in which they are written.
pub(super) const METADATA: [&str; 5] = [KEY, VERSION, FIRST_SEEN_AT, CHANGED_AT, DELETED_AT];

/// A stored record on its way out.
#[derive(Clone, Debug)]
pub struct ExportedRecord {
    /// What happened to it; present in a list of changes.
    pub change: Option<RecordChange>,
    pub stored: StoredRecord,
}

impl ExportedRecord {
    /// Returns the record as a JSON object on one line. Values are as the service wrote them, digit for digit.
    pub fn json(&self) -> String {
        let change = self.change.map(|change| format!("{}:\"{change}\",", quoted(CHANGE))).unwrap_or_default();
        let deleted_at = match self.stored.deleted_at {
            Some(at) => format!("\"{at}\""),
            None => "null".to_owned(),
        };
        let metadata = format!("{change}{},{}:{deleted_at}", self.stored.metadata(), quoted(DELETED_AT));
        joined(&object(&self.stored.json), &metadata)
    }

    /// The texts of integ's own columns, `_change` first if there is one. An absent time is empty.
    pub(super) fn metadata_cells(&self) -> Vec<String> {
        let stored = &self.stored;
        let time = |at: Timestamp| at.to_string();
        let cells = [
            stored.key.clone(),
            stored.version.to_string(),
            time(stored.first_seen_at),
            time(stored.changed_at),
            stored.deleted_at.map(time).unwrap_or_default(),
        ];
        self.change.map(|change| change.to_string()).into_iter().chain(cells).collect()
    }
}

impl StoredRecord {
    /// integ's own members that every record has, as JSON without braces.
    pub(super) fn metadata(&self) -> String {
        format!(
            "{}:{},{}:{},{}:\"{}\",{}:\"{}\"",
            quoted(KEY),
            quoted(&self.key),
            quoted(VERSION),
            self.version,
            quoted(FIRST_SEEN_AT),
            self.first_seen_at,
            quoted(CHANGED_AT),
            self.changed_at
        )
    }
}

/// The name that a member of the service's has outside.
pub(super) fn member_name(name: Cow<'_, str>) -> Cow<'_, str> {
    if is_reserved(&name) { Cow::Owned(format!("_{name}")) } else { name }
}

/// Whether a name is one of integ's own, with further underscores before it or without.
fn is_reserved(name: &str) -> bool {
    name.starts_with('_') && {
        let rest = name.trim_start_matches('_');
        METADATA.iter().chain([&CHANGE, &RECORD]).any(|own| own.trim_start_matches('_') == rest)
    }
}

/// The members of a record that are written besides integ's own, by the names that they have outside.
pub(super) fn members(json: &str) -> Vec<(Cow<'_, str>, Json<'_>)> {
    let json = Json::from_validated(json);
    match json.kind() {
        JsonType::Object => json.members().map(|(name, value)| (member_name(name), value)).collect(),
        _ => vec![(Cow::Borrowed(RECORD), json)],
    }
}

/// The record as an object whose members have the names that they have outside.
pub(super) fn object(json: &str) -> Cow<'_, str> {
    let record = Json::from_validated(json);
    let is_object = record.kind() == JsonType::Object;
    if is_object && !record.members().any(|(name, _)| is_reserved(&name)) {
        return Cow::Borrowed(record.as_str());
    }
    if !is_object {
        return Cow::Owned(format!("{{{}:{}}}", quoted(RECORD), record.as_str()));
    }
    let mut text = String::from("{");
    for (written, value) in record.written_members() {
        let comma = if text.len() == 1 { "" } else { "," };
        let _ = match written.string().filter(|name| is_reserved(name)) {
            Some(name) => write!(text, "{comma}{}:{}", quoted(&member_name(name)), value.as_str()),
            None => write!(text, "{comma}{}:{}", written.as_str(), value.as_str()),
        };
    }
    text.push('}');
    Cow::Owned(text)
}

/// An object with more members at its end.
pub(super) fn joined(object: &str, members: &str) -> String {
    match object.strip_suffix('}') {
        Some(rest) if !members.is_empty() => {
            let comma = if rest.trim_end() == "{" { "" } else { "," };
            format!("{rest}{comma}{members}}}")
        }
        _ => object.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::record::RecordId;

    pub(in crate::export) fn stored(json: &str) -> StoredRecord {
        let at = Timestamp::UNIX_EPOCH;
        StoredRecord {
            id: RecordId(1),
            key: "k\"1".to_owned(),
            json: json.to_owned(),
            version: 7,
            added_version: 7,
            first_seen_at: at,
            changed_at: at,
            deleted_at: None,
        }
    }

    const METADATA_JSON: &str = concat!(
        r#""_key":"k\"1","_version":7,"_first_seen_at":"1970-01-01T00:00:00Z","#,
        r#""_changed_at":"1970-01-01T00:00:00Z","_deleted_at":null}"#
    );

    #[test]
    fn a_record_is_what_the_service_wrote_and_then_integs_own_members() {
        let stored = stored(r#"{"z":1.10,"a":12345678901234567890,"t":"\ud800"}"#);
        let begin = r#"{"z":1.10,"a":12345678901234567890,"t":"\ud800","#;
        let record = ExportedRecord { change: None, stored: stored.clone() };
        assert_eq!(record.json(), format!("{begin}{METADATA_JSON}"));
        let change = ExportedRecord { change: Some(stored.change(3)), stored };
        assert_eq!(change.json(), format!(r#"{begin}"_change":"added",{METADATA_JSON}"#));
    }

    #[test]
    fn records_without_members_have_integs_own() {
        let json = |json: &str| ExportedRecord { change: None, stored: stored(json) }.json();
        assert_eq!(json("{}"), format!("{{{METADATA_JSON}"));
        assert_eq!(json("[1.0]"), format!(r#"{{"_record":[1.0],{METADATA_JSON}"#));
    }

    #[test]
    fn members_of_the_service_never_meet_integs_own() {
        let record = r#"{"_key":1,"__key":2,"_id":3,"key":4,"_record":5,"_\u0063hange":6,"_keys":7,"\ud83d":8}"#;
        let outside = r#"{"__key":1,"___key":2,"_id":3,"key":4,"__record":5,"__change":6,"_keys":7,"\ud83d":8}"#;
        assert_eq!(object(record), outside);
        let names: Vec<String> = members(record).into_iter().map(|(name, _)| name.into_owned()).collect();
        assert_eq!(names, ["__key", "___key", "_id", "key", "__record", "__change", "_keys", "\u{fffd}"]);
    }
}
