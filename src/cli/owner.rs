//! Confirmations that only a person at a terminal can give.

use thiserror::Error;

use super::ui::Ui;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::ops::vault;
use crate::runtime::Workspace;

/// A person has to confirm something, without a terminal to ask at.
#[derive(Debug, Error)]
#[error("only a person at a terminal can do this")]
pub(super) struct NoPersonError;

impl Remedy for NoPersonError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "no_terminal")
            .hint(Hint::text("run the command at a terminal, without --no-input"))
    }
}

/// Asks the person at the terminal: for the passphrase of the vault if it has one, and for a yes otherwise. No flag answers,
/// and neither a passphrase command nor an unlocked vault does. What is shown must have been escaped.
///
/// # Errors
/// [`NoPersonError`]; those of [`vault::ask_passphrase`].
pub(super) fn confirm(workspace: &Workspace, ui: &Ui, what: &str) -> Result<bool> {
    let terminal = ui.terminal();
    if !terminal.interactive {
        return Err(NoPersonError.into());
    }
    what.lines().for_each(|line| terminal.print_message(line));
    if workspace.run(vault::ask_passphrase(workspace))? {
        return Ok(true);
    }
    Ok(terminal.confirm("Without a passphrase on the vault, any program that runs as you could answer this.")?)
}
