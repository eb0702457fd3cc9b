//! `integ webhook show`.

use clap::Args;

use super::super::ui::{Render, Ui, escape, harmless_json};
use crate::cli::value_parser::event_number;
use crate::error::Result;
use crate::model::{EventId, HandlerKind};
use crate::ops::webhooks;
use crate::runtime::Workspace;
use crate::view::webhook::{EventDetailView, HandlerRunView};

/// Show an event with its data, request and handling attempts
#[derive(Debug, Args)]
pub(super) struct EventShowArgs {
    /// Number of the event, as `integ webhook events` lists it
    #[arg(value_parser = event_number, add = crate::cli::complete::events())]
    id: i64,
    /// Only the exact body
    #[arg(long, conflicts_with = "headers")]
    body: bool,
    /// Only the headers
    #[arg(long)]
    headers: bool,
}

impl Render for EventDetailView {
    fn text(&self, _ui: &Ui) -> String {
        let event = &self.event;
        let text = |text: &str| Some(escape(text)).filter(|text| !text.is_empty());
        let optional = |value: &Option<String>| value.as_deref().and_then(text);
        let fields = [
            ("id", Some(event.id.to_string())),
            ("connection", text(&event.connection)),
            ("type", text(&event.kind)),
            ("status", text(event.status.as_str())),
            ("verified", text(if event.verified { "yes" } else { "no" })),
            ("attempts", Some(event.attempts.to_string())),
            ("error", optional(&event.error)),
            ("delivery id", text(&event.delivery_id)),
            ("account", optional(&event.account)),
            ("resource", optional(&event.resource)),
            ("actor", optional(&event.actor)),
            ("time", event.time.map(|at| at.to_string())),
            ("received at", Some(event.received_at.to_string())),
            ("query", text(&self.query)),
            ("conflicts", Some(event.conflicts.to_string())),
        ];
        let mut lines: Vec<String> =
            fields.into_iter().filter_map(|(name, value)| Some(format!("{name:12} {}", value?))).collect();
        lines.extend(handled_lines(&self.handled));
        let payload = event.payload.as_ref().map(|payload| format!("{payload:#}")).unwrap_or_default();
        lines.extend([String::new(), harmless_json(&payload)]);
        for other in &self.other_bodies {
            let (number, kind, at) = (other.number, escape(&other.kind), other.received_at);
            lines.push(format!("\nOther body {number}: {kind}, received at {at}"));
            lines.push(harmless_json(&format!("{:#}", other.payload)));
        }
        if event.conflicts > 0 {
            lines.push(format!("\nhint: integ webhook resolve {} --keep all", event.id));
        }
        lines.join("\n")
    }
}

/// The result of each handler, one per line; after a failure, its reason and response.
fn handled_lines(runs: &[HandlerRunView]) -> Vec<String> {
    let mut lines = Vec::new();
    if !runs.is_empty() {
        lines.push("\nHandled:".to_owned());
    }
    for run in runs {
        let at = run.started_at;
        let status = match (run.status, run.handler) {
            (Some(status), HandlerKind::Exec) => format!("exit {status}"),
            (Some(status), _) => status.to_string(),
            (None, _) if run.error.is_some() => "failed".to_owned(),
            (None, _) => "ok".to_owned(),
        };
        lines.push(format!(
            "  attempt {}  {at}  {:7}  {status}  {} ms",
            run.attempt,
            run.handler.as_str(),
            run.duration_ms
        ));
        lines.extend(run.error.iter().map(|error| format!("         {}", escape(error))));
        let output = run.output.as_deref().unwrap_or_default();
        lines.extend(output.lines().map(|line| format!("         │ {}", escape(line))));
    }
    lines
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &EventShowArgs) -> Result<u8> {
    let id = EventId(args.id);
    if args.body {
        ui.show_bytes(&workspace.run(webhooks::read_event_body(workspace, id))?);
        return Ok(0);
    }
    let shown = workspace.run(webhooks::show_event(workspace, id))?;
    if args.headers && !ui.json {
        for (name, value) in &shown.headers {
            ui.raw(&format!("{}: {}\n", escape(name), escape(value)));
        }
        return Ok(0);
    }
    ui.show(&shown)?;
    Ok(0)
}
