//! Parses responses of OAuth endpoints: JSON or forms, in the encodings and formats that servers use. Pure.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::duplicate_members::has_unique_members;
use crate::connector::TokenResponseShape;
use crate::http::Response;

/// Parses JSON, or a form (GitHub without an `Accept` header, older servers). Absent for an array, a bare value, and an
/// object that has a member twice.
pub(super) fn parse(response: &Response) -> Option<Value> {
    let text = decode(&response.body);
    if let Ok(document) = serde_json::from_str(&text) {
        return has_unique_members(text.as_bytes()).then_some(document);
    }
    let content_type = response.header("content-type").unwrap_or_default();
    let form = content_type.starts_with("application/x-www-form-urlencoded") || content_type.starts_with("text/plain");
    let text = text.trim();
    if !form || !text.contains('=') || text.starts_with('<') {
        return None;
    }
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    Some(Value::Object(pairs.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect()))
}

/// Decodes a body whose names, codes and tokens are ASCII. UTF-16 is recognised by its zero bytes (RFC 4627 section 3), with or
/// without a byte order mark; bytes that are not UTF-8 are read as Latin-1, which at worst spoils a description.
fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
        Cow::Owned(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => decode(rest),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0, _, ..] => utf16(bytes, u16::from_be_bytes),
        [_, 0, ..] => utf16(bytes, u16::from_le_bytes),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
        },
    }
}

/// An error as an answer states it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenEndpointError {
    pub code: String,
    pub description: Option<String>,
}

/// Finds the error of an answer: where the connector says, else where servers put it that do not follow RFC 6749: an
/// object, a list of objects, or, if the status says that the answer is one, a bare message. Of several codes in an
/// object (Meta's `type`, `code` and `error_subcode`), one that `is_known` comes first.
pub(super) fn find_error(
    answer: &TokenResponseShape,
    document: &Value,
    status: u16,
    is_known: impl Fn(&str) -> bool,
) -> Option<TokenEndpointError> {
    let declared = answer.error.find(document).filter(|error| error.is_string() || error.is_number());
    if let Some(code) = declared.and_then(|_| answer.error.text(document)) {
        return Some(TokenEndpointError { code, description: answer.error_description.text(document) });
    }
    let top = document.as_object()?;
    let marked = ["error", "errors"].iter().find_map(|name| first_error(top.get(*name)?));
    let failed = status >= 400;
    let place = match marked {
        Some(Value::String(code)) => {
            return Some(TokenEndpointError { code: code.clone(), description: description(top) });
        }
        Some(Value::Object(members)) => Some(members),
        _ if failed => Some(top),
        _ => None,
    }?;
    let codes: Vec<String> = ["code", "error", "error_code", "type", "name", "status"]
        .iter()
        .filter_map(|name| scalar(place.get(*name)?))
        .collect();
    let description = description(place).or_else(|| description(top));
    let known = codes.iter().find(|code| is_known(code));
    let word = || codes.iter().find(|code| code.parse::<f64>().is_err());
    let code = known.or_else(word).or_else(|| codes.first()).cloned();
    if code.is_none() && description.is_none() {
        return None;
    }
    Some(TokenEndpointError { code: code.unwrap_or_else(|| format!("status {status}")), description })
}

/// The error in a member: a code, an object, or the first of a list.
fn first_error(member: &Value) -> Option<&Value> {
    match member {
        Value::Array(errors) => errors.first(),
        Value::String(code) if code.is_empty() => None,
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
        error => Some(error),
    }
}

fn description(members: &Map<String, Value>) -> Option<String> {
    ["error_description", "message", "detail", "description", "error_message", "title", "reason"]
        .iter()
        .find_map(|name| members.get(*name)?.as_str())
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(content_type: &str, body: &[u8]) -> Option<Value> {
        parse(&Response::new(400, &[("content-type", content_type)], body))
    }

    #[test]
    fn field_23_an_answer_is_read_in_any_encoding() {
        let text = r#"{"error":"invalid_grant","error_description":"Le jeton a expiré"}"#;
        let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for body in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            latin,
            [b"\xff\xfe".as_slice(), &little].concat(),
            [b"\xfe\xff".as_slice(), &big].concat(),
            little,
            big,
        ] {
            let document = parsed("application/json; charset=any", &body).unwrap();
            assert_eq!(document["error"], "invalid_grant", "{body:?}");
            assert_eq!(document["error_description"], "Le jeton a expiré", "{body:?}");
        }
        let form = parsed("text/plain", b"\xef\xbb\xbferror=invalid_grant").unwrap();
        assert_eq!(form["error"], "invalid_grant");
        for none in [&b""[..], b"\xef\xbb\xbf", b"\xff", b"\xff\xfe", b"\0", b"[]", b"\xef\xbb\xbf{\"a\":1,\"a\":2}"] {
            assert!(parsed("application/json", none).is_none_or(|document| !document.is_object()), "{none:?}");
        }
    }

    #[test]
    fn field_23_errors_of_every_shape_keep_their_code_and_words() {
        let error = |status, text: &str| {
            let found =
                find_error(&TokenResponseShape::default(), &serde_json::from_str(text).unwrap(), status, |code| {
                    code == "invalid_grant"
                });
            found.map(|stated| (stated.code, stated.description.unwrap_or_default()))
        };
        let used = |code: &str| Some((code.to_owned(), "used".to_owned()));
        for (text, code) in [
            (r#"{"error":"invalid_grant","error_description":"used"}"#, "invalid_grant"),
            (r#"{"error":{"message":"used","type":"OAuthException","code":100}}"#, "OAuthException"),
            (r#"{"error":{"message":"used","type":"invalid_grant","code":"E1"}}"#, "invalid_grant"),
            (r#"{"error":{"error":"invalid_grant","error_description":"used"}}"#, "invalid_grant"),
            (r#"{"errors":[{"code":"X1","detail":"used"}]}"#, "X1"),
            (r#"{"errors":["invalid_grant"],"message":"used"}"#, "invalid_grant"),
            (r#"{"error":true,"code":"invalid_grant","message":"used"}"#, "invalid_grant"),
            (r#"{"code":"invalid_grant","message":"used"}"#, "invalid_grant"),
            (r#"{"error":{"code":190,"message":"used"}}"#, "190"),
            (r#"{"message":"used"}"#, "status 400"),
        ] {
            assert_eq!(error(400, text), used(code), "{text}");
        }
        assert_eq!(error(200, r#"{"message":"used","code":"x"}"#), None, "no error by its status");
        assert_eq!(error(200, r#"{"error":{"message":"used","code":"x"}}"#), used("x"));
        assert_eq!(error(400, r#"{"a":1}"#), None);
    }
}
