//! Parses URLs of local receivers as people write them.

use url::Url;

/// Reads a URL: `3000`, `:3000` and `localhost:3000` are of this machine, and any other host without a scheme is https.
pub(super) fn receiver_url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    let wrong = |_| format!("{text:?} is not a URL such as http://127.0.0.1:3000/hooks or localhost:3000");
    if text.contains("://") {
        return Url::parse(text).map_err(wrong);
    }
    let rest = text.strip_prefix(':').unwrap_or(text);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if !authority.is_empty() && authority.bytes().all(|byte| byte.is_ascii_digit()) {
        return Url::parse(&format!("http://localhost:{rest}")).map_err(wrong);
    }
    let url = Url::parse(&format!("http://{text}")).map_err(wrong)?;
    if crate::http::is_loopback(&url) { Ok(url) } else { Url::parse(&format!("https://{text}")).map_err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_or_a_host_is_a_url() {
        for (text, url) in [
            ("3000", "http://localhost:3000/"),
            (":3000", "http://localhost:3000/"),
            (":3000/hooks?a=1", "http://localhost:3000/hooks?a=1"),
            ("localhost:3000", "http://localhost:3000/"),
            ("localhost:3000/in", "http://localhost:3000/in"),
            ("127.0.0.1:3000", "http://127.0.0.1:3000/"),
            ("[::1]:3000/in", "http://[::1]:3000/in"),
            ("example.com/in", "https://example.com/in"),
            ("https://example.com:8443/in", "https://example.com:8443/in"),
        ] {
            assert_eq!(receiver_url(text).unwrap().as_str(), url, "{text}");
        }
        for bad in ["", ":", "99999", "http://", "a b"] {
            assert!(receiver_url(bad).is_err(), "{bad:?}");
        }
    }
}
