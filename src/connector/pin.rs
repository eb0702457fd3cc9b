//! Pins of installed connectors: a small file next to each, with the SHA-256 that the user approved.
//!
//! A file without a pin is one that the user wrote, and the user's own affair. One whose text is not what its pin says is
//! refused. The pin is written before the file, and names what it takes the place of until the file is there (where a built-in
//! connector is replaced it comes last, and puts the file in effect): whenever a process is killed in between, what was
//! usable stays so.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Capabilities;
use crate::clock::Timestamp;
use crate::{files, hash, hex};

/// In bytes. A pin lists the capabilities of a file, which is at most 1 MiB.
const MAX_PIN_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    pub id: String,
    /// The path or the URL that it came from; a URL is without its query, which may hold a token.
    pub source: String,
    /// In lower-case hex.
    pub sha256: String,
    /// What stood there before, while the file is being replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_sha256: Option<String>,
    pub installed_at: Timestamp,
    /// It takes the place of a built-in connector.
    pub replaces_built_in: bool,
    /// What the user approved.
    pub capabilities: Capabilities,
}

impl Pin {
    /// Absent where there is none.
    ///
    /// # Errors
    /// The I/O error; one of the kind `InvalidData` for what is not a pin.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = files::read_regular(path, MAX_PIN_BYTES);
        let bytes = bytes.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from)).transpose()
    }

    /// # Errors
    /// The I/O error; the old pin is then unchanged.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::from)?;
        text.push('\n');
        files::write_atomic(path, text.as_bytes())
    }

    pub(super) fn matches(&self, sha256: &str) -> bool {
        self.sha256 == sha256 || self.former_sha256.as_deref() == Some(sha256)
    }
}

/// In lower-case hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(&hash::sha256(bytes))
}
