//! `integ config`.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::table::table;
use super::ui::{Render, Ui};
use crate::config::{ConfigKey, Folders, KEYS};
use crate::error::Result;
use crate::ops::workspaces;
use crate::view::workspace::{ConfigPathsView, RedactedSettingsView, SettingView, SettingsView};

/// Show and change settings
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show every setting and what it does
    Show,
    /// Show where files are
    Path,
    /// Print the value of a setting: `integ config get workspace`
    Get {
        /// The setting, as `integ config show` names it
        #[arg(add = super::complete::settings())]
        key: String,
    },
    /// Reset a setting to its default: `integ config unset vault.tokens`
    Unset {
        /// The setting, as `integ config show` names it
        #[arg(add = super::complete::settings())]
        key: String,
    },
    /// Change a setting: `integ config set vault.tokens keyring`
    Set {
        /// The setting, as `integ config show` names it
        #[arg(add = super::complete::settings())]
        key: String,
        /// Its new value
        value: String,
    },
    /// Print versions and settings for a bug report, without names, paths or secrets
    Redacted,
}

impl Render for SettingsView {
    fn text(&self, ui: &Ui) -> String {
        let row = |key: &ConfigKey| {
            let value = self.settings.get(key.name).and_then(Value::as_str).unwrap_or("-");
            vec![key.name.into(), value.into(), key.purpose.into()]
        };
        table(ui, &["setting", "value", "description"], KEYS.iter().map(row).collect())
    }
}

impl Render for SettingView {
    fn text(&self, _ui: &Ui) -> String {
        self.value.clone().unwrap_or_default()
    }
}

impl Render for ConfigPathsView {
    fn text(&self, ui: &Ui) -> String {
        let rows = [
            ("settings", &self.config),
            ("workspaces", &self.workspaces),
            ("identity", &self.identity),
            ("connectors", &self.connectors),
        ];
        table(ui, &["files", "path"], rows.map(|(what, path)| vec![what.into(), path.clone().into()]).into())
    }
}

impl Render for RedactedSettingsView {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = vec![format!("integ {} on {}, SQLite {}", self.version, self.platform, self.sqlite)];
        lines.extend(self.settings.iter().map(|(key, value)| format!("{key} = {value}")));
        lines.join("\n")
    }
}

pub(super) fn run(ui: &Ui, folders: &Folders, args: ConfigArgs) -> Result<u8> {
    match args.command {
        ConfigCommand::Show => ui.show(&workspaces::show_settings(folders)?)?,
        ConfigCommand::Path => ui.show(&workspaces::config_paths(folders))?,
        ConfigCommand::Set { key, value } => {
            workspaces::set_setting(folders, &key, &value)?;
            ui.note(&format!("{key} is now {value}."));
        }
        ConfigCommand::Get { key } => {
            ui.show(&workspaces::get_setting(folders, &key)?)?;
        }
        ConfigCommand::Unset { key } => {
            let was_set = workspaces::unset_setting(folders, &key)?;
            let value = workspaces::get_setting(folders, &key)?.value;
            let now = value.map_or_else(|| "not set".to_owned(), |value| format!("{value}, its default"));
            ui.note(&format!("{key} {} {now}.", if was_set { "is now" } else { "was not set; it is" }));
        }
        ConfigCommand::Redacted => ui.show(&workspaces::redacted_settings(folders)?)?,
    }
    Ok(0)
}
