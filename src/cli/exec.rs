//! `integ exec`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use clap::Args;
use thiserror::Error;

use super::audit;
use super::backend::Backend;
use super::ui::Ui;
use crate::env::{self, EnvInheritance};
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy, Result};
use crate::mask::{MIN_SECRET_LENGTH, SecretPatterns};
use crate::ops::tokens::{CredentialSource, CredentialVariablesRequest, VariableRequest};
use crate::program;
use crate::secret::Secret;
use crate::view::token::CredentialVariablesView;

/// The exit codes of a shell for a command that is not there, and for one that does not run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// Bytes of a value that may be to blame if the system refuses a program's environment as a whole.
const LONG: usize = 64 * 1024;

/// Run a command with fresh credentials in its environment
///
/// `integ exec slack -- ./report` sets SLACK_TOKEN; slack@work sets SLACK_WORK_TOKEN. Other parts of a credential have
/// their own variables: TWILIO_ACCOUNT_SID, JIRA_CLOUD_ID. The command gets no other secrets from integ. Its exit code
/// is passed on; 127 means that the command was not found, 126 that it cannot be run.
#[derive(Debug, Args)]
#[command(override_usage = "integ exec [OPTIONS] [CONNECTION]... -- COMMAND...")]
pub(super) struct ExecArgs {
    /// Connections whose credentials the command gets
    #[arg(value_name = "CONNECTION", required_unless_present = "env", add = super::complete::exec_words())]
    pub connections: Vec<String>,
    /// Set a variable of your choice to a connection's token, or to another part of its credential; repeatable
    #[arg(long = "env", value_name = "NAME=CONNECTION[.PART]", value_parser = assignment)]
    pub env: Vec<(String, String)>,
    /// Pass on integ's own variables and client secrets, for a command that calls integ
    #[arg(long)]
    pub inherit: bool,
    /// Hide the secrets in the command's output, which then goes through pipes instead of your terminal; values under 4
    /// characters are not hidden
    ///
    /// Secrets are also found if they are split over several writes, or encoded as base64, hexadecimal, URL or JSON. In
    /// GitHub Actions, they are also registered with `::add-mask::`.
    #[arg(long)]
    pub mask: bool,
    /// The command and its arguments, after --
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// A name that an environment can have, and what goes into it.
fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, source)) if !name.is_empty() && !source.is_empty() && !name.contains('\0') => {
            Ok((name.to_owned(), source.to_owned()))
        }
        _ => Err(format!("{text:?} is not NAME=CONNECTION or NAME=CONNECTION.PART")),
    }
}

#[derive(Debug, Error)]
enum ExecError {
    #[error("missing command")]
    MissingCommand,
    #[error("cannot run {}", command.to_string_lossy())]
    Spawn { command: OsString, source: io::Error },
    /// Linux takes 128 KiB for each of them.
    #[error("cannot run {}: {variable} has {length} bytes, more than the system passes to a program", command.to_string_lossy())]
    VariableTooLong { command: OsString, variable: String, length: usize, source: io::Error },
}

impl Remedy for ExecError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::MissingCommand => Diagnostic::new(Kind::Usage, "missing_command")
                .hint(Hint::new("write it after `--`:", "integ exec CONNECTION -- COMMAND")),
            Self::Spawn { .. } => Diagnostic::new(Kind::Failed, "exec_failed"),
            Self::VariableTooLong { .. } => Diagnostic::new(Kind::Failed, "variable_too_long"),
        }
    }
}

/// A variable of the user's choice, as `--env` names it.
fn variable_request(ui: &Ui, variable: &str, source: &str) -> Result<VariableRequest> {
    let part = source.rsplit_once('.').map(|(connection, part)| (ui.project.resolve(connection), part.to_owned()));
    let source_of = match (ui.project.resolve(source), part) {
        (Ok(name), Some((Ok(connection), part))) => CredentialSource::TokenOrPart(name, (connection, part)),
        (Ok(name), _) => CredentialSource::Token(name),
        (Err(_), Some((connection, part))) => CredentialSource::Part(connection?, part),
        (Err(error), None) => return Err(error.into()),
    };
    Ok(VariableRequest { variable: variable.to_owned(), source_text: source.to_owned(), source: source_of })
}

pub(super) fn run(backend: Backend, ui: &Ui, args: &ExecArgs) -> Result<u8> {
    let inherit = if args.inherit { EnvInheritance::Full } else { EnvInheritance::Scrubbed };
    let Some((program, arguments)) = args.command.split_first() else { return Err(ExecError::MissingCommand.into()) };
    let found = credentials(&backend, ui, args, inherit);
    // Now, as the command takes this process's place.
    audit::record_outcome(&backend.workspace, ui, found.as_ref().err(), 0);
    let CredentialVariablesView { variables, secrets } = found?;
    let environment: Vec<_> = variables.into_iter().map(|(name, value)| (name, value.expose().clone())).collect();
    let longest = environment.iter().map(|(name, value)| (name.clone(), value.len())).max_by_key(|(_, length)| *length);
    let names = environment.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",");
    let mut command = program::command_with_env(program, inherit);
    command.args(arguments).env(env::EXPORTED.name, names).envs(environment);
    // Closes the store: what takes this process's place would leave its log and its lock lying there.
    drop(backend);
    let ended = if args.mask { run_masked(command, &secrets) } else { replace(command) };
    ended.or_else(|source| {
        let code = if source.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE };
        let command = program.clone();
        let error = match longest {
            Some((variable, length)) if source.kind() == io::ErrorKind::ArgumentListTooLong && length > LONG => {
                ExecError::VariableTooLong { command, variable, length, source }
            }
            _ => ExecError::Spawn { command, source },
        };
        ui.error(&Error::from(error));
        Ok(code)
    })
}

fn credentials(
    backend: &Backend,
    ui: &Ui,
    args: &ExecArgs,
    inherit: EnvInheritance,
) -> Result<CredentialVariablesView> {
    let variables = args.env.iter().map(|(variable, source)| variable_request(ui, variable, source));
    let request = CredentialVariablesRequest {
        variables: variables.collect::<Result<_>>()?,
        connections: args.connections.iter().map(|word| ui.project.resolve(word)).collect::<Result<_, _>>()?,
        inherited: env::inherited_vars(inherit),
    };
    backend.credential_variables(request)
}

/// Runs the command as a child, and hides the secrets in what it prints.
fn run_masked(command: Command, secrets: &[Secret]) -> io::Result<u8> {
    register_masks(secrets);
    let patterns = SecretPatterns::new(secrets).map_err(io::Error::other)?;
    let status = program::run_masked(command, Arc::new(patterns))?;
    Ok(exit_code(status))
}

/// Lets GitHub Actions hide the secrets in the whole log of the job. The lines hold the secrets themselves, so that they go
/// to the runner alone: it reads both streams, and a file is not a runner.
fn register_masks(secrets: &[Secret]) {
    let mut stderr = io::stderr().lock();
    let is_file = rustix::fs::fstat(&stderr)
        .is_ok_and(|status| rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::RegularFile);
    if is_file || env::var(&env::GITHUB_ACTIONS).is_none_or(|value| value != "true") {
        return;
    }
    for secret in secrets.iter().filter(|secret| secret.expose().len() >= MIN_SECRET_LENGTH) {
        // Secrets hold no line breaks; a percent sign begins an escape.
        let _ = writeln!(stderr, "::add-mask::{}", secret.expose().replace('%', "%25"));
    }
}

/// The exit code of a child, as a shell reports it: 128 and its number for a signal.
fn exit_code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let code = status.code().or_else(|| signal.map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The command takes this process's place: its exit code, its signals and its terminal are its own. Returns only if it
/// does not.
#[cfg(unix)]
fn replace(mut command: Command) -> io::Result<u8> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

#[cfg(not(unix))]
fn replace(mut command: Command) -> io::Result<u8> {
    let status = command.status()?;
    Ok(exit_code(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::global::GlobalArgs;

    #[test]
    fn a_source_is_a_token_a_part_or_either() {
        let ui = Ui::new(&GlobalArgs::default());
        let source = |text: &str| variable_request(&ui, "NAME", text).map(|request| request.source);
        let name = |text: &str| text.parse().unwrap();
        assert_eq!(source("slack").unwrap(), CredentialSource::Token(name("slack")));
        assert_eq!(source("jira.cloud_id").unwrap(), CredentialSource::Part(name("jira"), "cloud_id".to_owned()));
        assert_eq!(
            source("slack@a.b").unwrap(),
            CredentialSource::TokenOrPart(name("slack@a.b"), (name("slack@a"), "b".to_owned()))
        );
        assert!(source("No Such Name").is_err() && source("No Such.part").is_err());
    }
}
