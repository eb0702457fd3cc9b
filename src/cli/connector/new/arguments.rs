//! The arguments of `integ connector new`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args, ValueEnum};

use crate::connector::{CATEGORIES, Pointer};

/// Write a new connector
///
/// Asks for the details. Every question has a flag, so it also works without a terminal. --issuer discovers the
/// endpoints of an OAuth or OpenID server, --from-openapi reads an API description. It does not ask about streams,
/// webhooks and request bodies: add these to the file.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// ID of the connector: lower-case letters, digits and '-'
    #[arg(value_name = "ID")]
    pub(super) id: Option<String>,
    /// Name of the service
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Category of the service
    #[arg(long, value_name = "CATEGORY", value_parser = PossibleValuesParser::new(CATEGORIES), hide_possible_values = true)]
    pub(super) category: Option<String>,
    /// Description, in one line
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
    /// URL of its developer documentation
    #[arg(long, value_name = "URL")]
    pub(super) docs: Option<String>,
    /// Base URL of its API; {name} is a parameter that `connect` asks for
    #[arg(long, value_name = "URL")]
    pub(super) base: Option<String>,
    /// How requests carry the credentials
    #[arg(long, value_name = "METHOD")]
    pub(super) auth: Option<AuthMethodArg>,
    /// Header that contains the key
    #[arg(long, value_name = "NAME", conflicts_with = "parameter")]
    pub(super) header: Option<String>,
    /// Query parameter that contains the key
    #[arg(long, value_name = "NAME")]
    pub(super) parameter: Option<String>,
    /// Prefix of every key; repeatable
    #[arg(long = "prefix", value_name = "TEXT")]
    pub(super) prefixes: Vec<String>,
    /// Page where users find the key or register the app
    #[arg(long, value_name = "URL")]
    pub(super) setup_url: Option<String>,
    /// Issuer of its OAuth or OpenID server, to discover the endpoints
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
    /// Scope to request by default, with its purpose; repeatable
    #[arg(long = "scope", value_name = "SCOPE[=PURPOSE]")]
    pub(super) scopes: Vec<String>,
    /// Path of a GET without side effects that needs the credentials
    #[arg(long, value_name = "PATH")]
    pub(super) health: Option<String>,
    /// JSON Pointer to the account's ID in its response
    #[arg(long, value_name = "POINTER", value_parser = pointer)]
    pub(super) account_id: Option<String>,
    /// JSON Pointer to the account's name in its response
    #[arg(long, value_name = "POINTER", value_parser = pointer)]
    pub(super) account_name: Option<String>,
    /// Start from an OpenAPI description, in JSON or YAML
    #[arg(long, value_name = "FILE|URL")]
    pub(super) from_openapi: Option<String>,
    /// Operation of the description to use as an action, instead of the first few that create objects; repeatable
    #[arg(long = "action", value_name = "OPERATION_ID", requires = "from_openapi")]
    pub(super) actions: Vec<String>,
    /// File to write, instead of one in your connectors folder; - for stdout
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Overwrite an existing file
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
    /// A key in a custom header
    Header,
    /// A key in the query
    Query,
    /// User name and password (HTTP Basic)
    Basic,
    /// OAuth 2.0
    Oauth2,
}
