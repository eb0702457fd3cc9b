//! Finds, starts and stops the agent, and lets it open sealed keys.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use zeroize::Zeroizing;

use super::protocol::{self, AgentRequest, EXCHANGE_TIMEOUT, FileDigest, SOCKET_NAME, SocketFolder, Status};
use super::{AGENT_ARGUMENT, Unseal};
use crate::hash::sha256;
use crate::vault::identity::{DecryptFailure, Identity};
use crate::{hex, program};

/// An identity that an agent holds unlocked.
#[derive(Clone, Debug)]
pub struct UnlockedIdentity {
    folder: PathBuf,
    file: FileDigest,
    recipient: String,
    /// How long it stays unlocked.
    pub remaining: Duration,
}

impl Unseal for UnlockedIdentity {
    fn recipient(&self) -> String {
        self.recipient.clone()
    }

    fn unseal(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
        match RunningAgent::find(&self.folder).and_then(|agent| agent.ask(AgentRequest::Unseal, &self.file, sealed)) {
            Ok((Status::Done, plaintext)) => Ok(plaintext),
            Ok((Status::WrongKey, _)) => Err(DecryptFailure::WrongKey),
            Ok((Status::Damaged, _)) => Err(DecryptFailure::Damaged("it is not intact")),
            Ok((Status::OtherIdentity, _)) | Err(_) => Err(DecryptFailure::AgentStopped),
        }
    }
}

/// Returns what the agent in `folder` holds, if there is one and it holds the identity of this file.
pub(in crate::vault) fn find(folder: &Path, identity_file: &[u8]) -> Option<UnlockedIdentity> {
    let file = sha256(identity_file);
    let (status, described) =
        RunningAgent::find(folder).and_then(|agent| agent.ask(AgentRequest::Describe, &file, &[])).ok()?;
    let (remaining, recipient) = described.split_first_chunk::<8>().filter(|_| status == Status::Done)?;
    Some(UnlockedIdentity {
        folder: folder.to_owned(),
        file,
        recipient: std::str::from_utf8(recipient).ok()?.to_owned(),
        remaining: Duration::from_secs(u64::from_be_bytes(*remaining)),
    })
}

/// Starts an agent that holds the identity of this file for so long, in place of the one that runs. It is ready on return.
///
/// # Errors
/// The I/O error of starting it, or what it says itself, as of a folder that cannot be written.
pub(in crate::vault) fn start(
    folder: &Path,
    identity_file: &[u8],
    identity: &Identity,
    lifetime: Duration,
) -> io::Result<UnlockedIdentity> {
    let file = sha256(identity_file);
    let mut command = program::command(program::own_program()?);
    command.env_clear().current_dir("/").arg(AGENT_ARGUMENT).arg(std::path::absolute(folder)?);
    command.arg(lifetime.as_secs().to_string()).arg(hex::encode(&file));
    let mut agent = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    if let Some(mut stdin) = agent.stdin.take() {
        stdin.write_all(identity.secret().expose().as_bytes())?;
    }
    let mut said = String::new();
    if let Some(stdout) = agent.stdout.take() {
        stdout.take(1024).read_to_string(&mut said)?;
    }
    match said.trim_end() {
        protocol::READY => Ok(UnlockedIdentity {
            folder: folder.to_owned(),
            file,
            recipient: identity.recipient(),
            remaining: lifetime,
        }),
        "" => Err(io::Error::other("it ended at once")),
        reason => Err(io::Error::other(reason.to_owned())),
    }
}

/// Stops the agent in `folder`, which forgets its identity. Returns whether there was one.
pub(in crate::vault) fn stop(folder: &Path) -> bool {
    RunningAgent::find(folder).is_ok_and(RunningAgent::stop)
}

/// An agent that was reached.
pub(super) struct RunningAgent(UnixStream);

impl RunningAgent {
    pub(super) fn find(folder: &Path) -> io::Result<Self> {
        let folder = SocketFolder::open(folder)?;
        let stream = UnixStream::connect(folder.path(SOCKET_NAME))?;
        if !protocol::is_own_user(&stream) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.set_read_timeout(Some(EXCHANGE_TIMEOUT))?;
        stream.set_write_timeout(Some(EXCHANGE_TIMEOUT))?;
        Ok(Self(stream))
    }

    fn ask(
        mut self,
        request: AgentRequest,
        file: &FileDigest,
        payload: &[u8],
    ) -> io::Result<(Status, Zeroizing<Vec<u8>>)> {
        protocol::write_request(&mut self.0, request, file, payload)?;
        protocol::read_reply(&mut self.0)
    }

    /// Makes it forget its identity and end. Returns whether it replied.
    pub(super) fn stop(self) -> bool {
        self.ask(AgentRequest::Stop, &FileDigest::default(), &[]).is_ok()
    }
}
