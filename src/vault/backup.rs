//! Backups: the store as a plain SQLite file inside an age file, which `age -d` and `sqlite3` open.
//!
//! What is in the clear is in memory only, on the way out and on the way in.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::access::put_in_place;
use super::identity::{self, Identity};
use super::layout::{Hold, Layout, State};
use super::replace::Replacement;
use super::seal::Seal;
use super::{Access, Custodian, Custody, Prompt, Vault, VaultError, passphrase};
use crate::clock::Timestamp;
use crate::files;
use crate::secret::Secret;
use crate::store::{Restored, Store};

/// A backup is held in memory, twice; a larger one is a matter for `age` and `sqlite3`.
const SIZE_LIMIT: u64 = 1 << 30;

/// Who can open a backup.
#[derive(Clone, Debug)]
pub enum BackupKey {
    /// Age recipients, `age1…`.
    Recipients(Vec<String>),
    Passphrase(Secret),
}

/// Writes a backup of the store to `path`, in place of what is there. The secrets that are in the OS keyring are part
/// of it.
///
/// # Errors
/// [`VaultError::InvalidRecipient`], [`VaultError::Keyring`], [`VaultError::Io`].
pub fn backup(store: &Store, custodian: &Custodian, path: &Path, key: &BackupKey) -> Result<(), VaultError> {
    let snapshot = store.snapshot(&custodian.entrusted(store)?)?;
    let sealed = match key {
        BackupKey::Recipients(recipients) if recipients.is_empty() => {
            return Err(VaultError::InvalidRecipient(String::new()));
        }
        BackupKey::Recipients(recipients) => {
            identity::encrypt(&snapshot, recipients.iter().map(String::as_str)).map_err(VaultError::InvalidRecipient)?
        }
        BackupKey::Passphrase(passphrase) => identity::encrypt_with_passphrase(&snapshot, passphrase),
    };
    files::write_atomic(path, &sealed).map_err(VaultError::at(path))
}

impl Access<'_> {
    /// Restores a backup into the workspace of `folder`, which is new or empty. The backup is checked before anything
    /// is replaced; its grants are marked as restored, for the vendors may have replaced them since. The custody
    /// is returned of an identity that this call made.
    ///
    /// # Errors
    /// [`VaultError::NotEmpty`], [`VaultError::BackupUnreadable`], and those of the store: nothing has changed then.
    pub fn restore(
        &self,
        folder: &Path,
        backup: &Path,
        now: Timestamp,
    ) -> Result<(Restored, Option<Custody>), VaultError> {
        let sealed = read(backup)?;
        let layout = Layout::new(folder);
        let lock = layout.hold(Hold::Shared)?;
        let present = lock.is_some() && layout.state()? == State::Present;
        drop(lock);
        if present {
            let vault = self.unlocked(layout)?;
            let snapshot = self.open_backup(backup, &sealed, &vault.identity)?;
            return Ok((vault.restore_over(&snapshot, now)?, None));
        }
        // A new identity cannot open what was encrypted to another; it can keep what a passphrase opens.
        let (identity, identity_made) = match self.identity()? {
            Some((identity, _)) => (identity, None),
            None if identity::is_passphrase_encrypted(&sealed) => self.identity_or_new(now)?,
            None => return Err(VaultError::IdentityMissing(self.folders.identity())),
        };
        let snapshot = self.open_backup(backup, &sealed, &identity)?;
        let seal = Seal::new(&identity, now);
        layout.create()?;
        let _lock = layout.hold(Hold::Alone)?;
        if layout.state()? == State::Present {
            return Err(VaultError::NotEmpty);
        }
        layout.sweep();
        let temporary = files::temporary_beside(&layout.store());
        let restored = Store::import(&snapshot, &temporary, &seal.key, 0, now).inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
            let _ = fs::remove_file(layout.lock());
            let _ = fs::remove_dir(folder);
        })?;
        seal.write(&layout.seal())?;
        put_in_place(&temporary, &layout.store())?;
        Ok((restored, identity_made))
    }

    fn open_backup(&self, path: &Path, sealed: &[u8], identity: &Identity) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let opened = if identity::is_passphrase_encrypted(sealed) {
            identity::decrypt_with_passphrase(sealed, &passphrase::obtain(None, self.ask, Prompt::Backup)?)
        } else {
            identity::decrypt(sealed, identity)
        };
        opened.map_err(|unopened| VaultError::BackupUnreadable { path: path.to_owned(), why: unopened.why() })
    }
}

impl Vault {
    fn restore_over(&self, snapshot: &[u8], now: Timestamp) -> Result<Restored, VaultError> {
        let replacement = Replacement::begin(self)?;
        let old = replacement.old()?;
        if !old.is_empty()? {
            return Err(VaultError::NotEmpty);
        }
        let restored = Store::import(snapshot, &replacement.path, &replacement.key, old.meta()?.sequence, now)?;
        old.close()?;
        replacement.seal_both()?;
        replacement.swap()?;
        replacement.finish()?;
        Ok(restored)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, VaultError> {
    let mut sealed = Vec::new();
    let file = File::open(path).map_err(VaultError::at(path))?;
    file.take(SIZE_LIMIT + 1).read_to_end(&mut sealed).map_err(VaultError::at(path))?;
    let unreadable = |why| VaultError::BackupUnreadable { path: path.to_owned(), why };
    if sealed.len() as u64 > SIZE_LIMIT {
        return Err(unreadable("it is larger than 1 GiB"));
    }
    if !identity::is_age_file(&sealed) {
        return Err(unreadable("it is not an age file"));
    }
    Ok(sealed)
}
