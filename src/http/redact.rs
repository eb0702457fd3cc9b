//! Redacts secrets in output: in URLs by parameter name, in other text by the known secrets.

use serde_json::Value;
use url::Url;

use crate::secret::{REDACTED, Secret};

/// Query parameters whose values are never shown, wherever they occur.
const SECRET_PARAMETERS: &[&str] = &[
    "access_token",
    "api_key",
    "apikey",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "id_token",
    "key",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "state",
    "token",
];

/// What an authorization request or its answer holds beside `state` (RFC 6749 section 4.1).
const OAUTH_PARAMETERS: &[&str] = &["client_id", "code", "error", "redirect_uri", "response_type"];

/// Headers whose values are shown, and ends of names of such headers.
const HARMLESS_HEADERS: &[&str] = &[
    "accept",
    "accept-language",
    "content-type",
    "if-modified-since",
    "if-none-match",
    "prefer",
    "user-agent",
    "-version",
];

/// The value of a request's header as it may be shown.
pub fn redact_header(name: &str, value: &Secret, secrets: &[Secret]) -> String {
    let name = name.to_ascii_lowercase();
    let is_harmless = |known: &&str| name == *known || (known.starts_with('-') && name.ends_with(known));
    if HARMLESS_HEADERS.iter().any(is_harmless) { scrub(value.expose(), secrets) } else { REDACTED.to_owned() }
}

/// The URL as it may be shown: without userinfo and fragment, secret parameters blanked, known secrets scrubbed.
pub fn redact_url(url: &Url, secrets: &[Secret]) -> String {
    let mut shown = url.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    // The `state` of an authorization is a secret, that of an issue is not.
    let is_oauth = url.query_pairs().any(|(name, _)| OAUTH_PARAMETERS.contains(&&*name));
    if url.query().is_some() {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let lower = name.to_ascii_lowercase();
                let harmless = lower == "state" && !is_oauth;
                let secret = !harmless && SECRET_PARAMETERS.contains(&lower.as_str());
                let value = if secret { REDACTED.to_owned() } else { scrub(&value, secrets) };
                (name.into_owned(), value)
            })
            .collect();
        shown.query_pairs_mut().clear().extend_pairs(pairs);
    }
    scrub(shown.as_str(), secrets).replace("%5Bredacted%5D", REDACTED)
}

/// The body of a request or a response as it may be shown: secret members of JSON and fields of forms blanked, known secrets
/// scrubbed. Of a request whose secrets are not known, as one to a token endpoint, of other types and of more than 1 MiB
/// nothing is shown.
pub fn redact_body(content_type: &str, bytes: &[u8], secrets: &[Secret]) -> String {
    const LONGEST: usize = 4096;
    const LARGEST: usize = 1 << 20;
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let text = match (std::str::from_utf8(bytes), kind) {
        _ if secrets.is_empty() || bytes.len() > LARGEST => None,
        (Ok(text), "application/x-www-form-urlencoded") => {
            let pairs = url::form_urlencoded::parse(text.as_bytes());
            let shown = pairs.map(|(name, value)| {
                let value = if is_secret(&name) { REDACTED.into() } else { value };
                format!("{name}={value}")
            });
            Some(shown.collect::<Vec<_>>().join("&"))
        }
        (Ok(text), kind) if kind.ends_with("json") => serde_json::from_str(text).ok().map(|mut document: Value| {
            redact_json(&mut document);
            document.to_string()
        }),
        _ => None,
    };
    let Some(text) = text else { return format!("{REDACTED} ({} bytes)", bytes.len()) };
    let text = scrub(&text, secrets);
    let shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}

/// Whether a member or a field of this name holds a secret. A token that says where a list goes on is none.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let continues = ["page", "sync", "next", "delta"].iter().any(|word| name.contains(word));
    SECRET_PARAMETERS.contains(&name.as_str())
        || ["secret", "password", "private_key", "privatekey"].iter().any(|end| name.ends_with(end))
        || (name.ends_with("token") && !continues)
}

/// Blanks the members of a document whose names say that they hold secrets.
pub fn redact_json(document: &mut Value) {
    match document {
        Value::Array(items) => items.iter_mut().for_each(redact_json),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                if is_secret(name) {
                    *member = Value::from(REDACTED);
                } else {
                    redact_json(member);
                }
            }
        }
        _ => {}
    }
}

/// The text with every known secret, also in its percent-encoded form, blanked.
pub fn scrub(text: &str, secrets: &[Secret]) -> String {
    // A secret of a few characters would blank harmless text and is none worth hiding.
    const SHORTEST: usize = 6;
    let mut shown = text.to_owned();
    for secret in secrets.iter().map(Secret::expose).filter(|secret| secret.len() >= SHORTEST) {
        if shown.contains(secret.as_str()) {
            shown = shown.replace(secret.as_str(), REDACTED);
        }
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        if encoded != *secret && shown.contains(&encoded) {
            shown = shown.replace(&encoded, REDACTED);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_path_is_not_shown() {
        let url = Url::parse("https://api.telegram.org/bot123456:AAE/getMe?code=abc&x=1#frag").unwrap();
        let shown = redact_url(&url, &[Secret::from("123456:AAE")]);
        assert_eq!(shown, "https://api.telegram.org/bot[redacted]/getMe?code=[redacted]&x=1");
    }

    #[test]
    fn only_the_state_of_an_authorization_is_a_secret() {
        let shown = |text: &str| redact_url(&Url::parse(text).unwrap(), &[]);
        assert_eq!(shown("https://api.example.com/issues?state=all"), "https://api.example.com/issues?state=all");
        let asked = "https://example.com/authorize?client_id=a&state=s3cret";
        assert_eq!(shown(asked), "https://example.com/authorize?client_id=a&state=[redacted]");
        assert_eq!(
            shown("http://127.0.0.1/callback?code=x&state=y"),
            "http://127.0.0.1/callback?code=[redacted]&state=[redacted]"
        );
    }

    #[test]
    fn headers_that_hold_no_secret_are_shown() {
        let secrets = [Secret::from("s3cret-token")];
        let shown = |name: &str, value: &str| redact_header(name, &Secret::from(value), &secrets);
        assert_eq!(shown("Accept", "application/json"), "application/json");
        assert_eq!(shown("X-GitHub-Api-Version", "2022-11-28"), "2022-11-28");
        assert_eq!(shown("accept", "s3cret-token"), "[redacted]");
        assert_eq!(shown("authorization", "Bearer x"), "[redacted]");
        assert_eq!(shown("x-key", "x"), "[redacted]");
    }

    #[test]
    fn a_body_is_shown_without_its_secrets() {
        let secrets = [Secret::from("xoxb-of-the-connection")];
        let shown = |kind: &str, body: &str| redact_body(kind, body.as_bytes(), &secrets);
        let json = r#"{"text":"hi","client_secret":"a","deep":[{"token":{"a":1}}],"copy":"xoxb-of-the-connection"}"#;
        assert_eq!(
            shown("application/json", json),
            r#"{"text":"hi","client_secret":"[redacted]","deep":[{"token":"[redacted]"}],"copy":"[redacted]"}"#
        );
        let form = "text=hi&webhook_secret=a&copy=xoxb-of-the-connection";
        let shown_form = "text=hi&webhook_secret=[redacted]&copy=[redacted]";
        assert_eq!(shown("application/x-www-form-urlencoded; charset=utf-8", form), shown_form);
        assert_eq!(shown("application/json", "not JSON"), "[redacted] (8 bytes)");
        assert_eq!(shown("multipart/form-data; boundary=x", "--x"), "[redacted] (3 bytes)");
        let tokens = r#"{"auth_token":"a","nextPageToken":"b","items":[{"privateKey":"c","signing_secret":"d"}]}"#;
        assert_eq!(
            shown("application/json", tokens),
            r#"{"auth_token":"[redacted]","nextPageToken":"b","items":[{"privateKey":"[redacted]","signing_secret":"[redacted]"}]}"#
        );
        assert_eq!(shown("application/json", &format!("[{}]", " ".repeat(1 << 20))), "[redacted] (1048578 bytes)");
        // Whose secrets are not known, as a request to a token endpoint.
        assert_eq!(redact_body("application/json", b"{}", &[]), "[redacted] (2 bytes)");
        let long = format!("{{\"text\":\"{}\"}}", "x".repeat(5000));
        assert_eq!(shown("application/json", &long).chars().count(), 4097);
    }

    #[test]
    fn the_encoded_form_is_not_shown_either() {
        assert_eq!(scrub("a=se%2Fcret%3D1", &[Secret::from("se/cret=1")]), "a=[redacted]");
    }
}
