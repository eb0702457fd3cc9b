//! `integ status`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::backend::{Backend, ServerChoiceError};
use super::table::{TableCell, TableNote, relative, remove_spare, table, with_notes};
use super::ui::{Render, Tone, Ui};
use super::webhook::subscription_note;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::health::{ConnectionStatus, StatusSummary};
use crate::model::{UserId, WorkspaceName};
use crate::ops::connections::StatusRequest;
use crate::ops::workspaces;
use crate::view::connection::{ConnectionView, StatusView};
use crate::view::workspace::{AllWorkspacesStatusView, WorkspaceStatusView};

/// Show the status of connections (no network)
///
/// It uses only stored information; `integ test` asks the services.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Connections to show (default: all)
    #[arg(value_name = "CONNECTION", add = super::complete::connections())]
    pub connections: Vec<String>,
    /// Exit with 6 if a connection is unhealthy, 4 if all that is wrong is fixed by reconnecting, 3 if there are no
    /// connections
    #[arg(long)]
    pub check: bool,
    /// Only connections of this user (default: all)
    #[arg(long, value_name = "ID")]
    pub user: Option<UserId>,
    /// Redraw it every two seconds
    #[arg(long)]
    pub watch: bool,
    /// Show the connections of every workspace
    #[arg(long, conflicts_with_all = ["connections", "user", "watch"])]
    pub all_workspaces: bool,
}

/// A check that found nothing to check: most often the wrong workspace or home.
#[derive(Debug, Error)]
#[error("nothing to check: workspace {workspace}{} has no connections", chosen(.chosen_by.as_deref()))]
pub(super) struct NoConnectionsError {
    workspace: WorkspaceName,
    chosen_by: Option<PathBuf>,
    /// Whether it is a workspace of a server.
    is_remote: bool,
}

fn chosen(by: Option<&Path>) -> String {
    by.map(|file| format!(", which {} chooses,", file.display())).unwrap_or_default()
}

impl NoConnectionsError {
    pub(super) fn new(workspace: WorkspaceName, backend: &Backend) -> Self {
        Self { workspace, chosen_by: backend.chosen_by().map(Path::to_owned), is_remote: backend.server.is_some() }
    }
}

impl Remedy for NoConnectionsError {
    fn diagnostic(&self) -> Diagnostic {
        let hint = match self.is_remote {
            true => Hint::text("check that the API token may use the connections"),
            false => Hint::run("integ workspace list"),
        };
        Diagnostic::new(Kind::NotFound, "no_connections").hint(hint)
    }
}

const REDRAW: Duration = Duration::from_secs(2);

const ALL_COLUMNS: usize = 6;

/// A status listing; an empty one says which workspace it is of.
struct StatusListing<'a> {
    view: StatusView,
    backend: &'a Backend,
    /// Whether it is of one user.
    is_filtered: bool,
}

impl Serialize for StatusListing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.view.serialize(serializer)
    }
}

impl Render for StatusListing<'_> {
    fn text(&self, ui: &Ui) -> String {
        if self.view.connections.is_empty() && self.is_filtered {
            return "No connections of this user.".to_owned();
        }
        if self.view.connections.is_empty() {
            let note = super::ui::escape(&self.backend.note());
            return match &self.backend.server {
                Some(_) => format!("No connections{note}."),
                None => format!("No connections yet{note}. Try `integ connect slack --sandbox`."),
            };
        }
        connection_table(ui, &self.view.connections)
    }
}

impl Render for AllWorkspacesStatusView {
    fn text(&self, ui: &Ui) -> String {
        let section = |workspace: &WorkspaceStatusView| {
            let content = match &workspace.error {
                Some(error) => ui.paint(Tone::Bad, &super::ui::escape(error)),
                None if workspace.connections.is_empty() => "No connections".to_owned(),
                None => connection_table(ui, &workspace.connections),
            };
            format!("Workspace {}\n{content}", workspace.workspace)
        };
        if self.workspaces.is_empty() {
            return "No workspaces yet. `integ connect` creates one.".to_owned();
        }
        self.workspaces.iter().map(section).collect::<Vec<_>>().join("\n\n")
    }
}

fn connection_table(ui: &Ui, connections: &[ConnectionView]) -> String {
    let headings = ["connection", "account", "status", "expires", "checked", "mode"];
    // A narrow terminal shows what matters most and folds nothing into slivers.
    let columns = match ui.width {
        Some(0..60) => 3,
        Some(60..72) => 4,
        // Live connections alone need no word for it.
        _ if connections.iter().all(|connection| connection.target.is_none()) => ALL_COLUMNS - 1,
        _ => ALL_COLUMNS,
    };
    let mut headings = headings[..columns].to_vec();
    let mut rows: Vec<Vec<TableCell>> =
        connections.iter().map(|connection| row(connection, columns, ui.environment.is_some())).collect();
    remove_spare(ui, &mut headings, &mut rows, &["checked"]);
    let notes: Vec<TableNote> = connections.iter().flat_map(notes).collect();
    with_notes(ui, table(ui, &headings, rows), &notes)
}

/// What is wrong with a connection, and what is to come.
fn notes(connection: &ConnectionView) -> Vec<TableNote> {
    let note = |text: String, command: Option<&String>| TableNote {
        subject: connection.connection.to_string(),
        text,
        command: command.cloned(),
    };
    let missing = connection.missing_scopes.join(", ");
    let mut notes: Vec<TableNote> = Vec::new();
    if let Some(reason) = &connection.reason {
        notes.push(note(reason.clone(), connection.hint.as_ref()));
    }
    if !missing.is_empty() {
        let command = connection.hint.as_ref().filter(|_| connection.reason.is_none());
        notes.push(note(format!("not granted: {missing}"), command));
    }
    notes.extend(connection.subscriptions.iter().filter_map(|subscription| {
        let text = subscription_note(subscription)?;
        Some(note(format!("webhook: {text}"), subscription.hint.as_ref()))
    }));
    notes
}

/// The first cells of a connection's row. Without room for the mode, it is shown with the status. Of a token that is given in
/// the environment nothing is known before a check.
fn row(connection: &ConnectionView, columns: usize, is_given: bool) -> Vec<TableCell> {
    let tone = match connection.status {
        ConnectionStatus::Active => Tone::Good,
        ConnectionStatus::Expiring => Tone::Warn,
        ConnectionStatus::NeedsReauth | ConnectionStatus::Error | ConnectionStatus::Disconnected => Tone::Bad,
    };
    let account = connection.account.as_ref().map(|account| account.name.as_ref().unwrap_or(&account.id));
    let mut status = connection.status.as_str().replace('_', " ");
    let is_unchecked = is_given && connection.status == ConnectionStatus::Active && connection.checked_ago.is_none();
    if is_unchecked {
        "unchecked".clone_into(&mut status);
    }
    if let Some(target) = connection.target.as_ref().filter(|_| columns < ALL_COLUMNS) {
        status.push_str(&format!(" ({target})"));
    }
    // The token of a grant that was refused may have time left, which is worth nothing.
    let expires = match connection.status {
        ConnectionStatus::NeedsReauth | ConnectionStatus::Disconnected => "-".to_owned(),
        _ => connection.expires_in.map_or_else(|| "never".to_owned(), relative),
    };
    let mut row: Vec<TableCell> = vec![
        connection.connection.to_string().into(),
        account.map_or("-", String::as_str).into(),
        TableCell(status, (!is_unchecked).then_some(tone)),
        expires.into(),
        connection.checked_ago.map_or_else(|| "never".to_owned(), relative).into(),
        connection.target.as_deref().unwrap_or("live").into(),
    ];
    row.truncate(columns);
    row
}

pub(super) fn run(backend: &Backend, ui: &Ui, args: &StatusArgs) -> Result<u8> {
    if args.all_workspaces {
        return run_all(backend, ui, args.check);
    }
    let connections = args.connections.iter().map(|word| ui.project.resolve(word)).collect::<Result<Vec<_>, _>>()?;
    let request = StatusRequest { connections, user: args.user.clone() };
    loop {
        let view = backend.status(request.clone())?;
        let (summary, workspace) = (view.summary, view.workspace.clone());
        let listing = StatusListing { view, backend, is_filtered: args.user.is_some() };
        if args.watch && !ui.json && ui.width.is_some() {
            ui.redraw(&listing);
        }
        ui.show(&listing)?;
        if args.watch {
            std::thread::sleep(REDRAW);
            continue;
        }
        if args.check && summary.total == 0 {
            return Err(NoConnectionsError::new(workspace, backend).into());
        }
        return Ok(if args.check { exit_code(&summary) } else { 0 });
    }
}

/// Shows every workspace. One that cannot be read fails the command in part, checked or not.
fn run_all(backend: &Backend, ui: &Ui, check: bool) -> Result<u8> {
    let workspace = &backend.workspace;
    if backend.server.is_some() {
        return Err(ServerChoiceError::NamedWorkspace.into());
    }
    if let Some(environment) = &workspace.engine.environment {
        return Err(environment.workspace_required().into());
    }
    let view = workspace.run(workspaces::status_of_all_workspaces(&workspace.engine))?;
    ui.show(&view)?;
    if view.workspaces.iter().any(|workspace| workspace.error.is_some()) {
        return Ok(Kind::Partial.exit_code());
    }
    if check && view.summary.total == 0 {
        return Err(NoConnectionsError::new(workspace.name.clone(), backend).into());
    }
    Ok(if check { exit_code(&view.summary) } else { 0 })
}

fn exit_code(summary: &StatusSummary) -> u8 {
    if summary.is_healthy() {
        0
    } else if summary.needs_only_reauth() {
        Kind::AuthNeeded.exit_code()
    } else {
        Kind::Unhealthy.exit_code()
    }
}
