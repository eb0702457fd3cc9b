//! Exports and imports the identity, to move it to another machine.

use zeroize::Zeroizing;

use super::identity::{self, Identity};
use super::{IdentityEnvironment, IdentityLocation, VaultError, VaultOpener, passphrase, passphrase::NewPassphrase};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// How an exported identity is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportProtection {
    /// As `age-keygen` writes it: anyone who has it opens the vaults.
    None,
    /// An age file encrypted with a passphrase from a prompt.
    Passphrase,
}

impl VaultOpener<'_> {
    /// The identity as an identity file, which `age -i` and `INTEG_IDENTITY_FILE` take.
    ///
    /// # Errors
    /// [`VaultError::MissingIdentity`], those of its custody, and of asking for a passphrase.
    pub fn export_identity(
        &self,
        protection: ExportProtection,
        now: Timestamp,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (identity, _) = self.identity()?.ok_or_else(|| VaultError::MissingIdentity(self.folders.identity()))?;
        let text = identity.file_text(now);
        Ok(Zeroizing::new(match protection {
            ExportProtection::None => text.as_bytes().to_vec(),
            ExportProtection::Passphrase => {
                identity::encrypt_with_passphrase(text.as_bytes(), &self.choose(NewPassphrase::IdentityExport)?)
            }
        }))
    }

    /// Keeps the identity of an identity file as this user's own, in the custody that the settings say. A file under a
    /// passphrase is kept under it.
    ///
    /// # Errors
    /// [`VaultError::IdentityExists`] if another one is kept already; [`VaultError::InvalidIdentity`].
    pub fn import_identity(&self, origin: &str, bytes: &[u8], now: Timestamp) -> Result<ImportedIdentity, VaultError> {
        let (identity, sealed) = self.read_identity(origin, bytes)?;
        let recipient = identity.recipient();
        let _lock = self.lock_identity()?;
        if let Some((kept, custody)) = self.current_identity()? {
            if kept.recipient() == recipient {
                return Ok(ImportedIdentity { recipient, location: custody });
            }
            return Err(VaultError::IdentityExists { path: self.folders.identity(), kept: kept.recipient() });
        }
        let custody = match sealed {
            true => self.store_encrypted_identity(bytes)?,
            false => self.store_identity(&identity, now)?,
        };
        Ok(ImportedIdentity { recipient, location: custody })
    }

    /// A new passphrase for a backup: asked for twice, or printed by the passphrase command. Never empty.
    ///
    /// # Errors
    /// [`VaultError::PassphraseMismatch`], [`VaultError::EmptyPassphrase`], [`VaultError::MissingPassphrase`].
    pub fn choose_backup_passphrase(&self) -> Result<Secret, VaultError> {
        self.choose(NewPassphrase::Backup)
    }

    /// The identity that this user keeps, whatever the environment gives.
    ///
    /// # Errors
    /// Those of [`Self::identity`].
    pub fn current_identity(&self) -> Result<Option<(Identity, IdentityLocation)>, VaultError> {
        let given = IdentityEnvironment {
            passphrase_command: self.environment.passphrase_command.clone(),
            ..IdentityEnvironment::default()
        };
        let keyring = self.keyring.clone();
        VaultOpener::new(self.folders, self.config, self.passphrase_source).with_environment(given, keyring).identity()
    }

    fn choose(&self, what: NewPassphrase) -> Result<Secret, VaultError> {
        passphrase::new_passphrase(self.passphrase_command(), self.passphrase_source, what)
    }
}

/// An identity that is kept now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedIdentity {
    /// `age1…`
    pub recipient: String,
    pub location: IdentityLocation,
}
