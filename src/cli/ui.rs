//! Writes results, notes and errors for people and programs: data to stdout, everything else to stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::global::{ColorChoice, GlobalArgs};
use super::stdout::{eprint, print, terminal_height, terminal_width};
use super::terminal::Terminal;
use crate::config::ProjectConfig;
use crate::env;
use crate::error::{Error, Hint, Kind};
use crate::jq;
use crate::json::{minified, pretty};
use crate::model::WorkspaceName;
use crate::runtime::EnvironmentConnections;
use crate::view::error::{ErrorDetailView, ErrorView};

use super::escape::wrap_message;
pub(super) use super::escape::{escape, escape_lines, harmless_json, settled};
pub(super) use super::stdout::{is_reader_closed, note_reader, output_error};

/// The version of every JSON object that integ prints.
pub(super) const FORMAT_VERSION: u32 = 1;

/// A result that can be shown as text and as JSON.
pub(super) trait Render: Serialize {
    /// What a person sees, with line breaks; none at the end.
    fn text(&self, ui: &Ui) -> String;
}

/// What the user asked of the output, and what the terminals can do.
#[derive(Clone, Debug)]
pub(super) struct Ui {
    pub json: bool,
    jq: Option<String>,
    pub quiet: bool,
    no_input: bool,
    pub color: bool,
    /// Columns to fit into; absent where stdout is not a terminal.
    pub width: Option<usize>,
    pub stderr_is_terminal: bool,
    /// Whether stderr may be redrawn: progress bars, countdowns.
    pub animates: bool,
    pub project: ProjectConfig,
    /// The workspace that the command line names: commands in hints keep it.
    workspace: Option<WorkspaceName>,
    /// What takes the place of a workspace: hints do not lead to `connect` then.
    pub environment: Option<EnvironmentConnections>,
    /// The server to use in place of the local store.
    pub server: Option<Url>,
    /// Whether stderr is a log of JSON objects, which notes and errors belong to.
    pub logs_json: bool,
}

/// The colour that goes with a word; the word alone says as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warn,
    Bad,
    Dim,
}

impl Ui {
    pub(super) fn new(global: &GlobalArgs) -> Self {
        let terminal = io::stdout().is_terminal();
        let color = match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && env::var_os(&env::NO_COLOR).is_none() && !env::is_dumb_terminal(),
        };
        Self {
            json: global.json || global.jq.is_some(),
            jq: global.jq.clone(),
            quiet: global.quiet,
            no_input: global.no_input || env::var_os(&env::CI).is_some(),
            color,
            width: if terminal { Some(terminal_width()) } else { None },
            stderr_is_terminal: io::stderr().is_terminal(),
            animates: io::stderr().is_terminal() && !global.no_progress && !env::is_dumb_terminal(),
            project: ProjectConfig::default(),
            workspace: global.workspace.as_ref().and_then(|name| name.parse().ok()),
            environment: None,
            server: global.server.clone(),
            logs_json: false,
        }
    }

    /// Output without colour that is not a terminal's, for tests of lines.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self {
            json: false,
            jq: None,
            quiet: false,
            no_input: true,
            color: false,
            width: None,
            stderr_is_terminal: false,
            animates: false,
            project: ProjectConfig::default(),
            workspace: None,
            environment: None,
            server: None,
            logs_json: false,
        }
    }

    /// Columns to fit into at this moment: a terminal's may have changed since the start.
    pub(super) fn width_now(&self) -> Option<usize> {
        self.width.map(|_| terminal_width())
    }

    /// Who asks questions, where anybody may be asked.
    pub(super) fn terminal(&self) -> Terminal {
        let interactive = !self.no_input && io::stdin().is_terminal() && self.stderr_is_terminal;
        Terminal { interactive, json: self.json, quiet: self.quiet, animates: self.animates }
    }

    /// Prints a result.
    ///
    /// # Errors
    /// A jq expression that is wrong or fails.
    pub(super) fn show(&self, view: &impl Render) -> Result<(), jq::JqError> {
        if self.json {
            return self.show_document(&versioned(view));
        }
        let text = view.text(self);
        if !text.is_empty() {
            // A view escapes what it shows; this is for what it forgot.
            print(&format!("{}\n", settled(&text)));
        }
        Ok(())
    }

    /// Prints a JSON document as it was written, or what a jq expression makes of it. A terminal is shown a line for each
    /// value.
    ///
    /// # Errors
    /// A jq expression that is wrong or fails.
    pub(super) fn show_document(&self, json: &str) -> Result<(), jq::JqError> {
        if self.jq.is_none() && self.width.is_some() {
            print(&format!("{}\n", harmless_json(&pretty(json))));
            return Ok(());
        }
        print(&self.line_of(&minified(json))?);
        Ok(())
    }

    /// Prints bytes of somebody else's: on a terminal as harmless text, elsewhere as they are.
    pub(super) fn show_bytes(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        let written = if self.width.is_some() {
            // A terminal decodes what it can and obeys the rest, so that one wrong byte excuses nothing.
            let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
            stdout.write_all(format!("{}\n", escape_lines(&text)).as_bytes())
        } else {
            stdout.write_all(bytes)
        };
        note_reader(written.and_then(|()| stdout.flush()));
    }

    /// Prints one line of a stream of JSON objects.
    ///
    /// # Errors
    /// A jq expression that is wrong or fails.
    pub(super) fn show_line(&self, value: &Value) -> Result<(), jq::JqError> {
        print(&self.line(value)?);
        Ok(())
    }

    /// The same for a document as it was written, on one line.
    ///
    /// # Errors
    /// A jq expression that is wrong or fails.
    pub(super) fn show_text(&self, json: &str) -> Result<(), jq::JqError> {
        print(&self.line_of(json)?);
        Ok(())
    }

    /// One line of a stream of JSON objects, or what a jq expression makes of it, with its line break.
    ///
    /// # Errors
    /// A jq expression that is wrong or fails.
    pub(super) fn line(&self, value: &Value) -> Result<String, jq::JqError> {
        self.line_of(&value.to_string())
    }

    /// The same for a document as it was written, on one line.
    ///
    /// # Errors
    /// A jq expression that is wrong or fails.
    pub(super) fn line_of(&self, json: &str) -> Result<String, jq::JqError> {
        match &self.jq {
            // What jq prints are bare strings: on a terminal they are as harmless as any other text from outside.
            Some(expression) if self.width.is_some() => Ok(escape_lines(&jq::run_text(expression, json)?)),
            Some(expression) => jq::run_text(expression, json),
            None => Ok(format!("{}\n", harmless_json(json))),
        }
    }

    /// Prints text as it is: a token, a script. A terminal is sent no control characters but line breaks and colours.
    pub(super) fn raw(&self, text: &str) {
        if self.width.is_some() { print(&settled(text)) } else { print(text) }
    }

    /// Makes room for a text that is shown again and again. On a screen that has room for it: home, then clear what is below.
    /// A longer one, and any on a terminal without control sequences, follows the last and scrolls.
    pub(super) fn redraw(&self, view: &impl Render) {
        let lines = view.text(self).lines().count() + 1;
        let fits = terminal_height().is_some_and(|height| lines <= height) && !env::is_dumb_terminal();
        print(if fits { "\x1b[H\x1b[2J" } else { "\n" });
    }

    /// A note on stderr: what happened.
    pub(super) fn note(&self, text: &str) {
        if self.logs_json {
            tracing::warn!("{text}");
        } else if !self.quiet {
            eprint(&format!("{}\n", self.message(text, 0)));
        }
    }

    pub(super) fn warning(&self, text: &str) {
        let label = "warning:";
        eprint(&format!("{} {}\n", self.paint_err(Tone::Warn, label), self.message(text, label.len() + 1)));
    }

    /// A message for stderr, with its lines broken between words on a terminal; the first one follows a label.
    fn message(&self, text: &str, label: usize) -> String {
        let text = escape_lines(text);
        match self.width.filter(|_| self.stderr_is_terminal) {
            Some(width) => wrap_message(&text, width, label),
            None => text,
        }
    }

    /// An error: what failed, why, and the command that fixes it.
    pub(super) fn error(&self, error: &Error) {
        let hint = self.hint(error);
        if self.logs_json {
            let hint = hint.as_ref().map(ToString::to_string).unwrap_or_default();
            return tracing::error!(code = error.code(), hint, "{}", error.on_one_line());
        }
        if self.json {
            let detail = ErrorDetailView {
                code: error.code(),
                message: error.on_one_line(),
                hint: hint.as_ref().map(ToString::to_string),
                command: hint.and_then(|hint| hint.command),
                connection: error.connection(),
            };
            return eprint(&format!("{}\n", harmless_json(&versioned(&ErrorView { error: detail }))));
        }
        let error_text = self.message(&error.message(), "error: ".len());
        eprint(&format!("{} {error_text}\n", self.paint_err(Tone::Bad, "error:")));
        for cause in error.causes() {
            eprint(&format!("  because: {}\n", self.message(&cause, "  because: ".len())));
        }
        if let Some(hint) = hint {
            // A hint that is only a command stays whole.
            let is_command = hint.text.is_empty() && hint.command.is_some();
            let text = hint.to_string();
            let text = if is_command { escape_lines(&text) } else { self.message(&text, "hint: ".len()) };
            eprint(&format!("{} {text}\n", self.paint_err(Tone::Good, "hint:")));
        }
    }

    /// What the user can do about an error, with the same workspace and options.
    fn hint(&self, error: &Error) -> Option<Hint> {
        if let (Some(environment), Kind::AuthNeeded, Some(connection)) =
            (&self.environment, error.kind(), error.connection())
        {
            return Some(environment.renewal_hint(&connection));
        }
        let hint = error.hint();
        if let (Some(command), Some(_)) =
            (hint.as_ref().and_then(|hint| hint.command.as_deref()), env::var_os(&env::CI))
            && self.server.is_none()
            && command.starts_with("integ connect ")
            && !command.contains("--sandbox")
        {
            // Nobody can sign in there.
            let text = "nobody can sign in where CI is set: give the job a bundle in INTEG_BUNDLE, or one token, as in \
                        INTEG_TOKEN_GITHUB;";
            return Some(Hint::new(text, "integ help ci"));
        }
        match &self.workspace {
            Some(workspace) => hint.map(|hint| hint.in_workspace(workspace.as_str())),
            None => hint,
        }
    }

    /// The text in the colour of its tone, where there is colour.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        if self.color { format!("\x1b[{}m{text}\x1b[0m", code(tone)) } else { text.to_owned() }
    }

    fn paint_err(&self, tone: Tone, text: &str) -> String {
        let color = self.color || (env::var_os(&env::NO_COLOR).is_none() && !env::is_dumb_terminal() && !self.json);
        if color && self.stderr_is_terminal { format!("\x1b[{}m{text}\x1b[0m", code(tone)) } else { text.to_owned() }
    }
}

/// A note of the command line itself, whichever command runs.
pub(super) fn note(text: &str) {
    eprint(&format!("{}\n", escape_lines(text)));
}

/// A view as JSON text. Not by way of a [`Value`]: what a view holds of a service's JSON stays as it was written.
fn versioned(view: &impl Serialize) -> String {
    let version = format!("\"format_version\":{FORMAT_VERSION}");
    match serde_json::to_string(view) {
        Ok(text) if text == "{}" => format!("{{{version}}}"),
        Ok(text) if text.starts_with('{') => format!("{{{version},{}", &text[1..]),
        Ok(text) => format!("{{{version},\"value\":{text}}}"),
        Err(_) => format!("{{{version}}}"),
    }
}

fn code(tone: Tone) -> u8 {
    match tone {
        Tone::Good => 32,
        Tone::Warn => 33,
        Tone::Bad => 31,
        Tone::Dim => 2,
    }
}
