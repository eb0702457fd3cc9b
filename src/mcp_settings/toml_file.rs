//! Settings in TOML: those of Codex. Pure.

use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, value};

use super::edit::is_proxy;
use super::{ServerEntry, SettingsError};

/// The table of servers.
const SERVERS: &str = "mcp_servers";

/// The text with the entry of a server.
pub(super) fn set_server(path: &Path, text: &str, entry: &ServerEntry) -> Result<String, SettingsError> {
    let mut document = parse(path, text)?;
    let malformed = |reason: String| SettingsError::Malformed { path: path.to_owned(), reason };
    let servers = document.entry(SERVERS).or_insert_with(|| {
        let mut table = Table::new();
        // Only its servers have headings.
        table.set_implicit(true);
        Item::Table(table)
    });
    let servers = servers.as_table_like_mut().ok_or_else(|| malformed(format!("{SERVERS} is not a table")))?;
    if servers.get(&entry.name).is_some_and(|known| !is_own(known)) {
        return Err(SettingsError::NameTaken { path: path.to_owned(), name: entry.name.clone() });
    }
    let server = servers.entry(&entry.name).or_insert_with(toml_edit::table);
    let server = server.as_table_like_mut().ok_or_else(|| malformed(format!("{} is not a table", entry.name)))?;
    set_member(server, "command", value(entry.command.as_str()));
    set_member(server, "args", value(Array::from_iter(entry.args.iter().map(String::as_str))));
    if !entry.env.is_empty() {
        let env = server.entry("env").or_insert_with(|| value(toml_edit::InlineTable::new()));
        let env = env.as_table_like_mut().ok_or_else(|| malformed("env is not a table".to_owned()))?;
        for (name, text) in &entry.env {
            set_member(env, name, value(text.as_str()));
        }
    }
    Ok(document.to_string())
}

/// The text without the entry of a server; unchanged if there is none.
pub(super) fn remove_server(path: &Path, text: &str, name: &str) -> Result<String, SettingsError> {
    let mut document = parse(path, text)?;
    let Some(servers) = document.get_mut(SERVERS).and_then(Item::as_table_like_mut) else { return Ok(text.to_owned()) };
    match servers.get(name) {
        None => return Ok(text.to_owned()),
        Some(known) if !is_own(known) => {
            return Err(SettingsError::NameTaken { path: path.to_owned(), name: name.to_owned() });
        }
        Some(_) => servers.remove(name),
    };
    Ok(document.to_string())
}

fn parse(path: &Path, text: &str) -> Result<DocumentMut, SettingsError> {
    let malformed = |error: toml_edit::TomlError| {
        let reason = error.message().to_owned();
        SettingsError::Malformed { path: path.to_owned(), reason }
    };
    text.parse().map_err(malformed)
}

/// Whether an entry starts integ's proxy.
fn is_own(entry: &Item) -> bool {
    let args = entry.as_table_like().and_then(|entry| entry.get("args")?.as_array());
    is_proxy(&args.into_iter().flatten().filter_map(toml_edit::Value::as_str).collect::<Vec<_>>())
}

/// Sets a member unless it has the value already, so that a second edit changes nothing.
fn set_member(table: &mut dyn TableLike, name: &str, item: Item) {
    let text = |item: &Item| {
        let plain = |value: &toml_edit::Value| value.clone().decorated("", "").to_string();
        match item.as_array() {
            Some(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
            None => item.as_value().map(plain).unwrap_or_default(),
        }
    };
    if table.get(name).is_none_or(|known| text(known) != text(&item)) {
        table.insert(name, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, args: &[&str]) -> Result<String, SettingsError> {
        let entry = ServerEntry {
            name: "linear".to_owned(),
            command: "integ".to_owned(),
            args: args.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![("INTEG_HOME".to_owned(), "/data".to_owned())],
        };
        set_server(Path::new("config.toml"), text, &entry)
    }

    const ARGS: &[&str] = &["mcp", "proxy", "mcp@linear"];

    #[test]
    fn everything_else_stays_as_it_was_written() {
        let before =
            "# mine\nmodel = 'x' # keep\n\n[mcp_servers.other]\ncommand = \"npx\"\n\n[profiles.a]\nn = 1_000\n";
        let edited = set(before, ARGS).unwrap();
        for part in ["# mine", "model = 'x' # keep", "[mcp_servers.other]", "n = 1_000", "[mcp_servers.linear]"] {
            assert!(edited.contains(part), "{part}: {edited}");
        }
        assert_eq!(set(&edited, ARGS).unwrap(), edited, "a second time changes nothing");
        assert_eq!(remove_server(Path::new("x"), &edited, "linear").unwrap(), before);
        assert_eq!(remove_server(Path::new("x"), before, "linear").unwrap(), before);
    }

    #[test]
    fn a_file_is_made_and_an_entry_updated() {
        let made = set("", ARGS).unwrap();
        let expected = "[mcp_servers.linear]\ncommand = \"integ\"\nargs = [\"mcp\", \"proxy\", \"mcp@linear\"]\n\
                        env = { INTEG_HOME = \"/data\" }\n";
        assert_eq!(made, expected);
        let own = made.replace("command", "startup_timeout_sec = 20\ncommand");
        let updated = set(&own, &["-w", "team", "mcp", "proxy", "mcp@linear"]).unwrap();
        assert!(updated.contains("startup_timeout_sec = 20") && updated.contains("\"team\""), "{updated}");
        let inline = set("mcp_servers = { other = { command = \"x\" } }\n", ARGS).unwrap();
        assert!(inline.parse::<DocumentMut>().is_ok() && inline.contains("linear"), "{inline}");
    }

    #[test]
    fn what_could_go_wrong_is_refused() {
        let taken = "[mcp_servers.linear]\ncommand = \"npx\"\nargs = [\"mcp-remote\"]\n";
        assert!(matches!(set(taken, ARGS), Err(SettingsError::NameTaken { .. })));
        assert!(matches!(remove_server(Path::new("x"), taken, "linear"), Err(SettingsError::NameTaken { .. })));
        for malformed in ["mcp_servers = 1\n", "x = \n", "[mcp_servers]\nlinear = 1\n"] {
            assert!(set(malformed, ARGS).is_err(), "{malformed}");
        }
    }
}
