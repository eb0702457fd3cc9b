//! `integ webhook subscribe`.

use clap::Args;

use super::super::ui::{Render, Ui, escape};
use super::input::params;
use super::subscription::subscription_line;
use crate::connector::WebhookDefinition;
use crate::error::Result;
use crate::ops::webhooks::{self, SubscribeRequest};
use crate::runtime::Workspace;
use crate::view::call::RequestPreviewView;
use crate::view::webhook::SubscribedView;

/// Register the connection's URL through the service's API
///
/// The service gets the URL and a secret; give its other parameters with -p, as for `integ call`. Subscriptions that
/// expire are renewed by `webhook listen` and `refresh`. If the service checks the URL during the call and nothing
/// listens, this command answers the check.
#[derive(Debug, Args)]
pub(super) struct SubscribeArgs {
    /// Connection to subscribe
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// URL that the service calls, such as a tunnel's; stored for later
    #[arg(long, value_name = "PUBLIC_URL")]
    url: Option<String>,
    /// Only events of these types, or patterns such as 'invoice.*' (default: all known types, if the service needs
    /// types)
    #[arg(long, value_name = "TYPE", value_delimiter = ',', add = crate::cli::complete::webhook_events())]
    events: Vec<String>,
    /// Additional parameter of the service, such as owner=acme
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Print the request without its secrets, and do not send it
    #[arg(long)]
    dry_run: bool,
}

impl Render for SubscribedView {
    fn text(&self, _ui: &Ui) -> String {
        let what = if self.is_new { "Subscribed" } else { "Already subscribed:" };
        format!("{what} {} to {}\n{}", self.connection, self.url, escape(&subscription_line(&self.subscription)))
    }
}

fn action(rules: &WebhookDefinition) -> Option<&str> {
    rules.subscribe.as_ref().map(|subscribe| subscribe.action.as_str())
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &SubscribeArgs) -> Result<u8> {
    let connection = ui.project.resolve(&args.connection)?;
    let request = SubscribeRequest {
        input: params(workspace, &connection, action, &args.params, "subscribe")?,
        connection,
        url: args.url.clone(),
        events: args.events.clone(),
    };
    if args.dry_run {
        let preview = workspace.run(webhooks::preview_subscription(workspace, request))?;
        ui.show(&RequestPreviewView::new(&preview.session, &preview.request, &preview.grant)?)?;
        return Ok(0);
    }
    let done = workspace.run(webhooks::subscribe(workspace, request))?;
    for kind in &done.unknown_events {
        let known = format!("integ webhook url {}", done.connection);
        ui.warning(&format!("{kind} is none of the types that integ knows: `{known}`"));
    }
    ui.show(&done)?;
    Ok(0)
}
