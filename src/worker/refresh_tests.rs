//! When a connection is looked at.

use std::collections::BTreeMap;

use super::*;
use crate::model::{ConnectionMode, Expiry, RevealPolicy};
use crate::oauth::refresh::is_refresh_due;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A connection whose token was issued at 1000.
fn connection(lifetime: i64) -> Connection {
    let (issued_at, expires_at) = (Some(at(1000)), Some(at(1000 + lifetime)));
    Connection {
        id: ConnectionId(1),
        name: "gmail".parse().unwrap(),
        mode: ConnectionMode::Live,
        auth: "oauth".to_owned(),
        origin: None,
        params: BTreeMap::new(),
        metadata: BTreeMap::new(),
        account: None,
        user: None,
        reveal: RevealPolicy::Allowed,
        scopes_requested: Vec::new(),
        scopes_granted: None,
        grant_status: GrantStatus::Active,
        status_reason: None,
        connected_at: at(1000),
        expiry: Expiry { issued_at, expires_at, is_refreshable: true, ..Expiry::default() },
        last_check: None,
        error_count: 0,
        last_error: None,
    }
}

fn rested() -> Attempts {
    Attempts { rests_until: Some(at(0)), ..Attempts::default() }
}

#[test]
fn a_grant_becomes_due_in_the_second_in_which_the_refresh_says_so() {
    for lifetime in [1, 2, 3, 60, 400, 3600, 86_400, 400 * 86_400] {
        let expiry = connection(lifetime).expiry;
        let due = refresh_due_at(&expiry, at(1000)).unwrap();
        let is_due = |second| is_refresh_due(&expiry, Freshness::RefreshIfDue, 1, at(second));
        assert!(is_due(due.as_second()), "{lifetime}");
        assert!(due == at(1000) || !is_due(due.as_second() - 1), "{lifetime}");
        assert_eq!(refresh_due_at(&expiry, at(due.as_second() + 500)), Some(at(due.as_second() + 500)), "{lifetime}");
    }
    let endless = Expiry { expires_at: None, ..connection(1).expiry };
    assert_eq!(refresh_due_at(&endless, at(1000)), None);
}

#[test]
fn a_connection_is_looked_at_once_and_then_before_its_token_expires() {
    let now = at(1000);
    assert_eq!(next_look(&connection(3600), Attempts::default(), now), Some(now));
    assert_eq!(next_look(&connection(3600), rested(), now), Some(at(1000 + 3600 - 120 + 1)));
    assert_eq!(next_look(&connection(3600), Attempts { is_running: true, ..rested() }, now), None);
}

#[test]
fn one_that_needs_a_person_is_reported_once_and_looked_at_again_when_it_is_active() {
    let broken = Connection { grant_status: GrantStatus::NeedsReauth, ..connection(60) };
    assert_eq!(next_look(&broken, Attempts::default(), at(5000)), Some(at(5000)));
    assert_eq!(next_look(&broken, rested(), at(5000)), None);
    assert_eq!(next_look(&connection(60), rested(), at(5000)), Some(at(5000)));
}

#[test]
fn a_connection_rests_after_a_failure_and_no_longer_if_the_clock_was_set_back() {
    let resting = Attempts { failures: 2, rests_until: Some(at(5120)), ..Attempts::default() };
    assert_eq!(next_look(&connection(60), resting, at(5000)), Some(at(5120)));
    assert_eq!(next_look(&connection(60), resting, at(5120)), Some(at(5120)));
    // The rest would be of more than an hour: the clock was fast when it began.
    assert_eq!(next_look(&connection(60), resting, at(1400)), Some(at(1400)));
}
