//! HTTP/1.1 by hand: what a well-behaved library would not let a test send, or not let it see.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use url::Url;

/// A request or an answer as it stood on the wire.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first line.
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    /// Reads one message; absent where the peer closes before it has said anything.
    pub fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut start = String::new();
        if reader.read_line(&mut start).ok()? == 0 {
            return None;
        }
        let mut message = Self { start: start.trim_end().to_owned(), headers: Vec::new(), body: Vec::new() };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let length = message.header("content-length").and_then(|length| length.parse().ok());
        match length {
            Some(length) => {
                message.body.resize(length, 0);
                reader.read_exact(&mut message.body).ok()?;
            }
            None if message.header("transfer-encoding") == Some("chunked") => message.read_chunks(&mut reader)?,
            None if message.start.starts_with("HTTP/") => {
                reader.read_to_end(&mut message.body).ok()?;
            }
            None => {}
        }
        Some(message)
    }

    fn read_chunks(&mut self, reader: &mut impl BufRead) -> Option<()> {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            if size == 0 {
                return Some(());
            }
            self.body.extend_from_slice(&chunk[..size]);
        }
    }

    /// The first header of a name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Method and target of a request.
    pub fn request(&self) -> (&str, &str) {
        let mut words = self.start.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a form.
    pub fn form(&self) -> std::collections::BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

/// A request of this method to a URL of this machine; absent where nobody listens, or nobody answers.
pub fn ask(method: &str, url: &Url, host: Option<&str>) -> Option<Message> {
    let address = url.socket_addrs(|| None).ok()?;
    let mut stream = TcpStream::connect(&*address).ok()?;
    let host =
        host.map_or_else(|| format!("{}:{}", url.host_str().unwrap_or_default(), address[0].port()), str::to_owned);
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    write!(stream, "{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").ok()?;
    Message::read(&stream)
}

/// A `GET` that somebody must answer.
pub fn get(url: &Url) -> Message {
    ask("GET", url, None).unwrap_or_else(|| panic!("nobody answers at {url}"))
}

/// Whether anybody listens at the host and port of a URL.
pub fn listens(url: &Url) -> bool {
    let addresses = url.socket_addrs(|| None).unwrap();
    TcpStream::connect(&*addresses).is_ok()
}
