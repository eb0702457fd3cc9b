//! Programs that integ starts: the command that `exec` runs, browsers, hooks, handlers, the passphrase command.
//!
//! [`command`] is the only way to one, so that none inherits a secret of integ's. [`run`] adds time limits, and ends what
//! the program started; [`run_masked`] hides secrets in what it prints.

mod masked;
mod signals;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use masked::run_masked;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

use crate::clock::RunningLimit;
use crate::env::{self, EnvInheritance};

/// Of what a failed command said, so much is repeated.
const MAX_STDERR_CHARS: usize = 400;

/// The longest value of a variable, in bytes. Values come from services, and the system starts no program with one of 128
/// KiB; whole values are in what the program reads.
pub const MAX_VARIABLE_BYTES: usize = 4096;

/// How long to wait for the rest of what an ended command said: something that it left running may hold its stderr open.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Why a program did not do what it was run for.
#[derive(Debug, Error)]
pub enum ProgramError {
    #[error("the command cannot be split into words: a quote may be missing")]
    InvalidQuoting,
    #[error("cannot run {program}")]
    Spawn { program: String, source: std::io::Error },
    #[error("{program} failed with {status}{}", if stderr.is_empty() { String::new() } else { format!(": {stderr}") })]
    Failed { program: String, status: ExitStatus, stderr: String },
    #[error("{program} did not finish within {after_secs} s")]
    TimedOut { program: String, after_secs: u64 },
}

/// Returns a command with this process's environment, without integ's secrets ([`EnvInheritance::Scrubbed`]).
pub fn command(program: impl AsRef<OsStr>) -> Command {
    command_with_env(program, EnvInheritance::Scrubbed)
}

/// Returns a command with the environment that `inherit` says.
pub fn command_with_env(program: impl AsRef<OsStr>, inherit: EnvInheritance) -> Command {
    scrub(Command::new(program), inherit)
}

/// Returns the path of this program's own file, which on Linux is there even if a newer version has replaced it.
///
/// # Errors
/// That of [`std::env::current_exe`].
pub fn own_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Gives a command that a library made the environment of [`command`]. What the library set in it stays.
pub fn scrub_env(command: Command) -> Command {
    scrub(command, EnvInheritance::Scrubbed)
}

fn scrub(mut command: Command, inherit: EnvInheritance) -> Command {
    let set: Vec<_> = command.get_envs().map(|(name, value)| (name.to_owned(), value.map(OsStr::to_owned))).collect();
    command.env_clear().envs(env::inherited_vars(inherit));
    for (name, value) in set {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Runs a command, split as a shell splits words and run without one. Its environment is the user's without integ's own
/// variables, and with these, each cut at [`MAX_VARIABLE_BYTES`]. It gets no terminal and nothing of integ's output: what it
/// prints is thrown away, and what it complains of is said if it fails.
///
/// # Errors
/// [`ProgramError`].
pub async fn run(
    command: &str,
    timeout: Duration,
    variables: impl IntoIterator<Item = (String, String)>,
    input: &[u8],
) -> Result<(), ProgramError> {
    start(command, timeout, variables, input, None).await
}

/// What a command printed, also one that failed.
#[derive(Debug, Default)]
pub struct ProgramOutput {
    /// The first bytes of its standard output.
    pub stdout: Vec<u8>,
    /// The first [`ProgramOutput::MAX_PRINTED_BYTES`] of its standard output and error, in the order in which they came.
    pub printed: Vec<u8>,
}

impl ProgramOutput {
    /// As much as a person reads.
    pub const MAX_PRINTED_BYTES: usize = 4096;
}

/// Runs a command as [`run`] does. Returns what it printed as well, of its standard output up to `most` bytes.
pub async fn run_captured(
    command: &str,
    timeout: Duration,
    variables: impl IntoIterator<Item = (String, String)>,
    input: &[u8],
    most: usize,
) -> (Result<(), ProgramError>, ProgramOutput) {
    let (mut stdout, printed) = (Vec::new(), Mutex::default());
    let ended = start(command, timeout, variables, input, Some((&mut stdout, most, &printed))).await;
    (ended, ProgramOutput { stdout, printed: printed.into_inner().unwrap_or_else(PoisonError::into_inner) })
}

/// Where what a command prints goes: its standard output up to so many bytes, and both of its outputs.
type Capture<'c> = (&'c mut Vec<u8>, usize, &'c Mutex<Vec<u8>>);

async fn start(
    command: &str,
    timeout: Duration,
    variables: impl IntoIterator<Item = (String, String)>,
    input: &[u8],
    capture: Option<Capture<'_>>,
) -> Result<(), ProgramError> {
    let words = shlex::split(command).filter(|words| !words.is_empty()).ok_or(ProgramError::InvalidQuoting)?;
    let program = words[0].clone();
    let mut command = tokio::process::Command::from(self::command(&program));
    command
        .args(&words[1..])
        .envs(variables.into_iter().map(|(name, value)| (name, bounded(&value))))
        .stdin(Stdio::piped())
        .stdout(if capture.is_some() { Stdio::piped() } else { Stdio::null() })
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // A group of its own: what it starts can be ended with it, and a Ctrl-C at the terminal is not its affair.
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(|source| ProgramError::Spawn { program: program.clone(), source })?;
    let group = ProcessGroup::of(&child);
    let mut stdout = child.stdout.take();
    let both = capture.as_ref().map(|(_, _, both)| *both);
    let conversing = async {
        let (mut nothing, unused) = (Vec::new(), Mutex::default());
        let (kept, most, both_outputs) = capture.unwrap_or((&mut nothing, 0, &unused));
        let mut reading = std::pin::pin!(read_capped(&mut stdout, kept, most, Some(both_outputs)));
        let mut conversing = std::pin::pin!(feed_and_wait(&mut child, input, both));
        tokio::select! {
            ended = &mut conversing => {
                // Something that it left running may hold its stdout open.
                let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
                ended
            }
            () = &mut reading => conversing.await,
        }
    };
    match RunningLimit::new(timeout).wait(conversing).await {
        Some(ended) => {
            group.release();
            let (status, said) = ended.map_err(|source| ProgramError::Spawn { program: program.clone(), source })?;
            if status.success() { Ok(()) } else { Err(ProgramError::Failed { program, status, stderr: said }) }
        }
        None => {
            drop(group);
            // Reaped, unless the kernel itself holds it.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, child.wait()).await;
            Err(ProgramError::TimedOut { program, after_secs: timeout.as_secs() })
        }
    }
}

/// What a variable can hold: no zero byte, and no more than its limit, cut between two characters.
fn bounded(value: &str) -> String {
    let mut value = value.replace('\0', "");
    value.truncate(value.floor_char_boundary(MAX_VARIABLE_BYTES));
    value
}

/// Feeds the command and waits for its end. What it started and left running is not waited for.
async fn feed_and_wait(
    child: &mut Child,
    input: &[u8],
    printed: Option<&Mutex<Vec<u8>>>,
) -> std::io::Result<(ExitStatus, String)> {
    let stdin = child.stdin.take();
    let feeding = async {
        if let Some(mut stdin) = stdin {
            // A command that does not read closes the pipe, and is right to.
            let _ = stdin.write_all(input).await;
        }
    };
    let mut stderr = child.stderr.take();
    let mut said = Vec::new();
    let ended = {
        let listening = read_capped(&mut stderr, &mut said, 4 * MAX_STDERR_CHARS, printed);
        tokio::pin!(listening);
        let ending = async {
            let ((), status) = tokio::join!(feeding, child.wait());
            status
        };
        tokio::pin!(ending);
        tokio::select! {
            status = &mut ending => {
                let _ = tokio::time::timeout(DRAIN_TIMEOUT, listening).await;
                status
            }
            () = &mut listening => ending.await,
        }
    };
    let said: String = String::from_utf8_lossy(&said).trim().chars().take(MAX_STDERR_CHARS).collect();
    Ok((ended?, said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()))
}

/// Reads to the end, and keeps no more than `most` bytes; of several outputs together, `printed` keeps the first bytes.
async fn read_capped(
    output: &mut Option<impl AsyncRead + Unpin>,
    said: &mut Vec<u8>,
    most: usize,
    printed: Option<&Mutex<Vec<u8>>>,
) {
    let Some(output) = output else { return };
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = output.read(&mut chunk).await {
        let room = most.saturating_sub(said.len());
        said.extend_from_slice(&chunk[..count.min(room)]);
        if let Some(printed) = printed {
            let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
            let room = ProgramOutput::MAX_PRINTED_BYTES.saturating_sub(printed.len());
            printed.extend_from_slice(&chunk[..count.min(room)]);
        }
    }
}

/// The command with all that it has started, which ends when this is dropped.
struct ProcessGroup {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl ProcessGroup {
    #[cfg(unix)]
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self { leader: id.and_then(rustix::process::Pid::from_raw) }
    }

    #[cfg(not(unix))]
    fn of(_: &Child) -> Self {
        Self {}
    }

    /// Its leader has ended in time: what it left running is the user's own affair.
    #[cfg_attr(not(unix), expect(unused_mut, reason = "there is nothing to forget"))]
    fn release(mut self) {
        #[cfg(unix)]
        {
            self.leader = None;
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.leader {
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_cut_between_two_characters() {
        assert_eq!(bounded("a\0b"), "ab");
        assert_eq!(bounded(&"x".repeat(200_000)).len(), MAX_VARIABLE_BYTES);
        let cut = bounded(&format!("x{}", "é".repeat(100_000)));
        assert_eq!((cut.len(), cut.ends_with('é')), (MAX_VARIABLE_BYTES - 1, true));
    }
}
