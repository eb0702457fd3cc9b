//! `integ webhook retry` and `replay`.

use clap::Args;
use serde_json::json;
use url::Url;

use super::super::ui::{Render, Ui, escape};
use super::local_url::receiver_url;
use crate::cli::value_parser;
use crate::cli::value_parser::event_number;
use crate::error::{Kind, Result};
use crate::model::EventId;
use crate::ops::webhooks::{self, ReplayEventsRequest};
use crate::runtime::Workspace;
use crate::view::webhook::{EventRetryView, ReplayedEventView};

/// Handle events again, in the running listener or the next one
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// Numbers of the events, as `integ webhook events` lists them
    #[arg(required = true, value_name = "ID", value_parser = event_number, add = crate::cli::complete::events())]
    ids: Vec<i64>,
}

/// Send received events to a URL, in order, signed again if integ has the secret
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Only events of this connection (default: all)
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: Option<String>,
    /// Start: 90s, 2h, 7d ago, or a date
    #[arg(long, value_name = "TIME")]
    since: String,
    /// A local URL, or an https URL
    #[arg(long, value_name = "URL", value_parser = receiver_url)]
    to: Url,
}

impl Render for EventRetryView {
    fn text(&self, _ui: &Ui) -> String {
        let events = if self.retried == 1 { "event" } else { "events" };
        format!("{} {events} will be handled by `integ webhook listen`.", self.retried)
    }
}

pub(super) fn retry(workspace: &Workspace, ui: &Ui, args: &RetryArgs) -> Result<u8> {
    let ids = args.ids.iter().copied().map(EventId).collect();
    ui.show(&workspace.run(webhooks::retry_events(workspace, ids))?)?;
    Ok(0)
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &ReplayArgs) -> Result<u8> {
    let request = ReplayEventsRequest {
        connection: args.connection.as_deref().map(|word| ui.project.resolve(word)).transpose()?,
        since: value_parser::time(workspace, &args.since)?,
        to: args.to.clone(),
    };
    let (mut sent, mut failed) = (0_u32, 0_u32);
    workspace.run(webhooks::replay_events(workspace, request, |event| {
        sent += 1;
        failed += u32::from(!event.is_success);
        show(ui, &event)
    }))?;
    ui.note(&format!("{sent} sent, {failed} failed."));
    Ok(if failed == 0 { 0 } else { Kind::Partial.exit_code() })
}

fn show(ui: &Ui, event: &ReplayedEventView) -> Result<()> {
    if ui.json {
        return Ok(ui.show_line(&json!(event))?);
    }
    let status = event.status.map(|status| status.to_string());
    let outcome = status.as_deref().or(event.error.as_deref()).unwrap_or_default();
    ui.raw(&format!("{}  {}  {}\n", event.id, escape(&event.kind), escape(outcome)));
    Ok(())
}
