//! `integ exec`.

use std::ffi::OsString;
use std::process::Command;

use clap::Args;
use thiserror::Error;

use super::token::{fresh, variables};
use super::ui::Ui;
use crate::app::App;
use crate::error::{Kind, Remedy, Result};
use crate::oauth::access::Want;

/// Run a command with fresh tokens in its environment
///
/// `integ exec slack -- ./report` gives it SLACK_TOKEN; slack@work gives SLACK_WORK_TOKEN. The command's exit code is
/// kept.
#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    #[arg(required = true, add = super::complete::connections())]
    pub connections: Vec<String>,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Error)]
#[error("{} could not be run", command.to_string_lossy())]
struct ExecError {
    command: OsString,
    source: std::io::Error,
}

impl Remedy for ExecError {
    fn kind(&self) -> Kind {
        Kind::Failed
    }

    fn code(&self) -> &'static str {
        "exec"
    }
}

pub(super) fn run(app: App, ui: &Ui, args: &ExecArgs) -> Result<u8> {
    let mut environment = Vec::new();
    for connection in &args.connections {
        let name = ui.project.resolve(connection)?;
        environment.extend(variables(&fresh(&app, &name, Want::Usable)?));
    }
    let Some((program, arguments)) = args.command.split_first() else { return Ok(Kind::Usage.exit_code()) };
    let mut command = Command::new(program);
    command.args(arguments).envs(environment);
    // Closes the store: what takes this process's place would leave its log and its lock lying there.
    drop(app);
    replace(command, program)
}

/// The command takes this process's place: its exit code, its signals and its terminal are its own.
#[cfg(unix)]
fn replace(mut command: Command, program: &OsString) -> Result<u8> {
    use std::os::unix::process::CommandExt;
    let source = command.exec();
    Err(ExecError { command: program.clone(), source }.into())
}

#[cfg(not(unix))]
fn replace(mut command: Command, program: &OsString) -> Result<u8> {
    let status = command.status().map_err(|source| ExecError { command: program.clone(), source })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
