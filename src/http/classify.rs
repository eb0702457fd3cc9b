//! Classifies responses by the connector's rules, then by HTTP status. Pure.

use std::borrow::Cow;
use std::cell::LazyCell;

use serde_json::Value;

use super::Response;
use crate::connector::{ErrorClass, ErrorRule};
use crate::json::Json;

/// The class of an answer; absent for a success that no rule speaks against.
pub fn classify(rules: &[ErrorRule], response: &Response) -> Option<ErrorClass> {
    // Some vendors refuse in plain text: it counts as a JSON string. A page of records is read for a rule that asks alone.
    let text = LazyCell::new(|| {
        let text = response.text().unwrap_or_else(|_| String::from_utf8_lossy(&response.body));
        if Json::validate(&text).is_ok() { text } else { Cow::Owned(Value::from(text.into_owned()).to_string()) }
    });
    let fits = |rule: &&ErrorRule| {
        (rule.status.is_empty() || rule.status.contains(&response.status))
            && rule
                .headers
                .iter()
                .all(|(name, want)| response.header(name).is_some_and(|got| want == "*" || got == want))
            && rule.body.iter().all(|(at, wants)| {
                at.find_in(Json::from_validated(&text))
                    .is_some_and(|got| wants.iter().any(|want| matches_value(got, want)))
            })
    };
    if let Some(rule) = rules.iter().find(fits) {
        return Some(rule.class);
    }
    match response.status {
        200..=299 => None,
        401 => Some(ErrorClass::Auth),
        403 => Some(ErrorClass::Permission),
        404 => Some(ErrorClass::NotFound),
        429 => Some(ErrorClass::RateLimit),
        408 | 425 | 500.. => Some(ErrorClass::Retry),
        _ => Some(ErrorClass::Fail),
    }
}

fn matches_value(got: Json<'_>, want: &Value) -> bool {
    match (got.string(), want.as_str().and_then(|want| want.strip_suffix('*'))) {
        (Some(got), Some(start)) => got.starts_with(start),
        _ => got.equals(want),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Rules {
        errors: Vec<ErrorRule>,
    }

    #[test]
    fn the_first_rule_that_fits_wins_over_the_status() {
        let rules = r#"
            [[errors]]
            class = "rate_limit"
            status = [403]
            headers = { x-ratelimit-remaining = "0" }
            [[errors]]
            class = "auth"
            body = { "/error" = ["token_revoked", "invalid_*"] }
        "#;
        let rules = Rules::deserialize(toml::Deserializer::parse(rules).unwrap()).unwrap().errors;
        let class = |status, headers: &[(&str, &str)], body: &str| {
            classify(&rules, &Response::new(status, headers, body.as_bytes()))
        };
        assert_eq!(class(403, &[("X-RateLimit-Remaining", "0")], ""), Some(ErrorClass::RateLimit));
        assert_eq!(class(403, &[], ""), Some(ErrorClass::Permission));
        assert_eq!(class(200, &[], r#"{"error":"invalid_auth"}"#), Some(ErrorClass::Auth));
        assert_eq!(class(200, &[], r#"{"ok":true}"#), None);
        assert_eq!(class(503, &[], "<html>"), Some(ErrorClass::Retry));
    }
}
