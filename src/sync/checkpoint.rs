//! The checkpoint stored with the records of each page: what to request next. Pure.
//!
//! A [`Checkpoint`] is made by [`Checkpoint::first`], changed by [`Checkpoint::after_page`], and saved by
//! [`ListPlan::after_page`]; nothing else decides what a list is asked for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cursor_value::CursorValue;
use crate::api::{PagePosition, PageToken, fingerprint, hash_of, max_id};
use crate::clock::{Timestamp, is_from_fast_clock};
use crate::connector::{CursorFormat, Incremental, Stream};
use crate::model::{CompletedList, PageCheckpoint, PartitionId, SyncMode};

/// How far the reading of a partition has come. Stored with its records, so that any process can resume from there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Checkpoint {
    /// Whether it is a full list that was requested as such.
    pub(super) is_full: bool,
    /// Whether it began without a cursor: then it holds everything, even if it was restarted from its middle.
    pub(super) is_complete_list: bool,
    /// Where the list begins: a cursor in the records' own writing, or a sync token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<String>,
    /// Where it ends; absent for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<String>,
    /// Where the last of several windows ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_window_end: Option<String>,
    /// The requested range of a backfill, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backfill_range: Option<(i64, Option<i64>)>,
    /// The next page.
    pub(super) position: PagePosition,
    /// The greatest that was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_cursor: Option<String>,
    /// The token that the next sync begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sync_token: Option<String>,
    /// When the vendor read its first page: what changed later may be on a page that was read already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<Timestamp>,
    /// The list was requested again from within: the lookback was applied when it began.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) restarted: bool,
    /// More records share the time `since` than the service lists at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tie: Option<TieBreak>,
    /// The fingerprint of the last page, by which a process that goes on notices that it is repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_page_hash: Option<u64>,
    /// A page of it held nothing but records that were met before: it does not show what was deleted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) needs_verification: bool,
    /// Of a full list: the store's version when it began.
    pub(super) start_version: u64,
    /// It is the second reading of a list, for records that moved between its pages.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_verification_pass: bool,
    /// All is read, and what was not met is still to be marked as deleted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) pending_sweep: bool,
    /// Of a list that waits for the sweep: where the next one begins, and the version of the parent's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_version: Option<u64>,
}

/// The position in a list that has come to a time with more records than the service lists at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TieBreak {
    /// Among the records of that time, after this second key; `met` is the greatest that was met.
    InProgress { after: String, met: Option<String> },
    /// After that time.
    Passed,
}

/// What a page says of how its list goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct PageSummary {
    /// Items of its list, those that are null or left out among them.
    pub(super) count: usize,
    /// Whether the list is known to hold more than was given: an item is null, or the service counts more records.
    pub(super) is_partial: bool,
    /// Hashes that identify its records.
    pub(super) record_hashes: Vec<u64>,
    /// Whether all of them were met before.
    pub(super) is_repeated: bool,
    /// The greatest second key, of a list that has one.
    pub(super) second_key: Option<String>,
    /// The greatest that its records are newer by, as the vendor wrote it.
    pub(super) max_cursor: Option<(CursorValue, String)>,
    /// How to ask for the next page.
    pub(super) next_page: Option<PageToken>,
    pub(super) sync_token: Option<String>,
    /// When the vendor read it, at the earliest.
    pub(super) read_at: Option<Timestamp>,
}

/// What follows a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Continue(Box<Checkpoint>),
    /// All is read; where the next sync begins.
    Complete {
        cursor: Option<String>,
        read: Box<Checkpoint>,
    },
}

/// What a list is read for.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadGoal {
    pub(super) mode: SyncMode,
    /// Of a backfill.
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl ReadGoal {
    /// All of a list, whatever its cursor.
    pub(super) const ALL: Self = Self { mode: SyncMode::Full, since: None, until: None };
}

impl Checkpoint {
    /// Returns where the reading of a partition with this cursor begins.
    pub(super) fn first(stream: &Stream, goal: &ReadGoal, cursor: Option<&str>, now: Timestamp) -> Self {
        let mut first = Self { is_full: goal.mode == SyncMode::Full, ..Self::default() };
        let Some(rule) = &stream.incremental else {
            if stream.token.is_some() && goal.mode == SyncMode::Incremental {
                first.since = cursor.map(str::to_owned);
            }
            first.is_complete_list = first.since.is_none();
            return first;
        };
        let write = |time: Timestamp| CursorValue::from_timestamp(time).format(&rule.format);
        match goal.mode {
            SyncMode::Incremental => first.since = cursor.map(str::to_owned),
            SyncMode::Full => {}
            SyncMode::Backfill => {
                first.backfill_range =
                    goal.since.map(|since| (since.as_second(), goal.until.map(Timestamp::as_second)));
                first.since = goal.since.and_then(write);
                first.until = goal.until.and_then(write);
            }
        }
        first.is_complete_list = first.since.is_none();
        if let (Some(window), Some(earliest)) = (rule.window_secs, rule.earliest_secs) {
            let earliest = now.checked_sub(Duration::from_secs(earliest.into())).unwrap_or(Timestamp::UNIX_EPOCH);
            // The cursor of windows is this machine's time. One of the future was stored while the clock was fast: what arrived
            // since is not known, so that all is listed again.
            let is_past = |since: &String| {
                let since = CursorValue::parse(&rule.format, since).and_then(|since| since.as_time());
                since.is_none_or(|since| !is_from_fast_clock(since, now))
            };
            let stored = first.since.take();
            first.since = stored.filter(|since| goal.mode == SyncMode::Backfill || is_past(since));
            first.is_complete_list = first.since.is_none();
            let from = first.since.clone().or_else(|| write(earliest));
            first.last_window_end = first.until.clone().or_else(|| write(now));
            first.since = from;
            first.until = window_end(rule, first.since.as_deref(), first.last_window_end.as_deref(), window);
        }
        first
    }

    /// Returns the beginning of a second reading of all of a list, with what was met of it since the store's version
    /// `start_version`.
    pub(super) fn verification_pass(stream: &Stream, start_version: u64, now: Timestamp) -> Self {
        Self { start_version, is_verification_pass: true, ..Self::first(stream, &ReadGoal::ALL, None, now) }
    }

    /// Returns the same list from its first page.
    pub(super) fn rewind(self) -> Self {
        Self { position: PagePosition::default(), tie: None, last_page_hash: None, ..self }
    }

    /// Returns the same list at another page.
    pub(super) fn at(&self, position: PagePosition) -> Self {
        Self { position, ..self.clone() }
    }

    /// Whether what a list does not hold was deleted: only if it holds everything.
    pub(super) fn is_sweeping(&self, stream: &Stream, goal: &ReadGoal) -> bool {
        let windowed = stream.incremental.as_ref().is_some_and(|rule| rule.window_secs.is_some());
        goal.mode != SyncMode::Backfill && self.is_complete_list && !windowed && !stream.forgets
    }

    /// Whether an interrupted list belongs to this request, which would begin at `fresh`. A backfill goes on
    /// with one that began earlier: `--since 7d` means another second each time.
    pub(super) fn is_resumable(&self, goal: &ReadGoal, fresh: &Self) -> bool {
        match goal.mode {
            SyncMode::Full => self.is_full,
            SyncMode::Incremental => true,
            SyncMode::Backfill => {
                let both = self.backfill_range.zip(fresh.backfill_range);
                both.is_some_and(|(stored, fresh)| stored.0 <= fresh.0 && stored.1 == fresh.1)
            }
        }
    }

    /// Whether both are of one list, at any page: they start at the same position.
    pub(super) fn is_same_list(&self, other: &Self) -> bool {
        (&self.since, &self.until, &self.tie) == (&other.since, &other.until, &other.tie)
    }

    /// Returns the hash that identifies its request within the partition.
    pub(super) fn request_hash(&self) -> u64 {
        let page_token = serde_json::to_string(&self.position.page_token).unwrap_or_default();
        hash_of((&self.since, &self.until, &self.tie, page_token))
    }

    /// Returns what to ask for after a page of the list. `cursor` is the partition's.
    pub(super) fn after_page(mut self, stream: &Stream, cursor: Option<&str>, page: PageSummary) -> Step {
        self.position.record_count += page.count;
        self.started_at = self.started_at.or(page.read_at);
        let rule = stream.incremental.as_ref();
        if page.sync_token.is_some() {
            self.sync_token = page.sync_token;
        }
        let known = |text: Option<&str>| Some(CursorValue::parse(&rule?.format, text?)).flatten();
        let page_high = page.max_cursor;
        if let Some((moment, text)) = &page_high
            && known(self.max_cursor.as_deref()).is_none_or(|high| *moment > high)
        {
            self.max_cursor = Some(text.clone());
        }
        if page.is_partial {
            self.is_complete_list = false;
        }
        self.needs_verification |= page.is_repeated;
        self.last_page_hash = (!page.record_hashes.is_empty()).then(|| fingerprint(&page.record_hashes));
        if let Some(TieBreak::InProgress { met, .. }) = &mut self.tie {
            *met = max_id(met.take().into_iter().chain(page.second_key));
        }
        let Some(rule) = rule else {
            return match page.next_page {
                Some(page_token) => {
                    self.position.page_token = Some(page_token);
                    Step::Continue(Box::new(self))
                }
                None => {
                    let cursor = self.sync_token.clone().or_else(|| cursor.map(str::to_owned));
                    Step::Complete { cursor, read: Box::new(self) }
                }
            };
        };
        let begins =
            known(self.since.as_deref()).map(|since| since.minus_lookback(&rule.format, lookback(rule, &self)));
        let nothing_new = match (&begins, &page_high) {
            (Some(begins), Some((high, _))) => high < begins,
            _ => false,
        };
        if let Some(page_token) = page.next_page.filter(|_| !(rule.newest_first && nothing_new)) {
            let is_full = rule.restart_after.is_some_and(|most| self.position.record_count >= most as usize);
            if !is_full || !self.restart(rule, begins.as_ref()) {
                self.position.page_token = Some(page_token);
            }
            return Step::Continue(Box::new(self));
        }
        if matches!(self.tie, Some(TieBreak::InProgress { .. })) {
            self.tie = Some(TieBreak::Passed);
            self.position = PagePosition::default();
            return Step::Continue(Box::new(self));
        }
        if let Some(window) = rule.window_secs
            && self.until != self.last_window_end
        {
            self.since = self.until.take();
            self.until = window_end(rule, self.since.as_deref(), self.last_window_end.as_deref(), window);
            self.restarted = true;
            self.position = PagePosition::default();
            return Step::Continue(Box::new(self));
        }
        Step::Complete { cursor: next_cursor(rule, &self, cursor), read: Box::new(self) }
    }

    /// Asks for a list again from the newest record that was met of it, without the lookback. Where all records since
    /// `begins` share one time it goes on by their second key. False where neither leads further.
    fn restart(&mut self, rule: &Incremental, begins: Option<&CursorValue>) -> bool {
        match (&self.tie, &rule.ties) {
            (Some(TieBreak::InProgress { after, met: Some(met) }), _) if met != after => {
                self.tie = Some(TieBreak::InProgress { after: met.clone(), met: None });
            }
            (Some(TieBreak::InProgress { .. }), _) => return false,
            _ if is_newer(rule, self.max_cursor.as_deref(), begins) => {
                self.since.clone_from(&self.max_cursor);
                self.tie = None;
            }
            (None, Some(ties)) if self.since.is_some() => {
                self.tie = Some(TieBreak::InProgress { after: ties.from.clone(), met: None });
            }
            _ => return false,
        }
        self.restarted = true;
        self.position = PagePosition::default();
        true
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What stays the same while the list of a partition is read.
#[derive(Clone, Debug)]
pub(super) struct ListPlan<'a> {
    pub(super) stream: &'a Stream,
    pub(super) goal: &'a ReadGoal,
    pub(super) partition: PartitionId,
    /// The partition's cursor.
    pub(super) cursor: Option<&'a str>,
    /// The version of the parent's record.
    pub(super) parent_version: Option<u64>,
    pub(super) now: Timestamp,
}

/// What to do when a list that holds everything is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterFullList {
    /// What was not met was deleted.
    Sweep,
    /// What was not met may have moved from one page to another meanwhile: a list of several pages is read a second time.
    ReadAgain,
}

/// How a list ended at its last page.
#[derive(Clone, Debug)]
pub(super) enum ListCompletion {
    /// The cursor moved with the page.
    CursorMoved,
    /// It holds everything: what was not met is to be swept away, and the cursor moves with that.
    FullyListed(CompletedList),
    /// The same if nothing is missing from it; else it is to be read a second time, from this checkpoint.
    FullyListedOnce(CompletedList, Box<Checkpoint>),
    /// A page of it held nothing new: it is to be read a second time, from this checkpoint.
    Unverified(Box<Checkpoint>),
}

/// What follows a page.
#[derive(Clone, Debug)]
pub(super) enum NextRead {
    Page(Box<Checkpoint>),
    Nothing(ListCompletion),
}

impl ListPlan<'_> {
    /// Returns where the list begins.
    pub(super) fn first(&self) -> Checkpoint {
        Checkpoint::first(self.stream, self.goal, self.cursor, self.now)
    }

    /// Whether what a list does not hold was deleted.
    pub(super) fn is_sweeping(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.is_sweeping(self.stream, self.goal)
    }

    /// Returns what is saved with a page, and what follows it. The cursor of a list that is followed by a sweep moves with
    /// the sweep.
    pub(super) fn after_page(
        &self,
        checkpoint: Checkpoint,
        page: PageSummary,
        after_full_list: AfterFullList,
    ) -> (PageCheckpoint, NextRead) {
        let (cursor, read) = match checkpoint.after_page(self.stream, self.cursor, page) {
            Step::Continue(next) => return (self.unfinished(&next), NextRead::Page(next)),
            Step::Complete { cursor, read } => (cursor, read),
        };
        if read.needs_verification {
            let second = Box::new(self.second_reading(&read));
            return (self.unfinished(&second), NextRead::Nothing(ListCompletion::Unverified(second)));
        }
        if !self.is_sweeping(&read) {
            let saved = match self.goal.mode {
                SyncMode::Backfill => PageCheckpoint::Backfill(None),
                SyncMode::Incremental | SyncMode::Full => {
                    PageCheckpoint::Complete { cursor, parent_version: self.parent_version }
                }
            };
            return (saved, NextRead::Nothing(ListCompletion::CursorMoved));
        }
        let (start_version, parent_version) = (read.start_version, self.parent_version);
        let next_cursor = cursor.clone();
        let listed = CompletedList { partition: self.partition, start_version, cursor, parent_version };
        if after_full_list == AfterFullList::ReadAgain && read.position.page_token.is_some() {
            let second = Box::new(Checkpoint::verification_pass(self.stream, start_version, self.now));
            return (self.unfinished(&second), NextRead::Nothing(ListCompletion::FullyListedOnce(listed, second)));
        }
        let awaits_sweep = Checkpoint {
            is_full: true,
            pending_sweep: true,
            start_version,
            next_cursor,
            parent_version,
            ..Checkpoint::default()
        };
        (self.unfinished(&awaits_sweep), NextRead::Nothing(ListCompletion::FullyListed(listed)))
    }

    /// The second reading of a list of which a page held nothing new.
    fn second_reading(&self, read: &Checkpoint) -> Checkpoint {
        if self.is_sweeping(read) {
            return Checkpoint::verification_pass(self.stream, read.start_version, self.now);
        }
        Checkpoint { is_verification_pass: true, ..self.first() }
    }

    fn unfinished(&self, checkpoint: &Checkpoint) -> PageCheckpoint {
        match self.goal.mode {
            SyncMode::Backfill => PageCheckpoint::Backfill(Some(checkpoint.to_json())),
            SyncMode::Incremental | SyncMode::Full => PageCheckpoint::InProgress(checkpoint.to_json()),
        }
    }
}

fn is_newer(rule: &Incremental, high: Option<&str>, begins: Option<&CursorValue>) -> bool {
    let high = high.and_then(|high| CursorValue::parse(&rule.format, high));
    high.is_some() && high.as_ref() > begins
}

/// How far before `since` to request a list: the lookback is applied once, at its beginning.
fn lookback(rule: &Incremental, checkpoint: &Checkpoint) -> u32 {
    if checkpoint.restarted { 0 } else { rule.lookback }
}

/// The cursor after a list: never less than before, and no later than the list began. A list by windows has looked at all
/// there is until its end.
fn next_cursor(rule: &Incremental, checkpoint: &Checkpoint, cursor: Option<&str>) -> Option<String> {
    let read = |text: &str| Some((CursorValue::parse(&rule.format, text)?, text.to_owned()));
    let mut high = checkpoint.max_cursor.as_deref().and_then(read);
    let timed = !matches!(rule.format, CursorFormat::Integer | CursorFormat::Text);
    let began = checkpoint.started_at.filter(|_| timed && rule.window_secs.is_none()).map(CursorValue::from_timestamp);
    if let (Some((met, _)), Some(began)) = (&high, began)
        && *met > began
    {
        high = began.format(&rule.format).map(|text| (began, text));
    }
    // A list by windows that began without a cursor had none, or one of a clock that was fast.
    let cursor = cursor.filter(|_| rule.window_secs.is_none() || !checkpoint.is_complete_list);
    let candidates = [cursor.and_then(read), high, checkpoint.last_window_end.as_deref().and_then(read)];
    let greatest = candidates.into_iter().flatten().reduce(|one, other| if other.0 > one.0 { other } else { one });
    greatest.map(|(_, text)| text)
}

fn window_end(rule: &Incremental, since: Option<&str>, end: Option<&str>, window: u32) -> Option<String> {
    let since = CursorValue::parse(&rule.format, since?)?.as_time()?;
    let until = CursorValue::from_timestamp(since.checked_add(Duration::from_secs(window.into())).ok()?);
    let last = CursorValue::parse(&rule.format, end?)?;
    if until < last { until.format(&rule.format) } else { end.map(str::to_owned) }
}

/// `{since}` as requests say it.
pub(super) fn since_text(rule: &Incremental, checkpoint: &Checkpoint) -> Option<String> {
    let since = checkpoint.since.as_deref()?;
    let moment = CursorValue::parse(&rule.format, since)?;
    let format = rule.write.as_ref().unwrap_or(&rule.format);
    let lookback = lookback(rule, checkpoint);
    // As the vendor wrote it where nothing has to be changed: some compare texts.
    if lookback == 0 && rule.write.is_none() {
        return Some(since.to_owned());
    }
    moment.minus_lookback(&rule.format, lookback).format(format)
}

/// `{until}` as requests say it: now where the list has no end of its own.
pub(super) fn until_text(rule: &Incremental, until: Option<&str>, now: Timestamp) -> Option<String> {
    let format = rule.write.as_ref().unwrap_or(&rule.format);
    match until {
        Some(until) => CursorValue::parse(&rule.format, until)?.format(format),
        None => CursorValue::from_timestamp(now).format(format),
    }
}
