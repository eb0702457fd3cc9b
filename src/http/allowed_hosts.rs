//! The allowed hosts of a live connection.

use std::collections::BTreeSet;
use std::net::IpAddr;

use url::{Host, Url};

use super::egress::{AddressClass, EgressRefusal, classify, is_localhost};
use super::{HttpError, is_loopback};

/// The declared hosts of a connector file, resolved for one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    /// Hosts and ports that the file names.
    declared: BTreeSet<(String, u16)>,
    /// Hosts and ports that the user typed. Only these may be addresses of this machine or of a private network.
    user_provided: BTreeSet<(String, u16)>,
    /// The user typed a URL of this machine, and its answers may name other ports of it.
    is_loopback_open: bool,
    /// What values of answers may name: `*.salesforce.com`, a host, or `*` for any public one.
    patterns: BTreeSet<String>,
}

/// Why a URL may be asked, which decides what its name may resolve to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostTrust {
    /// The user typed the host: any address.
    UserProvided,
    /// A connector file or an answer names it: public addresses only.
    Declared,
}

impl AllowedHosts {
    /// Allows https requests to the host and port of a URL from the connector file, at public addresses only.
    pub fn declare(&mut self, url: &Url) {
        self.declared.extend(host_and_port(url));
    }

    /// Allows requests to the host and port of a URL that the user typed, even at a private address.
    pub fn allow_user_provided(&mut self, url: &Url) {
        self.user_provided.extend(host_and_port(url));
    }

    /// Allows requests to every port of this machine, for a service on it whose parts have ports of their own.
    pub fn allow_loopback(&mut self) {
        self.is_loopback_open = true;
    }

    /// Allows https requests on port 443 to the hosts that match a pattern, as in `*.example.com`.
    pub fn pattern(&mut self, pattern: &str) {
        self.patterns.insert(pattern.to_owned());
    }

    /// Decides whether a request may go to a URL.
    ///
    /// # Errors
    /// [`HttpError::Undeclared`] for another host, [`HttpError::SpecialAddress`] for a special-purpose address that the user did
    /// not type.
    pub fn check(&self, url: &Url) -> Result<HostTrust, HttpError> {
        let place = host_and_port(url);
        if place.as_ref().is_some_and(|place| self.user_provided.contains(place)) {
            return Ok(HostTrust::UserProvided);
        }
        if self.is_loopback_open && is_loopback(url) {
            return Ok(HostTrust::UserProvided);
        }
        check_literal(url)?;
        let (host, port) = place.unwrap_or_default();
        let declared = url.scheme() == "https"
            && (self.declared.contains(&(host.clone(), port))
                || (port == 443 && self.patterns.iter().any(|pattern| matches(pattern, &host))));
        if declared { Ok(HostTrust::Declared) } else { Err(HttpError::Undeclared { host }) }
    }
}

/// Refuses addresses, and names that always mean this machine, without asking a resolver.
fn check_literal(url: &Url) -> Result<(), HttpError> {
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        Some(Host::Domain(name)) if is_localhost(name) => IpAddr::from([127, 0, 0, 1]),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    match classify(address) {
        AddressClass::Public => Ok(()),
        AddressClass::Special(purpose) => {
            let host = url.host_str().unwrap_or_default().to_owned();
            Err(HttpError::SpecialAddress(EgressRefusal { host, address, purpose }))
        }
    }
}

/// Whether a host is one that a pattern names.
pub fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}

fn host_and_port(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn reach() -> AllowedHosts {
        let mut reach = AllowedHosts::default();
        reach.declare(&url("https://api.acme.example"));
        reach.allow_user_provided(&url("http://127.0.0.1:9000"));
        reach.pattern("*.force.example");
        reach
    }

    #[test]
    fn declared_hosts_patterns_and_typed_origins_are_admitted() {
        let admitted = |text: &str| reach().check(&url(text)).ok();
        assert_eq!(admitted("https://api.acme.example/x"), Some(HostTrust::Declared));
        assert_eq!(admitted("https://eu.force.example/x"), Some(HostTrust::Declared));
        assert_eq!(admitted("http://127.0.0.1:9000/x"), Some(HostTrust::UserProvided));
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "https://api.acme.example:8443/",
            "http://api.acme.example/",
            "https://acme.example/",
            "https://force.example/",
            "https://evilforce.example/",
            "https://eu.force.example:8443/",
            "https://eu.force.example.evil.example/",
            "http://127.0.0.1:9001/",
            "https://127.0.0.1:9000.evil.example/",
        ] {
            let Ok(url) = Url::parse(text) else { continue };
            assert!(reach().check(&url).is_err(), "{text}");
        }
    }

    #[test]
    fn a_service_on_this_machine_may_name_its_other_ports_and_no_private_network() {
        let mut reach = AllowedHosts::default();
        reach.pattern("*");
        reach.allow_loopback();
        for text in ["http://127.0.0.1:9001/x", "http://localhost:9002/", "http://[::1]:9003/"] {
            assert_eq!(reach.check(&url(text)).ok(), Some(HostTrust::UserProvided), "{text}");
        }
        for text in ["http://10.0.0.1/", "https://169.254.169.254/", "https://192.168.1.1/", "https://a.localhost/"] {
            assert!(reach.check(&url(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_for_any_host_admits_no_special_address() {
        let mut reach = AllowedHosts::default();
        reach.pattern("*");
        assert_eq!(reach.check(&url("https://anything.example")).unwrap(), HostTrust::Declared);
        for text in [
            "https://127.0.0.1",
            "https://localhost",
            "https://a.localhost",
            "https://169.254.169.254",
            "https://[::1]",
            "https://10.0.0.1",
            "https://0x7f.1",
            "https://[::ffff:127.0.0.1]",
            "https://192.168.1.1",
            "http://127.0.0.1:9100",
        ] {
            assert!(matches!(reach.check(&url(text)), Err(HttpError::SpecialAddress(_))), "{text}");
        }
    }
}
