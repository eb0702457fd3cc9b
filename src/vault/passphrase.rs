//! Gets a passphrase from a command or the user.

use std::io;
use std::process::Stdio;

use zeroize::Zeroizing;

use super::VaultError;
use crate::program;
use crate::secret::Secret;

/// What a passphrase is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassphrasePrompt {
    /// To open the identity file.
    OpenIdentity,
    /// To open a backup.
    OpenBackup,
    /// To protect something from now on.
    New(NewPassphrase),
    /// The chosen one again.
    Repeat,
}

/// What a new passphrase protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewPassphrase {
    /// The identity file.
    Identity,
    /// A copy of the identity.
    IdentityExport,
    Backup,
}

/// Where a passphrase is asked for: at the terminal, or nowhere.
pub trait PassphraseSource: Send + Sync {
    /// The passphrase; absent without a terminal.
    ///
    /// # Errors
    /// The I/O error of the terminal.
    fn ask(&self, prompt: PassphrasePrompt) -> io::Result<Option<Secret>>;

    /// Whether somebody is there, who can also answer a dialog of the OS keyring.
    fn is_attended(&self) -> bool {
        false
    }
}

/// The passphrase for `prompt`: what the command prints, else what [`PassphraseSource`] answers.
pub(super) fn read_passphrase(
    command: Option<&str>,
    source: &dyn PassphraseSource,
    prompt: PassphrasePrompt,
) -> Result<Secret, VaultError> {
    match command {
        Some(command) => run(command),
        None => source.ask(prompt).map_err(VaultError::PassphrasePrompt)?.ok_or(VaultError::MissingPassphrase),
    }
}

/// A new passphrase, asked for twice unless a command prints it.
pub(super) fn new_passphrase(
    command: Option<&str>,
    source: &dyn PassphraseSource,
    what: NewPassphrase,
) -> Result<Secret, VaultError> {
    let chosen = read_passphrase(command, source, PassphrasePrompt::New(what))?;
    if chosen.is_empty() {
        return Err(VaultError::EmptyPassphrase);
    }
    let repeated = command.is_some() || read_passphrase(None, source, PassphrasePrompt::Repeat)? == chosen;
    if repeated { Ok(chosen) } else { Err(VaultError::PassphraseMismatch) }
}

/// Runs the command, without a shell, and takes its output without the newline at its end.
fn run(command: &str) -> Result<Secret, VaultError> {
    let failed = |why: &str| VaultError::PassphraseCommand { reason: why.to_owned(), source: None };
    let words = shlex::split(command).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| failed("it cannot be split into words; a quote may be missing"))?;
    let output = program::command(&words[0])
        .args(&words[1..])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| VaultError::PassphraseCommand { reason: format!("{:?}", words[0]), source: Some(error) })?;
    let printed = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(failed(&output.status.to_string()));
    }
    let text = std::str::from_utf8(&printed).map_err(|_| failed("it printed something other than UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err(failed("it printed nothing")) } else { Ok(Secret::from(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_into_words_and_needs_no_shell() {
        assert_eq!(run("printf '%s\\n' 'two words; $HOME'").unwrap().expose(), "two words; $HOME");
        for command in ["", "printf 'open", "/no/such/program", "false", "true"] {
            assert!(matches!(run(command), Err(VaultError::PassphraseCommand { .. })), "{command:?}");
        }
    }
}
