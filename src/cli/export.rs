//! `integ export`.

use std::path::PathBuf;

use clap::Args;

use super::table::relative;
use super::ui::{Render, Ui};
use super::vault::output::OutputFile;
use crate::error::Result;
use crate::ops::bundles::{self, ExportRequest};
use crate::runtime::Workspace;
use crate::vault::STANDARD_STREAM;
use crate::view::bundle::{BundleLifetime, BundleView, BundledConnectionView};

/// Export connections for a machine without a store, such as a CI job
///
/// Prints a bundle: a text of a few KB, encrypted to an age public key. Store it as a secret, set INTEG_BUNDLE to it
/// and INTEG_IDENTITY to the secret key, and `token`, `exec`, `api`, `call`, `status` and `test` work there without a
/// folder. A bundle holds access tokens, API keys and client credentials. A refresh token is left out unless the
/// service never rotates it, so that a job cannot end your own access.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Connections to export
    #[arg(value_name = "CONNECTION", required = true, add = super::complete::connections())]
    pub connections: Vec<String>,
    /// Age public key of the machine that will open the bundle; repeatable
    #[arg(long, value_name = "AGE1…", required = true)]
    pub to: Vec<String>,
    /// File to write (default: standard output)
    #[arg(long, value_name = "FILE", default_value = STANDARD_STREAM)]
    pub output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

impl Render for BundleView {
    fn text(&self, _ui: &Ui) -> String {
        self.bundle.trim_end().to_owned()
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &ExportArgs) -> Result<u8> {
    let command = format!("export {} --to {} --output", args.connections.join(" "), args.to.join(" --to "));
    let Some(output) = OutputFile::new(ui, &args.output, args.force, &command)? else { return Ok(1) };
    let request = ExportRequest {
        connections: args.connections.iter().map(|word| ui.project.resolve(word)).collect::<Result<_, _>>()?,
        recipients: args.to.clone(),
    };
    let view = workspace.run(bundles::export(workspace, request))?;
    match output.file() {
        Some(file) => {
            output.write(view.bundle.as_bytes(), &command)?;
            ui.note(&format!("Wrote {} bytes to {file}.", view.bundle.len()));
        }
        None => ui.show(&view)?,
    }
    for connection in &view.connections {
        ui.note(&lifetime_note(connection));
    }
    Ok(0)
}

/// Until when a connection of the bundle works.
fn lifetime_note(view: &BundledConnectionView) -> String {
    let BundledConnectionView { connection, works_until, works_for, .. } = view;
    let until = works_until.as_ref().zip(*works_for).map(|(at, seconds)| format!("until {at} ({})", relative(seconds)));
    let works = match (view.lifetime, until) {
        (BundleLifetime::Expires, Some(until)) => format!("works {until}; export it again before then"),
        (BundleLifetime::Renewed, Some(until)) => format!("renews itself, {until}"),
        (BundleLifetime::Renewed, None) => "renewed until its grant is revoked".to_owned(),
        (BundleLifetime::Expires | BundleLifetime::UntilRevoked, _) => "works until it is revoked".to_owned(),
    };
    let target = view.target.as_ref().map(|target| format!(" ({target})")).unwrap_or_default();
    let file = if view.needs_connector_file {
        format!("; the machine needs the connector {} as well", connection.connector())
    } else {
        String::new()
    };
    format!("{connection}{target} {works}{file}.")
}
