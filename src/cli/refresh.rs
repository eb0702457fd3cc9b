//! `integ refresh`.

use clap::Args;

use super::table::relative;
use super::ui::{Render, Ui};
use crate::error::{Kind, Result};
use crate::ops::connections::{self, RefreshRequest};
use crate::runtime::Workspace;
use crate::view::connection::{RefreshListView, RefreshView, SubscriptionRenewalView};

/// Refresh tokens now, and renew webhook subscriptions that are due
#[derive(Debug, Args)]
pub(super) struct RefreshArgs {
    /// Connections to refresh now, whether they are due or not
    #[arg(value_name = "CONNECTION", add = super::complete::connections(), required_unless_present_any = ["all", "due"], conflicts_with_all = ["all", "due"])]
    pub connections: Vec<String>,
    /// Refresh every connection that can be refreshed
    #[arg(long)]
    pub all: bool,
    /// Refresh only those that are about to expire
    #[arg(long)]
    pub due: bool,
}

impl Render for RefreshListView {
    fn text(&self, _ui: &Ui) -> String {
        let refreshed = self.refreshed.iter().map(refresh_line);
        let lines: Vec<String> = refreshed.chain(self.subscriptions.iter().map(renewal_line)).collect();
        if lines.is_empty() { "Nothing to refresh.".to_owned() } else { lines.join("\n") }
    }
}

fn refresh_line(refreshed: &RefreshView) -> String {
    let outcome = refreshed.outcome.as_str().replace('_', " ");
    let rest = match (&refreshed.error, refreshed.expires_in) {
        (Some(error), _) => {
            let name = format!("{} ", refreshed.connection);
            format!("failed: {}", super::ui::escape(error.strip_prefix(&name).unwrap_or(error)))
        }
        (None, Some(seconds)) => format!("{outcome}, expires {}", relative(seconds)),
        (None, None) => outcome,
    };
    let target = refreshed.target.as_ref().map(|target| format!(" ({target})")).unwrap_or_default();
    format!("{}{target}: {rest}", refreshed.connection)
}

fn renewal_line(renewal: &SubscriptionRenewalView) -> String {
    let rest = match (&renewal.error, &renewal.expires_at) {
        (Some(error), _) => format!(": {}", super::ui::escape(error)),
        (None, Some(at)) => format!(" until {at}"),
        (None, None) => String::new(),
    };
    format!("{}: webhook subscription {} {}{rest}", renewal.connection, renewal.subscription, renewal.outcome)
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &RefreshArgs) -> Result<u8> {
    let request = if args.due {
        RefreshRequest::Due
    } else if args.all {
        RefreshRequest::All
    } else {
        let names = args.connections.iter().map(|word| ui.project.resolve(word));
        RefreshRequest::Named(names.collect::<Result<_, _>>()?)
    };
    let view = workspace.run(connections::refresh(workspace, request))?;
    ui.show(&view)?;
    Ok(exit_code(&view))
}

/// The code of the first failure if everything failed.
fn exit_code(view: &RefreshListView) -> u8 {
    let refreshed = view.refreshed.iter().map(|refreshed| refreshed.error_kind);
    let kinds: Vec<Option<Kind>> =
        refreshed.chain(view.subscriptions.iter().map(|renewal| renewal.error_kind)).collect();
    match kinds.iter().flatten().next() {
        None => 0,
        Some(first) if kinds.iter().all(Option::is_some) => first.exit_code(),
        Some(_) => Kind::Partial.exit_code(),
    }
}
