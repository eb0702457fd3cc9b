//! A receiver of webhooks, well-behaved or as it is told to be.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use integ::clock::Timestamp;

use crate::wire::Message;

/// How a receiver answers.
#[derive(Clone, Copy)]
pub enum Answer {
    Status(u16),
    With(u16, &'static str),
    /// A 200 with this JSON.
    Json(&'static str),
    /// Says nothing, and holds the connection.
    Hang,
    /// Closes it in the middle of an answer.
    Cut,
    /// A 200 whose body never ends.
    Endless,
    After(Duration),
}

/// Takes requests and answers each with the next of its answers, then with 204.
pub struct Receiver {
    pub address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    /// What a path is always answered with.
    habits: Mutex<BTreeMap<String, Answer>>,
    received: Mutex<Vec<(Message, Timestamp)>>,
    came: Condvar,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || shared.serve(&stream));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn answers(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.shared.answers.lock().unwrap().entry(path.to_owned()).or_default().extend(answers);
    }

    pub fn always(&self, path: &str, answer: Answer) {
        self.shared.habits.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// What came to a path so far.
    pub fn received(&self, path: &str) -> Vec<Message> {
        let received = self.shared.received.lock().unwrap();
        received.iter().filter(|(message, _)| message.request().1 == path).map(|(message, _)| message.clone()).collect()
    }

    /// Waits until so many requests have come to all paths that begin so.
    pub fn wait(&self, prefix: &str, count: usize) -> Vec<(Message, Timestamp)> {
        let waiting = Instant::now();
        let mut received = self.shared.received.lock().unwrap();
        loop {
            let fitting = received.iter().filter(|(message, _)| message.request().1.starts_with(prefix));
            if fitting.clone().count() >= count {
                return fitting.cloned().collect();
            }
            let had = fitting.count();
            assert!(waiting.elapsed() < Duration::from_secs(60), "{had} of {count} came to {prefix}");
            received = self.shared.came.wait_timeout(received, Duration::from_secs(1)).unwrap().0;
        }
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        while let Some(message) = Message::read(stream) {
            let path = message.request().1.to_owned();
            self.received.lock().unwrap().push((message, Timestamp::now()));
            self.came.notify_all();
            let next = self.answers.lock().unwrap().get_mut(&path).and_then(VecDeque::pop_front);
            let next = next.or_else(|| self.habits.lock().unwrap().get(&path).copied()).unwrap_or(Answer::Status(204));
            if !answer(stream, next) {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// Whether the connection may go on.
fn answer(mut stream: &TcpStream, answer: Answer) -> bool {
    match answer {
        Answer::Status(204) => stream.write_all(b"HTTP/1.1 204 -\r\n\r\n").is_ok(),
        Answer::Status(status) => write!(stream, "HTTP/1.1 {status} -\r\ncontent-length: 4\r\n\r\nsaid").is_ok(),
        Answer::With(status, headers) => {
            write!(stream, "HTTP/1.1 {status} -\r\n{headers}\r\ncontent-length: 0\r\n\r\n").is_ok()
        }
        Answer::Json(body) => {
            let head =
                format!("HTTP/1.1 200 -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).is_ok()
        }
        Answer::Hang => {
            std::thread::sleep(Duration::from_secs(60));
            false
        }
        Answer::Cut => {
            let _ = stream.write_all(b"HTTP/1.1 200 -\r\ncontent-length: 100\r\n\r\nhalf");
            false
        }
        Answer::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 -\r\ntransfer-encoding: chunked\r\n\r\n");
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            while stream.write_all(chunk.as_bytes()).is_ok() {}
            false
        }
        Answer::After(wait) => {
            std::thread::sleep(wait);
            stream.write_all(b"HTTP/1.1 204 -\r\n\r\n").is_ok()
        }
    }
}
