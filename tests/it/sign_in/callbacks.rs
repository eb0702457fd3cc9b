//! Callbacks: true, forged, repeated, late, and cut off.

use std::process::Command;
use std::sync::Arc;

use integ::connect::ConnectPurpose;
use integ::connect::pending::{self, CallbackReply, StartedSignIn, workspace_of_callback};
use integ::model::{SignInId, SignInStatus};
use tokio::task::JoinSet;

use super::*;
use crate::fake::Trouble;
use crate::flow::{connected as connected_home, home};
use crate::harness::{Home, Running, holds};

/// A home with a vault, and the provider that its connector leads to.
fn world() -> (Home, FakeProvider) {
    let home = home();
    home.ok("app set fake --client-id unused");
    (home, FakeProvider::start())
}

#[test]
fn one_of_64_equal_callbacks_connects() {
    let (home, provider) = world();
    run(async {
        let (id, url) = start(&node(home.path()), &request(&provider)).await;
        let query = consent(&url);
        assert_eq!(workspace_of_callback(&query).unwrap().as_str(), "default");
        let nodes: Vec<_> = (0..4).map(|_| node(home.path())).collect();
        let mut callbacks = JoinSet::new();
        for number in 0..64 {
            let (node, query) = (Arc::clone(&nodes[number % 4]), query.clone());
            callbacks.spawn(async move { pending::finish(&node, &query).await });
        }
        let replies = callbacks.join_all().await;
        let finished: Vec<_> = replies.iter().filter_map(|reply| reply.as_ref().ok()).collect();
        assert!(matches!(finished[..], [CallbackReply::Finished(sign_in)] if connected(sign_in) == "fake"));
        let used =
            replies.iter().filter_map(|reply| reply.as_ref().err()).filter(|error| code(error) == "sign_in_used");
        assert_eq!(used.count(), 63);
        let shown = pending::find(&nodes[0], &id).await.unwrap();
        assert_eq!((connected(&shown), shown.user.as_ref().unwrap().as_str()), ("fake", "u_17"));
    });
    assert_eq!(provider.state().count("/token"), 1);
    let status = home.json("status")["connections"][0].clone();
    assert_eq!((status["status"].as_str(), status["user"].as_str()), (Some("active"), Some("u_17")));
    assert_eq!(home.ok("token fake"), provider.state().given[0]);
}

#[test]
fn a_forged_callback_leaves_the_sign_in_pending_and_a_repeated_one_is_refused() {
    let (home, provider) = world();
    run(async {
        let (begun, other) = (node(home.path()), node(home.path()));
        let (id, url) = start(&begun, &request(&provider)).await;
        let query = consent(&url);
        for forged in [
            altered(&query, "state", None),
            altered(&query, "state", Some("")),
            altered(&query, "state", Some("x.default")),
            "error=access_denied".to_owned(),
            String::new(),
        ] {
            assert_eq!(refused(&other, &forged).await, "unknown_state", "{forged}");
        }
        for doubled in [format!("{query}&code=other"), altered(&query, "code", None), altered(&query, "code", Some(""))]
        {
            assert_eq!(refused(&other, &doubled).await, "invalid_callback", "{doubled}");
        }
        assert_eq!(pending::find(&other, &id).await.unwrap().status(Timestamp::now()), SignInStatus::Pending);
        assert_eq!(connected(&finish(&other, &query).await), "fake");
        assert_eq!(refused(&begun, &query).await, "sign_in_used");
        assert_eq!(refused(&other, &altered(&query, "code", Some("another"))).await, "sign_in_used");
    });
    assert_eq!(provider.state().count("/token"), 1);
}

#[test]
fn an_expired_sign_in_is_not_finished_and_says_so() {
    let (home, provider) = world();
    run(async {
        let (id, url) = start(&node(home.path()), &request(&provider)).await;
        let query = consent(&url);
        let late = later(home.path(), 601);
        assert_eq!(refused(&late, &query).await, "sign_in_expired");
        let shown = pending::find(&late, &id).await.unwrap();
        assert_eq!(shown.status(late.engine.clock.now()), SignInStatus::Expired);
        // The next sign-in deletes it once nobody asks any more.
        let much_later = later(home.path(), 600 + 3700);
        start(&much_later, &request(&provider)).await;
        assert_eq!(code(&pending::find(&much_later, &id).await.unwrap_err()), "sign_in_not_found");
    });
    assert_eq!(provider.state().count("/token"), 0);
}

#[test]
fn what_the_vendor_answers_is_the_result() {
    let (home, provider) = world();
    run(async {
        let node = node(home.path());
        let (_, url) = start(&node, &request(&provider)).await;
        let denied = altered(&consent(&url), "code", None) + "&error=access_denied&error_description=no";
        assert_eq!(failed(&finish(&node, &denied).await), "access_denied");
        provider.trouble("/token", [Trouble::error("invalid_grant")]);
        let (_, url) = start(&node, &request(&provider)).await;
        assert_eq!(failed(&finish(&node, &consent(&url)).await), "invalid_grant");
        provider.trouble("/token", [Trouble::json(503, &serde_json::json!({}))]);
        let (id, url) = start(&node, &request(&provider)).await;
        assert_eq!(failed(&finish(&node, &consent(&url)).await), "vendor_unavailable");
        let shown = pending::find(&node, &id).await.unwrap();
        assert_eq!((failed(&shown), shown.details.is_some()), ("vendor_unavailable", false));
    });
    assert_eq!(home.json("status")["summary"]["total"], 0);
}

#[test]
fn reconnecting_as_another_account_changes_nothing() {
    let provider = FakeProvider::start();
    let home = connected_home(&provider);
    let token = home.ok("token fake");
    run(async {
        let node = node(home.path());
        let again = ConnectRequest { purpose: ConnectPurpose::Reconnect, ..request(&provider) };
        provider.account("mallory");
        let (_, url) = start(&node, &again).await;
        assert_eq!(failed(&finish(&node, &consent(&url)).await), "account_mismatch");
        assert_eq!(home.ok("token fake"), token);
        provider.account("alice");
        let (_, url) = start(&node, &again).await;
        assert_eq!(connected(&finish(&node, &consent(&url)).await), "fake");
        assert_ne!(home.ok("token fake"), token);
    });
}

#[test]
fn a_device_code_is_asked_about_by_any_process() {
    let (home, provider) = world();
    provider.trouble("/token", [Trouble::error("authorization_pending"), Trouble::error("slow_down")]);
    run(async {
        let mut device = request(&provider);
        device.sign_in.device = true;
        let started = pending::start(&node(home.path()), &device, &target()).await.unwrap();
        let StartedSignIn::DeviceCode { id, user_code, .. } = started else { panic!("{started:?}") };
        assert_eq!(user_code, "ABCD-EFGH");
        let began = Timestamp::now();
        let status = async |seconds| {
            let node = seconds_after(home.path(), began, seconds);
            let found = pending::poll(&node, &id).await.unwrap();
            (found.status(node.engine.clock.now()), provider.state().count("/token"))
        };
        assert_eq!(status(10).await, (SignInStatus::Pending, 1));
        assert_eq!(status(10).await, (SignInStatus::Pending, 1), "the interval is not over");
        assert_eq!(status(12).await, (SignInStatus::Pending, 2));
        assert_eq!(status(15).await, (SignInStatus::Pending, 2), "five seconds more for good");
        assert_eq!(status(20).await, (SignInStatus::Done, 3));
        assert_eq!(status(40).await, (SignInStatus::Done, 3));
    });
    assert_eq!(home.json("status")["connections"][0]["status"], "active");
}

/// Set in the process that finishes a sign-in: its home, and the callback's query.
const CHILD: &str = "INTEG_TEST_SIGN_IN";
const QUERY: &str = "INTEG_TEST_SIGN_IN_QUERY";

#[test]
fn a_process_that_is_killed_in_the_exchange_has_used_up_the_state() {
    if let Some(home) = std::env::var_os(CHILD) {
        let query = std::env::var(QUERY).unwrap();
        run(async { finish(&node(Path::new(&home)), &query).await });
        return;
    }
    let (home, provider) = world();
    let (id, query): (SignInId, String) = run(async {
        let (id, url) = start(&node(home.path()), &request(&provider)).await;
        (id, consent(&url))
    });
    provider.trouble("/token", [Trouble::Hold(None)]);
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = "sign_in::callbacks::a_process_that_is_killed_in_the_exchange_has_used_up_the_state";
    command.args(["--exact", name, "--nocapture"]).env(CHILD, home.path()).env(QUERY, &query);
    let mut child = Running::start(command);
    provider.until("the code is presented", |state| state.holding == 1);
    child.child.kill().unwrap();
    child.child.wait().unwrap();
    provider.go_on();
    run(async {
        let soon = node(home.path());
        assert_eq!(pending::find(&soon, &id).await.unwrap().status(Timestamp::now()), SignInStatus::Finishing);
        assert_eq!(refused(&soon, &query).await, "sign_in_used");
        let late = later(home.path(), 121);
        let found = pending::find(&late, &id).await.unwrap();
        let now = late.engine.clock.now();
        assert_eq!(found.status(now), SignInStatus::Failed);
        let Some(SignInResult::Failed(failure)) = found.result(now) else { panic!("{found:?}") };
        assert_eq!(failure.code, "sign_in_interrupted");
        assert_eq!(refused(&late, &query).await, "sign_in_used");
    });
    assert_eq!(provider.state().count("/token"), 1);
    assert_eq!(home.json("status")["summary"]["total"], 0);
}

#[test]
fn no_file_shows_the_state_or_the_verifier() {
    let (home, provider) = world();
    let state = run(async {
        let (_, url) = start(&node(home.path()), &request(&provider)).await;
        let query = url.query_pairs().into_owned().find(|(name, _)| name == "state");
        query.unwrap().1
    });
    for (path, bytes) in crate::harness::files(home.path()) {
        assert!(!holds(&bytes, &state) && !holds(&bytes, "\"verifier\""), "{}", path.display());
    }
}
