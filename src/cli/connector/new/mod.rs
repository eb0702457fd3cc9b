//! `integ connector new`.

mod arguments;
mod auth;
mod details;
mod question;

pub(in crate::cli) use arguments::NewArgs;
use question::Questions;

use super::super::ui::{Render, Ui};
use super::source::read;
use crate::connector::{ConnectorDraft, MAX_OPENAPI_BYTES, OpenApiDescription};
use crate::error::Result;
use crate::ops::connectors::{WriteDraftRequest, check_draft_id, write_draft};
use crate::runtime::Workspace;
use crate::view::draft::DraftView;

impl Render for DraftView {
    fn text(&self, _ui: &Ui) -> String {
        let mut out = vec![format!("Wrote {}", super::super::ui::escape(&self.file))];
        let mut line = |what: &str, items: &[String]| {
            if !items.is_empty() {
                out.push(format!("  {what}: {}", super::super::ui::escape(&items.join(", "))));
            }
        };
        line("authentication methods", &self.auth_methods);
        line("default scopes", &self.default_scopes);
        line("actions", &self.actions);
        line("not confirmed", &self.unverified);
        out.join("\n")
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &NewArgs) -> Result<u8> {
    let mut draft = match &args.from_openapi {
        Some(given) => from_openapi(workspace, ui, given, &args.actions)?,
        None => ConnectorDraft::default(),
    };
    let questions = Questions::new(ui.terminal());
    if let Err(error) = complete(workspace, &questions, args, &mut draft) {
        if let Some(command) = questions.continuation(args.id.as_deref()) {
            ui.note(&format!("To continue with these answers:\n  {command}"));
        }
        return Err(error);
    }
    if args.output.as_ref().is_some_and(|output| output.as_os_str() == "-") {
        ui.raw(&draft.to_toml()?);
        return Ok(0);
    }
    let request = WriteDraftRequest { draft, output: args.output.clone(), replace: args.replace };
    let written = workspace.run(write_draft(workspace, request))?;
    ui.show(&written)?;
    if !ui.json {
        ui.note(&format!("Next:\n  {}", written.next_steps.join("\n  ")));
    }
    Ok(0)
}

fn from_openapi(workspace: &Workspace, ui: &Ui, given: &str, actions: &[String]) -> Result<ConnectorDraft> {
    let document = read(workspace, given, MAX_OPENAPI_BYTES)?;
    let description = OpenApiDescription::parse(&document.bytes, document.url)?;
    let wanted = match actions {
        [] => question::choose_actions(ui, &description.summaries())?,
        actions => Some(actions.to_vec()),
    };
    Ok(description.draft(wanted.as_deref())?)
}

/// Asks for what the draft still lacks, in the order of the file.
fn complete(workspace: &Workspace, questions: &Questions, args: &NewArgs, draft: &mut ConnectorDraft) -> Result<()> {
    details::fill_id(args, questions, draft)?;
    // Before anything else is asked: nobody should answer ten questions for nothing.
    if args.output.is_none() {
        check_draft_id(workspace, &draft.id, args.replace)?;
    }
    details::fill(args, questions, draft)?;
    auth::fill(workspace, questions, args, draft)?;
    details::fill_scopes(args, questions, draft)?;
    details::fill_health(args, questions, draft)?;
    draft.add_missing_params();
    Ok(())
}
