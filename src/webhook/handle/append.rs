//! Appends each event to a file, one JSON object per line.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde_json::Value;

use super::handler::{EventHandler, EventInput, HandleError, HandlerOutcome, HandlerResult};
use crate::json;
use crate::model::HandlerKind;

/// The file that events are written to.
pub(super) struct AppendHandler {
    pub(super) path: PathBuf,
}

#[async_trait]
impl EventHandler for AppendHandler {
    fn kind(&self) -> HandlerKind {
        HandlerKind::Append
    }

    fn target(&self) -> String {
        self.path.display().to_string()
    }

    async fn handle(&self, input: &EventInput<'_>) -> HandlerResult {
        let appended = append(&self.path, &line(input.document, input.exact_json))
            .map_err(|source| HandleError::Append { path: self.path.clone(), source });
        appended.map(|()| HandlerOutcome::Done(None)).into()
    }
}

/// An event as a line of JSON, its payload as the service wrote it.
fn line(document: &Value, exact: Option<&str>) -> String {
    let (Some(exact), Some(members)) = (exact, document.as_object()) else { return document.to_string() };
    let others: Vec<String> = members
        .iter()
        .filter(|(name, _)| *name != "payload")
        .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
        .collect();
    format!("{{{},\"payload\":{}}}", others.join(","), json::minified(exact))
}

/// One line, written at once and on the disk when this returns.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
}
