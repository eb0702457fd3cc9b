//! The arguments of `integ connector new`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args, ValueEnum};

use crate::connector::{CATEGORIES, Pointer};

/// Write a connector of your own
///
/// Asks for what it must know; every question has a flag, so that it works without a terminal too. --issuer asks an OAuth or
/// OpenID server for its endpoints, --from-openapi takes what an API's description says. The file is valid, and yours to
/// go on with.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// What it is called in commands: lower-case letters, digits and '-'
    #[arg(value_name = "ID")]
    pub(super) id: Option<String>,
    /// The name of the service, as it writes it
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// What kind of service it is
    #[arg(long, value_name = "CATEGORY", value_parser = PossibleValuesParser::new(CATEGORIES), hide_possible_values = true)]
    pub(super) category: Option<String>,
    /// What it is for, in one line
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
    /// The address of its documentation for developers
    #[arg(long, value_name = "URL")]
    pub(super) docs: Option<String>,
    /// The base of its API; {name} is asked for at connect
    #[arg(long, value_name = "URL")]
    pub(super) base: Option<String>,
    /// How requests carry the credentials
    #[arg(long, value_name = "WAY")]
    pub(super) auth: Option<AuthMethodArg>,
    /// The header that takes the key
    #[arg(long, value_name = "NAME", conflicts_with = "parameter")]
    pub(super) header: Option<String>,
    /// The query parameter that takes the key
    #[arg(long, value_name = "NAME")]
    pub(super) parameter: Option<String>,
    /// How every key begins; repeatable
    #[arg(long = "prefix", value_name = "TEXT")]
    pub(super) prefixes: Vec<String>,
    /// Where users find the key or register the app
    #[arg(long, value_name = "URL")]
    pub(super) setup_url: Option<String>,
    /// The issuer of its OAuth or OpenID server, which is asked for the endpoints
    #[arg(long, value_name = "URL")]
    pub(super) issuer: Option<String>,
    /// OAuth's authorization endpoint
    #[arg(long, value_name = "URL")]
    pub(super) authorize_url: Option<String>,
    /// OAuth's token endpoint
    #[arg(long, value_name = "URL")]
    pub(super) token_url: Option<String>,
    /// OAuth's device authorization endpoint
    #[arg(long, value_name = "URL")]
    pub(super) device_url: Option<String>,
    /// OAuth's revocation endpoint
    #[arg(long, value_name = "URL")]
    pub(super) revoke_url: Option<String>,
    /// A scope to ask for by default, with what it is for; repeatable
    #[arg(long = "scope", value_name = "SCOPE[=PURPOSE]")]
    pub(super) scopes: Vec<String>,
    /// The path of a harmless GET that needs the credentials
    #[arg(long, value_name = "PATH")]
    pub(super) health: Option<String>,
    /// Where its answer has the account's id, as a JSON Pointer
    #[arg(long, value_name = "POINTER", value_parser = pointer)]
    pub(super) account_id: Option<String>,
    /// Where its answer has the account's name
    #[arg(long, value_name = "POINTER", value_parser = pointer)]
    pub(super) account_name: Option<String>,
    /// Begin with an OpenAPI description, in JSON or YAML
    #[arg(long, value_name = "FILE|URL")]
    pub(super) from_openapi: Option<String>,
    /// An operation of the description to take as an action, in place of the first few that create things; repeatable
    #[arg(long = "action", value_name = "OPERATION_ID", requires = "from_openapi")]
    pub(super) actions: Vec<String>,
    /// Where to write it, in place of your connectors' folder; - for stdout
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, action = ArgAction::SetTrue)]
    pub(super) replace: bool,
}

fn pointer(text: &str) -> Result<String, String> {
    Pointer::parse(text).map(|pointer| pointer.to_string())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum AuthMethodArg {
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
