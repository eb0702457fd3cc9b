//! `http.allow`: exceptions of the egress guard for non-public addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A host by its name, or a block of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedAddress {
    /// In lower case, ASCII, without a dot at its end. Wherever it resolves to is allowed.
    Host(String),
    Network(IpNet),
}

impl AllowedAddress {
    /// Whether a host is allowed by its name, as [`url::Url`] writes it.
    pub fn matches_host(&self, host: &str) -> bool {
        matches!(self, Self::Host(name) if name.eq_ignore_ascii_case(host.trim_end_matches('.')))
    }

    /// Whether an IP address lies in the allowed block; never true of a host name.
    pub fn contains(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&address))
    }
}

impl FromStr for AllowedAddress {
    type Err = ();

    /// An address, a block such as `10.1.0.0/16`, or the name of one host; no wildcards.
    fn from_str(text: &str) -> Result<Self, ()> {
        let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        if bare.contains('/') {
            // What is right of the prefix would be ignored: a slip such as 10.1.2.3/8 is not guessed at.
            let network: IpNet = bare.parse().map_err(|_| ())?;
            return if network.trunc() == network { Ok(Self::Network(network)) } else { Err(()) };
        }
        match url::Host::parse(bare.trim_end_matches('.')) {
            Ok(url::Host::Domain(name)) if !name.contains('*') => Ok(Self::Host(name)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for AllowedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => network.addr().fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_addresses_and_blocks_are_read_and_written() {
        let round = |text: &str| AllowedAddress::from_str(text).map(|allowed| allowed.to_string());
        for (given, kept) in [
            ("127.0.0.1", "127.0.0.1"),
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("[::1]", "::1"),
            ("fd00::/8", "fd00::/8"),
            ("Hooks.Internal.", "hooks.internal"),
            ("münchen.example", "xn--mnchen-3ya.example"),
        ] {
            assert_eq!(round(given).as_deref(), Ok(kept), "{given}");
        }
        for bad in ["", "10.1.2.3/8", "10.0.0.0/33", "*.internal", "a b", "127.1", "http://x", "x:80"] {
            assert_eq!(round(bad), Err(()), "{bad:?}");
        }
    }
}
