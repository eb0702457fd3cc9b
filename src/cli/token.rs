//! `integ token`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use thiserror::Error;

use super::ui::{Ui, View};
use crate::env::{self, EnvInheritance};
use crate::env_variables::{Credential, variables};
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::model::{ConnectionName, Grant};
use crate::oauth::refresh::{self, Freshness};
use crate::runtime::App;
use crate::secret::Secret;
use crate::vault::ConnectionWithGrant;

/// Print a token that is good for now
///
/// Refreshes it first where it must; never opens a browser.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[arg(add = super::complete::connections())]
    pub connection: String,
    /// Fail unless the token is good for at least this long
    #[arg(long, value_name = "TIME", value_parser = super::connect::time)]
    pub min_ttl: Option<Duration>,
    /// plain, the header that carries it, JSON, or lines for a shell's environment
    #[arg(long, value_name = "FORMAT", default_value = "plain")]
    pub format: TokenFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TokenFormat {
    Plain,
    Header,
    Json,
    Env,
}

#[derive(Serialize)]
struct TokenView {
    connection: String,
    token: String,
    expires_at: Option<String>,
    expires_in: Option<i64>,
    scopes: Vec<String>,
    /// What a service needs beside the token, secrets among it: `account_sid`, `cloud_id`.
    parts: BTreeMap<String, String>,
}

impl View for TokenView {
    fn text(&self, _ui: &Ui) -> String {
        self.token.clone()
    }
}

#[derive(Debug, Error)]
pub(super) enum TokenError {
    #[error("a secret of {0} holds a line break or a control character, which would forge a second line")]
    Unprintable(ConnectionName, String),
    #[error("requests of {0} carry its credentials in the URL, not in a header")]
    NoHeader(ConnectionName),
    #[error("the header {1:?} of {0} contains a line break or a control character")]
    UnprintableHeader(ConnectionName, String),
}

impl Remedy for TokenError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unprintable(_, reconnect) => Diagnostic::new(Kind::Failed, "unprintable_token").run(reconnect),
            Self::UnprintableHeader(name, _) => Diagnostic::new(Kind::Failed, "unprintable_token")
                .run(format!("integ connector validate {}", name.connector())),
            Self::NoHeader(name) => {
                Diagnostic::new(Kind::Failed, "no_header").run(format!("integ token {name} --format env"))
            }
        }
    }
}

pub(super) fn run(app: &App, ui: &mut Ui, args: &TokenArgs) -> Result<u8> {
    let name = ui.project.resolve(&args.connection)?;
    let want = args.min_ttl.map_or(Freshness::Usable, Freshness::MinTtl);
    let loaded = load_fresh(app, &name, want)?;
    let grant = &loaded.grant;
    if secrets(grant).any(|secret| secret.chars().any(char::is_control)) {
        return Err(TokenError::Unprintable(name, refresh::reconnect_command(&loaded.connection)).into());
    }
    match args.format {
        TokenFormat::Plain if !ui.json => ui.raw(&format!("{}\n", grant.access_token.expose())),
        TokenFormat::Plain | TokenFormat::Json => {
            ui.json = true;
            let now = app.clock.now().as_second();
            let connection = &loaded.connection;
            ui.show(&TokenView {
                connection: name.to_string(),
                token: grant.access_token.expose().clone(),
                expires_at: grant.expires_at.map(|at| at.to_string()),
                expires_in: grant.expires_at.map(|at| at.as_second() - now),
                scopes: connection.scopes_granted.clone().unwrap_or_else(|| connection.scopes_requested.clone()),
                parts: Credential::from_connection(app, &loaded)?
                    .parts
                    .into_iter()
                    .map(|(part, value)| (part, value.expose().clone()))
                    .collect(),
            })?;
        }
        TokenFormat::Header => ui.raw(&header(app, loaded)?),
        TokenFormat::Env => {
            let others = app.store()?.connections().names()?;
            let inherited = env::inherited_vars(EnvInheritance::Full);
            for (variable, value) in variables(&[Credential::from_connection(app, &loaded)?], &[], &inherited, &others)?
            {
                ui.raw(&format!("export {variable}='{}'\n", value.expose().replace('\'', "'\\''")));
            }
        }
    }
    Ok(0)
}

/// The grant as it stands where it is good: no runtime is started for that.
pub(super) fn load_fresh(app: &App, name: &ConnectionName, want: Freshness) -> Result<ConnectionWithGrant> {
    let loaded = refresh::load_grant(app, name)?;
    if refresh::is_fresh(app, &loaded, want)? {
        return Ok(loaded);
    }
    app.run(refresh::fresh_grant(app, name, want))
}

fn secrets(grant: &Grant) -> impl Iterator<Item = &String> {
    std::iter::once(&grant.access_token).chain(grant.fields.values()).map(Secret::expose)
}

/// The headers that a request of this connection carries, one a line.
fn header(app: &App, loaded: ConnectionWithGrant) -> Result<String> {
    let name = loaded.connection.name.clone();
    app.run(async {
        let session = app.session(loaded.connection)?;
        let headers = session.credential_headers(&loaded.grant)?;
        if headers.is_empty() {
            return Err(TokenError::NoHeader(name).into());
        }
        // Names and values are templates of the connector's file.
        let is_forged = |(name, value): &&(String, Secret)| {
            name.contains([':', ' ']) || name.chars().chain(value.expose().chars()).any(char::is_control)
        };
        if let Some((header, _)) = headers.iter().find(is_forged) {
            return Err(TokenError::UnprintableHeader(name, header.clone()).into());
        }
        Ok(headers.iter().map(|(name, value)| format!("{name}: {}\n", value.expose())).collect())
    })
}
