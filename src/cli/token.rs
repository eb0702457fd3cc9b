//! `integ token`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::backend::Backend;
use super::ui::{Render, Ui};
use super::value_parser::duration;
use crate::env::{self, EnvInheritance};
use crate::error::Result;
use crate::ops::tokens::TokenRequest;
use crate::view::token::TokenView;

/// Print a valid access token, refreshing it first if needed
///
/// Never opens a browser.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Connection whose token to print
    #[arg(add = super::complete::connections())]
    pub connection: String,
    /// Fail unless the token is valid for at least this long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub min_ttl: Option<Duration>,
    /// Format: the token, header lines, a JSON object of the headers, JSON, shell variables, or the ID token
    #[arg(long, value_name = "FORMAT", default_value = "plain")]
    pub format: TokenFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TokenFormat {
    Plain,
    Header,
    Headers,
    Json,
    Env,
    IdToken,
}

impl Render for TokenView {
    fn text(&self, _ui: &Ui) -> String {
        self.token.expose().clone()
    }
}

pub(super) fn run(backend: &Backend, ui: &mut Ui, args: &TokenArgs) -> Result<u8> {
    let request = TokenRequest { connection: ui.project.resolve(&args.connection)?, min_ttl: args.min_ttl };
    match args.format {
        TokenFormat::Plain if !ui.json => {
            ui.raw(&format!("{}\n", backend.access_token(request)?.expose()));
        }
        TokenFormat::Plain | TokenFormat::Json => {
            ui.json = true;
            ui.show(&backend.token(request)?)?;
        }
        TokenFormat::Header => {
            let view = backend.token_headers(request)?;
            let lines = view.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.expose()));
            ui.raw(&lines.collect::<String>());
        }
        TokenFormat::Headers => {
            let view = backend.token_headers(request)?;
            let headers = view.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.expose().as_str())));
            ui.show_document(&Value::Object(headers.collect()).to_string())?;
        }
        TokenFormat::IdToken => {
            ui.raw(&format!("{}\n", backend.id_token(request)?.expose()));
        }
        TokenFormat::Env => {
            let inherited = env::inherited_vars(EnvInheritance::Full);
            let view = backend.token_variables(request, inherited)?;
            for (variable, value) in &view.variables {
                ui.raw(&format!("export {variable}='{}'\n", value.expose().replace('\'', "'\\''")));
            }
        }
    }
    Ok(0)
}
