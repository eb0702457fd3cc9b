//! The catalogue of connectors, and the locations of their files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::pin::{Pin, sha256_hex};
use super::{Connector, ConnectorError, MAX_CONNECTOR_BYTES, validate};
use crate::near::{closest, did_you_mean_or_list};
use crate::{files, nesting};

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
    "mcp",
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
const BASE_FILES: &[(&str, &str)] = &[
    ("google", include_str!("../../connectors/vendors/google.toml")),
    ("microsoft", include_str!("../../connectors/vendors/microsoft.toml")),
];

/// Lists of which a file says its own part and the vendor's holds beside it.
const CONCATENATED_KEYS: &[&str] = &["errors", "unsure"];

/// Characters of an id: far more than any service's name, far fewer than a file's name may have.
pub(super) const MAX_ID_LENGTH: usize = 64;

/// How often a file is read again that an installation may be replacing.
const MAX_READ_ATTEMPTS: usize = 8;

/// Where a connector's file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectorSource {
    BuiltIn,
    /// Written by the user: it has no pin, and it cannot take the place of a built-in one.
    UserFile(PathBuf),
    /// Looked at and pinned by `integ connector install`.
    Installed {
        path: PathBuf,
        replaces_built_in: bool,
    },
    /// Installed by a caller of the workspace's API.
    Workspace {
        /// The file, which workspaces share.
        path: PathBuf,
    },
}

impl ConnectorSource {
    /// Returns the path of the connector's file; None for a built-in connector.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::BuiltIn => None,
            Self::UserFile(path) | Self::Installed { path, .. } | Self::Workspace { path } => Some(path),
        }
    }

    /// `built-in`, `own`, `installed` or `workspace`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::UserFile(_) => "own",
            Self::Installed { .. } => "installed",
            Self::Workspace { .. } => "workspace",
        }
    }

    /// Whether it was installed in place of the built-in connector of the same id.
    pub fn replaces_built_in(&self) -> bool {
        matches!(self, Self::Installed { replaces_built_in: true, .. })
    }
}

/// Parsed connectors in memory: more than are compiled in, so that only a folder with many files has some parsed again.
const MAX_PARSED: usize = 64;

/// The connectors compiled in and those in the user's folder.
#[derive(Clone, Debug)]
pub struct Catalogue {
    folder: PathBuf,
    /// The folder of the pins of one workspace's own connectors; absent for the catalogue of the machine.
    pub(super) workspace: Option<PathBuf>,
    parsed: Arc<Mutex<BTreeMap<String, ParsedConnector>>>,
}

/// A connector, and the text that it was parsed from: a server uses one for many requests, and the file may change meanwhile.
#[derive(Clone, Debug)]
struct ParsedConnector {
    text: String,
    connector: Arc<Connector>,
}

impl Catalogue {
    /// Creates a catalogue with the user's connector folder, which need not exist; nothing is read yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), workspace: None, parsed: Arc::default() }
    }

    /// The user's folder, which need not be there.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a connector has this id. No connector is parsed.
    pub fn contains(&self, id: &str) -> bool {
        self.contains_on_machine(id) || self.workspace_ids().iter().any(|known| known == id)
    }

    pub(super) fn contains_on_machine(&self, id: &str) -> bool {
        built_in(id).is_some() || (is_valid_id(id) && std::fs::symlink_metadata(self.path_of(id)).is_ok())
    }

    /// Where the user's connector of this id lies, if there is one.
    pub fn path_of(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.toml"))
    }

    pub(super) fn pin_path_of(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.pin.json"))
    }

    /// The ids of all connectors, sorted, with where each comes from. No connector is parsed.
    pub fn ids(&self) -> Vec<(String, ConnectorSource)> {
        let mut ids: BTreeMap<String, ConnectorSource> =
            BUILT_IN.iter().map(|(id, _)| ((*id).to_owned(), ConnectorSource::BuiltIn)).collect();
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let (Some(id), Some("toml")) = (stem, path.extension().and_then(|extension| extension.to_str())) else {
                continue;
            };
            let id = id.to_owned();
            let pin = Pin::read(&self.pin_path_of(&id));
            let source = match (&pin, ids.contains_key(&id)) {
                (Ok(Some(pin)), true) if pin.replaces_built_in => {
                    ConnectorSource::Installed { path, replaces_built_in: true }
                }
                (_, true) => continue,
                (Ok(None), false) => ConnectorSource::UserFile(path),
                (_, false) => ConnectorSource::Installed { path, replaces_built_in: false },
            };
            ids.insert(id, source);
        }
        for id in self.workspace_ids() {
            if let Ok(Some((_, source))) = self.workspace_file(&id) {
                ids.entry(id).or_insert(source);
            }
        }
        ids.into_iter().collect()
    }

    /// Returns the environment variables that the user approved at install: absent for a built-in connector and for a file
    /// that the user wrote, whose lists need no approval.
    ///
    /// # Errors
    /// [`ConnectorError::InvalidPin`] for a pin that cannot be read, and the errors of [`Self::text`].
    pub fn approved_variables(&self, id: &str) -> Result<Option<Vec<String>>, ConnectorError> {
        let (_, ConnectorSource::Installed { .. }) = self.text(id)? else { return Ok(None) };
        let path = self.pin_path_of(id);
        let pin = Pin::read(&path).map_err(|source| ConnectorError::InvalidPin { id: id.to_owned(), path, source })?;
        Ok(Some(pin.map(|pin| pin.capabilities.variables).unwrap_or_default()))
    }

    /// Returns a connector, parsed. The file is read again each time, and parsed again if it has changed.
    ///
    /// # Errors
    /// [`ConnectorError::Unknown`] with the likely one, [`ConnectorError::Invalid`] with the first mistake,
    /// [`ConnectorError::ChecksumMismatch`] for an installed one that is not what was installed.
    pub fn get(&self, id: &str) -> Result<Arc<Connector>, ConnectorError> {
        let (text, source) = self.text(id)?;
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = parsed.get(id).filter(|known| known.text == text) {
            return Ok(Arc::clone(&known.connector));
        }
        let invalid =
            |first| ConnectorError::Invalid { id: id.to_owned(), first, path: source.path().map(Path::to_owned) };
        match parse(&text) {
            // Connections are named after what the file says: it must not speak for another connector.
            Ok(connector) if connector.id != id => {
                Err(invalid(format!("id: {:?} is not the name of its file", connector.id)))
            }
            Ok(connector) => {
                if parsed.len() >= MAX_PARSED {
                    parsed.pop_first();
                }
                let connector = Arc::new(connector);
                parsed.insert(id.to_owned(), ParsedConnector { text, connector: Arc::clone(&connector) });
                Ok(connector)
            }
            // The message with its line is worth the second parse: it is the user's own file.
            Err(first) => Err(invalid(validate(&text).first().map_or(first, ToString::to_string))),
        }
    }

    /// The text of a connector's file.
    ///
    /// # Errors
    /// [`ConnectorError::Unknown`], [`ConnectorError::Untrusted`], [`ConnectorError::InvalidPin`], [`ConnectorError::ChecksumMismatch`].
    pub fn text(&self, id: &str) -> Result<(String, ConnectorSource), ConnectorError> {
        let built_in = built_in(id);
        if let Some(found) = self.file(id, built_in.is_some())? {
            return Ok(found);
        }
        if built_in.is_none()
            && let Some(found) = self.workspace_file(id)?
        {
            return Ok(found);
        }
        match built_in {
            Some(text) => Ok((text.to_owned(), ConnectorSource::BuiltIn)),
            None => Err(ConnectorError::Unknown { id: id.to_owned(), suggestion: self.suggest(id) }),
        }
    }

    /// The user's file of an id, if it counts: in the place of a built-in one it must be pinned as such.
    fn file(&self, id: &str, built_in: bool) -> Result<Option<(String, ConnectorSource)>, ConnectorError> {
        if !is_valid_id(id) {
            return Ok(None);
        }
        let path = self.path_of(id);
        let mut last_pin = None;
        for _ in 0..MAX_READ_ATTEMPTS {
            files::check_trusted(&self.pin_path_of(id))?;
            let pin = Pin::read(&self.pin_path_of(id)).map_err(|source| ConnectorError::InvalidPin {
                id: id.to_owned(),
                path: self.pin_path_of(id),
                source,
            })?;
            if built_in && !pin.as_ref().is_some_and(|pin| pin.replaces_built_in) {
                return Ok(None);
            }
            let Some(text) = files::read_trusted_text(&path, MAX_CONNECTOR_BYTES as u64)? else { return Ok(None) };
            match pin {
                None => return Ok(Some((text, ConnectorSource::UserFile(path)))),
                Some(pin) if pin.matches(&sha256_hex(text.as_bytes())) => {
                    return Ok(Some((text, ConnectorSource::Installed { path, replaces_built_in: built_in })));
                }
                // An installation wrote both between the two reads, unless the pin stays what it was.
                Some(pin) if last_pin.as_ref() == Some(&pin) => break,
                Some(pin) => last_pin = Some(pin),
            }
        }
        Err(ConnectorError::ChecksumMismatch { id: id.to_owned(), path })
    }

    fn suggest(&self, id: &str) -> Option<String> {
        let ids = self.ids();
        closest(id, ids.iter().map(|(known, _)| known.as_str())).map(str::to_owned)
    }
}

/// An id becomes a file's name and a part of connections' names: nothing that is none may leave the folder.
pub(super) fn is_valid_id(id: &str) -> bool {
    (1..=MAX_ID_LENGTH).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

pub(super) fn built_in(id: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == id).map(|(_, text)| *text)
}

/// Parses a file with what it inherits from its vendor.
///
/// # Errors
/// The first thing that does not fit the model; [`validate()`] says all, and where.
pub fn parse(text: &str) -> Result<Connector, String> {
    if nesting::find_too_deep(text).is_some() {
        return Err(nesting::TOO_DEEP.to_owned());
    }
    let own = DeTable::parse(text).map_err(|error| error.message().to_owned())?;
    let document = inherit(own).map_err(|unknown| unknown.message)?;
    deserialize(document).map_err(|error| error.message().to_owned())
}

/// The connector that a parsed document describes.
pub(super) fn deserialize(document: Spanned<DeTable<'_>>) -> Result<Connector, toml::de::Error> {
    Connector::deserialize(toml::de::Deserializer::from(document))
}

/// A file names a vendor that is none.
pub(super) struct UnknownConnector {
    pub(super) offset: usize,
    pub(super) message: String,
}

/// Lays the file's keys over those of its vendor. What is inherited is placed where the file names the vendor.
pub(super) fn inherit(own: Spanned<DeTable<'_>>) -> Result<Spanned<DeTable<'_>>, UnknownConnector> {
    let Some((key, value)) = own.get_ref().get_key_value("vendor") else { return Ok(own) };
    let DeValue::String(vendor) = value.get_ref() else { return Ok(own) };
    let Some((_, text)) = BASE_FILES.iter().find(|(name, _)| name == vendor) else {
        let known = did_you_mean_or_list(vendor, BASE_FILES.iter().map(|(name, _)| *name));
        let message = format!("unknown vendor {vendor:?}{known}");
        return Err(UnknownConnector { offset: value.span().start, message });
    };
    // Compiled in, and parsed by a test: nothing of it is broken.
    let (shared, _) = DeTable::parse_recoverable(text);
    let shared = table_with_span(shared.into_inner(), &key.span());
    Ok(Spanned::new(own.span(), merge_tables(shared, own.into_inner())))
}

/// A table with all of it standing in one place.
fn table_with_span(table: DeTable<'static>, span: &Range<usize>) -> DeTable<'static> {
    let mut placed = DeTable::new();
    for (key, value) in table {
        placed.insert(Spanned::new(span.clone(), key.into_inner()), self::with_span(value.into_inner(), span));
    }
    placed
}

fn with_span(value: DeValue<'static>, span: &Range<usize>) -> Spanned<DeValue<'static>> {
    let value = match value {
        DeValue::Table(table) => DeValue::Table(table_with_span(table, span)),
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| with_span(item.into_inner(), span)).collect())
        }
        plain => plain,
    };
    Spanned::new(span.clone(), value)
}

fn merge_tables<'i>(base: DeTable<'i>, mut own: DeTable<'i>) -> DeTable<'i> {
    let mut merged = DeTable::new();
    for (key, below) in base {
        match own.remove_entry(key.get_ref().as_ref()) {
            Some((key, above)) => {
                let value = merge_value(key.get_ref(), above, below);
                merged.insert(key, value);
            }
            None => {
                merged.insert(key, below);
            }
        }
    }
    for (key, value) in own {
        merged.insert(key, value);
    }
    merged
}

fn merge_value<'i>(key: &str, above: Spanned<DeValue<'i>>, below: Spanned<DeValue<'i>>) -> Spanned<DeValue<'i>> {
    let span = above.span();
    let value = match (above.into_inner(), below.into_inner()) {
        (DeValue::Table(above), DeValue::Table(below)) => DeValue::Table(merge_tables(below, above)),
        // The first rule that fits decides, so that the file's own come first.
        (DeValue::Array(above), DeValue::Array(below)) if CONCATENATED_KEYS.contains(&key) => {
            DeValue::Array(above.into_iter().chain(below).collect())
        }
        (above, _) => above,
    };
    Spanned::new(span, value)
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
    fn every_vendor_is_parsed_without_a_mistake() {
        for (name, text) in BASE_FILES {
            DeTable::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn what_is_missing_of_what_is_inherited_stands_where_the_vendor_is_named() {
        let text = "id = \"acme\"\nvendor = \"google\"\n[auth.key]\nfields.key.prompt = \"Key\"\n";
        let mistakes: Vec<String> = validate(text).iter().map(ToString::to_string).collect();
        let missing = ["name", "category", "description", "docs"];
        let mut expected: Vec<String> = missing.iter().map(|key| format!("line 1: {key}: is missing")).collect();
        expected.push("line 3: auth.key.label: is missing".to_owned());
        assert_eq!(mistakes, expected);
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
        assert!(matches!(unknown, ConnectorError::Unknown { suggestion: Some(id), .. } if id == "slack"));
    }
}
