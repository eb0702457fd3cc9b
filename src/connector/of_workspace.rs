//! Connectors of one workspace: those that callers of its API installed.
//!
//! A workspace has a pin for each, in a folder of its own; the files lie together under their digests, so that workspaces
//! which install the same file share it. A file whose text is not what the pin says is refused. The connectors of the machine
//! come first: no caller of an API takes the place of what its owner chose.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::catalogue::is_valid_id;
use super::install::{InstallCandidate, InstallError};
use super::pin::{Pin, sha256_hex};
use super::{Capabilities, Catalogue, ConnectorError, ConnectorSource, MAX_CONNECTOR_BYTES};
use crate::clock::Timestamp;
use crate::files;

/// The folder, beside the connectors of the machine, with a folder of pins for each workspace.
const WORKSPACES: &str = "workspaces";

/// The folder with the files, by digest.
const FILES: &str = "files";

const PIN: &str = ".pin.json";

impl Catalogue {
    /// Returns the catalogue of a workspace: that of the machine, and what callers of the workspace's API installed.
    #[must_use]
    pub fn of_workspace(&self, name: &str) -> Self {
        let mut catalogue = self.clone();
        catalogue.workspace = Some(self.folder().join(WORKSPACES).join(name));
        catalogue
    }

    /// Whether a caller of the workspace's API installed the connector of this id, and the machine has none.
    pub fn is_of_workspace(&self, id: &str) -> bool {
        self.workspace_ids().iter().any(|known| known == id) && !self.contains_on_machine(id)
    }

    /// The ids of the workspace's own connectors.
    pub(super) fn workspace_ids(&self) -> Vec<String> {
        let entries = self.workspace.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(PIN).map(str::to_owned)).filter(|id| is_valid_id(id)).collect()
    }

    fn workspace_pin_path(&self, id: &str) -> Option<PathBuf> {
        let folder = self.workspace.as_ref().filter(|_| is_valid_id(id))?;
        Some(folder.join(format!("{id}{PIN}")))
    }

    fn shared_file(&self, sha256: &str) -> PathBuf {
        self.folder().join(FILES).join(format!("{sha256}.toml"))
    }

    /// The text of a connector of the workspace.
    ///
    /// # Errors
    /// Those of [`Self::text`].
    pub(super) fn workspace_file(&self, id: &str) -> Result<Option<(String, ConnectorSource)>, ConnectorError> {
        let Some(pin_path) = self.workspace_pin_path(id) else { return Ok(None) };
        files::check_trusted(&pin_path)?;
        let pin = Pin::read(&pin_path);
        let invalid = |source| ConnectorError::InvalidPin { id: id.to_owned(), path: pin_path.clone(), source };
        let Some(pin) = pin.map_err(invalid)? else { return Ok(None) };
        let path = self.shared_file(&pin.sha256);
        let changed = || ConnectorError::ChecksumMismatch { id: id.to_owned(), path: path.clone() };
        let text = files::read_trusted_text(&path, MAX_CONNECTOR_BYTES as u64)?.ok_or_else(changed)?;
        if sha256_hex(text.as_bytes()) != pin.sha256 {
            return Err(changed());
        }
        Ok(Some((text, ConnectorSource::Workspace { path })))
    }

    /// Installs a candidate in the workspace, in the place of the one of its id that the workspace has.
    ///
    /// # Errors
    /// [`InstallError`] for an id that a connector of the machine has, and [`InstallError::Write`].
    pub fn install_in_workspace(&self, candidate: &InstallCandidate, now: Timestamp) -> Result<(), InstallError> {
        let id = &candidate.connector.id;
        let _turn = self.lock()?;
        // Whatever the machine has of this id stays in effect.
        self.check_install(candidate, false)?;
        let Some(pin_path) = self.workspace_pin_path(id) else { return Err(InstallError::Unknown { id: id.clone() }) };
        let path = self.shared_file(&candidate.sha256);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| InstallError::Write { path, source }
        };
        for folder in [path.parent(), pin_path.parent()].into_iter().flatten() {
            files::create_private_folder(folder).map_err(at(folder))?;
        }
        files::write_atomic(&path, candidate.text().as_bytes()).map_err(at(&path))?;
        let pin = Pin {
            id: id.clone(),
            source: candidate.source.clone(),
            sha256: candidate.sha256.clone(),
            former_sha256: None,
            installed_at: now,
            replaces_built_in: false,
            capabilities: Capabilities::of(&candidate.connector),
        };
        pin.write(&pin_path).map_err(at(&pin_path))?;
        self.remove_unused_files();
        Ok(())
    }

    /// Removes a connector of the workspace. Its file is deleted unless another workspace has it as well.
    ///
    /// # Errors
    /// [`InstallError::Write`].
    pub fn remove_from_workspace(&self, id: &str) -> Result<(), InstallError> {
        let _turn = self.lock()?;
        let Some(pin_path) = self.workspace_pin_path(id) else { return Ok(()) };
        match fs::remove_file(&pin_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(InstallError::Write { path: pin_path, source }),
            Ok(()) => {}
        }
        self.remove_unused_files();
        Ok(())
    }

    /// Removes the connectors of a workspace that is deleted.
    ///
    /// # Errors
    /// [`InstallError::Write`].
    pub fn remove_workspace(&self, name: &str) -> Result<(), InstallError> {
        let folder = self.folder().join(WORKSPACES).join(name);
        if !folder.exists() {
            return Ok(());
        }
        let _turn = self.lock()?;
        fs::remove_dir_all(&folder).map_err(|source| InstallError::Write { path: folder.clone(), source })?;
        self.remove_unused_files();
        Ok(())
    }

    /// Deletes the files that no workspace's pin names. To be called while the turn is held.
    fn remove_unused_files(&self) {
        let folders = fs::read_dir(self.folder().join(WORKSPACES)).into_iter().flatten().flatten();
        let pins = folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
        let mut used = Vec::new();
        for pin in pins {
            match Pin::read(&pin.path()) {
                Ok(Some(pin)) => used.push(format!("{}.toml", pin.sha256)),
                Ok(None) => {}
                // It may name any of them.
                Err(_) => return,
            }
        }
        for entry in fs::read_dir(self.folder().join(FILES)).into_iter().flatten().flatten() {
            if !used.iter().any(|name| entry.file_name() == name.as_str()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "id = \"acme\"\nname = \"Acme\"\ncategory = \"generic\"\ndescription = \"x\"\n\
                        docs = \"https://acme.example\"\n[auth.key]\nlabel = \"Key\"\nfields.key.prompt = \"Key\"\n\
                        [api]\nbase = \"https://api.acme.example\"\n";

    fn candidate(text: &str) -> InstallCandidate {
        InstallCandidate::validate(text.as_bytes().to_vec(), "https://example.com/acme.toml", None, None).unwrap()
    }

    #[test]
    fn workspaces_share_a_file_and_see_only_their_own_connectors() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Catalogue::new(&folder.path().join("connectors"));
        let (one, two, other) = (machine.of_workspace("one"), machine.of_workspace("two"), machine.of_workspace("x"));
        let files = || fs::read_dir(folder.path().join("connectors/files")).unwrap().count();
        for workspace in [&one, &two] {
            workspace.install_in_workspace(&candidate(TEXT), Timestamp::UNIX_EPOCH).unwrap();
            assert!(workspace.is_of_workspace("acme"));
            assert!(matches!(workspace.text("acme").unwrap().1, ConnectorSource::Workspace { .. }));
        }
        assert_eq!(files(), 1);
        for catalogue in [&machine, &other] {
            assert!(!catalogue.contains("acme") && catalogue.get("acme").is_err());
        }
        // A new version of one leaves the other as it is.
        let newer = TEXT.replace("description = \"x\"", "description = \"y\"");
        one.install_in_workspace(&candidate(&newer), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((files(), one.get("acme").unwrap().description.clone()), (2, "y".to_owned()));
        assert_eq!(two.get("acme").unwrap().description, "x");
        one.remove_from_workspace("acme").unwrap();
        assert!(!one.contains("acme") && two.contains("acme"));
        assert_eq!(files(), 1);
        // What is changed later is refused.
        let path = two.text("acme").unwrap().1.path().unwrap().to_owned();
        fs::write(&path, newer).unwrap();
        assert!(matches!(two.get("acme"), Err(ConnectorError::ChecksumMismatch { .. })));
        machine.remove_workspace("two").unwrap();
        assert!(!two.contains("acme"));
        assert_eq!(files(), 0);
    }

    #[test]
    fn what_the_machine_has_cannot_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Catalogue::new(folder.path()).of_workspace("one");
        let built_in = TEXT.replace("id = \"acme\"", "id = \"slack\"");
        let refused = workspace.install_in_workspace(&candidate(&built_in), Timestamp::UNIX_EPOCH);
        assert!(matches!(refused, Err(InstallError::ReplacesBuiltIn { .. })));
        files::write_atomic(&folder.path().join("acme.toml"), TEXT.as_bytes()).unwrap();
        let refused = workspace.install_in_workspace(&candidate(TEXT), Timestamp::UNIX_EPOCH);
        assert!(matches!(refused, Err(InstallError::UserFileExists { .. })));
    }
}
