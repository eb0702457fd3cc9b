//! Opening vaults, and making them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::layout::{Contents, Hold, Layout, State};
use super::seal::{Recipient, Seal};
use super::{Custody, Given, Identity, Keyring, PassphraseSource, VaultError};
use crate::clock::Timestamp;
use crate::config::{Folders, VaultConfig};
use crate::files;
use crate::store::{Key, LostWrites, Store, StoreError};

/// What it takes to get at a user's vaults.
pub struct Access<'a> {
    pub(super) folders: &'a Folders,
    pub(super) config: &'a VaultConfig,
    pub(super) given: Given,
    pub(super) ask: &'a dyn PassphraseSource,
    pub(super) keyring: Keyring,
}

/// What to do where there is no vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfAbsent {
    Fail,
    Create { now: Timestamp },
}

/// A store, open, and what is to be said of it.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    /// Where the identity is kept, if this call made it.
    pub identity_made: Option<Custody>,
}

impl AsRef<Store> for Opened {
    fn as_ref(&self) -> &Store {
        &self.store
    }
}

/// A vault whose identity is at hand.
#[derive(Debug)]
pub struct Vault {
    pub(super) layout: Layout,
    pub(super) identity: Identity,
    pub(super) custody: Custody,
}

/// Opens the vault in `folder`, with what the environment says: [`Access::open`].
///
/// # Errors
/// [`VaultError`].
pub fn open(
    folders: &Folders,
    folder: &Path,
    config: &VaultConfig,
    ask: &dyn PassphraseSource,
    absent: IfAbsent,
) -> Result<Opened, VaultError> {
    Access::new(folders, config, ask).open(folder, absent)
}

/// Deletes the vault in `folder`, its key first, so that what is left of a store cannot be read. What it keeps in the
/// OS keyring is to be removed before ([`super::Custodian::forget`]), and nobody, the caller included, may have it
/// open. What a call that was killed has left is deleted by the next one.
///
/// # Errors
/// [`VaultError::ForeignFiles`] if there is anything that integ did not make, and then nothing has been deleted;
/// [`VaultError::Busy`], [`VaultError::Io`].
pub fn destroy(folder: &Path) -> Result<(), VaultError> {
    let layout = Layout::new(folder);
    let lock = layout.hold(Hold::Alone)?.ok_or_else(|| VaultError::Absent(folder.to_owned()))?;
    for path in std::iter::once(layout.seal()).chain(own_files(&layout)?) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(VaultError::at(&path)(error)),
            _ => {}
        }
    }
    let _ = fs::remove_file(layout.outer_note());
    let _ = fs::remove_dir(layout.locks());
    // Last, so that whoever waits for the lock finds that it is no longer the one in the folder.
    let _ = fs::remove_file(layout.lock());
    fs::remove_dir(folder).map_err(VaultError::at(folder))?;
    drop(lock);
    Ok(())
}

/// Whether [`destroy`] would refuse, to be asked before anything else is deleted.
///
/// # Errors
/// [`VaultError::ForeignFiles`].
pub fn check_destroyable(folder: &Path) -> Result<(), VaultError> {
    own_files(&Layout::new(folder)).map(drop)
}

fn own_files(layout: &Layout) -> Result<Vec<PathBuf>, VaultError> {
    let Contents { own, foreign } = layout.contents()?;
    if foreign.is_empty() {
        return Ok(own);
    }
    Err(VaultError::ForeignFiles { folder: layout.folder().to_owned(), names: foreign })
}

impl std::fmt::Debug for Access<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("folders", self.folders).finish_non_exhaustive()
    }
}

impl<'a> Access<'a> {
    /// With what the environment says of the identity.
    pub fn new(folders: &'a Folders, config: &'a VaultConfig, ask: &'a dyn PassphraseSource) -> Self {
        let keyring = Keyring::default().attended_if(ask.is_attended());
        Self { folders, config, given: Given::from_env(), ask, keyring }
    }

    /// With another environment or keyring.
    #[must_use]
    pub fn with(self, given: Given, keyring: Keyring) -> Self {
        Self { given, keyring, ..self }
    }

    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Opens the vault in `folder`, or makes it.
    ///
    /// # Errors
    /// [`VaultError::Absent`] where there is none and none is to be made; [`VaultError`] where it does not open, and
    /// then its files are as they were.
    pub fn open(&self, folder: &Path, absent: IfAbsent) -> Result<Opened, VaultError> {
        let layout = Layout::new(folder);
        if let Some(lock) = layout.hold(Hold::Shared)?
            && layout.state()? == State::Present
        {
            let store = self.unlocked(layout)?.open_store(lock, LostWrites::Refuse)?;
            return Ok(Opened { store, identity_made: None });
        }
        let IfAbsent::Create { now } = absent else { return Err(VaultError::Absent(folder.to_owned())) };
        let identity_made = self.create(&layout, now)?;
        let lock = layout.hold(Hold::Shared)?.ok_or_else(|| VaultError::Absent(folder.to_owned()))?;
        let store = self.unlocked(layout)?.open_store(lock, LostWrites::Refuse)?;
        Ok(Opened { store, identity_made })
    }

    /// The vault in `folder`, with its identity and not its store: for what changes keys. Its store is not to be open
    /// in this process when it is replaced.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn vault(&self, folder: &Path) -> Result<Vault, VaultError> {
        let layout = Layout::new(folder);
        let lock = layout.hold(Hold::Shared)?;
        match lock.map(|_lock| layout.state()).transpose()? {
            Some(State::Present) => self.unlocked(layout),
            _ => Err(VaultError::Absent(folder.to_owned())),
        }
    }

    pub(super) fn unlocked(&self, layout: Layout) -> Result<Vault, VaultError> {
        let found = self.identity()?;
        let (identity, custody) = found.ok_or_else(|| VaultError::IdentityMissing(self.folders.identity()))?;
        Ok(Vault { layout, identity, custody })
    }

    /// Makes the vault, unless another process was faster; goes on where one was cut short.
    fn create(&self, layout: &Layout, now: Timestamp) -> Result<Option<Custody>, VaultError> {
        layout.create()?;
        let lock = layout.hold(Hold::Alone)?;
        let state = layout.state()?;
        if state == State::Present {
            return Ok(None);
        }
        layout.sweep();
        let (identity, made) = self.identity_or_new(now)?;
        let key = if state == State::Unfinished {
            Seal::read(&layout.seal(), &identity)?.key
        } else {
            let seal = Seal::new(layout, &identity, now);
            seal.write(&layout.seal())?;
            seal.key
        };
        let store = layout.store();
        let temporary = files::temporary_beside(&store);
        Store::create(&temporary, &key, now)?;
        put_in_place(layout, &temporary, &key, 0)?;
        drop(lock);
        Ok(made)
    }
}

/// Renames a finished store, durably, and notes how many writes it has.
pub(super) fn put_in_place(layout: &Layout, temporary: &Path, key: &Key, sequence: u64) -> Result<(), VaultError> {
    let store = layout.store();
    File::open(temporary)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(temporary, &store))
        .and_then(|()| files::sync_folder(layout.folder()))
        .map_err(VaultError::at(&store))?;
    Ok(Store::note(&store, key, layout.outer_note(), sequence)?)
}

impl Seal {
    /// A new key, for the identity alone.
    pub(super) fn new(layout: &Layout, identity: &Identity, now: Timestamp) -> Self {
        let own = Recipient { recipient: identity.recipient(), label: String::new(), added_at: now };
        Self { workspace: layout.name(), key: Key::random(), previous: None, recipients: vec![own] }
    }
}

impl Vault {
    /// The recipient that opened the vault.
    pub fn own_recipient(&self) -> String {
        self.identity.recipient()
    }

    /// Where the identity is kept.
    pub fn custody(&self) -> Custody {
        self.custody
    }

    /// Everyone who can open the vault.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn recipients(&self) -> Result<Vec<Recipient>, VaultError> {
        Ok(Seal::read(&self.layout.seal(), &self.identity)?.recipients)
    }

    /// Lets the holder of another identity open the vault.
    ///
    /// # Errors
    /// [`VaultError::InvalidRecipient`], [`VaultError::KnownRecipient`].
    pub fn add_recipient(&self, recipient: &str, label: &str, now: Timestamp) -> Result<(), VaultError> {
        if !super::identity::is_recipient(recipient) {
            return Err(VaultError::InvalidRecipient(recipient.to_owned()));
        }
        let _lock = self.layout.hold(Hold::Shared)?;
        Seal::change(&self.layout.seal(), &self.identity, |seal| {
            if seal.recipients.iter().any(|known| known.recipient == recipient) {
                return Err(VaultError::KnownRecipient(recipient.to_owned()));
            }
            let (recipient, label) = (recipient.to_owned(), label.to_owned());
            seal.recipients.push(Recipient { recipient, label, added_at: now });
            Ok(())
        })
    }

    /// Seals the key to one fewer. Whoever once had the key still has it: [`Self::rekey`] makes it worthless.
    ///
    /// # Errors
    /// [`VaultError::LastRecipient`]; [`VaultError::OwnRecipient`] unless `own` allows it.
    pub fn remove_recipient(&self, recipient: &str, own: RemoveOwn) -> Result<(), VaultError> {
        let _lock = self.layout.hold(Hold::Shared)?;
        Seal::change(&self.layout.seal(), &self.identity, |seal| {
            let known = seal.recipients.len();
            seal.recipients.retain(|known| known.recipient != recipient);
            if seal.recipients.len() == known {
                return Err(VaultError::NoSuchRecipient(recipient.to_owned()));
            }
            if seal.recipients.is_empty() {
                return Err(VaultError::LastRecipient(recipient.to_owned()));
            }
            if recipient == self.identity.recipient() && own == RemoveOwn::Refuse {
                return Err(VaultError::OwnRecipient(recipient.to_owned()));
            }
            Ok(())
        })
    }

    /// Opens the store and reads all of it. `lost` says what to do where it has lost writes.
    ///
    /// # Errors
    /// [`VaultError`] for the first thing that is not sound.
    pub fn check(&self, lost: LostWrites) -> Result<(), VaultError> {
        let lock = self.layout.hold(Hold::Shared)?.ok_or_else(|| self.absent())?;
        Ok(self.open_store(lock, lost)?.check()?)
    }

    /// Opens the store under the lock that is given; it is held as long as the store is open.
    pub(super) fn open_store(&self, lock: File, lost: LostWrites) -> Result<Store, VaultError> {
        let mut lock = lock;
        let mut seal = Seal::read(&self.layout.seal(), &self.identity)?;
        if seal.previous.is_some() {
            drop(lock);
            self.settle_if_free(lost)?;
            lock = self.layout.hold(Hold::Shared)?.ok_or_else(|| self.absent())?;
            seal = Seal::read(&self.layout.seal(), &self.identity)?;
        }
        let mut store = self.open_by(&seal, lost)?.0;
        if let Some(doubt) = store.doubt() {
            tracing::warn!("{doubt}; `integ -w {} vault check --accept` accepts the store as it is", seal.workspace);
        }
        store.hold(lock);
        Ok(store)
    }

    /// Opens the store by the key that fits it.
    pub(super) fn open_by(&self, seal: &Seal, lost: LostWrites) -> Result<(Store, Key), VaultError> {
        let path = self.layout.store();
        let open = |key| Store::open_noted(&path, key, self.layout.outer_note(), lost);
        match (open(&seal.key), &seal.previous) {
            (Err(StoreError::WrongKey(_)), Some(previous)) => Ok((open(previous)?, previous.clone())),
            (opened, _) => Ok((opened?, seal.key.clone())),
        }
    }

    pub(super) fn absent(&self) -> VaultError {
        VaultError::Absent(self.layout.folder().to_owned())
    }
}

/// Whether a user may shut himself out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveOwn {
    Refuse,
    Allow,
}
