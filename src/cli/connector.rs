//! `integ connector`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use thiserror::Error;

use super::table::{Text, table};
use super::ui::{Tone, Ui, View};
use crate::app::App;
use crate::connector::{Auth, Connector, Mistake, Source, descriptor, validate};
use crate::error::{Kind, Remedy, Result};

/// Look at the services that integ can connect
#[derive(Debug, Args)]
pub(super) struct ConnectorArgs {
    #[command(subcommand)]
    command: ConnectorCommand,
}

#[derive(Debug, Subcommand)]
enum ConnectorCommand {
    /// All connectors
    List,
    /// One connector: ways of authenticating, parameters, scopes
    Show {
        #[arg(add = super::complete::connectors())]
        connector: String,
    },
    /// What a connector can do, as JSON for other programs: actions, triggers, scopes, parameters
    Descriptor {
        #[arg(add = super::complete::connectors())]
        connector: String,
    },
    /// Find every mistake of connector files; all built-in ones where none is named
    Validate {
        /// Files, or ids of connectors
        #[arg(value_name = "FILE|ID")]
        files: Vec<String>,
    },
}

#[derive(Serialize)]
struct Item {
    id: String,
    name: String,
    category: String,
    auth: Vec<String>,
    description: String,
    source: &'static str,
}

#[derive(Serialize)]
struct Listing {
    connectors: Vec<Item>,
}

impl View for Listing {
    fn text(&self, ui: &Ui) -> String {
        let row = |item: &Item| -> Vec<Text> {
            vec![
                item.id.clone().into(),
                item.name.clone().into(),
                item.auth.join(", ").into(),
                item.description.clone().into(),
            ]
        };
        table(ui, &["connector", "service", "ways", "what"], self.connectors.iter().map(row).collect())
    }
}

#[derive(Serialize)]
struct Way {
    auth: String,
    label: String,
    kind: &'static str,
    grants: Vec<String>,
    setup_url: Option<String>,
    redirect: Option<String>,
    default_scopes: Vec<String>,
    asks_for: Vec<Asked>,
}

#[derive(Serialize)]
struct Asked {
    name: String,
    prompt: String,
    secret: bool,
    default: Option<String>,
    choices: Vec<String>,
    optional: bool,
}

#[derive(Serialize)]
struct ScopeView {
    scope: String,
    purpose: String,
}

#[derive(Serialize)]
struct Details {
    id: String,
    name: String,
    category: String,
    description: String,
    docs: String,
    ways: Vec<Way>,
    scopes: Vec<ScopeView>,
    health: Option<String>,
    limits: Vec<String>,
    unsure: Vec<String>,
}

impl View for Details {
    fn text(&self, ui: &Ui) -> String {
        let mut out =
            vec![format!("{} ({}): {}", self.name, self.id, self.description), format!("Documentation: {}", self.docs)];
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
        let lists = [("Limits", &self.limits), ("Not confirmed by a source", &self.unsure)];
        for (heading, lines) in lists.into_iter().filter(|(_, lines)| !lines.is_empty()) {
            out.push(String::new());
            out.push(format!("{heading}:"));
            out.extend(lines.iter().map(|line| format!("  {line}")));
        }
        out.join("\n")
    }
}

#[derive(Serialize)]
struct MistakeView {
    line: usize,
    key: String,
    message: String,
}

#[derive(Serialize)]
struct Validated {
    file: String,
    valid: bool,
    mistakes: Vec<MistakeView>,
}

#[derive(Serialize)]
struct Validations {
    files: Vec<Validated>,
}

impl View for Validations {
    fn text(&self, ui: &Ui) -> String {
        let mut out = Vec::new();
        for file in &self.files {
            if file.valid {
                out.push(format!("{}: {}", file.file, ui.paint(Tone::Good, "valid")));
            }
            for mistake in &file.mistakes {
                let key = if mistake.key.is_empty() { String::new() } else { format!("{}: ", mistake.key) };
                out.push(super::ui::escape(&format!("{}:{}: {key}{}", file.file, mistake.line, mistake.message)));
            }
        }
        out.join("\n")
    }
}

#[derive(Debug, Error)]
#[error("cannot read {}", path.display())]
struct ReadError {
    path: PathBuf,
    source: std::io::Error,
}

impl Remedy for ReadError {
    fn kind(&self) -> Kind {
        Kind::NotFound
    }

    fn code(&self) -> &'static str {
        "io"
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: ConnectorArgs) -> Result<u8> {
    match args.command {
        ConnectorCommand::List => ui.show(&list(app))?,
        ConnectorCommand::Show { connector } => ui.show(&details(&app.catalogue.get(&connector)?))?,
        ConnectorCommand::Descriptor { connector } => {
            let shape = descriptor(&app.catalogue.get(&connector)?);
            ui.show_document(&serde_json::to_value(shape).unwrap_or_default())?;
        }
        ConnectorCommand::Validate { files } => {
            let files = validate_all(app, files)?;
            let valid = files.iter().filter(|file| file.valid).count();
            let total = files.len();
            ui.show(&Validations { files })?;
            return Ok(match valid {
                _ if valid == total => 0,
                0 => Kind::Failed.exit_code(),
                _ => Kind::Partial.exit_code(),
            });
        }
    }
    Ok(0)
}

fn word(value: impl std::fmt::Debug) -> String {
    // The words of the format are the variants' own names, in kebab and snake case.
    let mut word = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

fn list(app: &App) -> Listing {
    let item = |(id, source): (String, Source)| {
        let connector = app.catalogue.get(&id);
        let (name, category, description, auth) = match connector {
            Ok(connector) => {
                let auth = connector.auth.keys().cloned().collect();
                (connector.name, word(connector.category), connector.description, auth)
            }
            Err(error) => (id.clone(), "invalid".to_owned(), crate::error::Error::from(error).message(), Vec::new()),
        };
        let source = if source == Source::BuiltIn { "built-in" } else { "installed" };
        Item { id, name, category, auth, description, source }
    };
    Listing { connectors: app.catalogue.ids().into_iter().map(item).collect() }
}

fn details(connector: &Connector) -> Details {
    Details {
        id: connector.id.clone(),
        name: connector.name.clone(),
        category: word(connector.category),
        description: connector.description.clone(),
        docs: connector.docs.clone(),
        ways: connector.auth.iter().map(|(name, auth)| way(connector, name, auth)).collect(),
        scopes: connector
            .scopes
            .iter()
            .map(|(scope, detail)| ScopeView { scope: scope.clone(), purpose: detail.purpose().to_owned() })
            .collect(),
        health: connector.health.as_ref().map(|health| format!("{} {}", health.method.as_str(), health.path)),
        limits: connector.rate.limits.clone(),
        unsure: connector.unsure.clone(),
    }
}

fn way(connector: &Connector, name: &str, auth: &Auth) -> Way {
    let params = connector.params(auth).map(|(name, param)| Asked {
        name: name.clone(),
        prompt: param.prompt.clone(),
        secret: false,
        default: param.default.clone(),
        choices: param.choices.clone(),
        optional: param.optional,
    });
    let fields = auth.fields.iter().map(|(name, field)| Asked {
        name: name.clone(),
        prompt: field.prompt.clone(),
        secret: field.secret,
        default: None,
        choices: Vec::new(),
        optional: false,
    });
    let oauth2 = auth.oauth2.as_ref();
    Way {
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

fn validate_all(app: &App, files: Vec<String>) -> Result<Vec<Validated>> {
    let files = if files.is_empty() { app.catalogue.ids().into_iter().map(|(id, _)| id).collect() } else { files };
    let mut validated = Vec::new();
    for file in files {
        let path = PathBuf::from(&file);
        let text = if file.ends_with(".toml") || path.is_file() {
            std::fs::read_to_string(&path).map_err(|source| ReadError { path, source })?
        } else {
            app.catalogue.text(&file)?.0
        };
        let mistakes: Vec<Mistake> = validate(&text);
        validated.push(Validated {
            file,
            valid: mistakes.is_empty(),
            mistakes: mistakes
                .into_iter()
                .map(|mistake| MistakeView { line: mistake.line, key: mistake.key, message: mistake.message })
                .collect(),
        });
    }
    Ok(validated)
}
