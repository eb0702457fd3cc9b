//! Backups: the store as a plain SQLite file inside an age file, which `age -d` and `sqlite3` open.
//!
//! What is in the clear is in memory only, on the way out and on the way in. A backup that comes in is untrusted input:
//! see `store::Snapshot`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::access::put_in_place;
use super::identity::{self, Identity, Unopened};
use super::layout::{Hold, Layout, State};
use super::replace::Replacement;
use super::seal::Seal;
use super::{Access, Custodian, Custody, Prompt, Vault, VaultError, passphrase};
use crate::clock::Timestamp;
use crate::files;
use crate::secret::Secret;
use crate::store::{Restored, Snapshot, Store};

/// A backup is held in memory, twice; a larger one is a matter for `age` and `sqlite3`.
const SIZE_LIMIT: u64 = 1 << 30;

/// What stands for standard input or output where a file is named.
pub const STANDARD_STREAM: &str = "-";

/// Who can open a backup.
#[derive(Clone, Debug)]
pub enum BackupKey {
    /// Age recipients, `age1…`.
    Recipients(Vec<String>),
    Passphrase(Secret),
}

/// Makes a backup of the store. The secrets that are in the OS keyring are part of it.
///
/// # Errors
/// [`VaultError::InvalidRecipient`], [`VaultError::Keyring`], [`VaultError::Store`].
pub fn backup(store: &Store, custodian: &Custodian, key: &BackupKey) -> Result<Vec<u8>, VaultError> {
    let snapshot = store.snapshot(&custodian.entrusted(store)?)?;
    match key {
        BackupKey::Recipients(recipients) if recipients.is_empty() => Err(VaultError::InvalidRecipient(String::new())),
        BackupKey::Recipients(recipients) => {
            identity::encrypt(&snapshot, recipients.iter().map(String::as_str)).map_err(VaultError::InvalidRecipient)
        }
        BackupKey::Passphrase(passphrase) if passphrase.is_empty() => Err(VaultError::PassphraseEmpty),
        BackupKey::Passphrase(passphrase) => Ok(identity::encrypt_with_passphrase(&snapshot, passphrase)),
    }
}

/// What to do with a file that is in the way of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    Refuse,
    Allow,
}

/// Looks whether a file can be written at `path`, before anybody is asked for anything.
///
/// # Errors
/// [`VaultError::OutputExists`], [`VaultError::NotAFile`], [`VaultError::NoFolder`].
pub fn check_output(path: &Path, overwrite: Overwrite) -> Result<(), VaultError> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(VaultError::NoFolder(folder.to_owned()));
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(VaultError::at(path)(error)),
        // A device or a link would be replaced, not written to.
        Ok(metadata) if !metadata.is_file() => Err(VaultError::NotAFile(path.to_owned())),
        Ok(_) if overwrite == Overwrite::Refuse => Err(VaultError::OutputExists(path.to_owned())),
        Ok(_) => Ok(()),
    }
}

/// Writes a file of mode 0600. No folder is made for it.
///
/// # Errors
/// Those of [`check_output`], and [`VaultError::Io`].
pub fn write_output(path: &Path, contents: &[u8], overwrite: Overwrite) -> Result<(), VaultError> {
    check_output(path, overwrite)?;
    if overwrite == Overwrite::Allow {
        return files::write_atomic(path, contents).map_err(VaultError::at(path));
    }
    // Created here, so that a file which appeared meanwhile is left alone.
    let mut file = files::create_private(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => VaultError::OutputExists(path.to_owned()),
        _ => VaultError::at(path)(error),
    })?;
    io::Write::write_all(&mut file, contents).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = fs::remove_file(path);
        VaultError::at(path)(error)
    })
}

/// A backup that was opened and checked, and has not been restored.
#[derive(Debug)]
pub struct OpenedBackup {
    snapshot: Snapshot,
    /// What opened it, unless a passphrase did.
    identity: Option<(Identity, Custody)>,
}

/// A backup that was restored.
#[derive(Debug)]
pub struct Restoration {
    pub restored: Restored,
    /// Where the identity is kept, if this call made it.
    pub identity_made: Option<Custody>,
    /// Where the identity is kept that the workspace is now sealed to.
    pub custody: Custody,
}

impl OpenedBackup {
    /// What restoring it would bring.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn contents(&self) -> Result<Restored, VaultError> {
        Ok(self.snapshot.contents()?)
    }
}

impl Access<'_> {
    /// Opens the backup at `path`, or on standard input for `-`, and checks all of it. Nothing is changed.
    ///
    /// # Errors
    /// [`VaultError::BackupUnreadable`], [`VaultError::BackupNeedsIdentity`], [`VaultError::WrongPassphrase`], and those
    /// of the store.
    pub fn open_backup(&self, path: &Path) -> Result<OpenedBackup, VaultError> {
        let sealed = read(path)?;
        let unreadable = |why| VaultError::BackupUnreadable { path: path.to_owned(), why };
        if identity::is_passphrase_encrypted(&sealed) {
            let passphrase = passphrase::obtain(self.passphrase_command(), self.ask, Prompt::Backup)?;
            let snapshot =
                identity::decrypt_with_passphrase(&sealed, &passphrase).map_err(|unopened| match unopened {
                    Unopened::NotForThis => VaultError::WrongPassphrase(path.to_owned()),
                    other => unreadable(other.why()),
                })?;
            return Ok(OpenedBackup { snapshot: Snapshot::read(&snapshot)?, identity: None });
        }
        let needed = || VaultError::BackupNeedsIdentity(path.to_owned());
        let (identity, custody) = self.identity()?.ok_or_else(needed)?;
        let snapshot = identity::decrypt(&sealed, &identity).map_err(|unopened| unreadable(unopened.why()))?;
        Ok(OpenedBackup { snapshot: Snapshot::read(&snapshot)?, identity: Some((identity, custody)) })
    }

    /// Restores a backup into the workspace of `folder`, which is new or empty. Its grants are marked as restored, for
    /// the vendors may have replaced them since.
    ///
    /// # Errors
    /// [`VaultError::NotEmpty`], and those of the store: nothing has changed then.
    pub fn restore(&self, folder: &Path, backup: OpenedBackup, now: Timestamp) -> Result<Restoration, VaultError> {
        let layout = Layout::new(folder);
        let lock = layout.hold(Hold::Shared)?;
        let present = lock.is_some() && layout.state()? == State::Present;
        drop(lock);
        let OpenedBackup { snapshot, identity } = backup;
        let (identity, custody, identity_made) = match identity {
            Some((identity, custody)) => (identity, custody, None),
            None => match self.identity()? {
                Some((identity, custody)) => (identity, custody, None),
                None => {
                    let (identity, made) = self.identity_or_new(now)?;
                    (identity, made.unwrap_or(Custody::File), made)
                }
            },
        };
        if present {
            let vault = Vault { layout, identity, custody };
            return Ok(Restoration { restored: vault.restore_over(&snapshot, now)?, identity_made, custody });
        }
        let seal = Seal::new(&layout, &identity, now);
        layout.create()?;
        let _lock = layout.hold(Hold::Alone)?;
        if layout.state()? == State::Present {
            return Err(VaultError::NotEmpty);
        }
        layout.sweep();
        let temporary = files::temporary_beside(&layout.store());
        let (restored, sequence) = snapshot.restore(&temporary, &seal.key, 0, now).inspect_err(|_| {
            layout.sweep();
            let _ = fs::remove_file(layout.lock());
            let _ = fs::remove_dir(folder);
        })?;
        seal.write(&layout.seal())?;
        put_in_place(&layout, &temporary, &seal.key, sequence)?;
        Ok(Restoration { restored, identity_made, custody })
    }
}

impl Vault {
    fn restore_over(&self, snapshot: &Snapshot, now: Timestamp) -> Result<Restored, VaultError> {
        let replacement = Replacement::begin(self)?;
        let old = replacement.old()?;
        if !old.is_empty()? {
            return Err(VaultError::NotEmpty);
        }
        let sequence = old.meta()?.sequence;
        let (restored, sequence) = snapshot.restore(&replacement.path, &replacement.key, sequence, now)?;
        old.close()?;
        replacement.seal_both()?;
        replacement.swap(sequence)?;
        replacement.finish()?;
        Ok(restored)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let mut sealed = Zeroizing::new(Vec::new());
    let source: Box<dyn Read> = match path.to_str() {
        Some(STANDARD_STREAM) => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(path).map_err(VaultError::at(path))?),
    };
    source.take(SIZE_LIMIT + 1).read_to_end(&mut sealed).map_err(VaultError::at(path))?;
    let unreadable = |why| VaultError::BackupUnreadable { path: PathBuf::from(path), why };
    if sealed.len() as u64 > SIZE_LIMIT {
        return Err(unreadable("it is larger than 1 GiB"));
    }
    if !identity::is_age_file(&sealed) {
        return Err(unreadable("it is not an age file"));
    }
    Ok(sealed)
}
