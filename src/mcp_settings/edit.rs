//! A change of a settings file: computed, shown, then written atomically.

use std::path::{Path, PathBuf};

use similar::ChangeTag;

use super::{ClientProgram, ServerEntry, SettingsError, json_file, toml_file};
use crate::files::{self, read_regular};

/// Settings are a few kilobytes; some clients keep their history in the same file.
const MAX_BYTES: u64 = 64 << 20;

/// What a file holds, and what it is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsEdit {
    pub path: PathBuf,
    /// Absent if there is no file yet.
    before: Option<String>,
    after: String,
}

impl SettingsEdit {
    /// Computes the edit that adds a server to a client's file, or updates its entry.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn install(client: ClientProgram, path: &Path, entry: &ServerEntry) -> Result<Self, SettingsError> {
        Self::compute(path, |path, text| match client {
            ClientProgram::ClaudeCode => json_file::set_server(path, text, "mcpServers", entry),
            ClientProgram::VsCode => json_file::set_server(path, text, "servers", entry),
            ClientProgram::Codex => toml_file::set_server(path, text, entry),
        })
    }

    /// Computes the edit that removes a server from a client's file. Only one that starts integ is removed.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn uninstall(client: ClientProgram, path: &Path, name: &str) -> Result<Self, SettingsError> {
        Self::compute(path, |path, text| match client {
            ClientProgram::ClaudeCode => json_file::remove_server(path, text, "mcpServers", name),
            ClientProgram::VsCode => json_file::remove_server(path, text, "servers", name),
            ClientProgram::Codex => toml_file::remove_server(path, text, name),
        })
    }

    fn compute(
        path: &Path,
        edit: impl FnOnce(&Path, &str) -> Result<String, SettingsError>,
    ) -> Result<Self, SettingsError> {
        let before = read(path)?;
        let after = edit(path, before.as_deref().unwrap_or_default())?;
        Ok(Self { path: path.to_owned(), before, after })
    }

    /// Whether the file is to be written at all.
    pub fn is_change(&self) -> bool {
        self.before.as_deref().unwrap_or_default() != self.after
    }

    /// The lines that change: those that are removed begin with `-`, those that are added with `+`. The lines around them, which
    /// may hold secrets of other servers, are left out.
    pub fn diff(&self) -> String {
        /// A file that is one long line is not shown.
        const LONGEST: usize = 200;
        let before = self.before.as_deref().unwrap_or_default();
        let diff = similar::TextDiff::from_lines(before, self.after.as_str());
        let changes: Vec<(ChangeTag, &str)> = diff
            .iter_all_changes()
            .filter(|change| change.tag() != ChangeTag::Equal)
            .map(|change| (change.tag(), change.value().trim_end()))
            .collect();
        // A line that only gets or loses its comma does not change what it says.
        let without_comma = |text: &str| text.trim_end_matches(',').to_owned();
        let is_comma = |tag: ChangeTag, text: &str| {
            changes.iter().any(|(other, line)| *other != tag && without_comma(line) == without_comma(text))
        };
        let shown = changes.iter().filter(|(tag, text)| !is_comma(*tag, text));
        let lines = shown.map(|(tag, text)| match text.chars().count() {
            length if length > LONGEST => format!("{tag}(a line of {length} characters)"),
            _ => format!("{tag}{text}"),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Writes the file as a whole, with the rights that it has. A link stays a link: the file that it leads to is written.
    ///
    /// # Errors
    /// [`SettingsError::Changed`] if somebody else has changed it since; [`SettingsError::Write`].
    pub fn apply(&self) -> Result<(), SettingsError> {
        if read(&self.path)? != self.before {
            return Err(SettingsError::Changed { path: self.path.clone() });
        }
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        files::replace_keeping_mode(&target, self.after.as_bytes())
            .map_err(|source| SettingsError::Write { path: self.path.clone(), source })
    }
}

fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    let bytes =
        read_regular(path, MAX_BYTES).map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    let text = |bytes| String::from_utf8(bytes).map_err(|_| SettingsError::NotText { path: path.to_owned() });
    bytes.map(text).transpose()
}

/// Whether a program with these arguments is integ's proxy: an entry that this module wrote.
pub(super) fn is_proxy(args: &[&str]) -> bool {
    args.windows(2).any(|pair| pair == ["mcp", "proxy"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_of_the_entry_are_shown() {
        let edit = |before: &str, after: &str| SettingsEdit {
            path: PathBuf::from("x.json"),
            before: Some(before.to_owned()),
            after: after.to_owned(),
        };
        let shown = edit("{\n  \"a\": \"secret\"\n}\n", "{\n  \"a\": \"secret\",\n  \"b\": 1\n}\n").diff();
        assert_eq!(shown, "+  \"b\": 1");
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(200));
        assert_eq!(edit(&long, "{}").diff(), "-(a line of 208 characters)\n+{}");
        assert!(!edit("a", "a").is_change() && edit("a", "a").diff().is_empty());
    }
}
