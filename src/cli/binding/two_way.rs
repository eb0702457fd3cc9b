//! `integ binding push`, `sync`, `conflicts` and `resolve`.

use serde_json::Value;

use crate::cli::table::{fitted, table};
use crate::cli::ui::{Render, Tone, Ui, escape, is_reader_closed};
use crate::error::{Kind, Result};
use crate::json;
use crate::model::DELETION;
use crate::ops::bindings::{
    PushEntitiesRequest, Resolution, ResolveEntityRequest, SyncBindingRequest, push_entities, resolve_conflict,
    sync_binding,
};
use crate::runtime::Workspace;
use crate::view::binding::{
    EntityOutcome, EntityOutcomeView, EntitySyncView, FieldConflictView, OpenConflictListView, OpenConflictView,
    UnconfirmedCreationView,
};

/// The width of a value in the table of conflicts.
const VALUE_WIDTH: usize = 18;

pub(super) fn push(workspace: &Workspace, ui: &Ui, request: PushEntitiesRequest) -> Result<u8> {
    let (name, is_dry_run) = (request.name.to_string(), request.is_dry_run);
    let summary = workspace.run(push_entities(workspace, request, |view| print(ui, &view)))?;
    Ok(conclude(ui, &name, &summary, is_dry_run))
}

pub(super) fn sync(workspace: &Workspace, ui: &Ui, request: SyncBindingRequest) -> Result<u8> {
    let (name, is_dry_run) = (request.name.to_string(), request.is_dry_run);
    let summary = workspace.run(sync_binding(workspace, request, |view| print(ui, &view)))?;
    Ok(conclude(ui, &name, &summary, is_dry_run))
}

pub(super) fn resolve(workspace: &Workspace, ui: &Ui, request: ResolveEntityRequest) -> Result<u8> {
    let name = request.name.to_string();
    let summary = workspace.run(resolve_conflict(workspace, request, |view| print(ui, &view)))?;
    Ok(conclude(ui, &name, &summary, false))
}

/// The value of `--set FIELD=VALUE`: JSON, or a text.
pub(super) fn value(word: &str) -> Resolution {
    let (field, text) = word.split_once('=').unwrap_or((word, ""));
    let value = json::parse(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    Resolution::Value { field: field.to_owned(), value }
}

/// Prints the outcome of an entity; an unchanged one only as JSON.
fn print(ui: &Ui, view: &EntityOutcomeView) -> Result<()> {
    if is_reader_closed() {
        return Ok(());
    }
    if ui.json {
        return Ok(ui.show_text(&serde_json::json!(view).to_string())?);
    }
    match view.outcome {
        EntityOutcome::Unchanged => Ok(()),
        _ => {
            ui.raw(&format!("{}\n", line(ui, view)));
            Ok(())
        }
    }
}

/// The outcome of an entity, on one line.
fn line(ui: &Ui, view: &EntityOutcomeView) -> String {
    let tone = match view.outcome {
        EntityOutcome::Failed | EntityOutcome::Unconfirmed => Tone::Bad,
        EntityOutcome::Conflict | EntityOutcome::Merged | EntityOutcome::Deleted => Tone::Warn,
        _ => Tone::Good,
    };
    let outcome = ui.paint(tone, &format!("{:<11}", view.outcome));
    let mut text = outcome;
    for word in [&view.entity, &view.object].into_iter().flatten() {
        text.push_str(&format!(" {}", escape(word)));
    }
    let mut details = Vec::new();
    if !view.sent.is_empty() {
        details.push(format!("sent {}", view.sent.join(", ")));
    }
    if !view.received.is_empty() {
        details.push(format!("received {}", view.received.join(", ")));
    }
    if !view.conflicts.is_empty() {
        let fields = view.conflicts.iter().map(|conflict| conflict.field.as_str()).collect::<Vec<_>>();
        details.push(format!("changed on both sides: {}", fields.join(", ")));
    }
    details.extend(view.reason.clone());
    if !details.is_empty() {
        text.push_str(&format!(": {}", escape(&details.join("; "))));
    }
    text
}

/// Prints the number of entities for each outcome, and returns the exit code.
fn conclude(ui: &Ui, name: &str, summary: &EntitySyncView, is_dry_run: bool) -> u8 {
    let counts: Vec<String> = EntityOutcome::ALL
        .into_iter()
        .filter(|outcome| summary.of(*outcome) > 0)
        .map(|outcome| format!("{} {outcome}", summary.of(outcome)))
        .collect();
    let counts = if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") };
    ui.note(&if is_dry_run { format!("Dry run: {counts}") } else { counts });
    if summary.of(EntityOutcome::Conflict) + summary.of(EntityOutcome::Unconfirmed) > 0 && !is_dry_run {
        ui.note(&format!("List them with `integ binding conflicts {name}`"));
    }
    let failed = summary.of(EntityOutcome::Failed) + summary.of(EntityOutcome::Unconfirmed);
    if failed > 0 { Kind::Partial.exit_code() } else { 0 }
}

impl Render for OpenConflictListView {
    fn text(&self, ui: &Ui) -> String {
        if self.conflicts.is_empty() && self.interrupted.is_empty() {
            return "No open conflicts.".to_owned();
        }
        let mut parts = Vec::new();
        if !self.conflicts.is_empty() {
            let row = |open: &OpenConflictView| {
                let FieldConflictView { field, ours, theirs, .. } = &open.conflict;
                vec![
                    open.binding.to_string().into(),
                    open.entity.clone().into(),
                    field.clone().into(),
                    shown(field, ours.as_ref()).into(),
                    shown(field, theirs.as_ref()).into(),
                ]
            };
            let rows = self.conflicts.iter().map(row).collect();
            let headings = ["binding", "entity", "field", "ours", "theirs"];
            let first = &self.conflicts[0];
            let command = format!("integ binding resolve {} {} --take ours", first.binding, first.entity);
            parts.push(format!("{}\nResolve with `{}`", table(ui, &headings, rows), escape(&command)));
        }
        if !self.interrupted.is_empty() {
            let row = |creation: &UnconfirmedCreationView| {
                vec![
                    creation.binding.to_string().into(),
                    creation.entity.clone().into(),
                    creation.action.clone().into(),
                    creation.started_at.to_string().into(),
                ]
            };
            let rows = self.interrupted.iter().map(row).collect();
            let first = &self.interrupted[0];
            let command = format!("integ binding resolve {} {} --again", first.binding, first.entity);
            let hint = format!("If it was not created: `{command}`; if it was, use --object ID instead of --again");
            parts.push(format!("{}\n{}", table(ui, &["binding", "entity", "interrupted", "at"], rows), escape(&hint)));
        }
        parts.join("\n\n")
    }
}

fn shown(field: &str, value: Option<&Value>) -> String {
    match value {
        None if field == DELETION => "deleted".to_owned(),
        Some(_) if field == DELETION => "changed".to_owned(),
        None => "null".to_owned(),
        Some(Value::String(text)) => fitted(text, VALUE_WIDTH),
        Some(value) => fitted(&value.to_string(), VALUE_WIDTH),
    }
}
