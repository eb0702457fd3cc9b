//! The records of an account of the emulated vendor, generated on demand from the file's sample: a function of the
//! account, the stream, the parent's values, and the state's ticks and edits.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::record::{numbers, synthetic};
use super::time::is_time;
use crate::connector::{Connector, Pagination, PaginationKind, Pointer, Stream};
use crate::hash;
use crate::sandbox::account::{SandboxAccount, code_number};
use crate::sandbox::calendar::CalendarRole;
use crate::sandbox::state::{ListKey, RecordEdit, StreamState, created_number};

/// Records with one time, so that such groups lie over the edges of pages.
const SAME_TIME_GROUP_SIZE: u64 = 7;

/// Seconds over which what was there at first is spread.
const SPREAD_SECS: i64 = 29 * 86_400;

/// Numbers of records have ten digits, and every list begins at one of its own.
const FIRST_NUMBER: u64 = 1_000_000_000;
const NUMBERS: u64 = 7_000_000_000;

/// Records that are looked through for one that its values do not lead to.
const MAX_SCANNED: u64 = 1_000;

/// Who looks at which world.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) struct World<'a> {
    pub(in crate::sandbox) connector: &'a Connector,
    pub(in crate::sandbox) account: &'a SandboxAccount,
    pub(in crate::sandbox) state: &'a StreamState,
}

/// The records of one list.
pub(in crate::sandbox) struct RecordSet<'a> {
    pub(in crate::sandbox) world: World<'a>,
    pub(in crate::sandbox) name: &'a str,
    pub(in crate::sandbox) stream: &'a Stream,
    /// What the parent, or the user, gives to the list.
    pub(in crate::sandbox) partition: BTreeMap<String, String>,
    /// How many there were before all ticks, and how many time added.
    pub(super) count: u64,
    added: u64,
    /// What every record's number begins at.
    pub(super) first_number: u64,
    pub(super) sample: Value,
    /// Whether only `{n}` distinguishes keys: it then also differs between lists.
    is_keyed_by_count: bool,
    /// What its records are to the connector's calendars.
    pub(super) calendar: CalendarRole<'a>,
    /// What of the parent's values are numbers in its record.
    pub(super) numbers: BTreeSet<&'a str>,
    /// The ticks that reach it; all if absent.
    active_ticks: Option<BTreeSet<u32>>,
    /// The records to which something happened, by their places.
    pub(super) changed: BTreeMap<u64, GeneratedRecord>,
    pub(super) edits: BTreeMap<u64, &'a RecordEdit>,
    /// At which tick time touched which record.
    touched: Vec<(u32, u64)>,
    /// The lists that the sample's references lead to, by what it calls them.
    pub(super) references: OnceCell<Vec<(String, RecordSet<'a>)>>,
}

/// What became of a record. Ticks count from 1; 0 is before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct GeneratedRecord {
    pub(in crate::sandbox) index: u64,
    pub(super) created_tick: u32,
    pub(super) updated_tick: u32,
    /// 0: it is still there.
    pub(super) deleted_tick: u32,
    /// Whether time changed it, and no action did.
    pub(super) is_aged: bool,
    /// Unix seconds of its creation and of what happened last.
    pub(super) created: i64,
    pub(super) time: i64,
    /// What it is newer by, as a number.
    pub(super) cursor_value: i64,
}

impl GeneratedRecord {
    /// The tick of what happened last.
    pub(super) fn last_tick(&self) -> u32 {
        self.created_tick.max(self.updated_tick).max(self.deleted_tick)
    }

    pub(in crate::sandbox) fn is_deleted(&self) -> bool {
        self.deleted_tick > 0
    }
}

/// The names that select the lists of a stream: the parents' values, and required parameters.
pub(in crate::sandbox) fn partition_names(stream: &Stream) -> impl Iterator<Item = &String> {
    let asked = stream.params.iter().filter(|(_, param)| !param.optional && param.default.is_none());
    stream.parents.iter().flat_map(|parent| parent.values.keys()).chain(asked.map(|(name, _)| name))
}

impl<'a> RecordSet<'a> {
    pub(in crate::sandbox) fn new(world: World<'a>, name: &str, partition: BTreeMap<String, String>) -> Option<Self> {
        let (name, stream) = world.connector.streams.get_key_value(name)?;
        let written = stream.sample.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let sample = written.unwrap_or_else(|| synthetic(world.connector, name, stream));
        let in_keys = |name: &str| {
            let keys = stream.key.iter().filter_map(|at| at.find(&sample)?.as_str());
            keys.into_iter().any(|text| text.contains(name))
        };
        let is_keyed_by_count = in_keys("{n}") || !["{number}", "{code}", "{id}", "{uuid}"].into_iter().any(in_keys);
        let mut set = Self {
            world,
            name,
            stream,
            partition,
            count: 0,
            added: 0,
            first_number: 0,
            is_keyed_by_count,
            sample,
            calendar: CalendarRole::of(world.connector, name),
            numbers: numbers(world.connector, stream),
            active_ticks: None,
            changed: BTreeMap::new(),
            edits: BTreeMap::new(),
            touched: Vec::new(),
            references: OnceCell::new(),
        };
        // Ids of different lists differ: they are stored side by side.
        set.first_number = FIRST_NUMBER + set.hash("part", 0) % NUMBERS;
        set.count = set.initial_count();
        set.active_ticks = set.active_ticks();
        set.replay();
        Some(set)
    }

    fn is_child(&self) -> bool {
        !self.stream.parents.is_empty()
    }

    pub(in crate::sandbox) fn hash(&self, purpose: &str, number: u64) -> u64 {
        let part = self.partition.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("\n");
        let World { connector, account, .. } = self.world;
        let text = format!("{}\n{}\n{}\n{part}\n{purpose}\n{number}", connector.id, account.login(), self.name);
        hash::sha256(text.as_bytes()).iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
    }

    /// The list as the state knows it.
    fn key(&self) -> ListKey<'_> {
        ListKey { account: self.world.account, stream: self.name, partition: &self.partition }
    }

    /// How many there were at first.
    fn initial_count(&self) -> u64 {
        let connector = self.world.connector;
        if let Some(count) = self.world.state.records(self.name) {
            return count.into();
        }
        let own = self.stream.parents.iter().find(|parent| parent.stream == self.name);
        if own.is_some_and(|own| own.when.is_empty()) && !self.hash("branch", 0).is_multiple_of(16) {
            return 0;
        }
        let children = connector.streams.iter().filter(|(name, _)| *name != self.name);
        let listed_for = children.flat_map(|(_, stream)| &stream.parents).any(|parent| parent.stream == self.name);
        let pages = pagination(connector, self.stream);
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
    pub(super) fn is_keyed_by_time(&self) -> bool {
        self.stream.incremental.as_ref().is_some_and(|incremental| self.stream.key.contains(&incremental.at))
    }

    /// The ticks of a list below a record: half of the lists move, or those of records that changed where the file says
    /// that no others do.
    fn active_ticks(&self) -> Option<BTreeSet<u32>> {
        if !self.is_child() {
            return None;
        }
        let streams = &self.world.connector.streams;
        let Some(parent) = self.stream.parents.iter().find(|parent| parent.changed) else {
            return if self.hash("moves", 0).is_multiple_of(2) { None } else { Some(BTreeSet::new()) };
        };
        let touched = || {
            let above = RecordSet::new(self.world, &parent.stream, BTreeMap::new())?;
            let wanted: Vec<_> =
                parent.values.iter().filter_map(|(name, at)| Some((at, self.partition.get(name)?.as_str()))).collect();
            let index = above.find(&wanted)?.index;
            Some(above.touched.iter().filter(|(_, at)| *at == index).map(|(tick, _)| *tick).collect())
        };
        let is_listed_for = |name: &String| !streams.get(name).is_none_or(|above| above.parents.is_empty());
        Some(if is_listed_for(&parent.stream) { None } else { touched() }.unwrap_or_default())
    }

    /// How many records time knows of, deleted ones among them.
    pub(in crate::sandbox) fn len(&self) -> u64 {
        self.count + self.added
    }

    /// The record at a place.
    pub(in crate::sandbox) fn row(&self, index: u64) -> GeneratedRecord {
        self.changed.get(&index).copied().unwrap_or_else(|| self.initial_row(index))
    }

    /// The places of the records to which something happened.
    pub(in crate::sandbox) fn changed_places(&self) -> impl Iterator<Item = u64> {
        self.changed.keys().copied()
    }

    /// Finds out which record every tick added, changed or deleted, and what actions did.
    fn replay(&mut self) {
        let state = self.world.state;
        self.edits = state.edits(&self.key()).into_iter().map(|edit| (edit.index, edit)).collect();
        let frozen = self.is_immutable();
        let mut deleted = 0;
        for (tick, time) in state.advances() {
            if self.active_ticks.as_ref().is_some_and(|moving| !moving.contains(&tick)) {
                continue;
            }
            if tick % 3 == 0
                && self.len() - deleted > 2
                && let Some(mut row) = self.pick(tick, "delete")
            {
                row.deleted_tick = tick;
                self.touch(row, tick, time);
                deleted += 1;
            }
            if !frozen && let Some(mut row) = self.pick(tick, "change") {
                (row.updated_tick, row.is_aged) = (tick, true);
                self.touch(row, tick, time);
            }
            let index = self.len();
            self.added += 1;
            let new = GeneratedRecord { created_tick: tick, created: time, ..self.initial_row(index) };
            self.touch(new, tick, time);
        }
        for edit in self.edits.values().copied().collect::<Vec<_>>() {
            self.apply_edit(edit);
        }
    }

    /// A record that is there and that this tick has not touched yet.
    fn pick(&self, tick: u32, purpose: &str) -> Option<GeneratedRecord> {
        let start = self.hash(purpose, tick.into()) % self.len().max(1);
        let is_free = |row: &GeneratedRecord| {
            let edited = self.edits.get(&row.index).map_or(0, |edit| edit.deleted_tick);
            !row.is_deleted() && row.last_tick() < tick && (edited == 0 || edited > tick)
        };
        (start..self.len()).chain(0..start).map(|index| self.row(index)).find(is_free)
    }

    fn touch(&mut self, mut row: GeneratedRecord, tick: u32, time: i64) {
        row.time = time;
        row.cursor_value = self.moved_cursor(&row, tick);
        self.touched.push((tick, row.index));
        self.changed.insert(row.index, row);
    }

    /// What a record is newer by once it was changed. Numbers grow by a tick as times do.
    fn moved_cursor(&self, row: &GeneratedRecord, tick: u32) -> i64 {
        match &self.stream.incremental {
            Some(incremental) if !is_time(&incremental.format) && self.is_keyed_by_time() => {
                self.key_number(row.index, incremental)
            }
            Some(incremental) if !is_time(&incremental.format) => 1000 + self.count.cast_signed() + i64::from(tick),
            _ => row.time,
        }
    }

    fn apply_edit(&mut self, edit: &RecordEdit) {
        let mut row = self.row(edit.index);
        if edit.created_tick > 0 {
            (row.created_tick, row.created, row.time) = (edit.created_tick, edit.created_at, edit.created_at);
            row.cursor_value = self.moved_cursor(&row, edit.created_tick);
        }
        row.updated_tick = row.updated_tick.max(edit.updated_tick);
        row.deleted_tick = row.deleted_tick.max(edit.deleted_tick);
        // What a record is newer by may be when it was made, which no change moves.
        if edit.updated_tick.max(edit.deleted_tick) > 0 && !self.is_immutable() {
            row.time = edit.changed_at;
            row.cursor_value = self.moved_cursor(&row, row.last_tick());
        }
        self.changed.insert(row.index, row);
    }

    /// A record as it was before all ticks.
    pub(super) fn initial_row(&self, index: u64) -> GeneratedRecord {
        let rank = self.shuffled(index);
        let group = if self.is_keyed_by_time() { rank } else { rank / SAME_TIME_GROUP_SIZE };
        let groups = if self.is_keyed_by_time() { self.count } else { self.count / SAME_TIME_GROUP_SIZE + 1 };
        let incremental = self.stream.incremental.as_ref();
        let earliest = incremental.and_then(|incremental| incremental.earliest_secs).map_or(SPREAD_SECS, i64::from);
        let spread = SPREAD_SECS.min(earliest / 2);
        let behind = i128::from(spread) * i128::from(group) / i128::from(groups.max(1));
        let apart = if self.is_keyed_by_time() { self.first_number % 1800 } else { 0 };
        let begins = self.world.state.started_at() - spread - 3600 + apart.cast_signed();
        let time = begins + i64::try_from(behind).unwrap_or_default();
        let moment = match incremental {
            Some(incremental) if !is_time(&incremental.format) && self.is_keyed_by_time() => {
                self.key_number(index, incremental)
            }
            Some(incremental) if !is_time(&incremental.format) => 1000 + group.cast_signed(),
            _ => time,
        };
        let created =
            if self.is_immutable() { time } else { time - (self.hash("age", index) % 31_000_000).cast_signed() };
        GeneratedRecord {
            index,
            created_tick: 0,
            updated_tick: 0,
            deleted_tick: 0,
            is_aged: false,
            created,
            time,
            cursor_value: moment,
        }
    }

    /// The rank by time of a record that was there at first, and the record of a rank: neighbours change places.
    fn shuffled(&self, index: u64) -> u64 {
        let is_shuffled = index < self.count && (index | 7) < self.count && !self.is_immutable();
        if is_shuffled { index ^ 5 } else { index }
    }

    /// The place of the record that is at this position of those that were there at first, by time and then by place.
    pub(super) fn index_by_time(&self, position: u64) -> u64 {
        if self.is_keyed_by_time() {
            return position;
        }
        let start = position / SAME_TIME_GROUP_SIZE * SAME_TIME_GROUP_SIZE;
        let end = (start + SAME_TIME_GROUP_SIZE).min(self.count);
        let mut group: Vec<u64> = (start..end).map(|rank| self.shuffled(rank)).collect();
        group.sort_unstable();
        group.get(usize::try_from(position - start).unwrap_or_default()).copied().unwrap_or(position)
    }

    /// The number that no other record has.
    pub(super) fn number(&self, index: u64) -> u64 {
        self.first_number + index + 1
    }

    /// The number of a record within its list.
    fn count_number(&self, index: u64) -> u64 {
        created_number(index).map_or(index + 1, |number| self.count + 1000 + number)
    }

    /// What `{n}` is in a record.
    pub(super) fn sample_number(&self, index: u64) -> u64 {
        let is_alone = !self.is_child() && self.world.account.is_default();
        if self.is_keyed_by_count && !is_alone { self.number(index) } else { self.count_number(index) }
    }

    /// The number in the key of a stream that orders its records by that number.
    fn key_number(&self, index: u64, incremental: &crate::connector::Incremental) -> i64 {
        let written = incremental.at.text(&self.sample).unwrap_or_default();
        let text = written
            .replace("{number}", &self.number(index).to_string())
            .replace("{n}", &self.sample_number(index).to_string());
        text.parse().unwrap_or_else(|_| self.sample_number(index).cast_signed())
    }

    /// The record that holds these texts; one that was deleted is found, too. A number in an id says where to look first.
    pub(in crate::sandbox) fn find(&self, wanted: &[(&Pointer, &str)]) -> Option<GeneratedRecord> {
        let scan = || {
            let mut rows = (0..self.len().min(MAX_SCANNED)).map(|index| self.row(index));
            rows.find(|row| self.has_texts(row, wanted))
        };
        self.find_likely(wanted).or_else(scan)
    }

    /// Finds a record as [`Self::find`] does, but only where its texts say that it may be, and among those that were changed.
    pub(in crate::sandbox) fn find_likely(&self, wanted: &[(&Pointer, &str)]) -> Option<GeneratedRecord> {
        let fits = |row: &GeneratedRecord| self.has_texts(row, wanted);
        let likely = wanted.iter().flat_map(|(_, text)| self.likely_places(text));
        let mut likely = likely.filter(|index| *index < self.len()).map(|index| self.row(index));
        likely.find(fits).or_else(|| self.changed.values().copied().find(fits))
    }

    fn has_texts(&self, row: &GeneratedRecord, wanted: &[(&Pointer, &str)]) -> bool {
        let record = self.record(row);
        wanted.iter().all(|(at, text)| at.text(&record).as_deref() == Some(*text))
    }

    /// Where a record with this text in it may be.
    fn likely_places(&self, text: &str) -> Vec<u64> {
        let digits = &text[text.len() - text.bytes().rev().take_while(u8::is_ascii_digit).count()..];
        let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let ten = digits.len().checked_sub(10).map_or(digits, |start| &digits[start..]);
        let numbers = [
            ten.parse::<u64>().ok(),
            hex.get(hex.len().saturating_sub(15)..).and_then(|hex| u64::from_str_radix(hex, 16).ok()),
            code_number(text),
        ];
        let by_number = numbers.into_iter().flatten().filter_map(|number| number.checked_sub(self.first_number + 1));
        let by_count = digits.parse::<u64>().ok().and_then(|number| number.checked_sub(1));
        by_number.chain(by_count).collect()
    }
}

/// How a stream's list is paginated.
pub(super) fn pagination<'c>(connector: &'c Connector, stream: &'c Stream) -> Option<&'c Pagination> {
    stream.pages.as_ref().or(connector.api.pages.as_ref())
}
