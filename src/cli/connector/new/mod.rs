//! `integ connector new`.

mod auth;
mod prompts;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args, ValueEnum};

use super::super::ui::{Ui, View};
use super::source::read;
use crate::connector::{CATEGORIES, ConnectorDraft, MAX_OPENAPI_BYTES, OpenApiDescription, Pointer};
use crate::error::Result;
use crate::ops::connectors::{WriteDraftRequest, write_draft};
use crate::runtime::Workspace;
use crate::view::connector::DraftView;

/// Write a connector of your own
///
/// Asks for what it must know; every question has a flag, so that it works without a terminal too. --issuer asks an OAuth or
/// OpenID server for its endpoints, --from-openapi takes what an API's description says. The file is valid, and yours to
/// go on with.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// What it is called in commands: lower-case letters, digits and '-'
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// The name of the service, as it writes it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What kind of service it is
    #[arg(long, value_name = "CATEGORY", value_parser = PossibleValuesParser::new(CATEGORIES), hide_possible_values = true)]
    category: Option<String>,
    /// What it is for, in one line
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The address of its documentation for developers
    #[arg(long, value_name = "URL")]
    docs: Option<String>,
    /// The base of its API; {name} is asked for at connect
    #[arg(long, value_name = "URL")]
    base: Option<String>,
    /// How requests carry the credentials
    #[arg(long, value_name = "WAY")]
    auth: Option<AuthMethodArg>,
    /// The header that takes the key
    #[arg(long, value_name = "NAME", conflicts_with = "parameter")]
    header: Option<String>,
    /// The query parameter that takes the key
    #[arg(long, value_name = "NAME")]
    parameter: Option<String>,
    /// How every key begins; repeatable
    #[arg(long = "prefix", value_name = "TEXT")]
    prefixes: Vec<String>,
    /// Where users find the key or register the app
    #[arg(long, value_name = "URL")]
    setup_url: Option<String>,
    /// The issuer of its OAuth or OpenID server, which is asked for the endpoints
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// OAuth's authorization endpoint
    #[arg(long, value_name = "URL")]
    authorize_url: Option<String>,
    /// OAuth's token endpoint
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    /// OAuth's device authorization endpoint
    #[arg(long, value_name = "URL")]
    device_url: Option<String>,
    /// OAuth's revocation endpoint
    #[arg(long, value_name = "URL")]
    revoke_url: Option<String>,
    /// A scope to ask for by default, with what it is for; repeatable
    #[arg(long = "scope", value_name = "SCOPE[=PURPOSE]")]
    scopes: Vec<String>,
    /// The path of a harmless GET that needs the credentials
    #[arg(long, value_name = "PATH")]
    health: Option<String>,
    /// Where its answer has the account's id, as a JSON Pointer
    #[arg(long, value_name = "POINTER", value_parser = pointer)]
    account_id: Option<String>,
    /// Where its answer has the account's name
    #[arg(long, value_name = "POINTER", value_parser = pointer)]
    account_name: Option<String>,
    /// Begin with an OpenAPI description, in JSON or YAML
    #[arg(long, value_name = "FILE|URL")]
    from_openapi: Option<String>,
    /// An operation of the description to take as an action, in place of the first few that create things; repeatable
    #[arg(long = "action", value_name = "OPERATION_ID", requires = "from_openapi")]
    actions: Vec<String>,
    /// Where to write it, in place of your connectors' folder; - for stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, action = ArgAction::SetTrue)]
    replace: bool,
}

fn pointer(text: &str) -> Result<String, String> {
    Pointer::parse(text).map(|pointer| pointer.to_string())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AuthMethodArg {
    /// A key as `Authorization: Bearer`
    Bearer,
    /// A key in a header of its own
    Header,
    /// A key in the query
    Query,
    /// Name and password (HTTP Basic)
    Basic,
    /// OAuth 2.0
    Oauth2,
}

impl View for DraftView {
    fn text(&self, _ui: &Ui) -> String {
        let mut out = vec![format!("Wrote {}", super::super::ui::escape(&self.file))];
        let mut line = |what: &str, items: &[String]| {
            if !items.is_empty() {
                out.push(format!("  {what}: {}", super::super::ui::escape(&items.join(", "))));
            }
        };
        line("ways of authenticating", &self.auth_methods);
        line("scopes asked for", &self.default_scopes);
        line("actions", &self.actions);
        line("not confirmed", &self.unverified);
        out.join("\n")
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &NewArgs) -> Result<u8> {
    let mut draft = match &args.from_openapi {
        Some(given) => from_openapi(workspace, ui, given, &args.actions)?,
        None => ConnectorDraft::default(),
    };
    prompts::complete(workspace, ui, args, &mut draft)?;
    if args.output.as_ref().is_some_and(|output| output.as_os_str() == "-") {
        ui.raw(&draft.to_toml()?);
        return Ok(0);
    }
    let request = WriteDraftRequest { draft, output: args.output.clone(), replace: args.replace };
    let written = workspace.run(write_draft(workspace, request))?;
    ui.show(&written)?;
    if !ui.json {
        ui.note(&format!("Next:\n  {}", written.next_steps.join("\n  ")));
    }
    Ok(0)
}

fn from_openapi(workspace: &Workspace, ui: &Ui, given: &str, actions: &[String]) -> Result<ConnectorDraft> {
    let document = read(workspace, given, MAX_OPENAPI_BYTES)?;
    let description = OpenApiDescription::parse(&document.bytes, document.url)?;
    let wanted = match actions {
        [] => prompts::choose_actions(ui, &description.summaries())?,
        actions => Some(actions.to_vec()),
    };
    Ok(description.draft(wanted.as_deref())?)
}
