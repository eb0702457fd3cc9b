//! Adapts standard OAuth to the vendor: rewrites requests to the vendor's format, and responses from it.
//!
//! Pure. Above this module there is only RFC 6749: a form request, and a JSON answer with `access_token`, or with `error`
//! and a status of 400. Bodies that are JSON or forms, tokens in odd places, `200` with an error inside, lifetimes as
//! strings: all of that ends here.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::lifetime::parse_seconds;
use super::token_response::{find_error, parse};
use super::{ErrorDescription, OAuthError, Tokens};
use crate::clock::Timestamp;
use crate::connector::{BodyFormat, OAuth2, Pointer, RateLimits, TokenResponseShape, scopes};
use crate::http::Response;
use crate::secret::Secret;

/// What a request to the token endpoint is for; answers to a refresh may be shaped otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRequestKind {
    InitialGrant,
    Refresh,
}

/// The body of a token request as the vendor takes it: content type and bytes.
pub fn encode_body(rules: &OAuth2, form: &[u8]) -> (&'static str, Vec<u8>) {
    match rules.token_body {
        BodyFormat::Form => ("application/x-www-form-urlencoded", form.to_vec()),
        BodyFormat::Json => {
            let members: Map<String, Value> = url::form_urlencoded::parse(form)
                .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
                .collect();
            ("application/json", Value::Object(members).to_string().into_bytes())
        }
    }
}

/// What the service answered, in the words of the standard: status 200 or 400 and a JSON body (RFC 6749 section 5).
///
/// # Errors
/// [`OAuthError::ServerUnavailable`] for what says nothing of the grant, [`OAuthError::MalformedResponse`] for what is no OAuth answer.
pub fn normalize_response(
    rules: &OAuth2,
    rate: &RateLimits,
    purpose: TokenRequestKind,
    response: &Response,
    now: Timestamp,
) -> Result<(u16, Value), OAuthError> {
    let malformed = |why: String| OAuthError::MalformedResponse { endpoint: "the token endpoint", reason: why };
    if matches!(response.status, 408 | 425 | 429 | 500..) {
        return Err(OAuthError::ServerUnavailable {
            status: response.status,
            retry_after: response.retry_after(rate, now),
        });
    }
    let Some(document) = parse(response) else {
        let kind = response.header("content-type").unwrap_or("no content type");
        return Err(malformed(format!("status {} with neither JSON nor a form ({kind})", response.status)));
    };
    let answer = &rules.answer;
    let succeeded = response.is_success() && answer.success.iter().all(|(at, want)| at.find(&document) == Some(want));
    let is_known = |code: &str| is_invalid_grant(rules, code);
    let error = find_error(answer, &document, response.status, is_known);
    if let Some(error) = error.filter(|_| !succeeded || !has_token(answer, purpose, &document)) {
        let mut standard = json!({ "error": error.code });
        if let Some(description) = error.description {
            standard["error_description"] = Value::String(description);
        }
        // A device's polling is steered by the answer: its interval travels on.
        return Ok((400, standard));
    }
    if !succeeded {
        return Err(malformed(format!("status {} without an error code", response.status)));
    }
    Ok((200, with_lifetime(answer, document, response.date().unwrap_or(now))))
}

/// The answer with the lifetime of its token in seconds, where it says when the token ends. The server's clock decides.
fn with_lifetime(answer: &TokenResponseShape, mut document: Value, now: Timestamp) -> Value {
    let Some(end) = answer.expires_at.as_ref().and_then(|at| at.find(&document)) else { return document };
    let end = match end {
        Value::String(text) => text.parse().ok().or_else(|| Timestamp::from_second(text.parse().ok()?).ok()),
        Value::Number(number) => number.as_f64().and_then(unix_time),
        _ => None,
    };
    if let Some(end) = end.filter(|_| answer.expires_in.find(&document).is_none()) {
        answer.expires_in.set(&mut document, json!(end.as_second() - now.as_second()));
    }
    document
}

/// A time in Unix seconds, or in milliseconds, which no time of this century could be in seconds.
fn unix_time(number: f64) -> Option<Timestamp> {
    const FIRST_MILLISECONDS: f64 = 1e11;
    let seconds = if number >= FIRST_MILLISECONDS { number / 1000.0 } else { number };
    #[expect(clippy::cast_possible_truncation, reason = "a time out of range is none")]
    Timestamp::from_second(seconds as i64).ok()
}

/// The code and the words of an answer whose status alone refuses, in whatever shape it is.
pub fn refusal(rules: &OAuth2, response: &Response) -> (String, Option<ErrorDescription>) {
    let status = || format!("status {}", response.status);
    let known = |code: &str| is_invalid_grant(rules, code);
    let error = parse(response).and_then(|document| find_error(&rules.answer, &document, response.status, known));
    match error {
        Some(error) => {
            let code = error.code.chars().take(100).collect();
            (code, error.description.as_deref().and_then(ErrorDescription::new))
        }
        None => (status(), response.error_message(&[]).as_deref().and_then(ErrorDescription::new)),
    }
}

fn has_token(answer: &TokenResponseShape, purpose: TokenRequestKind, document: &Value) -> bool {
    access_token(answer, purpose, document).is_some()
}

fn access_token(answer: &TokenResponseShape, purpose: TokenRequestKind, document: &Value) -> Option<String> {
    let refreshed = answer.refreshed_access_token.as_ref().filter(|_| purpose == TokenRequestKind::Refresh);
    refreshed.and_then(|at| at.text(document)).or_else(|| answer.access_token.text(document))
}

/// Where servers say how long a refresh token lives, which no standard names: Google and GitHub, then Keycloak.
const REFRESH_EXPIRES_IN: [&str; 2] = ["refresh_token_expires_in", "refresh_expires_in"];

/// Returns the tokens of an answer that [`normalize_response`] called a success.
///
/// # Errors
/// [`OAuthError::MalformedResponse`] where there is no access token, or one that no request could carry.
pub fn parse_tokens(rules: &OAuth2, purpose: TokenRequestKind, document: &Value) -> Result<Tokens, OAuthError> {
    let answer = &rules.answer;
    let malformed =
        |why: &str| OAuthError::MalformedResponse { endpoint: "the token endpoint", reason: why.to_owned() };
    let access_token = access_token(answer, purpose, document).ok_or_else(|| malformed("it has no access token"))?;
    // It goes into a header and to scripts that read lines.
    if access_token.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(malformed("the access token holds white space or control characters"));
    }
    if let Some(kind) = answer.token_type.text(document)
        && !is_bearer(&kind)
    {
        return Err(malformed(&format!("the token's type is {kind:?}, not bearer")));
    }
    let refreshed = answer.refreshed_refresh_token.as_ref().filter(|_| purpose == TokenRequestKind::Refresh);
    let refresh_token = refreshed.and_then(|at| at.text(document)).or_else(|| answer.refresh_token.text(document));
    let refreshed = answer.refreshed_expires_in.as_ref().filter(|_| purpose == TokenRequestKind::Refresh);
    let lifetime = refreshed.and_then(|at| parse_seconds(at.find(document)));
    let separator = rules.scope.answer_separator.as_deref().unwrap_or(&rules.scope.separator);
    let scopes = answer.scope.find(document).and_then(|scope| match scope {
        Value::String(text) => scopes::granted(split_scopes(text, separator)),
        Value::Array(items) => {
            scopes::granted(items.iter().filter_map(|item| Some(item.as_str()?.to_owned())).collect())
        }
        _ => None,
    });
    let texts = |places: &indexmap::IndexMap<String, Pointer>| -> Vec<(String, String)> {
        places.iter().filter_map(|(name, at)| Some((name.clone(), at.text(document)?))).collect()
    };
    Ok(Tokens {
        access_token: Secret::new(access_token),
        refresh_token: refresh_token.map(Secret::new),
        expires_in: lifetime.or_else(|| parse_seconds(answer.expires_in.find(document))).or(answer.lifetime_secs),
        refresh_expires_in: match &answer.refresh_expires_in {
            Some(at) => parse_seconds(at.find(document)),
            None => REFRESH_EXPIRES_IN.iter().find_map(|name| parse_seconds(document.get(name))),
        },
        scopes,
        metadata: texts(&answer.keep).into_iter().collect(),
        secrets: texts(&answer.secrets).into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
        account: super::id_token::parse_account(document),
    })
}

/// Vendors write `bearer` in any case, some write the kind of token instead (Slack: `bot`, `user`).
fn is_bearer(kind: &str) -> bool {
    !["dpop", "mac", "pop", "n_a"].iter().any(|other| kind.eq_ignore_ascii_case(other))
}

pub(super) fn split_scopes(text: &str, separator: &str) -> Vec<String> {
    let parts = text.split(|c: char| separator.contains(c) || c.is_whitespace());
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Codes by which a server refuses a grant for good: only a person can give another (RFC 6749 section 5.2, OpenID Connect
/// Core section 3.1.2.6; Microsoft Entra uses the latter ones for refreshes too).
const INVALID_GRANT_CODES: [&str; 5] =
    ["invalid_grant", "interaction_required", "login_required", "consent_required", "account_selection_required"];

fn is_invalid_grant(rules: &OAuth2, code: &str) -> bool {
    INVALID_GRANT_CODES.contains(&code) || rules.answer.refused.iter().any(|refused| refused == code)
}

/// Sorts an error code of the token endpoint (RFC 6749 section 5.2): refused for good, or a request that was wrong.
pub fn classify_error(rules: &OAuth2, code: &str, description: Option<&str>) -> OAuthError {
    let description = description.and_then(ErrorDescription::new);
    let code: String = code.chars().take(100).collect();
    if is_invalid_grant(rules, &code) {
        return OAuthError::InvalidGrant { code, description };
    }
    if code == "temporarily_unavailable" || code == "server_error" {
        return OAuthError::ServerUnavailable { status: 503, retry_after: None };
    }
    OAuthError::ErrorResponse { code, description }
}

/// A device answer with what RFC 8628 leaves open made safe: an interval of 1 to 60 s, five where none is said; a code
/// that lives a minute to an hour, fifteen minutes where none is said.
pub fn normalize_device_response(document: &Value) -> Value {
    let mut fixed = document.clone();
    let interval = parse_seconds(document.get("interval")).map_or(5, |interval| interval.clamp(1, 60));
    let lifetime = parse_seconds(document.get("expires_in")).map_or(900, |lifetime| lifetime.clamp(60, 3600));
    if let Value::Object(members) = &mut fixed {
        members.insert("interval".to_owned(), json!(interval));
        members.insert("expires_in".to_owned(), json!(lifetime));
        // Google's first drafts and some servers say `verification_url`.
        if let Some(url) = members.get("verification_url").cloned() {
            members.entry("verification_uri").or_insert(url);
        }
    }
    fixed
}

/// How long polling may be put off by a server that gives no reason.
pub const MAX_POLL_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Connector;
    use serde::Deserialize;

    fn rules(toml: &str) -> OAuth2 {
        OAuth2::deserialize(toml.parse::<toml::Table>().unwrap()).unwrap()
    }

    fn slack() -> OAuth2 {
        let text = include_str!("../../connectors/slack.toml");
        let connector = Connector::deserialize(text.parse::<toml::Table>().unwrap()).unwrap();
        connector.auth["oauth"].oauth2.clone().unwrap()
    }

    fn read(rules: &OAuth2, status: u16, content_type: &str, body: &str) -> Result<(u16, Value), OAuthError> {
        let response = Response::new(status, &[("content-type", content_type)], body.as_bytes());
        normalize_response(
            rules,
            &RateLimits::default(),
            TokenRequestKind::InitialGrant,
            &response,
            Timestamp::UNIX_EPOCH,
        )
    }

    fn granted(rules: &OAuth2, body: &str) -> Tokens {
        let (status, document) = read(rules, 200, "application/json", body).unwrap();
        assert_eq!(status, 200);
        parse_tokens(rules, TokenRequestKind::InitialGrant, &document).unwrap()
    }

    #[test]
    fn fault_013_expires_in_of_every_kind_is_bounded() {
        let rules = rules("");
        for (written, expected) in [
            ("3600", Some(3600)),
            ("\"3600\"", Some(3600)),
            ("3599.7", Some(3599)),
            ("0", None),
            ("-1", None),
            ("null", None),
            ("\"\"", None),
            ("\"soon\"", None),
            ("1e99", Some(315_360_000)),
            ("[1]", None),
        ] {
            let tokens = granted(&rules, &format!("{{\"access_token\":\"a\",\"expires_in\":{written}}}"));
            assert_eq!(tokens.expires_in, expected, "{written}");
        }
        assert_eq!(granted(&rules, "{\"access_token\":\"a\"}").expires_in, None);
    }

    #[test]
    fn field_29_the_end_of_a_refresh_token_is_read_where_servers_say_it() {
        for (written, expected) in [
            (r#""refresh_token_expires_in":604799"#, Some(604_799)),
            (r#""refresh_expires_in":"1800""#, Some(1800)),
            // Keycloak's offline tokens have no end.
            (r#""refresh_expires_in":0"#, None),
            (r#""x":1"#, None),
        ] {
            let tokens = granted(&rules(""), &format!("{{\"access_token\":\"a\",{written}}}"));
            assert_eq!(tokens.refresh_expires_in, expected, "{written}");
        }
        let declared = rules("answer = { refresh_expires_in = \"/x\" }");
        let tokens = granted(&declared, r#"{"access_token":"a","refresh_expires_in":5,"x":7}"#);
        assert_eq!(tokens.refresh_expires_in, Some(7));
    }

    #[test]
    fn fault_014_token_types() {
        let rules = rules("");
        for kind in ["\"bearer\"", "\"BEARER\"", "\"bot\"", "null"] {
            granted(&rules, &format!("{{\"access_token\":\"a\",\"token_type\":{kind}}}"));
        }
        for kind in ["DPoP", "mac"] {
            let document = json!({ "access_token": "a", "token_type": kind });
            assert!(
                matches!(
                    parse_tokens(&rules, TokenRequestKind::InitialGrant, &document),
                    Err(OAuthError::MalformedResponse { .. })
                ),
                "{kind}"
            );
        }
    }

    #[test]
    fn fault_017_what_is_no_token_answer_is_a_typed_error() {
        let slack = slack();
        let (status, document) =
            read(&slack, 200, "application/json", r#"{"ok":false,"error":"invalid_refresh_token"}"#).unwrap();
        assert_eq!((status, document["error"].as_str()), (400, Some("invalid_refresh_token")));
        assert!(matches!(classify_error(&slack, "invalid_refresh_token", None), OAuthError::InvalidGrant { .. }));
        for (content_type, body) in [
            ("text/html", "<html>a=b</html>"),
            ("text/plain", "<html>a=b</html>"),
            ("application/json", "[]"),
            ("application/json", "{\"ok\":tr"),
            ("application/json", ""),
            ("application/json", "{\"ok\":false}"),
            ("application/json", r#"{"ok":true,"access_token":"a","access_token":"b"}"#),
        ] {
            let answer = read(&slack, 200, content_type, body);
            assert!(matches!(answer, Err(OAuthError::MalformedResponse { .. })), "{body}: {answer:?}");
        }
    }

    #[test]
    fn fault_019_5xx_and_429_say_nothing_of_the_grant() {
        for status in [429, 500, 503] {
            let answer = read(&rules(""), status, "application/json", r#"{"error":"invalid_grant"}"#);
            assert!(matches!(answer, Err(OAuthError::ServerUnavailable { .. })), "{status}");
        }
    }

    #[test]
    fn a_form_answer_is_read() {
        let rules = rules("scope = { answer_separator = \",\" }");
        let body = "access_token=gho_1&scope=repo%2Cgist&token_type=bearer";
        let (_, document) = read(&rules, 200, "application/x-www-form-urlencoded; charset=utf-8", body).unwrap();
        let tokens = parse_tokens(&rules, TokenRequestKind::InitialGrant, &document).unwrap();
        assert_eq!(tokens.access_token.expose(), "gho_1");
        assert_eq!(tokens.scopes.unwrap(), ["repo", "gist"]);
        let (status, _) =
            read(&rules, 200, "application/x-www-form-urlencoded", "error=bad_verification_code").unwrap();
        assert_eq!(status, 400);
    }

    #[test]
    fn nested_tokens_and_kept_values_are_found() {
        let body = r#"{"ok":true,"access_token":"xoxb-1","scope":"a,b","team":{"id":"T1","name":"Acme"},
            "authed_user":{"id":"U1","access_token":"xoxp-1"}}"#;
        let tokens = granted(&slack(), body);
        assert_eq!(tokens.metadata["team_id"], "T1");
        assert_eq!(tokens.secrets["user_token"].expose(), "xoxp-1");
        assert_eq!(tokens.scopes.unwrap(), ["a", "b"]);
    }

    #[test]
    fn fault_102_a_token_that_would_break_a_line_is_refused() {
        let document = json!({ "access_token": "a\r\nSet-Cookie: x" });
        assert!(parse_tokens(&rules(""), TokenRequestKind::InitialGrant, &document).is_err());
    }

    #[test]
    fn a_json_vendor_gets_json() {
        let rules = rules("token_body = \"json\"");
        let (content_type, body) = encode_body(&rules, b"grant_type=refresh_token&refresh_token=a%2Bb");
        assert_eq!(content_type, "application/json");
        assert_eq!(String::from_utf8(body).unwrap(), r#"{"grant_type":"refresh_token","refresh_token":"a+b"}"#);
    }

    #[test]
    fn fault_026_device_intervals_are_clamped() {
        for (written, expected) in [(json!(0), 5), (json!(-5), 5), (json!(1e9), 60), (json!("7"), 7), (Value::Null, 5)]
        {
            assert_eq!(normalize_device_response(&json!({ "interval": written }))["interval"], expected);
        }
    }
}
