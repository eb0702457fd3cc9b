//! Loopback ports, bound so that no other user can answer instead of integ.
//!
//! A browser or a tunnel that is sent to `localhost` may try `::1` first and `127.0.0.1` second, whatever /etc/hosts says.
//! A program that listens at the other address of the same port then gets what was meant for integ. Hence both are bound, or
//! neither. Nothing here sets `SO_REUSEPORT`; the standard library's `SO_REUSEADDR` lets nobody share a port that is
//! listened on, not even by a wildcard address (on Linux; a test asks the kernel as a second user). A socket bound to `::1`
//! never takes IPv4 connections, so that `IPV6_V6ONLY` has nothing to add.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use thiserror::Error;

use super::peer;

/// How many ports are tried for one that is free at both addresses.
const MAX_TRIES: usize = 32;

/// Which addresses a port is bound at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddresses {
    /// What a name such as `localhost` may lead to: both families, as far as the machine has them.
    Both,
    /// One address and nothing else.
    Only(IpAddr),
}

/// A user of this machine, with the name that /etc/passwd has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsAccount {
    pub uid: u32,
    pub name: Option<String>,
}

impl fmt::Display for OsAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "user {name} (uid {})", self.uid),
            None => write!(f, "the user with uid {}", self.uid),
        }
    }
}

/// A port that cannot be listened on, and who has it, where the system says so.
#[derive(Debug, Error)]
#[error("cannot listen on {address}{}", holder.as_ref().map_or_else(String::new, |holder| format!(": {holder} listens there")))]
pub struct BindError {
    pub address: SocketAddr,
    pub holder: Option<OsAccount>,
    #[source]
    pub source: io::Error,
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        let taken = source.kind() == io::ErrorKind::AddrInUse;
        Self { address, holder: if taken { peer::listener_at(address) } else { None }, source }
    }
}

/// Binds a port at the addresses; port 0 takes one that is free at all of them.
///
/// # Errors
/// [`BindError`] names the address that is taken. IPv6 is left out where the machine has none.
pub fn bind(addresses: ListenAddresses, port: u16) -> Result<Vec<TcpListener>, BindError> {
    let ip = match addresses {
        ListenAddresses::Only(ip) => return Ok(vec![listen(SocketAddr::new(ip, port))?]),
        ListenAddresses::Both => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let first = listen(SocketAddr::new(ip, port))?;
        let address = first.local_addr().map_err(|error| BindError::new(SocketAddr::new(ip, port), error))?;
        let second = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port());
        return match listen(second) {
            Ok(second) => Ok(vec![first, second]),
            Err(error) if is_absent(&error.source) => Ok(vec![first]),
            // A free port of the one family may be taken in the other.
            Err(error) if port == 0 && error.source.kind() == io::ErrorKind::AddrInUse && tries < MAX_TRIES => {
                continue;
            }
            Err(error) => Err(error),
        };
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).map_err(|source| BindError::new(address, source))
}

/// Whether the machine has no such address at all: IPv6 is turned off (`EADDRNOTAVAIL`), or the kernel was built without it
/// (`EAFNOSUPPORT`).
fn is_absent(error: &io::Error) -> bool {
    #[cfg(unix)]
    let unsupported = error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    #[cfg(not(unix))]
    // WSAEAFNOSUPPORT
    let unsupported = error.raw_os_error() == Some(10047);
    unsupported || error.kind() == io::ErrorKind::AddrNotAvailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_at_both_addresses_or_at_neither() {
        let both = bind(ListenAddresses::Both, 0).unwrap();
        let port = both[0].local_addr().unwrap().port();
        assert!(both.iter().all(|one| one.local_addr().unwrap().ip().is_loopback()));
        for held in &both {
            let ip = held.local_addr().unwrap().ip();
            let error = bind(ListenAddresses::Only(ip), port).unwrap_err();
            assert_eq!(error.address, SocketAddr::new(ip, port));
            assert!(error.to_string().contains(&error.address.to_string()), "{error}");
        }
        drop(both);
        bind(ListenAddresses::Both, port).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_error_names_who_listens() {
        let held = bind(ListenAddresses::Both, 0).unwrap();
        let error = bind(ListenAddresses::Both, held[0].local_addr().unwrap().port()).unwrap_err();
        assert_eq!(error.holder.unwrap().uid, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn a_family_that_is_missing_is_told_from_an_address_that_is_taken() {
        assert!(is_absent(&io::ErrorKind::AddrNotAvailable.into()));
        assert!(!is_absent(&io::ErrorKind::AddrInUse.into()));
    }
}
