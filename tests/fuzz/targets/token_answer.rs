//! The token endpoint's answer, under the rules of each built-in connector. The first byte says which, the second the
//! status and content type.
#![no_main]

use std::sync::LazyLock;

use integ::clock::Timestamp;
use integ::connector::{BUILT_IN, Connector, parse};
use integ::http::Response;
use integ::oauth::quirks::{TokenRequestKind, normalize_response, parse_tokens};
use libfuzzer_sys::fuzz_target;

static CONNECTORS: LazyLock<Vec<Connector>> =
    LazyLock::new(|| BUILT_IN.iter().filter_map(|(_, text)| parse(text).ok()).collect());

fuzz_target!(|data: &[u8]| {
    let [which, form, body @ ..] = data else { return };
    let connector = &CONNECTORS[usize::from(*which) % CONNECTORS.len()];
    let status = [200, 201, 400, 401, 403, 429, 500, 302][usize::from(form & 7)];
    let kind = ["application/json", "application/x-www-form-urlencoded", "text/plain", "text/html"][usize::from(form >> 3 & 3)];
    let response = Response::new(status, &[("content-type", kind)], body);
    for rules in connector.auth.values().filter_map(|auth| auth.oauth2.as_ref()) {
        for purpose in [TokenRequestKind::InitialGrant, TokenRequestKind::Refresh] {
            let Ok((status, document)) = normalize_response(rules, &connector.rate, purpose, &response, Timestamp::UNIX_EPOCH) else {
                continue;
            };
            if status == 200
                && let Ok(parse_tokens) = parse_tokens(rules, purpose, &document)
            {
                let token = parse_tokens.access_token.expose();
                assert!(!token.chars().any(|c| c.is_control() || c.is_whitespace()), "a token that forges a header");
            }
        }
    }
});
