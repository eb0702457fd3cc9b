//! Loads `config.toml`: every key is checked, and every mistake is reported with its line.

use std::path::Path;

use super::{Config, ConfigError, KEYS};
use crate::{files, nesting};

/// The settings of the file at `path`, and the defaults for what it does not say. A missing file is an empty one.
///
/// # Errors
/// [`ConfigError::Untrusted`] if others could have changed the file, [`ConfigError::Syntax`] for the first mistake in it.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let Some(text) = files::read_trusted_text(path, super::LARGEST)? else { return Ok(Config::default()) };
    parse(&text).map_err(|(line, message)| ConfigError::Syntax { path: path.to_owned(), line, message })
}

fn parse(text: &str) -> Result<Config, (usize, String)> {
    let line_at = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    if let Some(offset) = nesting::find_too_deep(text) {
        return Err((line_at(offset), nesting::TOO_DEEP.to_owned()));
    }
    let document = toml::de::DeTable::parse(text)
        .map_err(|error| (line_at(error.span().map_or(0, |span| span.start)), error.message().to_owned()))?;
    let mut config = Config::default();
    apply(&mut config, "", document.get_ref()).map_err(|(offset, message)| (line_at(offset), message))?;
    Ok(config)
}

/// Sets every key of `table`, which is named `prefix`; the error names the byte offset of the mistake.
fn apply(config: &mut Config, prefix: &str, table: &toml::de::DeTable<'_>) -> Result<(), (usize, String)> {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        if let toml::de::DeValue::Table(inner) = value.get_ref() {
            apply(config, &path, inner)?;
            continue;
        }
        let key = KEYS.iter().find(|key| key.name == path).ok_or_else(|| {
            let likely = super::keys::closest_key(&path).map_or(String::new(), |key| format!(", did you mean {key}?"));
            (name.span().start, format!("{path} is not a setting{likely}"))
        })?;
        let text = match value.get_ref() {
            toml::de::DeValue::String(text) => text.to_string(),
            toml::de::DeValue::Integer(number) => number.as_str().to_owned(),
            toml::de::DeValue::Boolean(is_set) if key.is_switch() => is_set.to_string(),
            toml::de::DeValue::Array(items) if key.is_list() => {
                let words = items.iter().map(|item| item.get_ref().as_str().ok_or_else(|| item.span().start));
                let words = words.collect::<Result<Vec<_>, _>>();
                words.map_err(|at| (at, format!("{path} takes {}", key.expected)))?.join(",")
            }
            other => {
                return Err((value.span().start, format!("{path} takes {}, not a {}", key.expected, other.type_str())));
            }
        };
        (key.set)(config, &text).ok_or_else(|| (value.span().start, format!("{path} takes {}", key.expected)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{IdentityStorage, TokenStorage};
    use crate::model::{ConsentPurpose, Transition};

    #[test]
    fn every_key_is_read() {
        let config = parse(
            "workspace = \"team\"\n[vault]\nidentity = \"file\"\ntokens = \"keyring\"\npassphrase_command = \"pass integ\"\n\
             [connect]\ntimeout = \"90s\"\nport = 8400\n[http]\ntimeout = \"5s\"\nlargest_answer = \"1GiB\"\nallow = [\"127.0.0.1\", \"hooks.internal\"]\n\
             [notify]\ncommand = \"sh -c 'x y'\"\nurl = \"https://example.com/hook\"\non = \"failure\"\n\
             timeout = 3\nsecret_file = \"/run/secret\"\n\
             [audit]\nlocal = true\nretention_days = 30\n[consents]\nrequired = [\"sync\", \"call\"]\npolicy_version = 2\n",
        )
        .unwrap();
        assert_eq!(config.workspace, "team");
        assert_eq!(config.vault.identity, IdentityStorage::File);
        assert_eq!(config.vault.tokens, TokenStorage::Keyring);
        assert_eq!(config.connect.timeout.as_secs(), 90);
        assert_eq!(config.connect.port, Some(8400));
        assert_eq!(config.http.timeout.as_secs(), 5);
        assert_eq!(config.http.max_response_bytes, 1 << 30);
        assert_eq!(config.http.allow.len(), 2);
        assert_eq!(config.notify.on, [Transition::Failure]);
        assert_eq!(config.notify.timeout.as_secs(), 3);
        assert_eq!((config.audit.local, config.audit.retention_days), (true, 30));
        assert_eq!(config.consents.required, [ConsentPurpose::Sync, ConsentPurpose::Call]);
        assert_eq!(config.consents.policy_version, 2);
        for bad in ["[audit]\nlocal = \"maybe\"", "[consents]\nrequired = \"all\"", "[connect]\ntimeout = true"] {
            assert_eq!(parse(bad).unwrap_err().0, 2, "{bad}");
        }
    }

    #[test]
    fn a_hook_is_a_command_that_can_be_split_and_a_url_that_is_safe() {
        for bad in [
            "command = \"sh -c 'open\"",
            "url = \"http://example.com/\"",
            "url = \"https://user:password@example.com/\"",
            "url = \"example.com\"",
            "secret_file = \"secret\"",
            "on = [\"failure\", 1]",
            "on = \"always\"",
            "command = [\"a\"]",
            "secret = \"whsec_\"",
        ] {
            assert_eq!(parse(&format!("[notify]\n{bad}\n")).unwrap_err().0, 2, "{bad}");
        }
        let none = parse("[notify]\non = []\ncommand = \"\"\nurl = \"\"\n").unwrap();
        assert_eq!((none.notify.on, none.notify.command, none.notify.url), (Vec::new(), None, None));
        assert!(parse("[notify]\nurl = \"http://127.0.0.1:1/\"\n").is_ok());
    }

    #[test]
    fn a_mistake_has_its_line_and_the_likely_key() {
        assert_eq!(
            parse("[vault]\n\nidentiti = \"file\"\n").unwrap_err(),
            (3, "vault.identiti is not a setting, did you mean vault.identity?".to_owned())
        );
        assert_eq!(parse("\n[connect]\ntimeout = \"soon\"").unwrap_err().0, 3);
        assert_eq!(parse("a = = 1").unwrap_err().0, 1);
    }
}
