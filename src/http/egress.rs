//! The egress guard: the addresses that the user's URLs may lead to.
//!
//! A connector's URLs come from its file. Those of hooks and endpoints come from anyone who may change a setting or call the
//! API, so that a name or a redirect could lead them to this machine, its network or its cloud's metadata (SSRF). The
//! guard therefore asks the resolver itself, refuses a host of which any answer is a special-purpose address (faults 74,
//! 77), and hands the connection those very addresses: nothing is resolved a second time (fault 76). No redirect is
//! followed and no proxy is used, since either would resolve the name again.
//!
//! What a name is spelt as needs no rules: [`url::Url`] has turned `127.1`, octal, hexadecimal, full-width digits and a
//! dot at the end into an address before the guard sees it (WHATWG URL, section 3.5; fault 75), and refuses zone ids.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use url::{Host, Url};

use crate::config::AllowedAddress;

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// A public host, judging by the address.
    Public,
    Special(AddressPurpose),
}

/// Why an address is not a public host's, in the words of the registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPurpose(&'static str);

impl fmt::Display for AddressPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, d: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

/// The IANA IPv4 Special-Purpose Address Registry, multicast, and the one public address that is a cloud's own.
const IPV4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this network (RFC 791)"),
    (v4(10, 0, 0, 0, 8), "private (RFC 1918)"),
    (v4(100, 64, 0, 0, 10), "shared by a carrier's NAT (RFC 6598)"),
    (v4(127, 0, 0, 0, 8), "loopback (RFC 1122)"),
    (v4(168, 63, 129, 16, 32), "Azure's own services"),
    (v4(169, 254, 0, 0, 16), "link-local, where clouds keep their metadata (RFC 3927)"),
    (v4(172, 16, 0, 0, 12), "private (RFC 1918)"),
    (v4(192, 0, 0, 0, 24), "for protocols (RFC 6890)"),
    (v4(192, 0, 2, 0, 24), "documentation (RFC 5737)"),
    (v4(192, 31, 196, 0, 24), "AS112 (RFC 7535)"),
    (v4(192, 52, 193, 0, 24), "AMT (RFC 7450)"),
    (v4(192, 88, 99, 0, 24), "6to4 relays (RFC 7526)"),
    (v4(192, 168, 0, 0, 16), "private (RFC 1918)"),
    (v4(192, 175, 48, 0, 24), "AS112 (RFC 7534)"),
    (v4(198, 18, 0, 0, 15), "benchmarking (RFC 2544)"),
    (v4(198, 51, 100, 0, 24), "documentation (RFC 5737)"),
    (v4(203, 0, 113, 0, 24), "documentation (RFC 5737)"),
    (v4(224, 0, 0, 0, 4), "multicast (RFC 5771)"),
    (v4(240, 0, 0, 0, 4), "reserved (RFC 1112)"),
];

/// The IANA IPv6 Special-Purpose Address Registry and what embeds an IPv4 address; the first that fits says why. Only
/// 2000::/3 is given out to hosts at all (RFC 4291 section 2.4), so that the rest need not be known one by one.
const IPV6: &[(Ipv6Net, &str)] = &[
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "unspecified (RFC 4291)"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback (RFC 4291)"),
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96), "IPv4-compatible (RFC 4291)"),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), "IPv4-mapped (RFC 4291)"),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96), "IPv4-translated (RFC 2765)"),
    (v6(0x64, 0xff9b, 0, 0, 96), "NAT64 (RFC 6052)"),
    (v6(0x64, 0xff9b, 1, 0, 48), "a network's own NAT64 (RFC 8215)"),
    (v6(0x100, 0, 0, 0, 64), "discarded (RFC 6666)"),
    (v6(0x100, 0, 0, 1, 64), "a dummy prefix (RFC 9780)"),
    (v6(0x2001, 0, 0, 0, 32), "Teredo (RFC 4380)"),
    (v6(0x2001, 0, 0, 0, 23), "for protocols (RFC 2928)"),
    (v6(0x2001, 0xdb8, 0, 0, 32), "documentation (RFC 3849)"),
    (v6(0x2002, 0, 0, 0, 16), "6to4 (RFC 3056)"),
    (v6(0x2620, 0x4f, 0x8000, 0, 48), "AS112 (RFC 7534)"),
    (v6(0x3fff, 0, 0, 0, 20), "documentation (RFC 9637)"),
    (v6(0x5f00, 0, 0, 0, 16), "segment routing (RFC 9602)"),
    (v6(0xfc00, 0, 0, 0, 7), "unique-local, where clouds keep their metadata (RFC 4193)"),
    (v6(0xfe80, 0, 0, 0, 10), "link-local (RFC 4291)"),
    (v6(0xfec0, 0, 0, 0, 10), "site-local (RFC 3879)"),
    (v6(0xff00, 0, 0, 0, 8), "multicast (RFC 4291)"),
];

const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 0, 3);

/// What an address is for. Pure.
pub fn classify(address: IpAddr) -> AddressClass {
    let purpose = match address {
        IpAddr::V4(address) => IPV4.iter().find(|(block, _)| block.contains(&address)).map(|(_, purpose)| *purpose),
        IpAddr::V6(address) => {
            let known = IPV6.iter().find(|(block, _)| block.contains(&address)).map(|(_, purpose)| *purpose);
            known.or_else(|| (!GLOBAL_UNICAST.contains(&address)).then_some("not given out to hosts (RFC 4291)"))
        }
    };
    purpose.map_or(AddressClass::Public, |purpose| AddressClass::Special(AddressPurpose(purpose)))
}

/// An address that the guard does not let through.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{address} is {purpose}", if *host == address.to_string() { String::new() } else { format!("{host} leads to an address that is not public: ") })]
pub struct EgressRefusal {
    pub host: String,
    pub address: IpAddr,
    pub purpose: AddressPurpose,
}

/// Decides about hosts, and finds their addresses.
#[derive(Clone)]
pub struct EgressGuard {
    allow: Arc<[AllowedAddress]>,
    resolver: Arc<dyn Resolve>,
}

impl fmt::Debug for EgressGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("allow", &self.allow).finish_non_exhaustive()
    }
}

impl EgressGuard {
    /// With the setting `http.allow`, and the system's resolver.
    pub fn new(allow: &[AllowedAddress]) -> Self {
        Self::resolving_by(allow, Arc::new(SystemResolver))
    }

    fn resolving_by(allow: &[AllowedAddress], resolver: Arc<dyn Resolve>) -> Self {
        Self { allow: allow.into(), resolver }
    }

    /// Judges a host that is an address; a name is judged when it is resolved.
    ///
    /// # Errors
    /// [`EgressRefusal`].
    pub fn check(&self, url: &Url) -> Result<(), EgressRefusal> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check_addresses(&address.to_string(), &[address.into()]),
            Some(Host::Ipv6(address)) => self.check_addresses(&address.to_string(), &[address.into()]),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// Whether the host may be called at these addresses: at all of them, or not at all.
    fn check_addresses(&self, host: &str, addresses: &[IpAddr]) -> Result<(), EgressRefusal> {
        if self.allow.iter().any(|allowed| allowed.matches_host(host)) {
            return Ok(());
        }
        for address in addresses {
            if let AddressClass::Special(purpose) = classify(*address)
                && !self.allow.iter().any(|allowed| allowed.contains(*address))
            {
                return Err(EgressRefusal { host: host.to_owned(), address: *address, purpose });
            }
        }
        Ok(())
    }
}

impl Resolve for EgressGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, host) = (self.clone(), name.as_str().to_owned());
        Box::pin(async move {
            let found: Vec<_> = guard.resolver.resolve(name).await?.collect();
            let addresses: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
            guard.check_addresses(&host, &addresses)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// `getaddrinfo`, on a thread of the runtime's; but `localhost` is this machine, whatever the system makes of it.
pub(super) struct SystemResolver;

/// Whether a name is always this machine's (RFC 6761 section 6.3). A small system may have no /etc/hosts, and would ask the
/// network for it.
pub fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            if is_localhost(name.as_str()) {
                let both: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
                return Ok(Box::new(both.into_iter()) as Addrs);
            }
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Every block that is refused, with its purpose: for the manual.
pub fn blocks() -> impl Iterator<Item = (IpNet, AddressPurpose)> {
    let v4 = IPV4.iter().map(|(block, purpose)| (IpNet::V4(*block), AddressPurpose(purpose)));
    v4.chain(IPV6.iter().map(|(block, purpose)| (IpNet::V6(*block), AddressPurpose(purpose))))
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
