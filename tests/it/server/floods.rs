//! Fault 97: clients that are many, slow or endless cost the server a bounded part of memory, and keep no other out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::client::Client;
use super::{Server, expect, home, token};
use crate::harness::Home;
use crate::wire::Message;

/// What a genuine request may take beside a flood.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);

/// How much a flood may add to the anonymous memory of the server, in KiB.
const MOST_ADDED_KIB: u64 = 64 * 1024;

/// A server under a flood.
struct Flooded {
    server: Server,
    api: Client,
    token: String,
    address: SocketAddr,
    before_kib: u64,
    /// Removed once the server has ended.
    _home: Home,
}

impl Flooded {
    fn start() -> Self {
        let home = home(&[]);
        let token = token(&home, "test", "--scope admin:* --tier enterprise");
        let server = Server::start(&home, "");
        let api = server.client(&token);
        for _ in 0..10 {
            expect(&api.get("/v1/status"), 200);
        }
        let address = api.authority().parse().unwrap();
        let before_kib = anonymous_kib(&server);
        Self { server, api, token, address, before_kib, _home: home }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// The head of a request with a body, up to the headers about its length.
    fn head(&self, token: &str) -> String {
        let authority = self.api.authority();
        format!(
            "POST /v1/endpoints HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\n"
        )
    }

    /// A genuine request is answered soon, and the memory is bounded.
    fn check(&self, what: &str) {
        let began = Instant::now();
        expect(&self.api.get("/v1/status"), 200);
        assert!(began.elapsed() < LONGEST_ANSWER, "{what}: a genuine request took {:?}", began.elapsed());
        let added = anonymous_kib(&self.server).saturating_sub(self.before_kib);
        assert!(added < MOST_ADDED_KIB, "{what}: {added} KiB more");
    }
}

/// The anonymous memory of a server: what it has allocated, without the pages of its file.
fn anonymous_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.running.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// As many connections as are wanted, or as this process may open.
fn open_files(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = (wanted + 512) as u64;
    let raised = current.unwrap_or(u64::MAX).max(maximum.unwrap_or(u64::MAX).min(enough));
    setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).unwrap();
    wanted.min(usize::try_from(raised).unwrap() - 512)
}

#[test]
fn fault_097_ten_thousand_idle_connections_keep_nobody_out() {
    let count = open_files(10_000);
    let flooded = Flooded::start();
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        idle.push(flooded.connect());
        if number % 1000 == 999 {
            flooded.check(&format!("{} idle connections", number + 1));
        }
    }
    let added = anonymous_kib(&flooded.server).saturating_sub(flooded.before_kib);
    println!("{count} idle connections: {} KiB, then {added} more", flooded.before_kib);
}

#[test]
fn fault_097_heads_that_never_end_are_ended_by_the_server() {
    let flooded = Flooded::start();
    let starts = ["GET /v1/status HTTP/1.1\r\nhost: loc", "GET ", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    let mut slow: Vec<TcpStream> = (0..1500)
        .map(|number| {
            let mut stream = flooded.connect();
            stream.write_all(starts[number % starts.len()].as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..10 {
        flooded.check("1,500 slow heads");
    }
    // A byte now and then lengthens no head: its time is that of the whole.
    for stream in &mut slow {
        let _ = stream.write_all(b"x");
    }
    for stream in slow.iter_mut().take(6) {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&rest));
    }
    flooded.check("after the slow heads");
}

#[test]
fn fault_097_heads_that_are_too_large_or_ambiguous_are_refused() {
    let flooded = Flooded::start();
    let head = flooded.head(&flooded.token);
    let long_line = format!("{head}x-long: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many_lines = format!("{head}{}\r\n", "x-one: 1\r\n".repeat(5000));
    let long_path = format!("GET /v1/{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(64 * 1024));
    let two_lengths = format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}");
    let both = format!("{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    let no_host = "GET /v1/status HTTP/1.1\r\n\r\n".to_owned();
    let two_hosts = "GET /v1/status HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n".to_owned();
    for text in [long_line, many_lines, long_path, two_lengths, both, no_host, two_hosts] {
        let mut stream = flooded.connect();
        let _ = stream.write_all(text.as_bytes());
        // A peer that is refused early may see a broken pipe.
        if let Some(answer) = Message::read(&stream) {
            let shown = &text[..text.len().min(120)];
            assert!(matches!(answer.status(), 0 | 400 | 403 | 414 | 431), "{}: {shown}", answer.status());
        }
    }
    flooded.check("refused heads");
}

/// Sends chunks of 64 KiB until the server has enough, and returns what it answers.
fn send_endless(mut stream: TcpStream, head: &str) -> Option<u16> {
    write!(stream, "{head}transfer-encoding: chunked\r\n\r\n").unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..256 {
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    Message::read(&stream).map(|answer| answer.status())
}

#[test]
fn fault_097_bodies_without_an_end_are_cut_off() {
    let flooded = Flooded::start();
    let wrong = format!("{}x", flooded.token);
    let heads = [flooded.head(&flooded.token), flooded.head(&wrong)];
    std::thread::scope(|scope| {
        let endless: Vec<_> = (0..64)
            .map(|number| {
                let (stream, head) = (flooded.connect(), &heads[number % 2]);
                scope.spawn(move || (number, send_endless(stream, head)))
            })
            .collect();
        while !endless.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            flooded.check("64 bodies without an end");
        }
        for one in endless {
            let (number, status) = one.join().unwrap();
            // A client that is still sending may find the connection closed before the answer.
            let expected: &[Option<u16>] =
                if number % 2 == 0 { &[Some(413), Some(503), None] } else { &[Some(401), None] };
            assert!(expected.contains(&status), "body {number}: {status:?}");
        }
    });
    assert_eq!(expect(&flooded.api.get("/v1/endpoints"), 200)["data"].as_array().unwrap().len(), 0);
}

#[test]
fn fault_097_large_bodies_of_many_clients_share_a_budget() {
    let flooded = Flooded::start();
    let body = vec![b' '; 1024 * 1024];
    let head = format!("{}content-length: {}\r\n\r\n", flooded.head(&flooded.token), body.len());
    // All but the last byte, of 128 bodies: what does not fit waits in the network.
    let mut open: Vec<TcpStream> = (0..128)
        .map(|_| {
            let mut stream = flooded.connect();
            stream.set_nonblocking(true).unwrap();
            let _ = stream.write(head.as_bytes());
            let _ = stream.write(&body[1..]);
            stream
        })
        .collect();
    for _ in 0..20 {
        flooded.check("128 bodies of 1 MiB");
        for stream in &mut open {
            let _ = stream.write(&body[..64 * 1024]);
        }
    }
}
