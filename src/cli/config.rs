//! `integ config`.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

use super::table::table;
use super::ui::{Ui, View};
use crate::config::{Config, Folders, KEYS, load, set};
use crate::error::Result;

/// Show and change settings
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Every setting, and what it does
    Show,
    /// Where files lie
    Path,
    /// Change a setting: `integ config set vault.tokens keyring`
    Set { key: String, value: String },
    /// What may be pasted into a report: versions and settings, no names, paths or secrets
    Redacted,
}

struct ConfigView(Config);

impl Serialize for ConfigView {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let settings: Map<String, Value> = KEYS
            .iter()
            .map(|key| (key.name.to_owned(), (key.get)(&self.0).map_or(Value::Null, Value::String)))
            .collect();
        Map::from_iter([("settings".to_owned(), Value::Object(settings))]).serialize(serializer)
    }
}

impl View for ConfigView {
    fn text(&self, ui: &Ui) -> String {
        let row = |key: &crate::config::ConfigKey| {
            let value = (key.get)(&self.0).unwrap_or_else(|| "-".to_owned());
            vec![key.name.into(), value.into(), key.purpose.into()]
        };
        table(ui, &["setting", "value", "what it does"], KEYS.iter().map(row).collect())
    }
}

#[derive(Serialize)]
struct ConfigPathsView {
    config: String,
    workspaces: String,
    identity: String,
    connectors: String,
}

impl View for ConfigPathsView {
    fn text(&self, ui: &Ui) -> String {
        let rows = [
            ("settings", &self.config),
            ("workspaces", &self.workspaces),
            ("identity", &self.identity),
            ("connectors", &self.connectors),
        ];
        table(ui, &["what", "where"], rows.map(|(what, path)| vec![what.into(), path.clone().into()]).into())
    }
}

#[derive(Serialize)]
struct RedactedConfigView {
    version: &'static str,
    platform: String,
    sqlite: &'static str,
    settings: Map<String, Value>,
}

impl View for RedactedConfigView {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = vec![format!("integ {} on {}, SQLite {}", self.version, self.platform, self.sqlite)];
        lines.extend(self.settings.iter().map(|(key, value)| format!("{key} = {value}")));
        lines.join("\n")
    }
}

pub(super) fn run(ui: &Ui, folders: &Folders, args: ConfigArgs) -> Result<u8> {
    let file = folders.config_file();
    match args.command {
        ConfigCommand::Show => ui.show(&ConfigView(load(&file)?))?,
        ConfigCommand::Path => ui.show(&ConfigPathsView {
            config: file.display().to_string(),
            workspaces: folders.workspaces().display().to_string(),
            identity: folders.identity().display().to_string(),
            connectors: folders.connectors().display().to_string(),
        })?,
        ConfigCommand::Set { key, value } => {
            set(&file, &key, &value)?;
            ui.note(&format!("{key} is now {value}."));
        }
        ConfigCommand::Redacted => ui.show(&redacted(&load(&file)?))?,
    }
    Ok(0)
}

fn redacted(config: &Config) -> RedactedConfigView {
    // A command may name a file, a host or an account; a workspace is named by its user.
    let private =
        ["vault.passphrase_command", "workspace", "http.allow", "notify.command", "notify.url", "notify.secret_file"];
    let shown = |key: &crate::config::ConfigKey| {
        let value = (key.get)(config).map(|value| if private.contains(&key.name) { "(set)".to_owned() } else { value });
        (key.name.to_owned(), value.map_or(Value::Null, Value::String))
    };
    RedactedConfigView {
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        sqlite: crate::store::sqlite_version(),
        settings: KEYS.iter().map(shown).collect(),
    }
}
