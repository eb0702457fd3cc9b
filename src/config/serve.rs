//! `[serve]`: where programs and browsers reach this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use url::{Host, Url};

/// The path of the OAuth callback, below the public URL.
const CALLBACK_PATH: &str = "oauth/callback";

/// The port that the server listens on unless the user says otherwise.
const DEFAULT_PORT: u16 = 7420;

/// `[serve]`: the server's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// What the server listens on.
    pub bind: SocketAddr,
    /// The address that browsers and vendors call, if it differs from `bind`.
    pub public_url: Option<Url>,
    /// Further names that requests may have in their `Host` header, such as those that a proxy passes on.
    pub hosts: Vec<String>,
    /// The origins that a browser may be sent to after a sign-in, beside that of the public URL.
    pub return_origins: Vec<WebOrigin>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            public_url: None,
            hosts: Vec::new(),
            return_origins: Vec::new(),
        }
    }
}

impl ServeConfig {
    /// Returns the address that browsers and vendors call; its path ends with `/`.
    pub fn public_url(&self) -> Option<Url> {
        if let Some(url) = &self.public_url {
            return Some(url.clone());
        }
        let mut address = self.bind;
        if address.ip().is_unspecified() {
            // What listens everywhere is reached at loopback.
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Url::parse(&format!("http://{address}/")).ok()
    }

    /// Returns the redirect URI of sign-ins that the server begins.
    pub fn redirect_uri(&self) -> Option<Url> {
        self.public_url()?.join(CALLBACK_PATH).ok()
    }

    /// Returns the URL of a connect link.
    pub fn connect_link_url(&self, secret: &str) -> Option<Url> {
        self.public_url()?.join("connect/").ok()?.join(secret).ok()
    }

    /// Returns whether a browser may be sent to a URL after a sign-in. Anything else would make the callback an open
    /// redirector (RFC 9700 section 4.11).
    pub fn allows_return_to(&self, url: &Url) -> bool {
        if !url.username().is_empty() || url.password().is_some() || !is_safe(url) {
            return false;
        }
        let is_own = self.public_url().is_some_and(|own| own.origin() == url.origin());
        is_own || self.return_origins.iter().any(|allowed| allowed.0.origin() == url.origin())
    }
}

/// A scheme, a host and a port: https, or http on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin(Url);

impl FromStr for WebOrigin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let url = Url::parse(text).map_err(|_| ())?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let is_one_host = url.host_str().is_some_and(|host| !host.contains('*'));
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        if is_bare && is_one_host && is_anonymous && is_safe(&url) { Ok(Self(url)) } else { Err(()) }
    }
}

impl std::fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Returns whether what goes to a URL is encrypted, or stays on this machine.
pub(super) fn is_safe(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && is_here))
}

/// Reads a public URL: https, or http on this machine; perhaps with a path. Returns it with a `/` at its end.
pub fn parse_public_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text.trim()).ok()?;
    let is_bare = url.query().is_none() && url.fragment().is_none();
    if !is_bare || !url.username().is_empty() || url.password().is_some() || !is_safe(&url) {
        return None;
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Some(url)
}

/// Returns whether a text is a host, perhaps with a port, as a `Host` header has it.
pub(super) fn is_host(text: &str) -> bool {
    let name = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(address, _)| address);
    !text.is_empty() && text.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_redirect_uri_is_below_the_public_url() {
        let mut config = ServeConfig::default();
        let redirect = |config: &ServeConfig| config.redirect_uri().unwrap().to_string();
        assert_eq!(redirect(&config), "http://127.0.0.1:7420/oauth/callback");
        config.bind = "0.0.0.0:8000".parse().unwrap();
        assert_eq!(redirect(&config), "http://127.0.0.1:8000/oauth/callback");
        config.public_url = parse_public_url("https://example.com/integ");
        assert_eq!(redirect(&config), "https://example.com/integ/oauth/callback");
        for bad in ["http://example.com", "https://u:p@example.com", "https://example.com/?a", "ftp://x", "example.com"]
        {
            assert_eq!(parse_public_url(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_browser_returns_only_to_listed_origins() {
        let config = ServeConfig {
            public_url: parse_public_url("https://integ.example/base"),
            return_origins: vec!["https://app.example".parse().unwrap(), "http://localhost:3000".parse().unwrap()],
            ..ServeConfig::default()
        };
        for good in ["https://app.example/a?b#c", "https://integ.example/", "http://localhost:3000/done"] {
            assert!(config.allows_return_to(&url(good)), "{good}");
        }
        for bad in [
            "http://app.example/",
            "https://app.example:444/",
            "https://app.example.evil.example/",
            "https://app.example@evil.example/",
            "https://user@app.example/",
            "http://localhost:3001/",
            "javascript:alert(1)",
            "data:text/html,x",
        ] {
            assert!(!config.allows_return_to(&url(bad)), "{bad}");
        }
        for bad in ["https://app.example/path", "app.example", "https://*.example", "null", "file:///"] {
            assert!(bad.parse::<WebOrigin>().is_err(), "{bad}");
        }
    }
}
