//! `integ sync --to singer`: a tap for any target of the Singer specification.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;
use std::path::Path;

use super::arguments::SyncArgumentError;
use super::progress::ProgressDisplay;
use super::report;
use crate::cli::ui::{Render, Ui, harmless_json};
use crate::error::Result;
use crate::export::singer::SingerState;
use crate::files;
use crate::ops::sync::{SingerRequest, SingerTarget, SyncStreamsRequest, sync_to_singer};
use crate::runtime::Workspace;
use crate::view::sync::SyncListView;

/// Bytes of what a target wrote, of which the last line counts.
const MAX_STATE_SIZE: u64 = 64 * 1024 * 1024;

pub(super) fn run(
    workspace: &Workspace,
    ui: &Ui,
    sync: SyncStreamsRequest,
    allow_deletes: bool,
    state: Option<&Path>,
) -> Result<u8> {
    // Before the service is asked: a wrong file should not cost a sync.
    let text = state.map(|path| read(ui, path)).transpose()?.unwrap_or_default();
    let state = SingerState::last(&text).map_err(|source| SyncArgumentError::State {
        path: state.map(|path| path.display().to_string()).unwrap_or_default(),
        source,
    })?;
    let progress = ProgressDisplay::new(ui);
    let mut target = StdoutTarget { ui, out: BufWriter::new(io::stdout().lock()) };
    let request = SingerRequest { sync, allow_deletes, state };
    let reports = workspace.run(sync_to_singer(workspace, request, &progress, &mut target))?;
    Ok(report::exit_code(&reports.streams))
}

/// Messages on stdout, the reports on stderr.
struct StdoutTarget<'a> {
    ui: &'a Ui,
    out: BufWriter<StdoutLock<'static>>,
}

impl SingerTarget for StdoutTarget<'_> {
    fn synced(&mut self, reports: &SyncListView, is_state_ignored: bool) {
        self.ui.note(&reports.text(self.ui));
        report::remark(self.ui, reports);
        if is_state_ignored {
            self.ui.note("The state belongs to another connection or store: sending everything.");
        }
    }

    fn message(&mut self, message: &str) -> Result<ControlFlow<()>> {
        let is_terminal = self.ui.width.is_some();
        flow(match is_terminal {
            true => writeln!(self.out, "{}", harmless_json(message)),
            false => writeln!(self.out, "{message}"),
        })
    }

    fn flush(&mut self) -> Result<ControlFlow<()>> {
        flow(self.out.flush())
    }
}

/// What the target has printed so far: nothing if there is no file yet.
fn read(ui: &Ui, path: &Path) -> Result<String> {
    let text = files::read_user_file(path, MAX_STATE_SIZE)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)));
    match text {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ui.note(&format!("{} does not exist yet: sending everything.", path.display()));
            Ok(String::new())
        }
        Err(source) => Err(SyncArgumentError::ReadState { path: path.display().to_string(), source }.into()),
    }
}

/// Whether to go on after a write: a closed pipe is not a failure.
fn flow(result: io::Result<()>) -> Result<ControlFlow<()>> {
    match result {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(source) => Err(SyncArgumentError::Output { source }.into()),
    }
}
