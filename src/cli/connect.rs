//! `integ connect`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use thiserror::Error;
use url::Url;

use super::client_secret::client;
use super::sign_in::SignInArgs;
use super::ui::{Ui, escape};
use crate::connect::{ConnectPurpose, ConnectRequest, ReconnectOptions, parse_url};
use crate::connector::MCP;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::http::Route;
use crate::model::UserId;
use crate::ops::connections;
use crate::runtime::Workspace;
use crate::view::connection::{ConnectEventView, ConnectView};

/// Connect an account
///
/// Runs OAuth in your browser and stores the tokens in the encrypted store. Connecting the same account again keeps the
/// connection with its records, events and settings.
#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// The service, as `integ connector list` names it, or the URL of an MCP server; `slack@work` is short for `slack --as
    /// work`
    #[arg(value_name = "CONNECTOR[@ACCOUNT]|URL", add = super::complete::connectors())]
    pub connector: String,
    /// Name of the account, if you connect several; same as `slack@NAME`
    #[arg(long = "as", value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// The authentication method, as `integ connector show` names it (default: the connector's first)
    #[arg(long, value_name = "NAME")]
    pub auth: Option<String>,
    /// Authenticate as the app itself, without a user
    #[arg(long, conflicts_with_all = ["device", "paste", "with_token"])]
    pub client_credentials: bool,
    /// The client id of your app
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// A file with the client secret; - for stdin
    #[arg(long, value_name = "FILE")]
    pub client_secret_file: Option<PathBuf>,
    /// The issuer of an OAuth or OpenID server
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// Account to suggest for signing in, usually an e-mail address (oidc, oauth2)
    #[arg(long, value_name = "USER")]
    pub login_hint: Option<String>,
    /// What the server should prompt for: login, consent, `select_account` or none (oidc, oauth2)
    #[arg(long, value_name = "WORDS")]
    pub prompt: Option<String>,
    /// API that tokens are for, by its identifier at the server, as with Auth0 (oidc, oauth2)
    #[arg(long, value_name = "NAME")]
    pub audience: Option<String>,
    /// URL of the API that tokens are for (RFC 8707; oidc, oauth2)
    #[arg(long, value_name = "URL")]
    pub resource: Option<String>,
    #[command(flatten)]
    pub sign_in: SignInArgs,
    /// Your own ID of the user who owns the account; shown by `status` and used for links
    #[arg(long, value_name = "ID")]
    pub user: Option<UserId>,
    /// Send all of this connection's traffic to another origin: an emulator or a recording proxy
    #[arg(long, value_name = "URL", value_parser = Route::parse_origin, conflicts_with = "sandbox")]
    pub origin: Option<Url>,
    /// Use the built-in emulation of the service: no account, no network
    #[arg(long)]
    pub sandbox: bool,
}

#[derive(Debug, Error)]
#[error("two names for one account: {named} and {account}")]
struct AccountNameError {
    named: String,
    account: String,
}

impl Remedy for AccountNameError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "input")
    }
}

/// The connector, and the account's name, which may be given with either.
fn names(given: String, account: Option<String>) -> Result<(String, Option<String>), AccountNameError> {
    let Some((connector, named)) = given.split_once('@') else { return Ok((given, account)) };
    match account {
        Some(account) if account != named => Err(AccountNameError { named: named.to_owned(), account }),
        _ => Ok((connector.to_owned(), Some(named.to_owned()))),
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ConnectArgs) -> Result<u8> {
    let terminal = ui.terminal();
    let url = args.connector.contains("://").then(|| parse_url(&args.connector)).transpose()?;
    let (connector, account) = match &url {
        Some(_) => (String::new(), args.account),
        None => names(args.connector, args.account)?,
    };
    let ReconnectOptions { scopes, added_scopes, drops_scopes, mut params, files, sign_in, token, client: _ } =
        args.sign_in.into_options(workspace, &terminal)?;
    let named = [
        ("issuer", args.issuer),
        ("login_hint", args.login_hint),
        ("prompt", args.prompt),
        ("audience", args.audience),
        ("resource", args.resource),
    ];
    params.extend(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    let request = ConnectRequest {
        client: client(args.client_id, args.client_secret_file.as_deref())?,
        connector,
        url,
        account,
        auth: args.auth,
        scopes,
        added_scopes,
        drops_scopes,
        params,
        files,
        client_credentials: args.client_credentials,
        sign_in,
        token,
        origin: args.origin,
        user: args.user,
        is_sandbox: args.sandbox,
        is_guarded: false,
        purpose: ConnectPurpose::Connect,
    };
    show(ui, &workspace.run(connections::connect(workspace, request, &terminal))?)?;
    Ok(0)
}

fn show(ui: &Ui, view: &ConnectView) -> Result<()> {
    for warning in &view.warnings {
        ui.warning(warning);
    }
    let connection = &view.connection;
    if ui.json {
        let connection = Box::new(connection.clone());
        ui.show_line(&json!(ConnectEventView::Connected { connection }))?;
        return Ok(());
    }
    let account = connection.account.as_ref().map(|account| account.name.as_ref().unwrap_or(&account.id));
    let account = account.map(|account| format!(" as {}", escape(account))).unwrap_or_default();
    let target = connection.target.as_ref().map(|target| format!(" ({target})")).unwrap_or_default();
    let name = &connection.connection;
    ui.raw(&format!("Connected {name}{account}{target}\n"));
    if !view.missing_scopes.is_empty() {
        ui.warning(&format!("not granted: {}", view.missing_scopes.join(", ")));
    }
    // The tools of an MCP server are no actions of its connector.
    let call = if connection.connector == MCP { String::new() } else { format!(", `integ call {name}`") };
    ui.note(&format!("Try `integ test {name}`{call} and `integ token {name}`."));
    Ok(())
}
