//! `integ webhook retry` and `replay`.

use clap::Args;
use serde::Serialize;
use serde_json::json;
use url::Url;

use super::super::ui::{Ui, View, escape};
use super::local_url::receiver_url;
use super::{WebhookArgumentError, since};
use crate::error::{Kind, Result};
use crate::http::Route;
use crate::runtime::App;
use crate::store::EventId;
use crate::webhook::replay::{ReplayRequest, replay};

/// Have events handled again: by the listener that runs, or the next one
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    #[arg(required = true, value_name = "ID")]
    ids: Vec<i64>,
}

/// Send events that came to a URL, in their order, signed anew where integ has the secret
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: Option<String>,
    /// Not before: 90s, 2h, 7d, or a date
    #[arg(long, value_name = "TIME")]
    since: String,
    /// A URL of this machine, or an https one
    #[arg(long, value_name = "URL", value_parser = receiver_url)]
    to: Url,
}

#[derive(Serialize)]
struct EventRetryView {
    retried: usize,
}

impl View for EventRetryView {
    fn text(&self, _ui: &Ui) -> String {
        let events = if self.retried == 1 { "event" } else { "events" };
        format!("{} {events} will be handled by `integ webhook listen`.", self.retried)
    }
}

pub(super) fn retry(app: &App, ui: &Ui, args: &RetryArgs) -> Result<u8> {
    let ids: Vec<EventId> = args.ids.iter().copied().map(EventId).collect();
    let first = || args.ids.first().copied().unwrap_or_default();
    if !app.has_vault() {
        return Err(WebhookArgumentError::EventNotFound { id: first() }.into());
    }
    let events = app.store()?.events();
    for id in &ids {
        if events.get(*id)?.is_none() {
            return Err(WebhookArgumentError::EventNotFound { id: id.0 }.into());
        }
        if events.raw_request(*id)?.is_none() {
            return Err(WebhookArgumentError::Pruned { id: id.0 }.into());
        }
    }
    let retried = events.requeue(&ids, app.clock.now_millis())?;
    ui.show(&EventRetryView { retried })?;
    Ok(0)
}

pub(super) fn run(app: &App, ui: &Ui, args: &ReplayArgs) -> Result<u8> {
    let connection = match &args.connection {
        Some(word) => Some(app.connection(&ui.project.resolve(word)?)?.id),
        None => None,
    };
    Route::Live.resolve(&args.to)?;
    let wish = ReplayRequest { connection, since: since(app, &args.since)?, to: &args.to };
    let (mut sent, mut failed) = (0_u32, 0_u32);
    app.run(replay(app, &wish, |replayed| {
        sent += 1;
        let (id, kind) = (replayed.id.0, &replayed.kind);
        let outcome = match &replayed.response {
            Ok(answer) => {
                failed += u32::from(!answer.is_success());
                answer.status.to_string()
            }
            Err(error) => {
                failed += 1;
                error.to_string()
            }
        };
        if ui.json {
            let status = replayed.response.as_ref().ok().map(|answer| answer.status);
            let error = replayed.response.as_ref().err().map(ToString::to_string);
            return Ok(ui.show_line(&json!({
                "event": "replayed", "id": id, "type": kind, "connection": replayed.connection.to_string(),
                "delivery_id": replayed.delivery_id, "signed_anew": replayed.is_resigned, "status": status,
                "error": error,
            }))?);
        }
        ui.raw(&format!("{id}  {}  {}\n", escape(kind), escape(&outcome)));
        Ok(())
    }))?;
    ui.note(&format!("{sent} sent, {failed} not taken."));
    Ok(if failed == 0 { 0 } else { Kind::Partial.exit_code() })
}
