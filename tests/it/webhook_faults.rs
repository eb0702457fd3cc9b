//! Webhooks under what goes wrong: faults 58 to 73 that need a whole process. The others are unit tests of `src/webhook`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use integ::clock::{self, Timestamp};
use integ::signing::request::WebhookRequest;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{INTEG, finish, has_program, needs, skipped_on_postgres};
use crate::webhook::{Listening, Maker, events, home, post, rest};

fn id(number: usize) -> String {
    format!("{number:032x}")
}

fn random_ms(least: u64, most: u64) -> Duration {
    let number = u64::from_ne_bytes(clock::random::<8>());
    Duration::from_millis(least + number % (most - least))
}

#[test]
fn fault_058_no_secret_or_one_that_is_guessed_receives_nothing() {
    let home = home(&["stripe"]);
    let mut command = home.command(["connect", "webhook", "--as", "live", "--with-token", "--json"]);
    command.env("INTEG_TOKEN", "https://hooks.example.com/x");
    let connected = finish(command);
    assert_eq!(connected.code, 0, "{connected:?}");
    let listened = home.run("webhook listen webhook@live --json");
    assert_eq!((listened.code, listened.error_code().as_str()), (2, "no_webhook_secret"), "{listened:?}");
    assert!(listened.stderr.contains("integ webhook secret webhook@live --set -"), "{listened:?}");
    for (secret, error) in [
        ("", "empty_input"),
        ("\n", "empty_input"),
        ("short", "weak_webhook_secret"),
        ("whsec_c2hvcnQ=", "weak_webhook_secret"),
    ] {
        let ran = home.run_with_input("webhook secret webhook@live --set - --json", secret);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, error), "{secret:?}: {ran:?}");
        let ran = finish({
            let mut command = home.command(["webhook", "listen", "webhook@live", "--json"]);
            command.env("INTEG_WEBHOOK_SECRET", secret);
            command
        });
        assert_eq!(ran.code, 2, "{secret:?}: {ran:?}");
    }
    let set = home.run_with_input("webhook secret webhook@live --set -", "a secret of my own\n");
    assert_eq!(set.code, 0, "{set:?}");
    let mut listening = Listening::start(&home, "webhook@live", None);
    let event = home.json("webhook simulate webhook@live")["events"][0]["event"].as_str().unwrap_or("event").to_owned();
    let ran = home.run(&format!("webhook simulate webhook@live {event}"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(listening.event()["event"], "received");
}

#[test]
fn fault_065_a_repeated_request_is_one_event_and_a_stale_one_none() {
    let home = home(&["stripe", "github"]);
    let mut listening = Listening::start(&home, "", None);
    let (stripe, github) = (Maker::of(&home, "stripe"), Maker::of(&home, "github"));
    let url = listening.url("stripe");
    let request = stripe.make("charge.refunded", &url, &id(1));
    assert_eq!((post(&url, &request), post(&url, &request)), (Some(200), Some(200)));
    assert_eq!(listening.event()["duplicate"], false);
    assert_eq!(listening.event()["duplicate"], true);
    // A vendor signs the repetition anew: it is the same event.
    let later = stripe.make_at(
        "charge.refunded",
        &url,
        &id(2),
        Timestamp::from_second(Timestamp::now().as_second() - 400).unwrap(),
    );
    assert_eq!(post(&url, &later), Some(401));
    assert_eq!(
        listening.event(),
        json!({ "event": "rejected", "connection": "stripe", "reason": "timestamp_out_of_tolerance" })
    );
    // GitHub signs no time: what came once is known for good.
    let url = listening.url("github");
    let old = github.make_at("push", &url, &id(3), Timestamp::from_second(1_000_000_000).unwrap());
    assert_eq!((post(&url, &old), post(&url, &old)), (Some(200), Some(200)));
    assert_eq!((&listening.event()["duplicate"], &listening.event()["duplicate"]), (&json!(false), &json!(true)));
    assert_eq!(events(&home, "").len(), 2);
}

#[test]
fn fault_066_one_id_with_two_bodies_is_put_aside() {
    let home = home(&["stripe"]);
    let mut listening = Listening::start(&home, "stripe --append out.jsonl", None);
    let maker = Maker::of(&home, "stripe");
    let url = listening.url("stripe");
    let first = maker.make("charge.refunded", &url, &id(1));
    assert_eq!(post(&url, &first), Some(200));
    let kept = listening.until("received")["id"].as_i64().unwrap();
    listening.until("handled");
    let other = home.run(&format!("webhook simulate stripe charge.refunded --set id=evt_{} --json", id(1)));
    assert_eq!(other.code, 0, "{other:?}");
    let line = listening.event();
    assert_eq!(
        (&line["conflict"], &line["duplicate"], &line["id"]),
        (&json!(true), &json!(false), &json!(kept)),
        "{line}"
    );
    let shown = home.json(&format!("webhook show {kept}"));
    assert_eq!(shown["conflicts"], 1);
    assert_eq!(shown["payload"], serde_json::from_slice::<Value>(&first.body).unwrap(), "the first one stays");
    listening.signal(Signal::INT);
    assert_eq!(listening.running.code(), 130);
    assert_eq!(std::fs::read_to_string(home.path().join("out.jsonl")).unwrap().lines().count(), 1);
}

#[test]
fn fault_067_64_simultaneous_deliveries_of_one_id_are_one_event() {
    let home = home(&["stripe"]);
    let mut listening = Listening::start(&home, "stripe --append out.jsonl", None);
    let maker = Maker::of(&home, "stripe");
    let url = listening.url("stripe");
    for round in 0..5 {
        let request = maker.make("charge.refunded", &url, &id(round));
        let gate = std::sync::Barrier::new(64);
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    gate.wait();
                    assert_eq!(post(&url, &request), Some(200));
                });
            }
        });
        let (mut new, mut again) = (0, 0);
        while new + again < 64 {
            let line = listening.event();
            if line["event"] == "received" {
                if line["duplicate"] == true { again += 1 } else { new += 1 }
            }
        }
        assert_eq!((new, again), (1, 63), "round {round}");
    }
    listening.signal(Signal::INT);
    assert_eq!(listening.running.code(), 130);
    assert_eq!(events(&home, "").len(), 5);
    assert_eq!(std::fs::read_to_string(home.path().join("out.jsonl")).unwrap().lines().count(), 5);
}

/// Returns how many events a handler's file has, and how many of them twice: only those that were being handled when the
/// listener was killed, up to eight. `kills` are the lengths of the file then.
fn handled_events(written: &str, kills: &BTreeSet<u64>) -> (usize, usize) {
    let (mut handled, mut ends, mut twice) = (BTreeMap::new(), Vec::new(), 0);
    for line in written.split_inclusive('\n') {
        ends.push(ends.last().copied().unwrap_or(0) + line.len() as u64);
        // A kill may cut a line; its event is written again.
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let id = event["delivery_id"].as_str().unwrap().to_owned();
        if let Some(first) = handled.insert(id.clone(), ends.len() - 1) {
            let is_last_before = |kill: &u64| {
                let later = ends[first..].iter().take_while(|end| **end <= *kill).count();
                (1..=8).contains(&later)
            };
            assert!(kills.iter().any(is_last_before), "{id} was handled again, although it was done with");
            twice += 1;
        }
    }
    (handled.len(), twice)
}

#[test]
fn fault_068_what_was_answered_for_is_there_whenever_the_receiver_is_killed() {
    const CLIENTS: usize = 64;
    let rounds: usize = std::env::var("INTEG_TEST_ROUNDS").map_or(6, |rounds| rounds.parse().unwrap());
    let home = home(&["stripe"]);
    let maker = Maker::of(&home, "stripe");
    let next = AtomicUsize::new(1);
    let acknowledged: Mutex<Vec<String>> = Mutex::default();
    // How long the handler's file was at each kill.
    let out = home.path().join("out.jsonl");
    let mut kills = BTreeSet::new();
    for round in 1..=rounds {
        let mut listening = Listening::start(&home, "stripe --append out.jsonl", None);
        let url = listening.url("stripe");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        let id = id(next.fetch_add(1, Ordering::SeqCst));
                        let request = maker.make("charge.refunded", &url, &id);
                        if post(&url, &request) == Some(200) {
                            acknowledged.lock().unwrap().push(format!("evt_{id}"));
                        }
                        // No more than is handled meanwhile, on average: what is left is handled at the end.
                        std::thread::sleep(random_ms(0, 200));
                    }
                });
            }
            let process = rustix::process::Pid::from_child(&listening.running.child);
            // What it says is read on, so that it never waits for a reader.
            scope.spawn(|| while !listening.running.line().is_empty() {});
            std::thread::sleep(random_ms(20, 400));
            // A loaded machine takes longer to acknowledge as much.
            while acknowledged.lock().unwrap().len() <= round * CLIENTS / 2 {
                // Asks again soon: the kill should come in the midst of requests.
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            rustix::process::kill_process(process, Signal::KILL).unwrap();
            over.store(true, Ordering::SeqCst);
        });
        kills.insert(std::fs::metadata(&out).map_or(0, |file| file.len()));
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    for event in events(&home, "") {
        *kept.entry(event["delivery_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !kept.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), acknowledged.len());
    assert!(kept.values().all(|times| *times == 1));
    // What is left is handled.
    let mut last = Listening::start(&home, "stripe --append out.jsonl", None);
    // Nobody reads what it says: it receives and handles all the same.
    while !home.ok("webhook events --status pending --limit 1 --json").is_empty() {
        std::thread::sleep(Duration::from_millis(100));
    }
    last.signal(Signal::INT);
    assert_eq!(last.running.code(), 130);
    let written = std::fs::read_to_string(out).unwrap();
    let (handled, twice) = handled_events(&written, &kills);
    assert_eq!(handled, kept.len());
    println!(
        "{rounds} kills, {CLIENTS} clients: {} acknowledged, {} kept, 0 lost, {twice} handled twice",
        acknowledged.len(),
        kept.len()
    );
}

#[test]
fn fault_069_a_full_disk_is_a_503_and_nothing_is_lost() {
    if skipped_on_postgres("the disk that is full is that of vault.db") {
        return;
    }
    let mut shell = Command::new("unshare");
    shell.args(["-m", "sh", "-c", "mount -t tmpfs -o size=64k x /mnt"]).stderr(Stdio::null());
    let can_mount = has_program("unshare") && shell.status().is_ok_and(|status| status.success());
    if !needs("unshare -m and mount", can_mount) {
        return;
    }
    let home = home(&["stripe"]);
    let disk = tempfile::tempdir().unwrap();
    let script = r#"
        mount -t tmpfs -o size=2m,mode=700 small "$DISK" && cp -a "$FROM"/. "$DISK"
        "$INTEG" webhook listen stripe --port 0 --json > "$OUT/lines" 2>/dev/null &
        listener=$!
        until grep -q listening "$OUT/lines"; do sleep 0.05; done
        to=$(sed -n 's/.*"stripe":"\([^"]*\)".*/\1/p' "$OUT/lines")
        send() { "$INTEG" webhook simulate stripe charge.refunded --to "$to" --json | sed 's/.*"status":\([0-9a-z]*\).*/'"$1"' \1/'; }
        send before; send before
        dd if=/dev/zero of="$DISK/fill" bs=1k 2>/dev/null
        for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do send full; done
        rm "$DISK/fill"
        send after; send after
        kill -INT $listener; wait $listener; echo "ended $?"
        echo "kept $("$INTEG" webhook events --json --limit 1000 | wc -l)"
    "#;
    let out = tempfile::tempdir().unwrap();
    let mut shell = Command::new("unshare");
    shell.args(["-m", "sh", "-c", script]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    shell.env("INTEG", INTEG).env("DISK", disk.path()).env("INTEG_HOME", disk.path()).env("FROM", home.path());
    shell.env("OUT", out.path());
    let ran = finish(shell);
    let count = |line: &str| ran.stdout.lines().filter(|found| *found == line).count();
    assert_eq!((count("before 200"), count("after 200")), (2, 2), "{ran:?}");
    assert!(count("full 503") >= 1 && count("full 503") + count("full 200") == 30, "{ran:?}");
    assert_eq!(count("ended 130"), 1, "{ran:?}");
    assert_eq!(count(&format!("kept {}", 4 + count("full 200"))), 1, "{ran:?}");
}

#[test]
fn fault_070_large_endless_and_slow_bodies_are_refused_and_others_are_served() {
    let home = home(&["stripe"]);
    let listening = Listening::start(&home, "stripe", None);
    let url = listening.url("stripe");
    let connect = || TcpStream::connect(&*url.socket_addrs(|| None).unwrap()).unwrap();
    let mut slow = connect();
    let signed = "stripe-signature: t=1,v1=00\r\n";
    write!(slow, "POST {} HTTP/1.1\r\nhost: x\r\n{signed}content-length: 100\r\n\r\nabc", url.path()).unwrap();
    let headers = vec![("stripe-signature".to_owned(), "t=1,v1=00".to_owned())];
    let body = vec![b'x'; 4 * 1024 * 1024 + 1];
    let large = WebhookRequest { method: "POST".into(), url: String::new(), headers, body };
    assert!(matches!(post(&url, &large), Some(413) | None), "a peer that is refused early may see a broken pipe");
    let mut announced = connect();
    write!(announced, "POST {} HTTP/1.1\r\nhost: x\r\n{signed}content-length: 99999999999\r\n\r\n", url.path())
        .unwrap();
    assert!(rest_status(announced) == 413);
    // One that proves nothing is refused for that, and its body is not waited for.
    let mut unproven = connect();
    write!(unproven, "POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n", url.path()).unwrap();
    let began = std::time::Instant::now();
    assert_eq!(rest_status(unproven), 401);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let mut endless = connect();
    write!(endless, "POST {} HTTP/1.1\r\nhost: x\r\n{signed}transfer-encoding: chunked\r\n\r\n", url.path()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..80 {
        if endless.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let mut stream = connect();
        write!(stream, "{method} {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", url.path()).unwrap();
        assert_eq!(rest_status(stream), 405, "{method}");
    }
    for path in ["/", "/webhooks/stripe/", "/webhooks/stripe/x", "/webhooks/nobody/x"] {
        let mut other = url.clone();
        other.set_path(path);
        assert_eq!(post(&other, &WebhookRequest { body: b"{}".to_vec(), ..large.clone() }), Some(404), "{path}");
    }
    home.ok("webhook simulate stripe charge.refunded");
    assert_eq!(rest_status(slow), 408);
    assert_eq!(events(&home, "").len(), 1);
}

fn rest_status(stream: TcpStream) -> u16 {
    rest(stream).split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[test]
fn fault_071_what_is_signed_is_the_url_that_the_vendor_calls() {
    let home = home(&["twilio"]);
    let mut listening = Listening::start(&home, "twilio --public-url https://hooks.example.com:8443/in", None);
    assert_eq!(home.run("webhook simulate twilio incoming_message").code, 0);
    assert_eq!(listening.event()["event"], "received");
    // The address on this machine is none that Twilio has signed.
    let to = listening.url("twilio");
    assert_eq!(home.run(&format!("webhook simulate twilio incoming_message --to {to}")).code, 1);
    assert_eq!(listening.event()["reason"], "signature");
    let shown = home.json("webhook url twilio");
    assert!(
        shown["url"].as_str().unwrap().starts_with("https://hooks.example.com:8443/in/webhooks/twilio/"),
        "{shown}"
    );
}

#[test]
fn fault_072_a_dead_event_comes_back_under_its_own_id() {
    let home = home(&["stripe"]);
    let mut listening =
        Listening::start(&home, "stripe --attempts 1 --exec", Some("sh -c 'echo no such table >&2; exit 3'"));
    home.ok("webhook simulate stripe charge.refunded");
    let dead = listening.until("failed");
    assert_eq!((&dead["event_status"], &dead["attempt"]), (&json!("dead"), &json!(1)), "{dead}");
    assert_eq!((&dead["handler"], &dead["status"]), (&json!("exec"), &json!(3)), "{dead}");
    assert_eq!(dead["output"], "no such table\n");
    assert!(dead["error"].as_str().unwrap().contains("no such table"), "{dead}");
    listening.signal(Signal::INT);
    assert_eq!(listening.running.code(), 130);
    let kept = &events(&home, "--status dead")[0];
    let id = kept["id"].as_i64().unwrap();
    assert_eq!(home.json(&format!("webhook retry {id}"))["retried"], 1);
    let mut listening =
        Listening::start(&home, "stripe --exec", Some("sh -c 'echo $INTEG_EVENT_ID $INTEG_EVENT_DELIVERY_ID > ids'"));
    assert_eq!(listening.until("handled")["event_status"], "processed");
    let ids = std::fs::read_to_string(home.path().join("ids")).unwrap();
    assert_eq!(ids.trim(), format!("{id} {}", kept["delivery_id"].as_str().unwrap()));
    assert_eq!(events(&home, "").len(), 1);
}

#[test]
fn fault_073_a_poisoned_event_dies_and_the_others_flow() {
    let home = home(&["stripe", "slack"]);
    // The poisoned one waits for the other connection's, which would never come if that waited for it.
    let handler = "sh -c 'case $INTEG_EVENT_TYPE in message) touch message;; \
                   charge.refunded) until [ -e message ]; do sleep 0.05; done; exit 1;; esac'";
    let mut listening = Listening::start(&home, "--ordered --attempts 2 --exec", Some(handler));
    home.ok("webhook simulate stripe charge.refunded");
    home.ok("webhook simulate stripe customer.created");
    home.ok("webhook simulate slack message");
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let line = listening.event();
        if line["event"] == "handled" || line["event"] == "failed" {
            seen.push(format!("{} {}", line["type"].as_str().unwrap(), line["event_status"].as_str().unwrap()));
        }
    }
    let at = |what: &str| seen.iter().position(|seen| seen == what).unwrap_or_else(|| panic!("{what}: {seen:?}"));
    assert!(at("message processed") < at("charge.refunded dead"), "another connection waits for nobody: {seen:?}");
    assert!(at("charge.refunded failed") < at("charge.refunded dead"), "{seen:?}");
    assert!(at("charge.refunded dead") < at("customer.created processed"), "in the order of the connection: {seen:?}");
}

#[test]
fn a_dead_handler_delays_no_other_connection_and_what_is_left_is_handled_next_time() {
    let home = home(&["stripe", "slack"]);
    let handler = "sh -c 'case $INTEG_EVENT_CONNECTOR in stripe) exec sleep 25;; esac'";
    let mut listening = Listening::start(&home, "--exec", Some(handler));
    home.ok("webhook simulate stripe charge.refunded --count 3");
    home.ok("webhook simulate slack message --count 20");
    for _ in 0..20 {
        assert_eq!(listening.until("handled")["connection"], "slack");
    }
    listening.signal(Signal::KILL);
    drop(listening);
    home.expire_leases();
    assert_eq!(events(&home, "--status pending").len(), 3);
    let mut listening = Listening::start(&home, "--append out.jsonl", None);
    for _ in 0..3 {
        let line = listening.until("handled");
        assert_eq!((&line["connection"], &line["event_status"]), (&json!("stripe"), &json!("processed")));
    }
    // A second listener leaves the handling to the first.
    let second = Listening::start(&home, "slack --append other.jsonl", None);
    home.ok("webhook simulate slack message");
    assert_eq!(listening.until("handled")["connection"], "slack");
    drop(second);
    assert!(!home.path().join("other.jsonl").exists());
}
