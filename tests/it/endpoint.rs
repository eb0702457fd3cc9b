//! Outbound webhooks against receivers of this machine, well-behaved and otherwise.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use integ::clock::Timestamp;
use integ::secret::Secret;
use integ::signing::standard::{self, SigningSecret};
use serde_json::{Value, json};

use crate::harness::{Home, Running, finish, has_program, needs, peers};
use crate::receiver::{Answer, Receiver};
use crate::wire::Message;

fn home() -> Home {
    let home = Home::new();
    home.ok("config set http.allow 127.0.0.1");
    home
}

/// Adds an endpoint; its id and its secret.
fn add(home: &Home, url: &str, flags: &str) -> (String, String) {
    let added = home.json(&format!("endpoint add {url} {flags}"));
    (text(&added["endpoint"]), text(&added["secret"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn verify(secret: &str, message: &Message) -> bool {
    let secret = SigningSecret::parse(&Secret::from(secret)).unwrap();
    let header = |name: &str| message.header(name).unwrap();
    standard::verify(
        &[secret],
        header("webhook-id"),
        header("webhook-timestamp"),
        header("webhook-signature"),
        &message.body,
        Timestamp::now(),
    )
    .is_ok()
}

fn deliveries(home: &Home, of: &str) -> Vec<Value> {
    home.json(&format!("endpoint deliveries {of}"))["deliveries"].as_array().unwrap().clone()
}

/// The attempts of the only delivery of an endpoint.
fn log(home: &Home, endpoint: &str) -> Value {
    let delivery = text(&deliveries(home, endpoint)[0]["delivery"]);
    home.json(&format!("endpoint deliveries {delivery}"))
}

fn moment(time: &Value) -> Timestamp {
    time.as_str().unwrap().parse().unwrap()
}

fn seconds_from_now(time: &Value) -> i64 {
    moment(time).as_second() - Timestamp::now().as_second()
}

#[test]
fn a_message_reaches_the_endpoints_that_want_its_type_signed_with_their_secrets() {
    let (home, receiver) = (home(), Receiver::start());
    let (all, all_secret) = add(&home, &receiver.url("/all"), "");
    let (invoices, secret) = add(&home, &receiver.url("/invoices"), "--events invoice.* --events user.left");
    add(&home, &receiver.url("/none"), "--events refund.made");
    let mut command = home.command(["endpoint", "send", "invoice.paid", "--data", "-", "--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"amount": 1.50, "to": "Zo\u00eb"}"#).unwrap();
    let sent: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(sent["deliveries"].as_array().unwrap().len(), 2, "{sent}");
    assert!(receiver.received("/all").is_empty(), "nothing is sent before a worker runs");
    assert_eq!(home.run("endpoint deliver --once").code, 0);
    let got = receiver.received("/invoices");
    assert_eq!((got.len(), receiver.received("/none").len()), (1, 0));
    assert!(verify(&secret, &got[0]) && !verify(&all_secret, &got[0]));
    assert!(verify(&all_secret, &receiver.received("/all")[0]));
    assert_eq!(got[0].header("content-type"), Some("application/json"));
    assert_eq!(got[0].header("webhook-id"), sent["message"].as_str());
    let body = got[0].text();
    assert!(
        body.contains(r#""type":"invoice.paid""#) && body.contains(r#""data":{"amount": 1.50, "to": "Zo\u00eb"}"#),
        "{body}"
    );
    assert!(serde_json::from_str::<Value>(&body).unwrap()["timestamp"].as_str().unwrap().ends_with('Z'));
    // The log: one attempt, its headers without the signature.
    let log = log(&home, &invoices);
    assert_eq!((&log["status"], &log["attempt_log"][0]["response_status"]), (&json!("delivered"), &json!(204)));
    let headers = &log["attempt_log"][0]["request_headers"];
    assert_eq!((&headers["webhook-signature"], &headers["webhook-id"]), (&json!("[redacted]"), &sent["message"]));
    // Nothing is sent again, and no secret is shown again.
    home.ok("endpoint deliver --once");
    assert_eq!(receiver.received("/all").len(), 1);
    let shown = format!(
        "{}{}{}{log}",
        home.ok("endpoint list"),
        home.json("endpoint list"),
        home.json(&format!("endpoint show {all}"))
    );
    assert!(!shown.contains("whsec_"), "{shown}");
}

#[test]
fn the_reference_library_verifies_a_message() {
    if !needs(
        "node and tests/peers/node_modules",
        has_program("node") && peers().join("node_modules/standardwebhooks").is_dir(),
    ) {
        return;
    }
    let home = home();
    // The endpoint comes first, for its secret; then the receiver that verifies by it.
    let (id, secret) = add(&home, "http://127.0.0.1:9/hook", "");
    let mut command = Command::new("node");
    command.arg(peers().join("standard-webhooks.mjs")).arg(&secret);
    let mut receiver = Running::start(command);
    let url = text(&receiver.event()["url"]);
    home.ok(&format!("endpoint update {id} --url {url}"));
    let sent = home.json("endpoint send contact.created --wait");
    assert_eq!(sent["deliveries"][0]["status"], "delivered", "{sent}");
    let received = receiver.event();
    assert_eq!((&received["error"], &received["verified"]["type"]), (&Value::Null, &json!("contact.created")));
    // Both secrets sign while one replaces the other; the library is content with either.
    let rotated = home.json(&format!("endpoint rotate {id}"));
    home.json("endpoint send contact.created --wait");
    let received = receiver.event();
    assert_eq!(received["error"], Value::Null, "{received}");
    assert_eq!(text(&received["headers"]["webhook-signature"]).split(' ').count(), 2);
    assert_ne!(text(&rotated["secret"]), secret);
}

#[test]
fn faults_074_to_077_an_endpoint_leads_to_public_addresses_alone() {
    let (home, receiver) = (Home::new(), Receiver::start());
    for (url, code) in [
        (receiver.url("/x"), "egress_refused"),
        ("https://169.254.169.254/latest".to_owned(), "egress_refused"),
        ("https://[::ffff:10.0.0.1]/".to_owned(), "egress_refused"),
        ("https://0x7f.1/".to_owned(), "egress_refused"),
        ("http://example.com/".to_owned(), "insecure_url"),
        ("https://user:secret@example.com/".to_owned(), "invalid_url"),
        ("ftp://example.com/".to_owned(), "invalid_url"),
    ] {
        let ran = home.run(&format!("endpoint add {url} --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (2, code), "{url}: {ran:?}");
        assert!(!ran.stderr.contains("secret@"), "{ran:?}");
    }
    // A name is judged when it is resolved, at each attempt.
    let port = receiver.address.rsplit(':').next().unwrap();
    let (id, _) = add(&home, &format!("http://localhost:{port}/x"), "");
    assert_eq!(home.run("endpoint send a.b --wait").code, 5);
    let log = log(&home, &id);
    assert!(text(&log["last_error"]).contains("only public addresses"), "{log}");
    assert_eq!((log["status"].as_str(), receiver.received("/x").len()), (Some("failed"), 0));
}

#[test]
fn fault_078_a_redirect_is_a_failure_and_is_not_followed() {
    let (home, receiver) = (home(), Receiver::start());
    let (id, _) = add(&home, &receiver.url("/moved"), "");
    for status in [301, 302, 303, 307, 308] {
        receiver.answers("/moved", [Answer::With(status, "location: /elsewhere")]);
        assert_eq!(home.run("endpoint send a.b --wait").code, 5, "{status}");
    }
    assert_eq!((receiver.received("/moved").len(), receiver.received("/elsewhere").len()), (5, 0));
    for delivery in deliveries(&home, &id) {
        assert_eq!(delivery["status"], "failed");
        assert!(text(&delivery["last_error"]).contains("redirects are not followed"), "{delivery}");
        // From the attempt on, not from now: on a busy machine the commands in between take longer than the delay.
        let log = home.json(&format!("endpoint deliveries {}", text(&delivery["delivery"])));
        let attempt = &log["attempt_log"][0];
        let delay = moment(&delivery["next_attempt_at"]).duration_since(moment(&attempt["started_at"])).as_millis();
        let delay = delay - i128::from(attempt["duration_ms"].as_u64().unwrap());
        assert!((4_000..=7_000).contains(&delay), "{log}");
    }
}

#[test]
fn fault_079_gone_disables_and_retry_after_is_obeyed_and_capped() {
    let (home, receiver) = (home(), Receiver::start());
    let (gone, _) = add(&home, &receiver.url("/gone"), "--events gone.*");
    receiver.answers("/gone", [Answer::Status(410)]);
    let ran = home.run("endpoint send gone.now --wait");
    assert!(ran.stderr.contains("answered 410") && ran.stderr.contains("integ endpoint enable"), "{ran:?}");
    let listed = &home.json("endpoint list")["endpoints"][0];
    assert_eq!((&listed["status"], &listed["disabled_reason"]), (&json!("disabled"), &json!("gone")));
    assert!(home.ok("endpoint list").contains("disabled: it answered 410"));
    assert_eq!(deliveries(&home, &gone)[0]["status"], "dead");
    let sent = home.json("endpoint send gone.again");
    assert_eq!((&sent["deliveries"], &sent["disabled_endpoints"]), (&json!([]), &json!([gone])));
    assert_eq!(home.run(&format!("endpoint send a.b --endpoint {gone} --json")).error_code(), "endpoint_disabled");
    home.ok(&format!("endpoint enable {gone}"));
    assert_eq!(home.run("endpoint send gone.again --wait").code, 0);

    for (status, headers, least, most) in [
        (429, "retry-after: 120", 115, 121),
        (503, "retry-after: 1", 0, 6),
        (429, "retry-after: 999999999", 35_000, 36_001),
    ] {
        let path = format!("/{status}-{most}");
        let (busy, _) = add(&home, &receiver.url(&path), "--events busy.*");
        receiver.answers(&path, [Answer::With(status, headers)]);
        home.run(&format!("endpoint send busy.now --endpoint {busy} --wait"));
        let next = seconds_from_now(&deliveries(&home, &busy)[0]["next_attempt_at"]);
        assert!((least..=most).contains(&next), "{status} {headers}: {next}");
        if most > 100 {
            // The endpoint is left alone as a whole.
            home.json(&format!("endpoint send busy.more --endpoint {busy}"));
            home.ok("endpoint deliver --once");
            assert_eq!(receiver.received(&path).len(), 1, "{path}");
        }
    }
}

#[test]
fn fault_080_timeouts_resets_and_endless_answers_are_bounded_and_retried() {
    let (home, receiver) = (home(), Receiver::start());
    for (path, answer, said) in [
        ("/hang", Answer::Hang, "no complete answer within 1s"),
        ("/cut", Answer::Cut, "broke"),
        ("/endless", Answer::Endless, "larger than"),
        ("/500", Answer::Status(500), "status 500"),
    ] {
        let (id, _) = add(&home, &receiver.url(path), "--timeout 1s");
        receiver.answers(path, [answer]);
        let started = Instant::now();
        assert_eq!(home.run(&format!("endpoint send a.b --endpoint {id} --wait")).code, 5, "{path}");
        assert!(started.elapsed() < Duration::from_secs(20), "{path}: {:?}", started.elapsed());
        let delivery = &deliveries(&home, &id)[0];
        assert_eq!(delivery["status"], "failed", "{path}");
        assert!(text(&delivery["last_error"]).contains(said), "{path}: {delivery}");
        // It is due again, and goes through.
        home.ok(&format!("endpoint retry {}", text(&delivery["delivery"])));
        home.ok("endpoint deliver --once");
        let log = log(&home, &id);
        assert_eq!((&log["status"], log["attempt_log"].as_array().unwrap().len()), (&json!("delivered"), 2), "{path}");
        let got = receiver.received(path);
        assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"));
        if path == "/500" {
            assert_eq!(log["attempt_log"][0]["response_body"], "said");
        }
    }
    // Nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (id, _) = add(&home, &format!("http://{closed}/"), "");
    home.run(&format!("endpoint send a.b --endpoint {id} --wait"));
    assert!(text(&deliveries(&home, &id)[0]["last_error"]).contains("cannot reach"));
}

#[test]
fn fault_081_a_worker_killed_after_it_has_sent_sends_the_same_id_with_a_fresh_timestamp() {
    let (home, receiver) = (home(), Receiver::start());
    let (id, secret) = add(&home, &receiver.url("/x"), "");
    home.json("endpoint send a.b");
    receiver.answers("/x", [Answer::Hang]);
    let mut worker = home.command(["endpoint", "deliver"]).stderr(Stdio::null()).spawn().unwrap();
    receiver.wait("/x", 1);
    worker.kill().unwrap();
    worker.wait().unwrap();
    home.expire_leases();
    assert_eq!(deliveries(&home, &id)[0]["status"], "pending", "nothing was noted of it");
    // Timestamps are told in seconds.
    std::thread::sleep(Duration::from_millis(1100));
    home.ok("endpoint deliver --once");
    let got = receiver.received("/x");
    assert_eq!((got.len(), got[0].header("webhook-id")), (2, got[1].header("webhook-id")));
    assert_eq!(got[0].body, got[1].body);
    let timestamp = |message: &Message| message.header("webhook-timestamp").unwrap().parse::<i64>().unwrap();
    assert!(timestamp(&got[1]) > timestamp(&got[0]) && verify(&secret, &got[1]));
    assert_eq!(deliveries(&home, &id)[0]["status"], "delivered");
}

/// `INTEG_TEST_ROUNDS=200 cargo test --test it kill_minus_nine_at` runs more of them.
#[test]
fn kill_minus_nine_at_random_moments_loses_no_message_that_send_has_acknowledged() {
    let rounds = std::env::var("INTEG_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let (home, receiver) = (home(), Receiver::start());
    add(&home, &receiver.url("/a"), "");
    add(&home, &receiver.url("/b"), "");
    // Slow enough that a kill often finds an attempt under way.
    receiver.always("/b", Answer::After(Duration::from_millis(40)));
    let mut sent = Vec::new();
    for round in 0..rounds {
        let mut worker =
            home.command(["endpoint", "deliver"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        // Between 5 and 105 ms, otherwise in each round.
        while started.elapsed() < Duration::from_millis(5 + (round * 37) % 101) {
            sent.push(text(&home.json("endpoint send a.b")["message"]));
        }
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    home.expire_leases();
    home.ok("endpoint deliver --once");
    for path in ["/a", "/b"] {
        let got: Vec<String> =
            receiver.received(path).iter().map(|one| one.header("webhook-id").unwrap().to_owned()).collect();
        assert!(sent.iter().all(|id| got.contains(id)), "{path}");
        println!("{path}: {} sent, {} received, {rounds} kills", sent.len(), got.len());
    }
}

#[test]
fn fault_082_while_a_secret_is_replaced_both_sign_and_then_the_new_one_alone() {
    let (home, receiver) = (home(), Receiver::start());
    let (id, old) = add(&home, &receiver.url("/x"), "");
    let new = text(&home.json(&format!("endpoint rotate {id} --overlap 1h"))["secret"]);
    home.json("endpoint send a.b --wait");
    let newest = text(&home.json(&format!("endpoint rotate {id} --overlap 2s"))["secret"]);
    home.json("endpoint send a.b --wait");
    std::thread::sleep(Duration::from_millis(3100));
    home.json("endpoint send a.b --wait");
    let got = receiver.received("/x");
    let signed = |message: &Message| [&old, &new, &newest].map(|secret| verify(secret, message));
    assert_eq!(signed(&got[0]), [true, true, false]);
    assert_eq!(signed(&got[1]), [true, true, true]);
    assert_eq!(signed(&got[2]), [false, false, true]);
    let none = text(&home.json(&format!("endpoint rotate {id} --overlap 0s"))["secret"]);
    home.json("endpoint send a.b --wait");
    let last = &receiver.received("/x")[3];
    assert!(verify(&none, last) && !verify(&newest, last));
}

#[test]
fn fault_084_dead_and_slow_endpoints_hold_nobody_up() {
    const MESSAGES: u64 = 30;
    let endpoints = std::env::var("INTEG_TEST_ENDPOINTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    // Of ten one is dead and one slow, or all are well: what the other eight see.
    let latencies = |troubled: bool| -> Vec<i64> {
        let (home, receiver) = (home(), Receiver::start());
        let mut healthy = 0;
        for number in 0..endpoints {
            let (path, answer) = match number % 10 {
                0 if troubled => (format!("/dead/{number}"), Answer::Hang),
                1 if troubled => (format!("/slow/{number}"), Answer::After(Duration::from_secs(2))),
                0 | 1 => (format!("/others/{number}"), Answer::Status(204)),
                _ => (format!("/well/{number}"), Answer::Status(204)),
            };
            healthy += u64::from(path.starts_with("/well/"));
            receiver.always(&path, answer);
            add(&home, &receiver.url(&path), "--timeout 20s");
        }
        let mut worker =
            home.command(["endpoint", "deliver"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        for number in 1..=MESSAGES {
            home.json("endpoint send a.b");
            // Below what the machine can do, so that a latency is no queue's.
            std::thread::sleep(Duration::from_millis(2 * endpoints * number).saturating_sub(started.elapsed()));
        }
        let received = receiver.wait("/well/", usize::try_from(MESSAGES * healthy).unwrap());
        worker.kill().unwrap();
        worker.wait().unwrap();
        let latency = |(message, at): &(Message, Timestamp)| {
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            let sent: Timestamp = body["timestamp"].as_str().unwrap().parse().unwrap();
            at.as_millisecond() - sent.as_millisecond()
        };
        let mut latencies: Vec<i64> = received.iter().map(latency).collect();
        latencies.sort_unstable();
        latencies
    };
    let at = |latencies: &[i64], percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let rounds = std::env::var("INTEG_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let (mut well, mut troubled) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut pair = [latencies(false), latencies(true)];
        let [p99_well, p99_troubled] = [0, 1].map(|side| at(&pair[side], 99));
        let [p50_well, p50_troubled] = [0, 1].map(|side| at(&pair[side], 50));
        println!(
            "{round}: {endpoints} endpoints, {} deliveries to the same eight of ten; all well: p50 {p50_well} ms, \
             p99 {p99_well} ms; the others dead or slow: p50 {p50_troubled} ms, p99 {p99_troubled} ms",
            pair[0].len(),
        );
        well.append(&mut pair[0]);
        troubled.append(&mut pair[1]);
    }
    well.sort_unstable();
    troubled.sort_unstable();
    // Far below the two seconds and twenty of those that hold on.
    assert!(at(&troubled, 99) < at(&well, 99) + 1500, "{} and {}", at(&well, 99), at(&troubled, 99));
}

#[test]
fn a_message_is_sent_once_however_often_it_is_asked_for_and_an_id_names_one_message() {
    let (home, receiver) = (home(), Receiver::start());
    add(&home, &receiver.url("/x"), "");
    fs::write(home.path().join("data"), r#"{"n": 1}"#).unwrap();
    let line = "endpoint send a.b --id order-7 --data data";
    let first = home.json(line);
    let second = home.json(line);
    assert_eq!((&first["duplicate"], &second["duplicate"]), (&json!(false), &json!(true)));
    assert_eq!(first["deliveries"][0]["delivery"], second["deliveries"][0]["delivery"]);
    home.ok("endpoint deliver --once");
    assert_eq!(receiver.received("/x").len(), 1);
    fs::write(home.path().join("data"), r#"{"n": 2}"#).unwrap();
    for (line, code) in [
        (line, "message_conflict"),
        ("endpoint send a.b --id a.1", "invalid_message_id"),
        ("endpoint send a.b --data nothing", "io"),
        ("endpoint send a.b --endpoint ep_none", "endpoint_not_found"),
        ("endpoint show ep_none", "endpoint_not_found"),
        ("endpoint retry dlv_99", "delivery_not_found"),
        ("endpoint retry 99", "invalid_delivery_id"),
        ("endpoint add http://127.0.0.1:1/ --attempts 0", "invalid_setting"),
        ("endpoint add http://127.0.0.1:1/ --timeout 2m", "invalid_setting"),
    ] {
        let ran = home.run(&format!("{line} --json"));
        assert_eq!(ran.error_code(), code, "{line}: {ran:?}");
    }
    fs::write(home.path().join("data"), "{").unwrap();
    assert_eq!(home.run("endpoint send a.b --data data --json").error_code(), "invalid_json");
    fs::write(home.path().join("data"), format!("\"{}\"", "x".repeat(300_000))).unwrap();
    assert_eq!(home.run("endpoint send a.b --data data --json").error_code(), "message_too_large");
    assert_eq!(home.run("endpoint send not..a.type").code, 2);
    assert_eq!(home.run("endpoint add http://127.0.0.1:1/ --rate fast").code, 2);
}

#[test]
fn what_was_given_up_is_brought_back_one_by_one_or_together() {
    let (home, receiver) = (home(), Receiver::start());
    let (id, _) = add(&home, &receiver.url("/x"), "--policy none");
    receiver.answers("/x", [500; 3].map(Answer::Status));
    for _ in 0..3 {
        assert_eq!(home.run("endpoint send a.b --wait").code, 5);
    }
    assert!(deliveries(&home, &format!("{id} --status dead")).len() == 3);
    assert_eq!(home.json("endpoint list")["endpoints"][0]["status"], "failing");
    let one = text(&deliveries(&home, &id)[0]["delivery"]);
    assert_eq!(home.json(&format!("endpoint retry {one}"))["retried"], 1);
    assert_eq!(home.json(&format!("endpoint retry --failed {id} --since 1h"))["retried"], 2);
    home.ok("endpoint deliver --once");
    assert_eq!(deliveries(&home, &format!("{id} --status delivered")).len(), 3);
    let ids: std::collections::BTreeSet<_> =
        receiver.received("/x").iter().map(|one| one.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!((receiver.received("/x").len(), ids.len()), (6, 3));
    assert_eq!(home.json("endpoint retry --failed --since 1h")["retried"], 0);
    assert_eq!(home.json("endpoint list")["endpoints"][0]["status"], "enabled");
    home.ok(&format!("endpoint disable {id}"));
    assert_eq!(home.run(&format!("endpoint retry {one} --json")).error_code(), "endpoint_disabled");
    assert_eq!(home.run(&format!("endpoint remove {id}")).code, 2);
    home.ok(&format!("endpoint remove {id} --yes"));
    assert_eq!(home.json("endpoint deliveries")["deliveries"], json!([]));
}

#[test]
fn what_is_older_than_its_time_to_live_is_given_up_without_an_attempt() {
    let (home, receiver) = (home(), Receiver::start());
    let (id, _) = add(&home, &receiver.url("/x"), "--ttl 1s");
    home.json("endpoint send a.b");
    std::thread::sleep(Duration::from_millis(1100));
    home.ok("endpoint deliver --once");
    let delivery = &deliveries(&home, &id)[0];
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("dead"), &json!(0)));
    assert!(text(&delivery["last_error"]).contains("time to live") && receiver.received("/x").is_empty());
    // Brought back, it has all its time again; a failure whose next attempt would come too late is the last.
    receiver.answers("/x", [Answer::Status(500)]);
    home.ok(&format!("endpoint retry {}", text(&delivery["delivery"])));
    home.ok("endpoint deliver --once");
    let delivery = &deliveries(&home, &id)[0];
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("dead"), &json!(1)));
}

#[test]
fn a_backup_does_not_replace_endpoints_and_brings_them_back() {
    let (home, receiver) = (home(), Receiver::start());
    let (id, secret) = add(&home, &receiver.url("/x"), "");
    home.ok("vault backup out.age");
    let refused = home.run("vault restore out.age --yes --json");
    assert_eq!(refused.error_code(), "workspace_not_empty", "{refused:?}");
    home.ok("-w other vault restore out.age --yes");
    assert_eq!(home.run(&format!("-w other endpoint send a.b --endpoint {id} --wait")).code, 0);
    assert!(verify(&secret, &receiver.received("/x")[0]));
}

#[test]
fn a_rate_is_kept_and_one_process_delivers_at_a_time() {
    let (home, receiver) = (home(), Receiver::start());
    add(&home, &receiver.url("/x"), "--rate 5/s");
    for _ in 0..10 {
        home.json("endpoint send a.b");
    }
    let mut worker = home.command(["endpoint", "deliver"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let received = receiver.wait("/x", 10);
    let took = received[9].1.as_millisecond() - received[0].1.as_millisecond();
    assert!((800..5000).contains(&took), "{took} ms for ten at 5/s");
    let second = home.run("endpoint deliver --once --json");
    assert_eq!((second.code, second.error_code().as_str()), (5, "busy"), "{second:?}");
    // Whoever waits for a message is served by the worker that runs.
    assert_eq!(home.run("endpoint send a.b --wait").code, 0);
    let id = worker.id().to_string();
    assert!(
        finish({
            let mut kill = Command::new("kill");
            kill.args(["-INT", &id]);
            kill
        })
        .code
            == 0
    );
    assert_eq!(worker.wait().unwrap().code(), Some(0));
}

#[test]
fn a_disabled_endpoint_is_told_once_whoever_finds_it() {
    let (home, receiver) = (home(), Receiver::start());
    let (told, hook) = (home.path().join("told"), home.path().join("hook.sh"));
    let line = "echo \"$INTEG_NOTIFY_EVENT $INTEG_NOTIFY_ENDPOINT $INTEG_NOTIFY_STATUS $INTEG_NOTIFY_REASON\"";
    fs::write(&hook, format!("{line} >> '{0}'; cat >> '{0}.json'\n", told.display())).unwrap();
    let set = finish(home.command(["config", "set", "notify.command", &format!("sh '{}'", hook.display())]));
    assert_eq!(set.code, 0, "{set:?}");
    let (gone, _) = add(&home, &receiver.url("/gone"), "");
    receiver.answers("/gone", (0..8).map(|_| Answer::Status(410)));
    for number in 0..8 {
        home.ok(&format!("endpoint send a.b --id msg_{number}"));
    }
    home.ok("endpoint deliver --once");
    home.ok("endpoint deliver --once");
    assert_eq!(fs::read_to_string(&told).unwrap(), format!("endpoint_disabled {gone} disabled it answered 410\n"));
    let json: Value = serde_json::from_str(&fs::read_to_string(home.path().join("told.json")).unwrap()).unwrap();
    assert_eq!((&json["type"], &json["data"]["endpoint"]), (&json!("endpoint.disabled"), &json!(gone)), "{json}");
    // Who disables one himself knows it.
    let (other, _) = add(&home, &receiver.url("/other"), "");
    home.ok(&format!("endpoint disable {other}"));
    assert_eq!(fs::read_to_string(&told).unwrap().lines().count(), 1);
}

#[test]
fn types_of_the_catalogue_are_listed_and_what_is_sent_is_held_against_them() {
    let home = home();
    assert!(home.ok("endpoint event list").starts_with("No event types"));
    fs::write(home.path().join("paid.json"), r#"{"id":"in_1","amount":5}"#).unwrap();
    fs::write(home.path().join("wrong.json"), r#"{"id":7}"#).unwrap();
    home.ok("endpoint event add invoice.paid --sample paid.json --description Paid");
    home.ok("endpoint event add invoice.void");
    let listed = home.json("endpoint event list");
    let paid = json!({ "event": "invoice.paid", "description": "Paid", "sample": { "id": "in_1", "amount": 5 } });
    assert_eq!(listed["events"][0], paid);
    let added = home.run("endpoint add https://example.com/in --events invoce.* --events invoice.*");
    assert!(
        added.code == 0 && added.stderr.contains("matches invoce.*") && !added.stderr.contains("invoice.*:"),
        "{added:?}"
    );
    home.ok("endpoint send invoice.paid --data paid.json");
    let wrong = home.run("endpoint send invoice.paid --data wrong.json --json");
    assert_eq!((wrong.code, wrong.error_code().as_str()), (2, "invalid_data"), "{wrong:?}");
    assert!(wrong.stderr.contains("/id is a number, not a text; /amount is missing"), "{wrong:?}");
    home.ok("endpoint send invoice.void --data wrong.json");
    home.ok("endpoint event remove invoice.paid");
    assert_eq!(home.run("endpoint event remove invoice.paid --json").error_code(), "unknown_event_type");
    assert_eq!(home.json("endpoint prune --keep 1s")["removed"], 0, "what waits stays");
}
