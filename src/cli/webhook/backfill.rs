//! `integ webhook backfill`.

use clap::Args;
use serde_json::{Value, json};

use super::super::ui::{Ui, escape};
use super::{input, since};
use crate::error::Result;
use crate::runtime::App;
use crate::store::EventInsertResult;
use crate::webhook::backfill::{BackfillRequest, BackfilledEvent, backfill};
use crate::webhook::settings::WebhookSettings;

/// Ask the service for events that did not arrive, and take them in
///
/// What is new waits to be handled by the next `webhook listen`; what had come is known by its id, and left as it is.
#[derive(Debug, Args)]
pub(super) struct BackfillArgs {
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// Not before: 90s, 2h, 7d, or a date
    #[arg(long, value_name = "TIME")]
    since: String,
    /// Not after; now where absent
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most so many that are new
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// What the service must be told and no subscription says, as in owner=acme
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Keep nothing, and say what would be kept
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(app: &App, ui: &Ui, args: &BackfillArgs) -> Result<u8> {
    let name = ui.project.resolve(&args.connection)?;
    let setup = WebhookSettings::load(app, &name)?;
    let action = setup.rules()?.backfill.as_ref().map(|rules| rules.action.as_str());
    let input = input(&setup, action, &args.params, "backfill")?;
    let wish = BackfillRequest {
        since: since(app, &args.since)?,
        until: args.until.as_deref().map_or_else(|| Ok(app.clock.now()), |text| since(app, text))?,
        limit: args.limit,
        input: &input,
        dry_run: args.dry_run,
    };
    let (mut new, mut known) = (0u64, 0u64);
    let result = app.run(backfill(app, &name, &wish, |found| {
        *(if found.is_duplicate { &mut known } else { &mut new }) += 1;
        if ui.json {
            ui.show_line(&document(&name.to_string(), found))?;
        } else if !found.is_duplicate {
            let id = found.inserted.map(|taken| format!("{}  ", taken.id().0)).unwrap_or_default();
            let resource = found.event.resource.as_deref().unwrap_or_default();
            ui.raw(&format!("{id}{}  {}\n", escape(&found.event.kind), escape(resource)));
        }
        Ok(())
    }));
    let verb = if args.dry_run { "would be kept" } else { "were kept" };
    ui.note(&format!("{new} {verb}, {known} had come."));
    result.map(|()| 0)
}

fn document(connection: &str, found: &BackfilledEvent) -> Value {
    json!({
        "event": "backfilled",
        "connection": connection,
        "id": found.inserted.map(|taken: EventInsertResult| taken.id().0),
        "type": found.event.kind,
        "delivery_id": found.event.delivery_id,
        "time": found.event.time.map(|at| at.to_string()),
        "resource": found.event.resource,
        "duplicate": found.is_duplicate,
    })
}
