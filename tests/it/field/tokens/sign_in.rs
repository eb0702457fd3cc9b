//! Connecting again, scopes, and sign-ins that end early.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{connected_by, status};
use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{Flow, connect_line, connected, home};
use crate::harness::{Home, Running};

/// Connects and returns the scopes that were asked for, and what was warned of.
fn connect(home: &Home, line: &str) -> (String, String) {
    let flow = Flow::start(home, line);
    let scopes = flow.url.query_pairs().find(|(name, _)| name == "scope").map(|(_, scopes)| scopes.into_owned());
    flow.deliver(&flow.consent());
    let (code, _, stderr) = flow.end();
    assert_eq!(code, 0, "{stderr}");
    (scopes.unwrap_or_default(), stderr)
}

fn without_refresh_token() -> Trouble {
    Trouble::Edit(json!({ "refresh_token": null }))
}

#[test]
fn field_22_a_second_consent_keeps_the_refresh_token_of_the_same_account_and_client() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let line = connect_line(&provider);
    provider.trouble("/token", [without_refresh_token()]);
    let (_, stderr) = connect(&home, &line);
    assert!(stderr.contains("the old one stays in use"), "{stderr}");
    assert_eq!(status(&home)["refreshable"], true);
    home.ok("refresh fake");
    assert_eq!(provider.state().presented.keys().collect::<Vec<_>>(), ["refresh-2"]);

    // Another client's refresh token is worth nothing to this one.
    provider.trouble("/token", [without_refresh_token()]);
    let (_, stderr) = connect(&home, &line.replace("--client-id test", "--client-id another"));
    assert!(stderr.contains("fake must be reconnected in 1h"), "{stderr}");
    assert_eq!(status(&home)["refreshable"], false);
}

#[test]
fn field_22_another_accounts_refresh_token_is_not_kept() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.account("bob");
    provider.trouble("/token", [without_refresh_token()]);
    let (_, stderr) = connect(&home, &connect_line(&provider));
    assert!(stderr.contains("fake@bob must be reconnected in 1h"), "{stderr}");
    let all = home.json("status")["connections"].clone();
    assert_eq!((&all[0]["refreshable"], &all[1]["refreshable"]), (&json!(true), &json!(false)), "{all}");
}

#[test]
fn field_22_a_refresh_token_that_was_refused_is_not_kept() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    provider.trouble("/token", [Trouble::error("invalid_grant"), without_refresh_token()]);
    assert_eq!(home.run("refresh fake").code, 4);
    let (_, stderr) = connect(&home, &connect_line(&provider));
    assert!(stderr.contains("must be reconnected in 1h"), "{stderr}");
    assert_eq!((&status(&home)["refreshable"], &status(&home)["status"]), (&json!(false), &json!("active")));
}

#[test]
fn field_22_no_refresh_token_is_no_news_where_the_token_does_not_end() {
    let provider = FakeProvider::start();
    let endless = Trouble::Edit(json!({ "refresh_token": null, "expires_in": null }));
    let home = home();
    provider.trouble("/token", [endless]);
    let (_, stderr) = connect(&home, &connect_line(&provider));
    assert!(!stderr.contains("refresh token"), "{stderr}");
}

#[test]
fn field_30_scopes_in_one_word_are_several_and_an_added_one_keeps_the_others() {
    let provider = FakeProvider::start();
    let home = home();
    let line = connect_line(&provider);
    let (asked, stderr) = connect(&home, &format!("{line} --scope read,write"));
    assert_eq!(asked, "read write");
    assert!(!stderr.contains("not granted"), "{stderr}");
    assert_eq!(status(&home)["missing_scopes"], json!([]));
    let (asked, _) = connect(&home, &format!("{line} --add-scope read,admin"));
    assert_eq!(asked, "read write admin");
    let (asked, _) = connect(&home, &line);
    assert_eq!(asked, "read write admin", "connecting again asks for the same");
    let refused = home.run(&format!("{line} --scope read --no-browser --json"));
    assert_eq!((refused.code, refused.error_code().as_str()), (2, "scopes_dropped"), "{refused:?}");
    assert!(
        refused.stderr.contains("granted: write\"") && refused.stderr.contains("--scope read --yes"),
        "{refused:?}"
    );
    let refused = home.run(&format!("{line} --scope read,delete --no-browser --json"));
    assert!(refused.stderr.contains("--add-scope delete`"), "{refused:?}");
    assert_eq!(status(&home)["scopes"], json!(["read", "write"]), "what the server granted is still there");
    let (asked, _) = connect(&home, &format!("{line} --scope read --yes"));
    assert_eq!(asked, "read");
}

#[test]
fn field_30_the_first_sign_in_adds_to_the_defaults() {
    let provider = FakeProvider::start();
    let (asked, _) = connect(&home(), &format!("{} --add-scope admin", connect_line(&provider)));
    assert_eq!(asked, "read write admin");
    let ran = home().run("connect fake --scope read --add-scope admin");
    assert_eq!(ran.code, 2, "one replaces and one adds: {ran:?}");
}

#[test]
fn field_42_a_device_flow_ends_with_the_codes_of_other_servers() {
    for (code, error) in [("authorization_declined", "access_denied"), ("code_expired", "device_code_expired")] {
        let provider = FakeProvider::start();
        let home = home();
        provider.trouble("/token", [Trouble::error(code)]);
        let line = format!("{} --device --no-browser --json", connect_line(&provider));
        let mut command = home.command(line.split_whitespace());
        command.stderr(Stdio::piped());
        let mut running = Running::start(command);
        assert_eq!(running.event()["event"], "device_code");
        let mut stderr = running.child.stderr.take().unwrap();
        assert_eq!(running.code(), 4, "{code}");
        let text = std::io::read_to_string(&mut stderr).unwrap();
        assert!(text.contains(&format!("\"code\":\"{error}\"")), "{code}: {text}");
        assert_eq!(provider.state().count("/token"), 1);
    }
}

#[test]
fn field_42_a_browser_that_ends_without_a_visit_is_not_waited_for_in_the_sandbox() {
    for browser in ["false", "true"] {
        let home = Home::new().with("BROWSER", browser);
        let started = Instant::now();
        let ran = home.run("connect slack --sandbox --timeout 60s");
        assert_eq!(ran.code, 0, "{browser}: {ran:?}");
        assert!(started.elapsed() < Duration::from_secs(40), "{browser}: {:?}", started.elapsed());
    }
    // A live sign-in waits for the person, whatever became of the browser.
    let provider = FakeProvider::start();
    let home = connected_by(&provider, CONNECTOR, "", Vec::new()).with("BROWSER", "false");
    let ran = home.run(&format!("{} --timeout 2s --json", connect_line(&provider)));
    assert_eq!((ran.code, ran.error_code().as_str()), (4, "timed_out"), "{ran:?}");
}
