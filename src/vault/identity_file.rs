//! The stored identity: finding, creating and moving it.
//!
//! It is looked for in `INTEG_IDENTITY`, then `INTEG_IDENTITY_FILE`, then the file `identity`, which says by itself
//! what it is: an identity, an identity under a passphrase, or a note that the OS keyring has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::agent::{self, UnlockedIdentity, Unseal};
use super::identity::{self, DecryptFailure, Identity};
use super::passphrase::NewPassphrase;
use super::vault_files::{LockMode, check_private, lock_file};
use super::{Keyring, KeyringError, PassphrasePrompt, VaultError, VaultOpener, passphrase};
use crate::clock::Timestamp;
use crate::config::IdentityStorage;
use crate::env;
use crate::files;
use crate::model::words;
use crate::secret::Secret;

/// What the note begins with that says that the identity is in the OS keyring.
const KEYRING_NOTE: &str = "keyring:";

/// Bytes, more than any identity file has.
const SIZE_LIMIT: u64 = 64 * 1024;

/// How long to wait for another process that makes or moves the identity, and may be asking a person.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Where an identity is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityLocation {
    /// A variable of the environment gave it, and integ keeps nothing.
    Environment,
    Keyring,
    File,
    EncryptedFile,
}

words!(IdentityLocation {
    Environment => "environment",
    Keyring => "keyring",
    File => "file",
    EncryptedFile => "passphrase",
});

/// What the environment says of the identity.
#[derive(Clone, Debug, Default)]
pub struct IdentityEnvironment {
    pub identity: Option<Secret>,
    pub identity_file: Option<PathBuf>,
    pub passphrase_command: Option<String>,
}

impl IdentityEnvironment {
    /// From `INTEG_IDENTITY`, `INTEG_IDENTITY_FILE` and `INTEG_PASSPHRASE_COMMAND`.
    pub fn from_env() -> Self {
        Self {
            identity: env::secret(&env::IDENTITY),
            identity_file: env::var_os(&env::IDENTITY_FILE).map(PathBuf::from),
            passphrase_command: env::var(&env::PASSPHRASE_COMMAND),
        }
    }
}

/// The identity, or what is to be decrypted with a passphrase to get it.
enum StoredIdentity {
    Open(Identity),
    Encrypted { path: PathBuf, bytes: Vec<u8> },
}

/// What opens sealed keys, and where its identity is kept.
pub(super) type Unsealer = (Box<dyn Unseal>, IdentityLocation);

/// What an identity file holds.
enum IdentityFileContent {
    Plain(Identity),
    Encrypted(Vec<u8>),
    /// The OS keyring's entry of this recipient has it.
    Keyring(String),
}

impl VaultOpener<'_> {
    /// The identity and where it is kept; absent where none was ever made.
    ///
    /// # Errors
    /// Where it is kept somewhere that does not give it now.
    pub fn identity(&self) -> Result<Option<(Identity, IdentityLocation)>, VaultError> {
        Ok(match self.stored_identity()? {
            None => None,
            Some((StoredIdentity::Open(identity), location)) => Some((identity, location)),
            Some((StoredIdentity::Encrypted { path, bytes }, location)) => {
                Some((self.decrypt_identity(&path, &bytes)?, location))
            }
        })
    }

    /// What opens sealed keys: the agent if it holds the identity, and else the identity.
    ///
    /// # Errors
    /// Those of [`Self::identity`].
    pub(super) fn unsealer(&self) -> Result<Option<Unsealer>, VaultError> {
        Ok(match self.stored_identity()? {
            None => None,
            Some((StoredIdentity::Open(identity), location)) => Some((Box::new(identity), location)),
            Some((StoredIdentity::Encrypted { path, bytes }, location)) => {
                let unsealer: Box<dyn Unseal> = match agent::find(self.folders.data(), &bytes) {
                    Some(unlocked) => Box::new(unlocked),
                    None => Box::new(self.decrypt_identity(&path, &bytes)?),
                };
                Some((unsealer, location))
            }
        })
    }

    /// The identity as far as it is there without a passphrase.
    fn stored_identity(&self) -> Result<Option<(StoredIdentity, IdentityLocation)>, VaultError> {
        if let Some(secret) = &self.environment.identity {
            let reason = match secret.expose() {
                text if text.starts_with("age1") => "it is a public key",
                text if text.contains('/') && !text.contains('\n') => "it is a path",
                _ => "it does not hold one secret key, AGE-SECRET-KEY-1…",
            };
            let invalid = || VaultError::InvalidIdentity { origin: env::IDENTITY.name.to_owned(), reason };
            let identity = Identity::parse(secret.expose()).ok_or_else(invalid)?;
            return Ok(Some((StoredIdentity::Open(identity), IdentityLocation::Environment)));
        }
        if let Some(path) = &self.environment.identity_file {
            // The user's own choice: it may be a symlink, a secret of the container's, or a descriptor.
            let content = read(path)?.ok_or_else(|| VaultError::MissingIdentity(path.clone()))?;
            return Ok(Some((self.stored(path, content)?, IdentityLocation::Environment)));
        }
        let path = self.folders.identity();
        if !check_private(&path)? {
            return Ok(None);
        }
        let Some(content) = read(&path)? else { return Ok(None) };
        let location = match content {
            IdentityFileContent::Plain(_) => IdentityLocation::File,
            IdentityFileContent::Encrypted(_) => IdentityLocation::EncryptedFile,
            IdentityFileContent::Keyring(_) => IdentityLocation::Keyring,
        };
        Ok(Some((self.stored(&path, content)?, location)))
    }

    fn stored(&self, path: &Path, content: IdentityFileContent) -> Result<StoredIdentity, VaultError> {
        Ok(match content {
            IdentityFileContent::Plain(identity) => StoredIdentity::Open(identity),
            IdentityFileContent::Encrypted(bytes) => StoredIdentity::Encrypted { path: path.to_owned(), bytes },
            IdentityFileContent::Keyring(recipient) => StoredIdentity::Open(self.keyring_identity(&recipient)?),
        })
    }

    /// Asks for the passphrase and starts an agent that holds the identity for so long. Returns how long it is unlocked.
    ///
    /// # Errors
    /// [`VaultError::NoPassphrase`] for an identity that opens without one; [`VaultError::AgentStart`].
    pub fn unlock_identity(&self, lifetime: Duration) -> Result<UnlockedIdentity, VaultError> {
        let missing = || VaultError::MissingIdentity(self.folders.identity());
        let (StoredIdentity::Encrypted { path, bytes }, _) = self.stored_identity()?.ok_or_else(missing)? else {
            return Err(VaultError::NoPassphrase);
        };
        let identity = self.decrypt_identity(&path, &bytes)?;
        agent::start(self.folders.data(), &bytes, &identity, lifetime).map_err(VaultError::AgentStart)
    }

    /// Asks the person at the terminal for the passphrase of the identity, and checks it. Returns whether the identity is
    /// under a passphrase. Neither the passphrase command nor the agent is used: programs can use both.
    ///
    /// # Errors
    /// [`VaultError::WrongPassphrase`]; [`VaultError::MissingPassphrase`] without a terminal.
    pub fn ask_passphrase(&self) -> Result<bool, VaultError> {
        let Some((StoredIdentity::Encrypted { path, bytes }, _)) = self.stored_identity()? else { return Ok(false) };
        self.decrypt_with(None, &path, &bytes).map(|_| true)
    }

    /// Returns the identity that an agent holds unlocked, if there is one.
    ///
    /// # Errors
    /// Those of reading the identity file.
    pub fn unlocked_identity(&self) -> Result<Option<UnlockedIdentity>, VaultError> {
        Ok(match self.stored_identity()? {
            Some((StoredIdentity::Encrypted { bytes, .. }, _)) => agent::find(self.folders.data(), &bytes),
            _ => None,
        })
    }

    /// Stops the agent, which forgets the identity. Returns whether there was one.
    pub fn forget_unlocked_identity(&self) -> bool {
        agent::stop(self.folders.data())
    }

    /// The public key of the identity, `age1…`, and where the identity is kept; absent where none was ever made.
    ///
    /// # Errors
    /// Those of [`Self::identity`].
    pub fn own_recipient(&self) -> Result<Option<(String, IdentityLocation)>, VaultError> {
        Ok(self.unsealer()?.map(|(unsealer, location)| (unsealer.recipient(), location)))
    }

    /// What opens sealed keys, its identity made where there is none yet. The custody is returned where it was made by this call, for the
    /// caller to say so once.
    ///
    /// # Errors
    /// Those of [`Self::identity`]; [`VaultError::MissingIdentity`] where there are vaults and no identity, for a new
    /// one would open none of them.
    pub(super) fn unsealer_or_new(
        &self,
        now: Timestamp,
    ) -> Result<(Box<dyn Unseal>, Option<IdentityLocation>), VaultError> {
        if let Some((unsealer, _)) = self.unsealer()? {
            return Ok((unsealer, None));
        }
        let _lock = self.lock_identity()?;
        if let Some((unsealer, _)) = self.unsealer()? {
            return Ok((unsealer, None));
        }
        if super::sealed_key::any_exists(&self.folders.workspaces(), &self.folders.global()) {
            return Err(VaultError::MissingIdentity(self.folders.identity()));
        }
        let identity = Identity::generate();
        let custody = self.store_identity(&identity, now)?;
        Ok((Box::new(identity), Some(custody)))
    }

    /// Puts a new identity where the settings say. The lock on the identity is held.
    pub(super) fn store_identity(&self, identity: &Identity, now: Timestamp) -> Result<IdentityLocation, VaultError> {
        let custody = match self.config.identity {
            IdentityStorage::File => IdentityLocation::File,
            IdentityStorage::Passphrase => IdentityLocation::EncryptedFile,
            IdentityStorage::Keyring => IdentityLocation::Keyring,
            // One that asks each time is for those who choose it.
            IdentityStorage::Auto => match self.write_to_keyring(&self.keyring.reconnected(), identity) {
                Ok(()) => return Ok(IdentityLocation::Keyring),
                Err(VaultError::Keyring(_)) => IdentityLocation::File,
                Err(error) => return Err(error),
            },
        };
        self.write_identity(identity, custody, now)?;
        Ok(custody)
    }

    /// Keeps an identity file that is under a passphrase as it is.
    pub(super) fn store_encrypted_identity(&self, bytes: &[u8]) -> Result<IdentityLocation, VaultError> {
        let path = self.folders.identity();
        files::write_atomic(&path, bytes).map_err(VaultError::at(path))?;
        Ok(IdentityLocation::EncryptedFile)
    }

    /// The identity of an identity file, and whether the file is under a passphrase.
    pub(super) fn read_identity(&self, origin: &str, bytes: &[u8]) -> Result<(Identity, bool), VaultError> {
        let path = Path::new(origin);
        Ok(match parse(path, bytes)? {
            IdentityFileContent::Plain(identity) => (identity, false),
            IdentityFileContent::Encrypted(bytes) => (self.decrypt_identity(path, &bytes)?, true),
            IdentityFileContent::Keyring(recipient) => (self.keyring_identity(&recipient)?, false),
        })
    }

    /// Moves the identity: it is copied and read back, then the file is replaced, then the old entry is deleted. A
    /// process that is killed in between has lost nothing, and doing it again finishes it.
    ///
    /// # Errors
    /// [`VaultError::IdentityFromEnvironment`], [`VaultError::MissingIdentity`], and those of either custody.
    pub fn move_identity(&self, to: IdentityLocation, now: Timestamp) -> Result<(), VaultError> {
        let _lock = self.lock_identity()?;
        let (identity, from) = self.identity()?.ok_or_else(|| VaultError::MissingIdentity(self.folders.identity()))?;
        if from == IdentityLocation::Environment || to == IdentityLocation::Environment {
            let variable = if self.environment.identity.is_some() { &env::IDENTITY } else { &env::IDENTITY_FILE };
            return Err(VaultError::IdentityFromEnvironment(variable.name));
        }
        if from != to || to == IdentityLocation::EncryptedFile {
            self.write_identity(&identity, to, now)?;
            // It holds the identity of the file that was replaced.
            agent::stop(self.folders.data());
        }
        if to == IdentityLocation::Keyring {
            return Ok(());
        }
        match self.keyring.delete(&identity.recipient()) {
            // Without the keyring there is nothing that this user could take the entry out of now.
            Err(error) if from == IdentityLocation::Keyring => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Puts the identity into a custody, and last of all the file that says so.
    fn write_identity(&self, identity: &Identity, custody: IdentityLocation, now: Timestamp) -> Result<(), VaultError> {
        let path = self.folders.identity();
        let plain = identity.file_text(now);
        let text = match custody {
            IdentityLocation::Environment => return Ok(()),
            IdentityLocation::File => plain,
            IdentityLocation::Keyring => return self.write_to_keyring(&self.keyring, identity),
            IdentityLocation::EncryptedFile => {
                let passphrase = passphrase::new_passphrase(
                    self.passphrase_command(),
                    self.passphrase_source,
                    NewPassphrase::Identity,
                )?;
                let sealed = identity::encrypt_with_passphrase(plain.as_bytes(), &passphrase);
                if identity::decrypt_with_passphrase(&sealed, &passphrase).is_err() {
                    return Err(VaultError::WrongPassphrase(path));
                }
                return files::write_atomic(&path, &sealed).map_err(VaultError::at(&path));
            }
        };
        files::write_atomic(&path, text.as_bytes()).map_err(VaultError::at(&path))
    }

    /// Puts the identity into a keyring, reads it back as the next command will, and notes where it is. An entry that cannot
    /// be read back is deleted.
    fn write_to_keyring(&self, keyring: &Keyring, identity: &Identity) -> Result<(), VaultError> {
        let (recipient, secret, path) = (identity.recipient(), identity.secret(), self.folders.identity());
        keyring.set(&recipient, &secret, "integ: identity")?;
        let found = match keyring.reconnected().with_attended(keyring.is_attended()).get(&recipient) {
            Ok(found) if found == secret => Ok(()),
            Ok(_) => Err(KeyringError::EntryNotFound(recipient.clone())),
            Err(error) => Err(error),
        };
        if let Err(error) = found {
            // The file that is in force may name this very entry.
            if !matches!(read(&path)?, Some(IdentityFileContent::Keyring(noted)) if noted == recipient) {
                let _ = keyring.delete(&recipient);
            }
            return Err(error.into());
        }
        let note = format!("# The identity is in the OS keyring: service integ.\n{KEYRING_NOTE} {recipient}\n");
        files::write_atomic(&path, note.as_bytes()).map_err(VaultError::at(&path))
    }

    pub(super) fn lock_identity(&self) -> Result<fs::File, VaultError> {
        let path = self.folders.identity().with_file_name("identity.lock");
        files::create_private_folder(self.folders.data()).map_err(VaultError::at(self.folders.data()))?;
        lock_file(&path, LockMode::Exclusive, LOCK_TIMEOUT)
    }

    fn keyring_identity(&self, recipient: &str) -> Result<Identity, VaultError> {
        let secret = self.keyring.get(recipient)?;
        Identity::parse(secret.expose()).filter(|identity| identity.recipient() == recipient).ok_or_else(|| {
            VaultError::InvalidIdentity {
                origin: format!("the OS keyring's entry of {recipient}"),
                reason: "it does not hold that recipient's key",
            }
        })
    }

    fn decrypt_identity(&self, path: &Path, bytes: &[u8]) -> Result<Identity, VaultError> {
        self.decrypt_with(self.passphrase_command(), path, bytes)
    }

    /// Decrypts an identity file with the passphrase that the command prints, or that the person at the terminal enters.
    fn decrypt_with(&self, command: Option<&str>, path: &Path, bytes: &[u8]) -> Result<Identity, VaultError> {
        let invalid = |why| VaultError::InvalidIdentity { origin: path.display().to_string(), reason: why };
        if !identity::is_passphrase_encrypted(bytes) {
            return Err(invalid("it is an age file that is not encrypted to a passphrase"));
        }
        let passphrase = passphrase::read_passphrase(command, self.passphrase_source, PassphrasePrompt::OpenIdentity)?;
        let text = identity::decrypt_with_passphrase(bytes, &passphrase).map_err(|unopened| match unopened {
            DecryptFailure::WrongKey => VaultError::WrongPassphrase(path.to_owned()),
            DecryptFailure::ExcessiveWork(required) => VaultError::ExcessiveWork { path: path.to_owned(), required },
            other => invalid(other.why()),
        })?;
        let text = std::str::from_utf8(&text).ok().and_then(Identity::parse);
        text.ok_or_else(|| invalid("what its passphrase protects is not an identity"))
    }

    pub(super) fn passphrase_command(&self) -> Option<&str> {
        self.environment.passphrase_command.as_deref().or(self.config.passphrase_command.as_deref())
    }
}

fn read(path: &Path) -> Result<Option<IdentityFileContent>, VaultError> {
    let Some(bytes) = files::read_secret(path, SIZE_LIMIT)? else { return Ok(None) };
    parse(path, &bytes).map(Some)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<IdentityFileContent, VaultError> {
    let invalid = |why| VaultError::InvalidIdentity { origin: path.display().to_string(), reason: why };
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(invalid("it is too large"));
    }
    if identity::is_age_file(bytes) {
        return Ok(IdentityFileContent::Encrypted(bytes.to_vec()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is not text"))?;
    let note = text.lines().find_map(|line| line.strip_prefix(KEYRING_NOTE)).map(str::trim);
    match note {
        Some(recipient) if identity::is_recipient(recipient) => Ok(IdentityFileContent::Keyring(recipient.to_owned())),
        Some(_) => Err(invalid("it names a keyring entry that is not a recipient")),
        None => {
            let identity = Identity::parse(text);
            Ok(IdentityFileContent::Plain(
                identity.ok_or_else(|| invalid("it must contain exactly one AGE-SECRET-KEY-1…"))?,
            ))
        }
    }
}
