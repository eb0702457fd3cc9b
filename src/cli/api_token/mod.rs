//! `integ api-token`.

mod limits;
mod login;
mod render;
mod trust;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use limits::{ApprovalPolicyArg, resolved};

use super::complete::{api_scopes, api_tokens, connections};
use super::ui::Ui;
use super::value_parser::{duration, time};
use crate::error::Result;
use crate::model::{RateTier, UserId};
use crate::ops::api_tokens::{
    self as ops, ConnectionLimit, CreateApiTokenRequest, RotateApiTokenRequest, UpdateApiTokenRequest,
};
use crate::runtime::Workspace;
use crate::view::api_token::{ApiTokenView, NewApiTokenView};

/// Manage the tokens of the HTTP API
///
/// A token has scopes, a rate limit and an expiry, and can be limited to some connections. It is printed once; integ
/// stores only its hash. `integ help api-tokens` has more.
#[derive(Debug, Args)]
pub(super) struct ApiTokenArgs {
    #[command(subcommand)]
    command: ApiTokenCommand,
}

impl ApiTokenArgs {
    /// Whether it signs in to a server, and needs nothing of this machine.
    pub(super) fn is_login(&self) -> bool {
        matches!(self.command, ApiTokenCommand::Login(_))
    }

    /// Whether it may make the workspace that it works in; absent if it works in none.
    pub(super) fn makes_workspace(&self) -> Option<bool> {
        match self.command {
            ApiTokenCommand::Login(_) => None,
            ApiTokenCommand::Create { .. } => Some(true),
            _ => Some(false),
        }
    }
}

#[derive(Debug, Subcommand)]
enum ApiTokenCommand {
    /// Create a token and print it; it is shown only once
    Create {
        /// Name of the token, for yourself
        name: String,
        /// Scope, such as connections:read or read:*; repeatable
        #[arg(long = "scope", value_name = "SCOPE", required = true, add = api_scopes())]
        scopes: Vec<String>,
        /// Connection to limit it to (default: all of the workspace); repeatable
        #[arg(long = "connection", value_name = "CONNECTION", add = connections())]
        connections: Vec<String>,
        /// Limit it to the data of one of your users
        #[arg(long, value_name = "ID")]
        user: Option<UserId>,
        /// Rate limit: 60, 1000 or 5000 requests per minute, unless the settings say otherwise
        #[arg(long, value_name = "TIER", default_value = "free")]
        tier: RateTierArg,
        /// How long it is valid, at most 1826d (default: the setting api_tokens.expires_days)
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<Duration>,
        /// Remind to rotate it after this time
        #[arg(long, value_name = "TIME", value_parser = duration)]
        rotate_after: Option<Duration>,
        /// Requests that need a person's approval: those that destroy, or all that write or destroy
        #[arg(long, value_name = "EFFECT", default_value = "none")]
        approve: ApprovalPolicyArg,
    },
    /// List the tokens with their status
    List,
    /// Show a token
    Show {
        /// Name or id of the token
        #[arg(value_name = "TOKEN", add = api_tokens())]
        token: String,
    },
    /// List the scopes that a token can have
    Scopes,
    /// Change a token
    Update(Box<UpdateArgs>),
    /// Replace a token with a new one that has the same rights, and print it; it is shown only once
    Rotate {
        /// Name or id of the token
        #[arg(value_name = "TOKEN", add = api_tokens())]
        token: String,
        /// How long the current token keeps working
        #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
        grace: Duration,
        /// How long the new token is valid, at most 1826d (default: as long as the current one was)
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<Duration>,
    },
    /// Revoke a token and the tokens that it created
    Revoke {
        /// Name or id of the token
        #[arg(value_name = "TOKEN", add = api_tokens())]
        token: String,
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
    },
    Trust(trust::TrustArgs),
    Login(login::LoginArgs),
    /// Show how often a token was used
    Usage {
        /// Name or id of the token
        #[arg(value_name = "TOKEN", add = api_tokens())]
        token: String,
        /// Only since this time: 7d ago, a date
        #[arg(long, value_name = "TIME", default_value = "30d")]
        since: String,
    },
}

#[derive(Debug, Args)]
struct UpdateArgs {
    /// Name or id of the token
    #[arg(value_name = "TOKEN", add = api_tokens())]
    token: String,
    /// New name
    #[arg(long)]
    name: Option<String>,
    /// Enable it
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Disable it and the tokens that it created
    #[arg(long)]
    disable: bool,
    /// Scope to allow, instead of its current scopes; repeatable
    #[arg(long = "scope", value_name = "SCOPE", add = api_scopes())]
    scopes: Vec<String>,
    /// Connection to limit it to, instead of its current ones; repeatable
    #[arg(long = "connection", value_name = "CONNECTION", conflicts_with = "all_connections", add = connections())]
    connections: Vec<String>,
    /// Allow all connections of the workspace
    #[arg(long)]
    all_connections: bool,
    /// Rate limit
    #[arg(long, value_name = "TIER")]
    tier: Option<RateTierArg>,
    /// Remind to rotate it after this time; 0s for no reminder
    #[arg(long, value_name = "TIME", value_parser = duration)]
    rotate_after: Option<Duration>,
    /// Requests that need a person's approval: those that destroy, or all that write or destroy
    #[arg(long, value_name = "EFFECT")]
    approve: Option<ApprovalPolicyArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RateTierArg {
    Free,
    Pro,
    Enterprise,
}

impl RateTierArg {
    fn tier(self) -> RateTier {
        match self {
            Self::Free => RateTier::Free,
            Self::Pro => RateTier::Pro,
            Self::Enterprise => RateTier::Enterprise,
        }
    }
}

/// Parses the lifetime of a token.
fn lifetime(text: &str) -> Result<Duration, String> {
    if text.eq_ignore_ascii_case("never") {
        return Err("a token always expires: give a time of at most 1826d, and rotate the token before then".to_owned());
    }
    duration(text)
}

impl UpdateArgs {
    fn request(self, ui: &Ui) -> Result<UpdateApiTokenRequest> {
        let connections = match resolved(ui, &self.connections)? {
            _ if self.all_connections => Some(ConnectionLimit::All),
            names if names.is_empty() => None,
            names => Some(ConnectionLimit::Only(names)),
        };
        Ok(UpdateApiTokenRequest {
            token: self.token,
            name: self.name,
            is_enabled: (self.enable || self.disable).then_some(self.enable),
            scopes: Some(self.scopes).filter(|scopes| !scopes.is_empty()),
            connections,
            tier: self.tier.map(RateTierArg::tier),
            rotate_after: self.rotate_after.map(|after| Some(after).filter(|after| !after.is_zero())),
            approve: self.approve.map(ApprovalPolicyArg::policy),
        })
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ApiTokenArgs) -> Result<u8> {
    match args.command {
        ApiTokenCommand::Create { name, scopes, connections, user, tier, expires, rotate_after, approve } => {
            let request = CreateApiTokenRequest {
                name,
                user,
                scopes,
                connections: resolved(ui, &connections)?,
                tier: Some(tier.tier()),
                expires_in: expires,
                rotate_after,
                approve: Some(approve.policy()),
            };
            let created = workspace.run(ops::create_token(workspace, request, None))?;
            show_new(ui, "Created", &created)?;
        }
        ApiTokenCommand::List => {
            let list = workspace.run(ops::list_tokens(workspace, None))?;
            ui.show(&list)?;
            list.tokens.iter().filter_map(reminder).for_each(|reminder| ui.note(&reminder));
        }
        ApiTokenCommand::Show { token } => {
            let token = workspace.run(ops::show_token(workspace, &token, None))?;
            ui.show(&token)?;
            reminder(&token).iter().for_each(|reminder| ui.note(reminder));
        }
        ApiTokenCommand::Scopes => ui.show(&ops::list_scopes())?,
        ApiTokenCommand::Update(args) => {
            let request = args.request(ui)?;
            ui.show(&workspace.run(ops::update_token(workspace, request, None))?)?;
        }
        ApiTokenCommand::Rotate { token, grace, expires } => {
            let request = RotateApiTokenRequest { token, grace, expires_in: expires };
            let rotated = workspace.run(ops::rotate_token(workspace, request, None))?;
            show_new(ui, "Rotated", &rotated)?;
            if grace.is_zero() {
                ui.note("The previous one no longer works.");
            } else {
                ui.note(&format!("The previous one works for another {}.", crate::duration::format(grace)));
            }
        }
        ApiTokenCommand::Revoke { token, yes } => return revoke(workspace, ui, &token, yes),
        ApiTokenCommand::Trust(args) => return trust::run(workspace, ui, args),
        ApiTokenCommand::Login(args) => return login::run(workspace, ui, args),
        ApiTokenCommand::Usage { token, since } => {
            let since = time(workspace, &since)?;
            ui.show(&workspace.run(ops::token_usage(workspace, &token, since, None))?)?;
        }
    }
    Ok(0)
}

/// Prints a new token alone on stdout, and what it is on stderr; with JSON all of it on stdout.
fn show_new(ui: &Ui, done: &str, new: &NewApiTokenView) -> Result<()> {
    ui.show(new)?;
    let ApiTokenView { name, id, expires_at, .. } = &new.token;
    ui.note(&format!("{done} {name} ({id}), which expires at {expires_at}. The token is shown only once."));
    Ok(())
}

/// The line about a token that ends soon or that its schedule wants to be rotated.
fn reminder(token: &ApiTokenView) -> Option<String> {
    let what = render::reminder(token)?;
    Some(format!("{} {what}: `integ api-token rotate {}`", token.name, token.id))
}

fn revoke(workspace: &Workspace, ui: &Ui, token: &str, yes: bool) -> Result<u8> {
    let preview = workspace.run(ops::preview_revocation(workspace, token))?;
    if !yes && !ui.terminal().confirm(&render::revocation(&preview))? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    let revoked = workspace.run(ops::revoke_token(workspace, token, None))?;
    ui.show(&revoked)?;
    Ok(0)
}
