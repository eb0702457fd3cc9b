//! Taking secrets out of what is shown: URLs by the names of their parameters, any text by the secrets that are known.

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
    let is_harmless = |known: &&str| name == **known || (known.starts_with('-') && name.ends_with(*known));
    if HARMLESS_HEADERS.iter().any(|known| is_harmless(known)) {
        scrub(value.expose(), secrets)
    } else {
        REDACTED.to_owned()
    }
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
    fn the_encoded_form_is_not_shown_either() {
        assert_eq!(scrub("a=se%2Fcret%3D1", &[Secret::from("se/cret=1")]), "a=[redacted]");
    }
}
