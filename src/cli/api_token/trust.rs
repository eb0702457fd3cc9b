//! `integ api-token trust`: which CI systems get API tokens.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::limits::{ApprovalPolicyArg, resolved};
use crate::cli::complete::{api_scopes, connections};
use crate::cli::table::{TableCell, count, table};
use crate::cli::ui::{Render, Ui};
use crate::cli::value_parser::{duration, name_value};
use crate::error::Result;
use crate::ops::api_tokens::{self as ops, AddApiTokenTrustRequest};
use crate::runtime::Workspace;
use crate::view::api_token::{ApiTokenTrustListView, ApiTokenTrustView, RemovedApiTokenTrustView};

/// Let CI jobs get API tokens without a stored secret
///
/// A job presents an identity token (OIDC) that its CI system signed. If its issuer, audience and claims match a trust,
/// `integ serve` issues a short-lived API token. `integ help ci` has more.
#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    #[command(subcommand)]
    pub(super) command: TrustCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum TrustCommand {
    Add(Box<AddArgs>),
    /// List the trusts
    List,
    /// Remove a trust, and revoke the API tokens that it issued
    Remove {
        /// Name of the trust
        name: String,
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
    },
}

/// Trust CI jobs whose identity tokens have this issuer, audience and claims
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Name of the trust, for yourself
    name: String,
    /// Issuer of the CI system, as in the claim `iss`
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// Audience that the identity token is for, as in the claim `aud`
    #[arg(long, value_name = "AUDIENCE")]
    audience: String,
    /// A claim that must have exactly this value, such as repository=acme/app; repeatable
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = name_value, required = true)]
    claims: Vec<(String, String)>,
    /// Scope of the API tokens, such as connections:read or read:*; repeatable
    #[arg(long = "scope", value_name = "SCOPE", required = true, add = api_scopes())]
    scopes: Vec<String>,
    /// Connection that the API tokens may use; repeatable
    #[arg(long = "connection", value_name = "CONNECTION", required = true, add = connections())]
    connections: Vec<String>,
    /// Requests of the API tokens that need a person's approval
    #[arg(long, value_name = "EFFECT", default_value = "none")]
    approve: ApprovalPolicyArg,
    /// How long the API tokens are valid, at most 1h
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    ttl: Duration,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: TrustArgs) -> Result<u8> {
    match args.command {
        TrustCommand::Add(args) => {
            let request = AddApiTokenTrustRequest {
                name: args.name,
                issuer: args.issuer,
                audience: args.audience,
                claims: args.claims.into_iter().collect(),
                scopes: args.scopes,
                connections: resolved(ui, &args.connections)?,
                approve: args.approve.policy(),
                lifetime: args.ttl,
            };
            ui.show(&workspace.run(ops::add_trust(workspace, request))?)?;
        }
        TrustCommand::List => ui.show(&workspace.run(ops::list_trusts(workspace))?)?,
        TrustCommand::Remove { name, yes } => {
            let what = "Jobs of this CI system get no more tokens, and those that they have are revoked.";
            if !yes && !ui.terminal().confirm(what)? {
                ui.note("Nothing was changed.");
                return Ok(1);
            }
            ui.show(&workspace.run(ops::remove_trust(workspace, &name))?)?;
        }
    }
    Ok(0)
}

fn claims(trust: &ApiTokenTrustView) -> String {
    trust.claims.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn words<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

impl Render for ApiTokenTrustListView {
    fn text(&self, ui: &Ui) -> String {
        if self.trusts.is_empty() {
            return "No CI system is trusted. `integ help ci` explains how to add one.".to_owned();
        }
        let row = |trust: &ApiTokenTrustView| -> Vec<TableCell> {
            vec![
                trust.name.to_string().into(),
                trust.issuer.clone().into(),
                trust.audience.clone().into(),
                claims(trust).into(),
                words(&trust.scopes).into(),
                words(&trust.connections).into(),
                crate::duration::format(Duration::from_secs(trust.ttl)).into(),
            ]
        };
        let headings = ["name", "issuer", "audience", "claims", "scopes", "connections", "ttl"];
        table(ui, &headings, self.trusts.iter().map(row).collect())
    }
}

impl Render for ApiTokenTrustView {
    fn text(&self, ui: &Ui) -> String {
        let rows = [
            ("name", self.name.to_string()),
            ("issuer", self.issuer.clone()),
            ("audience", self.audience.clone()),
            ("claims", claims(self)),
            ("scopes", words(&self.scopes)),
            ("connections", words(&self.connections)),
            ("needs approval", self.approve.to_string()),
            ("ttl", crate::duration::format(Duration::from_secs(self.ttl))),
        ];
        table(ui, &["property", "value"], rows.map(|(name, value)| vec![name.into(), value.into()]).into())
    }
}

impl Render for RemovedApiTokenTrustView {
    fn text(&self, _ui: &Ui) -> String {
        let revoked = count(usize::try_from(self.revoked_tokens).unwrap_or(usize::MAX), "token");
        format!("Removed the trust {}, and revoked {revoked}", self.removed)
    }
}
