//! Finds the process at the other end of a local connection.
//!
//! Loopback keeps other machines out, not other users. Linux lists every socket of the network namespace with its owner in
//! /proc/net/tcp and /proc/net/tcp6 (`sock_diag` would say the same by netlink, from a module that containers often lack).
//! The row is the peer's: its local address is our remote one. A socket that its process has closed is listed with uid 0,
//! which is why only an established one with an inode counts; and a row that is missing means that the peer is of another
//! namespace, which is a stranger as well.
//!
//! macOS and Windows: not checked. macOS shows a process the sockets of its own user only, and Windows' owner tables name a
//! process whose user needs more rights to ask for; both need unsafe code.

use std::io::BufRead;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::loopback::OsAccount;

/// A list can miss a row that moves while it is read: it is read again this often, after this wait.
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(40);

/// Both ends of an accepted connection; a request has it among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketPair {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerOwner {
    /// A process of the user who runs this one, or of root.
    CurrentUser,
    /// A process of another user.
    OtherUser(OsAccount),
    /// No process that this system lists: another namespace, a proxy of a container, or a socket that was closed.
    Unknown,
    /// This system is not asked.
    Unchecked,
}

/// Finds out who is at the other end.
pub async fn identify(ends: SocketPair) -> PeerOwner {
    if !cfg!(target_os = "linux") {
        return PeerOwner::Unchecked;
    }
    for number in 0..TRIES {
        if number > 0 {
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        // The kernel takes milliseconds to write the list of a large machine.
        let found = tokio::task::spawn_blocking(move || find_uid(|row| row.is_peer_of(ends), ends.remote)).await;
        if let Ok(Some(uid)) = found {
            return if uid == own_uid() || uid == 0 {
                PeerOwner::CurrentUser
            } else {
                PeerOwner::OtherUser(account(uid))
            };
        }
    }
    PeerOwner::Unknown
}

/// Who listens at an address, by itself or by a wildcard.
pub(super) fn listener_at(address: SocketAddr) -> Option<OsAccount> {
    let wildcard = |row: &SocketEntry| row.local.ip().is_unspecified() && row.local.port() == address.port();
    find_uid(|row| row.state == SocketState::Listening && (row.local == address || wildcard(row)), address).map(account)
}

#[cfg(unix)]
fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn own_uid() -> u32 {
    0
}

/// The owner of the first row that fits. An IPv4 address may be listed as IPv6, where the program asked for both.
fn find_uid(fits: impl Fn(&SocketEntry) -> bool, address: SocketAddr) -> Option<u32> {
    let lists: &[&str] = if address.is_ipv4() { &["/proc/net/tcp", "/proc/net/tcp6"] } else { &["/proc/net/tcp6"] };
    lists.iter().find_map(|list| {
        let rows = std::io::BufReader::new(std::fs::File::open(list).ok()?);
        rows.lines().map_while(Result::ok).filter_map(|line| SocketEntry::parse(&line)).find(&fits).map(|row| row.uid)
    })
}

fn account(uid: u32) -> OsAccount {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    OsAccount { uid, name }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SocketState {
    Established,
    Listening,
    Other,
}

/// A line of /proc/net/tcp or tcp6 (proc_pid_net(5)).
#[derive(Debug, PartialEq, Eq)]
struct SocketEntry {
    local: SocketAddr,
    remote: SocketAddr,
    state: SocketState,
    uid: u32,
    inode: u64,
}

impl SocketEntry {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (address(words.next()?)?, address(words.next()?)?);
        let state = match words.next()? {
            "01" => SocketState::Established,
            "0A" => SocketState::Listening,
            _ => SocketState::Other,
        };
        let uid = words.nth(3)?.parse().ok()?;
        let inode = words.nth(1)?.parse().ok()?;
        Some(Self { local, remote, state, uid, inode })
    }

    fn is_peer_of(&self, ends: SocketPair) -> bool {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        self.state == SocketState::Established
            && self.inode != 0
            && canonical(self.local) == canonical(ends.remote)
            && canonical(self.remote) == canonical(ends.local)
    }
}

/// `0100007F:22CE`: the address as the machine's own 32-bit words, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that a little-endian kernel wrote: a client, the same closed by its process, an IPv6 one, a mapped one.
    const CLIENT: &str =
        "   2: 0100007F:A83E 0100007F:E923 01 00000000:00000000 00:00000000 00000000 61002        0 51812 2 x 20 0";
    const CLOSED: &str =
        "   2: 0100007F:A83E 0100007F:E923 05 00000000:00000000 03:0000176F 00000000     0        0 0 3 x";
    const MAPPED: &str = "   2: 0000000000000000FFFF00000100007F:A83E 0000000000000000FFFF00000100007F:E923 01 \
                          00000000:00000000 00:00000000 00000000 61002        0 51844 2 x 20 0 0 10 -1";
    const SIX: &str = "   1: 00000000000000000000000001000000:A83E 00000000000000000000000001000000:E923 01 \
                       00000000:00000000 00:00000000 00000000 61002        0 52823 2 x 20 0 0 10 -1";

    fn ends(ip: &str) -> SocketPair {
        let ip: IpAddr = ip.parse().unwrap();
        SocketPair { local: SocketAddr::new(ip, 0xE923), remote: SocketAddr::new(ip, 0xA83E) }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_row_of_the_peer_is_found_in_both_lists() {
        for (line, ip) in [(CLIENT, "127.0.0.1"), (MAPPED, "127.0.0.1"), (SIX, "::1")] {
            let row = SocketEntry::parse(line).unwrap();
            assert!(row.is_peer_of(ends(ip)), "{row:?}");
            assert_eq!(row.uid, 61002);
            let SocketPair { local, remote } = ends(ip);
            assert!(!row.is_peer_of(SocketPair { local: remote, remote: local }), "our own end is not the peer's");
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_closed_socket_is_nobodys_although_the_list_says_root() {
        let row = SocketEntry::parse(CLOSED).unwrap();
        assert_eq!((row.uid, row.state), (0, SocketState::Other));
        assert!(!row.is_peer_of(ends("127.0.0.1")));
        let waiting = CLIENT.replace("61002        0 51812", "    0        0 0");
        assert!(
            !SocketEntry::parse(&waiting).unwrap().is_peer_of(ends("127.0.0.1")),
            "not accepted yet: no process has it"
        );
    }

    #[test]
    fn what_is_no_row_is_passed_over() {
        for line in [
            "",
            "  sl  local_address rem_address   st",
            "0: 0100007F:A83E",
            "0: 01:1 02:2 01 a b c 1 0 1",
            "0: é0000000:1 x",
        ] {
            assert_eq!(SocketEntry::parse(line), None, "{line}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_its_own_peer_and_a_stranger_is_unknown() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for ip in ["127.0.0.1", "::1"] {
            let Ok(listener) = std::net::TcpListener::bind((ip, 0)) else { continue };
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, remote) = listener.accept().unwrap();
            let ends = SocketPair { local: server.local_addr().unwrap(), remote };
            assert_eq!(runtime.block_on(identify(ends)), PeerOwner::CurrentUser);
            let stranger = SocketPair { remote: SocketAddr::new(remote.ip(), 1), ..ends };
            assert_eq!(runtime.block_on(identify(stranger)), PeerOwner::Unknown);
        }
    }
}
