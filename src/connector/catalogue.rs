//! Which connectors there are and where their files lie.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::{Connector, ConnectorError, validate};

macro_rules! embedded {
    ($($id:literal),+ $(,)?) => {
        &[$(($id, include_str!(concat!("../../connectors/", $id, ".toml")))),+]
    };
}

/// The connectors compiled in. A test fails when a file of `connectors/` is missing here.
pub const BUILT_IN: &[(&str, &str)] = embedded![
    "api-key",
    "discord",
    "github",
    "gitlab",
    "gmail",
    "google-calendar",
    "google-drive",
    "google-sheets",
    "hubspot",
    "jira",
    "notion",
    "oauth2",
    "oidc",
    "outlook-calendar",
    "paypal",
    "quickbooks",
    "salesforce",
    "slack",
    "stripe",
    "telegram",
    "trello",
    "twilio",
    "typeform",
    "webhook",
    "whatsapp",
];

/// What several services of one vendor share.
const VENDORS: &[(&str, &str)] = &[
    ("google", include_str!("../../connectors/vendors/google.toml")),
    ("microsoft", include_str!("../../connectors/vendors/microsoft.toml")),
];

/// Lists of which a file says its own part and the vendor's holds beside it.
const ADD_UP: &[&str] = &["errors", "unsure"];

/// Where a connector's file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    BuiltIn,
    Installed(PathBuf),
}

/// The connectors compiled in and those in the user's folder.
#[derive(Clone, Debug)]
pub struct Catalogue {
    folder: PathBuf,
}

impl Catalogue {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The ids of all connectors, sorted, with where each comes from. No file is parsed.
    pub fn ids(&self) -> Vec<(String, Source)> {
        let mut ids: Vec<_> = BUILT_IN.iter().map(|(id, _)| ((*id).to_owned(), Source::BuiltIn)).collect();
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let (Some(id), Some("toml")) = (stem, path.extension().and_then(|extension| extension.to_str()))
                && built_in(id).is_none()
            {
                ids.push((id.to_owned(), Source::Installed(path.clone())));
            }
        }
        ids.sort_by(|a, b| a.0.cmp(&b.0));
        ids
    }

    /// One connector, parsed.
    ///
    /// # Errors
    /// [`ConnectorError::Unknown`] with the likely one, [`ConnectorError::Invalid`] with the first mistake.
    pub fn get(&self, id: &str) -> Result<Connector, ConnectorError> {
        let (text, source) = self.text(id)?;
        parse(&text).map_err(|first| {
            let path = match source {
                Source::Installed(path) => Some(path),
                Source::BuiltIn => None,
            };
            // The message with its line is worth the second parse: it is the user's own file.
            let first = validate(&text).first().map_or(first, ToString::to_string);
            ConnectorError::Invalid { id: id.to_owned(), first, path }
        })
    }

    /// The text of a connector's file.
    ///
    /// # Errors
    /// [`ConnectorError::Unknown`], [`ConnectorError::Read`].
    pub fn text(&self, id: &str) -> Result<(String, Source), ConnectorError> {
        if let Some(text) = built_in(id) {
            return Ok((text.to_owned(), Source::BuiltIn));
        }
        // An id becomes a file name: nothing that is not an id may leave the folder.
        if !id.is_empty() && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
            let path = self.folder.join(format!("{id}.toml"));
            match std::fs::read_to_string(&path) {
                Ok(text) => return Ok((text, Source::Installed(path))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(ConnectorError::Read { path, source }),
            }
        }
        Err(ConnectorError::Unknown { id: id.to_owned(), likely: self.likely(id) })
    }

    fn likely(&self, id: &str) -> Option<String> {
        let ids = self.ids().into_iter().map(|(known, _)| known);
        let scored = ids.map(|known| (strsim::jaro_winkler(&known, id), known));
        let (score, known) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (score > 0.75).then_some(known)
    }
}

fn built_in(id: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == id).map(|(_, text)| *text)
}

/// Parses a file with what it inherits from its vendor.
pub(super) fn parse(text: &str) -> Result<Connector, String> {
    let table = inherit(text.parse::<Table>().map_err(|error| error.message().to_owned())?)?;
    Connector::deserialize(Value::Table(table)).map_err(|error| error.message().to_owned())
}

/// Lays the file's keys over those of its vendor.
fn inherit(own: Table) -> Result<Table, String> {
    let Some(Value::String(vendor)) = own.get("vendor") else { return Ok(own) };
    let text = VENDORS.iter().find(|(name, _)| name == vendor).map(|(_, text)| *text);
    let text = text.ok_or_else(|| format!("there is no vendor {vendor:?}; there is: {}", vendors().join(", ")))?;
    let mut merged: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    overlay(&mut merged, own);
    Ok(merged)
}

/// The names that `vendor` may have.
pub(super) fn vendors() -> Vec<&'static str> {
    VENDORS.iter().map(|(name, _)| *name).collect()
}

fn overlay(base: &mut Table, own: Table) {
    for (key, value) in own {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            // The first rule that fits decides, so that the file's own come first.
            (Some(Value::Array(below)), Value::Array(mut above)) if ADD_UP.contains(&key.as_str()) => {
                above.append(below);
                *below = above;
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| {
                entry.unwrap().file_name().into_string().unwrap().strip_suffix(".toml").map(str::to_owned)
            })
            .collect();
        files.sort();
        let built_in: Vec<&str> = BUILT_IN.iter().map(|(id, _)| *id).collect();
        assert_eq!(built_in, files);
    }

    #[test]
    fn every_built_in_file_is_valid() {
        for (id, text) in BUILT_IN {
            let mistakes = validate(text);
            assert!(mistakes.is_empty(), "{id}: {mistakes:#?}");
            assert_eq!(parse(text).unwrap().id, *id);
        }
    }

    #[test]
    fn an_id_cannot_leave_the_folder() {
        let catalogue = Catalogue::new(Path::new("/etc"));
        for id in ["../etc/passwd", "/etc/passwd", "", "a/b"] {
            assert!(matches!(catalogue.get(id), Err(ConnectorError::Unknown { .. })), "{id}");
        }
    }

    #[test]
    fn a_misspelt_id_finds_the_likely_one() {
        let unknown = Catalogue::new(Path::new("/nonexistent")).get("slak").unwrap_err();
        assert!(matches!(unknown, ConnectorError::Unknown { likely: Some(id), .. } if id == "slack"));
    }
}
