//! Settings in JSON, with comments and trailing commas if the client accepts them. Pure.

use std::path::Path;

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde_json::{Map, Value};

use super::edit::is_proxy;
use super::{ServerEntry, SettingsError};

/// What is read: JSON with comments and trailing commas, and no looser than that.
fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_extended_string_escapes: false,
        allow_non_finite_numbers: false,
    }
}

/// The text with the entry of a server in the object `list`.
pub(super) fn set_server(path: &Path, text: &str, list: &str, entry: &ServerEntry) -> Result<String, SettingsError> {
    let document = Document::parse(path, text)?;
    let not_an_object = || document.malformed(format!("{list} is not an object"));
    let root =
        document.root.object_value_or_create().ok_or_else(|| document.malformed("it is not an object".to_owned()))?;
    let servers = root.object_value_or_create(list).ok_or_else(not_an_object)?;
    let known = document.value.get(list).and_then(|servers| servers.get(&entry.name));
    let mut wanted = match known {
        Some(known) if !is_own(known) => return Err(document.name_taken(&entry.name)),
        // What the user added to the entry stays.
        Some(Value::Object(known)) => known.clone(),
        _ => Map::new(),
    };
    let mut set = |name: &str, value: Value| {
        wanted.insert(name.to_owned(), value.clone());
        value
    };
    let server = servers.object_value_or_create(&entry.name).ok_or_else(not_an_object)?;
    set_member(&server, "type", &set("type", Value::from("stdio")));
    set_member(&server, "command", &set("command", Value::from(entry.command.as_str())));
    set_member(&server, "args", &set("args", Value::from(entry.args.clone())));
    if !entry.env.is_empty() {
        let mut env = known.and_then(|known| known.get("env")?.as_object().cloned()).unwrap_or_default();
        env.extend(entry.env.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))));
        set_member(&server, "env", &set("env", Value::Object(env)));
    }
    let mut expected = document.value.clone();
    if !expected[list].is_object() {
        expected[list] = Value::Object(Map::new());
    }
    expected[list][&entry.name] = Value::Object(wanted);
    document.finish(&expected)
}

/// The text without the entry of a server; unchanged if there is none.
pub(super) fn remove_server(path: &Path, text: &str, list: &str, name: &str) -> Result<String, SettingsError> {
    let document = Document::parse(path, text)?;
    let Some(known) = document.value.get(list).and_then(|servers| servers.get(name)) else {
        return Ok(text.to_owned());
    };
    if !is_own(known) {
        return Err(document.name_taken(name));
    }
    let entry = document.root.object_value().and_then(|root| root.object_value(list)?.get(name));
    if let Some(entry) = entry {
        entry.remove();
    }
    let mut expected = document.value.clone();
    if let Some(servers) = expected.get_mut(list).and_then(Value::as_object_mut) {
        servers.shift_remove(name);
    }
    document.finish(&expected)
}

/// Whether an entry starts integ's proxy.
fn is_own(entry: &Value) -> bool {
    let args = entry.get("args").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    is_proxy(&args.iter().filter_map(Value::as_str).collect::<Vec<_>>())
}

/// Sets a member unless it has the value already, so that a second edit changes nothing.
fn set_member(object: &CstObject, name: &str, value: &Value) {
    match object.get(name) {
        Some(member) if member.to_serde_value().as_ref() == Some(value) => {}
        Some(member) => member.set_value(input(value)),
        None => {
            object.append(name, input(value));
        }
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(truth) => CstInputValue::Bool(*truth),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(members) => {
            CstInputValue::Object(members.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}

/// A file that was read.
struct Document<'a> {
    path: &'a Path,
    root: CstRootNode,
    /// What a program reads of it.
    value: Value,
}

impl<'a> Document<'a> {
    fn parse(path: &'a Path, text: &str) -> Result<Self, SettingsError> {
        let text = if text.trim().is_empty() { "{}\n" } else { text };
        let malformed = |reason: String| SettingsError::Malformed { path: path.to_owned(), reason };
        let value = read(text).map_err(malformed)?;
        let root = CstRootNode::parse(text, &options()).map_err(|error| malformed(error.to_string()))?;
        Ok(Self { path, root, value })
    }

    fn malformed(&self, reason: String) -> SettingsError {
        SettingsError::Malformed { path: self.path.to_owned(), reason }
    }

    fn name_taken(&self, name: &str) -> SettingsError {
        SettingsError::NameTaken { path: self.path.to_owned(), name: name.to_owned() }
    }

    /// The edited text, if a program reads of it exactly what is expected. A member that is there twice, for one, would be
    /// edited at its first place and read at its last.
    fn finish(&self, expected: &Value) -> Result<String, SettingsError> {
        let text = self.root.to_string();
        let is_expected = read(&text).is_ok_and(|value| value == *expected);
        if is_expected { Ok(text) } else { Err(SettingsError::NotEditable { path: self.path.to_owned() }) }
    }
}

fn read(text: &str) -> Result<Value, String> {
    let root = CstRootNode::parse(text, &options()).map_err(|error| error.to_string())?;
    Ok(root.to_serde_value().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(args: &[&str]) -> ServerEntry {
        ServerEntry {
            name: "linear".to_owned(),
            command: "/usr/bin/integ".to_owned(),
            args: args.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
        }
    }

    fn set(text: &str) -> Result<String, SettingsError> {
        set_server(Path::new("x.json"), text, "servers", &entry(&["mcp", "proxy", "mcp@linear"]))
    }

    const COMMENTED: &str = r#"{
  // what I use
  "servers": {
    "other": { "url": "https://x.example", "n": 1.00 }, /* keep */
  },
  "inputs": [],
}
"#;

    #[test]
    fn everything_else_stays_as_it_was_written() {
        let edited = set(COMMENTED).unwrap();
        for part in ["// what I use", "\"n\": 1.00", "/* keep */", "\"inputs\": [],"] {
            assert!(edited.contains(part), "{part}: {edited}");
        }
        assert_eq!(read(&edited).unwrap()["servers"]["linear"]["args"][2], "mcp@linear");
        assert_eq!(set(&edited).unwrap(), edited, "a second time changes nothing");
        let removed = remove_server(Path::new("x.json"), &edited, "servers", "linear").unwrap();
        assert_eq!(read(&removed).unwrap(), read(COMMENTED).unwrap());
        assert_eq!(remove_server(Path::new("x.json"), &removed, "servers", "linear").unwrap(), removed);
    }

    #[test]
    fn a_file_is_made_and_an_entry_updated() {
        let made = set("").unwrap();
        assert_eq!(
            made,
            "{\n  \"servers\": {\n    \"linear\": {\n      \"type\": \"stdio\",\n      \"command\": \"/usr/bin/integ\",\n      \
             \"args\": [\"mcp\", \"proxy\", \"mcp@linear\"]\n    }\n  }\n}\n"
        );
        let own = made.replace("\"type\"", "\"timeout\": 5, \"type\"");
        let mut other = entry(&["-w", "team", "mcp", "proxy", "mcp@linear"]);
        other.env = vec![("INTEG_HOME".to_owned(), "/data".to_owned())];
        let updated = set_server(Path::new("x.json"), &own, "servers", &other).unwrap();
        let server = read(&updated).unwrap()["servers"]["linear"].clone();
        assert_eq!(
            (&server["timeout"], &server["args"][1], &server["env"]["INTEG_HOME"]),
            (&5.into(), &"team".into(), &"/data".into())
        );
    }

    #[test]
    fn what_could_go_wrong_is_refused() {
        let taken = r#"{"servers":{"linear":{"command":"npx","args":["mcp-remote"]}}}"#;
        assert!(matches!(set(taken), Err(SettingsError::NameTaken { .. })));
        assert!(matches!(
            remove_server(Path::new("x.json"), taken, "servers", "linear"),
            Err(SettingsError::NameTaken { .. })
        ));
        for malformed in ["{", "[]", "nonsense", r#"{"servers":[]}"#, r#"{'servers':{}}"#, "{} {}"] {
            assert!(matches!(set(malformed), Err(SettingsError::Malformed { .. })), "{malformed}");
        }
        for twice in [r#"{"servers":{},"servers":{"a":{}}}"#, r#"{"a":1,"servers":{"b":{}},"servers":{}}"#] {
            assert!(matches!(set(twice), Err(SettingsError::NotEditable { .. })), "{twice}");
        }
    }
}
