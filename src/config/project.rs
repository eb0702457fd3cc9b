//! `.integ.toml`: the settings of a project, found upward from the working directory.
//!
//! It comes with other people's code, or from anyone who can write to a folder above. So it may choose a workspace and name
//! connections, and nothing that runs a program or holds a secret; it takes no name that means something already, and
//! what it changes is announced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use thiserror::Error;

use super::{ConfigError, Folders};
use crate::error::{Diagnostic, Kind, Remedy};
use crate::model::{ConnectionName, NameError, WorkspaceName};
use crate::{files, nesting};

const NAME: &str = ".integ.toml";

/// Bytes of a project's file: some thousand names.
const LARGEST: u64 = 64 * 1024;

/// What the project's file says; nothing if there is none.
#[derive(Clone, Debug, Default)]
pub struct ProjectConfig {
    path: PathBuf,
    pub workspace: Option<String>,
    /// Names of the project's own for connections: `tracker = "jira@work"`.
    connections: BTreeMap<String, String>,
    /// Those of them that are the id of a connector.
    shadowed_connectors: BTreeSet<String>,
    announce: Option<fn(&str)>,
    announced: Arc<Mutex<BTreeSet<String>>>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectFile {
    #[serde(default)]
    workspace: Option<String>,
    #[serde(default)]
    connections: BTreeMap<String, String>,
}

/// Why a name or a workspace from the project's file cannot be used.
#[derive(Debug, Error)]
pub enum ProjectError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{} gives the name {alias:?} to {target:?}, but {alias} is a connector", path.display())]
    AliasConflict { path: PathBuf, alias: String, target: String },
    #[error("workspace \"{workspace}\", chosen by {}, does not exist", path.display())]
    WorkspaceNotFound { path: PathBuf, workspace: WorkspaceName },
}

impl Remedy for ProjectError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Name(error) => error.diagnostic(),
            Self::AliasConflict { path, .. } => {
                Diagnostic::new(Kind::Usage, "name_taken").run(format!("${{EDITOR:-vi}} {}", files::shell_quoted(path)))
            }
            Self::WorkspaceNotFound { workspace, .. } => Diagnostic::new(Kind::NotFound, "workspace_not_found")
                .run(format!("integ workspace create {workspace}")),
        }
    }
}

impl ProjectConfig {
    /// The nearest file, from the working directory upward.
    ///
    /// # Errors
    /// [`ConfigError::Untrusted`] if another user owns the file or others can write to it, [`ConfigError::Syntax`].
    pub fn find() -> Result<Self, ConfigError> {
        let Ok(folder) = std::env::current_dir() else { return Ok(Self::default()) };
        let paths = folder.ancestors().map(|folder| folder.join(NAME));
        paths
            .into_iter()
            .find(|path| fs::symlink_metadata(path).is_ok())
            .map_or(Ok(Self::default()), |path| read(&path))
    }

    /// Sets what says to the user what the file changes, and which names connectors have already.
    #[must_use]
    pub fn with(self, announce: Option<fn(&str)>, is_connector: impl Fn(&str) -> bool) -> Self {
        let taken = self.connections.keys().filter(|alias| is_connector(alias)).cloned().collect();
        Self { announce, shadowed_connectors: taken, ..self }
    }

    /// The workspace that the file chooses in place of the `usual` one; absent if it changes nothing.
    ///
    /// # Errors
    /// [`ProjectError::Name`]; [`ProjectError::WorkspaceNotFound`] if it must exist and does not.
    pub fn resolve_workspace(
        &self,
        usual: &str,
        folders: &Folders,
        must_exist: bool,
    ) -> Result<Option<WorkspaceName>, ProjectError> {
        let Some(named) = self.workspace.as_deref().filter(|named| *named != usual) else { return Ok(None) };
        let workspace = WorkspaceName::from_str(named)?;
        if must_exist && !folders.workspace(&workspace).is_dir() {
            return Err(ProjectError::WorkspaceNotFound { path: self.path.clone(), workspace });
        }
        self.announce(format!("Using workspace {workspace}, which {} chooses.", self.path.display()));
        Ok(Some(workspace))
    }

    /// The file that says it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The connection that a word on the command line means.
    ///
    /// # Errors
    /// [`ProjectError::Name`], [`ProjectError::AliasConflict`].
    pub fn resolve(&self, word: &str) -> Result<ConnectionName, ProjectError> {
        let Some(target) = self.connections.get(word) else { return Ok(ConnectionName::from_str(word)?) };
        if self.shadowed_connectors.contains(word) {
            let (alias, target) = (word.to_owned(), target.clone());
            return Err(ProjectError::AliasConflict { path: self.path.clone(), alias, target });
        }
        let name = ConnectionName::from_str(target)?;
        self.announce(format!("Using {name} for {word}, as {} says.", self.path.display()));
        Ok(name)
    }

    /// Announces a change, once.
    fn announce(&self, text: String) {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(announce) = self.announce.filter(|_| !announced.contains(&text)) {
            announce(&text);
            announced.insert(text);
        }
    }
}

fn read(path: &Path) -> Result<ProjectConfig, ConfigError> {
    let text = files::read_owned_text(path, LARGEST)?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<ProjectConfig, ConfigError> {
    let invalid = |offset: usize, message: &str| {
        let line = text[..offset.min(text.len())].matches('\n').count() + 1;
        ConfigError::Syntax { path: path.to_owned(), line, message: message.to_owned() }
    };
    if let Some(offset) = nesting::find_too_deep(text) {
        return Err(invalid(offset, nesting::TOO_DEEP));
    }
    let document: ProjectFile = toml::from_str(text)
        .map_err(|error: toml::de::Error| invalid(error.span().map_or(0, |span| span.start), error.message()))?;
    // With an "@" it would be the name of a connection; of another character no command line would be safe.
    let plain = |alias: &str| alias.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) && !alias.is_empty();
    if let Some(alias) = document.connections.keys().find(|alias| !plain(alias)) {
        let message = format!("connections.{alias:?}: a name has letters, digits, '-' and '_' alone");
        return Err(invalid(text.find(alias.as_str()).unwrap_or(0), &message));
    }
    let ProjectFile { workspace, connections } = document;
    Ok(ProjectConfig { path: path.to_owned(), workspace, connections, ..ProjectConfig::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_a_workspace_and_connections_and_nothing_else() {
        let path = Path::new(NAME);
        let project = parse(path, "workspace = \"team\"\n[connections]\ntracker = \"jira@work\"\n").unwrap();
        assert_eq!(project.workspace.as_deref(), Some("team"));
        assert_eq!(project.resolve("tracker").unwrap().to_string(), "jira@work");
        assert_eq!(project.resolve("slack").unwrap().to_string(), "slack");
        for table in ["[vault]\npassphrase_command", "[notify]\ncommand", "[notify]\nurl", "[http]\nallow"] {
            let mistake = parse(path, &format!("\n{table} = \"x\""));
            assert!(matches!(mistake, Err(ConfigError::Syntax { line: 2, .. })), "{table}");
        }
    }

    #[test]
    fn a_name_that_means_something_already_is_refused() {
        let path = Path::new(NAME);
        let project = parse(path, "[connections]\nslack = \"stripe\"\ntracker = \"jira\"\n").unwrap();
        let project = project.with(None, |id| id == "slack");
        assert!(matches!(project.resolve("slack"), Err(ProjectError::AliasConflict { .. })));
        assert_eq!(project.resolve("tracker").unwrap().to_string(), "jira");
        for alias in ["slack@work", "", "a b", "\\u001b[2J"] {
            let text = format!("[connections]\n\"{alias}\" = \"jira\"\n");
            assert!(matches!(parse(path, &text), Err(ConfigError::Syntax { .. })), "{alias}");
        }
    }
}
