//! `integ call`.

use clap::Args;
use serde_json::Value;

use super::backend::Backend;
use super::table::table;
use super::ui::{Render, Ui};
use super::words::ParsedWords;
use crate::error::Result;
use crate::ops::calls::CallActionRequest;
use crate::view::call::{ActionListView, ActionSummaryView, CallResultView, RequestPreviewView};

/// Run one of a service's actions: send a message, create an issue
///
/// Without an action, lists the available ones. A value is a string (`text=Hello`), a member of an object
/// (`metadata.order=7`), JSON (`blocks:=[...]`) or a file's contents (`text=@note.txt`). Repeat the name for an array.
#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// Connection to call through
    #[arg(add = super::complete::connections())]
    pub connection: String,
    /// Action to call; lists the actions if none is given
    #[arg(add = super::complete::actions())]
    pub action: Option<String>,
    /// Parameters of the action
    #[arg(value_name = "NAME=VALUE", add = super::complete::action_params())]
    pub params: Vec<String>,
    /// Print the request without its secrets, and do not send it
    #[arg(long)]
    pub dry_run: bool,
    /// Idempotency key (default: random)
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

impl Render for ActionListView {
    fn text(&self, ui: &Ui) -> String {
        if self.actions.is_empty() {
            return format!("The connector of {} describes no actions; `integ api` calls any path.", self.connection);
        }
        let row = |item: &ActionSummaryView| {
            let about = if item.is_granted {
                item.description.clone()
            } else {
                format!("{} (not by this key)", item.description)
            };
            let groups = item.one_of.iter().map(|group| group.join(" | "));
            let needs: Vec<String> = item.required.iter().cloned().chain(groups).collect();
            vec![item.action.clone().into(), about.into(), needs.join(", ").into()]
        };
        let actions = table(ui, &["action", "description", "required"], self.actions.iter().map(row).collect());
        format!("{actions}\n\n`integ connector show {} ACTION` lists all its parameters.", self.connector)
    }
}

impl Render for CallResultView {
    fn text(&self, _ui: &Ui) -> String {
        if self.result.is_empty() {
            return match &self.response {
                Value::Null => format!("Done ({}).", self.http_status),
                Value::String(text) => super::ui::escape_lines(text),
                response => super::ui::harmless_json(&format!("{response:#}")),
            };
        }
        let width = self.result.keys().map(String::len).max().unwrap_or_default();
        let line = |(name, value): (&String, &Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name:width$}  {}", super::ui::escape(&text))
        };
        self.result.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Render for RequestPreviewView {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = vec![format!("{} {}", self.method, self.url)];
        lines
            .extend(self.headers.iter().map(|(name, value)| format!("{name}: {}", value.as_str().unwrap_or_default())));
        match &self.body {
            Value::Null => {}
            Value::String(text) => lines.extend([String::new(), super::ui::escape_lines(text)]),
            body => lines.extend([String::new(), super::ui::harmless_json(&format!("{body:#}"))]),
        }
        lines.join("\n")
    }
}

pub(super) fn run(backend: &Backend, ui: &Ui, args: &CallArgs) -> Result<u8> {
    let connection = ui.project.resolve(&args.connection)?;
    let Some(action) = &args.action else {
        ui.show(&backend.actions(connection)?)?;
        return Ok(0);
    };
    backend.workspace.run(async {
        let found = backend.action(connection.clone(), action).await?;
        let input = ParsedWords::read(found.parameters(), &args.params).complete(found.parameters());
        let input = input.map_err(|problems| found.invalid_parameters(problems))?;
        let (action, idempotency_key) = (action.clone(), args.idempotency_key.clone());
        let request = CallActionRequest { connection, action, input, idempotency_key };
        if args.dry_run {
            let (preview, warning) = backend.preview_action(request).await?;
            if let Some(warning) = warning {
                ui.warning(&warning);
            }
            ui.show(&preview)?;
            return Ok(0);
        }
        let (called, refusal) = backend.call_action(request).await?;
        if refusal.is_none() || ui.json {
            ui.show(&called)?;
        }
        refusal.map_or(Ok(0), Err)
    })
}
