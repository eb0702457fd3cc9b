//! Requests that are not events, such as a vendor's check of the URL.

use serde_json::Value;

use crate::connector::{Handshake, Values};
use crate::secret::Secret;
use crate::signing::verify::{ParsedRequest, constant_time_eq};

/// What a handshake is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeResponse {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
    /// The secret that it brought.
    pub captured: Option<Secret>,
}

/// The handshake that a request is.
pub fn find<'h>(handshakes: &'h [Handshake], judged: &ParsedRequest<'_>) -> Option<&'h Handshake> {
    handshakes.iter().find(|handshake| handshake.when.matches(judged.request, judged.document))
}

/// The answer to it. Pure: what is captured is stored by the caller.
pub fn answer(handshake: &Handshake, judged: &ParsedRequest<'_>, values: &Values) -> HandshakeResponse {
    let empty = |status| HandshakeResponse { status, content_type: "text/plain", body: String::new(), captured: None };
    for (name, want) in &handshake.check {
        let right = match (judged.request.query(name), want.fill(values)) {
            (Some(given), Ok(want)) => !want.is_empty() && constant_time_eq(given.as_bytes(), want.as_bytes()),
            _ => false,
        };
        if !right {
            return empty(403);
        }
    }
    let captured = handshake.capture.as_ref().and_then(|at| at.text(judged.document)).map(Secret::new);
    let echoed = handshake.echo.as_ref().and_then(|find| find.text(judged, judged.document));
    let (content_type, body) = match (echoed, &handshake.answer) {
        (Some(text), _) => ("text/plain; charset=utf-8", text),
        (None, Some(Value::String(text))) => ("text/plain; charset=utf-8", text.clone()),
        (None, Some(document)) => ("application/json", document.to_string()),
        (None, None) => ("text/plain; charset=utf-8", String::new()),
    };
    HandshakeResponse { content_type, body, captured, ..empty(handshake.status) }
}
