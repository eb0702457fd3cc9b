//! Routes a connection's traffic: to the vendor, to another origin with the same paths, or to the sandbox.

use std::sync::Arc;

use url::Url;

use super::HttpError;
use super::allowed_hosts::{AllowedHosts, HostTrust};

/// The origin that stands for the sandbox where a URL is shown or must be given.
pub const SANDBOX_ORIGIN: &str = "https://sandbox.invalid";

/// Applied to every URL of a connection just before it is used, so that nothing of a sandbox can reach a vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To a URL that the user typed or that another guard judges.
    Live,
    /// To a vendor: only to the hosts that the connector declares.
    Vendor(Arc<AllowedHosts>),
    /// `--origin`: an emulator or a recording proxy.
    Origin(Url),
    /// The emulation inside this process.
    Sandbox(Url),
}

impl Route {
    /// The URL to really use.
    ///
    /// # Errors
    /// [`HttpError::Insecure`] for plain http to another machine.
    pub fn resolve(&self, url: &Url) -> Result<Url, HttpError> {
        let mut url = url.clone();
        if let Self::Origin(origin) | Self::Sandbox(origin) = self {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            let moved = url.set_scheme(origin.scheme()).and_then(|()| url.set_host(origin.host_str()).map_err(|_| ()));
            if moved.and_then(|()| url.set_port(origin.port())).is_err() {
                return Err(Self::insecure(&url));
            }
        }
        if !is_safe(&url) {
            return Err(Self::insecure(&url));
        }
        if let Self::Vendor(reach) = self {
            reach.check(&url)?;
        }
        Ok(url)
    }

    /// The URL as it may be shown: where it leads. The address of the sandbox, which is another in every process, is
    /// written as [`SANDBOX_ORIGIN`].
    pub fn display_url(&self, url: &Url) -> Url {
        let sandbox = Url::parse(SANDBOX_ORIGIN).ok();
        let route = match (self, sandbox) {
            (Self::Sandbox(_), Some(origin)) => &Self::Sandbox(origin),
            (route, _) => route,
        };
        route.resolve(url).unwrap_or_else(|_| url.clone())
    }

    /// Whether names are checked when they are resolved: those that the user did not type.
    pub(super) fn is_checked(&self, url: &Url) -> bool {
        matches!(self, Self::Vendor(reach) if !matches!(reach.check(url), Ok(HostTrust::UserProvided)))
    }

    /// Whether requests go to the vendor itself.
    pub fn is_vendor(&self) -> bool {
        matches!(self, Self::Live | Self::Vendor(_))
    }

    fn insecure(url: &Url) -> HttpError {
        HttpError::Insecure { url: super::redact_url(url, &[]), host: url.host_str().unwrap_or_default().to_owned() }
    }

    /// Reads `--origin`: scheme, host and port, https or loopback.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse_origin(text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("{text:?} has a path: an origin is a scheme, a host and a port"));
        }
        if is_safe(&url) { Ok(url) } else { Err(format!("{text:?} is neither https nor on this machine")) }
    }
}

/// https, or plain http to this machine. RFC 8252 section 8.3 and RFC 6749 section 3.1 leave no other.
fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Whether the host is this machine by its very name, without asking a resolver.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn another_origin_keeps_path_and_query() {
        let route = Route::Origin(url("http://127.0.0.1:9000"));
        let resolved = route.resolve(&url("https://slack.com/api/auth.test?x=1")).unwrap();
        assert_eq!(resolved.as_str(), "http://127.0.0.1:9000/api/auth.test?x=1");
        let route = Route::Origin(url("https://proxy.example"));
        assert_eq!(route.resolve(&url("https://a.example:8443/b")).unwrap().as_str(), "https://proxy.example/b");
    }

    #[test]
    fn a_url_is_shown_as_it_is_used() {
        let vendor = url("https://api.stripe.com/v1/charges?limit=1");
        let origin = Route::Origin(url("http://127.0.0.1:9000"));
        assert_eq!(origin.display_url(&vendor).as_str(), "http://127.0.0.1:9000/v1/charges?limit=1");
        let sandbox = Route::Sandbox(url("http://127.0.0.1:4711"));
        assert_eq!(sandbox.display_url(&vendor).as_str(), "https://sandbox.invalid/v1/charges?limit=1");
        assert_eq!(Route::Live.display_url(&vendor), vendor);
    }

    #[test]
    fn a_sandbox_url_is_never_the_vendors() {
        let route = Route::Sandbox(url("http://127.0.0.1:9000"));
        for vendor in ["https://user:pw@slack.com/x", "https://[2001:db8::1]/x", "http://slack.com:80/x"] {
            assert_eq!(route.resolve(&url(vendor)).unwrap().as_str(), "http://127.0.0.1:9000/x");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        assert!(Route::Live.resolve(&url("http://example.com/")).is_err());
        assert!(Route::Live.resolve(&url("http://127.0.0.1.example.com/")).is_err());
        assert!(Route::Live.resolve(&url("http://localhost:1/")).is_ok());
        assert!(Route::Live.resolve(&url("ftp://localhost/")).is_err());
        assert!(Route::parse_origin("http://10.0.0.1").is_err());
        assert!(Route::parse_origin("https://proxy.example/path").is_err());
    }
}
