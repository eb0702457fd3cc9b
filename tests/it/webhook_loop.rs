//! `integ webhook listen` beside an app that is being developed: results of handlers, answers to services, live events.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use integ::signing::request::WebhookRequest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use url::Url;

use crate::attack::clocks::{at, faketime};
use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{Flow, connect_line};
use crate::harness::{Running, skipped_on_postgres};
use crate::receiver::{Answer, Receiver};
use crate::webhook::{Listening, Maker, events, home, post};
use crate::wire::Message;

/// Posts a request, and returns the whole answer.
fn answer_to(url: &Url, request: &WebhookRequest) -> Message {
    let mut stream = TcpStream::connect(&*url.socket_addrs(|| None).unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let query = request.url.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
    let mut head = format!("POST {}{query} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", url.path(), url.authority());
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    stream.write_all(&[head.as_bytes(), &request.body].concat()).unwrap();
    Message::read(&stream).unwrap()
}

/// The next line that says what a handler did.
fn result(listening: &mut Listening) -> Value {
    loop {
        let line = listening.event();
        if line["event"] == "handled" || line["event"] == "failed" {
            return line;
        }
    }
}

fn id(number: u32) -> String {
    format!("{number:032x}")
}

#[test]
fn an_event_that_fails_holds_up_no_other_and_every_attempt_is_shown() {
    let home = home(&["stripe"]);
    let app = Receiver::start();
    app.always("/hook", Answer::Status(500));
    let words = format!("stripe --forward-to {} --attempts 20", app.url("/hook"));
    let mut listening = Listening::start(&home, &words, None);
    home.ok("webhook simulate stripe charge.refunded");
    let failed = result(&mut listening);
    let url = app.url("/hook");
    let expected = json!({
        "event": "failed", "connection": "stripe", "id": failed["id"], "type": "charge.refunded",
        "delivery_id": failed["delivery_id"], "handler": "forward", "target": url, "status": 500,
        "duration_ms": failed["duration_ms"], "attempt": 1, "attempts": 20, "next_attempt_at": failed["next_attempt_at"],
        "event_status": "failed", "error": format!("{url} answered 500"), "output": "said",
    });
    assert_eq!(failed, expected);
    assert!(failed["duration_ms"].is_u64() && failed["next_attempt_at"].is_string(), "{failed}");
    // The other one is tried although the first one was not handled.
    home.ok("webhook simulate stripe invoice.paid");
    while result(&mut listening)["type"] != "invoice.paid" {}
    app.always("/hook", Answer::Status(204));
    let mut handled = Vec::new();
    while handled.len() < 2 {
        let line = result(&mut listening);
        if line["event"] == "handled" {
            assert_eq!((&line["event_status"], &line["status"]), (&json!("processed"), &json!(204)), "{line}");
            handled.push(line["type"].clone());
        }
    }
    let shown = home.json(&format!("webhook show {}", failed["id"]));
    let runs = shown["handled"].as_array().unwrap();
    let told: Vec<Value> = runs.iter().map(|run| json!([run["attempt"], run["status"], run["output"]])).collect();
    assert_eq!((&told[0], told.last()), (&json!([1, 500, "said"]), Some(&json!([told.len(), 204, null]))), "{told:?}");
    let text = home.ok(&format!("webhook show {}", failed["id"]));
    assert!(text.contains("attempt 1 ") && text.contains("│ said") && text.contains("answered 500"), "{text}");
    // What was done with an event goes with it.
    home.ok("webhook prune --keep 0s");
    assert_eq!(home.run(&format!("webhook show {}", failed["id"])).code, 3);
}

#[test]
fn events_that_hang_leave_room_for_others_and_are_bounded() {
    let home = home(&["stripe"]);
    let handler = "sh -c 'case $INTEG_EVENT_TYPE in charge.*) echo >> begun; sleep 20;; esac'";
    let mut listening = Listening::start(&home, "stripe --exec", Some(handler));
    home.ok("webhook simulate stripe charge.refunded --count 7");
    let started = Instant::now();
    home.ok("webhook simulate stripe invoice.paid --count 5");
    for _ in 0..5 {
        assert_eq!(result(&mut listening)["type"], "invoice.paid");
    }
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    home.ok("webhook simulate stripe charge.refunded --count 20");
    // More that begin would do so within the second after which a listener looks again.
    std::thread::sleep(Duration::from_secs(2));
    let begun = std::fs::read_to_string(home.path().join("begun")).unwrap().lines().count();
    assert_eq!(begun, 8, "no more are handled at once");
    listening.signal(Signal::KILL);
}

#[test]
fn headers_are_added_to_what_is_sent_on_and_none_that_proves_it_is_replaced() {
    let home = home(&["stripe"]);
    let app = Receiver::start();
    let words = format!("stripe --forward-to {} --header X-Tenant:7 -H", app.url("/hook"));
    let mut listening = Listening::start(&home, &words, Some("Authorization: Bearer of the app"));
    let request = Maker::of(&home, "stripe").make("invoice.paid", &listening.url("stripe"), &id(1));
    assert_eq!(post(&listening.url("stripe"), &request), Some(200));
    assert_eq!(result(&mut listening)["status"], 204);
    let came = &app.wait("/hook", 1)[0].0;
    assert_eq!((came.header("x-tenant"), came.header("authorization")), (Some("7"), Some("Bearer of the app")));
    assert_eq!(came.header("stripe-signature"), request.single_header("Stripe-Signature"));
    drop(listening);
    for name in ["Stripe-Signature", "Host", "content-type", "Transfer-Encoding"] {
        let line = format!("webhook listen stripe --port 0 --forward-to 3000 -H {name}:x --json");
        let ran = home.run(&line);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "reserved_header"), "{name}: {ran:?}");
    }
    assert_eq!(home.run("webhook listen stripe --port 0 --forward-to 3000 -H nothing --json").code, 2);
}

#[test]
fn what_a_command_prints_is_shown_and_bounded() {
    let home = home(&["stripe"]);
    let mut listening = Listening::start(&home, "stripe --exec", Some("sh -c 'echo out; echo err >&2'"));
    home.ok("webhook simulate stripe invoice.paid");
    let handled = result(&mut listening);
    assert_eq!((&handled["handler"], &handled["status"]), (&json!("exec"), &json!(0)), "{handled}");
    let mut printed: Vec<&str> = handled["output"].as_str().unwrap().lines().collect();
    printed.sort_unstable();
    assert_eq!(printed, ["err", "out"]);
    let shown = home.json(&format!("webhook show {}", handled["id"]));
    assert_eq!(shown["handled"][0]["output"], Value::Null, "what worked is not stored");
    drop(listening);
    let mut listening = Listening::start(&home, "stripe --attempts 1 --exec", Some("sh -c 'yes; exit 1'"));
    home.ok("webhook simulate stripe invoice.paid");
    let failed = result(&mut listening);
    assert_eq!(failed["output"].as_str().unwrap().len(), 4096);
    let shown = home.json(&format!("webhook show {}", failed["id"]));
    assert_eq!(shown["handled"][0]["output"].as_str().unwrap().len(), 4096);
}

#[test]
fn a_service_that_acts_on_the_answer_gets_the_handlers_in_time_and_else_the_default_one() {
    let home = home(&["slack"]);
    let handler = "sh -c 'read -r body; case $INTEG_EVENT_TYPE:$body in \
                   message:*) echo ignored;; *slow*) sleep 4; echo late;; *wrong*) exit 1;; *) echo \"{\\\"text\\\":\\\"deployed\\\"}\";; esac'";
    let mut listening = Listening::start(&home, "slack --attempts 1 --exec", Some(handler));
    let (maker, url) = (Maker::of(&home, "slack"), listening.url("slack"));
    let command = |number: u32, text: &str| {
        let request = maker.make("slash_command", &url, &id(number));
        let body = String::from_utf8(request.body.clone()).unwrap().replace("text=now", &format!("text={text}"));
        signed(&maker, request, body)
    };
    let answer = answer_to(&url, &command(1, "now"));
    assert_eq!((answer.status(), answer.text().as_str()), (200, "{\"text\":\"deployed\"}\n"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(result(&mut listening)["event_status"], "processed");
    // Slack reads no answer to an ordinary event.
    let answer = answer_to(&url, &maker.make("message", &url, &id(2)));
    assert_eq!((answer.status(), answer.text().as_str()), (200, ""));
    result(&mut listening);
    let answer = answer_to(&url, &command(3, "wrong"));
    assert_eq!((answer.status(), answer.text().as_str()), (200, ""), "a failure is integ's to try again");
    assert_eq!(result(&mut listening)["event_status"], "dead");

    let (slow, started) = (command(4, "slow"), Instant::now());
    let waiting = std::thread::spawn({
        let url = url.clone();
        move || answer_to(&url, &slow)
    });
    // Nothing else waits for it.
    let answer = answer_to(&url, &command(5, "now"));
    assert!(
        answer.text().contains("deployed") && started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    let answer = waiting.join().unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, ""), "Slack shows an error after three seconds");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(result(&mut listening)["event_status"], "processed");
    assert_eq!(result(&mut listening)["event_status"], "processed", "the slow one is handled all the same");
}

/// The request with another body, signed as Slack signs.
fn signed(maker: &Maker, mut request: WebhookRequest, body: String) -> WebhookRequest {
    let at = request.single_header("X-Slack-Request-Timestamp").unwrap().to_owned();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, maker.keys.secrets[0].expose().as_bytes());
    let tag = ring::hmac::sign(&key, format!("v0:{at}:{body}").as_bytes());
    let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    request.set_header("X-Slack-Signature", &format!("v0={tag}"));
    request.body = body.into_bytes();
    request
}

#[test]
fn an_awaited_event_is_handled_before_a_backlog() {
    let home = home(&["slack"]);
    let handler = "sh -c 'case $INTEG_EVENT_TYPE in message) sleep 10;; *) echo answered;; esac'";
    let listening = Listening::start(&home, "slack --exec", Some(handler));
    home.ok("webhook simulate slack message --count 30");
    let (maker, url) = (Maker::of(&home, "slack"), listening.url("slack"));
    let answer = answer_to(&url, &maker.make("slash_command", &url, &id(1)));
    assert_eq!(answer.text(), "answered\n");
    listening.signal(Signal::KILL);
}

/// A vendor that lists what it sent, and signs nothing.
const LOG: &str = r#"
[actions."log.list"]
about = "List what was sent"
method = "GET"
path = "/log"
list = "/log"

[actions."log.list".params]
since = { about = "Since", type = "integer" }

[webhook]
setup = "Nothing."
retry = "None"

[webhook.event]
id = [{ at = "/id" }]
type = [{ at = "/type" }]

[webhook.backfill]
action = "log.list"
params = { since = "{since}" }
time = "/at"
reach_secs = 86400

[events.ping]
about = "Something"
"#;

#[test]
fn a_log_of_deliveries_is_polled_and_what_it_lists_is_handled_once() {
    let provider = FakeProvider::start();
    let home = home(&["slack"]);
    home.install("fake", &format!("{CONNECTOR}{LOG}"));
    Flow::start(&home, &connect_line(&provider)).allow();
    let refused = home.run("webhook listen slack --port 0 --poll --json");
    assert_eq!((refused.code, refused.error_code().as_str()), (2, "poll_unsupported"), "{refused:?}");
    let mut listening = Listening::start(&home, "--append out.jsonl --poll=1s", None);
    // Until there is a log, the vendor knows of none.
    listening.until("poll_failed");
    let log = |ids: &[&str]| {
        let at = integ::clock::Timestamp::now().as_second();
        let items: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "type": "ping", "at": at })).collect();
        Trouble::json(200, &json!({ "log": items }))
    };
    provider.trouble("/api/log", [log(&["a"]), log(&["a", "b"])]);
    provider.trouble("/api/log", std::iter::repeat_with(|| log(&["a", "b", "c"])).take(60));
    let mut seen = Vec::new();
    let mut states = Vec::new();
    while seen.len() < 3 {
        let line = listening.event();
        match line["event"].as_str().unwrap() {
            "received" => {
                assert_eq!((&line["verified"], &line["duplicate"]), (&json!(true), &json!(false)), "{line}");
                seen.push(line["delivery_id"].as_str().unwrap().to_owned());
            }
            "handled" => {}
            other => states.push(other.to_owned()),
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
    let written = || std::fs::read_to_string(home.path().join("out.jsonl")).unwrap_or_default().lines().count();
    let started = Instant::now();
    while written() < 3 {
        assert!(started.elapsed() < Duration::from_secs(20), "{} were handled", written());
        // The listener is another process, which says nothing of a file.
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(states, ["poll_resumed"]);
    assert_eq!(events(&home, "fake").len(), 3, "each once");
    listening.signal(Signal::INT);
    assert_eq!(listening.running.code(), 130);
}

#[test]
fn a_listener_that_lost_its_lock_gives_way_and_takes_over_again() {
    if skipped_on_postgres("it removes lock files; `lock_contract` takes leases over") {
        return;
    }
    let home = home(&["stripe"]);
    let mut first = Listening::start(&home, "stripe --append first.jsonl", None);
    home.ok("webhook simulate stripe invoice.paid");
    assert_eq!(result(&mut first)["event_status"], "processed");
    // What a lease that expired while its holder was paused leads to: another process has the lock.
    let locks = home.workspace().join("locks");
    let held = std::fs::read_dir(&locks).unwrap().map(|entry| entry.unwrap().path());
    let held: Vec<_> = held.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("events-")).collect();
    assert_eq!(held.len(), 1, "{held:?}");
    std::fs::remove_file(&held[0]).unwrap();
    let mut second = Listening::start(&home, "stripe --append second.jsonl", None);
    let (maker, url) = (Maker::of(&home, "stripe"), first.url("stripe"));
    assert_eq!(post(&url, &maker.make("invoice.paid", &url, &id(2))), Some(200));
    assert_eq!(result(&mut second)["event_status"], "processed");
    let count = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap_or_default().lines().count();
    // The first may have handled it as well before it learnt that it could not say so.
    let before = count("first.jsonl");
    assert_eq!(count("second.jsonl"), 1);
    second.signal(Signal::INT);
    assert_eq!(second.running.code(), 130);
    assert_eq!(post(&url, &maker.make("invoice.paid", &url, &id(3))), Some(200));
    let handled = result(&mut first);
    assert_eq!((&handled["event_status"], count("first.jsonl")), (&json!("processed"), before + 1), "{handled}");
}

#[test]
fn connections_that_come_and_go_are_said() {
    let home = home(&["stripe"]);
    let mut listening = Listening::start(&home, "--append out.jsonl", None);
    home.ok("connect github --sandbox");
    let connected = listening.until("connected");
    let url = home.json("webhook url github")["url"].clone();
    assert_eq!((&connected["connection"], &connected["public_url"]), (&json!("github"), &url), "{connected}");
    assert!(connected["secret"].is_null(), "{connected}");
    home.ok("disconnect github --local --yes");
    assert_eq!(listening.until("disconnected")["connection"], "github");
    drop(listening);
    let mut listening = Listening::start(&home, "--print-secret", None);
    home.ok("connect github --sandbox");
    let secret = home.ok("webhook secret github --print-secret");
    assert_eq!(listening.until("connected")["secret"], secret.trim());
}

#[test]
fn a_pattern_simulates_one_event_of_each_type() {
    let home = home(&["stripe"]);
    let mut listening = Listening::start(&home, "stripe --events *.paid --append out.jsonl", None);
    let sent = home.ok("webhook simulate stripe invoice.* --json");
    let kinds: Vec<Value> =
        sent.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone()).collect();
    assert!(kinds.len() > 1 && kinds.contains(&json!("invoice.paid")), "{kinds:?}");
    assert_eq!(listening.until("handled")["type"], "invoice.paid");
    assert_eq!(events(&home, "--type *.paid").len(), 1);
    assert_eq!(home.run("webhook simulate stripe nothing.* --json").error_code(), "event_not_found");
}

#[test]
fn a_secret_is_not_in_output_that_is_no_terminals_unless_it_is_asked_for() {
    let home = home(&["stripe"]);
    let secret = home.ok("webhook secret stripe --print-secret");
    assert!(secret.starts_with("whsec_"), "as Stripe writes it: {secret}");
    for (words, is_shown) in [("", false), (" --print-secret", true)] {
        let line = format!("webhook listen stripe --port 0 --forward-to 3000{words}");
        let mut running = Running::start(home.command(line.split_whitespace()));
        let printed: Vec<String> = (0..3).map(|_| running.line()).collect();
        assert_eq!(printed.iter().any(|line| line.contains(secret.trim())), is_shown, "{printed:?}");
        assert!(
            printed.iter().any(|line| line.ends_with("→ forward http://localhost:3000/\n")
                || line.ends_with("→ forward http://localhost:3000/")),
            "{printed:?}"
        );
        kill_process(Pid::from_child(&running.child), Signal::INT).unwrap();
        assert_eq!(running.code(), 130);
    }
}

#[test]
fn a_signature_that_is_too_old_for_the_receiver_is_made_anew() {
    let Some(library) = faketime() else { return };
    let home = home(&["stripe"]);
    let app = Receiver::start();
    let mut storing = Listening::start(&home, "stripe --forward-to http://127.0.0.1:1/hook", None);
    home.ok("webhook simulate stripe charge.refunded");
    storing.until("paused");
    storing.signal(Signal::INT);
    assert_eq!(storing.running.code(), 130);
    // Nobody listened for ten minutes; libraries refuse a signature of over five.
    let line = format!("webhook listen stripe --port 0 --json --forward-to {}", app.url("/hook"));
    let running = Running::start(at(&home, &library, "+600s", &line));
    let (message, _) = app.wait("/hook", 1).remove(0);
    drop(running);
    let header = message.header("stripe-signature").unwrap().to_owned();
    let (time, signature) = header.split_once(",v1=").unwrap();
    let time = time.strip_prefix("t=").unwrap();
    let ahead = time.parse::<i64>().unwrap() - jiff::Timestamp::now().as_second();
    assert!((500..=600).contains(&ahead), "{header}");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, home.ok("webhook secret stripe --print-secret").as_bytes());
    let signed = [time.as_bytes(), b".", &message.body].concat();
    let expected: String = ring::hmac::sign(&key, &signed).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(signature, expected);
}
