//! `integ connect`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use thiserror::Error;
use url::Url;

use super::client_secret::{client, read_token};
use super::ui::{Ui, escape};
use super::value_parser::{duration, name_value};
use crate::connect::ConnectRequest;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::http::Route;
use crate::oauth::callback_listener::{self, RedirectUri};
use crate::ops::connections;
use crate::runtime::Workspace;
use crate::view::connection::ConnectView;

/// Connect an account
///
/// Runs OAuth in your browser and keeps the tokens in the encrypted store. Connecting an account again keeps the
/// connection and everything that hangs on it.
#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// The service, as `integ connector list` names it; `slack@work` is short for `slack --as work`
    #[arg(value_name = "CONNECTOR[@ACCOUNT]", add = super::complete::connectors())]
    pub connector: String,
    /// A name for the account if you connect several, the same as `slack@NAME`
    #[arg(long = "as", value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// A scope to ask for, in place of the connector's defaults; repeatable, or several with commas
    #[arg(long = "scope", value_name = "SCOPE", add = super::complete::scopes())]
    pub scopes: Vec<String>,
    /// A scope to ask for beside those that the connection has, or the defaults; repeatable
    #[arg(long = "add-scope", value_name = "SCOPE", conflicts_with = "scopes", add = super::complete::scopes())]
    pub added_scopes: Vec<String>,
    /// The authentication method, as `integ connector show` names it (default: the connector's usual one)
    #[arg(long, value_name = "NAME")]
    pub auth: Option<String>,
    /// Enter a code on another screen
    #[arg(long, conflicts_with_all = ["paste", "with_token"])]
    pub device: bool,
    /// Authenticate as the app itself, without a person
    #[arg(long, conflicts_with_all = ["device", "paste", "with_token"])]
    pub client_credentials: bool,
    /// Only print the URL
    #[arg(long)]
    pub no_browser: bool,
    /// Paste the address that the browser ends at, where it cannot reach this machine
    #[arg(long)]
    pub paste: bool,
    /// The port of the loopback listener
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// The registered redirect URI; a loopback one is listened at, and for any other a tunnel leads to --port
    #[arg(long, value_name = "URL")]
    pub redirect_uri: Option<RedirectUri>,
    /// Let other users' processes bring the callback, as proxies and containers do; only with PKCE
    #[arg(long)]
    pub allow_peer: bool,
    /// Read a token or API key from stdin, INTEG_TOKEN or a prompt
    #[arg(long)]
    pub with_token: bool,
    /// The client id of your app
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// A file with the client secret; - for stdin
    #[arg(long, value_name = "FILE")]
    pub client_secret_file: Option<PathBuf>,
    /// The issuer of an OAuth or OpenID server
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// A value that the connector asks for; repeatable
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = name_value, add = super::complete::params())]
    pub params: Vec<(String, String)>,
    /// Send all of this connection's traffic to another origin: an emulator or a recording proxy
    #[arg(long, value_name = "URL", value_parser = Route::parse_origin, conflicts_with = "sandbox")]
    pub origin: Option<Url>,
    /// Use the built-in emulation of the service: no account, no network
    #[arg(long)]
    pub sandbox: bool,
    /// Time limit for signing in (default: the setting connect.timeout)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
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
    let token = if args.with_token { Some(read_token(&terminal)?) } else { None };
    let params: BTreeMap<String, String> =
        args.params.into_iter().chain(args.issuer.map(|issuer| ("issuer".to_owned(), issuer))).collect();
    // The settings' port is for redirects that name none.
    let named = args.port.or_else(|| args.redirect_uri.as_ref().and_then(RedirectUri::port));
    let (connector, account) = names(args.connector, args.account)?;
    let request = ConnectRequest {
        client: client(args.client_id, args.client_secret_file.as_deref())?,
        connector,
        account,
        auth: args.auth,
        scopes: args.scopes,
        added_scopes: args.added_scopes,
        params,
        device: args.device,
        client_credentials: args.client_credentials,
        is_paste: args.paste,
        redirect: callback_listener::RedirectOptions {
            port: named.or(workspace.engine.config.connect.port),
            redirect_uri: args.redirect_uri,
            allow_peer: args.allow_peer,
        },
        open_browser: !args.no_browser && !args.paste,
        token,
        origin: args.origin,
        is_sandbox: args.sandbox,
        timeout: args.timeout.unwrap_or(workspace.engine.config.connect.timeout),
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
        ui.show_line(&json!({ "event": "connected", "connection": connection }))?;
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
    ui.note(&format!("Try `integ test {name}`, `integ call {name}` and `integ token {name}`."));
    Ok(())
}
