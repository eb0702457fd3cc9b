//! How a list is read: what to begin with, and what to ask for after each page. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cursor_value::CursorValue;
use crate::api::{PageToken, fingerprint, max_id};
use crate::clock::{Timestamp, is_from_fast_clock};
use crate::connector::{CursorFormat, Incremental, Stream};
use crate::model::SyncMode;

/// How far the reading of a partition has come. Stored with its records, so that any process can resume from there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Checkpoint {
    /// Whether it is a full list, asked for as such.
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
    /// The range that a backfill was asked for, in seconds of Unix time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backfill_range: Option<(i64, Option<i64>)>,
    /// The next page; absent for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) page_token: Option<PageToken>,
    /// Records of this list so far.
    pub(super) record_count: usize,
    /// The greatest that was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_cursor: Option<String>,
    /// The token that the next sync begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sync_token: Option<String>,
    /// When the vendor read its first page: what changed later may be on a page that was read already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<Timestamp>,
    /// The list was asked for again from within: the lookback was taken when it began.
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

/// A page, as the plan sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct PageSummary {
    /// Items of its list, those that are null or left out among them.
    pub(super) count: usize,
    /// Whether the list is known to hold more than was given: an item is null, or the service counts more records.
    pub(super) is_partial: bool,
    /// Hashes of what tells its records from others.
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

/// Whether what a list does not hold was deleted: only if it holds everything.
pub(super) fn is_sweeping(stream: &Stream, progress: &Checkpoint, goal: &ReadGoal) -> bool {
    let windowed = stream.incremental.as_ref().is_some_and(|rule| rule.window_secs.is_some());
    goal.mode != SyncMode::Backfill && progress.is_complete_list && !windowed && !stream.forgets
}

/// Whether a reading that was cut off is one of what is asked for now. A backfill goes on with one that began earlier:
/// `--since 7d` means another second each time.
pub(super) fn is_resumable(goal: &ReadGoal, stored: &Checkpoint, fresh: &Checkpoint) -> bool {
    match goal.mode {
        SyncMode::Full => stored.is_full,
        SyncMode::Incremental => true,
        SyncMode::Backfill => {
            let both = stored.backfill_range.zip(fresh.backfill_range);
            both.is_some_and(|(stored, fresh)| stored.0 <= fresh.0 && stored.1 == fresh.1)
        }
    }
}

/// Where the reading of a partition begins.
pub(super) fn first_checkpoint(stream: &Stream, goal: &ReadGoal, cursor: Option<&str>, now: Timestamp) -> Checkpoint {
    let mut progress = Checkpoint { is_full: goal.mode == SyncMode::Full, ..Checkpoint::default() };
    let Some(rule) = &stream.incremental else {
        if stream.token.is_some() && goal.mode == SyncMode::Incremental {
            progress.since = cursor.map(str::to_owned);
        }
        progress.is_complete_list = progress.since.is_none();
        return progress;
    };
    let write = |time: Timestamp| CursorValue::from_timestamp(time).format(&rule.format);
    match goal.mode {
        SyncMode::Incremental => progress.since = cursor.map(str::to_owned),
        SyncMode::Full => {}
        SyncMode::Backfill => {
            progress.backfill_range = goal.since.map(|since| (since.as_second(), goal.until.map(Timestamp::as_second)));
            progress.since = goal.since.and_then(write);
            progress.until = goal.until.and_then(write);
        }
    }
    progress.is_complete_list = progress.since.is_none();
    if let (Some(window), Some(earliest)) = (rule.window_secs, rule.earliest_secs) {
        let earliest = now.checked_sub(Duration::from_secs(earliest.into())).unwrap_or(Timestamp::UNIX_EPOCH);
        // The cursor of windows is this machine's time. One of the future was stored while the clock was fast: what came since
        // is not known, so that all is listed again.
        let is_past = |since: &String| {
            let since = CursorValue::parse(&rule.format, since).and_then(|since| since.as_time());
            since.is_none_or(|since| !is_from_fast_clock(since, now))
        };
        let stored = progress.since.take();
        progress.since = stored.filter(|since| goal.mode == SyncMode::Backfill || is_past(since));
        progress.is_complete_list = progress.since.is_none();
        let from = progress.since.clone().or_else(|| write(earliest));
        progress.last_window_end = progress.until.clone().or_else(|| write(now));
        progress.since = from;
        progress.until = window_end(rule, progress.since.as_deref(), progress.last_window_end.as_deref(), window);
    }
    progress
}

/// All of a list once more, with what was met of it since the store's version `start_version`.
pub(super) fn verification_pass(stream: &Stream, start_version: u64, now: Timestamp) -> Checkpoint {
    let all = ReadGoal { mode: SyncMode::Full, since: None, until: None };
    Checkpoint { start_version, is_verification_pass: true, ..first_checkpoint(stream, &all, None, now) }
}

/// What to ask for after a page.
pub(super) fn next_step(stream: &Stream, mut progress: Checkpoint, cursor: Option<&str>, page: PageSummary) -> Step {
    progress.record_count += page.count;
    progress.started_at = progress.started_at.or(page.read_at);
    let rule = stream.incremental.as_ref();
    if page.sync_token.is_some() {
        progress.sync_token = page.sync_token;
    }
    let known = |text: Option<&str>| Some(CursorValue::parse(&rule?.format, text?)).flatten();
    let page_high = page.max_cursor;
    if let Some((moment, text)) = &page_high
        && known(progress.max_cursor.as_deref()).is_none_or(|high| *moment > high)
    {
        progress.max_cursor = Some(text.clone());
    }
    if page.is_partial {
        progress.is_complete_list = false;
    }
    progress.needs_verification |= page.is_repeated;
    progress.last_page_hash = (!page.record_hashes.is_empty()).then(|| fingerprint(&page.record_hashes));
    if let Some(TieBreak::InProgress { met, .. }) = &mut progress.tie {
        *met = max_id(met.take().into_iter().chain(page.second_key));
    }
    if let Some(rule) = rule {
        let begins =
            known(progress.since.as_deref()).map(|since| since.minus_lookback(&rule.format, lookback(rule, &progress)));
        let nothing_new = match (&begins, &page_high) {
            (Some(begins), Some((high, _))) => high < begins,
            _ => false,
        };
        if let Some(turn) = page.next_page.filter(|_| !(rule.newest_first && nothing_new)) {
            let is_full = rule.restart_after.is_some_and(|most| progress.record_count >= most as usize);
            if !is_full || !restart(rule, &mut progress, begins.as_ref()) {
                progress.page_token = Some(turn);
            }
            return Step::Continue(Box::new(progress));
        }
        if matches!(progress.tie, Some(TieBreak::InProgress { .. })) {
            progress.tie = Some(TieBreak::Passed);
            (progress.page_token, progress.record_count) = (None, 0);
            return Step::Continue(Box::new(progress));
        }
        if let Some(window) = rule.window_secs
            && progress.until != progress.last_window_end
        {
            progress.since = progress.until.take();
            progress.until = window_end(rule, progress.since.as_deref(), progress.last_window_end.as_deref(), window);
            progress.restarted = true;
            (progress.page_token, progress.record_count) = (None, 0);
            return Step::Continue(Box::new(progress));
        }
        return Step::Complete { cursor: next_cursor(rule, &progress, cursor), read: Box::new(progress) };
    }
    match page.next_page {
        Some(turn) => {
            progress.page_token = Some(turn);
            Step::Continue(Box::new(progress))
        }
        None => {
            let cursor = progress.sync_token.clone().or_else(|| cursor.map(str::to_owned));
            Step::Complete { cursor, read: Box::new(progress) }
        }
    }
}

/// Asks for a list again from the newest record that was met of it, without the lookback. Where all records since `begins`
/// share one time it goes on by their second key. False where neither leads further.
fn restart(rule: &Incremental, progress: &mut Checkpoint, begins: Option<&CursorValue>) -> bool {
    match (&progress.tie, &rule.ties) {
        (Some(TieBreak::InProgress { after, met: Some(met) }), _) if met != after => {
            progress.tie = Some(TieBreak::InProgress { after: met.clone(), met: None });
        }
        (Some(TieBreak::InProgress { .. }), _) => return false,
        _ if is_newer(rule, progress.max_cursor.as_deref(), begins) => {
            progress.since.clone_from(&progress.max_cursor);
            progress.tie = None;
        }
        (None, Some(ties)) if progress.since.is_some() => {
            progress.tie = Some(TieBreak::InProgress { after: ties.from.clone(), met: None });
        }
        _ => return false,
    }
    progress.restarted = true;
    (progress.page_token, progress.record_count) = (None, 0);
    true
}

fn is_newer(rule: &Incremental, high: Option<&str>, begins: Option<&CursorValue>) -> bool {
    let high = high.and_then(|high| CursorValue::parse(&rule.format, high));
    high.is_some() && high.as_ref() > begins
}

/// How much before its `since` a list is asked for: the lookback is taken once, where it began.
fn lookback(rule: &Incremental, progress: &Checkpoint) -> u32 {
    if progress.restarted { 0 } else { rule.lookback }
}

/// The cursor after a list: never less than before, and no later than the list began. A list by windows has looked at all
/// there is until its end.
fn next_cursor(rule: &Incremental, progress: &Checkpoint, cursor: Option<&str>) -> Option<String> {
    let read = |text: &str| Some((CursorValue::parse(&rule.format, text)?, text.to_owned()));
    let mut high = progress.max_cursor.as_deref().and_then(read);
    let timed = !matches!(rule.format, CursorFormat::Integer | CursorFormat::Text);
    let began = progress.started_at.filter(|_| timed && rule.window_secs.is_none()).map(CursorValue::from_timestamp);
    if let (Some((met, _)), Some(began)) = (&high, began)
        && *met > began
    {
        high = began.format(&rule.format).map(|text| (began, text));
    }
    // A list by windows that began without a cursor had none, or one of a clock that was fast.
    let cursor = cursor.filter(|_| rule.window_secs.is_none() || !progress.is_complete_list);
    let candidates = [cursor.and_then(read), high, progress.last_window_end.as_deref().and_then(read)];
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
pub(super) fn since_text(rule: &Incremental, progress: &Checkpoint) -> Option<String> {
    let since = progress.since.as_deref()?;
    let moment = CursorValue::parse(&rule.format, since)?;
    let format = rule.write.as_ref().unwrap_or(&rule.format);
    let lookback = lookback(rule, progress);
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
