//! `integ connector show`.

use clap::Args;

use super::super::escape::wrap;
use super::super::table::table;
use super::super::ui::{Render, Ui};
use super::list::source_words;
use crate::error::Result;
use crate::ops::connectors::{show_connector, show_connector_file, show_connector_part};
use crate::runtime::Workspace;
use crate::view::connector::{ConnectorDetailView, ConnectorFileView, ConnectorPartView, WebhookSignatureView};

/// Show a connector: authentication methods, parameters, scopes, actions, streams; or one action or stream of it
#[derive(Debug, Args)]
pub(super) struct ConnectorShowArgs {
    /// Connector to show
    #[arg(add = crate::cli::complete::connectors())]
    connector: String,
    /// Action or stream to show (default: the whole connector)
    #[arg(value_name = "ACTION|STREAM", add = crate::cli::complete::shown_actions())]
    action: Option<String>,
    /// Print the connector's file
    #[arg(long, conflicts_with = "action")]
    source: bool,
}

impl Render for ConnectorFileView {
    fn text(&self, _ui: &Ui) -> String {
        self.text.trim_end().to_owned()
    }
}

impl Render for ConnectorDetailView {
    fn text(&self, ui: &Ui) -> String {
        let mut out =
            vec![format!("{} ({}): {}", self.name, self.id, self.description), format!("Documentation: {}", self.docs)];
        if let Some(file) = &self.file {
            let word = source_words(self.source, self.replaces_built_in);
            out.push(format!("Source: {word}, {file}"));
        }
        for method in &self.auth_methods {
            out.push(String::new());
            out.push(format!("--auth {}  {}", method.auth, method.label));
            let mut line = |what: &str, text: &str| {
                if !text.is_empty() {
                    out.push(format!("  {what}: {text}"));
                }
            };
            line("grants", &method.grants.join(", "));
            line("get it from", method.setup_url.as_deref().unwrap_or_default());
            line("redirect", method.redirect.as_deref().unwrap_or_default());
            line("default scopes", &method.default_scopes.join(" "));
            for asked in &method.params {
                let more = if asked.optional { " (optional)" } else { "" };
                line(&format!("asks for {}", asked.name), &format!("{}{more}", asked.prompt));
            }
        }
        if !self.scopes.is_empty() {
            out.push(String::new());
            let rows = self.scopes.iter().map(|scope| vec![scope.scope.clone().into(), scope.purpose.clone().into()]);
            out.push(table(ui, &["scope", "purpose"], rows.collect()));
        }
        if !self.actions.is_empty() {
            out.push(String::new());
            let rows =
                self.actions.iter().map(|item| vec![item.action.clone().into(), item.description.clone().into()]);
            out.push(table(ui, &["action", "description"], rows.collect()));
        }
        if !self.streams.is_empty() {
            out.push(String::new());
            let rows =
                self.streams.iter().map(|item| vec![item.stream.clone().into(), item.description.clone().into()]);
            out.push(table(ui, &["stream", "description"], rows.collect()));
        }
        if !self.templates.is_empty() {
            out.push(String::new());
            let rows = self.templates.iter().map(|item| {
                vec![item.template.clone().into(), item.maps.clone().into(), item.description.clone().into()]
            });
            out.push(table(ui, &["template", "maps", "description"], rows.collect()));
        }
        if !self.webhook_signatures.is_empty() {
            out.push(String::new());
            let row = |signature: &WebhookSignatureView| {
                let asked = if signature.is_confirmed { "yes" } else { "no" };
                vec![signature.scheme.clone().into(), signature.coverage.clone().into(), asked.to_owned().into()]
            };
            let rows = self.webhook_signatures.iter().map(row).collect();
            out.push(table(ui, &["webhook signature", "covers", "confirmed by service"], rows));
        }
        let lists = [("Limits", &self.limits), ("Unconfirmed", &self.unverified)];
        for (heading, lines) in lists.into_iter().filter(|(_, lines)| !lines.is_empty()) {
            out.push(String::new());
            out.push(format!("{heading}:"));
            let room = ui.width.map_or(usize::MAX, |width| width.saturating_sub(2));
            out.extend(lines.iter().map(|line| format!("  {}", wrap(line, room).join("\n  "))));
        }
        out.join("\n")
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &ConnectorShowArgs) -> Result<u8> {
    match &args.action {
        None if args.source => ui.show(&workspace.run(show_connector_file(workspace, &args.connector))?)?,
        None => ui.show(&workspace.run(show_connector(workspace, &args.connector))?)?,
        Some(name) => match workspace.run(show_connector_part(workspace, &args.connector, name))? {
            ConnectorPartView::Stream(stream) => ui.show(&stream)?,
            ConnectorPartView::Action(action) => ui.show(&action)?,
        },
    }
    Ok(0)
}
