//! The user at the terminal: questions, passphrases, and the browser.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use url::Url;

use super::connect_events;
use super::escape::{escape, json_text};
use super::stdout::{note_reader, progress_width};
use crate::connect::{ConnectEvent, DefaultAnswer, PromptError, PromptQuestion, Prompter};
use crate::env;
use crate::files;
use crate::program;
use crate::secret::Secret;
use crate::vault::{NewPassphrase, PassphrasePrompt, PassphraseSource};

/// Bytes of a token, a key or a client secret.
pub(super) const MAX_SECRET_SIZE: u64 = 64 * 1024;

/// Speaks on stderr; asks only where there is a terminal and asking is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    pub interactive: bool,
    pub json: bool,
    pub quiet: bool,
    /// Whether a line may be redrawn.
    pub animates: bool,
}

impl Terminal {
    pub(super) fn print_message(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", escape(text));
    }

    /// Whether the user agrees to what is about to happen. Of several lines, those from outside must have been escaped.
    ///
    /// # Errors
    /// [`PromptError::NoTerminal`] without a terminal.
    pub(super) fn confirm(&self, what: &str) -> Result<bool, PromptError> {
        if !self.interactive {
            return Err(PromptError::NoTerminal { prompt: "a confirmation".to_owned(), missing: "--yes".to_owned() });
        }
        what.lines().for_each(|line| self.print_message(line));
        self.yes_or_no("Go on?", DefaultAnswer::No)
    }

    fn yes_or_no(&self, question: &str, default: DefaultAnswer) -> Result<bool, PromptError> {
        let choices = if default == DefaultAnswer::Yes { "[Y/n]" } else { "[y/N]" };
        loop {
            let answer = line(&format!("{} {choices} ", escape(question)))?;
            match answer.trim().to_ascii_lowercase().as_str() {
                "" => return Ok(default == DefaultAnswer::Yes),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => self.print_message("Answer y or n."),
            }
        }
    }

    /// A line of text, with `default` for an empty answer; without a terminal, nothing is asked.
    ///
    /// # Errors
    /// [`PromptError::Empty`] where the input ends, [`PromptError::Read`].
    pub(super) fn line_or(&self, prompt: &str, default: &str) -> Result<String, PromptError> {
        if !self.interactive {
            return Ok(default.to_owned());
        }
        let shown = if default.is_empty() { String::new() } else { format!(" [{}]", escape(default)) };
        let answer = line(&format!("{}{shown}: ", escape(prompt)))?;
        match answer.trim() {
            "" => Ok(default.to_owned()),
            answer => Ok(answer.to_owned()),
        }
    }
}

impl Terminal {
    /// Asks for a file and reads it.
    fn file(&self, prompt: &str, flag_hint: &str) -> Result<Secret, PromptError> {
        if !self.interactive {
            return Err(PromptError::NoTerminal { prompt: prompt.to_owned(), missing: flag_hint.to_owned() });
        }
        let typed = line(&format!("{} (path of the file): ", escape(prompt)))?;
        let typed = typed.trim();
        if typed.is_empty() {
            return Err(PromptError::Empty);
        }
        // The shell that would have expanded it is not asked.
        let path = match (typed.strip_prefix("~/"), env::var(&env::HOME)) {
            (Some(rest), Some(home)) => Path::new(&home).join(rest),
            _ => Path::new(typed).to_owned(),
        };
        let text = files::read_user_file(&path, MAX_SECRET_SIZE)
            .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
        let text = text.map_err(|source| PromptError::File { path: typed.to_owned(), source })?;
        nonempty(Secret::trimmed(text))
    }
}
/// Whether the wait was announced, which a terminal without animation does once.
static WAIT_SHOWN: AtomicBool = AtomicBool::new(false);

impl Prompter for Terminal {
    fn notify(&self, event: &ConnectEvent<'_>) {
        if self.json {
            if let Some(event) = connect_events::view(event) {
                let mut stdout = io::stdout().lock();
                let text = json_text(&json!(event));
                note_reader(writeln!(stdout, "{text}").and_then(|()| stdout.flush()));
            }
            return;
        }
        match event {
            ConnectEvent::Waiting { .. } if !self.animates && WAIT_SHOWN.swap(true, Ordering::Relaxed) => {}
            ConnectEvent::Waiting { waits_for, remaining } if !(self.quiet || self.interactive && self.animates) => {
                self.print_message(&connect_events::wait(*waits_for, *remaining));
            }
            ConnectEvent::Waiting { waits_for, remaining } if !self.quiet => {
                print_in_place(&connect_events::countdown(*waits_for, *remaining));
            }
            ConnectEvent::WaitEnded if !self.quiet && self.animates => print_in_place(""),
            ConnectEvent::SandboxConsented if self.quiet => {}
            event => {
                let lines = connect_events::text(event, self.interactive, progress_width());
                let mut stderr = io::stderr().lock();
                for line in lines {
                    let _ = writeln!(stderr, "{line}");
                }
            }
        }
    }

    fn open_browser(&self, url: &Url) -> Option<Child> {
        open(url)
    }

    fn prompt(&self, question: &PromptQuestion<'_>) -> Result<Secret, PromptError> {
        if matches!(question, PromptQuestion::CallbackUrl) {
            // Pasting is what was asked for: a pipe is as good as a terminal.
            let pasted =
                if self.interactive { line("Paste the address that the browser ends at: ") } else { read_line() };
            return nonempty(Secret::trimmed(pasted?));
        }
        if let PromptQuestion::File { prompt, flag_hint } = question {
            return self.file(prompt, flag_hint);
        }
        let PromptQuestion::Text { prompt, example, is_secret: secret, flag_hint: missing } = question else {
            return Err(PromptError::Empty);
        };
        if !self.interactive {
            return Err(PromptError::NoTerminal { prompt: (*prompt).to_owned(), missing: (*missing).to_owned() });
        }
        let example = example.map(|example| format!(" (such as {example})")).unwrap_or_default();
        let shown = format!("{}{example}: ", escape(prompt));
        if *secret { hidden(&shown) } else { nonempty(Secret::trimmed(line(&shown)?)) }
    }

    fn select(&self, prompt: &str, labels: &[String]) -> Result<usize, PromptError> {
        if !self.interactive {
            return Err(PromptError::NoTerminal { prompt: prompt.to_owned(), missing: "--param".to_owned() });
        }
        self.print_message(prompt);
        for (index, label) in labels.iter().enumerate() {
            self.print_message(&format!("  {}  {label}", index + 1));
        }
        loop {
            let answer = line(&format!("Number [1-{}]: ", labels.len()))?;
            match answer.trim().parse::<usize>() {
                Ok(number) if (1..=labels.len()).contains(&number) => return Ok(number - 1),
                _ if answer.is_empty() => return Err(PromptError::Empty),
                _ => {}
            }
        }
    }

    fn confirm(&self, statement: &str, default: DefaultAnswer) -> Result<bool, PromptError> {
        match default {
            DefaultAnswer::No => Self::confirm(self, statement),
            DefaultAnswer::Yes if self.interactive => self.yes_or_no(statement, default),
            DefaultAnswer::Yes => Ok(false),
        }
    }

    fn is_interactive(&self) -> bool {
        self.interactive
    }
}

impl PassphraseSource for Terminal {
    fn is_attended(&self) -> bool {
        self.interactive
    }

    fn ask(&self, prompt: PassphrasePrompt) -> io::Result<Option<Secret>> {
        if !self.interactive {
            return Ok(None);
        }
        let text = match prompt {
            PassphrasePrompt::OpenIdentity => "Passphrase of the vault's identity: ",
            PassphrasePrompt::OpenBackup => "Passphrase of the backup: ",
            PassphrasePrompt::New(NewPassphrase::Identity) => "New passphrase for the vault's identity: ",
            PassphrasePrompt::New(NewPassphrase::IdentityExport) => "New passphrase for the copy of the identity: ",
            PassphrasePrompt::New(NewPassphrase::Backup) => "New passphrase for the backup: ",
            PassphrasePrompt::Repeat => "Repeat the passphrase: ",
        };
        hidden(text).map(Some).map_err(|error| match error {
            PromptError::Interrupted => io::ErrorKind::Interrupted.into(),
            error => io::Error::other(error),
        })
    }
}

/// Writes a line over the one that was written so before. Spaces clear what is left of it, which any terminal understands;
/// an empty line leaves nothing.
fn print_in_place(text: &str) {
    const WIDTH: usize = 70;
    let mut stderr = io::stderr().lock();
    let _ =
        if text.is_empty() { write!(stderr, "\r{:WIDTH$}\r", "") } else { write!(stderr, "\r{text:WIDTH$}\r{text}") };
    let _ = stderr.flush();
}

fn nonempty(answer: Secret) -> Result<Secret, PromptError> {
    if answer.is_empty() { Err(PromptError::Empty) } else { Ok(answer) }
}

fn hidden(prompt: &str) -> Result<Secret, PromptError> {
    entered(prompt, rpassword::ConfigBuilder::new().password_feedback_hide().build()).map(Secret::trimmed)
}

/// A line that is shown as it is typed.
fn line(prompt: &str) -> Result<String, PromptError> {
    entered(prompt, rpassword::ConfigBuilder::new().password_feedback_partial_mask('*', usize::MAX).build())
}

/// Reads a line of a terminal character by character: the line mode of the system ends a line after 4,095 bytes (1,023 on
/// macOS), which callback URLs and tokens may exceed.
fn entered(prompt: &str, config: rpassword::Config) -> Result<String, PromptError> {
    let _ = write!(io::stderr(), "{prompt}");
    let text = rpassword::read_password_with_config(config).map_err(|source| match source.kind() {
        io::ErrorKind::UnexpectedEof => PromptError::Empty,
        io::ErrorKind::Interrupted => PromptError::Interrupted,
        _ => PromptError::Read { source },
    })?;
    bounded(text)
}

/// A line of a pipe.
fn read_line() -> Result<String, PromptError> {
    let mut text = String::new();
    let mut input = io::stdin().lock().take(MAX_SECRET_SIZE + 1);
    input.read_line(&mut text).map_err(|source| PromptError::Read { source })?;
    bounded(text)
}

/// Refuses what is too long, in place of using the beginning of it.
fn bounded(text: String) -> Result<String, PromptError> {
    if text.len() as u64 > MAX_SECRET_SIZE { Err(PromptError::TooLong { limit: MAX_SECRET_SIZE }) } else { Ok(text) }
}

/// Opens a browser in the background: `INTEG_BROWSER`, `BROWSER`, else the system's. Absent if none can be seen, as over SSH
/// or in a container; the URL has been printed by then. No shell ever sees the URL, and as every user of the machine can read
/// it among the browser's arguments, it is a page of integ's own that holds no secret (`oauth::start`).
fn open(url: &Url) -> Option<Child> {
    for variable in [&env::INTEG_BROWSER, &env::BROWSER] {
        if let Some(commands) = env::var(variable) {
            let mut commands = commands.split(':').filter(|command| !command.trim().is_empty());
            return commands.find_map(|command| spawn(command, url));
        }
    }
    if env::var_os(&env::CI).is_some() || !has_display() {
        return None;
    }
    open::commands(url.as_str()).into_iter().map(program::scrub_env).find_map(spawn_silently)
}

/// A command of `BROWSER`: words, of which `%s` stands for the URL; without it the URL comes last.
fn spawn(command: &str, url: &Url) -> Option<Child> {
    let mut words = command.split_whitespace();
    let browser = words.next()?;
    let mut arguments: Vec<String> = words.map(|word| word.replace("%s", url.as_str())).collect();
    if !command.contains("%s") {
        arguments.push(url.to_string());
    }
    let mut process = program::command(browser);
    process.args(arguments);
    spawn_silently(process)
}

fn spawn_silently(mut process: Command) -> Option<Child> {
    process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

fn has_display() -> bool {
    cfg!(any(target_os = "macos", windows))
        || ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"].iter().any(|name| env::var_named(name).is_some())
}
