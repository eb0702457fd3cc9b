//! What a request to a path does at a service, before it is sent. Pure.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::connector::{Action, Connector, HttpMethod, Stream, Template};
use crate::model::Effect;

/// Headers by which frameworks let a request have another method or another path. Some servers read `_` as `-`.
const OVERRIDE_HEADERS: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-rewrite-url",
];

/// Parameters by which frameworks do.
const OVERRIDE_PARAMETERS: &[&str] = &["_method", "_httpmethod", "x-http-method-override", "x-http-method"];

const METHODS: &[&str] = &["get", "head", "post", "put", "patch", "delete", "options", "trace", "connect"];

/// Returns what a request may do at the service. One that may be anything destroys.
pub fn path_effect(connector: &Connector, method: HttpMethod, path: &str) -> Effect {
    known_effect(connector, method, path).unwrap_or(Effect::Destroy)
}

/// Returns what a request does at the service, if that is known: a request for a declared action has that action's effect,
/// DELETE destroys, and GET and HEAD read. Where each call can be a GET or a POST, the method says nothing.
pub fn known_effect(connector: &Connector, method: HttpMethod, path: &str) -> Option<Effect> {
    if method == HttpMethod::Delete {
        return Some(Effect::Destroy);
    }
    let (is_get, is_either) = (matches!(method, HttpMethod::Get | HttpMethod::Head), connector.api.get_or_post);
    let is_method = |known: HttpMethod| match known {
        HttpMethod::Get => is_get || (is_either && method == HttpMethod::Post),
        HttpMethod::Post => method == HttpMethod::Post || (is_either && is_get),
        known => known == method,
    };
    let actions = connector.actions.values().filter(|action| is_method(action.method));
    if is_get && !is_either && actions.clone().all(|action| action.effect() == Effect::Read) {
        return Some(Effect::Read);
    }
    let segments = plain_segments(path)?;
    let fits = |template: &Template| matches_path(&template.to_string(), &segments);
    let declared = actions.filter(|action| fits(&action.path)).map(Action::effect).max();
    let mut listed = connector.streams.values().flat_map(Stream::paths);
    let is_health_check = connector.health.as_ref().is_some_and(|health| fits(&health.path));
    let reads = is_get && (!is_either || is_health_check || listed.any(fits));
    declared.or(reads.then_some(Effect::Read))
}

/// The segments of a path as a service reads them; `None` for a whole URL, and for a path that a parser of URLs or a service
/// may take for another one.
fn plain_segments(path: &str) -> Option<Vec<String>> {
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
    let segment = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().ok()?;
        let is_odd = decoded.contains(['/', '\\', ';', '%']) || decoded.contains(char::is_control);
        (!is_odd && !matches!(&*decoded, "" | "." | "..")).then(|| decoded.into_owned())
    };
    path.split('/').map(segment).collect()
}

/// Whether a path is one of a template: each segment is the same but for its placeholders.
fn matches_path(template: &str, path: &[String]) -> bool {
    let known: Vec<&str> = template.trim_matches('/').split('/').collect();
    known.len() == path.len()
        && known.iter().zip(path).all(|(known, given)| matches_segment(known, given))
        // A placeholder alone may be a whole URL.
        && known.iter().any(|known| !known.contains('{'))
}

/// Whether a segment begins and ends as a template does around its placeholders.
fn matches_segment(template: &str, segment: &str) -> bool {
    match (template.split_once('{'), template.rsplit_once('}')) {
        (Some((before, _)), Some((_, after))) => {
            segment.len() > before.len() + after.len() && segment.starts_with(before) && segment.ends_with(after)
        }
        _ => template == segment,
    }
}

/// Returns the name of the header or parameter by which a request asks to be taken as one with another method.
pub fn method_override<'a>(
    headers: impl IntoIterator<Item = &'a str>,
    query: &str,
    content_type: &str,
    body: &[u8],
) -> Option<String> {
    let is_known = |name: &str| OVERRIDE_HEADERS.contains(&name.to_ascii_lowercase().replace('_', "-").as_str());
    if let Some(header) = headers.into_iter().find(|name| is_known(name)) {
        return Some(header.to_owned());
    }
    if let Some(name) = in_form(query.as_bytes()) {
        return Some(name);
    }
    let content_type = content_type.to_ascii_lowercase();
    if content_type.contains("json") {
        let MemberList(members) = serde_json::from_slice(body).ok()?;
        let mut members = members.into_iter();
        return members.find(|(name, value)| is_override(name, value.as_str())).map(|(name, _)| name);
    }
    if content_type.starts_with("multipart/") {
        let text = String::from_utf8_lossy(body).to_ascii_lowercase();
        let is_named =
            |name: &str| text.contains(&format!("name=\"{name}\"")) || text.contains(&format!("name={name}\r"));
        let has_method = || METHODS.iter().any(|method| text.contains(&format!("\r\n\r\n{method}\r\n")));
        let named = OVERRIDE_PARAMETERS.iter().find(|name| is_named(name)).copied();
        return named.or((is_named("method") && has_method()).then_some("method")).map(str::to_owned);
    }
    in_form(body)
}

/// The members of a JSON object, also those of the same name: which of them counts is the service's choice.
struct MemberList(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for MemberList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = MemberList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(MemberList(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn in_form(text: &[u8]) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(text);
    pairs.find(|(name, value)| is_override(name, Some(value))).map(|(name, _)| name.into_owned())
}

/// Whether a parameter asks for another method. Some services take `method=delete`, which elsewhere is a value like any other.
fn is_override(name: &str, value: Option<&str>) -> bool {
    let is_method = |value: &str| METHODS.contains(&value.to_ascii_lowercase().as_str());
    OVERRIDE_PARAMETERS.iter().any(|known| name.eq_ignore_ascii_case(known))
        || (name.eq_ignore_ascii_case("method") && value.is_some_and(is_method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undeclared_request_destroys() {
        let catalogue = crate::connector::Catalogue::new(std::path::Path::new("/nonexistent"));
        let connector = catalogue.get("slack").unwrap();
        let effect = |method, path| path_effect(&connector, method, path);
        assert_eq!(effect(HttpMethod::Post, "/chat.postMessage?x=1"), Effect::Write);
        assert_eq!(effect(HttpMethod::Post, "chat.delete"), Effect::Destroy);
        assert_eq!(effect(HttpMethod::Post, "/files.delete"), Effect::Destroy);
        assert_eq!(effect(HttpMethod::Put, "/chat.postMessage"), Effect::Destroy);
        assert_eq!(effect(HttpMethod::Delete, "/chat.postMessage"), Effect::Destroy);
        // Slack takes each call as a GET, too.
        for method in [HttpMethod::Get, HttpMethod::Head] {
            assert_eq!(effect(method, "/chat.postMessage"), Effect::Write);
            assert_eq!(effect(method, "/conversations.list?limit=1"), Effect::Read);
            assert_eq!(effect(method, "/auth.test"), Effect::Read);
            for path in
                ["/chat.delete", "/chat%2Edelete", "/a/../chat.delete", "/files.delete", "https://slack.com/api/x"]
            {
                assert_eq!(effect(method, path), Effect::Destroy, "{path}");
            }
        }
        let connector = catalogue.get("github").unwrap();
        assert_eq!(path_effect(&connector, HttpMethod::Get, "/a/../chat.delete"), Effect::Read);
    }

    #[test]
    fn a_path_is_declared_only_if_it_means_what_it_says() {
        let fits = |template: &str, path: &str| plain_segments(path).is_some_and(|path| matches_path(template, &path));
        for path in ["/a/1/b", "a/1/b/", "/a/%31/b?c=/../d", "/%61/x%20y/b#c"] {
            assert!(fits("/a/{id}/b", path), "{path}");
        }
        for path in [
            "/a/1/c",
            "/a//b",
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/..\\c/b",
            "/a/.\t./b",
            "/a/..;/b",
            "/a/1%2Fc/b",
            "/a/%252e%252e/b",
            "https://x.example/a/1/b",
        ] {
            assert!(!fits("/a/{id}/b", path), "{path}");
        }
        assert!(fits("/sheets/{id}/{range}:append", "/sheets/1/A1:B2:append"));
        assert!(!fits("/sheets/{id}/{range}:append", "/sheets/1/A1:B2:clear"));
        assert!(!fits("{url}", "/a"));
    }

    #[test]
    fn another_method_is_found_wherever_it_is_asked_for() {
        let found = |header: &str, query: &str, kind: &str, body: &str| {
            method_override([header], query, kind, body.as_bytes()).unwrap_or_default()
        };
        assert_eq!(found("X-HTTP-Method-Override", "", "", ""), "X-HTTP-Method-Override");
        assert_eq!(found("x-http-method", "", "", ""), "x-http-method");
        assert_eq!(found("X_HTTP_Method_Override", "", "", ""), "X_HTTP_Method_Override");
        assert_eq!(found("X-Original-URL", "", "", ""), "X-Original-URL");
        assert_eq!(found("accept", "a=1&_method=DELETE", "", ""), "_method");
        assert_eq!(found("accept", "%5Fmethod=DELETE", "", ""), "_method");
        assert_eq!(found("accept", "method=delete", "", ""), "method");
        assert_eq!(found("accept", "method=card", "", ""), "");
        let form = "application/x-www-form-urlencoded";
        assert_eq!(found("accept", "", form, "a=1&_method=delete"), "_method");
        assert_eq!(found("accept", "", "application/json; charset=utf-8", r#"{"_method": "DELETE"}"#), "_method");
        assert_eq!(found("accept", "", "application/json", r#"{"a": {"_method": 1}}"#), "");
        assert_eq!(found("accept", "", "application/json", r#"{"method": "DELETE"}"#), "method");
        assert_eq!(found("accept", "", "application/json", r#"{"method": "card"}"#), "");
        assert_eq!(found("accept", "", "application/json", r#"{"method": "DELETE", "method": "card"}"#), "method");
        let multipart = "multipart/form-data; boundary=x";
        assert_eq!(found("accept", "", multipart, "--x\r\nname=\"_method\"\r\n"), "_method");
        assert_eq!(found("accept", "", multipart, "--x\r\nname=\"method\"\r\n\r\nDELETE\r\n"), "method");
        assert_eq!(found("accept", "", multipart, "--x\r\nname=\"method\"\r\n\r\ncard\r\n"), "");
    }
}
