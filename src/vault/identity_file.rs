//! Custody of the identity: finding it, making it once, and moving it.
//!
//! It is looked for in `INTEG_IDENTITY`, then `INTEG_IDENTITY_FILE`, then the file `identity`, which says by itself
//! what it is: an identity, an identity under a passphrase, or a note that the OS keyring has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::identity::{self, Identity, Unopened};
use super::layout::{Hold, check_private, hold_file};
use super::passphrase::New;
use super::{Access, Keyring, KeyringError, Prompt, VaultError, passphrase};
use crate::clock::Timestamp;
use crate::config::IdentityCustody;
use crate::env;
use crate::files;
use crate::secret::Secret;

/// What the note begins with that says that the identity is in the OS keyring.
const KEYRING_NOTE: &str = "keyring:";

/// Bytes, more than any identity file has.
const SIZE_LIMIT: u64 = 64 * 1024;

/// How long to wait for another process that makes or moves the identity, and may be asking a person.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Where an identity is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// A variable of the environment gave it, and integ keeps nothing.
    Given,
    Keyring,
    File,
    Passphrase,
}

/// What the environment says of the identity.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub identity: Option<Secret>,
    pub identity_file: Option<PathBuf>,
    pub passphrase_command: Option<String>,
}

impl Given {
    /// From `INTEG_IDENTITY`, `INTEG_IDENTITY_FILE` and `INTEG_PASSPHRASE_COMMAND`.
    pub fn from_env() -> Self {
        Self {
            identity: env::secret(&env::IDENTITY),
            identity_file: env::os(&env::IDENTITY_FILE).map(PathBuf::from),
            passphrase_command: env::var(&env::PASSPHRASE_COMMAND),
        }
    }
}

/// What an identity file holds.
enum Content {
    Plain(Identity),
    Encrypted(Vec<u8>),
    /// The OS keyring's entry of this recipient has it.
    Keyring(String),
}

impl Access<'_> {
    /// The identity and where it is kept; absent where none was ever made.
    ///
    /// # Errors
    /// Where it is kept somewhere that does not give it now.
    pub fn identity(&self) -> Result<Option<(Identity, Custody)>, VaultError> {
        if let Some(secret) = &self.given.identity {
            let invalid = || VaultError::IdentityInvalid {
                origin: env::IDENTITY.name.to_owned(),
                why: "it is not one AGE-SECRET-KEY-1…",
            };
            return Ok(Some((Identity::parse(secret.expose()).ok_or_else(invalid)?, Custody::Given)));
        }
        if let Some(path) = &self.given.identity_file {
            // The user's own choice: it may be a symlink, a secret of the container's, or a descriptor.
            let identity = match read(path)?.ok_or_else(|| VaultError::IdentityMissing(path.clone()))? {
                Content::Plain(identity) => identity,
                Content::Encrypted(bytes) => self.decrypt_identity(path, &bytes)?,
                Content::Keyring(recipient) => self.keyring_identity(&recipient)?,
            };
            return Ok(Some((identity, Custody::Given)));
        }
        let path = self.folders.identity();
        if !check_private(&path)? {
            return Ok(None);
        }
        Ok(match read(&path)? {
            None => None,
            Some(Content::Plain(identity)) => Some((identity, Custody::File)),
            Some(Content::Encrypted(bytes)) => Some((self.decrypt_identity(&path, &bytes)?, Custody::Passphrase)),
            Some(Content::Keyring(recipient)) => Some((self.keyring_identity(&recipient)?, Custody::Keyring)),
        })
    }

    /// The identity, made where there is none yet. The custody is returned where it was made by this call, for the
    /// caller to say so once.
    ///
    /// # Errors
    /// Those of [`Self::identity`]; [`VaultError::IdentityMissing`] where there are vaults and no identity, for a new
    /// one would open none of them.
    pub(super) fn identity_or_new(&self, now: Timestamp) -> Result<(Identity, Option<Custody>), VaultError> {
        if let Some((identity, _)) = self.identity()? {
            return Ok((identity, None));
        }
        let _lock = self.hold_identity()?;
        if let Some((identity, _)) = self.identity()? {
            return Ok((identity, None));
        }
        if super::seal::any_exists(&self.folders.workspaces(), &self.folders.global()) {
            return Err(VaultError::IdentityMissing(self.folders.identity()));
        }
        let identity = Identity::generate();
        let custody = self.keep(&identity, now)?;
        Ok((identity, Some(custody)))
    }

    /// Puts a new identity where the settings say. The lock on the identity is held.
    pub(super) fn keep(&self, identity: &Identity, now: Timestamp) -> Result<Custody, VaultError> {
        let custody = match self.config.identity {
            IdentityCustody::File => Custody::File,
            IdentityCustody::Passphrase => Custody::Passphrase,
            IdentityCustody::Keyring => Custody::Keyring,
            // One that asks each time is for those who choose it.
            IdentityCustody::Auto => match self.put_into(&self.keyring.as_found_later(), identity) {
                Ok(()) => return Ok(Custody::Keyring),
                Err(VaultError::Keyring(_)) => Custody::File,
                Err(error) => return Err(error),
            },
        };
        self.put(identity, custody, now)?;
        Ok(custody)
    }

    /// Keeps an identity file that is under a passphrase as it is.
    pub(super) fn keep_sealed(&self, bytes: &[u8]) -> Result<Custody, VaultError> {
        let path = self.folders.identity();
        files::write_atomic(&path, bytes).map_err(VaultError::at(path))?;
        Ok(Custody::Passphrase)
    }

    /// The identity of an identity file, and whether the file is under a passphrase.
    pub(super) fn read_identity(&self, origin: &str, bytes: &[u8]) -> Result<(Identity, bool), VaultError> {
        let path = Path::new(origin);
        Ok(match parse(path, bytes)? {
            Content::Plain(identity) => (identity, false),
            Content::Encrypted(bytes) => (self.decrypt_identity(path, &bytes)?, true),
            Content::Keyring(recipient) => (self.keyring_identity(&recipient)?, false),
        })
    }

    /// Moves the identity: it is copied and read back, then the file is replaced, then the old entry is deleted. A
    /// process that is killed in between has lost nothing, and doing it again finishes it.
    ///
    /// # Errors
    /// [`VaultError::IdentityGiven`], [`VaultError::IdentityMissing`], and those of either custody.
    pub fn move_identity(&self, to: Custody, now: Timestamp) -> Result<(), VaultError> {
        let _lock = self.hold_identity()?;
        let (identity, from) = self.identity()?.ok_or_else(|| VaultError::IdentityMissing(self.folders.identity()))?;
        if from == Custody::Given || to == Custody::Given {
            let variable = if self.given.identity.is_some() { &env::IDENTITY } else { &env::IDENTITY_FILE };
            return Err(VaultError::IdentityGiven(variable.name));
        }
        if from != to || to == Custody::Passphrase {
            self.put(&identity, to, now)?;
        }
        if to == Custody::Keyring {
            return Ok(());
        }
        match self.keyring.delete(&identity.recipient()) {
            // Without the keyring there is nothing that this user could take the entry out of now.
            Err(error) if from == Custody::Keyring => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Puts the identity into a custody, and last of all the file that says so.
    fn put(&self, identity: &Identity, custody: Custody, now: Timestamp) -> Result<(), VaultError> {
        let path = self.folders.identity();
        let plain = identity.file_text(now);
        let text = match custody {
            Custody::Given => return Ok(()),
            Custody::File => plain,
            Custody::Keyring => return self.put_into(&self.keyring, identity),
            Custody::Passphrase => {
                let passphrase = passphrase::choose(self.passphrase_command(), self.ask, New::Identity)?;
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
    fn put_into(&self, keyring: &Keyring, identity: &Identity) -> Result<(), VaultError> {
        let (recipient, secret, path) = (identity.recipient(), identity.secret(), self.folders.identity());
        keyring.set(&recipient, &secret, "integ: identity")?;
        let found = match keyring.as_found_later().attended_if(keyring.is_attended()).get(&recipient) {
            Ok(found) if found == secret => Ok(()),
            Ok(_) => Err(KeyringError::Absent(recipient.clone())),
            Err(error) => Err(error),
        };
        if let Err(error) = found {
            // The file that is in force may name this very entry.
            if !matches!(read(&path)?, Some(Content::Keyring(noted)) if noted == recipient) {
                let _ = keyring.delete(&recipient);
            }
            return Err(error.into());
        }
        let note = format!("# The identity is in the OS keyring: service integ.\n{KEYRING_NOTE} {recipient}\n");
        files::write_atomic(&path, note.as_bytes()).map_err(VaultError::at(&path))
    }

    pub(super) fn hold_identity(&self) -> Result<fs::File, VaultError> {
        let path = self.folders.identity().with_file_name("identity.lock");
        files::create_private_folder(self.folders.data()).map_err(VaultError::at(self.folders.data()))?;
        hold_file(&path, Hold::Alone, LOCK_TIMEOUT)
    }

    fn keyring_identity(&self, recipient: &str) -> Result<Identity, VaultError> {
        let secret = self.keyring.get(recipient)?;
        Identity::parse(secret.expose()).filter(|identity| identity.recipient() == recipient).ok_or_else(|| {
            VaultError::IdentityInvalid {
                origin: format!("the OS keyring's entry of {recipient}"),
                why: "it does not hold that recipient's key",
            }
        })
    }

    fn decrypt_identity(&self, path: &Path, bytes: &[u8]) -> Result<Identity, VaultError> {
        let invalid = |why| VaultError::IdentityInvalid { origin: path.display().to_string(), why };
        if !identity::is_passphrase_encrypted(bytes) {
            return Err(invalid("it is an age file that is not encrypted to a passphrase"));
        }
        let passphrase = passphrase::obtain(self.passphrase_command(), self.ask, Prompt::Open)?;
        let text = identity::decrypt_with_passphrase(bytes, &passphrase).map_err(|unopened| match unopened {
            Unopened::NotForThis => VaultError::WrongPassphrase(path.to_owned()),
            Unopened::ExcessiveWork(required) => VaultError::ExcessiveWork { path: path.to_owned(), required },
            Unopened::Damaged(why) => invalid(why),
        })?;
        let text = std::str::from_utf8(&text).ok().and_then(Identity::parse);
        text.ok_or_else(|| invalid("what its passphrase protects is no identity"))
    }

    pub(super) fn passphrase_command(&self) -> Option<&str> {
        self.given.passphrase_command.as_deref().or(self.config.passphrase_command.as_deref())
    }
}

fn read(path: &Path) -> Result<Option<Content>, VaultError> {
    let Some(bytes) = files::read_secret(path, SIZE_LIMIT)? else { return Ok(None) };
    parse(path, &bytes).map(Some)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Content, VaultError> {
    let invalid = |why| VaultError::IdentityInvalid { origin: path.display().to_string(), why };
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(invalid("it is too large"));
    }
    if identity::is_age_file(bytes) {
        return Ok(Content::Encrypted(bytes.to_vec()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is not text"))?;
    let note = text.lines().find_map(|line| line.strip_prefix(KEYRING_NOTE)).map(str::trim);
    match note {
        Some(recipient) if identity::is_recipient(recipient) => Ok(Content::Keyring(recipient.to_owned())),
        Some(_) => Err(invalid("it names a keyring entry that is no recipient")),
        None => {
            let identity = Identity::parse(text);
            Ok(Content::Plain(identity.ok_or_else(|| invalid("it holds other than one AGE-SECRET-KEY-1…"))?))
        }
    }
}
