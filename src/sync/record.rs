//! From what a list holds to records: key, hash, whether it is gone, and what it is newer by. Pure.

use indexmap::IndexMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::document::{Document, minified};
use super::moment::Moment;
use crate::connector::{Gone, Pointer, Stream};
use crate::store::{NewRecord, RecordHasher};

/// The member that counts the rows of a table.
const ROW: &str = "_row";

/// A record with what the sync goes on by.
#[derive(Clone, Debug)]
pub(super) struct Pulled {
    pub(super) record: NewRecord,
    /// What it is newer by, and how the vendor wrote that.
    pub(super) at: Option<(Moment, String)>,
}

impl Pulled {
    pub(super) fn document(&self) -> Value {
        serde_json::from_str(&self.record.json).unwrap_or_default()
    }

    /// Whether any of these places holds one of its values.
    pub(super) fn holds_any(&self, rules: &IndexMap<Pointer, Vec<Value>>) -> bool {
        let document = Document::parse(&self.record.json);
        document.is_ok_and(|document| rules.iter().any(|(at, values)| document.holds(at, values)))
    }

    /// What stands at a place of it, as text.
    pub(super) fn text(&self, at: &Pointer) -> Option<String> {
        Document::parse(&self.record.json).ok()?.text(at)
    }
}

/// A record that nothing tells from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keyless(pub Pointer);

/// The records of a list in a stream's shape; `added` are the members that each is given.
///
/// # Errors
/// [`Keyless`].
pub(super) fn records(
    stream: &Stream,
    raw: &[&RawValue],
    added: &IndexMap<String, String>,
    hasher: RecordHasher,
) -> Result<Vec<Pulled>, Keyless> {
    if stream.table {
        return rows(raw).into_iter().map(|row| finish(stream, row.to_string(), added, hasher)).collect();
    }
    raw.iter()
        .map(|raw| {
            let json = minified(raw.get()).into_owned();
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
/// [`Keyless`].
pub(super) fn record(
    stream: &Stream,
    raw: &str,
    added: &IndexMap<String, String>,
    hasher: RecordHasher,
) -> Result<Pulled, Keyless> {
    finish(stream, minified(raw).into_owned(), added, hasher)
}

/// The keys of records that an answer tells are gone; `raw` is what stands at the places.
pub(super) fn gone_keys(gone: &Gone, raw: &[&RawValue]) -> Vec<String> {
    let documents = raw.iter().filter_map(|raw| Document::parse(raw.get()).ok());
    documents
        .filter(|document| gone.when.iter().all(|(at, values)| document.holds(at, values)))
        .filter_map(|document| key(&gone.key, &document).ok())
        .collect()
}

/// Whether a place holds one of these values; `*` stands for any.
pub(super) fn holds(document: &Value, at: &Pointer, values: &[Value]) -> bool {
    at.find(document).is_some_and(|found| values.iter().any(|value| value == "*" || value == found))
}

fn finish(
    stream: &Stream,
    json: String,
    added: &IndexMap<String, String>,
    hasher: RecordHasher,
) -> Result<Pulled, Keyless> {
    let json = with_added(json, added);
    // Read at its outermost level, and deeper only where something is looked for.
    let document = Document::parse(&json).map_err(|_| Keyless(Pointer::default()))?;
    let row = [Pointer::member(ROW)];
    let key = key(if stream.key.is_empty() { &row } else { &stream.key }, &document)?;
    let holds_any = |rules: &IndexMap<Pointer, Vec<Value>>| rules.iter().any(|(at, values)| document.holds(at, values));
    let deleted = holds_any(&stream.deleted) && !holds_any(&stream.deleted_unless);
    let at = stream.incremental.as_ref().and_then(|rule| {
        let value = document.find(&rule.at)?;
        let text = Pointer::default().text(&value)?;
        Some((Moment::of(&rule.format, &value)?, text))
    });
    let hash = hasher.hash(&json);
    Ok(Pulled { record: NewRecord { key, json, hash, deleted }, at })
}

/// A record with the members that it is given, at its end, where it is an object and has none of that name.
fn with_added(mut json: String, added: &IndexMap<String, String>) -> String {
    for (name, value) in added {
        if Document::parse(&json).is_ok_and(|document| document.lacks(name)) {
            json.pop();
            let comma = if json == "{" { "" } else { "," };
            json.push_str(&format!("{comma}{}:{}}}", json!(name), json!(value)));
        }
    }
    json
}

/// One part as it is, several as a JSON list.
fn key(parts: &[Pointer], document: &Document<'_>) -> Result<String, Keyless> {
    let mut texts = Vec::with_capacity(parts.len());
    for at in parts {
        texts.push(document.text(at).ok_or_else(|| Keyless(at.clone()))?);
    }
    match texts.len() {
        1 => Ok(texts.swap_remove(0)),
        _ => Ok(json!(texts).to_string()),
    }
}

/// The rows of a table by the names in its first one. Empty cells at a row's end are cut off by vendors, and so they are
/// here.
fn rows(raw: &[&RawValue]) -> Vec<Value> {
    let mut rows = raw.iter().map(|raw| serde_json::from_str::<Vec<Value>>(raw.get()).unwrap_or_default());
    let Some(names) = rows.next() else { return Vec::new() };
    let names: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(index, name)| match name {
            Value::String(name) if !name.is_empty() && name != ROW => name.clone(),
            Value::Number(name) => name.to_string(),
            _ => format!("column_{}", index + 1),
        })
        .collect();
    let named = |(number, cells): (usize, Vec<Value>)| {
        let mut row = Map::new();
        row.insert(ROW.to_owned(), json!(number));
        for (index, cell) in cells.into_iter().enumerate() {
            let name = names.get(index).cloned().unwrap_or_else(|| format!("column_{}", index + 1));
            // A name that comes twice keeps its first column.
            row.entry(name).or_insert(cell);
        }
        Value::Object(row)
    };
    (2..).zip(rows).map(named).collect()
}
