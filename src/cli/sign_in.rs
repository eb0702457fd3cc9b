//! Signing in: the arguments shared by `connect` and `reconnect`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use clap::Args;

use super::client_secret::{read_secret_file, read_token};
use super::terminal::Terminal;
use super::value_parser::{duration, name_value};
use crate::connect::{ReconnectOptions, SignInOptions};
use crate::error::Result;
use crate::oauth::callback_listener::{RedirectOptions, RedirectUri};
use crate::runtime::Workspace;
use crate::secret::Secret;

#[derive(Debug, Args)]
pub(super) struct SignInArgs {
    /// Scope to request, instead of the connection's current scopes or the defaults; repeatable, or several separated
    /// by commas
    #[arg(long = "scope", value_name = "SCOPE", add = super::complete::scopes())]
    pub scopes: Vec<String>,
    /// Scope to request in addition to the connection's current scopes or the defaults; repeatable
    #[arg(long = "add-scope", value_name = "SCOPE", conflicts_with = "scopes", add = super::complete::scopes())]
    pub added_scopes: Vec<String>,
    /// Do not ask before --scope drops scopes
    #[arg(short, long, requires = "scopes")]
    pub yes: bool,
    /// Sign in with a code on another device
    #[arg(long, conflicts_with_all = ["paste", "with_token"])]
    pub device: bool,
    /// Only print the URL
    #[arg(long)]
    pub no_browser: bool,
    /// Paste the final address from the browser, if it cannot reach this machine
    #[arg(long)]
    pub paste: bool,
    /// The port of the loopback listener
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// The registered redirect URI; if it is not a loopback address, a tunnel must lead to --port
    #[arg(long, value_name = "URL")]
    pub redirect_uri: Option<RedirectUri>,
    /// Listen for the callback on this address, as needed in a container with a published port; requires --port
    #[arg(long, value_name = "ADDRESS", requires = "allow_peer")]
    pub bind: Option<IpAddr>,
    /// Accept the callback from other users' processes, such as proxies and containers; only with PKCE
    #[arg(long)]
    pub allow_peer: bool,
    /// Read a token or API key from stdin, INTEG_TOKEN or a prompt
    #[arg(long)]
    pub with_token: bool,
    /// Value of a connector's parameter; for a secret, a file: NAME=@FILE; repeatable
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = name_value, add = super::complete::params())]
    pub params: Vec<(String, String)>,
    /// Time limit for signing in (default: the setting connect.timeout)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

impl SignInArgs {
    /// The request, with the token that was read.
    pub(super) fn into_options(self, workspace: &Workspace, terminal: &Terminal) -> Result<ReconnectOptions> {
        let token = if self.with_token { Some(read_token(terminal)?) } else { None };
        let (params, files) = split_files(self.params)?;
        let settings = &workspace.engine.config.connect;
        // The settings' port is for redirects that name none.
        let named = self.port.or_else(|| self.redirect_uri.as_ref().and_then(RedirectUri::port));
        Ok(ReconnectOptions {
            scopes: self.scopes,
            added_scopes: self.added_scopes,
            drops_scopes: self.yes,
            params,
            files,
            sign_in: SignInOptions {
                device: self.device,
                is_paste: self.paste,
                redirect: RedirectOptions {
                    port: named.or(settings.port),
                    redirect_uri: self.redirect_uri,
                    bind: self.bind,
                    allow_peer: self.allow_peer,
                },
                open_browser: !self.no_browser && !self.paste,
                timeout: self.timeout.unwrap_or(settings.timeout),
            },
            token,
            client: None,
        })
    }
}

/// Values that were typed, and those that `NAME=@FILE` read; `@@` is for a text that begins with `@`.
type GivenParams = (BTreeMap<String, String>, BTreeMap<String, Secret>);

fn split_files(given: Vec<(String, String)>) -> Result<GivenParams> {
    let (mut params, mut files) = GivenParams::default();
    for (name, value) in given {
        match value.strip_prefix('@') {
            Some(text) if text.starts_with('@') => {
                params.insert(name, text.to_owned());
            }
            Some(path) => {
                files.insert(name, read_secret_file(path)?);
            }
            None => {
                params.insert(name, value);
            }
        }
    }
    Ok((params, files))
}
