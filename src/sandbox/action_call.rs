//! Parses the parameters of an action from a request, the inverse of `api`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::message::SandboxRequest;
use super::pattern::PathParams;
use crate::connector::{Action, ActionBody, ActionParam, Connector, ParamKind, ParamLocation};

/// A request to an action, taken apart.
pub(super) struct EmulatedActionCall<'a> {
    pub(super) connector: &'a Connector,
    pub(super) action: &'a Action,
    pub(super) request: &'a SandboxRequest,
    pub(super) path_params: &'a PathParams,
    /// The body as one document; null where there is none.
    pub(super) document: Value,
}

impl<'a> EmulatedActionCall<'a> {
    /// # Errors
    /// What is wrong with the body.
    pub(super) fn read(
        connector: &'a Connector,
        action: &'a Action,
        request: &'a SandboxRequest,
        captures: &'a PathParams,
    ) -> Result<Self, String> {
        let document = match connector.body_format(action) {
            ActionBody::None | ActionBody::Query => Value::Null,
            // What a GET has in its query, a POST has in its body.
            _ if request.body.is_empty() && connector.api.get_or_post => parse_nested_form(request.query.as_bytes()),
            _ if request.body.is_empty() => Value::Null,
            ActionBody::Json if request.is_form() => parse_nested_form(&request.body),
            ActionBody::Json => serde_json::from_slice(&request.body).map_err(|error| format!("no JSON: {error}"))?,
            ActionBody::Form => parse_nested_form(&request.body),
            ActionBody::Multipart => parts(request).ok_or("no multipart/form-data")?,
            ActionBody::Related => {
                let mut document = related(request).ok_or("no multipart/related of JSON and a file")?;
                for (name, param) in action.params.iter().filter(|(_, param)| param.kind == ParamKind::File) {
                    connector.wire_name(name, param).set(&mut document, json!("file"));
                }
                document
            }
        };
        Ok(Self { connector, action, request, path_params: captures, document })
    }

    /// What the request gives to a parameter; absent where it gives nothing.
    pub(super) fn value(&self, name: &str, param: &ActionParam) -> Option<Value> {
        let to = self.connector.wire_name(name, param);
        let label = to.tokens().next().unwrap_or_default();
        match self.connector.param_location(self.action, name, param) {
            None => self.path_params.get(name).map(|text| json!(text)),
            Some(ParamLocation::Query) => {
                let mut values = self.request.query_all(&label);
                if values.is_empty() && self.connector.api.get_or_post {
                    let params = self.request.call_params(true);
                    values.extend(params.get(&label).map(str::to_owned));
                }
                match (values.len(), param.kind) {
                    (0, _) => None,
                    (_, ParamKind::Array) => Some(json!(values)),
                    _ => Some(json!(values.swap_remove(0))),
                }
            }
            Some(ParamLocation::Header) => {
                let header = if param.to.is_some() { label } else { name.replace('_', "-") };
                self.request.header(&header).map(|text| json!(text))
            }
            Some(ParamLocation::Body) => to.find(&self.document).cloned(),
            Some(ParamLocation::Message) => {
                self.message().filter(|text| has_message_part(name, text)).map(Value::String)
            }
        }
    }

    /// The MIME message of the body.
    fn message(&self) -> Option<String> {
        let encoded = self.action.message.as_ref()?.text(&self.document)?;
        String::from_utf8(URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?).ok()
    }

    /// What the vendor would complain of; absent for a good request.
    pub(super) fn validation_error(&self) -> Option<String> {
        for (name, param) in &self.action.params {
            let value = self.value(name, param);
            if param.required && value.is_none() {
                return Some(format!("{name} is missing"));
            }
            if let Some(value) = value
                && let Some(problem) = self.type_error(name, param, &value)
            {
                return Some(problem);
            }
        }
        let there = |name: &String| self.action.params.get(name).is_some_and(|param| self.value(name, param).is_some());
        let unmet = self.action.one_of.iter().find(|group| !group.iter().any(there));
        unmet.map(|group| format!("one of {} is missing", group.join(", ")))
    }

    fn type_error(&self, name: &str, param: &ActionParam, value: &Value) -> Option<String> {
        if param.wrap.is_some() || param.each.is_some() || param.join.is_some() {
            return None;
        }
        let place = self.connector.param_location(self.action, name, param);
        // Only JSON says what is a number: elsewhere everything is text.
        let json = place == Some(ParamLocation::Body) && self.connector.body_format(self.action) == ActionBody::Json;
        let text = value.as_str();
        let fits = match param.kind {
            ParamKind::Integer if json => value.is_i64() || value.is_u64(),
            ParamKind::Integer => text.is_some_and(|text| text.parse::<i64>().is_ok()),
            ParamKind::Number if json => value.is_number(),
            ParamKind::Number => text.is_some_and(|text| text.parse::<f64>().is_ok()),
            ParamKind::Boolean if json => value.is_boolean(),
            ParamKind::Boolean => matches!(text, Some("true" | "false")),
            ParamKind::Array => value.is_array() || !json,
            ParamKind::Object => value.is_object() || !json,
            ParamKind::String if json => !value.is_array() && !value.is_object(),
            ParamKind::String | ParamKind::File | ParamKind::Files => true,
        };
        if !fits {
            return Some(format!("{name} is not of its type"));
        }
        let chosen =
            param.choices.is_empty() || text.is_none_or(|text| param.choices.iter().any(|known| known == text));
        (!chosen).then(|| format!("{name} is none of {}", param.choices.join(", ")))
    }

    /// Whether the constants of the action are in the body: what distinguishes actions of one path.
    pub(super) fn has_constants(&self) -> bool {
        let constants = Value::Object(self.action.fixed.clone().into_iter().collect());
        holds(&self.document, &constants)
    }
}

fn holds(document: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(members) => {
            members.iter().all(|(name, wanted)| document.get(name).is_some_and(|inner| holds(inner, wanted)))
        }
        // Forms write every value as text.
        wanted => document == wanted || document.as_str() == Some(&wanted.to_string()),
    }
}

/// Whether a message has a part: its header, or a body at all.
fn has_message_part(name: &str, message: &str) -> bool {
    let (head, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    match name {
        "text" | "html" | "attach" => !body.is_empty(),
        name => {
            let header = format!("{}:", name.replace('_', "-"));
            head.lines().any(|line| line.get(..header.len()).is_some_and(|start| start.eq_ignore_ascii_case(&header)))
        }
    }
}

/// A form's pairs as a document: `a[b]=c` is nested, `a[0]=b` and `a[]=b` an array.
fn parse_nested_form(encoded: &[u8]) -> Value {
    const DEEPEST: usize = 16;
    let mut document = json!({});
    for (name, value) in url::form_urlencoded::parse(encoded) {
        let (first, rest) = name.split_at(name.find('[').unwrap_or(name.len()));
        let brackets = rest.split('[').skip(1).map(|part| part.trim_end_matches(']'));
        let names: Vec<&str> = std::iter::once(first).chain(brackets).take(DEEPEST).collect();
        put(&mut document, &names, Value::String(value.into_owned()));
    }
    document
}

fn put(at: &mut Value, names: &[&str], value: Value) {
    let Some((name, rest)) = names.split_first() else {
        // A name that comes again makes an array of both.
        match at {
            Value::Null => *at = value,
            Value::Array(items) => items.push(value),
            before => *before = json!([before.take(), value]),
        }
        return;
    };
    let is_index = name.is_empty() || name.bytes().all(|byte| byte.is_ascii_digit());
    if is_index && !at.is_object() {
        if !at.is_array() {
            *at = json!([]);
        }
        let Value::Array(items) = at else { return };
        let index = name.parse().unwrap_or(items.len()).min(items.len());
        if index == items.len() {
            items.push(Value::Null);
        }
        put(&mut items[index], rest, value);
        return;
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    let Value::Object(members) = at else { return };
    put(members.entry((*name).to_owned()).or_insert(Value::Null), rest, value);
}

/// The parts of a multipart body: head and content.
fn split(request: &SandboxRequest) -> Option<Vec<(String, Vec<u8>)>> {
    let content_type = request.header("content-type")?;
    let boundary = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    let mark = format!("--{}", boundary.trim_matches('"'));
    let mut found = Vec::new();
    let body = [b"\r\n", request.body.as_slice()].concat();
    let mark = format!("\r\n{mark}");
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(next) = find(&body[at..], mark.as_bytes()) {
        starts.push(at + next);
        at += next + mark.len();
    }
    for pair in starts.windows(2) {
        let part = body.get(pair[0] + mark.len() + 2..pair[1])?;
        let end = find(part, b"\r\n\r\n")?;
        found.push((String::from_utf8_lossy(&part[..end]).into_owned(), part[end + 4..].to_vec()));
    }
    (!found.is_empty()).then_some(found)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// multipart/form-data as a document; a file is its name.
fn parts(request: &SandboxRequest) -> Option<Value> {
    let mut document = json!({});
    for (head, content) in split(request)? {
        let attribute = |name: &str| {
            let start = head.find(&format!("; {name}=\""))? + name.len() + 4;
            Some(head[start..].split('"').next().unwrap_or_default().to_owned())
        };
        let value = attribute("filename").unwrap_or_else(|| String::from_utf8_lossy(&content).into_owned());
        document[attribute("name")?] = Value::String(value);
    }
    Some(document)
}

/// The JSON of multipart/related that has a file beside it.
fn related(request: &SandboxRequest) -> Option<Value> {
    let parts = split(request)?;
    let [(_, json), (_, _)] = parts.as_slice() else { return None };
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_nest_by_their_brackets() {
        assert_eq!(
            parse_nested_form(b"a=1&m%5Bx%5D=y&items%5B0%5D%5Bp%5D=q&items%5B1%5D%5Bp%5D=r&l%5B%5D=s&u=1&u=2"),
            json!({"a": "1", "m": {"x": "y"}, "items": [{"p": "q"}, {"p": "r"}], "l": ["s"], "u": ["1", "2"]})
        );
    }

    proptest! {
        #[test]
        fn no_form_panics(text in ".{0,80}") {
            let _ = parse_nested_form(text.as_bytes());
        }

        #[test]
        fn no_multipart_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let body = [b"--B\r\n".as_slice(), &body, b"\r\n--B--\r\n"].concat();
            let headers = vec![("content-type".to_owned(), "multipart/form-data; boundary=B".to_owned())];
            let request = SandboxRequest {
                method: crate::http::serve::Method::POST,
                path: "/".to_owned(),
                query: String::new(),
                headers,
                body,
            };
            let _ = (parts(&request), related(&request));
        }
    }
}
