//! Bundles: connections for a machine without a store, such as a CI job.
//!
//! A bundle is a JSON document that is encrypted with age to the machines that may open it, and armored, so that it is a
//! text of a few KB. [`Bundle::seal`] writes one; [`Bundle::open`] reads one, which is untrusted input: anybody who knows a
//! recipient can write a bundle for it.
//!
//! # The document, version 1
//!
//! ```json
//! {
//!   "integ_bundle": 1,
//!   "created_at": "2026-11-29T02:00:00Z",
//!   "connections": [{
//!     "connection": "github", "mode": "live", "auth": "token",
//!     "params": {"site": "acme"}, "metadata": {}, "account": {"id": "583231", "name": "octocat"},
//!     "scopes_requested": ["repo"], "scopes_granted": ["repo"],
//!     "access_token": "…", "fields": {"token": "…"}, "issued_at": "2026-11-29T02:00:00Z",
//!     "expires_at": null, "refresh_expires_at": null, "refresh_method": "none"
//!   }]
//! }
//! ```
//!
//! `origin`, `client_id`, `client_secret` and `refresh_token` are there if the connection has them and they may leave the
//! store ([`portable_grant`]). Times are RFC 3339 in UTC; absent and `null` are the same. `sandbox_seed` is what the tokens
//! of sandbox connections are made from. A reader refuses members that it does not know.

mod document;
mod portable;

use thiserror::Error;
use zeroize::Zeroizing;

pub use self::portable::{PortableLifetime, portable_grant};
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::model::{Grant, NewConnection};
use crate::secret::Secret;
use crate::vault::{ArmorError, Identity, VaultError, open_armored, seal_armored};

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// Bytes of the armored text. Linux passes no more than this in one variable.
pub const MAX_BYTES: usize = 128 * 1024;

/// Connections of a bundle: more than one job needs, and few enough to check.
const MAX_CONNECTIONS: usize = 100;

/// Connections and what the sandbox needs beside them, outside a store.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub created_at: Timestamp,
    /// No two have the same name.
    pub connections: Vec<(NewConnection, Grant)>,
    /// What the tokens of sandbox connections are made from.
    pub sandbox_seed: Option<Secret>,
}

/// Why a bundle cannot be read or written.
#[derive(Debug, Error)]
pub enum BundleError {
    #[error("INTEG_BUNDLE is not a bundle: {0}")]
    Unreadable(ArmorError),
    #[error("INTEG_BUNDLE is not encrypted to this identity, {recipient}")]
    WrongIdentity { recipient: String },
    #[error("INTEG_BUNDLE is set, but there is no identity to open it")]
    MissingIdentity,
    #[error("INTEG_BUNDLE has version {0}; this integ reads version {VERSION}")]
    UnsupportedVersion(u64),
    #[error("invalid INTEG_BUNDLE: {0}")]
    InvalidContent(String),
    #[error("the bundle has {size} bytes, more than the {MAX_BYTES} that fit into a variable")]
    TooLarge { size: usize },
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Remedy for BundleError {
    fn diagnostic(&self) -> Diagnostic {
        let export = |recipient: &str| {
            Hint::new("write a new one on a machine that is connected:", export_command("CONNECTION", recipient))
        };
        match self {
            Self::Unreadable(_) | Self::InvalidContent(_) => {
                Diagnostic::new(Kind::Vault, "invalid_bundle").hint(export("age1…"))
            }
            Self::WrongIdentity { recipient } => {
                Diagnostic::new(Kind::Vault, "bundle_wrong_identity").hint(export(recipient))
            }
            Self::MissingIdentity => Diagnostic::new(Kind::Vault, "bundle_locked").hint(Hint::text(
                "set INTEG_IDENTITY to the secret key (AGE-SECRET-KEY-1…) whose public key the bundle was exported to",
            )),
            Self::UnsupportedVersion(_) => Diagnostic::new(Kind::Vault, "unsupported_bundle").hint(export("age1…")),
            Self::TooLarge { .. } => {
                Diagnostic::new(Kind::Usage, "bundle_too_large").hint(Hint::text("export fewer connections at a time"))
            }
            Self::Vault(error) => error.diagnostic(),
        }
    }
}

/// The command that writes a bundle with a connection.
pub fn export_command(connection: &str, recipient: &str) -> String {
    format!("integ export {connection} --to {recipient}")
}

impl Bundle {
    /// Encrypts the bundle to age recipients. The text can be stored where secrets are, and passed in `INTEG_BUNDLE`.
    ///
    /// # Errors
    /// [`VaultError::InvalidRecipient`]; [`BundleError::TooLarge`].
    pub fn seal(&self, recipients: &[String]) -> Result<String, BundleError> {
        let text = document::write(self)?;
        let armored = seal_armored(text.as_bytes(), recipients.iter().map(String::as_str))?;
        if armored.len() > MAX_BYTES || self.connections.len() > MAX_CONNECTIONS {
            return Err(BundleError::TooLarge { size: armored.len() });
        }
        Ok(armored)
    }

    /// Opens a bundle and checks it.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn open(armored: &str, identity: &Identity) -> Result<Self, BundleError> {
        if armored.len() > MAX_BYTES {
            return Err(BundleError::InvalidContent(format!("it has more than {MAX_BYTES} bytes")));
        }
        let plaintext: Zeroizing<Vec<u8>> = open_armored(armored, identity).map_err(|failure| match failure {
            ArmorError::WrongIdentity { recipient } => BundleError::WrongIdentity { recipient },
            other => BundleError::Unreadable(other),
        })?;
        let bundle = document::read(&plaintext)?;
        if bundle.connections.len() > MAX_CONNECTIONS {
            return Err(BundleError::InvalidContent(format!("it holds more than {MAX_CONNECTIONS} connections")));
        }
        Ok(bundle)
    }
}
