//! `integ connect`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use thiserror::Error;
use url::Url;

use super::status::ConnectionView;
use super::terminal::Terminal;
use super::ui::Ui;
use crate::connect::{self, ConnectRequest, ConnectResult, PromptQuestion, Prompter};
use crate::duration;
use crate::env;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::files;
use crate::http::Route;
use crate::model::ClientCredentials;
use crate::oauth::callback_listener::{self, RedirectUri};
use crate::runtime::App;
use crate::secret::Secret;

/// Bytes of a token, a key or a client secret.
pub(super) const MAX_SECRET_SIZE: u64 = 64 * 1024;

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
    /// The way of authenticating, as `integ connector show` names it
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
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair, add = super::complete::params())]
    pub params: Vec<(String, String)>,
    /// Send all of this connection's traffic to another origin: an emulator or a recording proxy
    #[arg(long, value_name = "URL", value_parser = Route::parse_origin, conflicts_with = "sandbox")]
    pub origin: Option<Url>,
    /// Use the built-in emulation of the service: no account, no network
    #[arg(long)]
    pub sandbox: bool,
    /// How long you may take
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| format!("{text:?} is not a time such as 90s or 5m"))
}

#[derive(Debug, Error)]
pub(super) enum ConnectInputError {
    #[error("cannot read {what}")]
    Read { what: String, source: std::io::Error },
    #[error("{0} is empty")]
    Empty(String),
    #[error("--client-secret-file needs --client-id")]
    NoClientId,
    #[error("two names for one account: {0} and {1}")]
    TwoAccounts(String, String),
}

impl Remedy for ConnectInputError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "input")
    }
}

/// The connector, and the account's name, which may be given with either.
fn names(given: String, account: Option<String>) -> Result<(String, Option<String>), ConnectInputError> {
    let Some((connector, named)) = given.split_once('@') else { return Ok((given, account)) };
    match account {
        Some(account) if account != named => Err(ConnectInputError::TwoAccounts(named.to_owned(), account)),
        _ => Ok((connector.to_owned(), Some(named.to_owned()))),
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: ConnectArgs) -> Result<u8> {
    let terminal = ui.terminal();
    let token = if args.with_token { Some(read_token(&terminal)?) } else { None };
    let params: BTreeMap<String, String> =
        args.params.into_iter().chain(args.issuer.map(|issuer| ("issuer".to_owned(), issuer))).collect();
    // The settings' port is for redirects that name none.
    let named = args.port.or_else(|| args.redirect_uri.as_ref().and_then(RedirectUri::port));
    let (connector, account) = names(args.connector, args.account)?;
    let wish = ConnectRequest {
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
            port: named.or(app.config.connect.port),
            redirect_uri: args.redirect_uri,
            allow_peer: args.allow_peer,
        },
        open_browser: !args.no_browser && !args.paste,
        token,
        origin: args.origin,
        is_sandbox: args.sandbox,
        timeout: args.timeout.unwrap_or(app.config.connect.timeout),
    };
    let connected = app.run(connect::connect(app, &wish, &terminal))?;
    show(app, ui, &connected)?;
    Ok(0)
}

fn show(app: &App, ui: &Ui, connected: &ConnectResult) -> Result<()> {
    for warning in &connected.warnings {
        ui.warning(warning);
    }
    let view = ConnectionView::new(app, &connected.connection);
    if ui.json {
        ui.show_line(&json!({ "event": "connected", "connection": view }))?;
        return Ok(());
    }
    let connection = &connected.connection;
    let account = connection.account.as_ref();
    let account = account.map(|account| account.name.clone().unwrap_or_else(|| account.id.clone()));
    let place = connection.target().map(|place| format!(" ({place})")).unwrap_or_default();
    let whose = account.map(|account| format!(" as {}", super::ui::escape(&account))).unwrap_or_default();
    ui.raw(&format!("Connected {}{whose}{place}\n", connection.name));
    if !connected.missing_scopes.is_empty() {
        ui.warning(&format!("not granted: {}", connected.missing_scopes.join(", ")));
    }
    ui.note(&format!("Try `integ test {0}`, `integ call {0}` and `integ token {0}`.", connection.name));
    Ok(())
}

/// From the environment, a pipe, or a prompt that does not echo.
fn read_token(terminal: &Terminal) -> Result<Secret> {
    if let Some(token) = env::secret(&env::TOKEN) {
        return Ok(token);
    }
    if terminal.interactive {
        let question = PromptQuestion::Text {
            prompt: "Token or API key",
            example: None,
            is_secret: true,
            flag_hint: "INTEG_TOKEN",
        };
        return Ok(terminal.prompt(&question)?);
    }
    let text = files::read_limited(std::io::stdin(), MAX_SECRET_SIZE)
        .and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other))
        .map_err(|source| ConnectInputError::Read { what: "the token from stdin".to_owned(), source })?;
    let token = Secret::trimmed(text);
    if token.is_empty() { Err(ConnectInputError::Empty("the token on stdin".to_owned()).into()) } else { Ok(token) }
}

/// The client given on the command line; its secret from a file, a pipe or `INTEG_CLIENT_SECRET`.
pub(super) fn client(
    id: Option<String>,
    secret_file: Option<&std::path::Path>,
) -> Result<Option<ClientCredentials>, ConnectInputError> {
    let secret = match secret_file {
        Some(path) => {
            let what = format!("the client secret from {}", path.display());
            let failed = |source| ConnectInputError::Read { what: what.clone(), source };
            let bytes = if path.as_os_str() == "-" {
                files::read_limited(std::io::stdin(), MAX_SECRET_SIZE)
            } else {
                files::read_user_file(path, MAX_SECRET_SIZE)
            };
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other));
            let text = text.map_err(failed)?;
            let secret = Secret::trimmed(text);
            if secret.is_empty() {
                return Err(ConnectInputError::Empty(what));
            }
            Some(secret)
        }
        None => env::secret(&env::CLIENT_SECRET),
    };
    // Copied from a page, often with the line's end.
    match id.map(|id| id.trim().to_owned()) {
        Some(id) if id.is_empty() => Err(ConnectInputError::Empty("the client id".to_owned())),
        Some(id) => Ok(Some(ClientCredentials { id, secret })),
        None if secret_file.is_some() => Err(ConnectInputError::NoClientId),
        None => Ok(None),
    }
}
