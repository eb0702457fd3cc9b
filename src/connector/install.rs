//! Installs connectors into the user's folder, and removes them.
//!
//! What is installed was checked and shown before; its pin holds the catalogue to that very text. Installations take turns
//! by a lock on the folder, and a reader needs none (see `pin`).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::catalogue::{MAX_ID_LENGTH, built_in, is_valid_id, parse};
use super::pin::{Pin, sha256_hex};
use super::{Capabilities, Catalogue, Connector, FileDiagnostic, validate};
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::{self, TrustError};

/// Bytes of a connector's file. The longest of those built in has a twentieth of it.
pub const MAX_CONNECTOR_BYTES: usize = 1024 * 1024;

/// A file that is valid and not installed yet.
#[derive(Debug)]
pub struct InstallCandidate {
    pub connector: Connector,
    /// Where it comes from, as it is shown and stored.
    pub source: String,
    /// In lower-case hex.
    pub sha256: String,
    text: String,
}

/// What exists at an id before something is installed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExistingConnector {
    None,
    BuiltIn,
    /// A file that the user wrote.
    UserFile(PathBuf),
    /// An installed one and where it came from.
    Installed {
        source: String,
        sha256: String,
        capabilities: Capabilities,
    },
}

/// Why a connector was not installed or not removed.
#[derive(Debug, Error)]
pub enum InstallError {
    #[error("{source_name} is larger than the limit of {MAX_CONNECTOR_BYTES} bytes for connector files")]
    TooLarge { source_name: String },
    #[error("{source_name} is not a connector file:{}", lines(diagnostics))]
    Invalid { source_name: String, path: Option<PathBuf>, diagnostics: Vec<FileDiagnostic> },
    #[error(
        "{id:?} cannot be the id of a connector: at most {MAX_ID_LENGTH} letters, digits and '-', a letter or digit first"
    )]
    InvalidId { id: String },
    #[error("the SHA-256 of {source_name} is {found}, not {expected}")]
    ChecksumMismatch { source_name: String, expected: String, found: String },
    #[error("connector {id} is built in")]
    ReplacesBuiltIn { id: String, source_name: String },
    #[error("connector {id} is already installed, from {installed_from}")]
    AlreadyInstalled { id: String, installed_from: String, source_name: String },
    #[error("connector {id} already exists as a file of your own: {}", path.display())]
    UserFileExists { id: String, path: PathBuf, source_name: String },
    #[error("connector {id} is built in and cannot be removed")]
    CannotRemoveBuiltIn { id: String },
    #[error("connector {id} is a file of your own; delete the file yourself")]
    NotInstalled { id: String, path: PathBuf },
    #[error("connector {id:?} is not installed")]
    Unknown { id: String },
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// One mistake a line. A key of a hostile file may hold line breaks, which would look like lines of ours.
fn lines(mistakes: &[FileDiagnostic]) -> String {
    let harmless = |text: String| text.replace(|c: char| c.is_control(), "\u{fffd}");
    mistakes.iter().map(|mistake| format!("\n  {}", harmless(mistake.to_string()))).collect()
}

impl Remedy for InstallError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::TooLarge { .. } => Diagnostic::new(Kind::Rejected, "too_large"),
            Self::InvalidId { .. } | Self::Invalid { path: None, .. } => {
                Diagnostic::new(Kind::Rejected, "invalid_connector")
            }
            Self::Invalid { path: Some(path), .. } => Diagnostic::new(Kind::Rejected, "invalid_connector")
                .run(format!("integ connector validate {}", path.display())),
            Self::ChecksumMismatch { .. } => Diagnostic::new(Kind::Rejected, "sha256_mismatch")
                .hint(Hint::text("do not install it; ask the source of the SHA-256 why they differ")),
            Self::ReplacesBuiltIn { source_name: from, .. } => Diagnostic::new(Kind::Usage, "built_in_connector")
                .hint(Hint::new("to replace it with yours:", format!("integ connector install {from} --replace"))),
            Self::CannotRemoveBuiltIn { id } => Diagnostic::new(Kind::Usage, "built_in_connector").hint(Hint::new(
                format!("to replace it, install a file with the id {id}:"),
                "integ connector install FILE --replace",
            )),
            Self::AlreadyInstalled { source_name: from, .. } => Diagnostic::new(Kind::Usage, "connector_exists")
                .run(format!("integ connector install {from} --replace")),
            Self::UserFileExists { source_name: from, .. } => Diagnostic::new(Kind::Usage, "connector_exists")
                .hint(Hint::new("to replace your file:", format!("integ connector install {from} --replace"))),
            Self::NotInstalled { path, .. } => {
                Diagnostic::new(Kind::Usage, "not_installed").run(format!("rm {}", path.display()))
            }
            Self::Unknown { .. } => Diagnostic::new(Kind::NotFound, "unknown_connector").run("integ connector list"),
            Self::Untrusted(error) => error.diagnostic(),
            Self::Write { path, .. } => Diagnostic::new(Kind::Failed, "io").hint(Hint::new(
                "see what is wrong there:",
                format!("ls -ld {}", path.parent().unwrap_or(path).display()),
            )),
        }
    }
}

impl InstallCandidate {
    /// Returns the text of the file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Checks what was read from `source`; `path` is its file, where it is one. `expected` is the SHA-256 that it must
    /// have, in hex.
    ///
    /// # Errors
    /// [`InstallError`] with every mistake that it has.
    pub fn validate(
        bytes: Vec<u8>,
        source: &str,
        path: Option<&Path>,
        expected: Option<&str>,
    ) -> Result<Self, InstallError> {
        let from = source.to_owned();
        if bytes.len() > MAX_CONNECTOR_BYTES {
            return Err(InstallError::TooLarge { source_name: from });
        }
        let found = sha256_hex(&bytes);
        // First of all: of another text than the expected one nothing else matters.
        if let Some(expected) = expected.map(str::to_ascii_lowercase).filter(|expected| *expected != found) {
            return Err(InstallError::ChecksumMismatch { source_name: from, expected, found });
        }
        let invalid = |mistakes| InstallError::Invalid {
            source_name: from.clone(),
            path: path.map(Path::to_owned),
            diagnostics: mistakes,
        };
        let whole = |message: String| vec![FileDiagnostic { line: 0, key: String::new(), message }];
        let text = String::from_utf8(bytes).map_err(|_| invalid(whole("it is not text in UTF-8".to_owned())))?;
        let mistakes = validate(&text);
        if !mistakes.is_empty() {
            return Err(invalid(mistakes));
        }
        let connector = parse(&text).map_err(|message| invalid(whole(message)))?;
        if !is_valid_id(&connector.id) {
            return Err(InstallError::InvalidId { id: connector.id });
        }
        Ok(Self { connector, source: from, sha256: found, text })
    }
}

impl Catalogue {
    /// What exists at the id of a candidate now.
    ///
    /// # Errors
    /// Without `replace`, [`InstallError`] for whatever exists there.
    pub fn check_install(
        &self,
        candidate: &InstallCandidate,
        replace: bool,
    ) -> Result<ExistingConnector, InstallError> {
        let id = candidate.connector.id.clone();
        let from = candidate.source.clone();
        let taken = self.existing(&id);
        match &taken {
            _ if replace => {}
            ExistingConnector::None => {}
            ExistingConnector::BuiltIn => return Err(InstallError::ReplacesBuiltIn { id, source_name: from }),
            ExistingConnector::UserFile(path) => {
                return Err(InstallError::UserFileExists { id, path: path.clone(), source_name: from });
            }
            ExistingConnector::Installed { source, .. } => {
                return Err(InstallError::AlreadyInstalled { id, installed_from: source.clone(), source_name: from });
            }
        }
        Ok(taken)
    }

    fn existing(&self, id: &str) -> ExistingConnector {
        let path = self.path_of(id);
        // A link that leads nowhere stands there too.
        let stands = fs::symlink_metadata(&path).is_ok();
        match Pin::read(&self.pin_path_of(id)) {
            Ok(Some(pin)) if stands && (pin.replaces_built_in || built_in(id).is_none()) => {
                ExistingConnector::Installed { source: pin.source, sha256: pin.sha256, capabilities: pin.capabilities }
            }
            _ if built_in(id).is_some() => ExistingConnector::BuiltIn,
            _ if stands => ExistingConnector::UserFile(path),
            _ => ExistingConnector::None,
        }
    }

    /// Puts a candidate into the user's folder, of mode 0600, and its pin beside it.
    ///
    /// # Errors
    /// As [`Catalogue::check_install`], and [`InstallError::Write`].
    pub fn install(
        &self,
        candidate: &InstallCandidate,
        replace: bool,
        now: Timestamp,
    ) -> Result<PathBuf, InstallError> {
        let id = &candidate.connector.id;
        let _turn = self.lock()?;
        let taken = self.check_install(candidate, replace)?;
        self.remove_temporary_files();
        let (path, pin_path) = (self.path_of(id), self.pin_path_of(id));
        let mut pin = Pin {
            id: id.clone(),
            source: candidate.source.clone(),
            sha256: candidate.sha256.clone(),
            former_sha256: self.installed_text(id).map(|text| sha256_hex(&text)),
            installed_at: now,
            replaces_built_in: built_in(id).is_some(),
            capabilities: Capabilities::of(&candidate.connector),
        };
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| InstallError::Write { path, source }
        };
        let write_file = || files::write_atomic(&path, candidate.text.as_bytes()).map_err(at(&path));
        if taken == ExistingConnector::BuiltIn {
            // No file counts before a built-in one without a pin that says so: the pin is what puts it in effect.
            write_file()?;
            pin.write(&pin_path).map_err(at(&pin_path))?;
            return Ok(path);
        }
        pin.write(&pin_path).map_err(at(&pin_path))?;
        write_file()?;
        if pin.former_sha256.take().is_some() {
            pin.write(&pin_path).map_err(at(&pin_path))?;
        }
        Ok(path)
    }

    /// The text in effect now of what is about to be replaced. What nobody may use now is not made usable for a moment.
    fn installed_text(&self, id: &str) -> Option<Vec<u8>> {
        let (text, source) = self.text(id).ok()?;
        source.path().map(|_| text.into_bytes())
    }

    /// Takes an installed connector away; a built-in one that it stood before is in effect again.
    ///
    /// # Errors
    /// [`InstallError`] for what is not installed, [`InstallError::Write`].
    pub fn remove(&self, id: &str) -> Result<(), InstallError> {
        let _turn = self.lock()?;
        self.check_removable(id)?;
        self.remove_temporary_files();
        // The pin last: a file without one would pass for the user's own.
        for path in [self.path_of(id), self.pin_path_of(id)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(InstallError::Write { path, source }),
                Ok(()) => {}
            }
        }
        files::sync_folder(self.folder())
            .map_err(|source| InstallError::Write { path: self.folder().to_owned(), source })
    }

    /// Whether there is an installed connector of this id.
    ///
    /// # Errors
    /// [`InstallError`] that says what there is instead.
    pub fn check_removable(&self, id: &str) -> Result<(), InstallError> {
        let id = id.to_owned();
        let unknown = || InstallError::Unknown { id: id.clone() };
        if !is_valid_id(&id) {
            return Err(unknown());
        }
        match self.existing(&id) {
            ExistingConnector::Installed { .. } => Ok(()),
            // A pin that cannot be read makes its connector unusable: removing it fixes that.
            _ if Pin::read(&self.pin_path_of(&id)).is_err() => Ok(()),
            ExistingConnector::BuiltIn => Err(InstallError::CannotRemoveBuiltIn { id }),
            ExistingConnector::UserFile(path) => Err(InstallError::NotInstalled { id, path }),
            ExistingConnector::None => Err(unknown()),
        }
    }

    /// The turn of this process, for as long as the file is open.
    pub(super) fn lock(&self) -> Result<File, InstallError> {
        let path = self.folder().join(".lock");
        files::check_parents(&path)?;
        let held = files::create_private_folder(self.folder()).and_then(|()| {
            let file = files::open_or_create_private(&path)?;
            file.lock()?;
            Ok(file)
        });
        held.map_err(|source| InstallError::Write { path, source })
    }

    /// Removes what killed installations left half written. To be called while the turn is held.
    pub(super) fn remove_temporary_files(&self) {
        for entry in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && (name.contains(".toml.") || name.contains(".pin.json.")) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
