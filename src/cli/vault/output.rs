//! Writes a file without replacing another by accident.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::cli::ui::Ui;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::vault::{Overwrite, STANDARD_STREAM, VaultError, check_output, write_output};

#[derive(Debug, thiserror::Error)]
enum OutputError {
    #[error("{} already exists", path.display())]
    Exists { path: PathBuf, again: String },
    #[error("an encrypted file cannot be written to a terminal")]
    Terminal { again: String },
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
}

impl Remedy for OutputError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Exists { again, .. } => Diagnostic::new(Kind::Usage, "file_exists").run(again),
            Self::Terminal { again } => Diagnostic::new(Kind::Usage, "terminal_output").run(again),
            Self::Stdout(_) => Diagnostic::new(Kind::Failed, "io"),
        }
    }
}

/// Where a command writes to.
pub(in crate::cli) struct OutputFile<'a> {
    path: &'a Path,
    overwrite: Overwrite,
}

impl<'a> OutputFile<'a> {
    /// Looks whether the file may be written, and asks if it replaces another. Absent if the user says no. `command` is
    /// what was called, for the hint.
    ///
    /// # Errors
    /// `file_exists` without a terminal, `folder_not_found`.
    pub(in crate::cli) fn new(ui: &Ui, path: &'a Path, force: bool, command: &str) -> Result<Option<Self>> {
        if is_stdout(path) {
            return Ok(Some(Self { path, overwrite: Overwrite::Refuse }));
        }
        let overwrite = if force { Overwrite::Allow } else { Overwrite::Refuse };
        match check_output(path, overwrite) {
            Ok(()) => Ok(Some(Self { path, overwrite })),
            Err(VaultError::OutputExists(_)) if ui.terminal().interactive => {
                let agreed = ui.terminal().confirm(&format!("{} exists and would be replaced.", path.display()))?;
                Ok(agreed.then_some(Self { path, overwrite: Overwrite::Allow }))
            }
            Err(VaultError::OutputExists(path)) => {
                let again = format!("integ {command} {} --force", quoted(&path));
                Err(OutputError::Exists { path, again }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes text, or bytes that are no text, which a terminal does not get.
    pub(in crate::cli) fn write(&self, contents: &[u8], command: &str) -> Result<()> {
        if !is_stdout(self.path) {
            return Ok(write_output(self.path, contents, self.overwrite)?);
        }
        let mut stdout = io::stdout().lock();
        if stdout.is_terminal() && std::str::from_utf8(contents).is_err() {
            return Err(OutputError::Terminal { again: format!("integ {command} FILE") }.into());
        }
        Ok(stdout.write_all(contents).and_then(|()| stdout.flush()).map_err(OutputError::Stdout)?)
    }

    /// The file's name, unless it is standard output.
    pub(in crate::cli) fn file(&self) -> Option<std::path::Display<'a>> {
        (!is_stdout(self.path)).then(|| self.path.display())
    }
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == STANDARD_STREAM
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    shlex::try_quote(&text).map_or_else(|_| format!("{text:?}"), std::borrow::Cow::into_owned)
}
