//! `integ webhook backfill`.

use clap::Args;
use serde_json::json;

use super::super::ui::{Ui, escape};
use super::input::params;
use crate::cli::value_parser;
use crate::connector::WebhookDefinition;
use crate::error::Result;
use crate::ops::webhooks::{self, BackfillEventsRequest};
use crate::runtime::Workspace;
use crate::view::webhook::BackfilledEventView;

/// Fetch missed events from the service
///
/// New events are handled by the next `webhook listen`; events already received are recognized by their ID and left as
/// they are.
#[derive(Debug, Args)]
pub(super) struct BackfillArgs {
    /// Connection to fetch events for
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// Start: 90s, 2h, 7d ago, or a date
    #[arg(long, value_name = "TIME")]
    since: String,
    /// End (default: now)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Maximum number of new events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Additional API parameter, such as owner=acme
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Show what would be stored, without storing it
    #[arg(long)]
    dry_run: bool,
}

fn action(rules: &WebhookDefinition) -> Option<&str> {
    rules.backfill.as_ref().map(|backfill| backfill.action.as_str())
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &BackfillArgs) -> Result<u8> {
    let connection = ui.project.resolve(&args.connection)?;
    let request = BackfillEventsRequest {
        input: params(workspace, &connection, action, &args.params, "backfill")?,
        connection,
        since: value_parser::time(workspace, &args.since)?,
        until: args.until.as_deref().map(|text| value_parser::time(workspace, text)).transpose()?,
        limit: args.limit,
        dry_run: args.dry_run,
    };
    let (mut new, mut known) = (0_u64, 0_u64);
    let result = workspace.run(webhooks::backfill_events(workspace, request, |event| {
        *(if event.duplicate { &mut known } else { &mut new }) += 1;
        show(ui, &event)
    }));
    let verb = if args.dry_run { "would be stored" } else { "new" };
    ui.note(&format!("{new} {verb}, {known} already received."));
    result.map(|()| 0)
}

fn show(ui: &Ui, event: &BackfilledEventView) -> Result<()> {
    if ui.json {
        ui.show_line(&json!(event))?;
    } else if !event.duplicate {
        let id = event.id.map(|id| format!("{id}  ")).unwrap_or_default();
        let resource = event.resource.as_deref().unwrap_or_default();
        ui.raw(&format!("{id}{}  {}\n", escape(&event.kind), escape(resource)));
    }
    Ok(())
}
