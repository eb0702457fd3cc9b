//! A file given by its path or URL.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;
use url::Url;

use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::ops::connectors::download_document;
use crate::runtime::Workspace;

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
    /// As it is shown and stored: an absolute path, or the URL without its query, which may hold a token.
    pub source: String,
    pub path: Option<PathBuf>,
    pub url: Option<Url>,
}

/// Reads a file, or gets a URL, of at most `largest` bytes.
///
/// # Errors
/// [`ConnectorSourceError`], and those of [`download_document`].
pub(super) fn read(workspace: &Workspace, given: &str, largest: usize) -> Result<SourceFile> {
    if given.contains("://") {
        let url = Url::parse(given).map_err(|source| ConnectorSourceError::Url { given: given.to_owned(), source })?;
        let bytes = workspace.run(download_document(workspace, &url, largest))?;
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
    // What has no end is not a document: one byte more than allowed shows that.
    let limit = u64::try_from(largest).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > largest {
        return Err(ConnectorSourceError::TooLarge { from: path.display().to_string(), largest });
    }
    Ok(bytes)
}
