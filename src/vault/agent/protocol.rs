//! The protocol of the agent's socket: one request and one response per connection.
//!
//! A request is the operation (one byte), the SHA-256 of the identity file (32 bytes) and a payload. A reply is its status
//! (one byte) and a payload. A payload is its length (four bytes, big endian) and as many bytes.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

/// SHA-256 of an identity file.
pub(super) type FileDigest = [u8; 32];

/// The name of the socket in its folder.
pub(super) const SOCKET_NAME: &str = "agent.sock";

/// What the agent says once it can be reached.
pub(super) const READY: &str = "ready";

/// How long either end waits for the other.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a payload; a sealed key has at most 64 KiB.
const MAX_PAYLOAD: u32 = 128 * 1024;

/// A request to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AgentRequest {
    /// The recipient, and the seconds until the deadline: eight bytes, big endian, before it.
    Describe,
    /// The content of the age file in the payload.
    Unseal,
    /// To forget the identity and end, whichever file it is of.
    Stop,
}

/// How the agent replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Done,
    /// It holds the identity of another file.
    OtherIdentity,
    /// The age file is encrypted to somebody else.
    WrongKey,
    /// The age file is damaged.
    Damaged,
}

const REQUESTS: [(u8, AgentRequest); 3] =
    [(1, AgentRequest::Describe), (2, AgentRequest::Unseal), (3, AgentRequest::Stop)];
const STATUSES: [(u8, Status); 4] =
    [(0, Status::Done), (1, Status::OtherIdentity), (2, Status::WrongKey), (3, Status::Damaged)];

pub(super) fn write_request(
    stream: &mut impl Write,
    request: AgentRequest,
    file: &FileDigest,
    payload: &[u8],
) -> io::Result<()> {
    stream.write_all(&[byte_of(&REQUESTS, &request)])?;
    stream.write_all(file)?;
    write_payload(stream, payload)
}

pub(super) fn read_request(stream: &mut impl Read) -> io::Result<(AgentRequest, FileDigest, Zeroizing<Vec<u8>>)> {
    let request = read_word(stream, &REQUESTS)?;
    let mut file = FileDigest::default();
    stream.read_exact(&mut file)?;
    Ok((request, file, read_payload(stream)?))
}

pub(super) fn write_reply(stream: &mut impl Write, status: Status, payload: &[u8]) -> io::Result<()> {
    stream.write_all(&[byte_of(&STATUSES, &status)])?;
    write_payload(stream, payload)
}

pub(super) fn read_reply(stream: &mut impl Read) -> io::Result<(Status, Zeroizing<Vec<u8>>)> {
    Ok((read_word(stream, &STATUSES)?, read_payload(stream)?))
}

fn byte_of<T: PartialEq>(words: &[(u8, T)], word: &T) -> u8 {
    words.iter().find(|(_, known)| known == word).map_or(u8::MAX, |(byte, _)| *byte)
}

fn read_word<T: Copy>(stream: &mut impl Read, words: &[(u8, T)]) -> io::Result<T> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    words.iter().find(|(known, _)| [*known] == byte).map(|(_, word)| *word).ok_or_else(invalid)
}

fn write_payload(stream: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).ok().filter(|length| *length <= MAX_PAYLOAD).ok_or_else(invalid)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(payload)?;
    stream.flush()
}

fn read_payload(stream: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_PAYLOAD {
        return Err(invalid());
    }
    let mut payload = Zeroizing::new(vec![0; length as usize]);
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// The folder of the socket, opened: an address of a socket is at most 107 bytes long (unix(7)), and a folder's path may be longer.
pub(super) struct SocketFolder {
    #[cfg(target_os = "linux")]
    folder: std::os::fd::OwnedFd,
    #[cfg(not(target_os = "linux"))]
    folder: PathBuf,
}

impl SocketFolder {
    #[cfg(target_os = "linux")]
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { folder: rustix::fs::open(folder, flags, Mode::empty())? })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self { folder: folder.to_owned() })
    }

    /// Returns a path to a file in the folder.
    pub(super) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        #[cfg(target_os = "linux")]
        let folder = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.folder)));
        #[cfg(not(target_os = "linux"))]
        let folder = self.folder.clone();
        folder.join(name.as_ref())
    }
}

/// Whether the other end of the socket is a process of this user.
pub(super) fn is_own_user(stream: &std::os::unix::net::UnixStream) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid == rustix::process::geteuid());
    // Elsewhere the folder's mode is what keeps others out.
    #[cfg(not(target_os = "linux"))]
    return true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let mut stream = Vec::new();
        write_request(&mut stream, AgentRequest::Unseal, &[7; 32], b"sealed").unwrap();
        let (request, file, payload) = read_request(&mut &*stream).unwrap();
        assert_eq!((request, file, payload.as_slice()), (AgentRequest::Unseal, [7; 32], b"sealed".as_slice()));
        for length in 0..stream.len() {
            assert!(read_request(&mut &stream[..length]).is_err(), "{length} of {} bytes", stream.len());
        }
    }

    #[test]
    fn a_length_that_is_too_large_is_refused_before_anything_is_allocated() {
        let mut stream = vec![2];
        stream.extend([0; 32]);
        stream.extend(u32::MAX.to_be_bytes());
        assert_eq!(read_request(&mut &*stream).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read_reply(&mut [9, 0, 0, 0, 0].as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
