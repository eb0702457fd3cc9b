//! A record as the vendor writes it: the file's sample with the record's values and edits.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::records::{GeneratedRecord, RecordSet, partition_names};
use super::sample::{SampleWriter, date};
use super::time::format_cursor_value;
use crate::connector::{Connector, Param, Pointer, Stream, Values, fill_document};
use crate::sandbox::calendar::{CalendarRole, mark_default, place_in_week, set_etag};
use crate::sandbox::state::merge_json;

/// One of so many records of a tree has records below it: fewer than there are in a list, so that trees end.
const BRANCH_INTERVAL: u64 = 24;

impl<'a> RecordSet<'a> {
    /// The record as it is in the vendor's answers.
    pub(in crate::sandbox) fn record(&self, row: &GeneratedRecord) -> Value {
        let mut record = self.filled(row);
        if self.stream.table || self.stream.scalar.is_some() || !record.is_object() {
            return record;
        }
        self.set_keys(&mut record, row);
        if let Some(incremental) = &self.stream.incremental {
            let part = self.is_keyed_by_time().then_some(self.first_number % 1_000_000 / 37 + row.index);
            let value = format_cursor_value(&incremental.format, row.cursor_value, incremental.at.find(&record), part);
            incremental.at.set(&mut record, value);
        }
        let own = self.stream.parents.iter().filter(|parent| parent.stream == self.name);
        for (at, values) in own.flat_map(|own| &own.when) {
            if self.hash("branch", row.index + 1).is_multiple_of(BRANCH_INTERVAL) {
                at.set(&mut record, values.first().cloned().unwrap_or_default());
            } else {
                make_differ(&mut record, at, values);
            }
        }
        for (at, values) in &self.stream.deleted {
            if row.is_deleted() {
                let value = values.first().filter(|value| *value != "*").cloned();
                at.set(&mut record, value.unwrap_or_else(|| json!(date(row.time))));
            } else {
                make_differ(&mut record, at, values);
            }
        }
        match self.calendar {
            CalendarRole::Events(calendar) => place_in_week(self, calendar, row.index, &mut record),
            CalendarRole::Calendars(listing) => mark_default(listing, row.index, &mut record),
            CalendarRole::None => {}
        }
        if row.is_aged {
            record["sandbox_change"] = json!(row.updated_tick);
        }
        if let Some(edit) = self.edits.get(&row.index)
            && edit.patch.is_object()
        {
            merge_json(&mut record, &edit.patch);
        }
        if let CalendarRole::Events(calendar) = self.calendar
            && let Some(at) = &calendar.event.etag
        {
            set_etag(&mut record, at);
        }
        record
    }

    fn filled(&self, row: &GeneratedRecord) -> Value {
        let mut values = self.world.account.sample_values();
        let partition = self.partition.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let default =
            |(name, param): (&'a String, &'a Param)| (name.as_str(), param.default.as_deref().unwrap_or("sandbox"));
        let above =
            self.stream.parents.iter().flat_map(|parent| parent.values.keys()).map(|name| (name.as_str(), "sandbox"));
        for (name, value) in above.chain(self.stream.params.iter().map(default)).chain(partition) {
            values.set(name, value);
        }
        let writer = SampleWriter {
            hash: self.hash("values", row.index),
            number: self.number(row.index),
            count: self.sample_number(row.index),
            created: row.created,
            changed: row.time,
        };
        writer.set(&mut values, &hex_digits(self.hash("id", row.index), self.hash("id2", row.index)));
        self.set_references(&mut values, row.index);
        let mut sample = self.sample_row();
        self.number_parents(&mut sample);
        fill_document(&sample, &values).unwrap_or_default()
    }

    /// The lists that the sample names: `{customers_id}` is the key of a record of the stream `customers`, of the same parent
    /// if it has one.
    fn referenced_lists(&self) -> Vec<(String, RecordSet<'a>)> {
        let text = self.stream.sample.as_deref().unwrap_or_default();
        let names = self.world.connector.streams.iter().map(|(name, stream)| (name, stream, format!("{name}_id")));
        let named = names.filter(|(_, _, reference)| text.contains(&format!("{{{reference}}}")));
        let lists = named.filter_map(|(name, stream, reference)| {
            let partition = partition_names(stream).filter_map(|name| self.partition.get_key_value(name));
            let partition = partition.map(|(name, value)| (name.clone(), value.clone())).collect();
            Some((reference, RecordSet::new(self.world, name, partition)?))
        });
        lists.collect()
    }

    fn set_references(&self, values: &mut Values, index: u64) {
        for (reference, list) in self.references.get_or_init(|| self.referenced_lists()) {
            let place = self.hash(reference, index) % list.count.max(1);
            if let Some(key) = list.stream.key.last().and_then(|at| list.key_text(at, place)) {
                values.set(reference, &key);
            }
        }
    }

    /// The key of the record at a place, without anything else of the record.
    fn key_text(&self, at: &Pointer, index: u64) -> Option<String> {
        let mut values = self.world.account.sample_values();
        let writer = SampleWriter {
            hash: 0,
            number: self.number(index),
            count: self.sample_number(index),
            created: 0,
            changed: 0,
        };
        writer.set(&mut values, &hex_digits(self.hash("id", index), self.hash("id2", index)));
        let key = fill_document(at.find(&self.sample_row())?, &values).ok()?;
        Pointer::parse("").ok()?.text(&key)
    }

    /// What is a number in the parent's record is one here, too.
    fn number_parents(&self, sample: &mut Value) {
        match sample {
            Value::Array(items) => items.iter_mut().for_each(|item| self.number_parents(item)),
            Value::Object(members) => members.values_mut().for_each(|item| self.number_parents(item)),
            Value::String(text) => {
                let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
                let given = self.partition.get(name).and_then(|value| value.parse::<i64>().ok());
                if let Some(number) = given.filter(|_| self.numbers.contains(name)) {
                    *sample = json!(number);
                }
            }
            _ => {}
        }
    }

    /// The sample; of a table, the row in it.
    pub(in crate::sandbox) fn sample_row(&self) -> Value {
        match &self.sample {
            Value::Array(rows) if self.stream.table => match rows.get(1) {
                Some(row @ Value::Array(_)) => row.clone(),
                _ => self.sample.clone(),
            },
            Value::Object(members) if self.stream.table => Value::Array(members.values().cloned().collect()),
            Value::Object(members) => {
                let scalar = self.stream.scalar.as_ref().and_then(|name| members.get(name));
                scalar.unwrap_or(&self.sample).clone()
            }
            sample => sample.clone(),
        }
    }

    /// The names of a table's columns.
    pub(super) fn header(&self) -> Value {
        match &self.sample {
            Value::Object(members) => json!(members.keys().collect::<Vec<_>>()),
            Value::Array(rows) => match rows.first() {
                Some(header @ Value::Array(_)) => header.clone(),
                _ => (1..=rows.len()).map(|column| format!("column {column}")).collect(),
            },
            _ => json!(["value"]),
        }
    }

    /// A sample may say the same key for every record: then its last part is made to differ.
    fn set_keys(&self, record: &mut Value, row: &GeneratedRecord) {
        let differs = |at: &Pointer| {
            let text = at.find(&self.sample).and_then(Value::as_str).unwrap_or_default();
            ["{n}", "{number}", "{code}", "{id}", "{uuid}"].iter().any(|name| text.contains(name))
        };
        let added = |at: &Pointer| at.tokens().next().is_some_and(|name| self.stream.add.contains_key(&name));
        if self.is_keyed_by_time() || self.stream.key.iter().any(differs) {
            return;
        }
        if let Some(last) = self.stream.key.iter().rev().find(|at| !added(at)) {
            let number = self.sample_number(row.index);
            let value = match last.find(record) {
                Some(Value::String(text)) => json!(format!("{text}{number}")),
                _ => json!(number),
            };
            last.set(record, value);
        }
    }

    /// What is reported of a deleted record: its key, and what says so.
    pub(super) fn tombstone(&self, row: &GeneratedRecord) -> Value {
        let record = self.record(row);
        let at = self.stream.incremental.as_ref().map(|incremental| &incremental.at);
        let mut remains = json!({});
        for at in self.stream.key.iter().chain(self.stream.deleted.keys()).chain(at) {
            if let Some(value) = at.find(&record) {
                at.set(&mut remains, value.clone());
            }
        }
        remains
    }
}

/// The names of parents' values that their samples have as numbers.
pub(super) fn numbers<'c>(connector: &'c Connector, stream: &'c Stream) -> BTreeSet<&'c str> {
    let mut found = BTreeSet::new();
    for parent in &stream.parents {
        let sample = connector.streams.get(&parent.stream).and_then(|above| above.sample.as_deref());
        let sample: Value = sample.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let is_number = |at: &Pointer| {
            at.find(&sample).is_some_and(|value| value.is_number() || value == "{n}" || value == "{number}")
        };
        found.extend(parent.values.iter().filter(|(_, at)| is_number(at)).map(|(name, _)| name.as_str()));
    }
    found
}

/// Thirty-two hexadecimal digits.
fn hex_digits(high: u64, low: u64) -> String {
    format!("{high:016x}{low:016x}")
}

/// Makes a place hold none of these values, where it does.
fn make_differ(record: &mut Value, at: &Pointer, values: &[Value]) {
    let Some(there) = at.find(record) else { return };
    if values.iter().any(|value| value == there || value == "*") {
        let other = there.as_bool().map_or(Value::Null, |truth| json!(!truth));
        at.set(record, other);
    }
}

/// A record with what the file's pointers find in it.
pub(super) fn synthetic(connector: &Connector, name: &str, stream: &Stream) -> Value {
    if stream.scalar.is_some() {
        return json!("{id}");
    }
    if stream.table {
        return json!([["id", "name"], ["{n}", "Row {n}"]]);
    }
    let mut sample = json!({ "name": format!("{name} {{n}}") });
    let parents = connector.streams.values().flat_map(|stream| &stream.parents).filter(|parent| parent.stream == name);
    let detail = stream.detail.iter().flat_map(|detail| detail.values.values());
    for at in parents.clone().flat_map(|parent| parent.values.values()).chain(detail).chain(&stream.key) {
        let added = at.tokens().next().is_some_and(|name| stream.add.contains_key(&name));
        if at.find(&sample).is_none() && !added {
            at.set(&mut sample, json!("{id}"));
        }
    }
    for (at, values) in parents.flat_map(|parent| &parent.when) {
        at.set(&mut sample, values.first().cloned().unwrap_or_default());
    }
    sample
}
