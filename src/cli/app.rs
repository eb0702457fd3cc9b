//! `integ app`: the OAuth clients that you registered with vendors.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use thiserror::Error;

use super::connect::client;
use super::table::table;
use super::ui::{Ui, View};
use crate::app::App as Context;
use crate::connect::{AskError, Conversation, Question};
use crate::connection::Client;
use crate::error::{Kind, Remedy, Result};
use crate::store::{App, Store};

/// Keep the OAuth apps that you registered with services
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
    /// Keep the client id and secret of an app
    Set {
        #[arg(add = super::complete::connectors())]
        connector: String,
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// A file with the client secret; - for stdin
        #[arg(long, value_name = "FILE")]
        client_secret_file: Option<PathBuf>,
        /// For every workspace
        #[arg(long)]
        global: bool,
    },
    /// List the apps; secrets are never shown
    List,
    /// Forget an app
    Remove {
        #[arg(add = super::complete::connectors())]
        connector: String,
        #[arg(long)]
        global: bool,
    },
}

#[derive(Serialize)]
struct AppView {
    connector: String,
    client_id: String,
    has_secret: bool,
    scope: &'static str,
    updated_at: String,
}

#[derive(Serialize)]
struct Apps {
    apps: Vec<AppView>,
}

impl View for Apps {
    fn text(&self, ui: &Ui) -> String {
        if self.apps.is_empty() {
            return "No apps yet. `integ app set CONNECTOR --client-id ID --client-secret-file -` keeps one."
                .to_owned();
        }
        let row = |app: &AppView| {
            let secret = if app.has_secret { "kept" } else { "none" };
            vec![app.connector.clone().into(), app.client_id.clone().into(), secret.into(), app.scope.into()]
        };
        table(ui, &["connector", "client id", "secret", "for"], self.apps.iter().map(row).collect())
    }
}

#[derive(Debug, Error)]
#[error("no app is kept for {connector}")]
struct NoApp {
    connector: String,
}

impl Remedy for NoApp {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }

    fn code(&self) -> &'static str {
        "no_app"
    }

    fn hint(&self) -> Option<String> {
        Some("integ app list".to_owned())
    }
}

pub(super) fn run(context: &Context, ui: &Ui, args: AppArgs) -> Result<u8> {
    match args.command {
        AppCommand::Set { connector, client_id, client_secret_file, global } => {
            context.catalogue.text(&connector)?;
            let client = match client(client_id, client_secret_file.as_deref())? {
                Some(client) => client,
                None => ask(ui)?,
            };
            let store = if global { context.global_store_or_new()? } else { context.store_or_new()? };
            let app = App { connector: connector.clone(), client, updated_at: context.clock.now() };
            store.apps().set(&app)?;
            let secret = if app.client.secret.is_some() { "and its secret" } else { "without a secret" };
            ui.note(&format!("Kept the client id {} {secret}. `integ connect {connector}` uses it.", app.client.id));
        }
        AppCommand::List => {
            let mut apps = Vec::new();
            if context.has_vault() {
                apps.extend(views(context.store()?, "this workspace")?);
            }
            if let Some(global) = context.global_store()? {
                apps.extend(views(global, "all workspaces")?);
            }
            ui.show(&Apps { apps })?;
        }
        AppCommand::Remove { connector, global } => {
            let store = if global { context.global_store()? } else { Some(context.store()?) };
            let removed = store.map(|store| store.apps().remove(&connector)).transpose()?.flatten();
            removed.ok_or(NoApp { connector: connector.clone() })?;
            ui.note(&format!("Forgot the app of {connector}. Connections made with it keep working."));
        }
    }
    Ok(0)
}

fn views(store: &Store, scope: &'static str) -> Result<Vec<AppView>> {
    let view = |app: App| AppView {
        connector: app.connector,
        client_id: app.client.id,
        has_secret: app.client.secret.is_some(),
        scope,
        updated_at: app.updated_at.to_string(),
    };
    Ok(store.apps().list()?.into_iter().map(view).collect())
}

fn ask(ui: &Ui) -> Result<Client, AskError> {
    let terminal = ui.terminal();
    let ask = |prompt, secret, missing| terminal.ask(&Question::Text { prompt, example: None, secret, missing });
    let id = ask("Client ID", false, "--client-id ID")?;
    let secret = ask("Client secret (empty for none)", true, "--client-secret-file FILE")?;
    Ok(Client { id: id.expose().clone(), secret: Some(secret).filter(|secret| !secret.is_empty()) })
}
