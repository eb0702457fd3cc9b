//! A program whose output passes through this process, with secrets masked.
//!
//! The program keeps the terminal's input, its process group and its signals. What a signal cannot reach by itself, as one
//! that was sent to this process alone, is passed on.

use std::cell::Cell;
use std::io::{self, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::signals::ForwardedSignals;
use crate::mask::{Masker, SecretPatterns};
use crate::task::blocking;

/// Bytes that are read at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;

/// How long an end that may be the beginning of a secret waits for the rest: longer than between two writes of one text.
const PAUSE: Duration = Duration::from_millis(100);

/// How long to wait for more output of what an ended program left running.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs a program to its end, and hides secrets in what it prints on standard output and standard error.
///
/// # Errors
/// The system's, if the program cannot be started.
pub fn run_masked(mut command: Command, patterns: Arc<SecretPatterns>) -> io::Result<ExitStatus> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(run(command, patterns));
    // A reader that has stopped reading must not hold up the end.
    runtime.shutdown_background();
    status
}

async fn run(command: Command, patterns: Arc<SecretPatterns>) -> io::Result<ExitStatus> {
    // Before the program starts: a signal that comes meanwhile must not end this process and leave the program.
    let mut signals = ForwardedSignals::new()?;
    let mut child = tokio::process::Command::from(command).spawn()?;
    let progress = Progress::default();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let copies = async {
        let stdout = copy(stdout, Masker::new(Arc::clone(&patterns)), Output::Stdout, &progress);
        let stderr = copy(stderr, Masker::new(Arc::clone(&patterns)), Output::Stderr, &progress);
        tokio::join!(stdout, stderr);
    };
    let mut copies = std::pin::pin!(copies);
    let mut is_copied = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            signal = signals.next() => signal.forward(child.id()),
            () = &mut copies, if !is_copied => is_copied = true,
        }
    };
    // What it printed last is on its way. What it left running may hold its output open for ever.
    while !is_copied {
        let before = progress.bytes.get();
        is_copied = timeout(DRAIN_TIMEOUT, &mut copies).await.is_ok();
        if !is_copied && progress.bytes.get() == before && progress.writing.get() == 0 {
            break;
        }
    }
    Ok(status)
}

/// The activity of the two copies, to distinguish a slow stream from a silent one.
#[derive(Default)]
struct Progress {
    bytes: Cell<u64>,
    /// Writes that wait for their reader.
    writing: Cell<u32>,
}

#[derive(Clone, Copy)]
enum Output {
    Stdout,
    Stderr,
}

impl Output {
    async fn write(self, bytes: Vec<u8>, progress: &Progress) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        progress.bytes.set(progress.bytes.get() + bytes.len() as u64);
        progress.writing.set(progress.writing.get() + 1);
        // The reader of one stream may wait for the other one.
        let written = blocking(move || match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&bytes).and_then(|()| stdout.flush())
            }
            Self::Stderr => io::stderr().lock().write_all(&bytes),
        });
        let written = written.await;
        progress.writing.set(progress.writing.get() - 1);
        written
    }
}

/// Copies a stream until it ends or the reader of the output closes it. Then the program finds its pipe closed, as without us.
async fn copy(from: Option<impl AsyncRead + Unpin>, mut masker: Masker, to: Output, progress: &Progress) {
    let Some(mut from) = from else { return };
    let mut chunk = vec![0; CHUNK];
    let mut has_paused = false;
    loop {
        let read = if masker.is_holding() && !has_paused {
            timeout(PAUSE, from.read(&mut chunk)).await
        } else {
            Ok(from.read(&mut chunk).await)
        };
        has_paused = read.is_err();
        let shown = match read {
            Err(_) => masker.pause(),
            Ok(Ok(length @ 1..)) => masker.push(&chunk[..length]),
            Ok(Ok(0) | Err(_)) => break,
        };
        if to.write(shown, progress).await.is_err() {
            return;
        }
    }
    let _ = to.write(masker.finish(), progress).await;
}
