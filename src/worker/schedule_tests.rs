//! Which schedules become which syncs.

use super::*;

fn due(connection: &str, stream: Option<&str>) -> Schedule {
    Schedule {
        connection: connection.parse().unwrap(),
        stream: stream.map(str::to_owned),
        rule: "every 15m".to_owned(),
        jitter_secs: 0,
        next_at: Timestamp::UNIX_EPOCH,
        last_at: None,
    }
}

#[test]
fn a_connection_is_synced_once_whatever_is_due_of_it() {
    let mut requests = Vec::new();
    for schedule in [
        due("github", Some("issues")),
        due("slack", None),
        due("github", Some("pulls")),
        due("slack", Some("users")),
        due("stripe", Some("charges")),
        due("stripe", None),
    ] {
        add_due(&mut requests, schedule);
    }
    let found: Vec<(String, Vec<String>)> =
        requests.into_iter().map(|request| (request.connection.to_string(), request.streams)).collect();
    let streams = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            ("github".to_owned(), streams(&["issues", "pulls"])),
            ("slack".to_owned(), Vec::new()),
            ("stripe".to_owned(), Vec::new()),
        ]
    );
}

#[test]
fn a_schedule_is_due_at_its_time_and_never_later_than_its_rule_allows() {
    let rule = "every 15m".parse().unwrap();
    let at = |second| Timestamp::from_second(second).unwrap();
    let status = |next_at| match status(&Schedule { next_at: at(next_at), ..due("github", None) }, &rule, at(1000)) {
        ScheduleStatus::Due => None,
        ScheduleStatus::Waiting(until) => Some(until),
    };
    assert_eq!((status(1000), status(1), status(1001)), (None, None, Some(at(1001))));
    assert_eq!(status(90_000), Some(at(1000 + 900)), "written by a fast clock");
}
