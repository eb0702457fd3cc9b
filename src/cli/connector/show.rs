//! `integ connector show`.

use clap::Args;
use serde::Serialize;

use super::super::table::table;
use super::super::ui::{Ui, View};
use super::{source_words, word};
use crate::connector::{AuthMethod, Connector, ConnectorSource, SignatureScheme, SignedPart};
use crate::error::Result;
use crate::runtime::App;

/// One connector: ways of authenticating, parameters, scopes, actions, streams; or one action or stream of it
#[derive(Debug, Args)]
pub(super) struct ConnectorShowArgs {
    #[arg(add = crate::cli::complete::connectors())]
    connector: String,
    #[arg(value_name = "ACTION|STREAM", add = crate::cli::complete::shown_actions())]
    action: Option<String>,
}

#[derive(Serialize)]
struct AuthMethodView {
    auth: String,
    label: String,
    kind: &'static str,
    grants: Vec<String>,
    setup_url: Option<String>,
    redirect: Option<String>,
    default_scopes: Vec<String>,
    asks_for: Vec<AuthParamView>,
}

#[derive(Serialize)]
struct AuthParamView {
    name: String,
    prompt: String,
    secret: bool,
    default: Option<String>,
    choices: Vec<String>,
    optional: bool,
}

#[derive(Serialize)]
struct DeclaredScopeView {
    scope: String,
    purpose: String,
}

#[derive(Serialize)]
struct ActionView {
    action: String,
    about: String,
}

#[derive(Serialize)]
struct StreamView {
    stream: String,
    about: String,
}

#[derive(Serialize)]
struct SignatureView {
    scheme: String,
    covers: Vec<SignedPart>,
    confirmed: bool,
    #[serde(skip)]
    words: String,
}

#[derive(Serialize)]
struct ConnectorDetailView {
    id: String,
    name: String,
    category: String,
    description: String,
    docs: String,
    source: &'static str,
    replaces_built_in: bool,
    file: Option<String>,
    ways: Vec<AuthMethodView>,
    scopes: Vec<DeclaredScopeView>,
    actions: Vec<ActionView>,
    streams: Vec<StreamView>,
    webhook_proofs: Vec<SignatureView>,
    health: Option<String>,
    limits: Vec<String>,
    unsure: Vec<String>,
}

impl View for ConnectorDetailView {
    fn text(&self, ui: &Ui) -> String {
        let mut out =
            vec![format!("{} ({}): {}", self.name, self.id, self.description), format!("Documentation: {}", self.docs)];
        if let Some(file) = &self.file {
            let word = source_words(self.source, self.replaces_built_in);
            out.push(format!("Source: {word}, {file}"));
        }
        for way in &self.ways {
            out.push(String::new());
            out.push(format!("--auth {}  {}", way.auth, way.label));
            let mut line = |what: &str, text: &str| {
                if !text.is_empty() {
                    out.push(format!("  {what}: {text}"));
                }
            };
            line("grants", &way.grants.join(", "));
            line("get it at", way.setup_url.as_deref().unwrap_or_default());
            line("redirect", way.redirect.as_deref().unwrap_or_default());
            line("scopes asked for", &way.default_scopes.join(" "));
            for asked in &way.asks_for {
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
            let rows = self.actions.iter().map(|item| vec![item.action.clone().into(), item.about.clone().into()]);
            out.push(table(ui, &["action", "what"], rows.collect()));
        }
        if !self.streams.is_empty() {
            out.push(String::new());
            let rows = self.streams.iter().map(|item| vec![item.stream.clone().into(), item.about.clone().into()]);
            out.push(table(ui, &["stream", "what"], rows.collect()));
        }
        if !self.webhook_proofs.is_empty() {
            out.push(String::new());
            let row = |proof: &SignatureView| {
                let asked = if proof.confirmed { "yes" } else { "no" };
                vec![proof.scheme.clone().into(), proof.words.clone().into(), asked.to_owned().into()]
            };
            let rows = self.webhook_proofs.iter().map(row).collect();
            out.push(table(ui, &["webhook signature", "covers", "service is asked"], rows));
        }
        let lists = [("Limits", &self.limits), ("Not confirmed by a source", &self.unsure)];
        for (heading, lines) in lists.into_iter().filter(|(_, lines)| !lines.is_empty()) {
            out.push(String::new());
            out.push(format!("{heading}:"));
            out.extend(lines.iter().map(|line| format!("  {line}")));
        }
        out.join("\n")
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &ConnectorShowArgs) -> Result<u8> {
    let connector = app.catalogue.get(&args.connector)?;
    if let Some(name) = &args.action
        && let Some(stream) = connector.streams.get(name)
    {
        return super::stream::show(ui, &connector, name, stream);
    }
    if let Some(action) = &args.action {
        return super::action::show(ui, &connector, action);
    }
    let (_, source) = app.catalogue.text(&args.connector)?;
    ui.show(&details(&connector, &source))?;
    Ok(0)
}

fn details(connector: &Connector, source: &ConnectorSource) -> ConnectorDetailView {
    ConnectorDetailView {
        source: source.as_str(),
        replaces_built_in: source.replaces_built_in(),
        file: source.path().map(|path| path.display().to_string()),
        id: connector.id.clone(),
        name: connector.name.clone(),
        category: word(connector.category),
        description: connector.description.clone(),
        docs: connector.docs.clone(),
        ways: connector.auth.iter().map(|(name, auth)| way(connector, name, auth)).collect(),
        scopes: connector
            .scopes
            .iter()
            .map(|(scope, detail)| DeclaredScopeView { scope: scope.clone(), purpose: detail.purpose().to_owned() })
            .collect(),
        actions: connector
            .actions
            .iter()
            .map(|(name, action)| ActionView { action: name.clone(), about: action.about.clone() })
            .collect(),
        streams: connector
            .streams
            .iter()
            .map(|(name, stream)| StreamView { stream: name.clone(), about: stream.about.clone() })
            .collect(),
        webhook_proofs: proofs(connector),
        health: connector.health.as_ref().map(|health| format!("{} {}", health.method.as_str(), health.path)),
        limits: connector.rate.limits.clone(),
        unsure: connector.unsure.clone(),
    }
}

fn proofs(connector: &Connector) -> Vec<SignatureView> {
    let Some(rules) = &connector.webhook else { return Vec::new() };
    let one = |proof: &SignatureScheme| {
        let covers = rules.coverage(proof);
        SignatureView {
            scheme: word(proof.scheme),
            words: covers.describe(),
            confirmed: rules.confirm.is_some() && !covers.covers(SignedPart::Body),
            covers: covers.parts,
        }
    };
    rules.proofs.iter().map(one).collect()
}

fn way(connector: &Connector, name: &str, auth: &AuthMethod) -> AuthMethodView {
    let params = connector.params(auth).map(|(name, param)| AuthParamView {
        name: name.clone(),
        prompt: param.prompt.clone(),
        secret: false,
        default: param.default.clone(),
        choices: param.choices.clone(),
        optional: param.optional,
    });
    let fields = auth.fields.iter().map(|(name, field)| AuthParamView {
        name: name.clone(),
        prompt: field.prompt.clone(),
        secret: field.secret,
        default: None,
        choices: Vec::new(),
        optional: false,
    });
    let oauth2 = auth.oauth2.as_ref();
    AuthMethodView {
        auth: name.to_owned(),
        label: auth.label.clone(),
        kind: auth.kind(),
        grants: oauth2.map(|rules| rules.grants.iter().map(word).collect()).unwrap_or_default(),
        setup_url: auth.setup_url.clone(),
        redirect: oauth2.and_then(|rules| rules.redirect.note.clone()),
        default_scopes: oauth2.map(|rules| rules.scope.default.clone()).unwrap_or_default(),
        asks_for: params.chain(fields).collect(),
    }
}
