//! A listener that runs for long: connections that come and go, and thousands of slow ones at its port.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use integ::error::Kind;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::json;
use url::Url;

use crate::harness::{Home, Running};
use crate::webhook::{Listening, Maker, events, home, post};

/// Asks until the answer is this, which a listener that looks every two seconds gives soon.
fn until_answer(url: &Url, maker: &Maker, event: &str, id: &str, expected: u16) {
    let started = Instant::now();
    loop {
        let status = post(url, &maker.make(event, url, id));
        if status == Some(expected) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{url} answers {status:?} and not {expected}");
        // The listener is another process, which nothing says when it has looked.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A connection's URL at a listener's port.
fn url_at(home: &Home, name: &str, listening: &Listening) -> Url {
    let mut url: Url = home.json(&format!("webhook url {name}"))["url"].as_str().unwrap().parse().unwrap();
    url.set_port(listening.url("stripe").port()).unwrap();
    url
}

#[test]
fn connections_that_come_and_go_while_it_listens_are_followed() {
    let home = home(&["stripe"]);
    let mut listening = Listening::start(&home, "--append out.jsonl", None);
    let named = Listening::start(&home, "stripe", None);
    home.ok("connect github --sandbox");
    let (maker, url) = (Maker::of(&home, "github"), url_at(&home, "github", &listening));
    until_answer(&url, &maker, "push", "00000000000000000000000000000001", 200);
    let handled = listening.until("handled");
    assert_eq!(
        (&handled["connection"], &handled["event_status"]),
        (&json!("github"), &json!("processed")),
        "{handled}"
    );
    let elsewhere = url_at(&home, "github", &named);
    let request = maker.make("push", &elsewhere, "00000000000000000000000000000002");
    assert_eq!(post(&elsewhere, &request), Some(404), "a listener for named connections receives for no other");

    home.ok("disconnect github --local --yes");
    until_answer(&url, &maker, "push", "00000000000000000000000000000003", 404);
    home.ok("connect github --sandbox");
    let (maker, url) = (Maker::of(&home, "github"), url_at(&home, "github", &listening));
    until_answer(&url, &maker, "push", "00000000000000000000000000000004", 200);
    let handled = listening.until("handled");
    assert_eq!(handled["connection"], "github", "{handled}");

    // A secret that is put in force is taken, and the one before it no longer.
    let before = Maker::of(&home, "stripe");
    home.ok("webhook secret stripe --rotate --overlap 0s");
    let (after, url) = (Maker::of(&home, "stripe"), listening.url("stripe"));
    until_answer(&url, &after, "charge.refunded", "00000000000000000000000000000005", 200);
    let old = before.make("charge.refunded", &url, "00000000000000000000000000000006");
    assert_eq!(post(&url, &old), Some(401));
    assert_eq!(events(&home, "stripe").len(), 1);
}

#[test]
fn a_handler_that_runs_when_the_listener_is_stopped_is_finished_and_no_other_begins() {
    let home = home(&["stripe"]);
    let handler = "sh -c 'echo >> begun; sleep 2; echo >> ended'";
    let mut listening = Listening::start(&home, "--ordered --exec", Some(handler));
    home.ok("webhook simulate stripe charge.refunded --count 2");
    let started = Instant::now();
    while !home.path().join("begun").exists() {
        assert!(started.elapsed() < Duration::from_secs(30), "no handler begins");
        // The handler is another process, which says nothing else.
        std::thread::sleep(Duration::from_millis(10));
    }
    listening.signal(Signal::INT);
    assert_eq!(listening.running.code(), i32::from(Kind::Interrupted.exit_code()));
    let count = |file: &str| std::fs::read_to_string(home.path().join(file)).unwrap().lines().count();
    assert_eq!((count("begun"), count("ended")), (1, 1));
    assert_eq!((events(&home, "--status processed").len(), events(&home, "--status pending").len()), (1, 1));
}

/// How many connections a listener may have open, and how many more can be opened from here; both as far as the system lets a
/// process have so many files, which a listener inherits.
fn raised_limits() -> (usize, usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = current.unwrap_or(u64::MAX).max(maximum.unwrap_or(u64::MAX).min(16_384));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
    let files = usize::try_from(wanted).unwrap();
    let limit = 4096.min(files - 256.min(files / 2));
    let count = (limit + limit / 4).min(files - 128);
    assert!(count > limit, "{files} files are too few for this test");
    (limit, count)
}

#[test]
fn thousands_of_slow_connections_keep_no_event_out_and_the_oldest_request_is_answered() {
    let (limit, count) = raised_limits();
    let home = home(&["stripe", "github"]);
    let script = "sh -c 'while [ $INTEG_EVENT_CONNECTION = stripe ] && [ ! -e go ]; do sleep 0.1; done; echo done'";
    let mut listening = Listening::start(&home, "--reply --exec", Some(script));
    let (stripe, github) = (listening.url("stripe"), listening.url("github"));
    let address = stripe.socket_addrs(|| None).unwrap()[0];
    let send = |text: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(text).unwrap();
        stream
    };
    let request = Maker::of(&home, "stripe").make("charge.refunded", &stripe, "00000000000000000000000000000001");
    let mut head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", stripe.path(), request.body.len());
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut oldest = send(&[head.as_bytes(), b"\r\n", &request.body].concat());
    assert_eq!(listening.until("received")["connection"], "stripe");

    let maker = Maker::of(&home, "github");
    let refused = b"POST /webhooks/stripe/none HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n";
    let slow_texts: [&[u8]; 3] = [b"", b"POST /webhooks/stripe/none HTTP/1.1\r\nhost:", refused];
    let mut slow = Vec::new();
    for number in 0..count {
        slow.push(send(slow_texts[number % 3]));
        if number % (limit / 8) == 0 {
            let started = Instant::now();
            assert_eq!(post(&github, &maker.make("push", &github, &format!("{number:032x}"))), Some(200));
            assert!(started.elapsed() < Duration::from_secs(5), "{number}: {:?}", started.elapsed());
        }
    }
    std::fs::write(home.path().join("go"), "").unwrap();
    oldest.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = [0; 64];
    let read = oldest.read(&mut answer).unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 "), "{limit}: {:?}", String::from_utf8_lossy(&answer[..read]));
    assert!(events(&home, "github").len() >= 8, "each was stored");
}

#[test]
fn a_listener_raises_the_limit_of_open_files_that_it_inherits() {
    let home = home(&["stripe"]);
    let integ = home.command(["webhook", "listen", "stripe", "--port", "0", "--json"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 512 && exec \"$0\" \"$@\""]).arg(integ.get_program()).args(integ.get_args());
    command.env_clear().envs(integ.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = Running::start(command);
    assert_eq!(running.event()["event"], "listening");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.child.id())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let numbers: Vec<u64> = files.split_whitespace().map_while(|word| word.parse().ok()).collect();
    assert_eq!(numbers[0], numbers[1].min(4096 + 256), "{files}");
}
