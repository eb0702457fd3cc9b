//! Taking connectors of others into the user's folder, and out of it again.
//!
//! What is installed was checked and shown before; its pin holds the catalogue to that very text. Installations take turns
//! by a lock on the folder, and a reader needs none (see `pin`).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::catalogue::{LONGEST_ID, built_in, is_id, parse};
use super::pin::{Pin, sha256};
use super::{Capabilities, Catalogue, Connector, Mistake, validate};
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::{self, TrustError};

/// Bytes of a connector's file. The longest of those built in has a twentieth of it.
pub const LARGEST: usize = 1024 * 1024;

/// A file that is valid and not installed yet.
#[derive(Debug)]
pub struct Candidate {
    pub connector: Connector,
    /// Where it comes from, as it is shown and kept.
    pub source: String,
    /// In lower-case hex.
    pub sha256: String,
    text: String,
}

/// What stands at an id before something is installed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Free,
    BuiltIn,
    /// A file that the user wrote.
    Own(PathBuf),
    /// An installed one and where it came from.
    Installed {
        source: String,
        sha256: String,
        capabilities: Capabilities,
    },
}

#[derive(Debug, Error)]
pub enum InstallError {
    #[error("{from} is larger than a connector file can be: {LARGEST} bytes")]
    TooLarge { from: String },
    #[error("{from} is not a connector file:{}", lines(mistakes))]
    Invalid { from: String, path: Option<PathBuf>, mistakes: Vec<Mistake> },
    #[error(
        "{id:?} cannot be the id of a connector: at most {LONGEST_ID} letters, digits and '-', a letter or digit first"
    )]
    Id { id: String },
    #[error("the SHA-256 of {from} is {found}, not {expected}")]
    OtherText { from: String, expected: String, found: String },
    #[error("the connector {id} is built in")]
    BuiltIn { id: String, from: String },
    #[error("the connector {id} is installed already, from {source_of_it}")]
    Installed { id: String, source_of_it: String, from: String },
    #[error("there is a connector {id} already, one of your own: {}", path.display())]
    Own { id: String, path: PathBuf, from: String },
    #[error("the connector {id} is built in and cannot be removed")]
    Permanent { id: String },
    #[error("the connector {id} is a file of your own, which no command removes")]
    NotInstalled { id: String, path: PathBuf },
    #[error("no connector {id:?} is installed")]
    Unknown { id: String },
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// One mistake a line. A key of a hostile file may hold line breaks, which would look like lines of ours.
fn lines(mistakes: &[Mistake]) -> String {
    let harmless = |text: String| text.replace(|c: char| c.is_control(), "\u{fffd}");
    mistakes.iter().map(|mistake| format!("\n  {}", harmless(mistake.to_string()))).collect()
}

impl Remedy for InstallError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::TooLarge { .. } => Diagnostic::new(Kind::Failed, "too_large"),
            Self::Id { .. } | Self::Invalid { path: None, .. } => Diagnostic::new(Kind::Failed, "invalid_connector"),
            Self::Invalid { path: Some(path), .. } => Diagnostic::new(Kind::Failed, "invalid_connector")
                .run(format!("integ connector validate {}", path.display())),
            Self::OtherText { .. } => Diagnostic::new(Kind::Failed, "sha256_mismatch")
                .hint(Hint::text("do not trust it before the one who gave you the SHA-256 has explained why")),
            Self::BuiltIn { from, .. } => Diagnostic::new(Kind::Usage, "built_in_connector")
                .hint(Hint::new("to put yours in its place:", format!("integ connector install {from} --replace"))),
            Self::Permanent { id } => Diagnostic::new(Kind::Usage, "built_in_connector").hint(Hint::new(
                format!("to use another in its place, install a file whose id is {id}:"),
                "integ connector install FILE --replace",
            )),
            Self::Installed { from, .. } => Diagnostic::new(Kind::Usage, "connector_exists")
                .run(format!("integ connector install {from} --replace")),
            Self::Own { from, .. } => Diagnostic::new(Kind::Usage, "connector_exists")
                .hint(Hint::new("to give yours up:", format!("integ connector install {from} --replace"))),
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

impl Candidate {
    /// Checks what was read from `source`; `path` is its file, where it is one. `expected` is the SHA-256 that it must
    /// have, in hex.
    ///
    /// # Errors
    /// [`InstallError`] with every mistake that it has.
    pub fn check(
        bytes: Vec<u8>,
        source: &str,
        path: Option<&Path>,
        expected: Option<&str>,
    ) -> Result<Self, InstallError> {
        let from = source.to_owned();
        if bytes.len() > LARGEST {
            return Err(InstallError::TooLarge { from });
        }
        let found = sha256(&bytes);
        // First of all: of another text than the expected one nothing else matters.
        if let Some(expected) = expected.map(str::to_ascii_lowercase).filter(|expected| *expected != found) {
            return Err(InstallError::OtherText { from, expected, found });
        }
        let invalid = |mistakes| InstallError::Invalid { from: from.clone(), path: path.map(Path::to_owned), mistakes };
        let whole = |message: String| vec![Mistake { line: 0, key: String::new(), message }];
        let text = String::from_utf8(bytes).map_err(|_| invalid(whole("it is not text in UTF-8".to_owned())))?;
        let mistakes = validate(&text);
        if !mistakes.is_empty() {
            return Err(invalid(mistakes));
        }
        let connector = parse(&text).map_err(|message| invalid(whole(message)))?;
        if !is_id(&connector.id) {
            return Err(InstallError::Id { id: connector.id });
        }
        Ok(Self { connector, source: from, sha256: found, text })
    }
}

impl Catalogue {
    /// What stands at the id of a candidate now.
    ///
    /// # Errors
    /// Without `replace`, [`InstallError`] for whatever stands there.
    pub fn admit(&self, candidate: &Candidate, replace: bool) -> Result<Taken, InstallError> {
        let id = candidate.connector.id.clone();
        let from = candidate.source.clone();
        let taken = self.taken(&id);
        match &taken {
            _ if replace => {}
            Taken::Free => {}
            Taken::BuiltIn => return Err(InstallError::BuiltIn { id, from }),
            Taken::Own(path) => return Err(InstallError::Own { id, path: path.clone(), from }),
            Taken::Installed { source, .. } => {
                return Err(InstallError::Installed { id, source_of_it: source.clone(), from });
            }
        }
        Ok(taken)
    }

    fn taken(&self, id: &str) -> Taken {
        let path = self.file_of(id);
        // A link that leads nowhere stands there too.
        let stands = fs::symlink_metadata(&path).is_ok();
        match Pin::read(&self.pin_of(id)) {
            Ok(Some(pin)) if stands && (pin.replaces_built_in || built_in(id).is_none()) => {
                Taken::Installed { source: pin.source, sha256: pin.sha256, capabilities: pin.capabilities }
            }
            _ if built_in(id).is_some() => Taken::BuiltIn,
            _ if stands => Taken::Own(path),
            _ => Taken::Free,
        }
    }

    /// Puts a candidate into the user's folder, of mode 0600, and its pin beside it.
    ///
    /// # Errors
    /// As [`Catalogue::admit`], and [`InstallError::Write`].
    pub fn install(&self, candidate: &Candidate, replace: bool, now: Timestamp) -> Result<PathBuf, InstallError> {
        let id = &candidate.connector.id;
        let _turn = self.hold()?;
        let taken = self.admit(candidate, replace)?;
        self.sweep();
        let (path, pin_path) = (self.file_of(id), self.pin_of(id));
        let mut pin = Pin {
            id: id.clone(),
            source: candidate.source.clone(),
            sha256: candidate.sha256.clone(),
            former_sha256: self.installed_text(id).map(|text| sha256(&text)),
            installed_at: now,
            replaces_built_in: built_in(id).is_some(),
            capabilities: Capabilities::of(&candidate.connector),
        };
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| InstallError::Write { path, source }
        };
        let write_file = || files::write_atomic(&path, candidate.text.as_bytes()).map_err(at(&path));
        if taken == Taken::BuiltIn {
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
        let _turn = self.hold()?;
        self.removable(id)?;
        self.sweep();
        // The pin last: a file without one would pass for the user's own.
        for path in [self.file_of(id), self.pin_of(id)] {
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
    pub fn removable(&self, id: &str) -> Result<(), InstallError> {
        let id = id.to_owned();
        let unknown = || InstallError::Unknown { id: id.clone() };
        if !is_id(&id) {
            return Err(unknown());
        }
        match self.taken(&id) {
            Taken::Installed { .. } => Ok(()),
            // A pin that cannot be read makes its connector unusable: that can be mended by removing it.
            _ if Pin::read(&self.pin_of(&id)).is_err() => Ok(()),
            Taken::BuiltIn => Err(InstallError::Permanent { id }),
            Taken::Own(path) => Err(InstallError::NotInstalled { id, path }),
            Taken::Free => Err(unknown()),
        }
    }

    /// The turn of this process, for as long as the file is open.
    pub(super) fn hold(&self) -> Result<File, InstallError> {
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
    pub(super) fn sweep(&self) {
        for entry in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && (name.contains(".toml.") || name.contains(".pin.json.")) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
