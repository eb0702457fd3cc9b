//! The agent's process.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::MlockAllFlags;
use zeroize::Zeroizing;

use super::client::RunningAgent;
use super::protocol::{self, AgentRequest, EXCHANGE_TIMEOUT, FileDigest, SOCKET_NAME, SocketFolder, Status};
use crate::clock::BootStopwatch;
use crate::hex;
use crate::secret::Secret;
use crate::vault::identity::{self, DecryptFailure, Identity};

/// How often it looks whether its socket is still there, and whether the deadline has passed while the machine slept.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes, more than an identity has.
const MAX_IDENTITY: u64 = 4096;

/// Runs the agent: its arguments are the socket's folder, the lifetime in seconds and the identity file's SHA-256 in
/// hexadecimal; the identity is on stdin. It says [`protocol::READY`] or why not on stdout.
pub(crate) fn serve() -> ExitCode {
    // A Ctrl-C or the end of the terminal where it was started must not end it.
    let _ = rustix::process::setsid();
    // Secrets lock their own pages; this keeps copies on the stack out of swap as well, if the limit allows it.
    let _ = rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
    let (agent, listener) = match start() {
        Ok(started) => started,
        Err(error) => {
            let _ = writeln!(io::stdout(), "{error}");
            return ExitCode::FAILURE;
        }
    };
    // The parent reads until stdout is closed.
    let _ = writeln!(io::stdout(), "{}", protocol::READY);
    let null = fs::File::options().write(true).open("/dev/null");
    let _ = null.map(rustix::stdio::dup2_stdout);
    agent.run(&listener);
    ExitCode::SUCCESS
}

fn start() -> io::Result<(Agent, UnixListener)> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let mut arguments = std::env::args_os().skip(2);
    let folder = PathBuf::from(arguments.next().ok_or_else(invalid)?);
    let mut text = || arguments.next().and_then(|argument| argument.into_string().ok()).ok_or_else(invalid);
    let lifetime = Duration::from_secs(text()?.parse().map_err(|_| invalid())?);
    let file = hex::decode(&text()?).and_then(|bytes| bytes.try_into().ok()).ok_or_else(invalid)?;
    let mut read = Zeroizing::new(String::with_capacity(MAX_IDENTITY as usize));
    io::stdin().lock().take(MAX_IDENTITY).read_to_string(&mut read)?;
    let secret = Secret::from(read.as_str());
    let recipient = Identity::parse(secret.expose()).ok_or_else(invalid)?.recipient();
    let replaced = RunningAgent::find(&folder);
    let (listener, socket) = bind(&folder)?;
    // Without this it would go on until it notices that its socket was replaced.
    let _ = replaced.map(RunningAgent::stop);
    Ok((Agent { secret, recipient, file, lifetime, started: BootStopwatch::start(), folder, socket }, listener))
}

/// Which file a path leads to: its device and inode.
type FileId = (u64, u64);

fn file_id(path: &Path) -> io::Result<FileId> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Listens at a socket of another name and renames it, so that of several that start at once the last is in place, and the
/// others notice it.
fn bind(folder: &Path) -> io::Result<(UnixListener, FileId)> {
    let opened = SocketFolder::open(folder)?;
    let temporary = opened.path(format!(".{SOCKET_NAME}.{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary)?;
    let placed = fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))
        .and_then(|()| file_id(&temporary))
        .and_then(|id| fs::rename(&temporary, opened.path(SOCKET_NAME)).map(|()| id));
    let id = placed.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    listener.set_nonblocking(true)?;
    Ok((listener, id))
}

struct Agent {
    /// Parsed for each use: the text's page is locked in memory.
    secret: Secret,
    recipient: String,
    file: FileDigest,
    lifetime: Duration,
    started: BootStopwatch,
    folder: PathBuf,
    socket: FileId,
}

impl Agent {
    /// Answers one request after another until the deadline, until it is stopped, or until its socket is not in place any more.
    fn run(&self, listener: &UnixListener) {
        while let Some(remaining) = self.remaining().filter(|_| self.is_in_place()) {
            let wait = remaining.min(CHECK_INTERVAL);
            let timeout = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: i64::from(wait.subsec_nanos()) };
            let _ = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout));
            let Ok((stream, _)) = listener.accept() else { continue };
            if self.remaining().is_none() || self.answer(stream).is_ok_and(|request| request == AgentRequest::Stop) {
                break;
            }
        }
        if self.is_in_place() {
            let _ = fs::remove_file(self.folder.join(SOCKET_NAME));
        }
    }

    fn remaining(&self) -> Option<Duration> {
        self.lifetime.checked_sub(self.started.elapsed()).filter(|remaining| !remaining.is_zero())
    }

    fn is_in_place(&self) -> bool {
        file_id(&self.folder.join(SOCKET_NAME)).is_ok_and(|id| id == self.socket)
    }

    fn answer(&self, mut stream: UnixStream) -> io::Result<AgentRequest> {
        if !protocol::is_own_user(&stream) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(EXCHANGE_TIMEOUT))?;
        stream.set_write_timeout(Some(EXCHANGE_TIMEOUT))?;
        let (request, file, payload) = protocol::read_request(&mut stream)?;
        let (status, reply) = match request {
            AgentRequest::Stop => (Status::Done, Zeroizing::default()),
            _ if file != self.file => (Status::OtherIdentity, Zeroizing::default()),
            AgentRequest::Describe => (Status::Done, self.describe()),
            AgentRequest::Unseal => self.unseal(&payload),
        };
        protocol::write_reply(&mut stream, status, &reply)?;
        Ok(request)
    }

    fn describe(&self) -> Zeroizing<Vec<u8>> {
        let seconds = self.remaining().unwrap_or_default().as_secs();
        Zeroizing::new([&seconds.to_be_bytes(), self.recipient.as_bytes()].concat())
    }

    fn unseal(&self, sealed: &[u8]) -> (Status, Zeroizing<Vec<u8>>) {
        let opened = match Identity::parse(self.secret.expose()) {
            Some(identity) => identity::decrypt(sealed, &identity),
            None => Err(DecryptFailure::WrongKey),
        };
        match opened {
            Ok(plaintext) => (Status::Done, plaintext),
            Err(DecryptFailure::WrongKey) => (Status::WrongKey, Zeroizing::default()),
            Err(_) => (Status::Damaged, Zeroizing::default()),
        }
    }
}
