//! Sign-ins through the loopback listener and around it, with the test at the browser's place.

use std::io::Write;
use std::net::TcpListener;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::fake::{FakeProvider, Trouble};
use crate::flow::{Flow, connect_line, connected, home};
use crate::harness::{Home, finish, skipped_on_postgres};
use crate::wire;

fn start(provider: &FakeProvider, further: &str) -> (Home, Flow) {
    let home = home();
    let flow = Flow::start(&home, &format!("{} {further}", connect_line(provider)));
    (home, flow)
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn fault_001_a_callback_with_a_wrong_or_absent_state_leaves_the_flow_pending() {
    let provider = FakeProvider::start();
    let (_home, flow) = start(&provider, "");
    let callback = flow.consent();
    for state in [None, Some(""), Some("wrong")] {
        let page = flow.deliver(&Flow::altered(&callback, "state", state));
        assert_eq!(page.status(), 400);
    }
    assert_eq!(provider.state().count("/token"), 0);
    let page = flow.deliver(&callback);
    assert!(
        page.text().contains("Fake is connected") && page.text().contains("Account <b>alice</b>"),
        "{}",
        page.text()
    );
    assert_eq!(flow.end().0, 0);
}

#[test]
fn fault_008_a_code_of_another_sign_in_fails_on_the_verifier_and_is_not_retried() {
    let provider = FakeProvider::start();
    let (_other_home, other) = start(&provider, "");
    let (home, flow) = start(&provider, "");
    let stolen = other.consent();
    let code = stolen.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let page = flow.deliver(&Flow::altered(&flow.consent(), "code", Some(&code)));
    let text = page.text();
    let command = format!("<pre>integ connect fake --origin {}</pre>", provider.origin());
    assert!(text.contains("was not connected") && text.contains(&command), "the next command: {text}");
    assert_eq!(flow.failure(), (4, "invalid_grant".to_owned()));
    assert_eq!(provider.state().count("/token"), 1);
    assert_eq!(home.json("status")["summary"]["total"], 0);
}

#[test]
fn fault_036_an_error_without_the_state_is_ignored_and_one_with_it_ends_the_flow() {
    let provider = FakeProvider::start();
    let (home, flow) = start(&provider, "");
    let denial = Flow::altered(&Flow::altered(&flow.consent(), "code", None), "error", Some("access_denied"));
    assert_eq!(flow.deliver(&Flow::altered(&denial, "state", Some("guessed"))).status(), 400);
    assert_eq!(flow.deliver(&Flow::altered(&denial, "state", None)).status(), 400);
    let described = Flow::altered(&denial, "error_description", Some("<script>alert(1)</script>"));
    let page = flow.deliver(&described);
    let text = page.text();
    assert!(text.contains("was not connected") && !text.contains("<script"), "{text}");
    assert!(text.contains("<p>The authorization was refused"), "the title is not repeated: {text}");
    assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "the reason is text, whatever it holds: {text}");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(flow.failure(), (4, "access_denied".to_owned()));
    assert_eq!(provider.state().count("/token"), 0);
    assert_eq!(home.json("status")["summary"]["total"], 0);
}

#[test]
fn fault_040_a_callback_that_comes_twice_is_exchanged_once() {
    let provider = FakeProvider::start();
    let (_home, flow) = start(&provider, "");
    provider.trouble("/token", [Trouble::Hold(None)]);
    let callback = flow.consent();
    let first = std::thread::spawn({
        let callback = callback.clone();
        move || wire::get(&callback)
    });
    provider.until("the code is exchanged", |state| state.holding == 1);
    assert_eq!(flow.deliver(&callback).status(), 409);
    provider.go_on();
    assert_eq!(first.join().unwrap().status(), 200);
    assert_eq!(flow.end().0, 0);
    assert_eq!(provider.state().count("/token"), 1);
}

#[test]
fn fault_041_a_port_that_is_taken_is_said_and_another_one_works() {
    let provider = FakeProvider::start();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let ran = home().run(&format!("{} --no-browser --json --port {port}", connect_line(&provider)));
    assert_eq!((ran.code, ran.error_code().as_str()), (1, "listen_failed"), "{ran:?}");
    assert!(ran.stderr.contains("--port"), "{ran:?}");
    let port = free_port();
    let (_home, flow) = start(&provider, &format!("--port {port}"));
    assert_eq!(flow.redirect_uri.as_str(), format!("http://127.0.0.1:{port}/callback"));
    flow.allow();
}

#[test]
fn fault_042_an_interrupt_closes_the_port_and_connects_nothing() {
    let provider = FakeProvider::start();
    let (home, flow) = start(&provider, "");
    let place = flow.redirect_uri.clone();
    // The page is there, so that the flow surely waits.
    assert_eq!(flow.deliver(&place).status(), 400);
    kill_process(Pid::from_child(&flow.running.child), Signal::INT).unwrap();
    assert_eq!(flow.failure(), (130, "interrupted".to_owned()));
    assert!(!wire::listens(&place));
    assert_eq!(home.json("status")["summary"]["total"], 0);
}

#[test]
fn fault_042_nobody_in_time_closes_the_port_and_says_so() {
    let provider = FakeProvider::start();
    let (_home, flow) = start(&provider, "--timeout 1s");
    let place = flow.redirect_uri.clone();
    assert_eq!(flow.failure(), (4, "timed_out".to_owned()));
    assert!(!wire::listens(&place));
}

#[test]
fn reconnecting_an_account_keeps_its_connection_and_forgets_its_errors() {
    if skipped_on_postgres("it looks for lock files") {
        return;
    }
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let lock = || -> Vec<_> {
        let files = std::fs::read_dir(home.workspace().join("locks")).unwrap();
        files.map(|file| file.unwrap().file_name()).collect()
    };
    provider.trouble("/token", [Trouble::json(503, &json!({}))]);
    assert_eq!(home.run("refresh fake").code, 5);
    let before = home.json("status")["connections"][0].clone();
    assert_eq!((&before["status"], &before["error_count"]), (&json!("error"), &json!(1)));
    let id = lock();
    let after = Flow::start(&home, &connect_line(&provider)).allow();
    assert_eq!(
        (&after["status"], &after["error_count"], &after["last_error"]),
        (&json!("active"), &json!(0), &json!(null))
    );
    assert!(after["connected_at"].as_str() >= before["connected_at"].as_str());
    home.ok("refresh fake");
    assert_eq!((lock(), home.json("status")["summary"]["total"].as_u64()), (id, Some(1)), "the same connection");
}

#[test]
fn a_second_account_gets_a_name_of_its_own_and_a_name_given_is_kept() {
    let provider = FakeProvider::start();
    let home = connected(&provider);
    let first = home.ok("token fake");
    provider.account("bob");
    let bob = Flow::start(&home, &connect_line(&provider)).allow();
    assert_eq!(bob["connection"], "fake@bob");
    assert_eq!(home.ok("token fake"), first, "alice keeps hers");
    let work = Flow::start(&home, &format!("{} --as work", connect_line(&provider))).allow();
    assert_eq!((&work["connection"], &work["account"]["id"]), (&json!("fake@work"), &json!("bob")));
    assert_eq!(home.json("status")["summary"]["total"], 3);
    let again = Flow::start(&home, &connect_line(&provider)).allow();
    assert_eq!(again["connection"], "fake@bob");
    assert_eq!(home.json("status")["summary"]["total"], 3);
}

#[test]
fn a_pasted_callback_needs_no_listener() {
    let provider = FakeProvider::start();
    for forged in [true, false] {
        let (home, mut flow) = start(&provider, "--paste");
        let mut callback = flow.consent();
        assert!(!wire::listens(&callback), "nothing listens");
        if forged {
            callback = Flow::altered(&callback, "state", Some("wrong"));
        }
        let stdin = flow.running.stdin.as_mut().unwrap();
        writeln!(stdin, "  {callback}  ").unwrap();
        if forged {
            assert_eq!(flow.failure(), (2, "invalid_callback".to_owned()));
        } else {
            let (code, last, stderr) = flow.end();
            assert_eq!((code, last["event"].as_str()), (0, Some("connected")), "{stderr}");
            home.ok("token fake");
        }
    }
}

#[test]
fn a_registered_redirect_uri_is_sent_and_its_tunnel_answered() {
    let provider = FakeProvider::start();
    let port = free_port();
    let (_home, flow) = start(&provider, &format!("--redirect-uri https://tunnel.example/oauth/back --port {port}"));
    assert_eq!(flow.redirect_uri.as_str(), "https://tunnel.example/oauth/back");
    let callback = flow.consent();
    let mut here = callback.clone();
    here.set_scheme("http").unwrap();
    here.set_host(Some("127.0.0.1")).unwrap();
    here.set_port(Some(port)).unwrap();
    assert_eq!(wire::ask("GET", &here, Some("attacker.example")).unwrap().status(), 403);
    assert_eq!(wire::ask("GET", &here, Some("tunnel.example")).unwrap().status(), 200);
    assert_eq!(flow.end().0, 0);
}

#[test]
fn another_address_is_listened_at_only_where_other_peers_are_allowed() {
    let provider = FakeProvider::start();
    let refused = home().run(&format!("{} --no-browser --bind 0.0.0.0", connect_line(&provider)));
    assert!(refused.code == 2 && refused.stderr.contains("--allow-peer"), "{refused:?}");
    let port = free_port();
    let (_home, flow) = start(&provider, &format!("--bind 0.0.0.0 --allow-peer --port {port}"));
    assert_eq!(flow.redirect_uri.as_str(), format!("http://127.0.0.1:{port}/callback"));
    let callback = flow.consent();
    // State and host are checked whoever comes.
    assert_eq!(wire::ask("GET", &callback, Some("attacker.example")).unwrap().status(), 403);
    assert_eq!(flow.deliver(&Flow::altered(&callback, "state", Some("guessed"))).status(), 400);
    assert_eq!(flow.deliver(&callback).status(), 200);
    assert_eq!(flow.end().0, 0);
}

#[test]
fn a_generic_connector_passes_on_whom_to_sign_in_and_what_tokens_are_for() {
    let provider = FakeProvider::start();
    let home = home();
    let endpoints =
        format!("--param authorize_url={} --param token_url={}", provider.url("/authorize"), provider.url("/token"));
    let line = format!(
        "connect oauth2 --auth post --client-id test {endpoints} --login-hint me@example.com --prompt login \
         --audience billing --resource https://api.example/"
    );
    let flow = Flow::start(&home, &line);
    let query =
        |name: &str| flow.url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned());
    let named = ["login_hint", "prompt", "audience", "resource"].map(query);
    assert_eq!(named.map(Option::unwrap), ["me@example.com", "login", "billing", "https://api.example/"]);
    flow.allow();
    home.ok("refresh oauth2");
    let asked: Vec<String> = {
        let state = provider.state();
        let tokens = state.asked.iter().filter(|message| message.request().1 == "/token");
        tokens.map(wire::Message::text).collect()
    };
    let resource = "resource=https%3A%2F%2Fapi.example%2F";
    assert!(asked[0].contains("audience=billing") && asked[0].contains(resource), "{asked:?}");
    assert!(asked[1].contains(resource) && !asked[1].contains("audience"), "{asked:?}");
    // What is not given is not sent, and a connector of one service has no such parameter.
    let flow = Flow::start(&home, &format!("connect oauth2@bare --auth post --client-id test {endpoints}"));
    assert!(!flow.url.as_str().contains("audience") && !flow.url.as_str().contains("prompt"), "{}", flow.url);
    drop(flow);
    assert_eq!(home.run("connect fake --audience x --client-id test --json").error_code(), "unknown_param");
}

#[test]
fn a_grant_that_covers_several_sites_needs_a_choice() {
    let home = Home::new();
    let choose = |site: &str| {
        let site = format!("site={site}");
        finish(home.command(["connect", "jira", "--sandbox", "--json", "--param", &site]))
    };
    let ran = choose("nowhere");
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "choice_required"), "{ran:?}");
    assert!(
        ran.stderr.contains("integ connect jira --sandbox --param site=https://acme-sandbox.atlassian.net"),
        "{ran:?}"
    );
    let mut clouds = Vec::new();
    for (site, name) in
        [("https://acme-sandbox.atlassian.net", "jira"), ("https://SANDBOX-two.atlassian.net", "jira@sandbox-two")]
    {
        let ran = choose(site);
        let last: Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
        assert_eq!((ran.code, &last["connection"]["connection"]), (0, &json!(name)), "{ran:?}");
        let environment = home.ok(&format!("token {name} --format env"));
        let cloud = environment.lines().find_map(|line| line.split_once("_CLOUD_ID=")).unwrap().1.to_owned();
        clouds.push(cloud);
        assert_eq!(home.json(&format!("test {name}"))["tests"][0]["outcome"], "healthy");
    }
    assert_ne!(clouds[0], clouds[1], "each site has its own API");
}
