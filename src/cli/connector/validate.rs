//! `integ connector validate`.

use std::path::PathBuf;

use clap::Args;
use thiserror::Error;

use super::super::ui::{Render, Tone, Ui, escape};
use crate::connector::MAX_CONNECTOR_BYTES;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::files;
use crate::ops::connectors::{ValidateTarget, validate_connectors};
use crate::runtime::Workspace;
use crate::view::connector::ValidationListView;

/// Check connector files for mistakes
#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// Files, or ids of connectors (default: all connectors)
    #[arg(value_name = "FILE|ID")]
    files: Vec<String>,
}

impl Render for ValidationListView {
    fn text(&self, ui: &Ui) -> String {
        let mut out = Vec::new();
        for file in &self.files {
            if file.valid {
                out.push(format!("{}: {}", file.file, ui.paint(Tone::Good, "valid")));
            }
            for diagnostic in &file.diagnostics {
                let key = if diagnostic.key.is_empty() { String::new() } else { format!("{}: ", diagnostic.key) };
                out.push(escape(&format!("{}:{}: {key}{}", file.file, diagnostic.line, diagnostic.message)));
            }
        }
        out.join("\n")
    }
}

#[derive(Debug, Error)]
#[error("cannot read {}", path.display())]
struct ConnectorReadError {
    path: PathBuf,
    source: std::io::Error,
}

impl Remedy for ConnectorReadError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::NotFound, "io")
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ValidateArgs) -> Result<u8> {
    let targets = args.files.into_iter().map(target).collect::<Result<_, _>>()?;
    let validated = workspace.run(validate_connectors(workspace, targets))?;
    ui.show(&validated)?;
    let valid = validated.files.iter().filter(|file| file.valid).count();
    Ok(match valid {
        _ if valid == validated.files.len() => 0,
        0 => Kind::Failed.exit_code(),
        _ => Kind::Partial.exit_code(),
    })
}

fn target(name: String) -> Result<ValidateTarget, ConnectorReadError> {
    let path = PathBuf::from(&name);
    if !name.ends_with(".toml") && !path.is_file() {
        return Ok(ValidateTarget::Connector(name));
    }
    let bytes = files::read_user_file(&path, MAX_CONNECTOR_BYTES as u64);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other));
    let text = text.map_err(|source| ConnectorReadError { path, source })?;
    Ok(ValidateTarget::Text { name, text })
}
