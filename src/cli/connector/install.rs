//! `integ connector install`.

use clap::{ArgAction, Args};

use super::super::table::{TableCell, table};
use super::super::ui::{Render, Ui, escape};
use super::source::read;
use crate::connector::{Capabilities, HostUse, InstallCandidate, MAX_CONNECTOR_BYTES};
use crate::error::Result;
use crate::ops::connectors::{InstallConnectorRequest, install_connector, review_install};
use crate::runtime::Workspace;
use crate::view::connector::{DefaultScopeView, InstallReviewView, InstallView};

/// Install a connector from a file or URL
///
/// Checks the file, shows which hosts it contacts and what it asks for, and asks for confirmation. The installed file
/// is pinned by its SHA-256: if it changes later, it is refused. Files that you put into the folder yourself need no
/// installation.
#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    /// File or https URL of the connector
    #[arg(value_name = "PATH|URL")]
    source: String,
    /// Replace the connector of the same id, even a built-in one
    #[arg(long, action = ArgAction::SetTrue)]
    replace: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// SHA-256 that the file must have
    #[arg(long, value_name = "HEX", value_parser = digest)]
    sha256: Option<String>,
}

fn digest(text: &str) -> Result<String, String> {
    let valid = text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
    if valid { Ok(text.to_ascii_lowercase()) } else { Err("a SHA-256 has 64 hexadecimal digits".to_owned()) }
}

impl Render for InstallView {
    fn text(&self, _ui: &Ui) -> String {
        format!("Installed {} from {}", self.connector, escape(&self.review.source))
    }
}

/// Without colour: what is said on the terminal is escaped once more.
fn review_lines(review: &InstallReviewView, ui: &Ui) -> String {
    let mut out = vec![
        format!("{} ({}): {}", escape(&review.name), review.id, escape(&review.description)),
        format!("  from     {}", escape(&review.source)),
        format!("  sha-256  {}", review.sha256),
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
    let Capabilities { hosts, variables, scopes, secrets } = &review.capabilities;
    part("It contacts these hosts", hosts.iter().map(host).collect(), &["host", "used for", ""]);
    part("`integ exec` sets these variables", variables.iter().map(one).collect(), &["variable"]);
    let scope = |scope: &DefaultScopeView| {
        let purpose = scope.purpose.clone().unwrap_or_else(|| "not described".to_owned());
        vec![scope.scope.clone().into(), purpose.into(), scope.auth.clone().into()]
    };
    let default = review.default_scopes.iter().map(scope).collect();
    part("It asks for these scopes by default", default, &["scope", "purpose", "method"]);
    let further = scopes.iter().filter(|scope| review.default_scopes.iter().all(|one| one.scope != **scope));
    part("It can ask for these scopes as well", further.map(one).collect(), &["scope"]);
    part("It asks for these secrets", secrets.iter().map(one).collect(), &["secret"]);
    part("New since the installed file", review.added.iter().map(one).collect(), &["capability"]);
    if let Some(replaces) = &review.replaces {
        out.push(format!("It replaces {}.", escape(replaces)));
    }
    match &review.connections {
        None => out.push("The vault is locked, so the connections that will use it are unknown.".to_owned()),
        Some(names) if names.is_empty() => {}
        Some(names) => {
            out.push(format!("These connections will use it, with the grants they have: {}.", names.join(", ")));
        }
    }
    out.join("\n")
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &InstallArgs) -> Result<u8> {
    let file = read(workspace, &args.source, MAX_CONNECTOR_BYTES)?;
    let candidate = InstallCandidate::validate(file.bytes, &file.source, file.path.as_deref(), args.sha256.as_deref())?;
    let request = InstallConnectorRequest { candidate, replace: args.replace };
    let review = workspace.run(review_install(workspace, &request))?;
    if !agreed(ui, &review, args.yes)? {
        ui.note("Nothing was changed.");
        return Ok(1);
    }
    let installed = workspace.run(install_connector(workspace, request))?;
    ui.show(&installed)?;
    let id = installed.connector;
    ui.note(&format!(
        "Try `integ connect {id} --sandbox`; `integ connector setup {id}` says how to connect an account."
    ));
    Ok(0)
}

/// Everything is shown before the question, and also without a terminal.
fn agreed(ui: &Ui, review: &InstallReviewView, yes: bool) -> Result<bool> {
    let terminal = ui.terminal();
    if yes {
        if !ui.json {
            ui.note(&review_lines(review, ui));
        }
        return Ok(true);
    }
    if !terminal.interactive && !ui.json {
        ui.note(&review_lines(review, ui));
    }
    Ok(terminal.confirm(&review_lines(review, ui))?)
}
