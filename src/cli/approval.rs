//! `integ approval`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::complete::approvals;
use super::owner;
use super::table::{TableCell, relative, table};
use super::ui::{Render, Tone, Ui};
use super::value_parser::duration;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::json::pretty;
use crate::model::{ApprovalId, ApprovalStatus, ApprovalUse};
use crate::ops::approvals::{self as ops, ListApprovalsRequest};
use crate::runtime::Workspace;
use crate::view::approval::{ApprovalDetailView, ApprovalListView, ApprovalView};

/// Grant or deny requests of API tokens and agents that need a person's approval
///
/// `integ api-token create --approve` sets which requests of a token need one, `integ mcp serve --allow` which calls of an
/// agent. An approval is for one exact request: the same method, path, query and body. `integ help api-tokens` and
/// `integ help agents` have more.
#[derive(Debug, Args)]
pub(super) struct ApprovalArgs {
    #[command(subcommand)]
    command: ApprovalCommand,
}

#[derive(Debug, Subcommand)]
enum ApprovalCommand {
    /// List the requests that wait for a decision
    List {
        /// Include approvals that were granted, denied or used, or have expired
        #[arg(long)]
        all: bool,
    },
    /// Show an approval with the whole request
    Show {
        /// ID of the approval
        #[arg(value_name = "ID", add = approvals())]
        id: ApprovalId,
    },
    /// Grant a request, after asking for the passphrase of the vault or for a confirmation
    Grant {
        /// ID of the approval
        #[arg(value_name = "ID", add = approvals())]
        id: ApprovalId,
        /// Allow the same request for this time, at most 30d (default: once, within a day)
        #[arg(long = "for", value_name = "TIME", value_parser = duration)]
        window: Option<Duration>,
    },
    /// Deny a request, or withdraw an approval that has not been used
    Deny {
        /// ID of the approval
        #[arg(value_name = "ID", add = approvals())]
        id: ApprovalId,
    },
}

/// Approvals that are listed at most.
const MAX_LISTED: u32 = 1000;

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ApprovalArgs) -> Result<u8> {
    match args.command {
        ApprovalCommand::List { all } => {
            let status = (!all).then_some(ApprovalStatus::Pending);
            let request = ListApprovalsRequest { status, after: None, limit: MAX_LISTED };
            ui.show(&workspace.run(ops::list_approvals(workspace, request, None))?)?;
        }
        ApprovalCommand::Show { id } => ui.show(&workspace.run(ops::show_approval(workspace, &id, None))?)?,
        ApprovalCommand::Grant { id, window } => {
            let shown = workspace.run(ops::show_approval(workspace, &id, None))?;
            if !owner::confirm(workspace, ui, &question(&shown, window))? {
                ui.note("Nothing was changed.");
                return Ok(1);
            }
            ui.show(&workspace.run(ops::grant_approval(workspace, &id, window))?)?;
        }
        ApprovalCommand::Deny { id } => ui.show(&workspace.run(ops::deny_approval(workspace, &id))?)?,
    }
    Ok(0)
}

/// What a person reads before granting an approval.
fn question(shown: &ApprovalDetailView, window: Option<Duration>) -> String {
    let how_often = match window {
        None => "once, within a day".to_owned(),
        Some(window) => format!("any number of times for {}", crate::duration::format(window)),
    };
    format!("{}\nGranting it allows this request {how_often}.", request_text(shown))
}

/// Who asks.
fn token_text(view: &ApprovalView) -> String {
    let Some(token) = &view.token else { return "an agent on this machine".to_owned() };
    let name = view.token_name.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
    format!("{name}({token})")
}

/// The request in lines, as it would be made.
fn request_text(shown: &ApprovalDetailView) -> String {
    let ApprovalDetailView { approval, request } = shown;
    let mut text = format!("{} asks to {}\n{}", token_text(approval), approval.effect, approval.summary);
    if !request["body"].is_null() {
        text.push('\n');
        text.push_str(&pretty(&request["body"].to_string()));
    }
    text
}

fn status_cell(status: ApprovalStatus) -> TableCell {
    let tone = match status {
        ApprovalStatus::Pending => Tone::Warn,
        ApprovalStatus::Granted => Tone::Good,
        ApprovalStatus::Denied => Tone::Bad,
        ApprovalStatus::Used | ApprovalStatus::Expired => Tone::Dim,
    };
    TableCell(status.to_string(), Some(tone))
}

impl Render for ApprovalListView {
    fn text(&self, ui: &Ui) -> String {
        if self.approvals.is_empty() {
            return "No requests wait for an approval.".to_owned();
        }
        let row = |view: &ApprovalView| -> Vec<TableCell> {
            let since = |at: Timestamp| relative(at.as_second() - view.as_of.as_second());
            vec![
                view.approval.to_string().into(),
                token_text(view).into(),
                view.summary.clone().into(),
                status_cell(view.status),
                since(view.requested_at).into(),
                since(view.expires_at).into(),
            ]
        };
        let headings = ["approval", "token", "request", "status", "requested", "expires"];
        table(ui, &headings, self.approvals.iter().map(row).collect())
    }
}

impl Render for ApprovalDetailView {
    fn text(&self, ui: &Ui) -> String {
        let view = &self.approval;
        let mut rows: Vec<Vec<TableCell>> = vec![
            vec!["approval".into(), view.approval.to_string().into()],
            vec!["status".into(), status_cell(view.status)],
            vec!["token".into(), token_text(view).into()],
            vec!["operation".into(), view.operation.clone().into()],
            vec!["effect".into(), view.effect.as_str().into()],
            vec!["request".into(), view.summary.clone().into()],
        ];
        if !self.request["body"].is_null() {
            rows.push(vec!["body".into(), self.request["body"].to_string().into()]);
        }
        if view.use_limit == ApprovalUse::Repeated {
            rows.push(vec!["uses".into(), "until it expires".into()]);
        }
        let times = [
            ("requested at", Some(view.requested_at)),
            ("expires at", Some(view.expires_at)),
            ("decided at", view.decided_at),
            ("used at", view.used_at),
        ];
        for (name, at) in times {
            rows.extend(at.map(|at| vec![name.into(), at.to_string().into()]));
        }
        table(ui, &["property", "value"], rows)
    }
}
