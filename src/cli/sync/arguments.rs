//! NAME=VALUE arguments of the sync commands, and their errors.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::shell_quoted;
use crate::model::stream::StreamParams;

/// An argument that cannot be used.
#[derive(Debug, Error)]
pub(super) enum SyncArgumentError {
    #[error("{text:?} is not NAME=VALUE")]
    InvalidPair { text: String },
    #[error("{text:?} is not CONNECTION/STREAM")]
    Target { text: String },
    #[error("--since and --until are for --mode backfill")]
    NoBackfill,
    #[error("a backfill needs --since")]
    NoSince,
    #[error("cannot read {path:?} as exported cursors")]
    Import { path: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot write the output")]
    Output { source: std::io::Error },
    #[error("cannot read {path:?}")]
    ReadState { path: String, source: std::io::Error },
    #[error("{path:?} contains no state written by integ")]
    State { path: String, source: serde_json::Error },
    #[error("Parquet cannot be written to a terminal")]
    Terminal { target: String },
    #[error("{}", no_single_stream(.targets))]
    NoSingleStream { targets: Vec<String> },
    #[error("{} contains files that integ did not create", folder.display())]
    ForeignFolder { folder: PathBuf, targets: Vec<String> },
}

impl Remedy for SyncArgumentError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::InvalidPair { .. } | Self::NoBackfill => Diagnostic::new(Kind::Usage, "invalid_value"),
            Self::NoSince => Diagnostic::new(Kind::Usage, "invalid_value")
                .run("integ sync CONNECTION/STREAM --mode backfill --since 30d"),
            Self::Target { .. } => Diagnostic::new(Kind::Usage, "invalid_target"),
            Self::Import { .. } => Diagnostic::new(Kind::Usage, "invalid_import"),
            Self::Output { .. } | Self::ReadState { .. } => Diagnostic::new(Kind::Failed, "io"),
            Self::Terminal { target } => Diagnostic::new(Kind::Usage, "invalid_value")
                .run(format!("integ records {target} --format parquet > FILE")),
            Self::NoSingleStream { targets } => Diagnostic::new(Kind::Usage, "invalid_target").hint(Hint::new(
                "name one as CONNECTION/STREAM, or write files:",
                format!("integ records{} --output DIR", words(targets)),
            )),
            Self::ForeignFolder { folder, targets } => {
                let command = format!("integ records{} --output {} --force", words(targets), shell_quoted(folder));
                Diagnostic::new(Kind::Usage, "folder_not_empty")
                    .hint(Hint::new("name an empty folder, or write beside those files:", command))
            }
            Self::State { .. } => Diagnostic::new(Kind::Usage, "invalid_state")
                .hint(Hint::text("give what the target printed, or an empty file to send everything")),
        }
    }
}

fn no_single_stream(targets: &[String]) -> &'static str {
    if targets.len() > 1 {
        "only the records of one stream can be printed"
    } else {
        "--format, --since and --limit need a stream"
    }
}

/// Words of a command line, with a space before each.
fn words(words: &[String]) -> String {
    words.iter().map(|word| format!(" {}", shell_quoted(Path::new(word)))).collect()
}

/// Stream parameters from NAME=VALUE words; neither may be empty.
pub(super) fn parse_pairs(texts: &[String]) -> Result<StreamParams, SyncArgumentError> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(SyncArgumentError::InvalidPair { text: text.clone() }),
    };
    texts.iter().map(pair).collect()
}
