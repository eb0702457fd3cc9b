//! Reads the parts of a JSON-RPC message that the relay needs: its kind, its ID, and the members that determine its
//! route. Pure.
//!
//! A message itself travels as it was written. Members that are read here must not be repeated: of two names, a filter would
//! judge one and the server might act on the other.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

/// The sorts of JSON-RPC 2.0 messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    Request,
    Notification,
    /// A result or an error.
    Response,
}

/// The id of a request. Two are equal if they name the same request, however they are written.
#[derive(Clone, Debug)]
pub(super) struct RequestId {
    /// As the sender wrote it.
    pub(super) json: String,
    key: String,
}

impl RequestId {
    fn new(raw: &RawValue) -> Option<Self> {
        let json = raw.get().to_owned();
        let key = if json.starts_with('"') {
            // Half of a surrogate pair has no text, and is compared as it was written.
            serde_json::from_str::<String>(&json).map_or_else(|_| json.clone(), |text| format!("\"{text}"))
        } else if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            number_key(&json)
        } else {
            return None;
        };
        Some(Self { json, key })
    }
}

/// A whole number in its usual form: `1.0` and `1e0` are 1. What is larger than a program's numbers stays as it was written.
fn number_key(json: &str) -> String {
    /// 2^53: beyond it a float is no exact number.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    match json.parse::<i128>() {
        Ok(number) => number.to_string(),
        Err(_) => match json.parse::<f64>() {
            Ok(number) if number.fract() == 0.0 && number.abs() < MAX_EXACT => format!("{number:.0}"),
            _ => json.to_owned(),
        },
    }
}

impl PartialEq for RequestId {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for RequestId {}

impl std::hash::Hash for RequestId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// One message, on one line.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) text: String,
    pub(super) kind: MessageKind,
    /// Absent for a notification, and for an error about a message that could not be read.
    pub(super) id: Option<RequestId>,
    /// Empty for a response.
    pub(super) method: String,
    /// `params.name` or `params.uri`.
    pub(super) target: Option<String>,
    /// The revision that the message itself names; absent in sessions, which agree upon one.
    pub(super) revision: Option<String>,
    /// The request that `notifications/cancelled` is about.
    pub(super) cancelled: Option<RequestId>,
}

/// Why a text is not a message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum EnvelopeError {
    #[error("Parse error: {0}")]
    Syntax(String),
    #[error("Invalid Request: {0}")]
    Shape(String),
}

#[derive(Deserialize)]
struct Members<'t> {
    #[serde(borrow)]
    id: Option<&'t RawValue>,
    #[serde(borrow)]
    method: Option<&'t RawValue>,
    #[serde(borrow)]
    params: Option<&'t RawValue>,
    #[serde(borrow)]
    result: Option<&'t RawValue>,
    #[serde(borrow)]
    error: Option<&'t RawValue>,
}

#[derive(Default, Deserialize)]
struct Params<'t> {
    #[serde(borrow)]
    name: Option<&'t RawValue>,
    #[serde(borrow)]
    uri: Option<&'t RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'t RawValue>,
    #[serde(borrow, rename = "requestId")]
    request_id: Option<&'t RawValue>,
}

#[derive(Default, Deserialize)]
struct Meta<'t> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    revision: Option<&'t RawValue>,
}

/// Splits a text into messages: one, or those of a batch (revision 2025-03-26). An item of a batch that is not a message is an
/// error of its own.
///
/// # Errors
/// [`EnvelopeError`] for a text that is not JSON, or neither an object nor a batch.
pub(super) fn messages(text: &str) -> Result<Vec<Result<Envelope, EnvelopeError>>, EnvelopeError> {
    let syntax = |error: serde_json::Error| EnvelopeError::Syntax(error.to_string());
    let whole: &RawValue = serde_json::from_str(text).map_err(syntax)?;
    if !whole.get().starts_with('[') {
        return Ok(vec![Envelope::parse(whole.get())]);
    }
    let items: Vec<&RawValue> = serde_json::from_str(whole.get()).map_err(syntax)?;
    if items.is_empty() {
        return Err(EnvelopeError::Shape("the batch is empty".to_owned()));
    }
    Ok(items.into_iter().map(|item| Envelope::parse(item.get())).collect())
}

impl Envelope {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub(super) fn parse(text: &str) -> Result<Self, EnvelopeError> {
        let shape = |reason: &str| EnvelopeError::Shape(reason.to_owned());
        if !text.trim_start().starts_with('{') {
            return Err(shape("a message is an object"));
        }
        let members: Members<'_> = parse_members(text)?;
        let method = members.method.map(string).map(|method| method.ok_or_else(|| shape("the method is not a string")));
        let method = method.transpose()?;
        let id =
            members.id.map(|id| RequestId::new(id).ok_or_else(|| shape("the id is neither a string nor a number")));
        let id = id.transpose()?;
        let kind = match (&method, &id) {
            (Some(_), Some(_)) => MessageKind::Request,
            (Some(_), None) => MessageKind::Notification,
            (None, _) if members.result.is_some() || members.error.is_some() => MessageKind::Response,
            (None, _) => return Err(shape("it has neither a method, a result nor an error")),
        };
        let params: Params<'_> = object(members.params)?;
        let meta: Meta<'_> = object(params.meta)?;
        Ok(Self {
            // A line break can only be between two tokens: inside a string it would be escaped.
            text: text.trim().replace(['\n', '\r'], " "),
            kind,
            id,
            method: method.unwrap_or_default(),
            target: params.name.or(params.uri).and_then(string),
            revision: meta.revision.and_then(string),
            cancelled: params.request_id.and_then(RequestId::new),
        })
    }

    /// Whether it is a message of revision 2026-07-28 or later: each names the revision itself, and there are no sessions.
    pub(super) fn is_stateless(&self) -> bool {
        self.revision.is_some()
    }

    pub(super) fn is_request(&self, method: &str) -> bool {
        self.kind == MessageKind::Request && self.method == method
    }

    pub(super) fn is_notification(&self, method: &str) -> bool {
        self.kind == MessageKind::Notification && self.method == method
    }

    /// The arguments of a call; null without any.
    pub(super) fn arguments(&self) -> Value {
        let message: Option<Value> = serde_json::from_str(&self.text).ok();
        message.and_then(|mut message| Some(message.pointer_mut("/params/arguments")?.take())).unwrap_or_default()
    }

    /// A response as an answer to another id: servers that cannot read a request answer without one.
    pub(super) fn with_id(&self, id: &RequestId) -> Option<Self> {
        let members: Members<'_> = serde_json::from_str(&self.text).ok()?;
        let (name, value) = match (members.result, members.error) {
            (Some(result), _) => ("result", result),
            (None, error) => ("error", error?),
        };
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"{name}\":{}}}", id.json, value.get());
        Some(Self { text, id: Some(id.clone()), ..self.clone() })
    }

    /// The result of a response, as it was written.
    pub(super) fn result(&self) -> Option<&RawValue> {
        serde_json::from_str::<Members<'_>>(&self.text).ok()?.result
    }

    /// The error of a response, as it was written.
    pub(super) fn error(&self) -> Option<&RawValue> {
        serde_json::from_str::<Members<'_>>(&self.text).ok()?.error
    }
}

fn parse_members<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, EnvelopeError> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => EnvelopeError::Shape(error.to_string()),
        _ => EnvelopeError::Syntax(error.to_string()),
    })
}

/// The members of an object; the default for any other value.
fn object<'t, T: Deserialize<'t> + Default>(value: Option<&'t RawValue>) -> Result<T, EnvelopeError> {
    match value.map(RawValue::get).filter(|text| text.starts_with('{')) {
        Some(text) => parse_members(text),
        None => Ok(T::default()),
    }
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Envelope {
        Envelope::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn a_message_is_classified_and_keeps_every_byte() {
        let text = "{ \"x\" : 1.00, \"jsonrpc\":\"2.0\",\"id\":\t12345678901234567890123,\"method\":\"tools\\/call\",\n\"params\":{\"name\":\"a\\u0062\",\"n\":1e400,\"s\":\"\\ud800\"}}";
        let message = parsed(text);
        assert_eq!(message.text, text.replace('\n', " "));
        assert_eq!((message.kind, &*message.method), (MessageKind::Request, "tools/call"));
        assert_eq!(message.target.as_deref(), Some("ab"));
        assert_eq!(message.id.unwrap().json, "12345678901234567890123");
        assert_eq!(parsed(r#"{"method":"x","id":null}"#).kind, MessageKind::Notification);
        assert_eq!(parsed(r#"{"id":1,"result":{}}"#).kind, MessageKind::Response);
        let cancel = parsed(r#"{"method":"notifications/cancelled","params":{"requestId":"7"}}"#);
        assert!(cancel.is_notification("notifications/cancelled"));
        assert_eq!(cancel.cancelled.unwrap().json, "\"7\"");
        let modern = parsed(
            r#"{"id":1,"method":"m","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
        );
        assert_eq!(modern.revision.as_deref(), Some("2026-07-28"));
        assert!(parsed(r#"{"id":1,"method":"m","params":[1]}"#).target.is_none());
    }

    #[test]
    fn the_revision_is_read_from_the_member_that_requests_have() {
        let meta = serde_json::json!({ "method": "m", "params": { "_meta": { crate::model::MCP_META_REVISION: "2026-07-28" } } });
        assert_eq!(parsed(&meta.to_string()).revision.as_deref(), Some("2026-07-28"));
    }

    #[test]
    fn an_id_is_the_same_however_it_is_written() {
        let id = |text: &str| parsed(&format!(r#"{{"id":{text},"result":1}}"#)).id.unwrap();
        assert_eq!(id("1"), id("1.0"));
        assert_eq!(id(r#""a/b""#), id(r#""a\/\u0062""#));
        assert_ne!(id("1"), id(r#""1""#));
        assert_ne!(
            id("12345678901234567890123456789012345678901234567890"),
            id("12345678901234567890123456789012345678901234567891")
        );
        assert_eq!(id("-0"), id("0"));
    }

    #[test]
    fn what_is_no_message_or_could_be_read_in_two_ways_is_refused() {
        for text in ["", "{", "nonsense", "{}x", "[1,]"] {
            assert!(matches!(messages(text), Err(EnvelopeError::Syntax(_))), "{text}");
        }
        assert!(messages("[]").is_err());
        for text in [
            "{}",
            "1",
            r#"{"id":[1],"method":"x"}"#,
            r#"{"id":true,"method":"x"}"#,
            r#"{"method":1}"#,
            r#"{"method":"ping","id":1,"method":"tools/call"}"#,
            r#"{"id":1,"method":"tools/call","params":{"name":"read","n\u0061me":"delete"}}"#,
            r#"{"id":1,"method":"tools/call","params":{"name":"read"},"params":{"name":"delete"}}"#,
        ] {
            let read = messages(text).unwrap();
            assert!(matches!(read[0], Err(EnvelopeError::Shape(_))), "{text}: {read:?}");
        }
        let batch = messages(r#"[{"id":1,"method":"a"}, 5, {"method":"b"}]"#).unwrap();
        assert_eq!(batch.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn a_response_without_an_id_gets_that_of_its_request() {
        let request = parsed(r#"{"id":"q\u0022","method":"x"}"#);
        let refusal = parsed(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no","data":1.50}}"#);
        let answer = refusal.with_id(request.id.as_ref().unwrap()).unwrap();
        assert_eq!(
            answer.text,
            r#"{"jsonrpc":"2.0","id":"q\u0022","error":{"code":-32600,"message":"no","data":1.50}}"#
        );
        assert_eq!(answer.error().unwrap().get(), r#"{"code":-32600,"message":"no","data":1.50}"#);
        assert!(answer.result().is_none());
    }
}
