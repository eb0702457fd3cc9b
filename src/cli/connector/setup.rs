//! `integ connector setup`.

use clap::Args;
use serde::Serialize;

use super::super::table::{TableCell, table};
use super::super::ui::{Tone, Ui, View, escape};
use crate::connector::{SetupGuide, SetupKind, SetupPrompt, setup};
use crate::error::Result;
use crate::runtime::App;

/// What to do at the service before an account can be connected
///
/// Where to register an app or make a key, which redirect URI to enter, which scopes to tick, and the commands to run then.
#[derive(Debug, Args)]
pub(super) struct SetupArgs {
    #[arg(add = crate::cli::complete::connectors())]
    connector: String,
    /// The way of authenticating, as `integ connector show` names it
    #[arg(long, value_name = "NAME")]
    auth: Option<String>,
}

#[derive(Serialize)]
struct RedirectView {
    uri: String,
    when: String,
}

#[derive(Serialize)]
struct SetupScopeView {
    scope: String,
    purpose: Option<String>,
}

#[derive(Serialize)]
struct SetupPromptView {
    name: String,
    prompt: String,
    secret: bool,
    optional: bool,
    form: Option<String>,
}

#[derive(Serialize)]
struct SetupCommandView {
    command: String,
    why: String,
}

#[derive(Serialize)]
struct AuthChoiceView {
    auth: String,
    label: String,
}

#[derive(Serialize)]
struct SetupGuideView {
    connector: String,
    name: String,
    docs: String,
    auth: String,
    label: String,
    /// `app` or `key`.
    kind: &'static str,
    setup_url: Option<String>,
    note: Option<String>,
    redirect_uris: Vec<RedirectView>,
    turn_on: Vec<&'static str>,
    scopes: Vec<SetupScopeView>,
    asks_for: Vec<SetupPromptView>,
    commands: Vec<SetupCommandView>,
    other_ways: Vec<AuthChoiceView>,
}

impl View for SetupGuideView {
    fn text(&self, ui: &Ui) -> String {
        let mut out = vec![format!("{}: {} (--auth {})", escape(&self.name), escape(&self.label), self.auth)];
        out.push(String::new());
        let what = if self.kind == "key" { "Get the key" } else { "Register an app" };
        out.push(match &self.setup_url {
            Some(url) => format!("1. {what} at {}", escape(url)),
            None => format!("1. {what} with the service; its documentation: {}", escape(&self.docs)),
        });
        let lines = |text: &str| text.lines().map(escape).collect::<Vec<_>>();
        for line in self.note.iter().flat_map(|note| lines(note)) {
            out.push(format!("   {line}"));
        }
        let mut rows = |heading: &str, headings: &[&str], rows: Vec<Vec<TableCell>>| {
            if !rows.is_empty() {
                out.push(format!("   {heading}:"));
                out.extend(table(ui, headings, rows).lines().map(|line| format!("     {line}")));
            }
        };
        let uris =
            self.redirect_uris.iter().map(|redirect| vec![redirect.uri.clone().into(), redirect.when.clone().into()]);
        rows("Enter a redirect URI", &["redirect uri", "when"], uris.collect());
        let scopes = self.scopes.iter();
        let scopes =
            scopes.map(|scope| vec![scope.scope.clone().into(), scope.purpose.clone().unwrap_or_default().into()]);
        rows(
            "Allow the scopes that are asked for unless --scope says otherwise",
            &["scope", "purpose"],
            scopes.collect(),
        );
        let ticks = self.turn_on.iter().map(|what| format!("   Turn on {what}."));
        out.extend(ticks);
        let asks: Vec<&SetupPromptView> = self.asks_for.iter().collect();
        if !asks.is_empty() {
            out.push("2. Have at hand:".to_owned());
            out.extend(asks.into_iter().map(|ask| format!("   {}", asked(ask))));
        }
        out.push(format!("{}. Then:", if self.asks_for.is_empty() { 2 } else { 3 }));
        let command =
            |step: &SetupCommandView| vec![step.command.clone().into(), TableCell(step.why.clone(), Some(Tone::Dim))];
        let commands = table(ui, &["command", "what it does"], self.commands.iter().map(command).collect());
        out.extend(commands.lines().map(|line| format!("   {line}")));
        if !self.other_ways.is_empty() {
            let ways = self.other_ways.iter().map(|way| format!("--auth {} ({})", way.auth, escape(&way.label)));
            out.push(String::new());
            out.push(format!("Other ways: {}", ways.collect::<Vec<_>>().join(", ")));
        }
        out.join("\n")
    }
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

pub(super) fn run(app: &App, ui: &Ui, args: &SetupArgs) -> Result<u8> {
    let connector = app.catalogue.get(&args.connector)?;
    let setup = setup(&connector, args.auth.as_deref(), app.config.connect.port)?;
    ui.show(&guide(connector.id, connector.name, connector.docs, setup))?;
    Ok(0)
}

fn guide(connector: String, name: String, docs: String, setup: SetupGuide) -> SetupGuideView {
    let ask = |ask: SetupPrompt| SetupPromptView {
        name: ask.name,
        prompt: ask.prompt,
        secret: ask.secret,
        optional: ask.optional,
        form: ask.format_hint,
    };
    SetupGuideView {
        connector,
        name,
        docs,
        auth: setup.auth,
        label: setup.label,
        kind: match setup.kind {
            SetupKind::App => "app",
            SetupKind::Key => "key",
        },
        setup_url: setup.url,
        note: setup.note,
        redirect_uris: setup
            .redirect_uris
            .into_iter()
            .map(|redirect| RedirectView { uri: redirect.uri, when: redirect.when })
            .collect(),
        turn_on: setup.settings,
        scopes: setup.scopes.into_iter().map(|(scope, purpose)| SetupScopeView { scope, purpose }).collect(),
        asks_for: setup.prompts.into_iter().map(ask).collect(),
        commands: setup
            .commands
            .into_iter()
            .map(|step| SetupCommandView { command: step.command, why: step.reason })
            .collect(),
        other_ways: setup.other_methods.into_iter().map(|(auth, label)| AuthChoiceView { auth, label }).collect(),
    }
}
