//! `integ workspace`.

use std::str::FromStr;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::table::table;
use super::ui::{Ui, View};
use crate::config::Folders;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::model::WorkspaceName;
use crate::runtime::App;
use crate::vault::{self, IfAbsent};

/// Keep tenants apart: each workspace has its own store and its own key
#[derive(Debug, Args)]
pub(super) struct WorkspaceArgs {
    #[command(subcommand)]
    command: WorkspaceCommand,
}

#[derive(Debug, Subcommand)]
enum WorkspaceCommand {
    /// All workspaces
    List,
    /// Make a workspace
    Create { name: String },
    /// One workspace: its folder and what is in it
    Show {
        #[arg(add = super::complete::workspaces())]
        name: Option<String>,
    },
    /// Delete a workspace with everything in it, its key first
    Delete {
        #[arg(add = super::complete::workspaces())]
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Serialize)]
struct WorkspaceListView {
    workspaces: Vec<String>,
    current: String,
}

impl View for WorkspaceListView {
    fn text(&self, _ui: &Ui) -> String {
        let mark = |name: &String| format!("{} {name}", if *name == self.current { "*" } else { " " });
        if self.workspaces.is_empty() {
            return "No workspaces yet. `integ connect` makes one.".to_owned();
        }
        self.workspaces.iter().map(mark).collect::<Vec<_>>().join("\n")
    }
}

#[derive(Serialize)]
struct WorkspaceView {
    workspace: String,
    folder: String,
    connections: Vec<String>,
    apps: usize,
    endpoints: usize,
    subscriptions: usize,
    created_at: String,
}

impl View for WorkspaceView {
    fn text(&self, ui: &Ui) -> String {
        let rows = [
            ("workspace", self.workspace.clone()),
            ("folder", self.folder.clone()),
            ("created", self.created_at.clone()),
            ("connections", if self.connections.is_empty() { "none".to_owned() } else { self.connections.join(", ") }),
            ("apps", self.apps.to_string()),
            ("endpoints", self.endpoints.to_string()),
            ("subscriptions", self.subscriptions.to_string()),
        ];
        table(ui, &["what", ""], rows.map(|(what, value)| vec![what.into(), value.into()]).into())
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum WorkspaceError {
    #[error("there is no workspace {0}")]
    NotFound(WorkspaceName),
    /// A project's file or a setting names it, which is no order to make it.
    #[error("there is no workspace {0}, which {1} names")]
    NotCreated(WorkspaceName, &'static str),
    #[error("workspace {0} exists")]
    Exists(WorkspaceName),
}

impl Remedy for WorkspaceError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NotFound(_) => Diagnostic::new(Kind::NotFound, "unknown_workspace").run("integ workspace list"),
            Self::NotCreated(name, _) => {
                Diagnostic::new(Kind::NotFound, "unknown_workspace").run(format!("integ workspace create {name}"))
            }
            Self::Exists(_) => Diagnostic::new(Kind::Usage, "workspace_exists").run("integ workspace list"),
        }
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: WorkspaceArgs) -> Result<u8> {
    match args.command {
        WorkspaceCommand::List => {
            ui.show(&WorkspaceListView { workspaces: names(&app.folders), current: app.workspace.to_string() })?;
        }
        WorkspaceCommand::Create { name } => {
            let name = WorkspaceName::from_str(&name)?;
            let folder = app.folders.workspace(&name);
            if folder.exists() {
                return Err(WorkspaceError::Exists(name).into());
            }
            let made = app.vault_opener().open(&folder, IfAbsent::Create { now: app.clock.now() })?;
            ui.note(&format!("Made the workspace {name}. `integ -w {name} connect …` works in it."));
            if let Some(custody) = made.new_identity_location {
                ui.note(&super::vault::new_identity::new_identity_note(app, custody));
            }
        }
        WorkspaceCommand::Show { name } => {
            let name =
                name.as_deref().map(WorkspaceName::from_str).transpose()?.unwrap_or_else(|| app.workspace.clone());
            ui.show(&details(app, &name)?)?;
        }
        WorkspaceCommand::Delete { name, yes } => return delete(app, ui, &WorkspaceName::from_str(&name)?, yes),
    }
    Ok(0)
}

/// Who chose the workspace that a command works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkspaceSource {
    /// `--workspace` or `INTEG_WORKSPACE`.
    User,
    Project,
    Settings,
}

/// Refuses a workspace that was named and is not there: to commands that read it would look like an empty one. Only the
/// user's own word for this command makes a workspace. The default one is there from the beginning, as it were.
pub(super) fn ensure_exists(app: &App, chosen_by: WorkspaceSource, makes: bool) -> Result<(), WorkspaceError> {
    let name = &app.workspace;
    if *name == WorkspaceName::default() || app.folders.workspace(name).exists() {
        return Ok(());
    }
    match (chosen_by, makes) {
        (WorkspaceSource::User, true) => Ok(()),
        (WorkspaceSource::User, false) => Err(WorkspaceError::NotFound(name.clone())),
        (WorkspaceSource::Project, _) => Err(WorkspaceError::NotCreated(name.clone(), ".integ.toml")),
        (WorkspaceSource::Settings, _) => Err(WorkspaceError::NotCreated(name.clone(), "config.toml")),
    }
}

/// The workspaces there are, sorted.
pub(super) fn names(folders: &Folders) -> Vec<String> {
    let entries = std::fs::read_dir(folders.workspaces()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| WorkspaceName::from_str(name).is_ok())
        .collect();
    names.sort();
    names
}

fn details(app: &App, name: &WorkspaceName) -> Result<WorkspaceView> {
    let folder = app.folders.workspace(name);
    if !folder.exists() {
        return Err(WorkspaceError::NotFound(name.clone()).into());
    }
    let opened = app.vault_opener().open(&folder, IfAbsent::Fail)?;
    let names = opened.store.connections().names()?;
    Ok(WorkspaceView {
        workspace: name.to_string(),
        folder: folder.display().to_string(),
        connections: names.into_iter().map(|name| name.to_string()).collect(),
        apps: opened.store.apps().list()?.len(),
        endpoints: opened.store.endpoints().list()?.len(),
        subscriptions: opened.store.subscriptions().list(None)?.len(),
        created_at: opened.store.meta()?.created_at.to_string(),
    })
}

fn delete(app: &App, ui: &Ui, name: &WorkspaceName, yes: bool) -> Result<u8> {
    let folder = app.folders.workspace(name);
    if !folder.exists() {
        return Err(WorkspaceError::NotFound(name.clone()).into());
    }
    vault::check_destroyable(&folder)?;
    // A vault that does not open any more can be deleted all the same; what it holds cannot be named then.
    let content = details(app, name).map_or_else(
        |_| "It does not open, so that nobody can say what is in it".to_owned(),
        |details| {
            let WorkspaceView { connections, apps, endpoints, subscriptions, .. } = details;
            let connections = connections.len();
            let held = format!("It holds {connections} connections, {apps} apps and {endpoints} endpoints");
            match subscriptions {
                0 => held,
                count => {
                    format!("{held}; {count} webhook subscriptions stay at the services, see `webhook unsubscribe`")
                }
            }
        },
    );
    let lost = format!(
        "{content}. Deleting {name} destroys its key: nothing of it can be had back, and grants stay alive at the services."
    );
    if !yes && !ui.terminal().confirm(&lost)? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    delete_keyring_entries(app, &folder);
    vault::destroy(&folder)?;
    ui.note(&format!("Deleted the workspace {name}."));
    Ok(0)
}

/// Takes the workspace's tokens out of the OS keyring, as far as that can be done.
fn delete_keyring_entries(app: &App, folder: &std::path::Path) {
    let Ok(opened) = app.vault_opener().open(folder, IfAbsent::Fail) else { return };
    let Ok(connections) = opened.store.connections().list() else { return };
    for connection in connections {
        let _ = app.token_vault().remove(&opened.store, &connection);
    }
}
