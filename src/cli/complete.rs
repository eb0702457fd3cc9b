//! Completion candidates: connectors, connections of the live store, workspaces.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::str::FromStr;
use std::sync::Arc;

use clap_complete::engine::ValueCompleter;
use clap_complete::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter};

use super::terminal::Terminal;
use crate::config::{ConfigKey, Folders, KEYS, ProjectConfig};
use crate::connector::{Action, Catalogue, Connector, ConnectorSource, Scope, Stream, is_shell_safe};
use crate::model::{ApprovalStatus, ConnectionName, WorkspaceName};
use crate::notify::Notifier;
use crate::ops::api_tokens::{list_scopes, list_tokens};
use crate::ops::approvals::{ListApprovalsRequest, list_approvals};
use crate::ops::bindings::list_bindings;
use crate::ops::connections::{StatusRequest, list_connection_names, status};
use crate::ops::endpoints::list_endpoints;
use crate::ops::sync::{JobListRequest, list_jobs, list_synced_streams};
use crate::ops::vault::list_recipients;
use crate::ops::webhooks::{ListEventsRequest, list_events};
use crate::runtime::{Engine, Workspace};
use crate::sandbox::{EmulatedEndpoint, FaultKind};
use crate::view::api_token::{ApiScopeListView, ApiScopeView, ApiTokenView};
use crate::view::approval::ApprovalView;
use crate::view::binding::BindingSummaryView;
use crate::view::connection::ConnectionView;
use crate::view::endpoint::EndpointView;
use crate::view::sync::JobView;
use crate::view::vault::RecipientView;
use crate::view::webhook::StoredEventView;

/// Candidates that no shell interprets: names come from connector files and stores, and what Tab inserts is then run.
fn candidates(find: impl Fn() -> Vec<CompletionCandidate> + Send + Sync + 'static) -> ArgValueCandidates {
    ArgValueCandidates::new(move || sanitize(find()))
}

fn completer(find: impl Fn(&OsStr) -> Vec<CompletionCandidate> + Send + Sync + 'static) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| sanitize(find(current)))
}

fn sanitize(found: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    let plain = |candidate: &CompletionCandidate| candidate.get_value().to_str().is_some_and(is_shell_safe);
    let shown = |candidate: CompletionCandidate| {
        let help = candidate.get_help().map(|help| super::escape::escape(&help.to_string()));
        candidate.help(help.map(Into::into))
    };
    found.into_iter().filter(plain).map(shown).collect()
}

pub(super) fn connectors() -> ArgValueCandidates {
    candidates(|| {
        let Ok(folders) = Folders::from_env() else { return Vec::new() };
        Catalogue::new(&folders.connectors()).ids().into_iter().map(|(id, _)| CompletionCandidate::new(id)).collect()
    })
}

/// Those that can be removed.
pub(super) fn installed_connectors() -> ArgValueCandidates {
    candidates(|| {
        let Ok(folders) = Folders::from_env() else { return Vec::new() };
        let ids = Catalogue::new(&folders.connectors()).ids().into_iter();
        let installed = ids.filter(|(_, source)| matches!(source, ConnectorSource::Installed { .. }));
        installed.map(|(id, _)| CompletionCandidate::new(id)).collect()
    })
}

/// The connections of the live store, each with its account and status.
pub(super) fn connections() -> ArgValueCandidates {
    candidates(|| described(|_| true))
}

fn described(is_offered: impl Fn(&ConnectionView) -> bool) -> Vec<CompletionCandidate> {
    let Some(workspace) = open_workspace() else { return Vec::new() };
    let all = StatusRequest::default();
    let found = workspace.run(status(&workspace, all)).map(|view| view.connections).unwrap_or_default();
    let candidate = |connection: ConnectionView| {
        let account = connection.account.map(|account| account.name.unwrap_or(account.id));
        let status = connection.status.as_str().replace('_', " ");
        let help = account.into_iter().chain([status]).chain(connection.target).collect::<Vec<_>>().join(", ");
        CompletionCandidate::new(connection.connection.to_string()).help(Some(help.into()))
    };
    found.into_iter().filter(is_offered).map(candidate).collect()
}

/// The settings, each with its purpose.
pub(super) fn settings() -> ArgValueCandidates {
    candidates(|| {
        let candidate = |key: &ConfigKey| CompletionCandidate::new(key.name).help(Some(key.purpose.into()));
        KEYS.iter().map(candidate).collect()
    })
}

/// The numbers of the latest sync runs, each with its stream and status.
pub(super) fn jobs() -> ArgValueCandidates {
    candidates(|| {
        let Some(workspace) = open_workspace() else { return Vec::new() };
        let latest = JobListRequest { limit: 20, ..JobListRequest::default() };
        let found = workspace.run(list_jobs(&workspace, latest)).map(|list| list.jobs).unwrap_or_default();
        let candidate = |job: JobView| {
            let help = format!("{}/{}, {} {}", job.connection, job.stream, job.mode, job.status);
            CompletionCandidate::new(job.id.to_string()).help(Some(help.into()))
        };
        found.into_iter().map(candidate).collect()
    })
}

/// The numbers of the latest webhook events, each with its connection and type.
pub(super) fn events() -> ArgValueCandidates {
    candidates(|| {
        let Some(workspace) = open_workspace() else { return Vec::new() };
        let latest = ListEventsRequest { limit: 20, ..ListEventsRequest::default() };
        let found = workspace.run(list_events(&workspace, latest)).map(|list| list.events).unwrap_or_default();
        let candidate = |event: StoredEventView| {
            let help = format!("{}, {}", event.connection, event.kind);
            CompletionCandidate::new(event.id.to_string()).help(Some(help.into()))
        };
        found.into_iter().map(candidate).collect()
    })
}

/// The faults that the sandbox can inject.
pub(super) fn faults() -> ArgValueCandidates {
    candidates(|| FaultKind::ALL.into_iter().map(|fault| CompletionCandidate::new(fault.as_str())).collect())
}

/// The endpoints at which it can inject them.
pub(super) fn emulated_endpoints() -> ArgValueCandidates {
    candidates(|| EmulatedEndpoint::ALL.into_iter().map(|at| CompletionCandidate::new(at.as_str())).collect())
}

/// Those who can open the vault, each with its label.
pub(super) fn recipients() -> ArgValueCandidates {
    candidates(|| {
        let Some(workspace) = open_workspace() else { return Vec::new() };
        let found = workspace.run(list_recipients(&workspace)).map(|list| list.recipients).unwrap_or_default();
        let candidate = |one: RecipientView| CompletionCandidate::new(one.recipient).help(Some(one.label.into()));
        found.into_iter().map(candidate).collect()
    })
}

/// The connections of `exec`, and after `--` its command: programs of the PATH, and files once it is named. The engine takes
/// words after `--` for more connections.
pub(super) fn exec_words() -> ArgValueCompleter {
    completer(|current: &OsStr| {
        let text = current.to_string_lossy();
        let (words, index) = completed_line();
        if !words.iter().take(index).any(|word| word == "--") {
            let mut found = described(|_| true);
            found.retain(|candidate| candidate.get_value().to_string_lossy().starts_with(&*text));
            return found;
        }
        if !is_after_separator() || text.contains('/') {
            return PathCompleter::any().complete(current);
        }
        let path = crate::env::var_named("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).filter_map(|folder| std::fs::read_dir(folder).ok());
        let names = folders.flat_map(|folder| folder.flatten().map(|file| file.file_name()));
        let names: BTreeSet<String> = names.filter_map(|name| name.into_string().ok()).collect();
        names.into_iter().filter(|name| name.starts_with(&*text)).map(CompletionCandidate::new).collect()
    })
}

/// Whether the word that is being completed is the one after `exec … --`.
fn is_after_separator() -> bool {
    let (words, index) = completed_line();
    index > 0 && words.get(index - 1).is_some_and(|word| word == "--")
}

/// The words of the line that is being completed, and the index of the one where the cursor is. Shells that say no index
/// pass the words up to it.
fn completed_line() -> (Vec<OsString>, usize) {
    let words: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let index = crate::env::var_named("_CLAP_COMPLETE_INDEX").and_then(|index| index.parse().ok());
    let index = index.unwrap_or(words.len().saturating_sub(1));
    (words, index)
}

/// The whole command for completion. Flags are hidden unless one is being typed: an empty word completes to names.
pub(super) fn completed_command(whole: clap::Command) -> clap::Command {
    let (words, index) = completed_line();
    let is_flag = words.get(index).is_some_and(|word| word.to_string_lossy().starts_with('-'));
    if is_flag { whole } else { without_flags(whole) }
}

fn without_flags(command: clap::Command) -> clap::Command {
    command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .mut_args(|arg| if arg.is_positional() { arg } else { arg.hide(true) })
        .mut_subcommands(without_flags)
}

/// Connections that have calendars.
pub(super) fn calendars() -> ArgValueCandidates {
    candidates(|| {
        let has_calendar =
            |name: &String| name.split('@').next().and_then(connector).is_some_and(|found| found.calendar.is_some());
        names().unwrap_or_default().into_iter().filter(has_calendar).map(CompletionCandidate::new).collect()
    })
}

/// Connections, and their streams once one is named.
pub(super) fn streams() -> ArgValueCompleter {
    completer(|current: &OsStr| {
        let current = current.to_string_lossy();
        let mut found = Vec::new();
        for name in names().unwrap_or_default() {
            let Some(connector) = name.split('@').next().and_then(connector) else { continue };
            if connector.streams.is_empty() {
                continue;
            }
            let named = current.starts_with(&format!("{name}/"));
            if !named && name.starts_with(&*current) {
                found.push(CompletionCandidate::new(name.clone()));
                found.push(CompletionCandidate::new(format!("{name}/")));
            }
            if named {
                let candidate = |(stream, declared): (&String, &Stream)| {
                    let text = format!("{name}/{stream}");
                    let there = text.starts_with(&*current);
                    there.then(|| CompletionCandidate::new(text).help(Some(declared.about.clone().into())))
                };
                found.extend(connector.streams.iter().filter_map(candidate));
            }
        }
        found
    })
}

/// Streams that were synced.
pub(super) fn synced_streams() -> ArgValueCandidates {
    candidates(|| {
        let Some(workspace) = open_workspace() else { return Vec::new() };
        let streams = workspace.run(list_synced_streams(&workspace)).unwrap_or_default();
        streams.iter().map(|stream| CompletionCandidate::new(stream.to_string())).collect()
    })
}

/// Streams that were synced, and their connections.
pub(super) fn synced_targets() -> ArgValueCandidates {
    candidates(|| {
        let Some(workspace) = open_workspace() else { return Vec::new() };
        let streams = workspace.run(list_synced_streams(&workspace)).unwrap_or_default();
        let mut names: Vec<String> = streams.iter().map(|stream| stream.connection.to_string()).collect();
        names.dedup();
        names.extend(streams.iter().map(ToString::to_string));
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// `NAME=` for what the stream that is named before takes.
pub(super) fn stream_params() -> ArgValueCandidates {
    candidates(|| {
        let target = named_after("sync").and_then(|words| words.into_iter().find(|word| word.contains('/')));
        let Some((connector, stream)) = target.as_deref().and_then(|target| {
            let (name, stream) = target.split_once('/')?;
            Some((connector(name.split('@').next()?)?, stream.to_owned()))
        }) else {
            return Vec::new();
        };
        let Some(stream) = connector.streams.get(&stream) else { return Vec::new() };
        let own = stream.params.iter().map(|(name, param)| (name, param.prompt.clone()));
        let parents = stream.parents.first().into_iter().flat_map(|parent| parent.values.keys());
        let all = own.chain(parents.map(|name| (name, "in place of the parent's".to_owned())));
        all.map(|(name, help)| CompletionCandidate::new(format!("{name}=")).help(Some(help.into()))).collect()
    })
}

/// The actions of the connection that is named before.
pub(super) fn actions() -> ArgValueCandidates {
    candidates(|| {
        let Some((_, connector)) = called() else { return Vec::new() };
        let candidate =
            |(name, action): (&String, &Action)| CompletionCandidate::new(name).help(Some(action.about.clone().into()));
        connector.actions.iter().map(candidate).collect()
    })
}

/// The actions of the connector that is named before.
pub(super) fn shown_actions() -> ArgValueCandidates {
    candidates(|| {
        let Some(connector) = named_after("show").and_then(|words| connector(words.first()?)) else {
            return Vec::new();
        };
        connector.actions.keys().chain(connector.streams.keys()).map(CompletionCandidate::new).collect()
    })
}

/// The parameters of the action that is named before, those still missing first.
pub(super) fn action_params() -> ArgValueCompleter {
    completer(|current: &OsStr| {
        let Some((words, connector)) = called() else { return Vec::new() };
        let Some(action) = words.get(1).and_then(|name| connector.actions.get(name)) else { return Vec::new() };
        let current = current.to_string_lossy();
        if let Some((name, _)) = current.split_once('=') {
            let choices = action.params.get(name).map(|param| param.choices.as_slice()).unwrap_or_default();
            let values = choices.iter().map(|choice| format!("{name}={choice}"));
            return values.filter(|value| value.starts_with(&*current)).map(CompletionCandidate::new).collect();
        }
        let before = || words.iter().filter(|word| **word != current);
        let given = |name: &str| before().any(|word| word.split(['=', ':']).next() == Some(name));
        let mut params: Vec<_> = action.params.iter().filter(|(name, _)| !given(name)).collect();
        params.sort_by_key(|(_, param)| !param.required);
        let params = params.into_iter().filter(|(name, _)| name.starts_with(&*current));
        params
            .map(|(name, param)| CompletionCandidate::new(format!("{name}=")).help(Some(param.about.clone().into())))
            .collect()
    })
}

/// Connections, and connectors of which there is none.
pub(super) fn sandbox_sources() -> ArgValueCandidates {
    candidates(|| {
        let Ok(folders) = Folders::from_env() else { return Vec::new() };
        let mut found = names().unwrap_or_default();
        let ids = Catalogue::new(&folders.connectors()).ids().into_iter().map(|(id, _)| id);
        let missing: Vec<String> = ids.filter(|id| !found.contains(id)).collect();
        found.extend(missing);
        found.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// The streams of every connector, with its name before: `github/issues`.
pub(super) fn sandbox_streams() -> ArgValueCompleter {
    completer(|current: &OsStr| {
        let current = current.to_string_lossy();
        let Ok(folders) = Folders::from_env() else { return Vec::new() };
        let catalogue = Catalogue::new(&folders.connectors());
        let ids = catalogue.ids().into_iter().map(|(id, _)| id);
        let wanted = current.split('/').next().unwrap_or_default();
        let likely = ids.filter(|id| id.starts_with(wanted));
        let streams = likely.filter_map(|id| catalogue.get(&id).ok()).flat_map(|connector| {
            connector.streams.keys().map(|name| format!("{}/{name}", connector.id)).collect::<Vec<_>>()
        });
        streams.filter(|stream| stream.starts_with(&*current)).map(CompletionCandidate::new).collect()
    })
}

/// Connections with webhooks.
pub(super) fn webhook_connections() -> ArgValueCandidates {
    candidates(|| described(|one| connector(&one.connector).is_some_and(|connector| connector.webhook.is_some())))
}

/// Connections, and connectors of which there is none: whose events can be simulated.
pub(super) fn webhook_sources() -> ArgValueCandidates {
    candidates(|| {
        let Ok(folders) = Folders::from_env() else { return Vec::new() };
        let catalogue = Catalogue::new(&folders.connectors());
        let has_webhook = |id: &str| catalogue.get(id).is_ok_and(|connector| connector.webhook.is_some());
        let mut found = names().unwrap_or_default();
        found.retain(|name| has_webhook(name.split('@').next().unwrap_or(name)));
        for (id, _) in catalogue.ids() {
            if !found.contains(&id) && has_webhook(&id) {
                found.push(id);
            }
        }
        found.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// The types of events of the connection or connector that is named before.
pub(super) fn webhook_events() -> ArgValueCandidates {
    candidates(|| {
        let words = ["simulate", "listen", "events"].into_iter().find_map(named_after);
        let Some(connector) = words.and_then(|words| connector(words.first()?.split('@').next()?)) else {
            return Vec::new();
        };
        let candidate = |(name, event): (&String, &crate::connector::EventDefinition)| {
            CompletionCandidate::new(name).help(Some(event.about.clone().into()))
        };
        connector.events.iter().map(candidate).collect()
    })
}

/// `NAME=` for the values that receiving from the connection named before needs.
pub(super) fn webhook_params() -> ArgValueCandidates {
    candidates(|| {
        let Some(connector) = named_after("secret").and_then(|words| connector(words.first()?.split('@').next()?))
        else {
            return Vec::new();
        };
        let params = connector.webhook.iter().flat_map(|webhook| &webhook.params).filter(|(name, _)| *name != "secret");
        params
            .map(|(name, param)| CompletionCandidate::new(format!("{name}=")).help(Some(param.prompt.clone().into())))
            .collect()
    })
}

/// The scopes of the connector that is named before.
pub(super) fn scopes() -> ArgValueCandidates {
    candidates(|| {
        let Some(connector) = connected() else {
            return Vec::new();
        };
        let candidate = |(name, scope): (&String, &Scope)| {
            CompletionCandidate::new(name).help(Some(scope.purpose().to_owned().into()))
        };
        connector.scopes.iter().map(candidate).collect()
    })
}

/// `NAME=` for the parameters of the connector that is named before, and its choices.
pub(super) fn params() -> ArgValueCompleter {
    completer(|current: &OsStr| {
        let Some(connector) = connected() else {
            return Vec::new();
        };
        let params = connector.params.iter().chain(connector.auth.values().flat_map(|auth| &auth.params));
        let current = current.to_string_lossy();
        let words = params.flat_map(|(name, param)| {
            let help = param.prompt.clone();
            let values: Vec<String> = match param.choices.as_slice() {
                [] => vec![format!("{name}=")],
                choices => choices.iter().map(|choice| format!("{name}={choice}")).collect(),
            };
            values.into_iter().map(move |value| (value, help.clone()))
        });
        let fitting = words.filter(|(word, _)| word.starts_with(&*current));
        fitting.map(|(word, help)| CompletionCandidate::new(word).help(Some(help.into()))).collect()
    })
}

/// The connector that `integ connect` or `integ reconnect` is about.
fn connected() -> Option<Arc<Connector>> {
    let words = named_after("connect").or_else(|| named_after("reconnect"))?;
    connector(words.first()?.split('@').next()?)
}

/// The words of `integ call` and the connector they are about.
fn called() -> Option<(Vec<String>, Arc<Connector>)> {
    let words = named_after("call")?;
    let name = ConnectionName::from_str(words.first()?).ok()?;
    let connector = connector(name.connector())?;
    Some((words, connector))
}

fn connector(id: &str) -> Option<Arc<Connector>> {
    let folders = Folders::from_env().ok()?;
    Catalogue::new(&folders.connectors()).get(id).ok()
}

/// The words of the line that is being completed that follow a command, but for flags and their values.
fn named_after(command: &str) -> Option<Vec<String>> {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let line = words.iter().position(|word| word == "--")?;
    let start = words[line..].iter().position(|word| word == command)? + line + 1;
    let mut named = Vec::new();
    let mut after_flag = false;
    for word in &words[start..] {
        if word.starts_with('-') {
            // `--flag=value` brings its value along; a switch is taken for one that has none.
            after_flag = !word.contains('=') && !SWITCHES.contains(&word.as_str());
        } else if !std::mem::take(&mut after_flag) {
            named.push(word.clone());
        }
    }
    Some(named)
}

/// Flags of the commands that are completed so and of all commands that take no value.
const SWITCHES: &[&str] = &[
    "--dry-run",
    "--json",
    "--quiet",
    "-q",
    "--verbose",
    "-v",
    "-vv",
    "--no-input",
    "--device",
    "--no-browser",
    "--paste",
    "--with-token",
    "--all",
    "--yes",
    "-y",
    "--sandbox",
    "--client-credentials",
    "--rotate",
    "--print-secret",
];

fn names() -> Option<Vec<String>> {
    let workspace = open_workspace()?;
    let names = workspace.run(list_connection_names(&workspace)).ok()?;
    Some(names.into_iter().map(|name| name.to_string()).collect())
}

/// The live store's. Nothing is asked and nothing is made: a vault that does not open at once offers nothing.
fn open_workspace() -> Option<Workspace> {
    let folders = Folders::from_env().ok()?;
    let settings = crate::config::load(&folders.config_file()).ok()?;
    let project = ProjectConfig::find().ok()?;
    let given = crate::env::var_named("INTEG_WORKSPACE");
    let workspace = given.or(project.workspace).unwrap_or_else(|| settings.workspace.clone());
    let notifier = Box::new(Notifier::new(&settings));
    let nobody = Terminal { interactive: false, json: false, quiet: true, animates: false };
    let engine = Engine::new(folders, settings, Box::new(nobody), notifier);
    let workspace = Workspace::new(Arc::new(engine), WorkspaceName::from_str(&workspace).ok()?);
    workspace.has_vault().then_some(workspace)
}

/// The endpoints of the live store, each with its URL.
pub(super) fn endpoints() -> ArgValueCandidates {
    candidates(|| {
        let found = open_workspace().and_then(|workspace| workspace.run(list_endpoints(&workspace)).ok());
        let found = found.map(|list| list.endpoints).unwrap_or_default();
        let candidate = |one: EndpointView| CompletionCandidate::new(one.endpoint.as_str()).help(Some(one.url.into()));
        found.into_iter().map(candidate).collect()
    })
}

/// The API tokens of the live store by their names, each with its id.
pub(super) fn api_tokens() -> ArgValueCandidates {
    candidates(|| {
        let found = open_workspace().and_then(|workspace| workspace.run(list_tokens(&workspace, None)).ok());
        let found = found.map(|list| list.tokens).unwrap_or_default();
        let candidate =
            |one: ApiTokenView| CompletionCandidate::new(one.name.as_str()).help(Some(one.id.to_string().into()));
        found.into_iter().map(candidate).collect()
    })
}

/// The approvals that wait for a decision, each with its request.
pub(super) fn approvals() -> ArgValueCandidates {
    candidates(|| {
        let Some(workspace) = open_workspace() else { return Vec::new() };
        let request = ListApprovalsRequest { status: Some(ApprovalStatus::Pending), after: None, limit: 20 };
        let found = workspace.run(list_approvals(&workspace, request, None)).map(|list| list.approvals);
        let candidate =
            |one: ApprovalView| CompletionCandidate::new(one.approval.to_string()).help(Some(one.summary.into()));
        found.unwrap_or_default().into_iter().map(candidate).collect()
    })
}

/// The scopes of API tokens, each with what it allows.
pub(super) fn api_scopes() -> ArgValueCandidates {
    candidates(|| {
        let ApiScopeListView { scopes, groups } = list_scopes();
        let candidate =
            |one: ApiScopeView| CompletionCandidate::new(one.scope.to_string()).help(Some(one.description.into()));
        scopes.into_iter().chain(groups).map(candidate).collect()
    })
}

pub(super) fn workspaces() -> ArgValueCandidates {
    candidates(|| {
        let Ok(folders) = Folders::from_env() else { return Vec::new() };
        crate::ops::workspaces::workspace_names(&folders).into_iter().map(CompletionCandidate::new).collect()
    })
}

/// The bindings of the live store, each with what it is for.
pub(super) fn bindings() -> ArgValueCandidates {
    candidates(|| {
        let found = open_workspace().and_then(|workspace| workspace.run(list_bindings(&workspace)).ok());
        let found = found.map(|list| list.bindings).unwrap_or_default();
        let candidate = |one: BindingSummaryView| {
            CompletionCandidate::new(one.name.as_str()).help(Some(one.from.to_string().into()))
        };
        found.into_iter().map(candidate).collect()
    })
}
