//! `[serve]`: where programs and browsers reach this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Url};

use crate::model::words;

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
    /// The proxies in front of the server: only what they say of callers is believed.
    pub trusted_proxies: Vec<ProxyNetwork>,
    pub log_format: LogFormat,
}

/// How the log is written to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    /// A JSON object on each line.
    Json,
}

words!(LogFormat { Text => "text", Json => "json" });

/// The address of a proxy, or a block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyNetwork(IpNet);

impl ProxyNetwork {
    /// Returns whether an address is that of the proxy. An IPv4 address may be written as IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for ProxyNetwork {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let network = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        network.or_else(|_| text.parse::<IpNet>().map(|network| network.trunc())).map(Self).map_err(|_| ())
    }
}

impl std::fmt::Display for ProxyNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            public_url: None,
            hosts: Vec::new(),
            return_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            log_format: LogFormat::default(),
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

    /// Returns the path below which a proxy has the server: empty, or `/integ`.
    pub fn base_path(&self) -> &str {
        self.public_url.as_ref().map_or("", |url| url.path().trim_end_matches('/'))
    }

    /// Returns the URL of the sandbox's pages, which its links are appended to.
    pub fn sandbox_url(&self, emulator: &str) -> Option<Url> {
        self.public_url()?.join("sandbox/").ok()?.join(emulator).ok()
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
    fn a_proxy_is_an_address_or_a_block() {
        let proxy = |text: &str| text.parse::<ProxyNetwork>();
        let is_in = |text: &str, address: &str| proxy(text).unwrap().contains(address.parse().unwrap());
        assert!(is_in("127.0.0.1", "127.0.0.1") && is_in("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(!is_in("127.0.0.1", "127.0.0.2") && !is_in("::1", "127.0.0.1"));
        assert!(is_in("10.1.2.3/16", "10.1.200.1") && !is_in("10.1.0.0/16", "10.2.0.1"));
        assert!(is_in("fd00::/8", "fd12::1"));
        assert_eq!(proxy("10.1.2.3/16").unwrap().to_string(), "10.1.0.0/16");
        assert_eq!(proxy("::1").unwrap().to_string(), "::1");
        for bad in ["", "proxy.internal", "10.0.0.0/33", "*"] {
            assert!(proxy(bad).is_err(), "{bad}");
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
