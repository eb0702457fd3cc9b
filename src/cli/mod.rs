//! The command line: arguments, dispatch, and rendering of results.
//!
//! A command file is its arguments and one short function: resolve, call one domain function, return a view. `ui` decides
//! how a view is shown; nothing else prints.

mod api;
mod api_token;
mod app;
mod approval;
mod arguments;
mod audit;
mod backend;
mod binding;
mod calendar;
mod call;
mod client_secret;
mod complete;
mod completions;
mod config;
mod connect;
mod connect_events;
mod connect_link;
mod connector;
mod consent;
mod dashboard;
mod disconnect;
mod doctor;
mod endpoint;
mod escape;
mod examples;
mod exec;
mod export;
mod git_credential;
mod global;
mod help;
mod input_file;
mod json_log;
mod json_schema;
mod junit;
mod link;
mod logging;
mod logs;
mod man;
mod mcp;
mod metrics;
mod operator;
mod owner;
mod proxy;
mod reconnect;
mod refresh;
mod rename;
mod reveal;
mod sandbox;
mod serve;
mod sign_in;
mod status;
mod stdout;
mod sync;
mod table;
mod terminal;
mod test;
mod token;
mod ui;
mod user;
mod value_parser;
mod vault;
mod webhook;
mod words;
mod workspace;

use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use url::Url;

pub use arguments::command;
use arguments::{Cli, CliCommand};
use backend::{Backend, ServerChoiceError};
pub use completions::script;
use ui::Ui;
use workspace::WorkspaceSource;

use crate::config::{Config, Folders, LogFormat, ProjectConfig};
use crate::connector::Catalogue;
use crate::error::{Kind, Result};
use crate::model::WorkspaceName;
use crate::notify::Notifier;
use crate::ops::Operation;
use crate::ops::agents::AgentServer;
use crate::ops::serving::WorkspaceServer;
use crate::runtime::{Engine, EnvironmentConnections, EnvironmentError, Workspace};

/// What the command line starts, and does not know otherwise.
#[derive(Clone, Copy)]
struct Servers<'a> {
    workspaces: &'a dyn WorkspaceServer,
    agents: &'a dyn AgentServer,
}

/// Parses the process's arguments and runs the command. `integ serve` starts `workspaces`, `integ mcp serve` `agents`.
pub fn run(workspaces: &dyn WorkspaceServer, agents: &dyn AgentServer) -> ExitCode {
    logging::harden();
    // The processes that evaluate jq expressions and that hold an unlocked identity are not commands for users.
    if std::env::args_os().nth(1).is_some_and(|first| first == crate::jq::WORKER_ARGUMENT) {
        crate::jq::serve();
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == crate::vault::AGENT_ARGUMENT) {
        return crate::vault::serve_agent();
    }
    clap_complete::CompleteEnv::with_factory(|| complete::completed_command(command())).complete();
    let (cli, operation) = match arguments::parse() {
        Ok(parsed) => parsed,
        Err(error) => return usage(&with_advice(error)),
    };
    let mut ui = Ui::new(&cli.global);
    // What serves says in its settings how it logs.
    if !matches!(cli.command, Some(CliCommand::Serve(_))) {
        logging::start(cli.global.verbose, cli.global.quiet, LogFormat::Text);
    }
    let done = dispatch(cli, operation, &mut ui, Servers { workspaces, agents })
        .and_then(|code| ui::output_error().map_or(Ok(code), |lost| Err(lost.into())));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Replaces clap's advice to pass an unknown flag as a value, which helps nobody, by advice that fits what was typed.
fn with_advice(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let typed = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(typed)) => typed.clone(),
        _ => String::new(),
    };
    let words: Vec<String> = std::env::args().collect();
    let is_token = words.windows(2).any(|pair| pair[0] == "--with-token" && pair[1] == typed);
    let advice = match typed.as_str() {
        _ if is_token => "--with-token reads the token from stdin, or asks for it: `… --with-token < FILE`",
        "--sandbox" => "a connection is in the sandbox if it was connected so: `integ connect CONNECTOR --sandbox`",
        _ => "",
    };
    error.remove(ContextKind::Suggested);
    if !advice.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
    }
    error
}

/// Help and version go to stdout and are no failure; a mistake is clap's own message, exit code 2.
fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() {
        return ExitCode::from(Kind::Usage.exit_code());
    }
    ui::note_reader(printed.and_then(|()| std::io::Write::flush(&mut std::io::stdout())));
    match ui::output_error() {
        None => ExitCode::SUCCESS,
        Some(lost) => {
            Ui::new(&global::GlobalArgs::default()).error(&lost.into());
            ExitCode::from(Kind::Failed.exit_code())
        }
    }
}

/// Whether a command works in the workspace, and if so, whether it may make it.
fn needs_workspace(command: &CliCommand) -> Option<bool> {
    match command {
        CliCommand::Connect(_) => Some(true),
        CliCommand::ApiToken(args) => args.makes_workspace(),
        CliCommand::ConnectLink(args) => Some(args.makes_workspace()),
        CliCommand::Endpoint(args) => Some(args.makes_workspace()),
        CliCommand::App(args) => Some(args.makes_workspace()),
        CliCommand::Consent(args) => Some(args.makes_workspace()),
        CliCommand::Binding(args) => Some(args.makes_workspace()),
        CliCommand::Sandbox(args) => Some(args.makes_workspace()),
        CliCommand::Vault(args) => Some(args.makes_workspace()),
        CliCommand::Operator(args) => Some(args.makes_workspace()),
        CliCommand::Serve(_) | CliCommand::Dashboard(_) => Some(true),
        CliCommand::Reconnect(_)
        | CliCommand::Rename(_)
        | CliCommand::Reveal(_)
        | CliCommand::Disconnect(_)
        | CliCommand::Status(_)
        | CliCommand::Refresh(_)
        | CliCommand::Test(_)
        | CliCommand::Token(_)
        | CliCommand::Exec(_)
        | CliCommand::Export(_)
        | CliCommand::GitCredential(_)
        | CliCommand::Mcp(_)
        | CliCommand::Proxy(_)
        | CliCommand::Api(_)
        | CliCommand::Calendar(_)
        | CliCommand::Call(_)
        | CliCommand::Webhook(_)
        | CliCommand::Sync(_)
        | CliCommand::Records(_)
        | CliCommand::Cursor(_)
        | CliCommand::Job(_)
        | CliCommand::Schedule(_)
        | CliCommand::Link(_)
        | CliCommand::User(_)
        | CliCommand::Approval(_)
        | CliCommand::Audit(_)
        | CliCommand::Logs(_)
        | CliCommand::Metrics(_) => Some(false),
        // Workspaces are named in the arguments; connectors and settings belong to all of them.
        CliCommand::Workspace(_)
        | CliCommand::Connector(_)
        | CliCommand::Config(_)
        | CliCommand::Completions(_)
        | CliCommand::Doctor(_)
        | CliCommand::Help(_)
        | CliCommand::Man(_) => None,
    }
}

/// Workspace to use, and who named it: the command line, the project's file or the settings.
fn choose_workspace(
    named: Option<&str>,
    command: &CliCommand,
    ui: &Ui,
    folders: &Folders,
    settings: &Config,
) -> Result<(WorkspaceName, WorkspaceSource)> {
    if let Some(named) = named {
        return Ok((WorkspaceName::from_str(named)?, WorkspaceSource::User));
    }
    // The commands that create and list workspaces are what helps if there is none of that name.
    let must_exist = !matches!(command, CliCommand::Workspace(_));
    if let Some(chosen) = ui.project.resolve_workspace(&settings.workspace, folders, must_exist)? {
        return Ok((chosen, WorkspaceSource::Project));
    }
    Ok((WorkspaceName::from_str(&settings.workspace)?, WorkspaceSource::Settings))
}

/// Refuses a command that would write to a workspace, or read more of one than connections, where the environment's
/// connections take the place of a workspace.
fn ensure_works_without_store(
    command: &CliCommand,
    environment: &EnvironmentConnections,
) -> Result<(), EnvironmentError> {
    match command {
        CliCommand::Token(_)
        | CliCommand::Exec(_)
        | CliCommand::Api(_)
        | CliCommand::Call(_)
        | CliCommand::Status(_)
        | CliCommand::Test(_)
        | CliCommand::GitCredential(_) => Ok(()),
        CliCommand::Mcp(args) if args.works_without_store() => Ok(()),
        _ => Err(environment.workspace_required()),
    }
}

fn find_folders(environment: Option<&EnvironmentConnections>) -> Result<Folders> {
    match Folders::from_env() {
        // What is in the environment needs no folder.
        Err(_) if environment.is_some() => Ok(Folders::absent()),
        folders => Ok(folders?),
    }
}

fn dispatch(cli: Cli, operation: Option<&Operation>, ui: &mut Ui, servers: Servers<'_>) -> Result<u8> {
    let Some(command) = cli.command else {
        let _ = command().print_help();
        return Ok(Kind::Usage.exit_code());
    };
    // What needs no home, and no settings that parse.
    match &command {
        CliCommand::Completions(args) => return completions::run(ui, args),
        CliCommand::Doctor(args) => return doctor::run(ui, cli.global.workspace, args),
        CliCommand::Help(args) => return help::run(ui, args, arguments::command()),
        CliCommand::Man(args) => return man::run(ui, args, arguments::command()),
        _ => {}
    }
    if let Some(url) = &ui.server
        && let Some(url) = server_of(url, &command, cli.global.workspace.as_deref())?
    {
        return run_at_server(url, ui, command, cli.global.quiet);
    }
    let environment = EnvironmentConnections::from_env()?;
    let folders = find_folders(environment.as_ref())?;
    if let CliCommand::Config(args) = command {
        return config::run(ui, &folders, args);
    }
    let mut settings = crate::config::load(&folders.config_file())?;
    let catalogue = Catalogue::new(&folders.connectors());
    let announce = (!cli.global.quiet).then_some(ui::note as fn(&str));
    ui.project = ProjectConfig::find()?.with(announce, |id| catalogue.contains(id));
    let (name, chosen_by) = match &environment {
        // The project's file and the settings choose among workspaces, of which there is none.
        Some(_) => (WorkspaceName::default(), WorkspaceSource::Settings),
        None => choose_workspace(cli.global.workspace.as_deref(), &command, ui, &folders, &settings)?,
    };
    let needs_workspace = needs_workspace(&command);
    if let Some(environment) = &environment
        && needs_workspace.is_some()
    {
        ensure_works_without_store(&command, environment)?;
    }
    ui.environment.clone_from(&environment);
    let notifier = Box::new(Notifier::new(&settings));
    let pending = operation.filter(|_| needs_workspace.is_some() && environment.is_none());
    let pending = pending.and_then(|operation| audit::pending_entry(operation, &settings));
    let listeners = match &command {
        CliCommand::Serve(args) => {
            let format = serve::log_format(args, &settings.serve);
            logging::start(cli.global.verbose, cli.global.quiet, format);
            ui.logs_json = format == LogFormat::Json;
            Some(serve::listen(args, &mut settings.serve)?)
        }
        CliCommand::Dashboard(args) => dashboard::listen(args, &mut settings.serve)?,
        _ => None,
    };
    let engine = Engine::new(folders, settings, Box::new(ui.terminal()), notifier)
        .with_environment(environment)
        .with_audit(pending);
    let mut workspace = Workspace::new(Arc::new(engine), name);
    workspace.chosen_by = (chosen_by == WorkspaceSource::Project).then(|| ui.project.path().to_owned());
    if let Some(makes) = needs_workspace {
        workspace::ensure_exists(&workspace, chosen_by, makes)?;
    }
    match (command, listeners) {
        (CliCommand::Serve(args), Some(listeners)) => serve::run(workspace, ui, *args, listeners, servers.workspaces),
        (CliCommand::Dashboard(args), listeners) => dashboard::run(workspace, ui, *args, listeners, servers.workspaces),
        (command, _) => run_in(workspace, ui, command, servers.agents),
    }
}

/// Returns the server that a command uses in place of the local store; None if it needs none of the two, as the commands do
/// that sign in to a server or look at connectors and settings.
///
/// # Errors
/// [`ServerChoiceError::LocalOnly`] for all other commands.
fn server_of(url: &Url, command: &CliCommand, workspace: Option<&str>) -> Result<Option<Url>, ServerChoiceError> {
    match command {
        CliCommand::Token(_)
        | CliCommand::Exec(_)
        | CliCommand::Api(_)
        | CliCommand::Call(_)
        | CliCommand::Status(_)
        | CliCommand::Test(_) => {}
        CliCommand::ApiToken(args) if args.is_login() => return Ok(None),
        CliCommand::Config(_) | CliCommand::Connector(_) => return Ok(None),
        _ => return Err(ServerChoiceError::local_only()),
    }
    if workspace.is_some() {
        return Err(ServerChoiceError::NamedWorkspace);
    }
    Ok(Some(url.clone()))
}

/// Runs a command at a server, without the store of this machine.
fn run_at_server(url: Url, ui: &mut Ui, command: CliCommand, is_quiet: bool) -> Result<u8> {
    let backend = Backend::at_server(url, ui, |folders| Ok(crate::config::load(&folders.config_file())?))?;
    let announce = (!is_quiet).then_some(ui::note as fn(&str));
    let catalogue = &backend.workspace.engine.catalogue;
    ui.project = ProjectConfig::find()?.with(announce, |id| catalogue.contains(id));
    run_with(backend, ui, command)
}

/// Runs one of the commands that work with a server as well.
fn run_with(backend: Backend, ui: &mut Ui, command: CliCommand) -> Result<u8> {
    match command {
        CliCommand::Status(args) => status::run(&backend, ui, &args),
        CliCommand::Test(args) => test::run(&backend, ui, &args),
        CliCommand::Token(args) => token::run(&backend, ui, &args),
        CliCommand::Exec(args) => exec::run(backend, ui, &args),
        CliCommand::Api(args) => api::run(&backend, ui, &args),
        CliCommand::Call(args) => call::run(&backend, ui, &args),
        _ => Ok(0),
    }
}

/// Runs a command that works in a workspace.
fn run_in(workspace: Workspace, ui: &mut Ui, command: CliCommand, agents: &dyn AgentServer) -> Result<u8> {
    audit::record_read(&workspace)?;
    let backend = Backend { workspace, server: None };
    let command = match command {
        CliCommand::Exec(args) => return exec::run(backend, ui, &args),
        command => command,
    };
    let workspace = &backend.workspace;
    let result = match command {
        CliCommand::Connect(args) => connect::run(workspace, ui, *args),
        CliCommand::Reconnect(args) => reconnect::run(workspace, ui, *args),
        CliCommand::Rename(args) => rename::run(workspace, ui, args),
        CliCommand::Reveal(args) => reveal::run(workspace, ui, &args),
        CliCommand::Disconnect(args) => disconnect::run(workspace, ui, &args),
        CliCommand::Status(args) => status::run(&backend, ui, &args),
        CliCommand::Refresh(args) => refresh::run(workspace, ui, &args),
        CliCommand::Test(args) => test::run(&backend, ui, &args),
        CliCommand::Token(args) => token::run(&backend, ui, &args),
        CliCommand::Export(args) => export::run(workspace, ui, &args),
        CliCommand::GitCredential(args) => git_credential::run(workspace, ui, &args),
        CliCommand::Mcp(args) => mcp::run(workspace, ui, args, agents),
        CliCommand::Proxy(args) => proxy::run(workspace, ui, args),
        CliCommand::Api(args) => api::run(&backend, ui, &args),
        CliCommand::Calendar(args) => calendar::run(workspace, ui, *args),
        CliCommand::Call(args) => call::run(&backend, ui, &args),
        CliCommand::Endpoint(args) => endpoint::run(workspace, ui, *args),
        CliCommand::ApiToken(args) => api_token::run(workspace, ui, args),
        CliCommand::App(args) => app::run(workspace, ui, args),
        CliCommand::Approval(args) => approval::run(workspace, ui, args),
        CliCommand::Connector(args) => connector::run(workspace, ui, args),
        CliCommand::Webhook(args) => webhook::run(workspace, ui, args),
        CliCommand::Sync(args) => sync::run(workspace, ui, &args),
        CliCommand::Records(args) => sync::records::run(workspace, ui, &args),
        CliCommand::Cursor(args) => sync::cursor::run(workspace, ui, &args),
        CliCommand::Job(args) => sync::job::run(workspace, ui, &args),
        CliCommand::Schedule(args) => sync::schedule::run(workspace, ui, &args),
        CliCommand::Binding(args) => binding::run(workspace, ui, args),
        CliCommand::Link(args) => link::run(workspace, ui, args),
        CliCommand::User(args) => user::run(workspace, ui, args),
        CliCommand::Consent(args) => consent::run(workspace, ui, args),
        CliCommand::Audit(args) => audit::run(workspace, ui, args),
        CliCommand::Logs(args) => logs::run(workspace, ui, &args),
        CliCommand::Metrics(args) => metrics::run(workspace, ui, &args),
        CliCommand::ConnectLink(args) => connect_link::run(workspace, ui, args),
        CliCommand::Operator(args) => operator::run(workspace, ui, args),
        CliCommand::Sandbox(args) => sandbox::run(workspace, ui, args),
        CliCommand::Workspace(args) => workspace::run(workspace, ui, args),
        CliCommand::Vault(args) => vault::run(workspace, ui, args),
        CliCommand::Config(_)
        | CliCommand::Exec(_)
        | CliCommand::Completions(_)
        | CliCommand::Doctor(_)
        | CliCommand::Help(_)
        | CliCommand::Man(_)
        | CliCommand::Dashboard(_)
        | CliCommand::Serve(_) => Ok(0),
    };
    audit::record_outcome(workspace, ui, result.as_ref().err(), *result.as_ref().unwrap_or(&0));
    if let Some(location) = workspace.new_identity_location() {
        ui.note(&vault::new_identity::new_identity_note(workspace, location));
    }
    result
}
