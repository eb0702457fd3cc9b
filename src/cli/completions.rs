//! `integ completions`: the script that makes a shell ask integ for completions.

use clap::{Args, ValueEnum};
use clap_complete::env::{EnvCompleter, Shells};

use super::ui::Ui;
use crate::error::Result;

/// Print the completion script of a shell
///
/// For bash: `integ completions bash > ~/.local/share/bash-completion/completions/integ`
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Shell to print the script for
    pub shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Elvish => "elvish",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
            Self::Zsh => "zsh",
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every command returns the same")]
pub(super) fn run(ui: &Ui, args: &CompletionsArgs) -> Result<u8> {
    ui.raw(&script(args.shell.name()).unwrap_or_default());
    Ok(0)
}

/// The script of a shell, by its name.
pub fn script(shell: &str) -> Option<String> {
    let shells = Shells::builtins();
    let completer: &dyn EnvCompleter = shells.completer(shell)?;
    let mut script = Vec::new();
    completer.write_registration("COMPLETE", "integ", "integ", "integ", &mut script).ok()?;
    let mut script = String::from_utf8(script).ok()?;
    script.push_str(match shell {
        // Else `slack@work` and `channels:read` would be three words, and nothing would be offered after the sign.
        "bash" => "COMP_WORDBREAKS=${COMP_WORDBREAKS//[@:]/}\n",
        // Loaded as a function of the fpath, the file is run by the first Tab, which is to be answered as well.
        "zsh" => "if [[ ${funcstack[1]} == _integ ]]; then\n    _clap_dynamic_completer_integ \"$@\"\nfi\n",
        _ => "",
    });
    Some(script)
}
