//! The records that the emulated vendor has: a function of the seed, the stream, the parent's values and what the state
//! says of time, made from the file's sample.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::time::{format_cursor_value, is_time};
use crate::clock::Timestamp;
use crate::connector::{Connector, Pagination, PaginationKind, Pointer, Stream, Values, fill_document};
use crate::hex;
use crate::sandbox::state::StreamState;
use crate::sandbox::token::TokenSigner;

/// Numbers that the records of one list may have.
const MAX_RECORDS_PER_LIST: u64 = 1_000_000;

/// Records with one time, so that such groups lie over the edges of pages.
const SAME_TIME_GROUP_SIZE: u64 = 7;

/// Seconds over which what was there at first is spread.
const SPREAD_SECS: i64 = 29 * 86_400;

/// One of so many records of a tree has records below it: fewer than there are in a list, so that trees end.
const BRANCH_INTERVAL: u64 = 24;

/// The records of one list.
pub(super) struct RecordSet<'a> {
    connector: &'a Connector,
    signer: &'a TokenSigner,
    state: &'a StreamState,
    pub(super) name: &'a str,
    pub(super) stream: &'a Stream,
    /// What the parent, or the user, gives to the list.
    pub(super) partition: BTreeMap<String, String>,
    pub(super) count: u64,
    /// What every record's number begins at.
    first_number: u64,
    sample: Value,
    /// What of the parent's values are numbers in its record.
    numbers: BTreeSet<&'a str>,
    /// The ticks that reach it; all where absent.
    active_ticks: Option<BTreeSet<u32>>,
}

/// What became of a record. Ticks count from 1; 0 is before them.
#[derive(Clone, Copy, Debug)]
pub(super) struct GeneratedRecord {
    pub(super) index: u64,
    pub(super) created_tick: u32,
    pub(super) updated_tick: u32,
    /// 0: it is still there.
    pub(super) deleted_tick: u32,
    /// Unix seconds of what happened last.
    time: i64,
    /// What it is newer by, as a number.
    pub(super) cursor_value: i64,
}

impl GeneratedRecord {
    /// The tick of what happened last.
    pub(super) fn last_tick(&self) -> u32 {
        self.created_tick.max(self.updated_tick).max(self.deleted_tick)
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.deleted_tick > 0
    }
}

impl<'a> RecordSet<'a> {
    pub(super) fn new(
        connector: &'a Connector,
        signer: &'a TokenSigner,
        state: &'a StreamState,
        name: &'a str,
        part: BTreeMap<String, String>,
    ) -> Option<Self> {
        let stream = connector.streams.get(name)?;
        let written = stream.sample.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let sample = written.unwrap_or_else(|| synthetic(connector, name, stream));
        let numbers = numbers(connector, stream);
        let mut set = Self {
            connector,
            signer,
            state,
            name,
            stream,
            partition: part,
            count: 0,
            first_number: 0,
            sample,
            numbers,
            active_ticks: None,
        };
        // Ids of different lists differ: they are stored side by side.
        set.first_number =
            if set.is_child() { (100 + set.hash("part", 0) % 9_000_000_000) * MAX_RECORDS_PER_LIST } else { 0 };
        set.count = set.initial_count();
        set.active_ticks = set.active_ticks();
        Some(set)
    }

    fn is_child(&self) -> bool {
        !self.stream.parents.is_empty()
    }

    fn hash(&self, purpose: &str, number: u64) -> u64 {
        let part = self.partition.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("\n");
        let bytes = self.signer.derive(&format!("stream\n{}\n{part}\n{purpose}", self.name), number);
        bytes.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
    }

    /// How many there were at first.
    fn initial_count(&self) -> u64 {
        if let Some(count) = self.state.records(self.name) {
            return count.into();
        }
        let own = self.stream.parents.iter().find(|parent| parent.stream == self.name);
        if own.is_some_and(|own| own.when.is_empty()) && !self.hash("branch", 0).is_multiple_of(16) {
            return 0;
        }
        let children = self.connector.streams.iter().filter(|(name, _)| *name != self.name);
        let listed_for = children.flat_map(|(_, stream)| &stream.parents).any(|parent| parent.stream == self.name);
        let pages = pagination(self.connector, self.stream);
        match (self.is_child(), listed_for) {
            (true, true) => 5,
            (true, false) => 12,
            (false, true) => 25,
            (false, false) if self.stream.table || pages.is_none_or(|pages| pages.kind == PaginationKind::None) => 40,
            (false, false) => 250,
        }
    }

    /// Whether nothing about a record can change: it is no more than its key, or what it is newer by never moves.
    fn is_immutable(&self) -> bool {
        let created = |at: &Pointer| at.tokens().last().is_some_and(|name| name.to_lowercase().contains("creat"));
        let at = self.stream.incremental.as_ref().map(|incremental| &incremental.at);
        let once = self.stream.token.is_none() && self.stream.detail.as_ref().is_some_and(|detail| detail.once);
        self.stream.scalar.is_some() || once || at.is_some_and(created) || self.is_keyed_by_time()
    }

    /// Whether what it is newer by is a part of its key.
    fn is_keyed_by_time(&self) -> bool {
        self.stream.incremental.as_ref().is_some_and(|incremental| self.stream.key.contains(&incremental.at))
    }

    /// The ticks of a list below a record: half of the lists move, or those of records that changed where the file says
    /// that no others do.
    fn active_ticks(&self) -> Option<BTreeSet<u32>> {
        if !self.is_child() {
            return None;
        }
        let Some(parent) = self.stream.parents.iter().find(|parent| parent.changed) else {
            return if self.hash("moves", 0).is_multiple_of(2) { None } else { Some(BTreeSet::new()) };
        };
        let touched = || {
            let above = RecordSet::new(self.connector, self.signer, self.state, &parent.stream, BTreeMap::new())?;
            let (rows, touched) = above.history();
            let wanted: Vec<_> =
                parent.values.iter().filter_map(|(name, at)| Some((at, self.partition.get(name)?.as_str()))).collect();
            let index = above.find(&rows, &wanted)?.index;
            Some(touched.into_iter().filter(|(_, at)| *at == index).map(|(tick, _)| tick).collect())
        };
        let is_listed_for =
            |name: &String| !self.connector.streams.get(name).is_none_or(|above| above.parents.is_empty());
        Some(if is_listed_for(&parent.stream) { None } else { touched() }.unwrap_or_default())
    }

    pub(super) fn rows(&self) -> Vec<GeneratedRecord> {
        self.history().0
    }

    /// The records, and at which tick which was added, changed or deleted.
    fn history(&self) -> (Vec<GeneratedRecord>, Vec<(u32, u64)>) {
        let mut rows: Vec<GeneratedRecord> = (0..self.count).map(|index| self.initial_row(index)).collect();
        let mut touched = Vec::new();
        let frozen = self.is_immutable();
        let ticks = (1..).zip(self.state.ticks());
        for (tick, time) in
            ticks.filter(|(tick, _)| self.active_ticks.as_ref().is_none_or(|moving| moving.contains(tick)))
        {
            let pick = |rows: &[GeneratedRecord], purpose: &str| {
                let start = self.hash(purpose, tick.into()) % (rows.len().max(1) as u64);
                let order = (start as usize..rows.len()).chain(0..start as usize);
                order.into_iter().find(|at| !rows[*at].is_deleted() && rows[*at].last_tick() < tick)
            };
            if tick % 3 == 0 && rows.iter().filter(|row| !row.is_deleted()).nth(2).is_some() {
                let gone = pick(&rows, "delete");
                touched
                    .extend(gone.map(|at| self.apply_change(&mut rows[at], tick, time, |row| row.deleted_tick = tick)));
            }
            if !frozen {
                let changed = pick(&rows, "change");
                touched.extend(
                    changed.map(|at| self.apply_change(&mut rows[at], tick, time, |row| row.updated_tick = tick)),
                );
            }
            let index = rows.len() as u64;
            let mut new = GeneratedRecord { created_tick: tick, ..self.initial_row(index) };
            touched.push(self.apply_change(&mut new, tick, time, |_| {}));
            rows.push(new);
        }
        (rows, touched)
    }

    fn apply_change(
        &self,
        row: &mut GeneratedRecord,
        tick: u32,
        time: i64,
        what: impl Fn(&mut GeneratedRecord),
    ) -> (u32, u64) {
        what(row);
        row.time = time;
        // Numbers grow by a tick as times do.
        row.cursor_value = match &self.stream.incremental {
            Some(incremental) if !is_time(&incremental.format) && self.is_keyed_by_time() => self.number(row.index),
            Some(incremental) if !is_time(&incremental.format) => 1000 + self.count.cast_signed() + i64::from(tick),
            _ => time,
        };
        (tick, row.index)
    }

    /// A record as it was before all ticks.
    fn initial_row(&self, index: u64) -> GeneratedRecord {
        let shuffled = index < self.count && (index | 7) < self.count && !self.is_immutable();
        let rank = if shuffled { index ^ 5 } else { index };
        let group = if self.is_keyed_by_time() { rank } else { rank / SAME_TIME_GROUP_SIZE };
        let groups = if self.is_keyed_by_time() { self.count } else { self.count / SAME_TIME_GROUP_SIZE + 1 };
        let incremental = self.stream.incremental.as_ref();
        let earliest = incremental.and_then(|incremental| incremental.earliest_secs).map_or(SPREAD_SECS, i64::from);
        let spread = SPREAD_SECS.min(earliest / 2);
        let behind = i128::from(spread) * i128::from(group) / i128::from(groups.max(1));
        let apart = if self.is_keyed_by_time() { self.first_number / MAX_RECORDS_PER_LIST % 1800 } else { 0 };
        let begins = self.state.started_at() - spread - 3600 + apart.cast_signed();
        let time = begins + i64::try_from(behind).unwrap_or_default();
        let moment = match incremental {
            Some(incremental) if !is_time(&incremental.format) && self.is_keyed_by_time() => self.number(index),
            Some(incremental) if !is_time(&incremental.format) => 1000 + group.cast_signed(),
            _ => time,
        };
        GeneratedRecord { index, created_tick: 0, updated_tick: 0, deleted_tick: 0, time, cursor_value: moment }
    }

    /// What `{n}` is in a record.
    fn number(&self, index: u64) -> i64 {
        (self.first_number + index + 1).cast_signed()
    }

    /// The row whose record holds these texts. A number at an id's end says where to look first.
    pub(super) fn find(&self, rows: &[GeneratedRecord], wanted: &[(&Pointer, &str)]) -> Option<GeneratedRecord> {
        let fits = |row: &&GeneratedRecord| {
            let record = self.record(row);
            wanted.iter().all(|(at, text)| at.text(&record).as_deref() == Some(*text))
        };
        let guess = wanted.iter().find_map(|(_, text)| {
            let digits = text.len() - text.bytes().rev().take_while(u8::is_ascii_digit).count();
            let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
            let decimal = text[digits..].parse::<u64>().ok();
            let hexadecimal = hex.get(hex.len().saturating_sub(15)..).and_then(|hex| u64::from_str_radix(hex, 16).ok());
            let index = |number: u64| usize::try_from(number.checked_sub(self.first_number + 1)?).ok();
            let likely = [decimal, hexadecimal].into_iter().flatten().filter_map(index);
            likely.filter_map(|index| rows.get(index)).find(fits)
        });
        guess.or_else(|| rows.iter().find(fits)).copied()
    }

    /// The record as it stands in the vendor's answers.
    pub(super) fn record(&self, row: &GeneratedRecord) -> Value {
        let mut record = self.filled(row);
        if self.stream.table || self.stream.scalar.is_some() || !record.is_object() {
            return record;
        }
        self.set_keys(&mut record, row);
        if let Some(incremental) = &self.stream.incremental {
            let part = self.is_keyed_by_time().then_some(self.first_number / MAX_RECORDS_PER_LIST * 37 + row.index);
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
        if row.updated_tick > 0 {
            record["sandbox_change"] = json!(row.updated_tick);
        }
        record
    }

    fn filled(&self, row: &GeneratedRecord) -> Value {
        let number = self.number(row.index);
        let digest = hex::encode(&self.signer.derive(&format!("{} id", self.name), number.cast_unsigned())[..9]);
        let tail = format!("{number:015x}");
        let id = format!("{}{tail}", &digest[..17]);
        let mut values = Values::default();
        for name in self.stream.parents.iter().flat_map(|parent| parent.values.keys()).chain(self.stream.params.keys())
        {
            values.set(name, self.partition.get(name).map_or("sandbox", String::as_str));
        }
        values
            .set("id", &id)
            .set("uuid", &format!("{}-{}-4{}-8{}-{}", &id[..8], &id[8..12], &id[12..15], &tail[..3], &tail[3..]))
            .set("now", &row.time.to_string())
            .set("now_ms", &row.time.saturating_mul(1000).to_string())
            .set("now_date", &date(row.time))
            .set("n", &number.to_string());
        let mut sample = self.sample_row();
        self.number_parents(&mut sample);
        fill_document(&sample, &values).unwrap_or_default()
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
    fn sample_row(&self) -> Value {
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
            ["{n}", "{id}", "{uuid}"].iter().any(|name| text.contains(name))
        };
        let added = |at: &Pointer| at.tokens().next().is_some_and(|name| self.stream.add.contains_key(&name));
        if self.is_keyed_by_time() || self.stream.key.iter().any(differs) {
            return;
        }
        if let Some(last) = self.stream.key.iter().rev().find(|at| !added(at)) {
            let number = self.number(row.index);
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

/// How a stream's list is paginated.
pub(super) fn pagination<'c>(connector: &'c Connector, stream: &'c Stream) -> Option<&'c Pagination> {
    stream.pages.as_ref().or(connector.api.pages.as_ref())
}

/// The names of parents' values that their samples have as numbers.
fn numbers<'c>(connector: &'c Connector, stream: &'c Stream) -> BTreeSet<&'c str> {
    let mut found = BTreeSet::new();
    for parent in &stream.parents {
        let sample = connector.streams.get(&parent.stream).and_then(|above| above.sample.as_deref());
        let sample: Value = sample.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let is_number = |at: &Pointer| at.find(&sample).is_some_and(|value| value.is_number() || value == "{n}");
        found.extend(parent.values.iter().filter(|(_, at)| is_number(at)).map(|(name, _)| name.as_str()));
    }
    found
}

fn date(time: i64) -> String {
    Timestamp::from_second(time).unwrap_or_default().to_string()
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
fn synthetic(connector: &Connector, name: &str, stream: &Stream) -> Value {
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
