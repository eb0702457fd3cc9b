//! Where a passphrase comes from: a command that prints it, else a person.

use std::io;
use std::process::Stdio;

use zeroize::Zeroizing;

use super::VaultError;
use crate::program;
use crate::secret::Secret;

/// What a passphrase is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// To open the identity file.
    Open,
    /// To open a backup.
    Backup,
    /// To protect something from now on.
    Choose(New),
    /// The chosen one again.
    Repeat,
}

/// What a new passphrase protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum New {
    /// The identity file.
    Identity,
    /// A copy of the identity.
    Export,
    Backup,
}

/// Someone who can be asked for a passphrase: the terminal, or nobody.
pub trait PassphraseSource {
    /// The passphrase; absent where nobody can be asked.
    ///
    /// # Errors
    /// The I/O error of the terminal.
    fn ask(&self, prompt: Prompt) -> io::Result<Option<Secret>>;

    /// Whether somebody is there, who can also answer a dialog of the OS keyring.
    fn is_attended(&self) -> bool {
        false
    }
}

/// The passphrase for `prompt`: what the command prints, else what [`PassphraseSource`] answers.
pub(super) fn obtain(
    command: Option<&str>,
    source: &dyn PassphraseSource,
    prompt: Prompt,
) -> Result<Secret, VaultError> {
    match command {
        Some(command) => run(command),
        None => source.ask(prompt).map_err(VaultError::Ask)?.ok_or(VaultError::NoPassphrase),
    }
}

/// A new passphrase, asked for twice unless a command prints it.
pub(super) fn choose(command: Option<&str>, source: &dyn PassphraseSource, what: New) -> Result<Secret, VaultError> {
    let chosen = obtain(command, source, Prompt::Choose(what))?;
    if chosen.is_empty() {
        return Err(VaultError::PassphraseEmpty);
    }
    let repeated = command.is_some() || obtain(None, source, Prompt::Repeat)? == chosen;
    if repeated { Ok(chosen) } else { Err(VaultError::PassphraseMismatch) }
}

/// Runs the command, without a shell, and takes its output without the newline at its end.
fn run(command: &str) -> Result<Secret, VaultError> {
    let failed = |why: &str| VaultError::PassphraseCommand { why: why.to_owned(), source: None };
    let words = shlex::split(command).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| failed("its words cannot be told apart; a quote may be missing"))?;
    let output = program::command(&words[0])
        .args(&words[1..])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| VaultError::PassphraseCommand { why: format!("{:?}", words[0]), source: Some(error) })?;
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
