//! `integ app`: the OAuth clients that you registered with vendors.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use thiserror::Error;

use super::connect::{client, pair};
use super::table::table;
use super::ui::{Ui, View};
use crate::connect::{PromptError, PromptQuestion, Prompter};
use crate::connector::{Connector, authorization_server, parse_param};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::model::ClientCredentials;
use crate::runtime::App as Context;
use crate::store::{OAuthApp, Store};

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
        /// The issuer of the server where the app is registered
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
        /// A value that names the server, such as host=git.example.com; repeatable
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
        params: Vec<(String, String)>,
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
        /// The server whose app is removed, if there are several: as `integ app list` prints it
        #[arg(long, value_name = "URL")]
        server: Option<String>,
        /// One for every workspace
        #[arg(long)]
        global: bool,
    },
}

#[derive(Serialize)]
struct AppView {
    connector: String,
    /// The issuer or token URL; absent for the connector's own server, and if none is known yet.
    server: Option<String>,
    client_id: String,
    has_secret: bool,
    scope: &'static str,
    updated_at: String,
}

#[derive(Serialize)]
struct AppListView {
    apps: Vec<AppView>,
}

impl View for AppListView {
    fn text(&self, ui: &Ui) -> String {
        if self.apps.is_empty() {
            return "No apps yet. `integ app set CONNECTOR --client-id ID --client-secret-file -` keeps one."
                .to_owned();
        }
        let row = |app: &AppView| {
            let secret = if app.has_secret { "kept" } else { "none" };
            let server = app.server.clone().unwrap_or_default();
            vec![
                app.connector.clone().into(),
                server.into(),
                app.client_id.clone().into(),
                secret.into(),
                app.scope.into(),
            ]
        };
        table(ui, &["connector", "server", "client id", "secret", "for"], self.apps.iter().map(row).collect())
    }
}

#[derive(Debug, Error)]
#[error("no app is kept for {connector}")]
struct AppNotFound {
    connector: String,
}

impl Remedy for AppNotFound {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::NotFound, "no_app").run("integ app list")
    }
}

#[derive(Debug, Error)]
#[error("there are several apps of {connector}")]
struct AmbiguousApp {
    connector: String,
    servers: Vec<String>,
}

impl Remedy for AmbiguousApp {
    fn diagnostic(&self) -> Diagnostic {
        let server = self.servers.first().and_then(|server| shlex::try_quote(server).ok());
        let command = server.map(|server| format!("integ app remove {} --server {server}", self.connector));
        Diagnostic::new(Kind::Usage, "several_apps").maybe_hint(command.map(Hint::run))
    }
}

#[derive(Debug, Error)]
#[error("{connector} has no parameter {name:?}")]
struct UnknownAppParam {
    connector: String,
    name: String,
}

impl Remedy for UnknownAppParam {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "unknown_param").run(format!("integ connector show {}", self.connector))
    }
}

#[derive(Debug, Error)]
#[error("invalid value {value:?} for {name}: it must be {expected}")]
struct InvalidAppParam {
    name: String,
    value: String,
    expected: &'static str,
}

impl Remedy for InvalidAppParam {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "invalid_param")
    }
}

pub(super) fn run(context: &Context, ui: &Ui, args: AppArgs) -> Result<u8> {
    match args.command {
        AppCommand::Set { connector, client_id, client_secret_file, issuer, params, global } => {
            let params = params.into_iter().chain(issuer.map(|issuer| ("issuer".to_owned(), issuer)));
            let named = server(&context.catalogue.get(&connector)?, params)?;
            let client = match client(client_id, client_secret_file.as_deref())? {
                Some(client) => client,
                None => ask(ui)?,
            };
            let store = if global { context.global_store_or_new()? } else { context.store_or_new()? };
            // A new secret of an app that is known already: it stays with its server.
            let known = store.apps().for_connector(&connector)?.into_iter().find(|app| app.client.id == client.id);
            let server = named.or_else(|| known?.server);
            let app = OAuthApp { connector: connector.clone(), server, client, updated_at: context.clock.now() };
            store.apps().set(&app)?;
            let secret = if app.client.secret.is_some() { "and its secret" } else { "without a secret" };
            let place = app.server.as_ref().map(|server| format!(" for {server}")).unwrap_or_default();
            ui.note(&format!(
                "Kept the client id {} {secret}{place}. `integ connect {connector}` uses it.",
                app.client.id
            ));
        }
        AppCommand::List => {
            let mut apps = Vec::new();
            if context.has_vault() {
                apps.extend(views(context.store()?, "this workspace")?);
            }
            if let Some(global) = context.global_store()? {
                apps.extend(views(global, "all workspaces")?);
            }
            ui.show(&AppListView { apps })?;
        }
        AppCommand::Remove { connector, server, global } => {
            let store = if global { context.global_store()? } else { Some(context.store()?) };
            let no_app = || AppNotFound { connector: connector.clone() };
            let store = store.ok_or_else(no_app)?;
            let apps = store.apps().for_connector(&connector)?;
            let found = match (&server, apps.as_slice()) {
                (None, [app]) => app,
                (None, [_, ..]) => {
                    let servers = apps.iter().filter_map(|app| app.server.clone()).collect();
                    return Err(AmbiguousApp { connector, servers }.into());
                }
                _ => apps.iter().find(|app| app.server == server).ok_or_else(no_app)?,
            };
            store.apps().remove(&connector, found.server.as_deref())?;
            ui.note(&format!("Forgot the app of {connector}. Connections made with it keep working."));
        }
    }
    Ok(0)
}

/// The server that parameters name; absent if none was given.
fn server(connector: &Connector, params: impl Iterator<Item = (String, String)>) -> Result<Option<String>> {
    let mut given = BTreeMap::new();
    for (name, text) in params {
        let ways = connector.auth.iter().filter(|(_, auth)| connector.params(auth).any(|(known, _)| *known == name));
        let (way, auth) = ways
            .into_iter()
            .next()
            .ok_or_else(|| UnknownAppParam { connector: connector.id.clone(), name: name.clone() })?;
        let value = parse_param(connector, way, auth, &name, &text).map_err(|expected| InvalidAppParam {
            name: name.clone(),
            value: text.clone(),
            expected,
        })?;
        given.insert(name, value);
    }
    Ok(connector.auth.values().find_map(|auth| authorization_server(connector, auth, &given)).map(|server| server.url))
}

fn views(store: &Store, scope: &'static str) -> Result<Vec<AppView>> {
    let view = |app: OAuthApp| AppView {
        connector: app.connector,
        server: app.server,
        client_id: app.client.id,
        has_secret: app.client.secret.is_some(),
        scope,
        updated_at: app.updated_at.to_string(),
    };
    Ok(store.apps().list()?.into_iter().map(view).collect())
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
