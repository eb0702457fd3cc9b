//! `integ app`: the OAuth clients that you registered with vendors.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::client_secret::client;
use super::table::table;
use super::ui::{Render, Ui};
use super::value_parser::name_value;
use crate::connect::{PromptError, PromptQuestion, Prompter};
use crate::error::Result;
use crate::model::ClientCredentials;
use crate::ops::workspaces::{self, RemoveAppRequest, SetAppRequest};
use crate::runtime::Workspace;
use crate::view::workspace::{AppListView, AppScope, AppView, RemovedAppView};

/// Manage the OAuth apps that you registered with services
#[derive(Debug, Args)]
pub(super) struct AppArgs {
    #[command(subcommand)]
    command: AppCommand,
}

impl AppArgs {
    /// Whether it may make the workspace that it works in.
    pub(super) fn makes_workspace(&self) -> bool {
        matches!(self.command, AppCommand::Set { .. })
    }
}

#[derive(Debug, Subcommand)]
enum AppCommand {
    /// Store the client id and secret of an app
    Set {
        /// The connector that the app is for
        #[arg(add = super::complete::connectors())]
        connector: String,
        /// The client id (default: ask)
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// A file with the client secret; - for stdin
        #[arg(long, value_name = "FILE")]
        client_secret_file: Option<PathBuf>,
        /// The issuer of the server where the app is registered
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
        /// A value that names the server, such as `instance=https://git.example.com`; repeatable
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = name_value)]
        params: Vec<(String, String)>,
        /// Store it for all workspaces
        #[arg(long)]
        global: bool,
    },
    /// List the apps; secrets are never shown
    List,
    /// Remove an app
    Remove {
        /// The connector whose app is removed
        #[arg(add = super::complete::connectors())]
        connector: String,
        /// The server whose app is removed, if there are several: as `integ app list` prints it
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
        /// Remove the app that is stored for all workspaces
        #[arg(long)]
        global: bool,
    },
}

/// The option `--global` as a scope.
fn scope(is_global: bool) -> AppScope {
    if is_global { AppScope::AllWorkspaces } else { AppScope::Workspace }
}

impl Render for AppListView {
    fn text(&self, ui: &Ui) -> String {
        if self.apps.is_empty() {
            return "No apps yet. `integ app set CONNECTOR --client-id ID --client-secret-file -` stores one."
                .to_owned();
        }
        let row = |workspace: &AppView| {
            let scope = match workspace.scope {
                AppScope::Workspace => "this workspace",
                AppScope::AllWorkspaces => "all workspaces",
            };
            vec![
                workspace.connector.clone().into(),
                workspace.server.clone().unwrap_or_default().into(),
                workspace.client_id.clone().into(),
                if workspace.has_secret { "stored" } else { "none" }.into(),
                scope.into(),
            ]
        };
        table(ui, &["connector", "server", "client id", "secret", "available in"], self.apps.iter().map(row).collect())
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: AppArgs) -> Result<u8> {
    match args.command {
        AppCommand::Set { connector, client_id, client_secret_file, issuer, params, global } => {
            let params = params.into_iter().chain(issuer.map(|issuer| ("issuer".to_owned(), issuer))).collect();
            let server = workspaces::app_server(workspace, &connector, params)?;
            let client = match client(client_id, client_secret_file.as_deref())? {
                Some(client) => client,
                None => ask(ui)?,
            };
            let request = SetAppRequest { connector, server, client, scope: scope(global) };
            let stored = workspace.run(workspaces::set_app(workspace, request))?;
            let secret = if stored.has_secret { "and its secret" } else { "without a secret" };
            let server = stored.server.map(|server| format!(" for {server}")).unwrap_or_default();
            ui.note(&format!(
                "Stored the client id {} {secret}{server}. `integ connect {}` uses it.",
                stored.client_id, stored.connector
            ));
        }
        AppCommand::List => ui.show(&workspace.run(workspaces::list_apps(workspace))?)?,
        AppCommand::Remove { connector, issuer, global } => {
            let request = RemoveAppRequest { connector, server: issuer, scope: scope(global) };
            let removed = workspace.run(workspaces::remove_app(workspace, request))?;
            ui.note(&removal_note(&removed));
        }
    }
    Ok(0)
}

fn removal_note(removed: &RemovedAppView) -> String {
    let mut note = format!("Removed the app of {}.", removed.connector);
    if !removed.connections.is_empty() {
        let names: Vec<String> = removed.connections.iter().map(ToString::to_string).collect();
        note.push_str(&format!(" Connections made with it keep working: {}.", names.join(", ")));
    }
    match removed.withdrawn_sign_ins {
        0 => {}
        1 => note.push_str(" A sign-in that was not finished was withdrawn."),
        number => note.push_str(&format!(" {number} sign-ins that were not finished were withdrawn.")),
    }
    note
}

fn ask(ui: &Ui) -> Result<ClientCredentials, PromptError> {
    let terminal = ui.terminal();
    let ask = |prompt, secret, missing| {
        terminal.prompt(&PromptQuestion::Text { prompt, example: None, is_secret: secret, flag_hint: missing })
    };
    let id = ask("Client ID", false, "--client-id ID")?;
    let secret = ask("Client secret (empty for none)", true, "--client-secret-file FILE")?;
    Ok(ClientCredentials { id: id.expose().clone(), secret: Some(secret).filter(|secret| !secret.is_empty()) })
}
