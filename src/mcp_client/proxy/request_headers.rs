//! The headers that mirror a message of revision 2026-07-28 (Streamable HTTP, "Request Metadata"). Pure.

use std::collections::HashSet;

use base64::Engine;
use serde_json::Value;

use super::envelope::{Envelope, MessageKind};

/// The keyword of a tool's schema that asks for a header.
const ANNOTATION: &str = "x-mcp-header";

/// An argument of a tool that travels in a header as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParamHeader {
    /// The names of the properties that lead to it.
    path: Vec<String>,
    header: String,
}

/// The standard headers of a message that names its revision; none for a message of a session.
pub(super) fn standard_headers(message: &Envelope) -> Vec<(String, String)> {
    let Some(revision) = message.revision.as_ref().filter(|_| message.kind != MessageKind::Response) else {
        return Vec::new();
    };
    let mut headers = vec![
        ("mcp-protocol-version".to_owned(), header_value(revision)),
        ("mcp-method".to_owned(), header_value(&message.method)),
    ];
    let is_named = matches!(message.method.as_str(), "tools/call" | "resources/read" | "prompts/get");
    if let Some(target) = message.target.as_ref().filter(|_| is_named) {
        headers.push(("mcp-name".to_owned(), header_value(target)));
    }
    headers
}

/// The value as a header carries it: as it is, or as Base64 if it is not a plain text.
pub(super) fn header_value(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim() == text;
    if is_plain && !(text.starts_with("=?base64?") && text.ends_with("?=")) {
        return text.to_owned();
    }
    format!("=?base64?{}?=", base64::engine::general_purpose::STANDARD.encode(text))
}

/// The headers that a tool's input schema asks for.
///
/// # Errors
/// Why the tool must not be used: an annotation that the specification forbids.
pub(super) fn param_headers(tool: &Value) -> Result<Vec<ParamHeader>, String> {
    let mut headers = Vec::new();
    if let Some(schema) = tool.get("inputSchema") {
        collect(schema, &mut Vec::new(), true, &mut headers)?;
    }
    let mut names = HashSet::new();
    match headers.iter().find(|param| !names.insert(param.header.to_ascii_lowercase())) {
        Some(twice) => Err(format!("two parameters ask for the header {}", twice.header)),
        None => Ok(headers),
    }
}

fn collect(
    schema: &Value,
    path: &mut Vec<String>,
    is_reachable: bool,
    headers: &mut Vec<ParamHeader>,
) -> Result<(), String> {
    let Value::Object(members) = schema else {
        let items = schema.as_array().map(Vec::as_slice).unwrap_or_default();
        return items.iter().try_for_each(|item| collect(item, path, false, headers));
    };
    if let Some(annotation) = members.get(ANNOTATION) {
        if !is_reachable || path.is_empty() {
            return Err(format!("an {ANNOTATION} is at a place that no chain of properties leads to"));
        }
        headers.push(ParamHeader { path: path.clone(), header: header_name(annotation, members.get("type"))? });
    }
    for (name, value) in members {
        match (name.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (property, schema) in properties {
                    path.push(property.clone());
                    collect(schema, path, is_reachable, headers)?;
                    path.pop();
                }
            }
            ("patternProperties" | "$defs" | "definitions" | "dependentSchemas", Value::Object(schemas)) => {
                schemas.values().try_for_each(|schema| collect(schema, path, false, headers))?;
            }
            // Values, not schemas.
            ("default" | "const" | "enum" | "examples" | ANNOTATION, _) => {}
            _ => collect(value, path, false, headers)?,
        }
    }
    Ok(())
}

fn header_name(annotation: &Value, kind: Option<&Value>) -> Result<String, String> {
    let is_token = |name: &&str| {
        let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.bytes().all(is_tchar)
    };
    let name = annotation.as_str().filter(is_token).ok_or_else(|| format!("{annotation} is not a header's name"))?;
    let is_primitive = |kind: &Value| matches!(kind.as_str(), Some("string" | "integer" | "boolean"));
    let is_taken = match kind {
        Some(Value::Array(kinds)) => kinds.iter().all(|kind| is_primitive(kind) || kind == "null"),
        kind => kind.is_some_and(is_primitive),
    };
    if is_taken {
        Ok(name.to_owned())
    } else {
        Err(format!("the parameter of {name} is no string, integer or boolean"))
    }
}

/// The headers of a call with these arguments.
pub(super) fn argument_headers(params: &[ParamHeader], arguments: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(header_value(text)),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let header = |param: &ParamHeader| {
        let value = param.path.iter().try_fold(arguments, |at, name| at.as_object()?.get(name))?;
        Some((format!("mcp-param-{}", param.header.to_ascii_lowercase()), text(value)?))
    };
    params.iter().filter_map(header).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_encoded_as_the_specification_shows() {
        for (value, encoded) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(header_value(value), encoded);
        }
    }

    #[test]
    fn only_messages_that_name_their_revision_have_headers() {
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        let headers = |text: &str| standard_headers(&Envelope::parse(text).unwrap());
        let call = headers(&format!(r#"{{"id":1,"method":"tools/call","params":{{"name":"é",{meta}}}}}"#));
        let expected =
            [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "=?base64?w6k=?=")];
        assert_eq!(call, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let read = headers(&format!(r#"{{"id":1,"method":"resources/read","params":{{"uri":"file:///a",{meta}}}}}"#));
        assert_eq!(read[2], ("mcp-name".to_owned(), "file:///a".to_owned()));
        assert_eq!(headers(&format!(r#"{{"id":1,"method":"x","params":{{"name":"n",{meta}}}}}"#)).len(), 2);
        assert!(headers(r#"{"id":1,"method":"tools/call","params":{"name":"a"}}"#).is_empty());
    }

    fn tool(schema: &Value) -> Result<Vec<ParamHeader>, String> {
        param_headers(&json!({ "name": "t", "inputSchema": schema }))
    }

    #[test]
    fn annotated_arguments_become_headers() {
        let params = tool(&json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "at": { "type": "object", "properties": { "row": { "type": ["integer", "null"], "x-mcp-header": "Row" } } },
            "dry": { "type": "boolean", "x-mcp-header": "Dry" },
            // A property of this name is not an annotation.
            "x-mcp-header": { "type": "string" },
        }, "examples": [{ "x-mcp-header": 1 }] }))
        .unwrap();
        let headers = argument_headers(&params, &json!({ "region": "zürich", "at": { "row": 42 }, "dry": true }));
        let expected = [("region", "=?base64?esO8cmljaA==?="), ("row", "42"), ("dry", "true")];
        let expected = expected.map(|(name, value)| (format!("mcp-param-{name}"), value.to_owned()));
        assert_eq!(headers.iter().collect::<HashSet<_>>(), expected.iter().collect());
        assert!(argument_headers(&params, &json!({ "region": null, "at": 5, "other": 1 })).is_empty());
        assert!(tool(&json!({ "type": "object" })).unwrap().is_empty());
    }

    #[test]
    fn annotations_that_the_specification_forbids_are_found() {
        let one = |schema: Value| json!({ "properties": { "a": schema } });
        for schema in [
            one(json!({ "type": "string", "x-mcp-header": "" })),
            one(json!({ "type": "string", "x-mcp-header": "a b" })),
            one(json!({ "type": "string", "x-mcp-header": 1 })),
            one(json!({ "type": "number", "x-mcp-header": "A" })),
            one(json!({ "x-mcp-header": "A" })),
            one(json!({ "type": "array", "items": { "type": "string", "x-mcp-header": "A" } })),
            one(json!({ "anyOf": [{ "type": "string", "x-mcp-header": "A" }] })),
            json!({ "type": "string", "x-mcp-header": "A" }),
            json!({ "$defs": { "d": { "properties": { "a": { "type": "string", "x-mcp-header": "A" } } } } }),
            json!({ "properties": { "a": { "type": "string", "x-mcp-header": "A" }, "b": { "type": "string", "x-mcp-header": "a" } } }),
        ] {
            assert!(tool(&schema).is_err(), "{schema}");
        }
    }
}
