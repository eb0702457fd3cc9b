//! `integ connector install`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use serde::Serialize;
use thiserror::Error;
use url::Url;

use super::super::table::{TableCell, table};
use super::super::ui::{Ui, View, escape};
use super::users;
use crate::connector::{Capabilities, Connector, ExistingConnector, HostUse, InstallCandidate, MAX_CONNECTOR_BYTES};
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::http::download;
use crate::runtime::App;

/// Add a connector that somebody else wrote
///
/// Checks the file, shows whom it talks to and what it asks for, and asks before it trusts it. What was installed is pinned
/// by its SHA-256: a file that is changed afterwards is refused. A file that you write into the folder yourself needs no
/// installation.
#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    /// A file, or an https URL
    #[arg(value_name = "PATH|URL")]
    source: String,
    /// Take the place of a connector that is there, also of a built-in one
    #[arg(long, action = ArgAction::SetTrue)]
    replace: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// The SHA-256 that the file must have
    #[arg(long, value_name = "HEX", value_parser = digest)]
    sha256: Option<String>,
}

fn digest(text: &str) -> Result<String, String> {
    let valid = text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
    if valid { Ok(text.to_ascii_lowercase()) } else { Err("a SHA-256 has 64 hexadecimal digits".to_owned()) }
}

#[derive(Serialize)]
struct DefaultScopeView {
    auth: String,
    scope: String,
    purpose: Option<String>,
}

/// What a person must know before trusting a connector.
#[derive(Serialize)]
struct InstallReview {
    id: String,
    name: String,
    description: String,
    source: String,
    sha256: String,
    #[serde(flatten)]
    capabilities: Capabilities,
    default_scopes: Vec<DefaultScopeView>,
    /// What the file it replaces could not do.
    added: Vec<String>,
    /// What it takes the place of, in words.
    replaces: Option<String>,
    /// Connections of this workspace that will use it; absent where the vault does not open.
    connections: Option<Vec<String>>,
}

#[derive(Serialize)]
struct InstallView {
    installed: String,
    file: String,
    #[serde(flatten)]
    trust: InstallReview,
}

impl View for InstallView {
    fn text(&self, _ui: &Ui) -> String {
        format!("Installed {} from {}", self.installed, escape(&self.trust.source))
    }
}

impl InstallReview {
    fn of(candidate: &InstallCandidate, taken: &ExistingConnector, connections: Option<Vec<String>>) -> Self {
        let connector = &candidate.connector;
        let capabilities = Capabilities::of(connector);
        let added = match taken {
            ExistingConnector::Installed { capabilities: former, .. } => capabilities.added_since(former),
            ExistingConnector::None | ExistingConnector::BuiltIn | ExistingConnector::UserFile(_) => Vec::new(),
        };
        Self {
            id: connector.id.clone(),
            name: connector.name.clone(),
            description: connector.description.clone(),
            source: candidate.source.clone(),
            sha256: candidate.sha256.clone(),
            capabilities,
            default_scopes: default_scopes(connector),
            added,
            replaces: match taken {
                ExistingConnector::None => None,
                ExistingConnector::BuiltIn => Some("the built-in connector".to_owned()),
                ExistingConnector::UserFile(path) => Some(format!("your own {}, which is then lost", path.display())),
                ExistingConnector::Installed { source, sha256, .. } => {
                    Some(format!("the one from {source}, SHA-256 {sha256}"))
                }
            },
            connections,
        }
    }

    /// Without colour: what is said on the terminal is escaped once more.
    fn lines(&self, ui: &Ui) -> String {
        let mut out = vec![
            format!("{} ({}): {}", escape(&self.name), self.id, escape(&self.description)),
            format!("  from     {}", escape(&self.source)),
            format!("  sha-256  {}", self.sha256),
        ];
        let mut part = |heading: &str, rows: Vec<Vec<TableCell>>, headings: &[&str]| {
            if !rows.is_empty() {
                out.push(format!("{heading}:"));
                out.extend(table(ui, headings, rows).lines().map(|line| format!("  {line}")));
            }
        };
        let one = |text: &String| vec![TableCell::from(text.clone())];
        let host = |host: &HostUse| {
            let decided_by = host.decided_by.clone().unwrap_or_default();
            vec![host.host.clone().into(), host.uses.join(", ").into(), decided_by.into()]
        };
        let Capabilities { hosts, variables, scopes, secrets } = &self.capabilities;
        part("It talks to", hosts.iter().map(host).collect(), &["host", "for", ""]);
        part("`integ exec` sets, beside the token", variables.iter().map(one).collect(), &["variable"]);
        let scope = |scope: &DefaultScopeView| {
            let purpose = scope.purpose.clone().unwrap_or_else(|| "the file does not say what for".to_owned());
            vec![scope.scope.clone().into(), purpose.into(), scope.auth.clone().into()]
        };
        let default = self.default_scopes.iter().map(scope).collect();
        part("It asks for these scopes by default", default, &["scope", "purpose", "method"]);
        let further = scopes.iter().filter(|scope| self.default_scopes.iter().all(|one| one.scope != **scope));
        part("It can ask for these scopes as well", further.map(one).collect(), &["scope"]);
        part("It takes these secrets of yours", secrets.iter().map(one).collect(), &["secret"]);
        part("New since the installed file", self.added.iter().map(one).collect(), &["capability"]);
        if let Some(replaces) = &self.replaces {
            out.push(format!("It takes the place of {}.", escape(replaces)));
        }
        match &self.connections {
            None => out.push("The vault does not open: nobody can say which connections will use it.".to_owned()),
            Some(names) if names.is_empty() => {}
            Some(names) => {
                out.push(format!("These connections will use it, with the grants they have: {}.", names.join(", ")));
            }
        }
        out.join("\n")
    }
}

fn default_scopes(connector: &Connector) -> Vec<DefaultScopeView> {
    let mut views = Vec::new();
    for (name, auth) in &connector.auth {
        let rules = auth.oauth2.as_ref().map(|oauth2| &oauth2.scope);
        let rules = rules.or(auth.fragment.as_ref().map(|fragment| &fragment.scope));
        let Some(rules) = rules else { continue };
        for scope in rules.default.iter().chain(&rules.always).chain(rules.also.values().flatten()) {
            let purpose = connector.scopes.get(scope).map(|scope| scope.purpose().to_owned());
            views.push(DefaultScopeView { auth: name.clone(), scope: scope.clone(), purpose });
        }
    }
    views
}

#[derive(Debug, Error)]
pub(super) enum ConnectorSourceError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{given:?} is not a URL")]
    Url { given: String, source: url::ParseError },
    #[error("{from} is larger than {largest} bytes")]
    TooLarge { from: String, largest: usize },
}

impl Remedy for ConnectorSourceError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Diagnostic::new(Kind::NotFound, "io")
            }
            Self::Read { .. } => Diagnostic::new(Kind::Failed, "io"),
            Self::Url { .. } => Diagnostic::new(Kind::Usage, "invalid_url"),
            Self::TooLarge { .. } => Diagnostic::new(Kind::Failed, "too_large"),
        }
    }
}

/// A document that the user named by its path or its URL.
pub(super) struct SourceFile {
    pub bytes: Vec<u8>,
    /// As it is shown and kept: an absolute path, or the URL without its query, which may hold a token.
    pub source: String,
    pub path: Option<PathBuf>,
    pub url: Option<Url>,
}

/// Reads a file, or gets a URL, of at most `largest` bytes.
///
/// # Errors
/// [`ConnectorSourceError`], and those of [`download`].
pub(super) fn read(app: &App, given: &str, largest: usize) -> Result<SourceFile> {
    if given.contains("://") {
        let url = Url::parse(given).map_err(|source| ConnectorSourceError::Url { given: given.to_owned(), source })?;
        let bytes = app.run(async { Ok(download(&app.http, &url, largest).await?) })?;
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        return Ok(SourceFile { bytes, source: shown.to_string(), path: None, url: Some(url) });
    }
    let path = std::path::absolute(given).unwrap_or_else(|_| PathBuf::from(given));
    let bytes = read_file(&path, largest)?;
    Ok(SourceFile { bytes, source: path.display().to_string(), path: Some(path), url: None })
}

fn read_file(path: &Path, largest: usize) -> Result<Vec<u8>, ConnectorSourceError> {
    let failed = |source| ConnectorSourceError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // What has no end is no document: one byte more than allowed shows that.
    let limit = u64::try_from(largest).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > largest {
        return Err(ConnectorSourceError::TooLarge { from: path.display().to_string(), largest });
    }
    Ok(bytes)
}

pub(super) fn run(app: &App, ui: &Ui, args: &InstallArgs) -> Result<u8> {
    let document = read(app, &args.source, MAX_CONNECTOR_BYTES)?;
    let candidate =
        InstallCandidate::validate(document.bytes, &document.source, document.path.as_deref(), args.sha256.as_deref())?;
    let taken = app.catalogue.check_install(&candidate, args.replace)?;
    let trust = InstallReview::of(&candidate, &taken, users(app, &candidate.connector.id));
    if !agreed(ui, &trust, args.yes)? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    let file = app.catalogue.install(&candidate, args.replace, app.clock.now())?;
    let id = trust.id.clone();
    ui.show(&InstallView { installed: id.clone(), file: file.display().to_string(), trust })?;
    ui.note(&format!(
        "Try `integ connect {id} --sandbox`; `integ connector setup {id}` says how to connect an account."
    ));
    Ok(0)
}

/// Everything is shown before the question, and also where nobody can be asked.
fn agreed(ui: &Ui, trust: &InstallReview, yes: bool) -> Result<bool> {
    let terminal = ui.terminal();
    if yes {
        if !ui.json {
            ui.note(&trust.lines(ui));
        }
        return Ok(true);
    }
    if !terminal.interactive && !ui.json {
        ui.note(&trust.lines(ui));
    }
    Ok(terminal.confirm(&trust.lines(ui))?)
}
