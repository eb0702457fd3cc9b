//! Messages of the protocol: JSON-RPC 2.0 requests and responses. Pure.

use serde_json::{Value, json};

use super::McpError;
use super::sse::complete_events;
use crate::http::Response;
use crate::model::MCP_UNSUPPORTED_REVISION;

/// Returns a request with its number.
pub(super) fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Returns a message that wants no answer.
pub(super) fn notification(method: &str) -> Value {
    json!({ "jsonrpc": "2.0", "method": method })
}

/// Whether a stream of events already holds an answer. Only one request is under way on it.
pub(super) fn has_response(body: &[u8]) -> bool {
    if !body.ends_with(b"\n") && !body.ends_with(b"\r") {
        return false;
    }
    let text = String::from_utf8_lossy(body);
    complete_events(&text).iter().any(|data| serde_json::from_str(data).is_ok_and(|message| is_response(&message)))
}

fn is_response(message: &Value) -> bool {
    message.get("id").is_some() && (message.get("result").is_some() || message.get("error").is_some())
}

/// Finds the answer to a request: the whole body, an item of a batch, or an event of a stream, among messages that the server
/// sends of its own accord.
///
/// # Errors
/// [`McpError::Malformed`] where there is none, [`McpError::Rpc`] where it is an error.
pub(super) fn result(response: &Response, id: u64, method: &'static str) -> Result<Value, McpError> {
    let malformed = |reason: &str| McpError::Malformed { method, reason: reason.to_owned() };
    let text = response.text().map_err(|error| malformed(&error.to_string()))?;
    let messages: Vec<Value> = if is_event_stream(response) {
        // The last event counts although the stream ended before its blank line.
        let text = format!("{text}\n\n");
        complete_events(&text).iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
    } else {
        match response.json() {
            Some(Value::Array(batch)) => batch,
            Some(message) => vec![message],
            None => return Err(malformed("it is not JSON")),
        }
    };
    let is_ours = |message: &&Value| is_response(message) && (message["id"] == id || message["id"].is_null());
    let answer = messages.iter().find(is_ours).ok_or_else(|| malformed("it holds no answer to the request"))?;
    match (answer.get("result"), answer.get("error")) {
        (Some(result @ Value::Object(_)), None) => Ok(result.clone()),
        (None, Some(error)) => Err(McpError::Rpc {
            method,
            code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
            message: cut(error.get("message").and_then(Value::as_str).unwrap_or_default()),
        }),
        _ => Err(malformed("its result is not an object")),
    }
}

/// Returns the revisions that a server lists when it refuses one, or nothing if the refusal says nothing of revisions.
pub(super) fn supported_revisions(response: &Response) -> Option<Vec<String>> {
    let answer = response.json()?;
    let code = answer.pointer("/error/code").and_then(Value::as_i64);
    (code == Some(MCP_UNSUPPORTED_REVISION)).then(|| texts(&answer, "/error/data/supported"))
}

/// Returns the texts of an array, each short enough to be shown.
pub(super) fn texts(value: &Value, pointer: &str) -> Vec<String> {
    let items = value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(cut).collect()
}

fn is_event_stream(response: &Response) -> bool {
    let kind = response.header("content-type").unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

/// A text of the server's, short enough to be shown.
pub(super) fn cut(text: &str) -> String {
    const LONGEST: usize = 200;
    text.trim().chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: &str, body: &str) -> Result<Value, McpError> {
        result(&Response::new(200, &[("content-type", kind)], body.as_bytes()), 2, "tools/list")
    }

    #[test]
    fn an_answer_is_found_in_every_form() {
        let event = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n\
            data: {\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\n\n\
            data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"a\":1}}\n\n";
        assert_eq!(answer("text/event-stream; charset=utf-8", event).unwrap()["a"], 1);
        assert_eq!(answer("text/event-stream", event.trim_end()).unwrap()["a"], 1, "no blank line at its end");
        assert_eq!(answer("application/json", r#"{"jsonrpc":"2.0","id":2,"result":{"a":1}}"#).unwrap()["a"], 1);
        assert_eq!(answer("application/json", r#"[{"id":1,"result":{}},{"id":2,"result":{"a":1}}]"#).unwrap()["a"], 1);
        assert!(has_response(event.as_bytes()));
        assert!(!has_response(&event.as_bytes()[..event.len() - 1]), "its blank line is missing");
    }

    #[test]
    fn an_error_and_what_is_no_answer_are_told_apart() {
        let refused = answer("application/json", r#"{"id":2,"error":{"code":-32601,"message":"Method not found"}}"#);
        assert!(matches!(refused, Err(McpError::Rpc { code: -32601, message, .. }) if message == "Method not found"));
        for body in ["", "<html>", "{}", r#"{"id":3,"result":{}}"#, r#"{"id":2,"result":[]}"#, r#"{"id":2}"#] {
            assert!(matches!(answer("application/json", body), Err(McpError::Malformed { .. })), "{body}");
        }
        assert!(matches!(answer("text/event-stream", "data: {\"id\":2\n\n"), Err(McpError::Malformed { .. })));
    }
}
