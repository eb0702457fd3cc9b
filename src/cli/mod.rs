//! The command line: arguments, dispatch, and the one place where results become text.
//!
//! A command file is its arguments and one short function: resolve, call one domain function, return a view. `ui` decides
//! how a view is shown; nothing else prints.

mod api;
mod app;
mod args;
mod call;
mod complete;
mod completions;
mod config;
mod connect;
mod connector;
mod disconnect;
mod doctor;
mod endpoint;
mod escape;
mod exec;
mod help;
mod logging;
mod man;
mod refresh;
mod sandbox;
mod status;
mod sync;
mod table;
mod terminal;
mod test;
mod token;
mod ui;
mod vault;
mod webhook;
mod words;
mod workspace;

use std::process::ExitCode;
use std::str::FromStr;

pub use args::command;
use args::{Cli, Command};
pub use completions::script;
use ui::Ui;
use workspace::ChosenBy;

use crate::config::{Config, Folders, Project};
use crate::connector::Catalogue;
use crate::error::{Kind, Result};
use crate::model::WorkspaceName;
use crate::runtime::App;

/// Parses the process's arguments and runs the command.
pub fn run() -> ExitCode {
    logging::harden();
    // The process that evaluates jq expressions is no command: nobody types it.
    if std::env::args_os().nth(1).is_some_and(|first| first == crate::jq::ARGUMENT) {
        crate::jq::serve();
        return ExitCode::SUCCESS;
    }
    clap_complete::CompleteEnv::with_factory(command).complete();
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let mut ui = Ui::new(&cli.global);
    logging::start(cli.global.verbose, cli.global.quiet);
    let done = dispatch(cli, &mut ui).and_then(|code| ui::lost_output().map_or(Ok(code), |lost| Err(lost.into())));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Help and version go to stdout and are no failure; a mistake is clap's own message, exit code 2.
fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() {
        return ExitCode::from(Kind::Usage.exit_code());
    }
    ui::note_reader(printed.and_then(|()| std::io::Write::flush(&mut std::io::stdout())));
    match ui::lost_output() {
        None => ExitCode::SUCCESS,
        Some(lost) => {
            Ui::new(&args::Global::default()).error(&lost.into());
            ExitCode::from(Kind::Failed.exit_code())
        }
    }
}

/// Whether a command works in the workspace, and if so, whether it may make it.
fn needs_workspace(command: &Command) -> Option<bool> {
    match command {
        Command::Connect(_) => Some(true),
        Command::Endpoint(args) => Some(args.makes_workspace()),
        Command::App(args) => Some(args.makes_workspace()),
        Command::Sandbox(args) => Some(args.makes_workspace()),
        Command::Vault(args) => Some(args.makes_workspace()),
        Command::Disconnect(_)
        | Command::Status(_)
        | Command::Refresh(_)
        | Command::Test(_)
        | Command::Token(_)
        | Command::Exec(_)
        | Command::Api(_)
        | Command::Call(_)
        | Command::Webhook(_)
        | Command::Sync(_)
        | Command::Records(_)
        | Command::Cursor(_)
        | Command::Job(_)
        | Command::Schedule(_) => Some(false),
        // Workspaces are named in the arguments; connectors and settings belong to all of them.
        Command::Workspace(_)
        | Command::Connector(_)
        | Command::Config(_)
        | Command::Completions(_)
        | Command::Doctor(_)
        | Command::Help(_)
        | Command::Man(_) => None,
    }
}

/// The workspace to work in, and who named it: the command line, the project's file or the settings.
fn choose_workspace(
    named: Option<&str>,
    command: &Command,
    ui: &Ui,
    folders: &Folders,
    settings: &Config,
) -> Result<(WorkspaceName, ChosenBy)> {
    if let Some(named) = named {
        return Ok((WorkspaceName::from_str(named)?, ChosenBy::User));
    }
    // The commands that make workspaces and list them are the way out where there is none of that name.
    let must_exist = !matches!(command, Command::Workspace(_));
    if let Some(chosen) = ui.project.workspace_in_place_of(&settings.workspace, folders, must_exist)? {
        return Ok((chosen, ChosenBy::Project));
    }
    Ok((WorkspaceName::from_str(&settings.workspace)?, ChosenBy::Settings))
}

fn dispatch(cli: Cli, ui: &mut Ui) -> Result<u8> {
    let Some(command) = cli.command else {
        let _ = command().print_help();
        return Ok(Kind::Usage.exit_code());
    };
    // What needs no home, and no settings that parse.
    match &command {
        Command::Completions(args) => return completions::run(ui, args),
        Command::Doctor(args) => return doctor::run(ui, cli.global.workspace, args),
        Command::Help(args) => return help::run(ui, args),
        Command::Man(args) => return man::run(ui, args),
        _ => {}
    }
    let folders = Folders::from_env()?;
    if let Command::Config(args) = command {
        return config::run(ui, &folders, args);
    }
    let settings = crate::config::load(&folders.config_file())?;
    let catalogue = Catalogue::new(&folders.connectors());
    let announce = (!cli.global.quiet).then_some(ui::note as fn(&str));
    ui.project = Project::find()?.with(announce, |id| catalogue.has(id));
    let (workspace, chosen_by) = choose_workspace(cli.global.workspace.as_deref(), &command, ui, &folders, &settings)?;
    let mut app = App::new(folders, settings, workspace, Box::new(ui.terminal()));
    app.chosen_by = (chosen_by == ChosenBy::Project).then(|| ui.project.path().to_owned());
    if let Some(makes) = needs_workspace(&command) {
        workspace::ensure_exists(&app, chosen_by, makes)?;
    }
    let result = match command {
        Command::Connect(args) => connect::run(&app, ui, *args),
        Command::Disconnect(args) => disconnect::run(&app, ui, &args),
        Command::Status(args) => status::run(&app, ui, &args),
        Command::Refresh(args) => refresh::run(&app, ui, &args),
        Command::Test(args) => test::run(&app, ui, &args),
        Command::Token(args) => token::run(&app, ui, &args),
        Command::Exec(args) => return exec::run(app, ui, &args),
        Command::Api(args) => api::run(&app, ui, &args),
        Command::Call(args) => call::run(&app, ui, &args),
        Command::Endpoint(args) => endpoint::run(&app, ui, *args),
        Command::App(args) => app::run(&app, ui, args),
        Command::Connector(args) => connector::run(&app, ui, args),
        Command::Webhook(args) => webhook::run(&app, ui, args),
        Command::Sync(args) => sync::run(&app, ui, &args),
        Command::Records(args) => sync::records::run(&app, ui, &args),
        Command::Cursor(args) => sync::cursor::run(&app, ui, &args),
        Command::Job(args) => sync::job::run(&app, ui, &args),
        Command::Schedule(args) => sync::schedule::run(&app, ui, &args),
        Command::Sandbox(args) => sandbox::run(&app, ui, args),
        Command::Workspace(args) => workspace::run(&app, ui, args),
        Command::Vault(args) => vault::run(&app, ui, args),
        Command::Config(_) | Command::Completions(_) | Command::Doctor(_) | Command::Help(_) | Command::Man(_) => Ok(0),
    };
    if let Some(custody) = app.identity_made() {
        ui.note(&vault::identity_made(&app, custody));
    }
    result
}
