//! Standard output and standard error: writing, write errors, and terminal widths.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use crate::env;
use crate::error::{Diagnostic, Kind, Remedy};

/// Prints, and remembers a failure for [`output_error`].
pub(super) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    note_reader(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

/// Whether the reader of stdout closed it.
static READER_CLOSED: AtomicBool = AtomicBool::new(false);

/// Why output was lost, but for a reader that closed the pipe.
static LOST: OnceLock<io::Error> = OnceLock::new();

pub(super) fn note_reader(written: io::Result<()>) {
    if let Err(error) = written {
        READER_CLOSED.store(true, Ordering::Relaxed);
        if error.kind() != io::ErrorKind::BrokenPipe {
            let _ = LOST.set(error);
        }
    }
}

#[derive(Debug, Error)]
#[error("cannot write to standard output")]
pub(super) struct OutputWriteError(#[source] &'static io::Error);

impl Remedy for OutputWriteError {
    fn diagnostic(&self) -> Diagnostic {
        match self.0.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Diagnostic::new(Kind::Failed, "disk_full"),
            _ => Diagnostic::new(Kind::Failed, "io"),
        }
    }
}

/// The error of a command whose output did not reach its file. A reader that leaves early, as `head` does, is not one: the
/// command ends as it would have (fault 100).
pub(super) fn output_error() -> Option<OutputWriteError> {
    LOST.get().map(OutputWriteError)
}

/// Whether what was printed could not be: work that is done only to be read may end.
pub(super) fn is_reader_closed() -> bool {
    READER_CLOSED.load(Ordering::Relaxed)
}

/// Prints on stderr; a failure is nothing that could be reported.
pub(super) fn eprint(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The columns of the terminal that progress is shown on.
pub(super) fn progress_width() -> usize {
    width_of(io::stderr())
}

/// The columns of the terminal that stdout is.
pub(super) fn terminal_width() -> usize {
    width_of(io::stdout())
}

/// The rows of the terminal that stdout is; absent if it cannot be asked.
pub(super) fn terminal_height() -> Option<usize> {
    let rows = rustix::termios::tcgetwinsize(io::stdout()).map(|size| usize::from(size.ws_row)).ok();
    rows.filter(|rows| *rows > 0)
}

fn width_of(stream: impl AsFd) -> usize {
    let reported = rustix::termios::tcgetwinsize(stream).map(|size| usize::from(size.ws_col)).ok();
    let from_env = || env::var(&env::COLUMNS).and_then(|columns| columns.parse().ok());
    reported.filter(|width| *width > 0).or_else(from_env).unwrap_or(80)
}
