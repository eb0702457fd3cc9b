//! `integ config set` and `unset`, which keep the comments and the order of the file.

use std::path::Path;
use std::str::FromStr;

use super::{Config, ConfigError, find_key};
use crate::files;

/// Sets one key of the file at `path`, which is made where it is missing; comments and order stay.
///
/// # Errors
/// [`ConfigError::UnknownKey`] and [`ConfigError::InvalidValue`] before anything is written; [`ConfigError::Syntax`] where the
/// file does not parse, so that nothing of it is lost.
pub fn set(path: &Path, name: &str, value: &str) -> Result<(), ConfigError> {
    let key = find_key(name)?;
    (key.set)(&mut Config::default(), value).ok_or_else(|| ConfigError::InvalidValue {
        key: key.name,
        value: value.to_owned(),
        expected: key.expected,
    })?;
    let mut document = read_document(path)?;
    let new = match (i64::from_str(value), bool::from_str(value)) {
        (Ok(number), _) if key.is_number() => toml_edit::Value::from(number),
        (_, Ok(is_set)) if key.is_switch() => toml_edit::Value::from(is_set),
        _ => toml_edit::Value::from(value),
    };
    let (table, leaf): (&mut dyn toml_edit::TableLike, _) = match name.split_once('.') {
        Some((table, leaf)) => {
            let entry = document.entry(table).or_insert_with(toml_edit::table);
            (entry.as_table_like_mut().ok_or_else(|| invalid(path, format!("{table} is not a table")))?, leaf)
        }
        None => (document.as_table_mut(), name),
    };
    put(table, leaf, new);
    write_document(path, &document)
}

/// Removes one key from the file at `path`, so that its default counts, and returns whether it was there. Comments and
/// order stay.
///
/// # Errors
/// [`ConfigError::UnknownKey`]; [`ConfigError::Syntax`] where the file does not parse.
pub fn unset(path: &Path, name: &str) -> Result<bool, ConfigError> {
    find_key(name)?;
    let mut document = read_document(path)?;
    let removed = match name.split_once('.') {
        Some((table, leaf)) => {
            let table = document.get_mut(table).and_then(toml_edit::Item::as_table_like_mut);
            table.and_then(|table| table.remove(leaf))
        }
        None => document.remove(name),
    };
    if removed.is_none() {
        return Ok(false);
    }
    write_document(path, &document)?;
    Ok(true)
}

fn read_document(path: &Path) -> Result<toml_edit::DocumentMut, ConfigError> {
    files::check_parents(path)?;
    super::load(path)?;
    let text = files::read_trusted_text(path, super::LARGEST)?.unwrap_or_default();
    toml_edit::DocumentMut::from_str(&text).map_err(|error| invalid(path, error.message().to_owned()))
}

fn write_document(path: &Path, document: &toml_edit::DocumentMut) -> Result<(), ConfigError> {
    files::write_atomic(path, document.to_string().as_bytes())
        .map_err(|source| ConfigError::Write { path: path.to_owned(), source })
}

fn invalid(path: &Path, message: String) -> ConfigError {
    ConfigError::Syntax { path: path.to_owned(), line: 1, message }
}

/// Puts a value in place of the old one, with the old one's comment.
fn put(table: &mut dyn toml_edit::TableLike, leaf: &str, mut new: toml_edit::Value) {
    match table.get_mut(leaf).and_then(toml_edit::Item::as_value_mut) {
        Some(old) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            table.insert(leaf, toml_edit::Item::Value(new));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_keeps_comments_and_other_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, "# mine\nworkspace = \"a\" # here\n").unwrap();
        set(&path, "vault.tokens", "keyring").unwrap();
        set(&path, "workspace", "b").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "# mine\nworkspace = \"b\" # here\n\n[vault]\ntokens = \"keyring\"\n");
    }

    #[test]
    fn unset_removes_a_key_and_keeps_comments_and_other_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert!(!unset(&path, "workspace").unwrap() && !path.exists());
        std::fs::write(
            &path,
            "# mine\nworkspace = \"a\"\n\n[vault]\n# tokens\ntokens = \"keyring\"\nidentity = \"file\"\n",
        )
        .unwrap();
        assert!(unset(&path, "vault.tokens").unwrap());
        assert!(!unset(&path, "vault.tokens").unwrap() && !unset(&path, "connect.port").unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# mine\nworkspace = \"a\"\n") && text.ends_with("identity = \"file\"\n"), "{text}");
        assert!(!text.contains("keyring"), "{text}");
        let unknown = unset(&path, "vault.token");
        assert!(matches!(unknown, Err(ConfigError::UnknownKey { likely: Some("vault.tokens"), .. })));
    }

    #[test]
    fn set_refuses_what_load_would_refuse() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert!(matches!(
            set(&path, "vault.token", "store"),
            Err(ConfigError::UnknownKey { likely: Some("vault.tokens"), .. })
        ));
        assert!(matches!(set(&path, "vault.tokens", "paper"), Err(ConfigError::InvalidValue { .. })));
        assert!(!path.exists());
    }
}
