//! The page of the API's description at `/docs`. It is written from the OpenAPI document and works without a network.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::http::html::{document, escape};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Returns the page.
pub(super) fn page(openapi: &Value) -> String {
    let mut groups: BTreeMap<&str, String> = BTreeMap::new();
    for (path, item) in openapi["paths"].as_object().into_iter().flatten() {
        for method in METHODS {
            let operation = &item[method];
            if operation.is_null() {
                continue;
            }
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            entry(groups.entry(tag).or_default(), method, path, operation, openapi);
        }
    }
    let mut body = "<span class=\"name\">integ</span><h1>HTTP API</h1>\
                    <p>Send <b>Authorization: Bearer integ_…</b> with each request; <b>integ api-token create</b> prints one. \
                    Failures are problem details (RFC 9457). The machine-readable description is <a href=\"openapi.json\">openapi.json</a>.</p>"
        .to_owned();
    for (tag, entries) in groups {
        let _ = write!(body, "<h2>{}</h2>{entries}", escape(tag));
    }
    document("integ HTTP API", &body)
}

fn entry(out: &mut String, method: &str, path: &str, operation: &Value, openapi: &Value) {
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let _ = write!(
        out,
        "<details><summary><b>{} {}</b><br>{}</summary><p>{}</p>",
        method.to_ascii_uppercase(),
        escape(path),
        text(&operation["summary"]),
        emphasized(&text(&operation["description"])),
    );
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        out.push_str("<ul>");
        for parameter in parameters {
            let place = parameter["in"].as_str().unwrap_or_default();
            let _ = write!(
                out,
                "<li><b>{}</b> ({}): {}</li>",
                text(&parameter["name"]),
                escape(place),
                text(&parameter["description"])
            );
        }
        out.push_str("</ul>");
    }
    let reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
    if let Some(body) = reference.and_then(|reference| openapi.pointer(reference.trim_start_matches('#'))) {
        let _ =
            write!(out, "<p>Body</p><pre>{}</pre>", escape(&serde_json::to_string_pretty(body).unwrap_or_default()));
    }
    out.push_str("</details>");
}

/// Shows in bold what is between backticks, in a text that is escaped already.
fn emphasized(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    pieces.map(|(at, piece)| if at % 2 == 1 { format!("<b>{piece}</b>") } else { piece.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_backticks_are_bold() {
        assert_eq!(emphasized("Needs `a:read`. Like `integ b`."), "Needs <b>a:read</b>. Like <b>integ b</b>.");
    }
}
