//! Requests that come through a reverse proxy: who really sent them, and to which path.
//!
//! Only a proxy that the settings trust is believed. It appends the address that it was called from to what it was given, so
//! that the rightmost address that is not a trusted proxy is the caller's. The caller may have written what is left of it.

use std::net::{IpAddr, SocketAddr};

use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;

use crate::config::ProxyNetwork;
use crate::http::peer::SocketPair;
use crate::http::serve::header::{FORWARDED, HeaderMap, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Hops that are read.
const MAX_HOPS: usize = 64;

/// The proxies in front of the server, and the path that they have it below.
#[derive(Clone, Debug)]
pub(super) struct ReverseProxy {
    pub(super) trusted: Vec<ProxyNetwork>,
    /// Empty, or `/integ`.
    pub(super) base_path: String,
}

/// What a trusted proxy says of a request, for the check of its host and origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ForwardedRequest {
    /// The `Host` that the caller sent.
    pub(super) host: Option<String>,
    /// `https` or `http`.
    pub(super) scheme: Option<String>,
}

impl ReverseProxy {
    /// Puts the caller's address in place of the proxy's and removes the path of the proxy, so that nothing behind this needs
    /// to know of it. What a trusted proxy says of host and scheme is added to the request.
    pub(super) fn resolve(&self, head: &mut Parts) {
        self.remove_base_path(head);
        let Some(pair) = head.extensions.get::<SocketPair>().copied() else { return };
        if !self.is_trusted(pair.remote.ip()) {
            return;
        }
        let remote = SocketAddr::new(self.caller(pair.remote.ip(), &head.headers), 0);
        head.extensions.insert(SocketPair { remote, ..pair });
        head.extensions.insert(forwarded_request(&head.headers));
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|proxy| proxy.contains(address))
    }

    /// Returns the address of the caller. Proxies write one of the two headers, and pass on the other as the caller wrote it:
    /// if both are there and differ, neither is believed.
    fn caller(&self, proxy: IpAddr, headers: &HeaderMap) -> IpAddr {
        let found = |hops: Option<Vec<Option<IpAddr>>>| hops.map(|hops| self.rightmost(proxy, &hops));
        match (found(forwarded_for(headers)), found(x_forwarded_for(headers))) {
            (Some(one), Some(other)) if one != other => proxy,
            (Some(address), _) | (None, Some(address)) => address,
            (None, None) => proxy,
        }
    }

    /// Returns the rightmost address that is not a trusted proxy, or the leftmost if all are. An unreadable hop ends the search: the
    /// proxy that reported it is the last one that is known.
    fn rightmost(&self, proxy: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut last = proxy;
        for hop in hops.iter().rev() {
            let Some(address) = hop else { return last };
            last = address.to_canonical();
            if !self.is_trusted(last) {
                return last;
            }
        }
        last
    }

    fn remove_base_path(&self, head: &mut Parts) {
        if self.base_path.is_empty() {
            return;
        }
        let text = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let Some(rest) = text.strip_prefix(self.base_path.as_str()) else { return };
        let rest = match rest.as_bytes().first() {
            None => "/".to_owned(),
            Some(b'?') => format!("/{rest}"),
            Some(b'/') => rest.to_owned(),
            Some(_) => return,
        };
        if let Ok(uri) = rest.parse() {
            head.uri = uri;
        }
    }
}

/// The parts of a list in all lines of a header, in their order.
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    let all: Vec<String> = lines.iter().flat_map(|line| line.split(',')).map(|part| part.trim().to_owned()).collect();
    let first = all.len().saturating_sub(MAX_HOPS);
    (!lines.is_empty()).then(|| all[first..].to_vec())
}

fn x_forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    Some(list(headers, &X_FORWARDED_FOR)?.iter().map(|hop| address(hop)).collect())
}

fn forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let hops = list(headers, &FORWARDED)?;
    let hops = hops.iter().map(|hop| parameter(hop, "for").and_then(|node| address(&node)));
    Some(hops.collect())
}

/// Returns a parameter of an element of `Forwarded` (RFC 7239, section 4).
fn parameter(element: &str, name: &str) -> Option<String> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Reads an address, perhaps with a port, IPv6 perhaps in brackets. `unknown` and names that hide one are none.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(address, _)| address);
    match bracketed {
        Some(address) => address.parse().ok(),
        None => text.rsplit_once(':').and_then(|(address, _)| address.parse().ok()),
    }
}

/// What the nearest proxy says of host and scheme.
fn forwarded_request(headers: &HeaderMap) -> ForwardedRequest {
    let last = |name| list(headers, &name).and_then(|all| all.last().cloned()).filter(|text| !text.is_empty());
    let element = last(FORWARDED).unwrap_or_default();
    ForwardedRequest {
        host: last(X_FORWARDED_HOST).or_else(|| parameter(&element, "host")),
        scheme: last(X_FORWARDED_PROTO).or_else(|| parameter(&element, "proto")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(base_path: &str) -> ReverseProxy {
        let trusted = vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        ReverseProxy { trusted, base_path: base_path.to_owned() }
    }

    fn head(peer: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = hyper::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let local = "127.0.0.1:7420".parse().unwrap();
        head.extensions.insert(SocketPair { local, remote: format!("{peer}:1").parse().unwrap() });
        head
    }

    fn caller(peer: &str, headers: &[(&str, &str)]) -> String {
        let mut head = head(peer, "/", headers);
        proxy("").resolve(&mut head);
        head.extensions.get::<SocketPair>().unwrap().remote.ip().to_string()
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_callers() {
        let xff = |value: &str| caller("10.0.0.1", &[("x-forwarded-for", value)]);
        assert_eq!(xff("203.0.113.9"), "203.0.113.9");
        assert_eq!(xff("1.1.1.1, 203.0.113.9, 10.0.0.2"), "203.0.113.9", "what the caller wrote itself is left of it");
        assert_eq!(xff("203.0.113.9:4711"), "203.0.113.9");
        assert_eq!(xff("10.0.0.3, 10.0.0.2"), "10.0.0.3", "a caller among the proxies");
        assert_eq!(xff("1.1.1.1, unknown"), "10.0.0.1", "nothing is known behind this proxy");
        assert_eq!(xff(""), "10.0.0.1");
        assert_eq!(caller("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")]), "2.2.2.2");
        let forwarded = |value: &str| caller("127.0.0.1", &[("forwarded", value)]);
        assert_eq!(forwarded("for=192.0.2.60;proto=http;by=203.0.113.43, for=10.1.1.1"), "192.0.2.60");
        assert_eq!(forwarded("For=\"[2001:db8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(forwarded("for=_hidden"), "127.0.0.1");
        assert_eq!(forwarded("proto=https"), "127.0.0.1");
    }

    #[test]
    fn others_are_not_believed() {
        let spoofed = [("x-forwarded-for", "10.9.9.9"), ("forwarded", "for=10.9.9.9"), ("x-forwarded-host", "a")];
        assert_eq!(caller("203.0.113.9", &spoofed), "203.0.113.9");
        let mut request = head("203.0.113.9", "/", &spoofed);
        proxy("").resolve(&mut request);
        assert!(request.extensions.get::<ForwardedRequest>().is_none());
        // A proxy that writes one header passes on the other.
        let both = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=10.9.9.9")];
        assert_eq!(caller("10.0.0.1", &both), "10.0.0.1");
        let alike = [("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")];
        assert_eq!(caller("10.0.0.1", &alike), "203.0.113.9");
    }

    #[test]
    fn the_path_of_the_proxy_is_removed_if_it_is_there() {
        let path = |uri: &str| {
            let mut head = head("203.0.113.9", uri, &[]);
            proxy("/integ").resolve(&mut head);
            head.uri.to_string()
        };
        assert_eq!(path("/integ/v1/status?a=b"), "/v1/status?a=b");
        assert_eq!(path("/v1/status"), "/v1/status");
        assert_eq!(path("/integ"), "/");
        assert_eq!(path("/integ?x"), "/?x");
        assert_eq!(path("/integrity"), "/integrity");
        assert_eq!(path("/integ/integ/x"), "/integ/x");
    }

    #[test]
    fn host_and_scheme_are_the_nearest_proxys_word() {
        let mut request =
            head("10.0.0.1", "/", &[("x-forwarded-host", "evil.example, a.example"), ("x-forwarded-proto", "https")]);
        proxy("").resolve(&mut request);
        let expected = ForwardedRequest { host: Some("a.example".to_owned()), scheme: Some("https".to_owned()) };
        assert_eq!(request.extensions.get::<ForwardedRequest>(), Some(&expected));
        let mut request = head("10.0.0.1", "/", &[("forwarded", "for=1.1.1.1;host=a.example;proto=https")]);
        proxy("").resolve(&mut request);
        assert_eq!(request.extensions.get::<ForwardedRequest>(), Some(&expected));
    }
}
