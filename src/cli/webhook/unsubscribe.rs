//! `integ webhook unsubscribe`.

use clap::Args;

use super::super::ui::{Render, Ui};
use crate::error::Result;
use crate::model::subscription::SubscriptionId;
use crate::ops::webhooks::{self, UnsubscribeRequest};
use crate::runtime::Workspace;
use crate::view::webhook::UnsubscribedView;

/// End subscriptions at the service
#[derive(Debug, Args)]
pub(super) struct UnsubscribeArgs {
    /// Connection to unsubscribe
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// Subscription, if there are several; `integ webhook url` lists them
    id: Option<i64>,
    /// End all of the connection's subscriptions
    #[arg(long, conflicts_with = "id")]
    all: bool,
    /// Only remove it here; it stays at the service
    #[arg(long)]
    local: bool,
}

impl Render for UnsubscribedView {
    fn text(&self, _ui: &Ui) -> String {
        if self.unsubscribed.is_empty() {
            return format!("{} has no subscription.", self.connection);
        }
        let ids = self.unsubscribed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let what = if self.local { "Removed locally" } else { "Unsubscribed" };
        format!("{what}: {} subscription {ids}", self.connection)
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &UnsubscribeArgs) -> Result<u8> {
    let request = UnsubscribeRequest {
        connection: ui.project.resolve(&args.connection)?,
        id: args.id.map(SubscriptionId),
        all: args.all,
        local: args.local,
    };
    ui.show(&workspace.run(webhooks::unsubscribe(workspace, request))?)?;
    Ok(0)
}
