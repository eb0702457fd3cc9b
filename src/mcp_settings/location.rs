//! The locations of clients' settings, and how clients can start integ.

use std::path::{Path, PathBuf};

use super::{ClientProgram, SettingsError, SettingsScope};
use crate::env;

/// Returns the file in which a client looks for servers. It need not exist.
///
/// # Errors
/// [`SettingsError::NoHome`].
pub fn settings_file(client: ClientProgram, scope: SettingsScope, folder: &Path) -> Result<PathBuf, SettingsError> {
    let home = || env::var_os(&env::HOME).map(PathBuf::from).ok_or(SettingsError::NoHome);
    let named = |variable| env::var_os(variable).map(PathBuf::from);
    Ok(match (client, scope) {
        // https://code.claude.com/docs/en/mcp, "MCP installation scopes".
        (ClientProgram::ClaudeCode, SettingsScope::Project) => folder.join(".mcp.json"),
        (ClientProgram::ClaudeCode, SettingsScope::User) => match named(&env::CLAUDE_CONFIG_DIR) {
            Some(folder) => folder.join(".claude.json"),
            None => home()?.join(".claude.json"),
        },
        // https://developers.openai.com/codex/config-reference
        (ClientProgram::Codex, SettingsScope::Project) => folder.join(".codex/config.toml"),
        (ClientProgram::Codex, SettingsScope::User) => match named(&env::CODEX_HOME) {
            Some(folder) => folder.join("config.toml"),
            None => home()?.join(".codex/config.toml"),
        },
        // https://code.visualstudio.com/docs/agents/reference/mcp-configuration
        (ClientProgram::VsCode, SettingsScope::Project) => folder.join(".vscode/mcp.json"),
        (ClientProgram::VsCode, SettingsScope::User) => vscode_user_folder(home()?).join("Code/User/mcp.json"),
    })
}

#[cfg(target_os = "macos")]
fn vscode_user_folder(home: PathBuf) -> PathBuf {
    home.join("Library/Application Support")
}

#[cfg(windows)]
fn vscode_user_folder(home: PathBuf) -> PathBuf {
    env::var_named("APPDATA").map_or_else(|| home.join("AppData/Roaming"), PathBuf::from)
}

#[cfg(not(any(target_os = "macos", windows)))]
#[expect(clippy::needless_pass_by_value, reason = "other systems join to it")]
fn vscode_user_folder(home: PathBuf) -> PathBuf {
    let named = env::var_os(&env::XDG_CONFIG_HOME).map(PathBuf::from).filter(|path| path.is_absolute());
    named.unwrap_or_else(|| home.join(".config"))
}

/// Returns how a client starts integ. A user's own settings name the program by its path: programs that a desktop starts
/// have another `PATH` than a shell. A project's settings are shared with people who have it elsewhere, and say `integ`.
pub fn program(scope: SettingsScope) -> String {
    const NAME: &str = "integ";
    if scope == SettingsScope::Project {
        return NAME.to_owned();
    }
    let Ok(running) = std::env::current_exe() else { return NAME.to_owned() };
    // The path by which a package manager links to it outlives an update; the file that it leads to may not.
    let is_running = |path: &PathBuf| path.is_absolute() && path.canonicalize().is_ok_and(|path| path == running);
    let search = env::var_named("PATH").unwrap_or_default();
    let linked = std::env::split_paths(&search).map(|folder| folder.join(NAME)).find(is_running);
    linked.unwrap_or(running).to_string_lossy().into_owned()
}
