//! A random walk through the life of a grant: time passes, refreshes fail in every way, and whatever is handed out is good.

use std::collections::BTreeMap;

use serde_json::json;

use crate::attack::clocks::{at, faketime};
use crate::fake::{FakeProvider, Trouble};
use crate::flow::{Flow, connect_line, connected};
use crate::harness::finish;
use crate::race::{Random, rounds};

const LIFETIME: u64 = 3600;

/// What goes wrong with the next refresh, and whether it costs the grant.
fn trouble(random: &mut Random) -> (Option<Trouble>, bool) {
    let html = || vec![("content-type", "text/html".to_owned())];
    match random.below(9) {
        0 => (Some(Trouble::Instead(503, html(), b"<html>".to_vec())), false),
        1 => (Some(Trouble::Instead(200, html(), b"<html>".to_vec())), false),
        2 => (Some(Trouble::error("temporarily_unavailable")), false),
        3 => (Some(Trouble::error("invalid_client")), false),
        4 => (Some(Trouble::Drop), true),
        5 => (Some(Trouble::error("invalid_grant")), true),
        6 => (Some(Trouble::Edit(json!({ "expires_in": null }))), false),
        _ => (None, false),
    }
}

#[test]
fn field_18_whatever_fails_a_token_that_is_handed_out_is_good_and_no_refresh_token_comes_twice() {
    let Some(library) = faketime() else { return };
    let seed = std::env::var("INTEG_TEST_SEED").map_or(20_261_128, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let provider = FakeProvider::start();
    provider.lifetime(LIFETIME);
    let home = connected(&provider);
    // When each token was given, in seconds of the walk's own time.
    let mut given = BTreeMap::from([(home.ok("token fake"), 0)]);
    let (mut now, mut is_lost, mut handed_out, mut kept, mut reconnected) = (0_u64, false, 0, 0, 0);
    for step in 0..rounds(80) {
        now += [0, 30, 1000, 3400, 3550, 4000][usize::try_from(random.below(6)).unwrap()];
        let (trouble, costs) = trouble(&mut random);
        provider.state().forget_troubles("/token");
        provider.trouble("/token", trouble);
        let line = ["token fake --json", "token fake --json --min-ttl 5m"][usize::try_from(random.below(2)).unwrap()];
        let before = provider.state().count("/token");
        let ran = finish(at(&home, &library, &format!("+{now}s"), line));
        let asked = provider.state().count("/token") - before;
        let what = format!("seed {seed}, step {step}, at {now} s: {line}: {ran:?}");
        assert!(asked <= 1, "{what}");
        is_lost |= costs && asked == 1;
        if ran.code == 0 {
            let view: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
            let token = view["token"].as_str().unwrap().to_owned();
            let at = *given.entry(token).or_insert(now);
            let least = if line.ends_with("5m") { 300 } else { 1 };
            // The walk's seconds and the program's do not begin at once.
            assert!(now + least <= at + LIFETIME + 60, "it is over: {what}");
            assert!(asked == 0 || at == now || !ran.stderr.is_empty(), "an old token without a word: {what}");
            handed_out += 1;
            kept += u32::from(asked == 1 && at < now);
        } else {
            let newest = given.values().max().copied().unwrap_or_default();
            let left = (newest + LIFETIME).saturating_sub(now);
            let wanted = if line.ends_with("5m") { 300 } else { 60 };
            let refused = ran.code == 4;
            assert!(refused || left <= wanted + 60, "a good token was withheld: {what}");
            assert!(!refused || is_lost, "a person is asked for nothing: {what}");
            if refused {
                provider.state().forget_troubles("/token");
                Flow::start(&home, &connect_line(&provider)).allow();
                // The sign-in has the true time: the walk begins again.
                given = BTreeMap::from([(home.ok("token fake"), 0)]);
                (now, is_lost) = (0, false);
                reconnected += 1;
            }
        }
        assert_eq!(provider.state().doubles(), Vec::<&String>::new(), "{what}");
    }
    assert!(handed_out > 0 && kept > 0 && reconnected > 0, "seed {seed} has seen too little");
    eprintln!(
        "seed {seed}: {handed_out} handed out, {kept} in spite of a failure, {reconnected} reconnected, none twice"
    );
}
