//! The locations of files: XDG folders, or everything under `INTEG_HOME`.

use std::path::{Path, PathBuf};

use super::ConfigError;
use crate::env;
use crate::model::WorkspaceName;

/// The folders of one user. Nothing is created by asking for a path.
#[derive(Clone, Debug)]
pub struct Folders {
    config: PathBuf,
    data: PathBuf,
}

impl Folders {
    /// From `INTEG_HOME`, else `XDG_CONFIG_HOME` and `XDG_DATA_HOME`, else `~/.config` and `~/.local/share`.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`] if none of them is set, [`ConfigError::UnexpandedTilde`] for a `~` that no shell has expanded.
    pub fn from_env() -> Result<Self, ConfigError> {
        if let Some(home) = env::var_os(&env::INTEG_HOME).map(PathBuf::from) {
            // Taken as it is it would be a folder of this name below whatever folder integ is run in.
            if home.components().next().is_some_and(|first| first.as_os_str().to_string_lossy().starts_with('~')) {
                return Err(ConfigError::UnexpandedTilde(home));
            }
            return Ok(Self::under(&home));
        }
        let user_home = env::var_os(&env::HOME).map(PathBuf::from).filter(|home| home.is_absolute());
        // The XDG specification says that a relative path is to be ignored.
        let folder = |variable, fallback: &str| {
            let named = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            named.or_else(|| Some(user_home.as_ref()?.join(fallback))).ok_or(ConfigError::NoHome)
        };
        Ok(Self {
            config: folder(&env::XDG_CONFIG_HOME, ".config")?.join("integ"),
            data: folder(&env::XDG_DATA_HOME, ".local/share")?.join("integ"),
        })
    }

    /// Folders that do not exist, for a process that needs none.
    pub fn absent() -> Self {
        // The home of users that have none, by Debian's convention.
        Self::under(Path::new("/nonexistent/integ"))
    }

    /// Everything under one folder, as `INTEG_HOME` has it.
    pub fn under(home: &Path) -> Self {
        let home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
        Self { config: home.clone(), data: home }
    }

    /// The one folder that holds everything, as `INTEG_HOME` has it; None if the XDG folders are used.
    pub fn shared_root(&self) -> Option<&Path> {
        (self.config == self.data).then_some(self.data.as_path())
    }

    /// `config.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The folder of all data.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The folder that holds one folder for each workspace.
    pub fn workspaces(&self) -> PathBuf {
        self.data.join("workspaces")
    }

    /// Returns the folder of one workspace, which need not exist.
    pub fn workspace(&self, name: &WorkspaceName) -> PathBuf {
        self.workspaces().join(name.as_str())
    }

    /// The vault of the apps that every workspace may use.
    pub fn global(&self) -> PathBuf {
        self.data.join("global")
    }

    /// The identity that opens this user's vaults, or the note that says where it is.
    pub fn identity(&self) -> PathBuf {
        self.data.join("identity")
    }

    /// Connectors that the user installed.
    pub fn connectors(&self) -> PathBuf {
        self.data.join("connectors")
    }
}
