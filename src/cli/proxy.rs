//! `integ proxy`.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::ui::Ui;
use crate::clock::random;
use crate::connector::HttpMethod;
use crate::env;
use crate::error::{Kind, Result};
use crate::ops::proxy::{CredentialProxyOptions, lend_connection};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::{hex, view::proxy::CredentialProxyView};

/// Lend a connection to a program on this machine that takes a base URL, without giving it the credential
///
/// The program gets a URL on 127.0.0.1 and a token that is worth nothing elsewhere, which it presents in place of a credential:
/// as `Authorization: Bearer`, or as the name or password of HTTP Basic. Its requests are sent to the API of the service with
/// the credential, and credentials are masked in the answers. Other hosts of the connector are below /_host/HOST. It may read,
/// and what --allow-method adds. A DELETE, and a declared action that destroys, needs an approval of the exact request; so does
/// a request that writes to a path that neither an action nor --allow-path names. The token is printed once; INTEG_PROXY_TOKEN
/// sets one of your own. Every request is in `integ audit list`.
#[derive(Debug, Args)]
pub(super) struct CredentialProxyArgs {
    /// Connection to lend
    #[arg(add = super::complete::connections())]
    connection: String,
    /// Port to listen on, on 127.0.0.1 (default: any free port)
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Method that the program may use beside GET and HEAD; repeatable
    #[arg(long = "allow-method", value_name = "METHOD", ignore_case = true)]
    allow_method: Vec<AllowedMethod>,
    /// Path that it may use; `*` matches any text. Repeatable (default: every path)
    #[arg(long = "allow-path", value_name = "GLOB")]
    allow_path: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
enum AllowedMethod {
    Post,
    Put,
    Patch,
    Delete,
}

impl From<AllowedMethod> for HttpMethod {
    fn from(method: AllowedMethod) -> Self {
        match method {
            AllowedMethod::Post => Self::Post,
            AllowedMethod::Put => Self::Put,
            AllowedMethod::Patch => Self::Patch,
            AllowedMethod::Delete => Self::Delete,
        }
    }
}

fn token() -> (Secret, bool) {
    match env::secret(&env::PROXY_TOKEN) {
        Some(own) => (own, true),
        None => (Secret::new(format!("integ_proxy_{}", hex::encode(&random::<24>()))), false),
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: CredentialProxyArgs) -> Result<u8> {
    let (token, is_own) = token();
    let methods = args.allow_method.into_iter().map(HttpMethod::from);
    let options = CredentialProxyOptions {
        connection: ui.project.resolve(&args.connection)?,
        port: args.port,
        token,
        methods: [HttpMethod::Get, HttpMethod::Head].into_iter().chain(methods).collect(),
        paths: args.allow_path,
    };
    let started = |view: CredentialProxyView| {
        if ui.json {
            return Ok(ui.show_line(&json!(view))?);
        }
        ui.raw(&format!("Base URL: {}\n", view.base_url));
        if is_own {
            ui.note("The token is that of INTEG_PROXY_TOKEN. Ctrl-C ends the proxy.");
        } else {
            ui.raw(&format!("Token:    {}\n", view.token.expose()));
            ui.note("The token is not shown again, and ends with the proxy. Ctrl-C ends it.");
        }
        Ok(())
    };
    workspace.run_to_end(lend_connection(workspace, options, started))?;
    Ok(Kind::Interrupted.exit_code())
}
