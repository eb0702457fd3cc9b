//! The options that every command has.

use clap::{ArgAction, Args, ValueEnum};
use url::Url;

/// The options that every command has.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// Workspace to use
    #[arg(short, long, global = true, value_name = "NAME", add = super::complete::workspaces())]
    pub workspace: Option<String>,
    /// URL of an `integ serve` to use in place of the local store; its API token is in INTEG_API_TOKEN
    #[arg(long, global = true, value_name = "URL", value_parser = super::value_parser::server_url)]
    pub server: Option<Url>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Filter the JSON with a jq expression
    #[arg(long, global = true, value_name = "EXPR")]
    pub jq: Option<String>,
    /// Suppress everything but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more; -vv shows requests, -vvv their headers and bodies, without secrets
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Never prompt: fail and name what is missing
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Show no progress bars and countdowns
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}
