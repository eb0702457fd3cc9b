//! `integ webhook url`.

use clap::Args;

use super::super::ui::{Render, Ui, escape, escape_lines};
use super::subscription::subscription_line;
use crate::error::Result;
use crate::ops::webhooks::{self, SetPublicUrlRequest};
use crate::runtime::Workspace;
use crate::view::webhook::WebhookUrlView;

/// Show the URL to register at the service, and how
#[derive(Debug, Args)]
pub(super) struct UrlArgs {
    /// Connection that receives the webhooks
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// URL that the service calls, such as a tunnel's; stored for later
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

impl Render for WebhookUrlView {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = vec![self.url.clone()];
        if self.is_public {
            lines.push(format!("It must forward to {}", self.local_url));
        } else {
            lines.push("This is a local URL. A service needs one that it can reach: start a tunnel and".into());
            lines.push(format!("pass its URL: `integ webhook url {} --public-url https://HOST`", self.connection));
        }
        lines.extend([String::new(), escape_lines(self.setup.trim())]);
        let missing = self.params.iter().filter(|needed| !needed.known && !needed.optional);
        for needed in missing {
            let how =
                if needed.name == "secret" { "--set -".to_owned() } else { format!("--param {}=…", needed.name) };
            lines.push(format!("Needed: {}: integ webhook secret {} {how}", needed.prompt, self.connection));
        }
        if self.can_subscribe && self.subscriptions.is_empty() {
            lines.push(format!("Or let integ register it: `integ webhook subscribe {}`", self.connection));
        }
        if !self.subscriptions.is_empty() {
            lines.push("\nSubscriptions:".to_owned());
            lines.extend(self.subscriptions.iter().map(|item| format!("  {}", escape(&subscription_line(item)))));
        }
        if !self.events.is_empty() {
            let width = self.events.iter().map(|item| item.event.len()).max().unwrap_or_default();
            lines.push(format!("\nEvents ({}):", self.events.len()));
            lines.extend(self.events.iter().map(|item| format!("  {:width$}  {}", item.event, item.about)));
        }
        lines.join("\n")
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &UrlArgs) -> Result<u8> {
    let connection = ui.project.resolve(&args.connection)?;
    let view = match args.public_url.clone() {
        None => workspace.run(webhooks::show_webhook_url(workspace, &connection))?,
        Some(base) => workspace.run(webhooks::set_public_url(workspace, SetPublicUrlRequest { connection, base }))?,
    };
    ui.show(&view)?;
    Ok(0)
}
