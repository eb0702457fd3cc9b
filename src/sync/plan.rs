//! How a list is read: what to begin with, and what to ask for after each page. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::api::Turn;
use crate::clock::{Timestamp, is_from_fast_clock};
use crate::connector::{CursorFormat, Incremental, Stream};
use crate::store::Mode;

/// How far the reading of a part has come. Kept with its records, so that any process goes on from there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    /// Whether it is a full list, asked for as such.
    pub(super) full: bool,
    /// Whether it began without a cursor: then it holds everything, also where it was asked for anew from its middle.
    pub(super) whole: bool,
    /// Where the list begins: a cursor in the records' own writing, or a sync token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<String>,
    /// Where it ends; absent for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<String>,
    /// Where the last of several windows ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<String>,
    /// The stretch that a backfill was asked for, in seconds of Unix time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asked: Option<(i64, Option<i64>)>,
    /// The next page; absent for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) turn: Option<Turn>,
    /// Records of this list so far.
    pub(super) seen: usize,
    /// The greatest that was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) high: Option<String>,
    /// The token that the next sync begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    /// When the vendor read its first page: what changed later may stand where the reading had been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) began: Option<Timestamp>,
    /// Of a full list: the store's version when it began.
    pub(super) begun: u64,
    /// It is the second look at a list, for what slipped between its pages.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) again: bool,
    /// All is read, and what was not met is still to be swept away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) swept_next: bool,
}

/// A page, as the plan sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub(super) count: usize,
    /// The greatest that its records are newer by, as the vendor wrote it.
    pub(super) high: Option<(Moment, String)>,
    /// How to ask for the next page.
    pub(super) next: Option<Turn>,
    pub(super) token: Option<String>,
    /// When the vendor read it, at the earliest.
    pub(super) read_at: Option<Timestamp>,
}

/// What follows a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More(Box<Progress>),
    /// All is read; where the next sync begins.
    End {
        cursor: Option<String>,
    },
}

/// What a list is read for.
#[derive(Clone, Debug, Default)]
pub(super) struct Goal {
    pub(super) mode: Mode,
    /// Of a backfill.
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

/// Whether what a list does not hold is gone: only where it holds everything.
pub(super) fn is_sweeping(stream: &Stream, progress: &Progress, goal: &Goal) -> bool {
    let windowed = stream.incremental.as_ref().is_some_and(|rule| rule.window_secs.is_some());
    goal.mode != Mode::Backfill && progress.whole && !windowed && !stream.forgets
}

/// Whether a reading that was cut off is one of what is asked for now. A backfill goes on with one that began earlier:
/// `--since 7d` means another second each time.
pub(super) fn goes_on(goal: &Goal, kept: &Progress, fresh: &Progress) -> bool {
    match goal.mode {
        Mode::Full => kept.full,
        Mode::Incremental => true,
        Mode::Backfill => {
            let both = kept.asked.zip(fresh.asked);
            both.is_some_and(|(kept, fresh)| kept.0 <= fresh.0 && kept.1 == fresh.1)
        }
    }
}

/// Where a part's reading begins.
pub(super) fn begin(stream: &Stream, goal: &Goal, cursor: Option<&str>, now: Timestamp) -> Progress {
    let mut progress = Progress { full: goal.mode == Mode::Full, ..Progress::default() };
    let Some(rule) = &stream.incremental else {
        if stream.token.is_some() && goal.mode == Mode::Incremental {
            progress.since = cursor.map(str::to_owned);
        }
        progress.whole = progress.since.is_none();
        return progress;
    };
    let write = |time: Timestamp| Moment::at(time).write(&rule.format);
    match goal.mode {
        Mode::Incremental => progress.since = cursor.map(str::to_owned),
        Mode::Full => {}
        Mode::Backfill => {
            progress.asked = goal.since.map(|since| (since.as_second(), goal.until.map(Timestamp::as_second)));
            progress.since = goal.since.and_then(write);
            progress.until = goal.until.and_then(write);
        }
    }
    progress.whole = progress.since.is_none();
    if let (Some(window), Some(earliest)) = (rule.window_secs, rule.earliest_secs) {
        let earliest = now.checked_sub(Duration::from_secs(earliest.into())).unwrap_or(Timestamp::UNIX_EPOCH);
        // The cursor of windows is this machine's time. One of the future was kept while the clock was fast: what came since
        // is not known, so that all is listed again.
        let is_past = |since: &String| {
            let since = Moment::read(&rule.format, since).and_then(|since| since.as_time());
            since.is_none_or(|since| !is_from_fast_clock(since, now))
        };
        let kept = progress.since.take();
        progress.since = kept.filter(|since| goal.mode == Mode::Backfill || is_past(since));
        progress.whole = progress.since.is_none();
        let from = progress.since.clone().or_else(|| write(earliest));
        progress.end = progress.until.clone().or_else(|| write(now));
        progress.since = from;
        progress.until = window_end(rule, progress.since.as_deref(), progress.end.as_deref(), window);
    }
    progress
}

/// What to ask for after a page.
pub(super) fn advance(stream: &Stream, mut progress: Progress, cursor: Option<&str>, page: Page) -> Step {
    progress.seen += page.count;
    progress.began = progress.began.or(page.read_at);
    let rule = stream.incremental.as_ref();
    if page.token.is_some() {
        progress.token = page.token;
    }
    let known = |text: Option<&str>| Some(Moment::read(&rule?.format, text?)).flatten();
    let page_high = page.high;
    if let Some((moment, text)) = &page_high
        && known(progress.high.as_deref()).is_none_or(|high| *moment > high)
    {
        progress.high = Some(text.clone());
    }
    if let Some(rule) = rule {
        let begins = known(progress.since.as_deref());
        let stop = begins.clone().map(|since| since.before(&rule.format, rule.lookback));
        let nothing_new = match (&stop, &page_high) {
            (Some(stop), Some((high, _))) => high < stop,
            _ => false,
        };
        if page.next.is_some() && !(rule.newest_first && nothing_new) {
            let high = known(progress.high.as_deref());
            let advanced = high.is_some() && high > begins;
            if rule.restart_after.is_some_and(|most| progress.seen >= most as usize) && advanced {
                progress.since.clone_from(&progress.high);
                (progress.turn, progress.seen) = (None, 0);
            } else {
                progress.turn = page.next;
            }
            return Step::More(Box::new(progress));
        }
        if let Some(window) = rule.window_secs
            && progress.until != progress.end
        {
            progress.since = progress.until.take();
            progress.until = window_end(rule, progress.since.as_deref(), progress.end.as_deref(), window);
            (progress.turn, progress.seen) = (None, 0);
            return Step::More(Box::new(progress));
        }
        return Step::End { cursor: reached(rule, &progress, cursor) };
    }
    match page.next {
        Some(turn) => {
            progress.turn = Some(turn);
            Step::More(Box::new(progress))
        }
        None => Step::End { cursor: progress.token.or_else(|| cursor.map(str::to_owned)) },
    }
}

/// The cursor after a list: never less than before, and no later than the list began. A list by windows has looked at all
/// there is until its end.
fn reached(rule: &Incremental, progress: &Progress, cursor: Option<&str>) -> Option<String> {
    let read = |text: &str| Some((Moment::read(&rule.format, text)?, text.to_owned()));
    let mut high = progress.high.as_deref().and_then(read);
    let timed = !matches!(rule.format, CursorFormat::Integer | CursorFormat::Text);
    let began = progress.began.filter(|_| timed && rule.window_secs.is_none()).map(Moment::at);
    if let (Some((met, _)), Some(began)) = (&high, began)
        && *met > began
    {
        high = began.write(&rule.format).map(|text| (began, text));
    }
    // A list by windows that began without a cursor had none, or one of a clock that was fast.
    let cursor = cursor.filter(|_| rule.window_secs.is_none() || !progress.whole);
    let candidates = [cursor.and_then(read), high, progress.end.as_deref().and_then(read)];
    let greatest = candidates.into_iter().flatten().reduce(|one, other| if other.0 > one.0 { other } else { one });
    greatest.map(|(_, text)| text)
}

fn window_end(rule: &Incremental, since: Option<&str>, end: Option<&str>, window: u32) -> Option<String> {
    let since = Moment::read(&rule.format, since?)?.as_time()?;
    let until = Moment::at(since.checked_add(Duration::from_secs(window.into())).ok()?);
    let last = Moment::read(&rule.format, end?)?;
    if until < last { until.write(&rule.format) } else { end.map(str::to_owned) }
}

/// `{since}` as requests say it.
pub(super) fn since_text(rule: &Incremental, since: &str) -> Option<String> {
    let moment = Moment::read(&rule.format, since)?;
    let format = rule.write.as_ref().unwrap_or(&rule.format);
    // As the vendor wrote it where nothing has to be changed: some compare texts.
    if rule.lookback == 0 && rule.write.is_none() {
        return Some(since.to_owned());
    }
    moment.before(&rule.format, rule.lookback).write(format)
}

/// `{until}` as requests say it: now where the list has no end of its own.
pub(super) fn until_text(rule: &Incremental, until: Option<&str>, now: Timestamp) -> Option<String> {
    let format = rule.write.as_ref().unwrap_or(&rule.format);
    match until {
        Some(until) => Moment::read(&rule.format, until)?.write(format),
        None => Moment::at(now).write(format),
    }
}
