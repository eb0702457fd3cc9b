//! `integ webhook`: events that are received, handled, shown, sent again and simulated.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use integ::clock::Timestamp;
use integ::connector::{Catalogue, Connector};
use integ::secret::Secret;
use integ::signing::request::WebhookRequest;
use integ::signing::sign::EmulatorKeys;
use integ::signing::verify::SigningContext;
use integ::webhook::simulate::{SimulateRequest, simulate};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use url::Url;

use crate::harness::{Home, Running, finish};
use crate::wire::Message;

/// `integ webhook listen`, and the URLs it serves.
pub struct Listening {
    pub running: Running,
    pub urls: Value,
}

impl Listening {
    /// Listens with these words after `listen`, which are separated by spaces but for the last, an argument of its own.
    pub fn start(home: &Home, words: &str, last: Option<&str>) -> Self {
        let words = ["webhook", "listen", "--port", "0", "--json"].into_iter().chain(words.split_whitespace());
        let mut running = Running::start(home.command(words.chain(last)));
        let first = running.event();
        assert_eq!(first["event"], "listening", "{first}");
        Self { running, urls: first["urls"].clone() }
    }

    pub fn url(&self, connection: &str) -> Url {
        self.urls[connection].as_str().unwrap().parse().unwrap()
    }

    pub fn event(&mut self) -> Value {
        self.running.event()
    }

    /// The next line that tells of this.
    pub fn until(&mut self, event: &str) -> Value {
        loop {
            let line = self.event();
            if line["event"] == event {
                return line;
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.running.child), signal).unwrap();
    }
}

/// A home with sandbox connections.
pub fn home(connections: &[&str]) -> Home {
    let home = Home::new();
    for name in connections {
        home.ok(&format!("connect {name} --sandbox"));
    }
    home
}

/// What makes a connector's events, by the secret that the connection has.
pub struct Maker {
    connector: Arc<Connector>,
    pub keys: SigningContext,
}

impl Maker {
    pub fn of(home: &Home, name: &str) -> Self {
        let connector = Catalogue::new(Path::new("/nonexistent")).get(name).unwrap();
        let secret = home.ok(&format!("webhook secret {name} --print-secret"));
        let keys = SigningContext { secrets: vec![Secret::from(secret.as_str())], ..SigningContext::default() };
        Self { connector, keys }
    }

    /// A signed event; one id is one delivery.
    pub fn make(&self, event: &str, url: &Url, id: &str) -> WebhookRequest {
        self.make_at(event, url, id, Timestamp::now())
    }

    pub fn make_at(&self, event: &str, url: &Url, id: &str, at: Timestamp) -> WebhookRequest {
        let url = url.as_str();
        let wish = SimulateRequest { event, url, number: 1, id, set: &[], data: None, now: at, signed_at: None };
        simulate(&self.connector, &wish, &self.keys, &EmulatorKeys::default()).unwrap()
    }
}

/// Posts a request; absent where nobody answers.
pub fn post(url: &Url, request: &WebhookRequest) -> Option<u16> {
    let mut stream = TcpStream::connect(&*url.socket_addrs(|| None).ok()?).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut head = format!("POST {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", url.authority());
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    stream.write_all(&[head.as_bytes(), &request.body].concat()).ok()?;
    Message::read(&stream).map(|answer| answer.status()).filter(|status| *status > 0)
}

/// The kept events, the oldest first.
pub fn events(home: &Home, line: &str) -> Vec<Value> {
    let listed = home.ok(&format!("webhook events --limit 10000000 --json {line}"));
    let mut events: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    events.reverse();
    events
}

#[test]
fn every_connector_is_simulated_received_and_refused_when_it_is_wrong() {
    let home = Home::new();
    let mut simulated = Vec::new();
    for item in home.json("connector list")["connectors"].as_array().unwrap() {
        let id = item["id"].as_str().unwrap();
        let listed = home.run(&format!("webhook simulate {id} --json"));
        if listed.code == 3 {
            assert_eq!(listed.error_code(), "no_webhooks", "{listed:?}");
            continue;
        }
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        let names: Vec<String> = listed["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["event"].as_str().unwrap().to_owned())
            .collect();
        home.ok(&format!("connect {id} --sandbox"));
        simulated.push((id.to_owned(), names));
    }
    assert!(simulated.len() >= 22, "{simulated:?}");
    let mut listening = Listening::start(&home, "", None);
    for (id, names) in &simulated {
        assert!(listening.urls[id].is_string(), "{id} is not listened for");
        for name in names {
            let ran = finish(home.command(["webhook", "simulate", id, name]));
            assert_eq!(ran.code, 0, "{id} {name}: {ran:?}");
            let line = listening.event();
            assert_eq!(line["event"], "received", "{id} {name}: {line}");
            assert!(line["conflict"].is_null(), "{id} {name}: {line}");
            assert_eq!(line["type"], *name, "{id}: {line}");
            // What PayPal signs does not cover the body: it is asked first.
            let verified = id != "paypal";
            assert_eq!(
                (&line["connection"], &line["verified"], &line["duplicate"]),
                (&json!(id), &json!(verified), &json!(false))
            );
            if !verified {
                let line = listening.event();
                assert_eq!((&line["event"], &line["verified"]), (&json!("verified"), &json!(true)), "{line}");
            }
        }
        let Some(name) = names.first() else { continue };
        for fault in ["signature", "timestamp", "future", "body"] {
            let ran = finish(home.command(["webhook", "simulate", id, name, "--invalid", fault, "--json"]));
            if ran.error_code() == "not_verifiable" {
                continue;
            }
            assert_eq!(ran.code, 0, "{id} {fault}: {ran:?}");
            let line = listening.event();
            assert_eq!((&line["event"], &line["connection"]), (&json!("rejected"), &json!(id)), "{fault}: {line}");
        }
    }
    listening.signal(Signal::INT);
    assert_eq!(listening.running.code(), 130);
    let kept = events(&home, "");
    assert_eq!(kept.len(), simulated.iter().map(|(_, names)| names.len()).sum::<usize>());
    assert!(kept.iter().all(|event| event["status"] == "processed"), "nobody was to handle them");
}

#[test]
fn each_event_is_handed_on_with_its_exact_body_and_no_secret() {
    let home = home(&["stripe"]).with("INTEG_WEBHOOK_SECRET", "whsec_of_the_environment");
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}/in?x=1", receiver.local_addr().unwrap());
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in receiver.incoming() {
            let mut stream = stream.unwrap();
            told.send(Message::read(&stream).unwrap()).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
        }
    });
    let words = format!("stripe --append out.jsonl --forward-to {to} --exec");
    let mut listening = Listening::start(&home, &words, Some("sh -c 'cat > stdin.json; env > env.txt'"));
    let maker = Maker::of(&home, "stripe");
    assert_eq!(maker.keys.secrets[0].expose(), "whsec_of_the_environment");
    let url = listening.url("stripe");
    let request = maker.make("charge.refunded", &url, "0123456789abcdef0123456789abcdef");
    assert_eq!(post(&url, &request), Some(200));
    let handled = listening.until("handled");
    assert_eq!((&handled["event_status"], &handled["attempt"]), (&json!("processed"), &json!(1)), "{handled}");
    let forwarded = heard.recv().unwrap();
    assert_eq!(forwarded.request(), ("POST", "/in?x=1"));
    assert_eq!(forwarded.body, request.body);
    assert_eq!(forwarded.header("stripe-signature"), request.single_header("Stripe-Signature"));
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
    let payload: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&read("stdin.json")).unwrap(), payload);
    let line: Value = serde_json::from_str(&read("out.jsonl")).unwrap();
    assert_eq!((&line["payload"], &line["type"]), (&payload, &json!("charge.refunded")));
    let environment = read("env.txt");
    assert!(environment.contains("INTEG_EVENT_TYPE=charge.refunded\n"), "{environment}");
    assert!(environment.contains("INTEG_EVENT_DELIVERY_ID=evt_0123456789abcdef0123456789abcdef\n"), "{environment}");
    assert!(!environment.contains("whsec_") && !environment.contains("INTEG_WEBHOOK"), "{environment}");
}

#[test]
fn only_chosen_events_are_shown_and_handled() {
    let home = home(&["stripe"]);
    let words = "stripe --append out.jsonl --events charge.*,invoice.paid --filter";
    let mut listening = Listening::start(&home, words, Some(".payload.livemode == false and .received_at != null"));
    for event in ["customer.created", "charge.refunded", "invoice.paid"] {
        home.ok(&format!("webhook simulate stripe {event}"));
    }
    home.ok("webhook simulate stripe charge.refunded --set livemode=true");
    home.ok("webhook simulate stripe charge.refunded --set data.object.amount=7");
    let (mut received, mut handled) = (0, 0);
    while received + handled < 6 {
        let line = listening.event();
        assert!(line["type"] == "charge.refunded" || line["type"] == "invoice.paid", "{line}");
        received += usize::from(line["event"] == "received");
        handled += usize::from(line["event"] == "handled");
    }
    assert_eq!((received, handled), (3, 3));
    listening.signal(Signal::INT);
    assert_eq!(listening.running.code(), 130);
    let text = std::fs::read_to_string(home.path().join("out.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[2]["payload"]["data"]["object"]["amount"], 7);
    assert_eq!(events(&home, "").len(), 5, "all of them are kept");
}

#[test]
fn a_captured_request_is_explained() {
    let home = home(&["stripe"]);
    let url: Url = home.json("webhook url stripe")["url"].as_str().unwrap().parse().unwrap();
    let request = Maker::of(&home, "stripe").make("charge.refunded", &url, "00000000000000000000000000000001");
    let write = |name: &str, body: &[u8]| {
        let mut text = format!("POST {} HTTP/1.1\r\n", url.path());
        for (header, value) in &request.headers {
            text.push_str(&format!("{header}: {value}\r\n"));
        }
        std::fs::write(home.path().join(name), [text.as_bytes(), b"\r\n", body].concat()).unwrap();
    };
    write("good", &request.body);
    assert!(home.ok("webhook verify stripe --request good").starts_with("Accepted\n"));
    write("saved", &[request.body.as_slice(), b"\n"].concat());
    let ran = home.run("webhook verify stripe --request saved");
    assert!(ran.code == 1 && ran.stdout.contains("without the white space at the end of the body"), "{ran:?}");
    // What a simulation would send can be verified as it was printed.
    let rehearsed = home.run("webhook simulate stripe charge.refunded --dry-run");
    std::fs::write(home.path().join("rehearsed"), &rehearsed.stdout).unwrap();
    assert!(home.ok("webhook verify stripe --request rehearsed").starts_with("Accepted\n"));
    write("tampered", &String::from_utf8_lossy(&request.body).replace("eur", "usd").into_bytes());
    let ran = home.run("webhook verify stripe --request tampered");
    assert!(
        ran.code == 1 && ran.stdout.contains("the secret is wrong, or the body, the URL or the time was changed"),
        "{ran:?}"
    );
    let ran = home.run("webhook verify stripe --request good --at 2030-01-01T00:00:00Z --json");
    let view: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (ran.code, &view["accepted"], &view["reason"]),
        (1, &json!(false), &json!("timestamp_out_of_tolerance")),
        "{view}"
    );
    assert_eq!(
        (&view["checks"][0]["status"], &view["checks"][1]["status"]),
        (&json!("valid"), &json!("invalid")),
        "{view}"
    );
}

#[test]
fn a_secret_is_rotated_with_an_overlap_and_never_shown_unasked() {
    let home = home(&["telegram"]);
    let old = home.ok("webhook secret telegram --print-secret");
    std::fs::write(home.path().join("old"), &old).unwrap();
    let mut listening = Listening::start(&home, "telegram", None);
    home.ok("webhook simulate telegram message");
    let rotated = home.run("webhook secret telegram --rotate --overlap 1h");
    assert_eq!(rotated.code, 0, "{rotated:?}");
    let new = home.ok("webhook secret telegram --print-secret");
    assert!(new != old && !rotated.stdout.contains(&new), "{rotated:?}");
    // The listener that runs takes both, once it has looked.
    let mut taken = false;
    for _ in 0..100 {
        taken = home.run("webhook simulate telegram message").code == 0;
        if taken {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(taken);
    home.ok("webhook simulate telegram message --secret-file old");
    home.ok("webhook secret telegram --rotate --overlap 0s");
    let id = listening.until("received")["id"].as_i64().unwrap();
    for line in [&format!("webhook show {id} --headers"), &format!("webhook show {id} --json")] {
        let shown = home.ok(line);
        assert!(!shown.contains(&new) && (!shown.contains(&old) || line.is_empty()), "{shown}");
    }
    let rehearsed = home.ok("webhook simulate telegram message --dry-run");
    assert!(rehearsed.contains("[redacted]") && !rehearsed.contains(&new), "{rehearsed}");
}

#[test]
fn kept_events_are_sent_again_signed_anew() {
    let home = home(&["stripe", "slack"]);
    let first = Listening::start(&home, "", None);
    home.ok("webhook simulate stripe charge.refunded --count 3");
    home.ok("webhook simulate slack message");
    let id = events(&home, "stripe")[0]["id"].as_i64().unwrap();
    let exact = home.ok(&format!("webhook show {id} --body"));
    assert_eq!(serde_json::from_str::<Value>(&exact).unwrap()["type"], "charge.refunded");
    let to = first.url("stripe");
    let ran = home.run(&format!("webhook replay stripe --since 1h --to {to} --json"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line["status"] == 200 && line["re_signed"] == true), "{lines:?}");
    assert_eq!(events(&home, "").len(), 4, "the same ids are the same events");
    // Slack's are no events of Stripe's.
    assert_eq!(home.run(&format!("webhook replay slack --since 1h --to {to}")).code, 8);
}

#[test]
fn simulate_goes_to_this_machine_or_by_https_and_says_what_is_missing() {
    let home = home(&["stripe", "gmail"]);
    let told = home.ok("webhook secret gmail");
    assert!(told.contains("verified without a secret"), "{told}");
    for (line, code, error) in [
        ("webhook secret gmail --rotate", 2, "secret_unsupported"),
        ("webhook simulate stripe charge.refunded --to http://example.com/", 2, "insecure_url"),
        ("webhook simulate stripe charge.refunde --to http://127.0.0.1:1/", 3, "event_not_found"),
        ("webhook simulate slac message", 3, "unknown_connector"),
        ("webhook url github", 3, "unknown_connection"),
        ("webhook show 99", 3, "event_not_found"),
        ("webhook retry 99", 3, "event_not_found"),
        ("webhook secret stripe --param x=y", 2, "unknown_param"),
        ("webhook listen stripe --forward-to http://10.0.0.1/", 2, "insecure_url"),
        ("webhook listen stripe --port 0 --public-url ftp://x", 2, "invalid_public_url"),
        ("webhook events --since yesterday", 2, "invalid_time"),
    ] {
        let ran = home.run(&format!("{line} --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (code, error), "{line}: {ran:?}");
    }
    let ran = home.run("webhook simulate stripe charge.refunded --to http://127.0.0.1:1/");
    assert!(ran.code == 5 && ran.stdout.contains("no answer"), "{ran:?}");
    let rehearsed = home.json("webhook simulate stripe charge.refunded --dry-run --set data.object.amount=5");
    let body: Value = serde_json::from_str(rehearsed["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["data"]["object"]["amount"], 5);
    // A connector without a connection is simulated all the same.
    let ran = home.run("webhook simulate github push --dry-run");
    assert!(ran.code == 0 && ran.stderr.contains("made up"), "{ran:?}");
}

/// Reads to the end what a peer says.
pub fn rest(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}
