//! Reads the server's response: a JSON document or a stream of events. Other messages are passed on to the client as
//! they arrive.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::envelope::{Envelope, MessageKind, RequestId, messages};
use super::session::list_changes;
use super::stop_signal::{StopSignal, Stopped};
use super::tool_filter::without_tools;
use super::{MAX_BUFFERED_BYTES, MAX_MESSAGE_BYTES, Relay, lock};
use crate::http::{HttpError, StreamingResponse};
use crate::mcp_client::proxy::request_headers::param_headers;
use crate::mcp_client::sse::SseParser;

/// Tools of which the headers are remembered.
const MAX_ANNOTATED_TOOLS: usize = 1000;

/// How a stream ended.
#[derive(Debug)]
pub(super) enum StreamEnd {
    Answered(Envelope),
    /// The server closed it, or the connection was lost.
    Cut(Option<HttpError>),
    /// The server sends what is not relayed.
    Unreadable(String),
    Stopped,
}

impl From<Stopped> for StreamEnd {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Counts the bytes that one stream buffers among those of all.
struct BufferShare<'r, 'a> {
    relay: &'r Relay<'a>,
    bytes: usize,
}

impl BufferShare<'_, '_> {
    /// Whether as much may be buffered.
    fn set(&mut self, bytes: usize) -> bool {
        self.relay.buffered.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
        self.relay.buffered.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_BUFFERED_BYTES
    }
}

impl Drop for BufferShare<'_, '_> {
    fn drop(&mut self) {
        self.relay.buffered.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Whether an answer is a stream of events.
pub(super) fn is_event_stream(answer: &StreamingResponse) -> bool {
    let kind = answer.head.header("content-type").unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

impl Relay<'_> {
    /// Reads a stream of events until the answer to `request` has come; to its end without one. `silence` is how long it may
    /// send nothing at all.
    pub(super) async fn read_events(
        &self,
        answer: &mut StreamingResponse,
        parser: &mut SseParser,
        request: Option<&RequestId>,
        silence: Duration,
        stop: &StopSignal,
    ) -> StreamEnd {
        let mut share = BufferShare { relay: self, bytes: 0 };
        loop {
            let chunk = match stop.race(tokio::time::timeout(silence, answer.chunk())).await {
                Err(Stopped) => return StreamEnd::Stopped,
                Ok(Err(_)) => return StreamEnd::Unreadable(format!("nothing arrived for {} s", silence.as_secs())),
                Ok(Ok(Err(error))) => return StreamEnd::Cut(Some(error)),
                Ok(Ok(Ok(None))) => return StreamEnd::Cut(None),
                Ok(Ok(Ok(Some(chunk)))) => chunk,
            };
            let Ok(events) = parser.push(&chunk) else { return StreamEnd::Unreadable(too_large("an event")) };
            if !share.set(parser.buffered()) {
                return StreamEnd::Unreadable("the server's answers fill the memory that they may have".to_owned());
            }
            for event in events {
                if let Some(answer) = self.pass_on(&event, request).await {
                    return StreamEnd::Answered(answer);
                }
            }
        }
    }

    /// Reads one JSON document, which must hold the answer to `request`.
    pub(super) async fn read_document(
        &self,
        mut answer: StreamingResponse,
        request: &RequestId,
        silence: Duration,
        stop: &StopSignal,
    ) -> StreamEnd {
        let mut share = BufferShare { relay: self, bytes: 0 };
        let mut body = Vec::new();
        loop {
            match stop.race(tokio::time::timeout(silence, answer.chunk())).await {
                Err(Stopped) => return StreamEnd::Stopped,
                Ok(Err(_)) => return StreamEnd::Unreadable(format!("nothing arrived for {} s", silence.as_secs())),
                Ok(Ok(Err(error))) => return StreamEnd::Cut(Some(error)),
                Ok(Ok(Ok(None))) => break,
                Ok(Ok(Ok(Some(chunk)))) => body.extend_from_slice(&chunk),
            }
            if body.len() > MAX_MESSAGE_BYTES || !share.set(body.len()) {
                return StreamEnd::Unreadable(too_large("the answer"));
            }
        }
        let found = match String::from_utf8(body) {
            Ok(text) => self.pass_on(&text, Some(request)).await,
            Err(_) => None,
        };
        found.map_or_else(|| StreamEnd::Unreadable("it holds no answer to the request".to_owned()), StreamEnd::Answered)
    }

    /// Passes messages of the server's on to the client, and returns the answer to `request` if it is among them. Servers that
    /// could not read a request answer without its id.
    async fn pass_on(&self, text: &str, request: Option<&RequestId>) -> Option<Envelope> {
        if text.trim().is_empty() {
            return None;
        }
        let mut found = None;
        for message in messages(text).unwrap_or_default() {
            let Ok(message) = message else {
                tracing::debug!("the server sent something that is no message");
                continue;
            };
            match (message.kind, &message.id, request) {
                (MessageKind::Response, Some(id), Some(request)) if id == request => found = Some(message),
                (MessageKind::Response, None, Some(request)) => found = message.with_id(request).or(found),
                (MessageKind::Response, _, _) => self.answer(message).await,
                _ => self.send(message.text).await,
            }
        }
        found
    }

    /// Passes the answer to a request on, unless it was answered or cancelled.
    pub(super) async fn answer(&self, answer: Envelope) {
        let Some(request) = answer.id.as_ref().and_then(|id| lock(&self.pending).remove(id)) else {
            tracing::debug!("the server answered what was not asked, or twice");
            return;
        };
        request.stop.stop();
        let line =
            if request.method == "tools/list" { self.filtered(answer, request.is_stateless) } else { answer.text };
        self.send(line).await;
    }

    /// The list of tools as the client may see it.
    fn filtered(&self, answer: Envelope, is_stateless: bool) -> String {
        let Some(result) = answer.result() else { return answer.text };
        let is_passed = |tool: &serde_json::value::RawValue| {
            self.options.tools.allows_definition(tool) && (!is_stateless || self.learn_headers(tool.get()))
        };
        if self.options.tools.is_empty() && !is_stateless {
            return answer.text;
        }
        match (without_tools(result.get(), is_passed), &answer.id) {
            (Ok(result), Some(id)) => format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{result}}}", id.json),
            (Err(error), Some(id)) => super::RpcFailure::new(
                "malformed_list",
                format!("the server's list of tools cannot be filtered: {error}"),
            )
            .response(&id.json),
            (_, None) => answer.text,
        }
    }

    /// Remembers which arguments of a tool travel in headers. Returns whether the tool may be used at all.
    pub(super) fn learn_headers(&self, tool: &str) -> bool {
        let Ok(tool) = serde_json::from_str::<serde_json::Value>(tool) else { return true };
        let Some(name) = tool.get("name").and_then(serde_json::Value::as_str) else { return true };
        match param_headers(&tool) {
            Ok(headers) => {
                let mut known = lock(&self.param_headers);
                if headers.is_empty() {
                    known.remove(name);
                } else if known.len() < MAX_ANNOTATED_TOOLS {
                    known.insert(name.to_owned(), headers);
                }
                true
            }
            Err(reason) => {
                self.report(&format!("tool {name:?} is left out: {reason}"));
                false
            }
        }
    }

    /// Lets the client ask again for what a server that was restarted may have changed.
    pub(super) async fn announce_changes(&self, answer: &Envelope) {
        for notification in list_changes(answer) {
            self.send(notification).await;
        }
    }
}

fn too_large(what: &str) -> String {
    format!("{what} is larger than {}", crate::size::format(MAX_MESSAGE_BYTES))
}
