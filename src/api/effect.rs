//! What a request to a path does at a service, before it is sent. Pure.

use serde_json::Value;

use crate::connector::{Action, Connector, HttpMethod};
use crate::model::Effect;

/// Headers by which frameworks let a request have another method.
const OVERRIDE_HEADERS: &[&str] =
    &["x-http-method-override", "x-http-method", "x-method-override", "x-original-method"];

/// Parameters by which frameworks do.
const OVERRIDE_PARAMETERS: &[&str] = &["_method", "_httpmethod", "x-http-method-override", "x-http-method"];

const METHODS: &[&str] = &["get", "head", "post", "put", "patch", "delete", "options", "trace", "connect"];

/// Returns what a request may do at the service. One that may be anything destroys.
pub fn path_effect(connector: &Connector, method: HttpMethod, path: &str) -> Effect {
    known_effect(connector, method, path).unwrap_or(Effect::Destroy)
}

/// Returns what a request does at the service, if that is known: only GET and HEAD read, DELETE destroys, and a request for a
/// declared action has that action's effect.
pub fn known_effect(connector: &Connector, method: HttpMethod, path: &str) -> Option<Effect> {
    match method {
        HttpMethod::Get | HttpMethod::Head => return Some(Effect::Read),
        HttpMethod::Delete => return Some(Effect::Destroy),
        HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch => {}
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let actions = connector.actions.values().filter(|action| action.method == method);
    let declared = actions.filter(|action| matches_path(&action.path.to_string(), path)).map(Action::effect);
    declared.max()
}

/// Whether a path is one of a template: each segment is the same, or a placeholder's.
fn matches_path(template: &str, path: &str) -> bool {
    let segments = |text: &str| text.trim_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
    let (template, path) = (segments(template), segments(path));
    // A placeholder at the beginning may be a whole URL.
    let is_plain = |segment: &String| !segment.is_empty();
    template.len() == path.len()
        && template.iter().zip(&path).all(|(known, given)| known == given || (known.contains('{') && is_plain(given)))
        && template.iter().any(|known| !known.contains('{'))
}

/// Returns the name of the header or parameter by which a request asks to be taken as one with another method.
pub fn method_override<'a>(
    headers: impl IntoIterator<Item = &'a str>,
    query: &str,
    content_type: &str,
    body: &[u8],
) -> Option<String> {
    let header = headers.into_iter().find(|name| OVERRIDE_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known)));
    if let Some(header) = header {
        return Some(header.to_owned());
    }
    if let Some(name) = in_form(query.as_bytes()) {
        return Some(name);
    }
    let content_type = content_type.to_ascii_lowercase();
    if content_type.contains("json") {
        let document: Value = serde_json::from_slice(body).ok()?;
        return document.as_object()?.keys().find(|name| is_override(name)).cloned();
    }
    if content_type.starts_with("multipart/") {
        let text = String::from_utf8_lossy(body).to_ascii_lowercase();
        let named =
            |name: &&&str| text.contains(&format!("name=\"{name}\"")) || text.contains(&format!("name={name}\r"));
        return OVERRIDE_PARAMETERS.iter().find(named).map(|name| (*name).to_owned());
    }
    in_form(body)
}

fn in_form(text: &[u8]) -> Option<String> {
    let is_named = |name: &str, value: &str| {
        is_override(name)
            || (name.eq_ignore_ascii_case("method") && METHODS.contains(&value.to_ascii_lowercase().as_str()))
    };
    let mut pairs = url::form_urlencoded::parse(text);
    pairs.find(|(name, value)| is_named(name, value)).map(|(name, _)| name.into_owned())
}

fn is_override(name: &str) -> bool {
    OVERRIDE_PARAMETERS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undeclared_request_destroys() {
        let connector = crate::connector::Catalogue::new(std::path::Path::new("/nonexistent")).get("slack").unwrap();
        let effect = |method, path| path_effect(&connector, method, path);
        assert_eq!(effect(HttpMethod::Get, "/chat.delete"), Effect::Read);
        assert_eq!(effect(HttpMethod::Head, "/any"), Effect::Read);
        assert_eq!(effect(HttpMethod::Post, "/chat.postMessage?x=1"), Effect::Write);
        assert_eq!(effect(HttpMethod::Post, "chat.delete"), Effect::Destroy);
        assert_eq!(effect(HttpMethod::Post, "/files.delete"), Effect::Destroy);
        assert_eq!(effect(HttpMethod::Put, "/chat.postMessage"), Effect::Destroy);
        assert_eq!(effect(HttpMethod::Delete, "/chat.postMessage"), Effect::Destroy);
        assert!(matches_path("/a/{id}/b", "/a/1/b") && !matches_path("/a/{id}/b", "/a/1/c"));
        assert!(!matches_path("/a/{id}", "/a/") && !matches_path("{url}", "/a"));
    }

    #[test]
    fn another_method_is_found_wherever_it_is_asked_for() {
        let found = |header: &str, query: &str, kind: &str, body: &str| {
            method_override([header], query, kind, body.as_bytes()).unwrap_or_default()
        };
        assert_eq!(found("X-HTTP-Method-Override", "", "", ""), "X-HTTP-Method-Override");
        assert_eq!(found("x-http-method", "", "", ""), "x-http-method");
        assert_eq!(found("accept", "a=1&_method=DELETE", "", ""), "_method");
        assert_eq!(found("accept", "%5Fmethod=DELETE", "", ""), "_method");
        assert_eq!(found("accept", "method=delete", "", ""), "method");
        assert_eq!(found("accept", "method=card", "", ""), "");
        let form = "application/x-www-form-urlencoded";
        assert_eq!(found("accept", "", form, "a=1&_method=delete"), "_method");
        assert_eq!(found("accept", "", "application/json; charset=utf-8", r#"{"_method": "DELETE"}"#), "_method");
        assert_eq!(found("accept", "", "application/json", r#"{"a": {"_method": 1}}"#), "");
        assert_eq!(found("accept", "", "multipart/form-data; boundary=x", "--x\r\nname=\"_method\"\r\n"), "_method");
    }
}
