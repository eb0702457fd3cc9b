//! Sends Stripe's events to a receiver of this machine for a while, each signed and with an id of its own, over
//! connections that are kept alive; then says how fast they were taken, as JSON.
//!
//!     load URL[,URL…] SECRET [CONNECTIONS [SECONDS [MOST_REQUESTS [REQUESTS_PER_SECOND]]]]
//!
//! The connections are shared out among the receivers. With a rate each request has a time at which it is due, from which
//! its latency counts: a receiver that stalls makes the next ones late. Each body says when it was sent, in microseconds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::hmac;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Bytes of a body.
const BODY: usize = 2048;

struct Load {
    /// Address and path of each receiver.
    receivers: Vec<(String, String)>,
    key: hmac::Key,
    next: Cell<u64>,
    most: u64,
    started: Instant,
    until: Instant,
    /// Between two requests, if they have a rate.
    interval: Option<Duration>,
    /// Microseconds of each request that was answered with a success.
    taken: RefCell<Vec<u32>>,
    refused: Cell<u64>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(secret)) = (arguments.next(), arguments.next()) else { panic!("load URL SECRET …") };
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (connections, seconds, most, rate) = (number(64), number(10), number(u64::MAX), number(0));
    let receiver = |url: &str| {
        let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("http://HOST:PORT/PATH");
        assert!(address.starts_with("127.0.0.1:"), "to this machine alone");
        (address.to_owned(), format!("/{path}"))
    };
    let load = Rc::new(Load {
        receivers: url.split(',').map(receiver).collect(),
        key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        next: Cell::new(0),
        most,
        started: Instant::now(),
        until: Instant::now() + Duration::from_secs(seconds),
        interval: (rate > 0).then(|| Duration::from_secs(1) / u32::try_from(rate).expect("a rate")),
        taken: RefCell::default(),
        refused: Cell::new(0),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let clients: Vec<_> = (0..connections as usize).map(|at| tokio::task::spawn_local(client(Rc::clone(&load), at))).collect();
        for client in clients {
            client.await.expect("no client panics");
        }
    });
    let elapsed = load.started.elapsed().as_secs_f64();
    let mut taken = load.taken.take();
    taken.sort_unstable();
    let at = |share: f64| taken.get((taken.len() as f64 * share) as usize).copied().unwrap_or_default();
    println!(
        r#"{{"taken":{},"refused":{},"seconds":{elapsed:.3},"rate":{:.1},"p50_us":{},"p95_us":{},"p99_us":{},"most_us":{}}}"#,
        taken.len(),
        load.refused.get(),
        taken.len() as f64 / elapsed,
        at(0.5),
        at(0.95),
        at(0.99),
        taken.last().copied().unwrap_or_default()
    );
}

async fn client(load: Rc<Load>, at: usize) {
    let receiver = &load.receivers[at % load.receivers.len()];
    let mut stream = TcpStream::connect(&receiver.0).await.expect("a receiver");
    stream.set_nodelay(true).expect("a socket");
    let mut answer = vec![0; 4096];
    while Instant::now() < load.until && load.next.get() < load.most {
        let number = load.next.replace(load.next.get() + 1);
        let mut due = None;
        if let Some(interval) = load.interval {
            let at = load.started + interval * u32::try_from(number).expect("a small number");
            if at >= load.until {
                return;
            }
            tokio::time::sleep_until(at.into()).await;
            due = Some(at);
        }
        let request = load.request(receiver, number);
        let sent = due.unwrap_or_else(Instant::now);
        stream.write_all(&request).await.expect("a receiver that reads");
        if status(&mut stream, &mut answer).await / 100 == 2 {
            let micros = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
            load.taken.borrow_mut().push(micros);
        } else {
            load.refused.set(load.refused.get() + 1);
        }
    }
}

/// The status of the next answer, which is read to its end.
async fn status(stream: &mut TcpStream, answer: &mut [u8]) -> u16 {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut answer[filled..]).await.expect("an answer");
        assert!(read > 0, "the receiver has hung up");
        filled += read;
        let text = std::str::from_utf8(&answer[..filled]).expect("text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().expect("a length"))
        });
        if body.len() >= length.unwrap_or(0) {
            return head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        }
    }
}

impl Load {
    /// One event. Its id looks as random as the vendors' do, and no other run has it.
    fn request(&self, (address, path): &(String, String), number: u64) -> Vec<u8> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let seed = now.as_nanos() as u64 ^ number.rotate_left(32);
        let mut body = format!(
            r#"{{"id":"evt_{:016x}{number:08x}","object":"event","api_version":"2025-06-30","created":{},"type":"charge.refunded","livemode":false,"pending_webhooks":1,"request":{{"id":"req_{number:014}","idempotency_key":null}},"data":{{"object":{{"id":"ch_{number:024}","object":"charge","amount":1000,"amount_refunded":1000,"currency":"eur","customer":"cus_{number:014}","paid":true,"refunded":true,"status":"succeeded","billing_details":{{"email":"a@example.com","name":"A. Nonymous","phone":null}},"metadata":{{"order":"{number}","sent":"{}","note":""#,
            mix(seed),
            now.as_secs(),
            now.as_micros()
        );
        let end = r#""}}}}"#;
        let fill = BODY.saturating_sub(body.len() + end.len());
        body.extend(std::iter::repeat_n('x', fill));
        body.push_str(end);
        let seconds = now.as_secs().to_string();
        let mut signer = hmac::Context::with_key(&self.key);
        for part in [seconds.as_str(), ".", body.as_str()] {
            signer.update(part.as_bytes());
        }
        let signature: String = signer.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\naccept: */*\r\n\
             content-type: application/json; charset=utf-8\r\nstripe-signature: t={seconds},v1={signature}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// Spreads a number over all its bits (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
