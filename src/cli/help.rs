//! `integ help`: commands, as clap explains them, and topics.
//!
//! What can be derived is: variables, exit codes and what hooks are given come from the code that they describe, and a
//! test runs every command line of a topic past the parser.

use std::fmt::Write;

use clap::Args;
use clap_complete::CompletionCandidate;
use thiserror::Error;

use super::json_schema::{self, Output};
use super::ui::Ui;
use crate::env;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::near::closest;

pub(super) const AFTER_HELP: &str = "Start with `integ connect slack --sandbox`. Every flag has a variable: --json is INTEG_JSON, \
    `connect --timeout` is INTEG_CONNECT_TIMEOUT.\n\
    Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 authentication needed, 5 try again, 6 unhealthy, 7 vault, \
    8 some failed.";

/// Explain a command or a topic
#[derive(Debug, Args)]
pub(super) struct HelpArgs {
    /// A command, such as `vault backup`, a topic, or `json` and a command for the JSON Schema of its output
    #[arg(value_name = "COMMAND or TOPIC")]
    pub words: Vec<String>,
}

/// What can be explained beside commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Agents,
    ApiTokens,
    Calendar,
    Calls,
    Ci,
    Connectors,
    Endpoints,
    Environment,
    ExitCodes,
    Files,
    Growth,
    Json,
    Mapping,
    Mcp,
    Notify,
    Postgres,
    Sandbox,
    Scripting,
    Security,
    Serve,
    Sync,
    Tls,
    Users,
    Webhooks,
}

impl Topic {
    const ALL: [Self; 24] = [
        Self::Agents,
        Self::ApiTokens,
        Self::Calendar,
        Self::Calls,
        Self::Ci,
        Self::Connectors,
        Self::Endpoints,
        Self::Environment,
        Self::ExitCodes,
        Self::Files,
        Self::Growth,
        Self::Json,
        Self::Mapping,
        Self::Mcp,
        Self::Notify,
        Self::Postgres,
        Self::Sandbox,
        Self::Scripting,
        Self::Security,
        Self::Serve,
        Self::Sync,
        Self::Tls,
        Self::Users,
        Self::Webhooks,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::ApiTokens => "api-tokens",
            Self::Calls => "calls",
            Self::Calendar => "calendar",
            Self::Ci => "ci",
            Self::Connectors => "connectors",
            Self::Endpoints => "endpoints",
            Self::Environment => "environment",
            Self::ExitCodes => "exit-codes",
            Self::Files => "files",
            Self::Growth => "growth",
            Self::Json => "json",
            Self::Mapping => "mapping",
            Self::Mcp => "mcp",
            Self::Notify => "notify",
            Self::Postgres => "postgres",
            Self::Sandbox => "sandbox",
            Self::Scripting => "scripting",
            Self::Security => "security",
            Self::Serve => "serve",
            Self::Sync => "sync",
            Self::Tls => "tls",
            Self::Users => "users",
            Self::Webhooks => "webhooks",
        }
    }

    /// The whole text, with its title as the first line.
    fn text(self) -> String {
        match self {
            Self::Agents => include_str!("topics/agents.txt").to_owned(),
            Self::ApiTokens => {
                include_str!("topics/api-tokens.txt").replace("{pattern}", crate::model::API_TOKEN_PATTERN)
            }
            Self::Calls => include_str!("topics/calls.txt").to_owned(),
            Self::Calendar => include_str!("topics/calendar.txt").to_owned(),
            Self::Ci => include_str!("topics/ci.txt").to_owned(),
            Self::Connectors => include_str!("topics/connectors.txt").to_owned(),
            Self::Endpoints => include_str!("topics/endpoints.txt").to_owned(),
            Self::Environment => environment(),
            Self::ExitCodes => exit_codes(),
            Self::Files => include_str!("topics/files.txt").to_owned(),
            Self::Growth => include_str!("topics/growth.txt").to_owned(),
            Self::Json => include_str!("topics/json.txt").to_owned(),
            Self::Mapping => mapping(),
            Self::Mcp => include_str!("topics/mcp.txt").to_owned(),
            Self::Notify => {
                let variables =
                    crate::model::VARIABLES.iter().map(|(name, purpose)| format!("    {name:<26}{purpose}"));
                let variables = variables.collect::<Vec<_>>().join("\n");
                include_str!("topics/notify.txt").replace("{variables}", &variables)
            }
            Self::Postgres => include_str!("topics/postgres.txt").to_owned(),
            Self::Sandbox => include_str!("topics/sandbox.txt").to_owned(),
            Self::Scripting => include_str!("topics/scripting.txt").to_owned(),
            Self::Security => include_str!("topics/security.txt").to_owned(),
            Self::Serve => include_str!("topics/serve.txt").to_owned(),
            Self::Sync => include_str!("topics/sync.txt").to_owned(),
            Self::Tls => include_str!("topics/tls.txt").to_owned(),
            Self::Users => include_str!("topics/users.txt").to_owned(),
            Self::Webhooks => include_str!("topics/webhooks.txt").to_owned(),
        }
    }

    fn title(self) -> String {
        let text = self.text();
        let title = text.lines().next().unwrap_or_default();
        title.split_once(": ").map_or(title, |(_, rest)| rest).to_owned()
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

fn environment() -> String {
    let mut text = "Environment: variables that integ reads\n\n".to_owned();
    let width = env::ALL.iter().map(|variable| variable.name.len()).max().unwrap_or_default();
    for variable in env::ALL {
        let _ = writeln!(text, "    {:<width$}  {}", variable.name, variable.purpose.trim());
    }
    text.push_str(
        "\nEvery flag has a variable too, made from its name: --json is INTEG_JSON,\n\
         `connect --timeout` is INTEG_CONNECT_TIMEOUT. The credentials of an app are\n\
         looked for in CONNECTOR_CLIENT_ID and CONNECTOR_CLIENT_SECRET as well, as in\n\
         GITHUB_CLIENT_ID. If you choose the server (oidc, oauth2, your own GitLab),\n\
         they count only for the one that OIDC_ISSUER, OAUTH2_TOKEN_URL or GITLAB_URL\n\
         names. Variables of proxies may be in lower case.\n",
    );
    text
}

fn exit_codes() -> String {
    let mut text = "Exit codes: how a command ended\n\n    0    done\n".to_owned();
    let mut kinds = Kind::ALL.to_vec();
    kinds.dedup_by_key(|kind| kind.exit_code());
    for kind in kinds {
        let _ = writeln!(text, "    {:<5}{}", kind.exit_code(), kind.meaning());
    }
    text.push_str(
        "\n`status --check`, `test` and `doctor` exit with 6 if something is wrong; the first\n\
         two exit with 4 if reconnecting fixes everything. A command that `exec` runs keeps\n\
         its own exit code; it is 127 if the command is not found, and 126 if it cannot be\n\
         run.\n",
    );
    text
}

/// Whether a topic has this name.
#[cfg(test)]
pub(super) fn is_topic(name: &str) -> bool {
    Topic::named(name).is_some()
}

/// The topic of bindings, with the converters that there are.
fn mapping() -> String {
    let mut lines = String::new();
    for (name, arguments, about) in crate::mapping::CONVERTERS {
        let call = match arguments {
            0 => (*name).to_owned(),
            1 => format!("{name}(a)"),
            _ => format!("{name}(a; b)"),
        };
        let about = super::escape::wrap(about, 80 - 23).join("\n                       ");
        let _ = writeln!(lines, "    {call:<19}{about}");
    }
    include_str!("topics/mapping.txt").replace("{converters}\n", &lines)
}

/// The line that names the topics, for the end of `--help`.
pub(super) fn topics() -> String {
    let names: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    format!("Topics of `integ help TOPIC`: {}.", names.join(", "))
}

/// Title and text of the topics that the manual page has as sections.
pub(super) fn sections() -> [(&'static str, String); 3] {
    [("EXIT STATUS", Topic::ExitCodes), ("ENVIRONMENT", Topic::Environment), ("FILES", Topic::Files)]
        .map(|(title, topic)| (title, topic.text()))
}

#[derive(Debug, Error)]
#[error("{word:?} is neither a command nor a topic")]
struct HelpError {
    word: String,
    likely: Option<String>,
}

impl Remedy for HelpError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "unknown_topic").hint(match &self.likely {
            Some(likely) => Hint::new(format!("did you mean {likely}?"), format!("integ help {likely}")),
            None => Hint::new("list the topics:", "integ help"),
        })
    }
}

/// Why there is no JSON Schema to print.
#[derive(Debug, Error)]
enum SchemaError {
    #[error("`integ {0}` is not a command that prints JSON")]
    Unknown(String),
    #[error("`integ {command}` has no JSON Schema: it prints {what}")]
    None { command: String, what: &'static str },
}

impl Remedy for SchemaError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unknown(_) => Diagnostic::new(Kind::Usage, "unknown_command").run("integ help json"),
            Self::None { .. } => Diagnostic::new(Kind::Usage, "no_schema").run("integ help json"),
        }
    }
}

/// `whole` is the command with all subcommands.
pub(super) fn run(ui: &Ui, args: &HelpArgs, whole: clap::Command) -> Result<u8> {
    let Some(first) = args.words.first() else {
        let mut command = whole.after_help(AFTER_HELP);
        let help = command.render_long_help();
        let help = if ui.color { help.ansi().to_string() } else { help.to_string() };
        let list = Topic::ALL.map(|topic| format!("  {:<13}{}", topic.name(), topic.title())).join("\n");
        ui.raw(&format!("{}\n\nTopics:\n{list}\n", help.trim_end()));
        return Ok(0);
    };
    if let [first, command @ ..] = args.words.as_slice()
        && first == Topic::Json.name()
        && !command.is_empty()
    {
        return print_schema(ui, &command.join(" "));
    }
    let topic = Topic::named(first).filter(|_| args.words.len() == 1);
    if let Some(topic) = topic {
        ui.raw(&topic.text());
    }
    let is_command = whole.find_subcommand(first).is_some();
    match (topic, is_command) {
        (None, false) => Err(unknown(first, &whole).into()),
        (Some(_), false) => Ok(0),
        (topic, true) => {
            if topic.is_some() {
                ui.raw("\n");
            }
            Ok(explain(&args.words, whole))
        }
    }
}

/// Prints the JSON Schema of what a command prints with `--json`.
fn print_schema(ui: &Ui, command: &str) -> Result<u8> {
    match json_schema::output(command) {
        Some(Output::Objects(shapes)) => ui.show_document(&json_schema::schema(command, shapes).to_string())?,
        Some(Output::Other(what)) => return Err(SchemaError::None { command: command.to_owned(), what }.into()),
        None => return Err(SchemaError::Unknown(command.to_owned()).into()),
    }
    Ok(0)
}

/// Clap's own help of a command, and its own words where a further word is none.
fn explain(words: &[String], whole: clap::Command) -> u8 {
    let line = std::iter::once("integ").chain(words.iter().map(String::as_str)).chain(["--help"]);
    let Err(answer) = whole.try_get_matches_from(line) else { return 0 };
    // A closed pipe is not a reason to complain (fault 100).
    let _ = answer.print();
    if answer.use_stderr() { Kind::Usage.exit_code() } else { 0 }
}

fn unknown(word: &str, whole: &clap::Command) -> HelpError {
    let names = names(whole);
    let likely = closest(word, names.iter().map(String::as_str)).map(str::to_owned);
    HelpError { word: word.to_owned(), likely }
}

fn names(whole: &clap::Command) -> Vec<String> {
    let commands = whole.get_subcommands().map(|command| command.get_name().to_owned());
    let mut names: Vec<String> = commands.chain(Topic::ALL.map(|topic| topic.name().to_owned())).collect();
    names.sort();
    names.dedup();
    names
}

/// What can be explained, for completion.
pub(super) fn candidates(whole: &clap::Command) -> Vec<CompletionCandidate> {
    names(whole).into_iter().map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Folders, KEYS};

    /// The command lines of a text: indented, without comments, up to what a shell would take for itself.
    fn lines(text: &str) -> Vec<Vec<String>> {
        let commands = text.lines().filter(|line| line.starts_with("    ")).filter_map(|line| {
            let line = line.split(" # ").next()?.trim();
            let words = shlex::split(line)?;
            let start = words.iter().position(|word| !word.contains('='))?;
            let words: Vec<String> = words[start..].to_vec();
            (words.first()? == "integ").then_some(words)
        });
        commands
            .map(|words| words.into_iter().take_while(|word| word != ">" && word != "<" && word != "|").collect())
            .collect()
    }

    #[test]
    fn every_command_line_of_a_topic_is_one() {
        let mut checked = 0;
        for topic in Topic::ALL {
            for words in lines(&topic.text()) {
                let parsed = super::super::command().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{}: {words:?}: {}", topic.name(), parsed.unwrap_err());
                checked += 1;
                if let ["integ", "config", "set", key, value] =
                    words.iter().map(String::as_str).collect::<Vec<_>>().as_slice()
                {
                    let folder = tempfile::tempdir().unwrap();
                    crate::config::set(&folder.path().join("config.toml"), key, value).unwrap();
                }
            }
        }
        assert!(checked > 35, "{checked}");
    }

    #[test]
    fn topics_say_what_the_code_does() {
        for variable in env::ALL {
            assert!(Topic::Environment.text().contains(variable.name), "{}", variable.name);
        }
        for kind in Kind::ALL {
            assert!(Topic::ExitCodes.text().contains(&format!("    {:<5}", kind.exit_code())), "{kind:?}");
        }
        let files = Topic::Files.text();
        let folders = Folders::under(std::path::Path::new("/h"));
        for path in
            [folders.config_file(), folders.identity(), folders.connectors(), folders.global(), folders.workspaces()]
        {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(files.contains(&format!("integ/{name}")), "{name}");
        }
        assert!(files.contains("        sequence "));
        for key in KEYS.iter().filter(|key| key.name.starts_with("notify.")) {
            assert!(Topic::Notify.text().contains(key.name), "{}", key.name);
        }
    }

    #[test]
    fn a_topic_is_text_that_fits_a_terminal_and_names_variables_that_are_read() {
        for topic in Topic::ALL {
            let text = topic.text();
            assert!(text.ends_with('\n') && !text.contains('\t') && !text.contains("{v"), "{}", topic.name());
            for line in text.lines() {
                assert!(
                    line.chars().count() <= if line.starts_with("    ") { 122 } else { 82 },
                    "{}: {line}",
                    topic.name()
                );
            }
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            for word in words.filter(|word| word.starts_with("INTEG_") && *word != "INTEG_") {
                let known = env::ALL.iter().any(|variable| variable.name == word)
                    || crate::model::VARIABLES.iter().any(|(name, _)| *name == word)
                    || word.starts_with(env::TOKEN_PREFIX)
                    || word == "INTEG_EVENT_"
                    || ["INTEG_JSON", "INTEG_CONNECT_TIMEOUT", "INTEG_SERVE_BIND", "INTEG_SERVE_LOG_FORMAT"]
                        .contains(&word);
                assert!(known, "{}: {word}", topic.name());
            }
        }
        assert_eq!(Topic::ALL.map(Topic::name).to_vec(), {
            let mut sorted = Topic::ALL.map(Topic::name).to_vec();
            sorted.sort_unstable();
            sorted
        });
    }
}
