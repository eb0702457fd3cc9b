//! The client on standard input and output, one JSON-RPC message per line (MCP, "stdio" transport).
//!
//! A read of standard input cannot be cut off, and a write waits for as long as the client does not read: both have threads of
//! their own, which end with the process.

use std::io::{self, BufRead, Write};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cli::ui::note_reader;
use crate::mcp_client::proxy::{ClientChannel, ClientLine, MAX_MESSAGE_BYTES};

/// Messages that may wait on their way to or from the client.
const QUEUED: usize = 16;

/// How long the last lines may take to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes to standard output until its channel is closed.
pub(super) struct StdoutWriter(JoinHandle<()>);

impl StdoutWriter {
    /// Waits until everything is written, as long as the client reads.
    pub(super) async fn finish(self) {
        let deadline = tokio::time::sleep(FLUSH_TIMEOUT);
        let written = async {
            while !self.0.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! { () = written => {}, () = deadline => {} }
    }
}

/// Starts to read and write.
pub(super) fn open() -> (ClientChannel, StdoutWriter) {
    let (lines, incoming) = mpsc::channel(QUEUED);
    let (output, outgoing) = mpsc::channel(QUEUED);
    thread::spawn(move || read_lines(&mut io::stdin().lock(), &lines));
    let writer = thread::spawn(move || write_lines(outgoing));
    (ClientChannel { lines: incoming, output }, StdoutWriter(writer))
}

fn read_lines(input: &mut impl BufRead, lines: &mpsc::Sender<ClientLine>) {
    while let Ok(Some(line)) = read_line(input, MAX_MESSAGE_BYTES) {
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}

/// Reads a line without its end; nothing at the end of the input. No more than `limit` bytes of one are held.
fn read_line(input: &mut impl BufRead, limit: usize) -> io::Result<Option<ClientLine>> {
    let mut line = Vec::new();
    let (mut is_too_long, mut is_empty) = (false, true);
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        if part.is_empty() && end.is_none() {
            // A last line counts without its end.
            break;
        }
        is_empty = false;
        is_too_long |= line.len() + part.len() > limit;
        if !is_too_long {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    if is_too_long {
        return Ok(Some(ClientLine::TooLong));
    }
    Ok((!is_empty).then_some(ClientLine::Text(line)))
}

fn write_lines(mut lines: mpsc::Receiver<String>) {
    while let Some(line) = lines.blocking_recv() {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdout.flush());
        let is_closed = written.is_err();
        note_reader(written);
        // The end of the channel notifies the relay.
        if is_closed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8], buffer: usize) -> Vec<ClientLine> {
        let mut reader = io::BufReader::with_capacity(buffer, &mut input);
        std::iter::from_fn(|| read_line(&mut reader, 8).unwrap()).collect()
    }

    #[test]
    fn lines_are_read_whole_and_long_ones_are_skipped() {
        let text = |line: &str| ClientLine::Text(line.as_bytes().to_vec());
        for buffer in [1, 3, 100] {
            let read = lines(b"12345678\n\n123456789\nab\r\nlast", buffer);
            assert_eq!(read, [text("12345678"), text(""), ClientLine::TooLong, text("ab\r"), text("last")]);
            assert!(lines(b"", buffer).is_empty());
        }
    }
}
