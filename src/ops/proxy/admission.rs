//! Judges a request to the proxy by its head.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::http::request::Parts;

use super::{CredentialProxy, CredentialProxyError};
use crate::api::method_override;
use crate::connector::HttpMethod;
use crate::http::serve::header::{self, HeaderMap, HeaderName, HeaderValue};
use crate::model::matches_any_type;
use crate::signing::verify::constant_time_eq;

/// Paths below this name another host of the connector: `/_host/uploads.example.com/v1/files`.
const HOST_PREFIX: &str = "/_host/";

/// Headers that end at the proxy: those of one connection (RFC 9110 section 7.6.1), credentials, and what says where a request
/// comes from. A response is decoded, so that credentials can be found in it.
const DROPPED: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// A request that may be forwarded, without what ends at the proxy.
pub(super) struct AdmittedHead {
    pub(super) method: HttpMethod,
    /// As it came, with its query.
    pub(super) path: String,
    /// After the API's base, or a URL of another host.
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) content_type: String,
}

impl CredentialProxy {
    /// Checks the host, the token, the method and the path of a request, in this order.
    ///
    /// # Errors
    /// [`CredentialProxyError`].
    pub(super) fn admit_head(&self, head: &Parts) -> Result<AdmittedHead, CredentialProxyError> {
        self.check_origin(&head.headers)?;
        if !self.has_token(&head.headers) {
            return Err(CredentialProxyError::Unauthorized);
        }
        let allowed = self.options.methods.iter().find(|method| method.as_str() == head.method.as_str());
        let method = *allowed.ok_or_else(|| CredentialProxyError::Method(head.method.to_string()))?;
        let (path, query) = (head.uri.path(), head.uri.query());
        if !is_plain_path(path) || !matches_any_type(&self.options.paths, path) {
            return Err(CredentialProxyError::Path(path.to_owned()));
        }
        let names = head.headers.keys().map(HeaderName::as_str);
        if let Some(name) = method_override(names, query.unwrap_or_default(), "", &[]) {
            return Err(CredentialProxyError::MethodOverride(name));
        }
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let content_type = head.headers.get(header::CONTENT_TYPE).map(text).unwrap_or_default();
        Ok(AdmittedHead {
            method,
            target: target(path, &query),
            path: format!("{path}{query}"),
            headers: forwarded_headers(&head.headers),
            content_type,
        })
    }

    /// A page in a browser names itself, and a name that was rebound to this machine is none of its own.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), CredentialProxyError> {
        let port = self.address.port();
        let host = headers.get(header::HOST).map(text).unwrap_or_default();
        let names = ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{port}"));
        let is_own = names.iter().any(|name| name.eq_ignore_ascii_case(&host));
        let is_page = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
        if is_own && !is_page { Ok(()) } else { Err(CredentialProxyError::Foreign) }
    }

    /// Whether a request has the token of the proxy where programs put a credential: as a bearer token, or as the name or the
    /// password of HTTP Basic.
    fn has_token(&self, headers: &HeaderMap) -> bool {
        let given = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION];
        let given = given.iter().flat_map(|name| headers.get_all(name)).map(text);
        given
            .flat_map(|value| presented(&value))
            .any(|presented| constant_time_eq(presented.as_bytes(), self.options.token.expose().as_bytes()))
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// What an `Authorization` header presents.
fn presented(value: &str) -> Vec<String> {
    let Some((scheme, rest)) = value.split_once(' ') else { return vec![value.to_owned()] };
    let rest = rest.trim();
    if !scheme.eq_ignore_ascii_case("basic") {
        return vec![rest.to_owned()];
    }
    let pair = STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    match pair.split_once(':') {
        Some((name, password)) => vec![name.to_owned(), password.to_owned()],
        None => Vec::new(),
    }
}

/// Whether a path means the same to everyone: no parent, no empty segment, nothing that hides a slash or a dot.
fn is_plain_path(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let hides = ["%2e", "%2f", "%5c", "%00", "%25", "\\"].iter().any(|hidden| lower.contains(hidden));
    let segments = || path.strip_prefix('/').unwrap_or(path).split('/');
    // A slash at the end is an empty segment that services know.
    let count = segments().count();
    let is_odd = |(index, segment): (usize, &str)| {
        matches!(segment, "." | "..") || segment.starts_with("..;") || (segment.is_empty() && index + 1 < count)
    };
    path.starts_with('/') && !hides && !segments().enumerate().any(is_odd)
}

/// The path after the API's base, or the URL on another host.
fn target(path: &str, query: &str) -> String {
    match path.strip_prefix(HOST_PREFIX) {
        Some(rest) => format!("https://{rest}{query}"),
        None => format!("{path}{query}"),
    }
}

/// The headers that are sent on.
fn forwarded_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let listed: Vec<String> = headers.get_all(header::CONNECTION).iter().map(text).collect();
    let listed: Vec<String> = listed.join(",").split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    let is_sent = |name: &str| {
        !DROPPED.contains(&name)
            && !listed.iter().any(|dropped| dropped == name)
            && !name.starts_with("x-forwarded-")
            && !name.starts_with("sec-")
    };
    headers
        .iter()
        .filter(|(name, _)| is_sent(name.as_str()))
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_the_same_to_everyone() {
        for path in ["/", "/v1/cards", "/v1/cards/", "/a%20b/c.d/.well-known", "/_host/api.example.com/x"] {
            assert!(is_plain_path(path), "{path}");
        }
        for path in ["", "*", "//a", "/a//b", "/a/../b", "/a/.", "/a/%2e%2e/b", "/a%2Fb", "/a\\b", "/..;/a", "/%252e/"]
        {
            assert!(!is_plain_path(path), "{path}");
        }
    }

    #[test]
    fn a_token_is_found_where_programs_put_credentials() {
        assert_eq!(presented("Bearer abc"), ["abc"]);
        assert_eq!(presented("token  abc "), ["abc"]);
        assert_eq!(presented("abc"), ["abc"]);
        assert_eq!(presented(&format!("basic {}", STANDARD.encode("user:abc"))), ["user", "abc"]);
        assert!(presented("Basic ???").is_empty());
    }

    #[test]
    fn headers_of_the_connection_end_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("accept", "a"),
            ("authorization", "Bearer abc"),
            ("connection", "close, X-Own"),
            ("x-own", "1"),
            ("x-forwarded-for", "1"),
            ("cookie", "a=1"),
            ("x-stripe-account", "acct"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let sent: Vec<String> = forwarded_headers(&headers).into_iter().map(|(name, _)| name).collect();
        assert_eq!(sent, ["accept", "x-stripe-account"]);
        assert_eq!(target("/_host/up.example.com/a", "?b=1"), "https://up.example.com/a?b=1");
        assert_eq!(target("/a", ""), "/a");
    }
}
