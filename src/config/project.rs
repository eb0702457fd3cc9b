//! `.integ.toml`: what a project says of itself, found upward from the working directory.
//!
//! It comes with other people's code. So it may choose a workspace and name connections, and nothing that runs a program
//! or holds a secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use super::ConfigError;
use crate::connection::{ConnectionName, NameError};

const NAME: &str = ".integ.toml";

/// What the project's file says; nothing where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    #[serde(default)]
    pub workspace: Option<String>,
    /// Names of the project's own for connections: `tracker = "jira@work"`.
    #[serde(default)]
    connections: BTreeMap<String, String>,
}

impl Project {
    /// The nearest file, from the working directory upward.
    ///
    /// # Errors
    /// [`ConfigError::Read`], [`ConfigError::Invalid`].
    pub fn find() -> Result<Self, ConfigError> {
        let Ok(folder) = std::env::current_dir() else { return Ok(Self::default()) };
        folder
            .ancestors()
            .map(|folder| folder.join(NAME))
            .find(|path| path.is_file())
            .map_or(Ok(Self::default()), |path| read(&path))
    }

    /// The connection that a word on the command line means.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn resolve(&self, word: &str) -> Result<ConnectionName, NameError> {
        ConnectionName::from_str(self.connections.get(word).map_or(word, String::as_str))
    }
}

fn read(path: &PathBuf) -> Result<Project, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Project, ConfigError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let offset = error.span().map_or(0, |span| span.start);
        let line = text[..offset.min(text.len())].matches('\n').count() + 1;
        ConfigError::Invalid { path: path.to_owned(), line, message: error.message().to_owned() }
    })
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
            assert!(matches!(mistake, Err(ConfigError::Invalid { line: 2, .. })), "{table}");
        }
    }
}
