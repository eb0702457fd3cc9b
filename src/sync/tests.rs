//! The plan of a list, without any network: where it begins, what follows a page, and where it ends.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::checkpoint::{
    AfterFullList, Checkpoint, ListCompletion, ListPlan, NextRead, PageSummary, ReadGoal, Step, TieBreak, until_text,
};
use super::cursor_value::CursorValue;
use crate::api::{PagePosition, PageToken};
use crate::clock::Timestamp;
use crate::connector::{CursorFormat, Incremental, Stream};
use crate::model::{PageCheckpoint, PartitionId, SyncMode};

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
    let first = Checkpoint::first(&stream, &ReadGoal::default(), None, now());
    assert_eq!((first.since.as_deref(), first.is_full), (None, false));
    let second = more(first.after_page(&stream, None, page(Some(20), 10, Some(2))));
    assert_eq!(
        (second.position.page_token.clone(), second.position.record_count, second.max_cursor.as_deref()),
        (Some(PageToken::Count(2)), 10, Some("20"))
    );
    // A page of less is not a reason to go back.
    assert_eq!(end(second.after_page(&stream, None, page(Some(9), 4, None))).as_deref(), Some("20"));
    let again = Checkpoint::first(&stream, &ReadGoal::default(), Some("20"), now());
    assert_eq!(again.since.as_deref(), Some("20"));
    for high in [None, Some(7), Some(20)] {
        assert_eq!(end(again.clone().after_page(&stream, Some("20"), page(high, 1, None))).as_deref(), Some("20"));
    }
}

#[test]
fn a_list_that_moves_is_asked_for_restarted_from_its_newest() {
    let stream = numbered(", restart_after = 20");
    let first = Checkpoint::first(&stream, &ReadGoal::default(), Some("5"), now());
    let second = more(first.after_page(&stream, Some("5"), page(Some(8), 10, Some(2))));
    assert_eq!((second.since.as_deref(), second.position.page_token.clone()), (Some("5"), Some(PageToken::Count(2))));
    let restarted = more(second.after_page(&stream, Some("5"), page(Some(9), 10, Some(3))));
    assert_eq!(
        (restarted.since.as_deref(), restarted.position.page_token.clone(), restarted.position.record_count),
        (Some("9"), None, 0)
    );
    // More records of one moment than are read before a restart: only the pages lead on.
    let stuck = more(restarted.after_page(&stream, Some("5"), page(Some(9), 20, Some(2))));
    assert_eq!(
        (stuck.since.as_deref(), stuck.position.page_token.clone(), stuck.position.record_count),
        (Some("9"), Some(PageToken::Count(2)), 20)
    );
    let beyond = more(stuck.after_page(&stream, Some("5"), page(Some(10), 10, Some(3))));
    assert_eq!((beyond.since.as_deref(), beyond.position.page_token), (Some("10"), None));
}

#[test]
fn a_list_that_was_asked_for_restarted_is_still_all_of_it() {
    let stream = numbered(", restart_after = 10");
    let progress = Checkpoint::first(&stream, &full(), Some("5"), now());
    assert!(progress.is_sweeping(&stream, &full()));
    let restarted = more(progress.after_page(&stream, Some("5"), page(Some(9), 10, Some(2))));
    assert_eq!(restarted.since.as_deref(), Some("9"));
    // Another process goes on from here.
    assert!(restarted.is_sweeping(&stream, &full()), "what it does not hold is gone");
}

#[test]
fn the_newest_first_are_read_until_nothing_is_new() {
    let stream = numbered(", newest_first = true, lookback = 2");
    let first = Checkpoint::first(&stream, &ReadGoal::default(), Some("50"), now());
    let second = more(first.clone().after_page(&stream, Some("50"), page(Some(90), 10, Some(2))));
    let third = more(second.after_page(&stream, Some("50"), page(Some(48), 10, Some(3))));
    assert_eq!(end(third.after_page(&stream, Some("50"), page(Some(47), 10, Some(4)))).as_deref(), Some("90"));
    // A page that says nothing of its age, and a first list, are read to the end.
    more(first.after_page(&stream, Some("50"), page(None, 10, Some(2))));
    let whole = Checkpoint::first(&stream, &ReadGoal::default(), None, now());
    more(whole.after_page(&stream, None, page(Some(1), 10, Some(2))));
    let full = Checkpoint::first(&stream, &full(), Some("50"), now());
    more(full.after_page(&stream, Some("50"), page(Some(1), 10, Some(2))));
}

#[test]
fn windows_follow_each_other_without_a_gap_and_end_now() {
    let rule = "incremental = { at = \"/at\", query = { from = \"{since}\", to = \"{until}\" }, window_secs = 86400, \
                earliest_secs = 250000 }";
    let stream = stream(rule);
    let mut progress = Checkpoint::first(&stream, &ReadGoal::default(), None, now());
    assert!(!progress.is_sweeping(&stream, &ReadGoal::default()), "nobody lists what is older");
    let mut covered = vec![(progress.since.clone().unwrap(), progress.until.clone().unwrap())];
    // A page in the middle of a window stays in it.
    let middle = PageSummary { next_page: Some(PageToken::Count(2)), ..PageSummary::default() };
    let next = more(progress.clone().after_page(&stream, None, middle));
    assert_eq!((&next.since, &next.until), (&progress.since, &progress.until));
    let cursor = loop {
        match progress.after_page(&stream, None, PageSummary::default()) {
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
    let mut again = Checkpoint::first(&stream, &ReadGoal::default(), fast, now());
    assert_eq!(again.since.as_deref(), Some("2026-11-17T14:33:20Z"));
    let corrected = loop {
        match again.after_page(&stream, fast, PageSummary::default()) {
            Step::Continue(next) => again = *next,
            Step::Complete { cursor, .. } => break cursor,
        }
    };
    assert_eq!(corrected.as_deref(), Some(NOW));
    let later = Checkpoint::first(&stream, &ReadGoal::default(), Some(NOW), "2026-11-20T13:00:00Z".parse().unwrap());
    assert_eq!((later.since.as_deref(), later.until.as_deref()), (Some(NOW), Some("2026-11-20T13:00:00Z")));
}

#[test]
fn a_backfill_knows_only_its_own_bounds() {
    let stream = stream("incremental = { at = \"/at\", query = { from = \"{since}\" }, until = { to = \"{until}\" } }");
    let time = |text: &str| Some(text.parse().unwrap());
    let goal =
        ReadGoal { mode: SyncMode::Backfill, since: time("2026-01-01T00:00:00Z"), until: time("2026-02-01T00:00:00Z") };
    let progress = Checkpoint::first(&stream, &goal, Some("2026-11-01T00:00:00Z"), now());
    assert_eq!(progress.since.as_deref(), Some("2026-01-01T00:00:00Z"));
    assert_eq!(progress.until.as_deref(), Some("2026-02-01T00:00:00Z"));
    assert!(!progress.is_sweeping(&stream, &goal));
    let open = ReadGoal { until: None, ..goal.clone() };
    assert_eq!(Checkpoint::first(&stream, &open, None, now()).until, None);
    // What was cut off is not taken for another stretch.
    let kept = more(progress.after_page(&stream, None, page(None, 1, Some(2))));
    let fresh = |since: &str, until: &str| ReadGoal { since: time(since), until: time(until), ..goal.clone() };
    for (goal, expected) in [
        (goal.clone(), true),
        (fresh("2026-01-01T00:00:07Z", "2026-02-01T00:00:00Z"), true),
        (fresh("2025-12-01T00:00:00Z", "2026-02-01T00:00:00Z"), false),
        (fresh("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"), false),
        (open, false),
    ] {
        assert_eq!(kept.is_resumable(&goal, &Checkpoint::first(&stream, &goal, None, now())), expected, "{goal:?}");
    }
}

#[test]
fn a_token_is_the_last_that_a_list_gave() {
    let stream = stream("token = { at = \"/next\", query = { since = \"{token}\" } }");
    let told = |token: Option<&str>, next: Option<u64>| PageSummary {
        sync_token: token.map(str::to_owned),
        ..page(None, 5, next)
    };
    let first = Checkpoint::first(&stream, &ReadGoal::default(), None, now());
    assert!(first.is_sweeping(&stream, &ReadGoal::default()));
    let second = more(first.after_page(&stream, None, told(Some("early"), Some(2))));
    assert_eq!(end(second.clone().after_page(&stream, None, told(Some("late"), None))).as_deref(), Some("late"));
    assert_eq!(end(second.after_page(&stream, None, told(None, None))).as_deref(), Some("early"));
    let changes = Checkpoint::first(&stream, &ReadGoal::default(), Some("late"), now());
    assert_eq!(changes.since.as_deref(), Some("late"));
    assert!(!changes.is_sweeping(&stream, &ReadGoal::default()));
    // An answer without one leaves what there was.
    assert_eq!(end(changes.after_page(&stream, Some("late"), told(None, None))).as_deref(), Some("late"));
    assert_eq!(Checkpoint::first(&stream, &full(), Some("late"), now()).since, None);
}

#[test]
fn only_what_lists_everything_may_sweep() {
    let plain = stream("");
    assert!(Checkpoint::first(&plain, &ReadGoal::default(), None, now()).is_sweeping(&plain, &ReadGoal::default()));
    let forgets = stream("forgets = true");
    assert!(!Checkpoint::first(&forgets, &full(), None, now()).is_sweeping(&forgets, &full()));
    let filtered = numbered("");
    let changes = Checkpoint::first(&filtered, &ReadGoal::default(), Some("5"), now());
    assert!(!changes.is_sweeping(&filtered, &ReadGoal::default()));
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
        let begun = Checkpoint::first(&stream, &ReadGoal::default(), cursor, now());
        let Step::Continue(next) =
            begun.after_page(&stream, cursor, read(first, "2026-11-20T11:00:00Z", Some(PageToken::Count(2))))
        else {
            panic!("there is another page")
        };
        // A later page was read later, and another process may read it.
        match kept(&next).after_page(&stream, cursor, read(second, "2026-11-20T11:05:00Z", None)) {
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
    let begun = Checkpoint::first(&stream, &ReadGoal::default(), Some("50"), now());
    // The lookback is taken once: from 40 to 45, of which there are more than four.
    let next = more(begun.after_page(&stream, Some("50"), at(45, "2", true)));
    let next = more(next.after_page(&stream, Some("50"), at(45, "4", true)));
    assert_eq!((next.since.as_deref(), &next.position.page_token, next.restarted), (Some("45"), &None, true));
    let next = more(next.after_page(&stream, Some("50"), at(45, "2", true)));
    let next = more(kept(&next).after_page(&stream, Some("50"), at(45, "4", true)));
    assert_eq!(next.tie, Some(TieBreak::InProgress { after: "0".to_owned(), met: None }));
    let next = more(next.after_page(&stream, Some("50"), at(45, "9", true)));
    let next = more(next.after_page(&stream, Some("50"), at(45, "10", true)));
    assert_eq!(next.tie, Some(TieBreak::InProgress { after: "10".to_owned(), met: None }), "as a number");
    let next = more(kept(&next).after_page(&stream, Some("50"), at(45, "12", false)));
    assert_eq!(
        (next.tie.clone(), next.since.as_deref(), &next.position.page_token),
        (Some(TieBreak::Passed), Some("45"), &None)
    );
    let next = more(next.after_page(&stream, Some("50"), at(47, "1", true)));
    let next = more(next.after_page(&stream, Some("50"), at(60, "3", true)));
    assert_eq!((next.tie.clone(), next.since.as_deref()), (None, Some("60")));
    assert_eq!(end(next.after_page(&stream, Some("50"), at(61, "5", false))).as_deref(), Some("61"));
}

/// What follows the last page of a list, and what is saved with it.
fn last_page(
    stream: &Stream,
    goal: &ReadGoal,
    read: Checkpoint,
    page: PageSummary,
    after_full_list: AfterFullList,
) -> (PageCheckpoint, ListCompletion) {
    let plan =
        ListPlan { stream, goal, partition: PartitionId(3), cursor: Some("5"), parent_version: Some(8), now: now() };
    match plan.after_page(read, page, after_full_list) {
        (saved, NextRead::Nothing(completion)) => (saved, completion),
        (_, NextRead::Page(next)) => panic!("it goes on with {next:?}"),
    }
}

/// The checkpoint that is saved of a list that is not at its end.
fn unfinished(saved: PageCheckpoint) -> Checkpoint {
    let (PageCheckpoint::InProgress(json) | PageCheckpoint::Backfill(Some(json))) = saved else {
        panic!("{saved:?} is at its end")
    };
    serde_json::from_str(&json).unwrap()
}

#[test]
fn the_cursor_moves_with_the_last_page_unless_a_sweep_follows() {
    let stream = numbered("");
    let end = |goal: &ReadGoal, cursor: Option<&str>| {
        let first = Checkpoint { start_version: 40, ..Checkpoint::first(&stream, goal, cursor, now()) };
        last_page(&stream, goal, first, page(Some(9), 1, None), AfterFullList::ReadAgain)
    };
    let (saved, completion) = end(&ReadGoal::default(), Some("5"));
    assert!(matches!(completion, ListCompletion::CursorMoved));
    let PageCheckpoint::Complete { cursor, parent_version } = saved else { panic!("{saved:?}") };
    assert_eq!((cursor.as_deref(), parent_version), (Some("9"), Some(8)));

    let backfill = ReadGoal { mode: SyncMode::Backfill, ..ReadGoal::default() };
    let (saved, completion) = end(&backfill, Some("5"));
    assert!(matches!((saved, completion), (PageCheckpoint::Backfill(None), ListCompletion::CursorMoved)));

    // A list of one page cannot have moved while it was read.
    let (saved, completion) = end(&full(), Some("5"));
    let ListCompletion::FullyListed(listed) = completion else { panic!("{completion:?}") };
    assert_eq!((listed.partition, listed.start_version, listed.cursor.as_deref()), (PartitionId(3), 40, Some("9")));
    let saved = unfinished(saved);
    assert!(saved.pending_sweep && saved.is_full);
    assert_eq!((saved.start_version, saved.next_cursor.as_deref(), saved.parent_version), (40, Some("9"), Some(8)));
}

#[test]
fn a_full_list_of_several_pages_is_read_again_before_anything_is_missing() {
    let stream = stream("");
    let first = Checkpoint { start_version: 40, ..Checkpoint::first(&stream, &full(), None, now()) };
    let second_page = more(first.after_page(&stream, None, page(None, 2, Some(2))));
    let end = |after_full_list| last_page(&stream, &full(), second_page.clone(), page(None, 1, None), after_full_list);
    let (saved, completion) = end(AfterFullList::ReadAgain);
    let ListCompletion::FullyListedOnce(listed, second) = completion else { panic!("{completion:?}") };
    assert_eq!(unfinished(saved), *second, "another process goes on with it");
    assert_eq!((listed.start_version, second.start_version), (40, 40), "what was met stays so");
    assert!(second.is_verification_pass && second.position.page_token.is_none());
    assert!(matches!(end(AfterFullList::Sweep).1, ListCompletion::FullyListed(_)));
}

#[test]
fn a_list_with_a_page_of_nothing_new_is_verified() {
    let repeated = || PageSummary { is_repeated: true, ..page(Some(9), 1, None) };
    let stream = numbered("");
    let changes = Checkpoint::first(&stream, &ReadGoal::default(), Some("5"), now());
    let (saved, completion) = last_page(&stream, &ReadGoal::default(), changes, repeated(), AfterFullList::Sweep);
    let ListCompletion::Unverified(second) = completion else { panic!("{completion:?}") };
    assert_eq!(unfinished(saved), *second);
    assert_eq!((second.since.as_deref(), second.is_verification_pass), (Some("5"), true), "the cursor has not moved");
    let all = Checkpoint { start_version: 40, ..Checkpoint::first(&stream, &full(), None, now()) };
    let (_, completion) = last_page(&stream, &full(), all, repeated(), AfterFullList::Sweep);
    let ListCompletion::Unverified(second) = completion else { panic!("{completion:?}") };
    assert_eq!((second.since.as_deref(), second.start_version), (None, 40));
}

#[test]
fn a_lost_page_begins_the_same_list_again() {
    let stream = numbered("");
    let first = Checkpoint { start_version: 40, ..Checkpoint::first(&stream, &full(), None, now()) };
    let second = more(first.clone().after_page(&stream, None, page(Some(9), 10, Some(2))));
    let again = second.clone().rewind();
    assert!(again.is_same_list(&first) && again.request_hash() == first.request_hash());
    assert_ne!(second.request_hash(), first.request_hash());
    assert_eq!((again.start_version, again.max_cursor.as_deref()), (40, Some("9")), "what was met stays met");
    assert_eq!(again.position, PagePosition::default());
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
        let mut progress = Checkpoint::first(&stream, &ReadGoal::default(), cursor.as_deref(), now());
        let mut greatest: Option<i64> = cursor.as_deref().map(|cursor| cursor.parse().unwrap());
        let mut since = greatest;
        let last = pages.len() - 1;
        for (index, (high, count, is_resumable)) in pages.into_iter().enumerate() {
            greatest = greatest.max(high);
            let next = (is_resumable && index < last).then_some(index as u64 + 2);
            match kept(&progress).after_page(&stream, cursor.as_deref(), page(high, count, next)) {
                Step::Continue(after) => {
                    prop_assert!(next.is_some());
                    let begins: Option<i64> = after.since.as_deref().map(|since| since.parse().unwrap());
                    // What was asked for before, with the lookback that is taken once.
                    let asked = if progress.restarted { since } else { since.map(|since| since - i64::from(lookback)) };
                    prop_assert!(begins >= asked, "{begins:?} after {since:?}");
                    // Asked for again only from where it has been, and never twice from the same place.
                    prop_assert!(after.position.page_token.is_some() || (begins > asked && begins <= greatest));
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
        let mut progress = Checkpoint::first(&stream, &ReadGoal::default(), cursor.as_deref(), now());
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
            match kept(&progress).after_page(&stream, cursor.as_deref(), page) {
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
        let mut progress = Checkpoint::first(&stream, &ReadGoal::default(), None, now());
        let (mut touches, mut cuts) = (touches.into_iter(), cuts.into_iter());
        let mut asked = BTreeSet::new();
        loop {
            let number = match &progress.position.page_token {
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
            match progress.after_page(&stream, None, page) {
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
