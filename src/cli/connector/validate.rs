//! `integ connector validate`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::super::ui::{Tone, Ui, View, escape};
use crate::connector::{FileDiagnostic, MAX_CONNECTOR_BYTES, validate};
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::files;
use crate::runtime::App;

/// Find every mistake of connector files; all connectors where none is named
#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// Files, or ids of connectors
    #[arg(value_name = "FILE|ID")]
    files: Vec<String>,
}

#[derive(Serialize)]
struct DiagnosticView {
    line: usize,
    key: String,
    message: String,
}

#[derive(Serialize)]
struct ValidationView {
    file: String,
    valid: bool,
    mistakes: Vec<DiagnosticView>,
}

#[derive(Serialize)]
struct ValidationListView {
    files: Vec<ValidationView>,
}

impl View for ValidationListView {
    fn text(&self, ui: &Ui) -> String {
        let mut out = Vec::new();
        for file in &self.files {
            if file.valid {
                out.push(format!("{}: {}", file.file, ui.paint(Tone::Good, "valid")));
            }
            for mistake in &file.mistakes {
                let key = if mistake.key.is_empty() { String::new() } else { format!("{}: ", mistake.key) };
                out.push(escape(&format!("{}:{}: {key}{}", file.file, mistake.line, mistake.message)));
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

pub(super) fn run(app: &App, ui: &Ui, args: ValidateArgs) -> Result<u8> {
    let files = validate_all(app, args.files)?;
    let valid = files.iter().filter(|file| file.valid).count();
    let total = files.len();
    ui.show(&ValidationListView { files })?;
    Ok(match valid {
        _ if valid == total => 0,
        0 => Kind::Failed.exit_code(),
        _ => Kind::Partial.exit_code(),
    })
}

fn validate_all(app: &App, files: Vec<String>) -> Result<Vec<ValidationView>> {
    let files = if files.is_empty() { app.catalogue.ids().into_iter().map(|(id, _)| id).collect() } else { files };
    let mut validated = Vec::new();
    for file in files {
        let path = PathBuf::from(&file);
        let text = if file.ends_with(".toml") || path.is_file() {
            let bytes = files::read_user_file(&path, MAX_CONNECTOR_BYTES as u64);
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other));
            text.map_err(|source| ConnectorReadError { path, source })?
        } else {
            app.catalogue.text(&file)?.0
        };
        let mistakes: Vec<FileDiagnostic> = validate(&text);
        validated.push(ValidationView {
            file,
            valid: mistakes.is_empty(),
            mistakes: mistakes
                .into_iter()
                .map(|mistake| DiagnosticView { line: mistake.line, key: mistake.key, message: mistake.message })
                .collect(),
        });
    }
    Ok(validated)
}
