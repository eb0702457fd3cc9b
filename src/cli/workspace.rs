//! `integ workspace`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::table::{count, table};
use super::ui::{Render, Ui};
use crate::error::Result;
use crate::model::WorkspaceName;
use crate::ops::workspaces::{self, CreateWorkspaceRequest, WorkspaceError};
use crate::runtime::Workspace;
use crate::vault::{PostgresLocation, VaultError};
use crate::view::workspace::{WorkspaceDeletionPreview, WorkspaceListView, WorkspaceView};

/// Manage workspaces: each has its own store and its own key
#[derive(Debug, Args)]
pub(super) struct WorkspaceArgs {
    #[command(subcommand)]
    command: WorkspaceCommand,
}

#[derive(Debug, Subcommand)]
enum WorkspaceCommand {
    /// List the workspaces
    List,
    /// Create a workspace
    Create(CreateArgs),
    /// Show a workspace: its folder and what is in it
    Show {
        /// The workspace to show (default: the current one)
        #[arg(add = super::complete::workspaces())]
        name: Option<String>,
    },
    /// Delete a workspace with everything in it, starting with its key
    Delete {
        /// The workspace to delete
        #[arg(add = super::complete::workspaces())]
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Name of the workspace
    name: String,
    /// Keep it in PostgreSQL 15 or later, where several machines can use it (default: a file)
    #[arg(long, value_name = "postgres://USER@HOST/DATABASE")]
    store: Option<String>,
    /// File with the server's password, which stays where it is (default: `INTEG_STORE_PASSWORD`)
    #[arg(long, value_name = "FILE", requires = "store", value_hint = ValueHint::FilePath)]
    store_password_file: Option<PathBuf>,
}

impl Render for WorkspaceListView {
    fn text(&self, _ui: &Ui) -> String {
        let mark = |name: &String| format!("{} {name}", if *name == self.current.as_str() { "*" } else { " " });
        if self.workspaces.is_empty() {
            return "No workspaces yet. `integ connect` creates one.".to_owned();
        }
        self.workspaces.iter().map(mark).collect::<Vec<_>>().join("\n")
    }
}

impl Render for WorkspaceView {
    fn text(&self, ui: &Ui) -> String {
        let rows = [
            ("workspace", self.workspace.to_string()),
            ("folder", self.folder.clone()),
            ("store", self.store.to_string()),
            ("created", self.created_at.clone()),
            ("connections", if self.connections.is_empty() { "none".to_owned() } else { self.connections.join(", ") }),
            ("apps", self.apps.to_string()),
            ("endpoints", self.endpoints.to_string()),
            ("subscriptions", self.subscriptions.to_string()),
        ];
        table(ui, &["property", "value"], rows.map(|(what, value)| vec![what.into(), value.into()]).into())
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: WorkspaceArgs) -> Result<u8> {
    match args.command {
        WorkspaceCommand::List => ui.show(&workspace.run(workspaces::list_workspaces(workspace))?)?,
        WorkspaceCommand::Create(args) => create(workspace, ui, args)?,
        WorkspaceCommand::Show { name } => {
            let name = name.map_or_else(|| Ok(workspace.name.clone()), |name| name.parse())?;
            ui.show(&workspace.run(workspaces::show_workspace(&workspace.engine, name))?)?;
        }
        WorkspaceCommand::Delete { name, yes } => return delete(workspace, ui, name.parse()?, yes),
    }
    Ok(0)
}

fn create(workspace: &Workspace, ui: &Ui, args: CreateArgs) -> Result<()> {
    let CreateArgs { name, store, store_password_file } = args;
    let postgres = store.map(|url| postgres_location(url, store_password_file)).transpose()?;
    let request = CreateWorkspaceRequest { workspace: name.parse()?, postgres };
    let created = workspace.run(workspaces::create_workspace(&workspace.engine, request))?;
    let name = created.workspace;
    ui.note(&format!("Created the workspace {name}. `integ -w {name} connect …` works in it."));
    if created.store.is_shared() {
        ui.note(&copies_note(workspace, &name));
    }
    if let Some(location) = created.new_identity_location {
        ui.note(&super::vault::new_identity::new_identity_note(workspace, location));
    }
    Ok(())
}

/// What other machines need to open a workspace in PostgreSQL.
pub(super) fn copies_note(workspace: &Workspace, name: &WorkspaceName) -> String {
    format!(
        "Another machine opens it with copies of vault.age and store.toml from {}, once its identity is a recipient: \
         `integ -w {name} vault recipients add AGE1…`.",
        workspace.engine.folders.workspace(name).display()
    )
}

/// The server that a URL names, with the file of its password by its absolute path: commands run in other folders.
pub(super) fn postgres_location(url: String, password_file: Option<PathBuf>) -> Result<PostgresLocation> {
    let absolute = |path: PathBuf| std::path::absolute(&path).map_err(|source| VaultError::Io { path, source });
    Ok(PostgresLocation { url, password_file: password_file.map(absolute).transpose()? })
}

fn delete(workspace: &Workspace, ui: &Ui, name: WorkspaceName, yes: bool) -> Result<u8> {
    let preview = workspace.run(workspaces::preview_workspace_deletion(&workspace.engine, name.clone()))?;
    if !yes && !ui.terminal().confirm(&consequences(&preview))? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    let deleted = workspace.run(workspaces::delete_workspace(&workspace.engine, name))?;
    ui.note(&format!("Deleted the workspace {}.", deleted.workspace));
    if deleted.left_on_server {
        ui.warning(
            "the PostgreSQL server cannot be reached and still has the encrypted data, which nothing can decrypt any more",
        );
    }
    Ok(0)
}

/// What the user is asked to agree to.
fn consequences(preview: &WorkspaceDeletionPreview) -> String {
    let content = preview.content.as_ref().map_or_else(
        || "It cannot be opened, so its contents are unknown".to_owned(),
        |WorkspaceView { connections, apps, endpoints, subscriptions, .. }| {
            let connections = count(connections.len(), "connection");
            let content =
                format!("It contains {connections}, {} and {}", count(apps, "app"), count(endpoints, "endpoint"));
            match subscriptions {
                0 => content,
                number => {
                    let subscriptions = count(number, "webhook subscription");
                    format!("{content}; {subscriptions} will remain at the services, see `webhook unsubscribe`")
                }
            }
        },
    );
    let name = &preview.workspace;
    format!(
        "{content}. Deleting {name} destroys its key: nothing can be recovered, and grants stay alive at the services."
    )
}

/// Who chose the workspace that a command works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkspaceSource {
    /// `--workspace` or `INTEG_WORKSPACE`.
    User,
    Project,
    Settings,
}

/// Refuses a workspace that was named and does not exist: to commands that read it would look like an empty one. Only
/// `--workspace` creates one. The default workspace counts as existing from the beginning.
pub(super) fn ensure_exists(
    workspace: &Workspace,
    chosen_by: WorkspaceSource,
    may_create: bool,
) -> Result<(), WorkspaceError> {
    let name = &workspace.name;
    if *name == WorkspaceName::default() || workspace.engine.folders.workspace(name).exists() {
        return Ok(());
    }
    match (chosen_by, may_create) {
        (WorkspaceSource::User, true) => Ok(()),
        (WorkspaceSource::User, false) => Err(WorkspaceError::NotFound(name.clone())),
        (WorkspaceSource::Project, _) => Err(WorkspaceError::NotCreated(name.clone(), ".integ.toml")),
        (WorkspaceSource::Settings, _) => Err(WorkspaceError::NotCreated(name.clone(), "config.toml")),
    }
}
