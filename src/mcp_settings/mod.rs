//! The settings of MCP clients on this machine: which file each client reads, and the entry of one server in it.
//!
//! An edit changes the entry of one server and nothing else: comments, unknown members and the order of a file stay, and a
//! result that would differ anywhere else is refused. Nothing secret is written: the entry starts `integ mcp proxy`.

mod edit;
mod json_file;
mod location;
mod toml_file;

use std::path::PathBuf;

use thiserror::Error;

pub use edit::SettingsEdit;
pub use location::{program, settings_file};

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::TrustError;
use crate::model::words;

/// The programs with known settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProgram {
    ClaudeCode,
    Codex,
    VsCode,
}

words!(ClientProgram { ClaudeCode => "claude-code", Codex => "codex", VsCode => "vscode" });

/// Which of a client's files is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsScope {
    /// The user's own, for every project.
    User,
    /// That of the current folder, which a team may share.
    Project,
}

words!(SettingsScope { User => "user", Project => "project" });

/// The entry of a server: the program that the client starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    /// What the client calls the server.
    pub name: String,
    pub command: String,
    pub args: Vec<String>,
    /// Variables that the program needs; none of them is secret.
    pub env: Vec<(String, String)>,
}

/// Why a file of settings is not edited.
#[derive(Debug, Error)]
pub enum SettingsError {
    #[error("the home folder is not known")]
    NoHome,
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: TrustError },
    #[error("{} is not text", path.display())]
    NotText { path: PathBuf },
    #[error("cannot parse {}: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("{} has another server named {name:?}", path.display())]
    NameTaken { path: PathBuf, name: String },
    #[error("{} cannot be edited without changing something else", path.display())]
    NotEditable { path: PathBuf },
    #[error("{} changed in the meantime", path.display())]
    Changed { path: PathBuf },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

impl Remedy for SettingsError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoHome => Diagnostic::new(Kind::Usage, "no_home").hint(Hint::text("set HOME")),
            Self::Read { source, .. } => source.diagnostic(),
            Self::NotText { .. } | Self::Malformed { .. } | Self::NotEditable { .. } => {
                Diagnostic::new(Kind::Failed, "malformed_settings")
                    .hint(Hint::text("nothing was changed; correct the file first"))
            }
            Self::NameTaken { .. } => {
                Diagnostic::new(Kind::Usage, "name_taken").hint(Hint::text("choose another name"))
            }
            Self::Changed { .. } => {
                Diagnostic::new(Kind::Temporary, "settings_changed").hint(Hint::text("nothing was written; try again"))
            }
            Self::Write { .. } => Diagnostic::new(Kind::Failed, "io"),
        }
    }
}
