//! Which connectors there are and where their files lie.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::pin::{Pin, sha256};
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

/// Characters of an id: far more than any service's name, far fewer than a file's name may have.
pub(super) const LONGEST_ID: usize = 64;

/// How often a file is read again that an installation may be replacing.
const READS: usize = 8;

/// Where a connector's file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    BuiltIn,
    /// Written by the user: it has no pin, and it cannot take the place of a built-in one.
    Own(PathBuf),
    /// Looked at and pinned by `integ connector install`.
    Installed {
        path: PathBuf,
        replaces_built_in: bool,
    },
}

impl Source {
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::BuiltIn => None,
            Self::Own(path) | Self::Installed { path, .. } => Some(path),
        }
    }

    /// `built-in`, `own` or `installed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Own(_) => "own",
            Self::Installed { .. } => "installed",
        }
    }

    pub fn replaces_built_in(&self) -> bool {
        matches!(self, Self::Installed { replaces_built_in: true, .. })
    }
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

    /// The user's folder, which need not be there.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the user's connector of this id lies, if there is one.
    pub fn file_of(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.toml"))
    }

    pub(super) fn pin_of(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.pin.json"))
    }

    /// The ids of all connectors, sorted, with where each comes from. No connector is parsed.
    pub fn ids(&self) -> Vec<(String, Source)> {
        let mut ids: BTreeMap<String, Source> =
            BUILT_IN.iter().map(|(id, _)| ((*id).to_owned(), Source::BuiltIn)).collect();
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let (Some(id), Some("toml")) = (stem, path.extension().and_then(|extension| extension.to_str())) else {
                continue;
            };
            let id = id.to_owned();
            let pin = Pin::read(&self.pin_of(&id));
            let source = match (&pin, ids.contains_key(&id)) {
                (Ok(Some(pin)), true) if pin.replaces_built_in => Source::Installed { path, replaces_built_in: true },
                (_, true) => continue,
                (Ok(None), false) => Source::Own(path),
                (_, false) => Source::Installed { path, replaces_built_in: false },
            };
            ids.insert(id, source);
        }
        ids.into_iter().collect()
    }

    /// One connector, parsed.
    ///
    /// # Errors
    /// [`ConnectorError::Unknown`] with the likely one, [`ConnectorError::Invalid`] with the first mistake,
    /// [`ConnectorError::Changed`] for an installed one that is not what was installed.
    pub fn get(&self, id: &str) -> Result<Connector, ConnectorError> {
        let (text, source) = self.text(id)?;
        let invalid =
            |first| ConnectorError::Invalid { id: id.to_owned(), first, path: source.path().map(Path::to_owned) };
        match parse(&text) {
            // Connections are named after what the file says: it must not speak for another connector.
            Ok(connector) if connector.id != id => {
                Err(invalid(format!("id: {:?} is not the name of its file", connector.id)))
            }
            Ok(connector) => Ok(connector),
            // The message with its line is worth the second parse: it is the user's own file.
            Err(first) => Err(invalid(validate(&text).first().map_or(first, ToString::to_string))),
        }
    }

    /// The text of a connector's file.
    ///
    /// # Errors
    /// [`ConnectorError::Unknown`], [`ConnectorError::Read`], [`ConnectorError::Pin`], [`ConnectorError::Changed`].
    pub fn text(&self, id: &str) -> Result<(String, Source), ConnectorError> {
        let built_in = built_in(id);
        if let Some(found) = self.file(id, built_in.is_some())? {
            return Ok(found);
        }
        match built_in {
            Some(text) => Ok((text.to_owned(), Source::BuiltIn)),
            None => Err(ConnectorError::Unknown { id: id.to_owned(), likely: self.likely(id) }),
        }
    }

    /// The user's file of an id, if it counts: in the place of a built-in one it must be pinned as such.
    fn file(&self, id: &str, built_in: bool) -> Result<Option<(String, Source)>, ConnectorError> {
        if !is_id(id) {
            return Ok(None);
        }
        let path = self.file_of(id);
        let mut last_pin = None;
        for _ in 0..READS {
            let pin = Pin::read(&self.pin_of(id)).map_err(|source| ConnectorError::Pin {
                id: id.to_owned(),
                path: self.pin_of(id),
                source,
            })?;
            if built_in && !pin.as_ref().is_some_and(|pin| pin.replaces_built_in) {
                return Ok(None);
            }
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(ConnectorError::Read { path, source }),
            };
            match pin {
                None => return Ok(Some((text, Source::Own(path)))),
                Some(pin) if pin.admits(&sha256(text.as_bytes())) => {
                    return Ok(Some((text, Source::Installed { path, replaces_built_in: built_in })));
                }
                // An installation wrote both between the two reads, unless the pin stays what it was.
                Some(pin) if last_pin.as_ref() == Some(&pin) => break,
                Some(pin) => last_pin = Some(pin),
            }
        }
        Err(ConnectorError::Changed { id: id.to_owned(), path })
    }

    fn likely(&self, id: &str) -> Option<String> {
        let ids = self.ids().into_iter().map(|(known, _)| known);
        let scored = ids.map(|known| (strsim::jaro_winkler(&known, id), known));
        let (score, known) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (score > 0.75).then_some(known)
    }
}

/// An id becomes a file's name and a part of connections' names: nothing that is none may leave the folder.
pub(super) fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

pub(super) fn built_in(id: &str) -> Option<&'static str> {
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
