//! Reads records of a list: key, hash, deletion, and cursor value. Pure.

use std::collections::HashSet;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::cursor_value::CursorValue;
use super::document::Document;
use crate::connector::{DeletionMarker, Pointer, Stream};
use crate::json::{self, Json, JsonType, minified};
use crate::model::NewRecord;
use crate::store::RecordHasher;

/// The member that counts the rows of a table.
const ROW: &str = "_row";

/// A record with what the sync goes on by.
#[derive(Clone, Debug)]
pub(super) struct ParsedRecord {
    pub(super) record: NewRecord,
    /// What it is newer by, and how the vendor wrote that.
    pub(super) cursor: Option<(CursorValue, String)>,
}

impl ParsedRecord {
    pub(super) fn document(&self) -> Value {
        json::parse(&self.record.json).unwrap_or_default()
    }

    /// Whether any of these places holds one of its values.
    pub(super) fn holds_any(&self, rules: &IndexMap<Pointer, Vec<Value>>) -> bool {
        let document = Document::parse(&self.record.json);
        document.is_ok_and(|document| rules.iter().any(|(at, values)| document.holds(at, values)))
    }

    /// The value at a place of it, as text.
    pub(super) fn text(&self, at: &Pointer) -> Option<String> {
        at.text_in(Json::from_validated(&self.record.json))
    }
}

/// A record without an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingKey(pub Pointer);

/// The records of a list in a stream's shape; `added` are the members that each is given.
///
/// # Errors
/// [`MissingKey`].
pub(super) fn records(
    stream: &Stream,
    raw: &[Json<'_>],
    added: &IndexMap<String, String>,
    hasher: RecordHasher,
) -> Result<Vec<ParsedRecord>, MissingKey> {
    if stream.table {
        return rows(raw).map(|row| finish(stream, row, added, hasher)).collect();
    }
    raw.iter()
        .map(|raw| {
            let json = minified(raw.as_str()).into_owned();
            match &stream.scalar {
                Some(name) => finish(stream, format!("{{{}:{json}}}", json!(name)), added, hasher),
                None => finish(stream, json, added, hasher),
            }
        })
        .collect()
}

/// One record in a stream's shape.
///
/// # Errors
/// [`MissingKey`].
pub(super) fn record(
    stream: &Stream,
    raw: Json<'_>,
    added: &IndexMap<String, String>,
    hasher: RecordHasher,
) -> Result<ParsedRecord, MissingKey> {
    finish(stream, minified(raw.as_str()).into_owned(), added, hasher)
}

/// The keys of the records that an answer marks as deleted; `raw` are the values at those places.
pub(super) fn deleted_keys(marker: &DeletionMarker, raw: &[Json<'_>]) -> Vec<String> {
    let documents = raw.iter().map(|raw| Document::of(*raw));
    documents
        .filter(|document| marker.when.iter().all(|(at, values)| document.holds(at, values)))
        .filter_map(|document| key(&marker.key, &document).ok())
        .collect()
}

/// Whether a place holds one of these values; `*` matches any.
pub(super) fn holds(document: Json<'_>, at: &Pointer, values: &[Value]) -> bool {
    at.find_in(document).is_some_and(|found| values.iter().any(|value| value == "*" || found.equals(value)))
}

fn finish(
    stream: &Stream,
    json: String,
    added: &IndexMap<String, String>,
    hasher: RecordHasher,
) -> Result<ParsedRecord, MissingKey> {
    let json = with_added(json, added);
    // Read at its outermost level, and deeper only where something is looked for.
    let document = Document::of(Json::from_validated(&json));
    let row = [Pointer::from_member(ROW)];
    let key = key(if stream.key.is_empty() { &row } else { &stream.key }, &document)?;
    let holds_any = |rules: &IndexMap<Pointer, Vec<Value>>| rules.iter().any(|(at, values)| document.holds(at, values));
    let deleted = holds_any(&stream.deleted) && !holds_any(&stream.deleted_unless);
    let at = stream.incremental.as_ref().and_then(|rule| {
        let value = document.find(&rule.at)?;
        let text = Pointer::default().text(&value)?;
        Some((CursorValue::from_json(&rule.format, &value)?, text))
    });
    let former_keys = former_keys(&stream.merged, &document);
    let hash = hasher.hash(&json);
    Ok(ParsedRecord { record: NewRecord { key, json, hash, is_deleted: deleted, former_keys }, cursor: at })
}

/// A record with the members that it is given, at its end, where it is an object and has none of that name.
fn with_added(mut json: String, added: &IndexMap<String, String>) -> String {
    for (name, value) in added {
        if Document::of(Json::from_validated(&json)).lacks(name) {
            json.pop();
            let comma = if json == "{" { "" } else { "," };
            json.push_str(&format!("{comma}{}:{}}}", json!(name), json!(value)));
        }
    }
    json
}

/// One part as it is, several as a JSON list.
fn key(parts: &[Pointer], document: &Document<'_>) -> Result<String, MissingKey> {
    let mut texts = Vec::with_capacity(parts.len());
    for at in parts {
        // Two keys that are written differently are two records, also where half of a surrogate pair is all they differ by.
        let part = document.all(at).first().and_then(|found| found.exact_text());
        texts.push(part.ok_or_else(|| MissingKey(at.clone()))?.into_owned());
    }
    match texts.len() {
        1 => Ok(texts.swap_remove(0)),
        _ => Ok(json!(texts).to_string()),
    }
}

/// The keys of the records that became part of one.
fn former_keys(places: &[Pointer], document: &Document<'_>) -> Vec<String> {
    let found = places.iter().flat_map(|at| document.all(at));
    found
        .flat_map(|value| -> Vec<String> {
            match value.kind() {
                JsonType::Array => value.items().filter_map(|item| Some(item.text()?.into_owned())).collect(),
                _ => value
                    .text()
                    .map(|text| text.split(';').map(|id| id.trim().to_owned()).collect())
                    .unwrap_or_default(),
            }
        })
        .filter(|key: &String| !key.is_empty())
        .collect()
}

/// The rows of a table as records, each cell as it was written. The first row that is not blank names the columns; `_row`
/// counts from the first row, blank ones among them. Empty cells at a row's end are cut off by vendors, and so they are here.
fn rows<'r>(raw: &'r [Json<'_>]) -> impl Iterator<Item = String> + 'r {
    let heading = raw.iter().position(|row| row.items().any(|cell| !is_blank(cell))).unwrap_or(raw.len());
    let body = raw.get(heading + 1..).unwrap_or_default();
    let width = raw.iter().map(|row| row.items().count()).max().unwrap_or_default();
    let names = raw.get(heading).map(|row| column_names(*row, width)).unwrap_or_default();
    let names: Vec<String> = names.iter().map(|name| json!(name).to_string()).collect();
    (heading + 2..).zip(body).map(move |(number, row)| {
        let mut record = format!("{{{}:{number}", json!(ROW));
        for (name, cell) in names.iter().zip(row.items()) {
            record.push_str(&format!(",{name}:{}", minified(cell.as_str())));
        }
        record.push('}');
        record
    })
}

fn is_blank(cell: Json<'_>) -> bool {
    cell.text().is_none_or(|text| text.trim().is_empty())
}

/// A name for each column that no other one has. A column without a name is `column_N`; of columns with the same name the
/// first keeps it, and the others are `name_2`, `name_3`.
fn column_names(heading: Json<'_>, width: usize) -> Vec<String> {
    let named: Vec<Option<String>> =
        heading.items().map(|cell| (!is_blank(cell)).then(|| cell.text().unwrap_or_default().into_owned())).collect();
    let mut taken: HashSet<String> = named.iter().flatten().cloned().chain([ROW.to_owned()]).collect();
    let mut seen = HashSet::from([ROW.to_owned()]);
    let mut names = Vec::with_capacity(width);
    for index in 0..width {
        let name = named.get(index).cloned().flatten();
        let name = match name {
            Some(name) if seen.insert(name.clone()) => name,
            Some(name) => free(&taken, &name, 2),
            None => {
                let name = format!("column_{}", index + 1);
                if taken.contains(&name) { free(&taken, &name, 2) } else { name }
            }
        };
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

fn free(taken: &HashSet<String>, name: &str, from: usize) -> String {
    (from..).map(|number| format!("{name}_{number}")).find(|name| !taken.contains(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Vec<String> {
        rows(&Json::validate(text).unwrap().items().collect::<Vec<_>>()).collect()
    }

    #[test]
    fn field_15_no_cell_of_a_table_is_lost() {
        assert_eq!(
            table(
                r#"[["Name","Date","Date","Date_2",""," ",7],["a",1.10,"\ud83d","x","y","z",true,"beyond"],[],["b"]]"#
            ),
            [
                r#"{"_row":2,"Name":"a","Date":1.10,"Date_3":"\ud83d","Date_2":"x","column_5":"y","column_6":"z","7":true,"column_8":"beyond"}"#,
                r#"{"_row":3}"#,
                r#"{"_row":4,"Name":"b"}"#,
            ]
        );
        // The first row that is not blank names the columns.
        assert_eq!(table(r#"[[],["",null],["Name","_row"],["a",1]]"#), [r#"{"_row":4,"Name":"a","_row_2":1}"#]);
        assert_eq!(table(r#"[["column_2",""],["a","b"]]"#), [r#"{"_row":2,"column_2":"a","column_2_2":"b"}"#]);
        assert!(table("[]").is_empty() && table("[[],[]]").is_empty());
    }
}
