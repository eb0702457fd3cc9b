//! The plan of a list, without any network: where it begins, what follows a page, and where it ends.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::checkpoint::{
    Checkpoint, PageSummary, ReadGoal, Step, TieBreak, first_checkpoint, is_resumable, is_sweeping, next_step,
    until_text,
};
use super::cursor_value::CursorValue;
use crate::api::PageToken;
use crate::clock::Timestamp;
use crate::connector::{CursorFormat, Incremental, Stream};
use crate::model::SyncMode;

const NOW: &str = "2026-11-20T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn stream(rest: &str) -> Stream {
    toml::from_str(&format!("about = \"x\"\npath = \"/things\"\nkey = [\"/id\"]\n{rest}")).unwrap()
}

/// A list that is newer by a number.
fn numbered(rest: &str) -> Stream {
    stream(&format!("incremental = {{ at = \"/n\", format = \"integer\", query = {{ from = \"{{since}}\" }}{rest} }}"))
}

fn page(high: Option<i64>, count: usize, next: Option<u64>) -> PageSummary {
    let high = high.map(|high| (CursorValue::Number(high.into()), high.to_string()));
    PageSummary { count, max_cursor: high, next_page: next.map(PageToken::Count), ..PageSummary::default() }
}

fn more(step: Step) -> Checkpoint {
    match step {
        Step::Continue(progress) => *progress,
        Step::Complete { cursor, .. } => panic!("it ended at {cursor:?}"),
    }
}

fn end(step: Step) -> Option<String> {
    match step {
        Step::Complete { cursor, .. } => cursor,
        Step::Continue(progress) => panic!("it goes on with {progress:?}"),
    }
}

fn full() -> ReadGoal {
    ReadGoal { mode: SyncMode::Full, ..ReadGoal::default() }
}

#[test]
fn a_list_begins_at_the_cursor_and_ends_at_the_greatest_that_was_met() {
    let stream = numbered("");
    let first = first_checkpoint(&stream, &ReadGoal::default(), None, now());
    assert_eq!((first.since.as_deref(), first.is_full), (None, false));
    let second = more(next_step(&stream, first, None, page(Some(20), 10, Some(2))));
    assert_eq!(
        (second.page_token.clone(), second.record_count, second.max_cursor.as_deref()),
        (Some(PageToken::Count(2)), 10, Some("20"))
    );
    // A page of less is no reason to go back.
    assert_eq!(end(next_step(&stream, second, None, page(Some(9), 4, None))).as_deref(), Some("20"));
    let again = first_checkpoint(&stream, &ReadGoal::default(), Some("20"), now());
    assert_eq!(again.since.as_deref(), Some("20"));
    for high in [None, Some(7), Some(20)] {
        assert_eq!(end(next_step(&stream, again.clone(), Some("20"), page(high, 1, None))).as_deref(), Some("20"));
    }
}

#[test]
fn a_list_that_moves_is_asked_for_anew_from_its_newest() {
    let stream = numbered(", restart_after = 20");
    let first = first_checkpoint(&stream, &ReadGoal::default(), Some("5"), now());
    let second = more(next_step(&stream, first, Some("5"), page(Some(8), 10, Some(2))));
    assert_eq!((second.since.as_deref(), second.page_token.clone()), (Some("5"), Some(PageToken::Count(2))));
    let anew = more(next_step(&stream, second, Some("5"), page(Some(9), 10, Some(3))));
    assert_eq!((anew.since.as_deref(), anew.page_token.clone(), anew.record_count), (Some("9"), None, 0));
    // More records of one moment than are read before a restart: only the pages lead on.
    let stuck = more(next_step(&stream, anew, Some("5"), page(Some(9), 20, Some(2))));
    assert_eq!(
        (stuck.since.as_deref(), stuck.page_token.clone(), stuck.record_count),
        (Some("9"), Some(PageToken::Count(2)), 20)
    );
    let beyond = more(next_step(&stream, stuck, Some("5"), page(Some(10), 10, Some(3))));
    assert_eq!((beyond.since.as_deref(), beyond.page_token), (Some("10"), None));
}

#[test]
fn a_list_that_was_asked_for_anew_is_still_all_of_it() {
    let stream = numbered(", restart_after = 10");
    let progress = first_checkpoint(&stream, &full(), Some("5"), now());
    assert!(is_sweeping(&stream, &progress, &full()));
    let anew = more(next_step(&stream, progress, Some("5"), page(Some(9), 10, Some(2))));
    assert_eq!(anew.since.as_deref(), Some("9"));
    // Another process goes on from here.
    assert!(is_sweeping(&stream, &anew, &full()), "what it does not hold is gone");
}

#[test]
fn the_newest_first_are_read_until_nothing_is_new() {
    let stream = numbered(", newest_first = true, lookback = 2");
    let first = first_checkpoint(&stream, &ReadGoal::default(), Some("50"), now());
    let second = more(next_step(&stream, first.clone(), Some("50"), page(Some(90), 10, Some(2))));
    let third = more(next_step(&stream, second, Some("50"), page(Some(48), 10, Some(3))));
    assert_eq!(end(next_step(&stream, third, Some("50"), page(Some(47), 10, Some(4)))).as_deref(), Some("90"));
    // A page that says nothing of its age, and a first list, are read to the end.
    more(next_step(&stream, first, Some("50"), page(None, 10, Some(2))));
    let whole = first_checkpoint(&stream, &ReadGoal::default(), None, now());
    more(next_step(&stream, whole, None, page(Some(1), 10, Some(2))));
    let full = first_checkpoint(&stream, &full(), Some("50"), now());
    more(next_step(&stream, full, Some("50"), page(Some(1), 10, Some(2))));
}

#[test]
fn windows_follow_each_other_without_a_gap_and_end_now() {
    let rule = "incremental = { at = \"/at\", query = { from = \"{since}\", to = \"{until}\" }, window_secs = 86400, \
                earliest_secs = 250000 }";
    let stream = stream(rule);
    let mut progress = first_checkpoint(&stream, &ReadGoal::default(), None, now());
    assert!(!is_sweeping(&stream, &progress, &ReadGoal::default()), "nobody lists what is older");
    let mut covered = vec![(progress.since.clone().unwrap(), progress.until.clone().unwrap())];
    // A page in the middle of a window stays in it.
    let next = more(next_step(
        &stream,
        progress.clone(),
        None,
        PageSummary { next_page: Some(PageToken::Count(2)), ..PageSummary::default() },
    ));
    assert_eq!((&next.since, &next.until), (&progress.since, &progress.until));
    let cursor = loop {
        match next_step(&stream, progress, None, PageSummary::default()) {
            Step::Continue(next) => progress = *next,
            Step::Complete { cursor, .. } => break cursor,
        }
        covered.push((progress.since.clone().unwrap(), progress.until.clone().unwrap()));
    };
    assert_eq!(covered.first().unwrap().0, "2026-11-17T14:33:20Z");
    assert_eq!(covered.last().unwrap().1, NOW);
    assert_eq!(covered.len(), 3);
    assert!(covered.windows(2).all(|pair| pair[0].1 == pair[1].0), "{covered:?}");
    assert_eq!(cursor.as_deref(), Some(NOW), "an empty list has been looked at, too");
    // A cursor that a fast clock has put into the future would hide a year of records: all is listed again.
    let fast = Some("2027-11-20T12:00:00Z");
    let mut again = first_checkpoint(&stream, &ReadGoal::default(), fast, now());
    assert_eq!(again.since.as_deref(), Some("2026-11-17T14:33:20Z"));
    let corrected = loop {
        match next_step(&stream, again, fast, PageSummary::default()) {
            Step::Continue(next) => again = *next,
            Step::Complete { cursor, .. } => break cursor,
        }
    };
    assert_eq!(corrected.as_deref(), Some(NOW));
    let later = first_checkpoint(&stream, &ReadGoal::default(), Some(NOW), "2026-11-20T13:00:00Z".parse().unwrap());
    assert_eq!((later.since.as_deref(), later.until.as_deref()), (Some(NOW), Some("2026-11-20T13:00:00Z")));
}

#[test]
fn a_backfill_knows_only_its_own_bounds() {
    let stream = stream("incremental = { at = \"/at\", query = { from = \"{since}\" }, until = { to = \"{until}\" } }");
    let time = |text: &str| Some(text.parse().unwrap());
    let goal =
        ReadGoal { mode: SyncMode::Backfill, since: time("2026-01-01T00:00:00Z"), until: time("2026-02-01T00:00:00Z") };
    let progress = first_checkpoint(&stream, &goal, Some("2026-11-01T00:00:00Z"), now());
    assert_eq!(progress.since.as_deref(), Some("2026-01-01T00:00:00Z"));
    assert_eq!(progress.until.as_deref(), Some("2026-02-01T00:00:00Z"));
    assert!(!is_sweeping(&stream, &progress, &goal));
    let open = ReadGoal { until: None, ..goal.clone() };
    assert_eq!(first_checkpoint(&stream, &open, None, now()).until, None);
    // What was cut off is not taken for another stretch.
    let kept = more(next_step(&stream, progress, None, page(None, 1, Some(2))));
    let fresh = |since: &str, until: &str| ReadGoal { since: time(since), until: time(until), ..goal.clone() };
    for (goal, expected) in [
        (goal.clone(), true),
        (fresh("2026-01-01T00:00:07Z", "2026-02-01T00:00:00Z"), true),
        (fresh("2025-12-01T00:00:00Z", "2026-02-01T00:00:00Z"), false),
        (fresh("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"), false),
        (open, false),
    ] {
        assert_eq!(is_resumable(&goal, &kept, &first_checkpoint(&stream, &goal, None, now())), expected, "{goal:?}");
    }
}

#[test]
fn a_token_is_the_last_that_a_list_gave() {
    let stream = stream("token = { at = \"/next\", query = { since = \"{token}\" } }");
    let told = |token: Option<&str>, next: Option<u64>| PageSummary {
        sync_token: token.map(str::to_owned),
        ..page(None, 5, next)
    };
    let first = first_checkpoint(&stream, &ReadGoal::default(), None, now());
    assert!(is_sweeping(&stream, &first, &ReadGoal::default()));
    let second = more(next_step(&stream, first, None, told(Some("early"), Some(2))));
    assert_eq!(end(next_step(&stream, second.clone(), None, told(Some("late"), None))).as_deref(), Some("late"));
    assert_eq!(end(next_step(&stream, second, None, told(None, None))).as_deref(), Some("early"));
    let changes = first_checkpoint(&stream, &ReadGoal::default(), Some("late"), now());
    assert_eq!(changes.since.as_deref(), Some("late"));
    assert!(!is_sweeping(&stream, &changes, &ReadGoal::default()));
    // An answer without one leaves what there was.
    assert_eq!(end(next_step(&stream, changes, Some("late"), told(None, None))).as_deref(), Some("late"));
    assert_eq!(first_checkpoint(&stream, &full(), Some("late"), now()).since, None);
}

#[test]
fn only_what_lists_everything_may_sweep() {
    let plain = stream("");
    assert!(is_sweeping(&plain, &first_checkpoint(&plain, &ReadGoal::default(), None, now()), &ReadGoal::default()));
    let forgets = stream("forgets = true");
    assert!(!is_sweeping(&forgets, &first_checkpoint(&forgets, &full(), None, now()), &full()));
    let filtered = numbered("");
    assert!(!is_sweeping(
        &filtered,
        &first_checkpoint(&filtered, &ReadGoal::default(), Some("5"), now()),
        &ReadGoal::default()
    ));
}

#[test]
fn times_are_written_as_requests_want_them() {
    let rule = |rest: &str| {
        let text = format!("incremental = {{ at = \"/at\", query = {{ from = \"{{since}}\" }}{rest} }}");
        stream(&text).incremental.unwrap()
    };
    let odd = "2026-11-20T10:00:00.120+0100";
    let since_text = |rule: &Incremental, since: &str, restarted: bool| {
        super::checkpoint::since_text(
            rule,
            &Checkpoint { since: Some(since.to_owned()), restarted, ..Checkpoint::default() },
        )
    };
    assert_eq!(since_text(&rule(""), odd, false).as_deref(), Some(odd), "as the vendor wrote it");
    assert_eq!(since_text(&rule(", lookback = 60"), odd, false).as_deref(), Some("2026-11-20T08:59:00.12Z"));
    assert_eq!(since_text(&rule(", lookback = 60"), odd, true).as_deref(), Some(odd), "once");
    // What a format cannot say makes the time earlier, never later.
    let minutes = rule(", write = { strftime = \"%Y-%m-%d %H:%M\" }");
    assert_eq!(since_text(&minutes, odd, false).as_deref(), Some("2026-11-20 09:00"));
    assert_eq!(until_text(&minutes, None, now()).as_deref(), Some("2026-11-20 12:00"));
    assert_eq!(since_text(&rule(""), "no time", false), None);
}

/// A vendor whose list comes oldest first and whose records move to its end when they change, also between two pages.
struct Moving {
    /// What each record is newer by; the index is its key.
    records: Vec<i64>,
    clock: i64,
}

impl Moving {
    /// A page by number, as of now.
    fn page(&self, since: Option<&str>, number: u64, size: usize) -> (Vec<usize>, PageSummary) {
        let since: i64 = since.map_or(i64::MIN, |since| since.parse().unwrap());
        let mut listed: Vec<(i64, usize)> =
            self.records.iter().enumerate().filter(|(_, at)| **at >= since).map(|(key, at)| (*at, key)).collect();
        listed.sort_unstable();
        let from = (usize::try_from(number).unwrap() - 1) * size;
        let taken: Vec<(i64, usize)> = listed.iter().skip(from).take(size).copied().collect();
        let next = (from + size < listed.len()).then_some(number + 1);
        let high = taken.iter().map(|(at, _)| *at).max();
        (taken.iter().map(|(_, key)| *key).collect(), page(high, taken.len(), next))
    }
}

#[test]
fn a_cursor_ends_where_the_reading_began() {
    let stream = stream(r#"incremental = { at = "/at", query = { since = "{since}" } }"#);
    let at = |text: &str| (CursorValue::parse(&CursorFormat::Rfc3339, text).unwrap(), text.to_owned());
    let read = |high: &str, read_at: &str, next| PageSummary {
        count: 1,
        max_cursor: Some(at(high)),
        next_page: next,
        read_at: Some(read_at.parse().unwrap()),
        ..PageSummary::default()
    };
    let ended = |cursor: Option<&str>, first: &str, second: &str| {
        let begun = first_checkpoint(&stream, &ReadGoal::default(), cursor, now());
        let Step::Continue(next) =
            next_step(&stream, begun, cursor, read(first, "2026-11-20T11:00:00Z", Some(PageToken::Count(2))))
        else {
            panic!("there is another page")
        };
        // A later page was read later, and another process may read it.
        match next_step(&stream, kept(&next), cursor, read(second, "2026-11-20T11:05:00Z", None)) {
            Step::Complete { cursor, .. } => cursor.unwrap(),
            Step::Continue(_) => panic!("there is no other page"),
        }
    };
    // What changed on the first page while the second was read is older than what was met there.
    assert_eq!(ended(None, "2026-11-20T10:00:00Z", "2026-11-20T11:03:00Z"), "2026-11-20T11:00:00Z");
    assert_eq!(ended(None, "2026-11-20T10:00:00+01:00", "2026-11-20T09:30:00Z"), "2026-11-20T09:30:00Z");
    let cursor = Some("2026-11-20T11:30:00Z");
    assert_eq!(ended(cursor, "2026-11-20T11:40:00Z", "2026-11-20T11:50:00Z"), "2026-11-20T11:30:00Z", "never back");
}

#[test]
fn a_moment_with_more_records_than_a_list_holds_is_listed_by_the_second_key() {
    let stream = numbered(
        ", restart_after = 4, lookback = 10, ties = { at = \"/id\", from = \"0\", query = { equal = \"{since}\" }, \
         past = { query = { above = \"{since}\" } } }",
    );
    let at = |high: i64, id: &str, next: bool| PageSummary {
        second_key: Some(id.to_owned()),
        ..page(Some(high), 2, next.then_some(2))
    };
    let begun = first_checkpoint(&stream, &ReadGoal::default(), Some("50"), now());
    // The lookback is taken once: from 40 to 45, of which there are more than four.
    let next = more(next_step(&stream, begun, Some("50"), at(45, "2", true)));
    let next = more(next_step(&stream, next, Some("50"), at(45, "4", true)));
    assert_eq!((next.since.as_deref(), &next.page_token, next.restarted), (Some("45"), &None, true));
    let next = more(next_step(&stream, next, Some("50"), at(45, "2", true)));
    let next = more(next_step(&stream, kept(&next), Some("50"), at(45, "4", true)));
    assert_eq!(next.tie, Some(TieBreak::InProgress { after: "0".to_owned(), met: None }));
    let next = more(next_step(&stream, next, Some("50"), at(45, "9", true)));
    let next = more(next_step(&stream, next, Some("50"), at(45, "10", true)));
    assert_eq!(next.tie, Some(TieBreak::InProgress { after: "10".to_owned(), met: None }), "as a number");
    let next = more(next_step(&stream, kept(&next), Some("50"), at(45, "12", false)));
    assert_eq!(
        (next.tie.clone(), next.since.as_deref(), &next.page_token),
        (Some(TieBreak::Passed), Some("45"), &None)
    );
    let next = more(next_step(&stream, next, Some("50"), at(47, "1", true)));
    let next = more(next_step(&stream, next, Some("50"), at(60, "3", true)));
    assert_eq!((next.tie.clone(), next.since.as_deref()), (None, Some("60")));
    assert_eq!(end(next_step(&stream, next, Some("50"), at(61, "5", false))).as_deref(), Some("61"));
}

/// What a process that goes on finds of what another left.
fn kept(progress: &Checkpoint) -> Checkpoint {
    serde_json::from_str(&serde_json::to_string(progress).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn no_sequence_of_pages_leads_a_cursor_back(
        pages in proptest::collection::vec((proptest::option::of(-50_i64..50), 0_usize..30, any::<bool>()), 1..40),
        cursor in proptest::option::of(-40_i64..40),
        restart in proptest::option::of(1_u32..60),
        newest_first in any::<bool>(),
        lookback in 0_u32..10,
    ) {
        let restart = restart.map(|most| format!(", restart_after = {most}")).unwrap_or_default();
        let stream = numbered(&format!(", newest_first = {newest_first}, lookback = {lookback}{restart}"));
        let cursor = cursor.map(|cursor| cursor.to_string());
        let mut progress = first_checkpoint(&stream, &ReadGoal::default(), cursor.as_deref(), now());
        let mut greatest: Option<i64> = cursor.as_deref().map(|cursor| cursor.parse().unwrap());
        let mut since = greatest;
        let last = pages.len() - 1;
        for (index, (high, count, is_resumable)) in pages.into_iter().enumerate() {
            greatest = greatest.max(high);
            let next = (is_resumable && index < last).then_some(index as u64 + 2);
            match next_step(&stream, kept(&progress), cursor.as_deref(), page(high, count, next)) {
                Step::Continue(after) => {
                    prop_assert!(next.is_some());
                    let begins: Option<i64> = after.since.as_deref().map(|since| since.parse().unwrap());
                    // What was asked for before, with the lookback that is taken once.
                    let asked = if progress.restarted { since } else { since.map(|since| since - i64::from(lookback)) };
                    prop_assert!(begins >= asked, "{begins:?} after {since:?}");
                    // Asked for again only from where it has been, and never twice from the same place.
                    prop_assert!(after.page_token.is_some() || (begins > asked && begins <= greatest));
                    since = begins;
                    progress = *after;
                }
                Step::Complete { cursor: reached, .. } => {
                    let reached: Option<i64> = reached.map(|reached| reached.parse().unwrap());
                    prop_assert_eq!(reached, greatest);
                    break;
                }
            }
        }
    }

    #[test]
    fn windows_end_at_now_or_later_whatever_they_hold(
        highs in proptest::collection::vec(proptest::option::of(-400_000_i64..4_000), 0..12),
        since in proptest::option::of(0_i64..500_000),
        window in 3_600_u32..200_000,
    ) {
        let stream = stream(&format!(
            "incremental = {{ at = \"/at\", format = \"unix\", query = {{ from = \"{{since}}\" }}, window_secs = {window}, \
             earliest_secs = 300000 }}"
        ));
        let base = now().as_second();
        let cursor = since.map(|since| (base - since).to_string());
        let mut progress = first_checkpoint(&stream, &ReadGoal::default(), cursor.as_deref(), now());
        let mut greatest = base;
        let mut highs = highs.into_iter();
        let reached = loop {
            let high = highs.next().flatten().map(|high| base + high);
            greatest = greatest.max(high.unwrap_or(i64::MIN));
            let moment = high.map(|high| (CursorValue::parse(&CursorFormat::Unix, &high.to_string()).unwrap(), high.to_string()));
            let page = PageSummary { count: 1, max_cursor: moment, ..PageSummary::default() };
            let (from, to) = (progress.since.clone().unwrap(), progress.until.clone().unwrap());
            let length = to.parse::<i64>().unwrap() - from.parse::<i64>().unwrap();
            prop_assert!((0..=i64::from(window)).contains(&length));
            match next_step(&stream, kept(&progress), cursor.as_deref(), page) {
                Step::Continue(next) => {
                    prop_assert_eq!(next.since.as_ref(), Some(&to), "no gap");
                    progress = *next;
                }
                Step::Complete { cursor, .. } => break cursor.unwrap(),
            }
        };
        prop_assert_eq!(reached.parse::<i64>().unwrap(), greatest);
    }

    #[test]
    fn a_list_that_moves_under_the_reader_loses_nothing(
        count in 1_usize..60,
        alike in 1_i64..5,
        size in 5_usize..12,
        touches in proptest::collection::vec(proptest::collection::vec(0_usize..60, 0..4), 0..30),
        cuts in proptest::collection::vec(any::<bool>(), 0..30),
    ) {
        let stream = numbered(&format!(", restart_after = {size}"));
        let clock = count as i64 / alike;
        let mut vendor = Moving { records: (0..count as i64).map(|key| key / alike).collect(), clock };
        let mut store = vec![None; count];
        let mut progress = first_checkpoint(&stream, &ReadGoal::default(), None, now());
        let (mut touches, mut cuts) = (touches.into_iter(), cuts.into_iter());
        let mut asked = BTreeSet::new();
        loop {
            let number = match &progress.page_token {
                Some(PageToken::Count(number)) => *number,
                _ => 1,
            };
            prop_assert!(asked.insert((progress.since.clone(), number)), "the same page twice");
            let (keys, page) = vendor.page(progress.since.as_deref(), number, size);
            for key in keys {
                store[key] = Some(vendor.records[key]);
            }
            // Killed between the page and the next: what was kept is all that there is.
            if cuts.next() == Some(true) {
                progress = kept(&progress);
            }
            match next_step(&stream, progress, None, page) {
                Step::Continue(next) => progress = *next,
                Step::Complete { cursor, .. } => {
                    let newest = vendor.records.iter().max().unwrap();
                    prop_assert!(cursor.unwrap().parse::<i64>().unwrap() <= *newest);
                    break;
                }
            }
            for key in touches.next().into_iter().flatten().filter(|key| *key < count) {
                vendor.clock += 1;
                vendor.records[key] = vendor.clock;
            }
        }
        let expected: Vec<Option<i64>> = vendor.records.iter().copied().map(Some).collect();
        prop_assert_eq!(store, expected);
    }
}
