//! Servers that are full, with real sockets.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::*;
use crate::clock::Stopwatch;

/// Refuses `/refused` by its head, answers `/wait` once it is let, and everything else at once.
struct Waiting {
    arrived: Arc<Notify>,
    answer: Arc<Notify>,
}

impl RequestHandler for Waiting {
    type Admitted = Parts;
    type Body = Full<Bytes>;

    async fn admit(&self, head: Parts) -> Result<(Parts, usize), FullResponse> {
        if head.uri.path() == "/refused" {
            return Err(plain(StatusCode::NOT_FOUND, "refused"));
        }
        Ok((head, MAX_BODY_BYTES))
    }

    async fn respond(&self, head: Parts, body: Result<Bytes, BodyReadError>) -> FullResponse {
        if let Err(unread) = body {
            return unread.answer();
        }
        if head.uri.path() == "/wait" {
            self.arrived.notify_one();
            self.answer.notified().await;
        }
        plain(StatusCode::OK, "answered")
    }
}

/// A public server for so many connections, and what lets `/wait` be answered.
struct Fixture {
    server: Server,
    arrived: Arc<Notify>,
    answer: Arc<Notify>,
}

impl Fixture {
    fn start(limit: usize, overflow: Overflow) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let (arrived, answer) = (Arc::default(), Arc::default());
        let handler = Waiting { arrived: Arc::clone(&arrived), answer: Arc::clone(&answer) };
        let server = Server::serve(vec![listener], ConnectionTable::new(limit, overflow), handler).unwrap();
        Self { server, arrived, answer }
    }

    /// A connection on which this was sent.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn send_wait(&self) -> TcpStream {
        let stream = self.send(&head("/wait", 0)).await;
        self.arrived.notified().await;
        stream
    }
}

fn head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

/// The status of the next answer; absent if the connection ends without one.
async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut bytes = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut bytes)).await.expect("no answer");
    let text = String::from_utf8_lossy(&bytes[..read.unwrap_or(0)]).into_owned();
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[tokio::test]
async fn an_idle_connection_makes_room_and_one_with_a_request_never_does() {
    let full = Fixture::start(2, Overflow::Wait);
    let mut oldest = full.send_wait().await;
    let mut idle = full.send(&head("/ok", 0)).await;
    assert_eq!(status(&mut idle).await, Some(200));
    let mut third = full.send_wait().await;
    assert_eq!(status(&mut idle).await, None, "it was closed");
    // Both have requests now: a new one waits, until one of them is answered.
    let mut fourth = full.send(&head("/ok", 0)).await;
    let waiting = tokio::time::timeout(ARRIVAL_GRACE_AND_MORE, fourth.readable()).await;
    assert!(waiting.is_err(), "nothing is dropped for it");
    full.answer.notify_one();
    full.answer.notify_one();
    assert_eq!((status(&mut oldest).await, status(&mut third).await), (Some(200), Some(200)));
    assert_eq!(status(&mut fourth).await, Some(200));
}

/// Longer than what is arriving is left alone.
const ARRIVAL_GRACE_AND_MORE: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn requests_that_do_not_arrive_are_answered_and_make_room() {
    let full = Fixture::start(4, Overflow::Wait);
    let mut oldest = full.send_wait().await;
    let mut slow_body = full.send(&head("/ok", 100)).await;
    let mut slow_head = full.send("POST /ok HTTP/1.1\r\n").await;
    let mut refused = full.send(&head("/refused", 100)).await;
    let since = Stopwatch::start();
    let mut good = Vec::new();
    for _ in 0..3 {
        good.push(full.send_wait().await);
    }
    assert!(since.elapsed() < HEAD_TIMEOUT / 2, "{:?}", since.elapsed());
    assert_eq!(status(&mut slow_head).await, None);
    assert_eq!(status(&mut refused).await, Some(404));
    assert_eq!(status(&mut slow_body).await, Some(503));
    full.answer.notify_one();
    assert_eq!(status(&mut oldest).await, Some(200));
}

#[tokio::test]
async fn a_server_for_this_machine_drops_the_oldest() {
    let full = Fixture::start(2, Overflow::DropOldest);
    let mut oldest = full.send_wait().await;
    let _second = full.send_wait().await;
    let mut newest = full.send(&head("/ok", 0)).await;
    assert_eq!(status(&mut newest).await, Some(200));
    assert_eq!(status(&mut oldest).await, None);
}

#[tokio::test]
async fn what_was_asked_is_answered_before_the_server_ends() {
    let full = Fixture::start(9, Overflow::Wait);
    let mut asked = full.send_wait().await;
    let mut idle = full.send(&head("/ok", 0)).await;
    assert_eq!(status(&mut idle).await, Some(200));
    let Fixture { server, answer, .. } = full;
    let address = server.address();
    let ((), ()) = tokio::join!(server.finish(Duration::from_secs(20)), async {
        assert_eq!(status(&mut idle).await, None);
        assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
        answer.notify_one();
    });
    assert_eq!(status(&mut asked).await, Some(200));
}

/// Of a few thousand connections nearly all are slow ones; as many as the process may have, both ends being its own.
#[cfg(unix)]
#[tokio::test]
async fn thousands_of_slow_connections_keep_no_good_one_out() {
    let limit = public_limit_for_both_ends();
    let full = Fixture::start(limit, Overflow::Wait);
    let mut oldest = full.send_wait().await;
    let mut slow = Vec::new();
    for number in 0..limit + limit / 4 {
        slow.push(match number % 3 {
            0 => full.send("").await,
            1 => full.send("POST /ok HTTP/1.1\r\nhost:").await,
            _ => full.send(&head("/refused", 100)).await,
        });
        if number % 100 == 0 {
            let mut good = full.send(&head("/ok", 0)).await;
            let since = Stopwatch::start();
            assert_eq!(status(&mut good).await, Some(200), "after {number}");
            assert!(since.elapsed() < HEAD_TIMEOUT / 2, "after {number}: {:?}", since.elapsed());
        }
    }
    full.answer.notify_one();
    assert_eq!(status(&mut oldest).await, Some(200), "the oldest of {limit}");
}

/// Some 2,000 where the system allows so many files; the soft limit is raised for that.
#[cfg(unix)]
fn public_limit_for_both_ends() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(u64::MAX).min(current.unwrap_or(u64::MAX).max(6000));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
    let limit = usize::try_from(wanted.min(6000)).unwrap() * 2 / 5 - 400;
    assert!(limit >= 100, "a limit of {wanted} files is too small for this test");
    limit
}
