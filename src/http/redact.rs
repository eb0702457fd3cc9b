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

/// The URL as it may be shown: without userinfo and fragment, secret parameters blanked, known secrets scrubbed.
pub fn redact_url(url: &Url, secrets: &[Secret]) -> String {
    let mut shown = url.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    if url.query().is_some() {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let secret = SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str());
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
    fn the_encoded_form_is_not_shown_either() {
        assert_eq!(scrub("a=se%2Fcret%3D1", &[Secret::from("se/cret=1")]), "a=[redacted]");
    }
}
