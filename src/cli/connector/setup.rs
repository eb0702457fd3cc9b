//! `integ connector setup`.

use clap::Args;

use super::super::escape::wrap;
use super::super::table::{TableCell, table};
use super::super::ui::{Render, Ui, escape};
use crate::error::Result;
use crate::ops::connectors::setup_guide;
use crate::runtime::Workspace;
use crate::view::connector::{SetupCommandView, SetupGuideView, SetupPromptView, SetupTask};

/// Print the setup steps at the service, before you connect an account
///
/// Shows where to register an app or create a key, which redirect URI and scopes to enter, and which commands to run
/// next.
#[derive(Debug, Args)]
pub(super) struct SetupArgs {
    /// Connector to set up
    #[arg(add = crate::cli::complete::connectors())]
    connector: String,
    /// Authentication method, as `integ connector show` names it (default: the connector's first)
    #[arg(long, value_name = "NAME")]
    auth: Option<String>,
}

impl Render for SetupGuideView {
    fn text(&self, ui: &Ui) -> String {
        let mut out = vec![format!("{}: {} (--auth {})", escape(&self.name), escape(&self.label), self.auth)];
        out.push(String::new());
        let what = if self.kind == SetupTask::Key { "Get the key" } else { "Register an app" };
        out.push(match &self.setup_url {
            Some(url) => format!("1. {what} at {}", escape(url)),
            None => format!("1. {what} with the service; its documentation: {}", escape(&self.docs)),
        });
        let room = ui.width.map_or(usize::MAX, |width| width.saturating_sub(3));
        let lines = |text: &str| text.lines().flat_map(|line| wrap(line, room)).collect::<Vec<_>>();
        for line in self.note.iter().flat_map(|note| lines(note)) {
            out.push(format!("   {line}"));
        }
        let mut rows = |heading: &str, headings: &[&str], rows: Vec<Vec<TableCell>>| {
            if !rows.is_empty() {
                out.push(format!("   {heading}:"));
                out.extend(table(&indented(ui, 5), headings, rows).lines().map(|line| format!("     {line}")));
            }
        };
        let uris =
            self.redirect_uris.iter().map(|redirect| vec![redirect.uri.clone().into(), redirect.when.clone().into()]);
        rows("Enter one of these redirect URIs", &["redirect uri", "use"], uris.collect());
        let scopes = self.scopes.iter();
        let scopes =
            scopes.map(|scope| vec![scope.scope.clone().into(), scope.purpose.clone().unwrap_or_default().into()]);
        rows("Allow these scopes, or those that you pass with --scope", &["scope", "purpose"], scopes.collect());
        let ticks = self.settings.iter().flat_map(|what| lines(&format!("Turn on {what}.")));
        out.extend(ticks.map(|line| format!("   {line}")));
        if !self.prompts.is_empty() {
            out.push("2. Values that `integ connect` asks for:".to_owned());
            let hanging = |ask| wrap(&asked(ask), room.saturating_sub(2)).join("\n     ");
            out.extend(self.prompts.iter().map(|ask| format!("   {}", hanging(ask))));
        }
        out.push(format!("{}. Then:", if self.prompts.is_empty() { 2 } else { 3 }));
        // Each command has a line of its own, so that it can be copied.
        for SetupCommandView { command, reason, .. } in &self.commands {
            out.push(format!("   {}", escape(command)));
            out.extend(
                wrap(reason, ui.width.map_or(usize::MAX, |width| width.saturating_sub(7)))
                    .iter()
                    .map(|line| format!("       {line}")),
            );
        }
        if !self.other_auth_methods.is_empty() {
            out.extend([String::new(), "Other authentication methods:".to_owned()]);
            let methods = self.other_auth_methods.iter();
            out.extend(methods.map(|method| format!("   --auth {} ({})", method.auth, escape(&method.label))));
        }
        out.join("\n")
    }
}

/// The same terminal with fewer columns, for what is indented.
fn indented(ui: &Ui, columns: usize) -> Ui {
    let mut ui = ui.clone();
    ui.width = ui.width.map(|width| width.saturating_sub(columns));
    ui
}

fn asked(ask: &SetupPromptView) -> String {
    let marks = [
        ask.form.as_deref().map(escape),
        ask.optional.then(|| "optional".to_owned()),
        ask.secret.then(|| "secret".to_owned()),
    ];
    let marks: Vec<String> = marks.into_iter().flatten().collect();
    let marks = if marks.is_empty() { String::new() } else { format!(" ({})", marks.join("; ")) };
    format!("{}: {}{marks}", ask.name, escape(&ask.prompt))
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &SetupArgs) -> Result<u8> {
    ui.show(&workspace.run(setup_guide(workspace, &args.connector, args.auth.as_deref()))?)?;
    Ok(0)
}
