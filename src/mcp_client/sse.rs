//! Server-sent events as they arrive in pieces (WHATWG HTML, section 9.2.6). Pure.

use std::time::Duration;

/// Reads a stream of events piece by piece. No more than one event is buffered.
#[derive(Debug)]
pub(super) struct SseParser {
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// The data of the event that is not complete yet; absent without a `data` field.
    data: Option<String>,
    /// The id of the event that is not complete yet.
    pending_id: Option<String>,
    last_event_id: Option<String>,
    retry: Option<Duration>,
    /// Whether the last byte was a CR: an LF after it ends no second line.
    after_cr: bool,
    is_at_start: bool,
    /// Bytes that an event may have.
    limit: usize,
}

/// An event that is larger than the parser takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventTooLarge;

impl SseParser {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            data: None,
            pending_id: None,
            last_event_id: None,
            retry: None,
            after_cr: false,
            is_at_start: true,
            limit,
        }
    }

    /// Returns the data of each event that these bytes complete: a blank line ends one. Events without data are left out.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, EventTooLarge> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let Some((end, text)) = piece.split_last().filter(|(end, _)| matches!(end, b'\n' | b'\r')) else {
                self.after_cr = false;
                self.line.extend_from_slice(piece);
                break;
            };
            let is_second_half = *end == b'\n' && text.is_empty() && self.after_cr;
            self.after_cr = *end == b'\r';
            if is_second_half {
                continue;
            }
            self.line.extend_from_slice(text);
            self.end_line(&mut events);
            self.check_size()?;
        }
        self.check_size()?;
        Ok(events)
    }

    /// The id of the last complete event that had one, for `Last-Event-ID`.
    pub(super) fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref().filter(|id| !id.is_empty())
    }

    /// How long the server wants a client to wait before it connects again.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Bytes of the event that is not complete yet.
    pub(super) fn buffered(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, String::len)
    }

    /// Begins with another stream, which continues this one after its last complete event.
    pub(super) fn resume(&mut self) {
        let last_event_id = self.last_event_id.take();
        *self = Self { last_event_id, retry: self.retry, ..Self::new(self.limit) };
    }

    fn check_size(&self) -> Result<(), EventTooLarge> {
        if self.buffered() > self.limit { Err(EventTooLarge) } else { Ok(()) }
    }

    fn end_line(&mut self, events: &mut Vec<String>) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let text = if self.is_at_start { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        self.is_at_start = false;
        if text.is_empty() {
            events.extend(self.data.take());
            if let Some(id) = self.pending_id.take() {
                self.last_event_id = Some(id);
            }
            return;
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.pending_id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
    }
}

/// Returns the data of each complete event of a text that arrived whole.
pub(super) fn complete_events(text: &str) -> Vec<String> {
    SseParser::new(usize::MAX).push(text.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_end_with_a_blank_line() {
        assert_eq!(complete_events("event: message\ndata: {\"a\":\ndata:1}\nid: 7\n\n"), ["{\"a\":\n1}"]);
        assert_eq!(complete_events("data: one\r\n\r\n: comment\r\rdata: two\r\r"), ["one", "two"]);
        assert_eq!(complete_events("\u{feff}data\n\ndata:  x\n\nretry: 5\n\n"), ["", " x"]);
        assert!(complete_events("data: cut off").is_empty());
        assert!(complete_events("data: cut off\n").is_empty());
        assert!(complete_events("").is_empty());
    }

    #[test]
    fn the_pieces_in_which_events_arrive_make_no_difference() {
        let text = "\u{feff}id: a\r\ndata: {\"é\":\r\ndata: 1}\r\n\r\n: ping\n\rdata\rid: b\r\rretry: 1500\nid: c\ndata: x\n\n";
        let whole = complete_events(text);
        assert_eq!(whole, ["{\"é\":\n1}", "", "x"]);
        for size in 1..text.len() {
            let mut parser = SseParser::new(100);
            let mut events = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                events.extend(parser.push(piece).unwrap());
            }
            assert_eq!(events, whole, "pieces of {size} bytes");
            assert_eq!((parser.last_event_id(), parser.retry()), (Some("c"), Some(Duration::from_millis(1500))));
            assert_eq!(parser.buffered(), 0);
        }
    }

    #[test]
    fn an_id_counts_once_its_event_is_complete() {
        let mut parser = SseParser::new(100);
        parser.push(b"id: 1\ndata: x\n\nid: 2\ndata: y").unwrap();
        assert_eq!(parser.last_event_id(), Some("1"));
        // An event without data carries its id all the same: it primes a stream that will be resumed.
        parser.push(b"\n\nid: 3\ndata:\n\nid: a\0b\ndata\n\nretry: soon\n\n").unwrap();
        assert_eq!((parser.last_event_id(), parser.retry()), (Some("3"), None));
        parser.push(b"id\n\n").unwrap();
        assert_eq!(parser.last_event_id(), None, "an empty id resets it");
    }

    #[test]
    fn no_more_than_one_event_of_the_limit_is_buffered() {
        let mut parser = SseParser::new(20);
        for _ in 0..1000 {
            parser.push(b"data: 0123456789\n\n: a comment\n").unwrap();
        }
        assert_eq!(parser.push(b"data: 0123456789\ndata: 0123456789\n"), Err(EventTooLarge));
        assert_eq!(SseParser::new(20).push(&[b'x'; 21]), Err(EventTooLarge));
    }
}
