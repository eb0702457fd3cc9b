//! The hosts and origins that requests may name: what keeps pages of other sites from reaching the server through a browser.

use std::net::{IpAddr, SocketAddr};

use hyper::http::request::Parts;
use url::Url;

use super::forwarded::ForwardedRequest;
use super::problem::RequestError;
use crate::http::serve::header::{HOST, ORIGIN};

/// The names under which a server is reached.
#[derive(Clone, Debug)]
pub(super) struct ServerHosts {
    /// Lower-case `host` or `host:port`, as in the `Host` header.
    hosts: Vec<String>,
    /// As browsers write them: `https://integ.example.com`.
    origins: Vec<String>,
}

impl ServerHosts {
    /// Allows the address that the server is bound to, the names of this machine if that is a loopback address or every
    /// address, the public URL, and further hosts.
    pub(super) fn new(address: SocketAddr, public_url: Option<&Url>, further: &[String]) -> Self {
        let port = address.port();
        let mut names: Vec<String> = further.to_vec();
        if address.ip().is_loopback() || address.ip().is_unspecified() {
            names.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        } else {
            names.push(match address.ip() {
                IpAddr::V4(v4) => v4.to_string(),
                IpAddr::V6(v6) => format!("[{v6}]"),
            });
        }
        let mut hosts = Vec::new();
        let mut origins = Vec::new();
        for name in names.iter().map(|name| name.to_ascii_lowercase()) {
            let has_port = name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let host = if has_port { name.clone() } else { format!("{name}:{port}") };
            origins.push(format!("http://{host}"));
            hosts.push(host);
            if port == 80 || further.iter().any(|host| host.eq_ignore_ascii_case(&name)) {
                hosts.push(name);
            }
        }
        if let Some(url) = public_url
            && let Some(host) = url.host_str()
        {
            // Browsers leave out the port of the scheme, and so does `Url`.
            hosts.push(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")));
            origins.push(url.origin().ascii_serialization());
        }
        Self { hosts, origins }
    }

    /// Checks the `Host` and `Origin` of a request.
    ///
    /// # Errors
    /// [`RequestError::ForeignHost`]; [`RequestError::ForeignOrigin`].
    pub(super) fn check(&self, head: &Parts) -> Result<(), RequestError> {
        let forwarded = head.extensions.get::<ForwardedRequest>().cloned().unwrap_or_default();
        let text = |name| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let host = text(HOST).unwrap_or_default();
        // A page that reaches the server under a name of its own may also send headers: the proxy's word is not enough.
        for host in std::iter::once(&host).chain(&forwarded.host) {
            if !self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
                return Err(RequestError::ForeignHost { host: host.clone() });
            }
        }
        // The origin of the page that a caller of the proxy sees.
        let own = forwarded.scheme.map(|scheme| format!("{scheme}://{}", forwarded.host.as_ref().unwrap_or(&host)));
        match text(ORIGIN) {
            Some(origin) if !self.origins.contains(&origin) && own.as_ref() != Some(&origin) => {
                Err(RequestError::ForeignOrigin { origin })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &ServerHosts, host: &str, origin: Option<&str>) -> Result<(), &'static str> {
        check_forwarded(hosts, host, origin, None)
    }

    fn check_forwarded(
        hosts: &ServerHosts,
        host: &str,
        origin: Option<&str>,
        forwarded: Option<ForwardedRequest>,
    ) -> Result<(), &'static str> {
        let mut request = hyper::Request::builder().header(HOST, host);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        if let Some(forwarded) = forwarded {
            head.extensions.insert(forwarded);
        }
        hosts.check(&head).map_err(|error| match error {
            RequestError::ForeignHost { .. } => "host",
            _ => "origin",
        })
    }

    #[test]
    fn a_loopback_server_answers_to_the_names_of_this_machine() {
        let hosts = ServerHosts::new("127.0.0.1:7420".parse().unwrap(), None, &[]);
        for host in ["127.0.0.1:7420", "localhost:7420", "LOCALHOST:7420", "[::1]:7420"] {
            assert_eq!(check(&hosts, host, None), Ok(()), "{host}");
        }
        for host in ["", "localhost", "localhost:80", "evil.example:7420", "127.0.0.1.evil.example:7420", "7420"] {
            assert_eq!(check(&hosts, host, None), Err("host"), "{host}");
        }
        for origin in ["null", "http://evil.example", "https://localhost:7420", "http://localhost:7420.evil.example"] {
            assert_eq!(check(&hosts, "localhost:7420", Some(origin)), Err("origin"), "{origin}");
        }
        assert_eq!(check(&hosts, "localhost:7420", Some("http://localhost:7420")), Ok(()));
    }

    #[test]
    fn what_a_proxy_forwards_is_checked_as_well() {
        let hosts = ServerHosts::new("127.0.0.1:7420".parse().unwrap(), None, &["integ.example".to_owned()]);
        let forwarded = |host: &str, scheme: &str| {
            Some(ForwardedRequest { host: Some(host.to_owned()), scheme: Some(scheme.to_owned()) })
        };
        let own = Some("https://integ.example");
        assert_eq!(check(&hosts, "127.0.0.1:7420", own), Err("origin"));
        assert_eq!(check_forwarded(&hosts, "127.0.0.1:7420", own, forwarded("integ.example", "https")), Ok(()));
        assert_eq!(check_forwarded(&hosts, "127.0.0.1:7420", None, forwarded("evil.example", "https")), Err("host"));
        assert_eq!(check_forwarded(&hosts, "evil.example", None, forwarded("integ.example", "https")), Err("host"));
        let other = Some("https://evil.example");
        assert_eq!(
            check_forwarded(&hosts, "127.0.0.1:7420", other, forwarded("integ.example", "https")),
            Err("origin")
        );
    }

    #[test]
    fn a_public_url_and_further_hosts_are_allowed() {
        let url = Url::parse("https://integ.example.com/base/").unwrap();
        let further = ["api.internal".to_owned()];
        let hosts = ServerHosts::new("10.0.0.5:7420".parse().unwrap(), Some(&url), &further);
        for host in ["integ.example.com", "10.0.0.5:7420", "api.internal", "api.internal:7420"] {
            assert_eq!(check(&hosts, host, None), Ok(()), "{host}");
        }
        assert_eq!(check(&hosts, "localhost:7420", None), Err("host"));
        assert_eq!(check(&hosts, "integ.example.com", Some("https://integ.example.com")), Ok(()));
        assert_eq!(check(&hosts, "integ.example.com", Some("http://integ.example.com")), Err("origin"));
    }
}
