//! Taking the identity to another machine: exporting and importing it.

use zeroize::Zeroizing;

use super::identity::{self, Identity};
use super::{Access, Custody, Given, VaultError, passphrase, passphrase::New};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// How an exported identity is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// As `age-keygen` writes it: anyone who has it opens the vaults.
    None,
    /// An age file under a passphrase that is asked for.
    Passphrase,
}

impl Access<'_> {
    /// The identity as an identity file, which `age -i` and `INTEG_IDENTITY_FILE` take.
    ///
    /// # Errors
    /// [`VaultError::IdentityMissing`], those of its custody, and of asking for a passphrase.
    pub fn export_identity(&self, protection: Protection, now: Timestamp) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (identity, _) = self.identity()?.ok_or_else(|| VaultError::IdentityMissing(self.folders.identity()))?;
        let text = identity.file_text(now);
        Ok(Zeroizing::new(match protection {
            Protection::None => text.as_bytes().to_vec(),
            Protection::Passphrase => identity::encrypt_with_passphrase(text.as_bytes(), &self.choose(New::Export)?),
        }))
    }

    /// Keeps the identity of an identity file as this user's own, in the custody that the settings say. A file under a
    /// passphrase is kept under it.
    ///
    /// # Errors
    /// [`VaultError::IdentityExists`] if another one is kept already; [`VaultError::IdentityInvalid`].
    pub fn import_identity(&self, origin: &str, bytes: &[u8], now: Timestamp) -> Result<Imported, VaultError> {
        let (identity, sealed) = self.read_identity(origin, bytes)?;
        let recipient = identity.recipient();
        let _lock = self.hold_identity()?;
        if let Some((kept, custody)) = self.kept()? {
            if kept.recipient() == recipient {
                return Ok(Imported { recipient, custody });
            }
            return Err(VaultError::IdentityExists { path: self.folders.identity(), kept: kept.recipient() });
        }
        let custody = match sealed {
            true => self.keep_sealed(bytes)?,
            false => self.keep(&identity, now)?,
        };
        Ok(Imported { recipient, custody })
    }

    /// A new passphrase for a backup: asked for twice, or printed by the passphrase command. Never empty.
    ///
    /// # Errors
    /// [`VaultError::PassphraseMismatch`], [`VaultError::PassphraseEmpty`], [`VaultError::NoPassphrase`].
    pub fn choose_backup_passphrase(&self) -> Result<Secret, VaultError> {
        self.choose(New::Backup)
    }

    /// The identity that this user keeps, whatever the environment gives.
    ///
    /// # Errors
    /// Those of [`Self::identity`].
    pub fn kept(&self) -> Result<Option<(Identity, Custody)>, VaultError> {
        let given = Given { passphrase_command: self.given.passphrase_command.clone(), ..Given::default() };
        let keyring = self.keyring.clone();
        Access::new(self.folders, self.config, self.ask).with(given, keyring).identity()
    }

    fn choose(&self, what: New) -> Result<Secret, VaultError> {
        passphrase::choose(self.passphrase_command(), self.ask, what)
    }
}

/// An identity that is kept now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// `age1…`
    pub recipient: String,
    pub custody: Custody,
}
