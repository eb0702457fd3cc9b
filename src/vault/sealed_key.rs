//! `vault.age`: the key of a store and the list of its recipients in one file, so that the two always agree.
//!
//! Inside the encryption is a small TOML text: `workspace`, the name of the folder that it was made for, so that the
//! folders of two workspaces cannot be swapped; `key` and its `number`; `previous` while the store is being encrypted again;
//! and a `[[recipient]]` for each who can open it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::VaultError;
use super::agent::Unseal;
use super::identity::{self, DecryptFailure};
use super::vault_files::{LockMode, is_file_at, lock_file};
use crate::clock::{Stopwatch, Timestamp};
use crate::store::{StoreKey, WorkspaceKeys};

/// More than a hundred recipients take; a larger file is none of ours.
const SIZE_LIMIT: u64 = 64 * 1024;

/// How long to wait for another process that changes the recipients.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Who can open a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// `age1…`
    pub recipient: String,
    /// Whose it is, in the user's words.
    pub label: String,
    pub added_at: Timestamp,
}

/// The content of `vault.age`.
#[derive(Clone, Debug)]
pub(super) struct SealedKey {
    /// The name of the workspace's folder.
    pub(super) workspace: String,
    pub(super) key: StoreKey,
    /// By which the values of a store in PostgreSQL name the key.
    pub(super) key_number: u16,
    /// The key from before, while the store is being encrypted again with `key`. Its number is one less.
    pub(super) previous_key: Option<StoreKey>,
    pub(super) recipients: Vec<Recipient>,
}

impl SealedKey {
    /// Returns the keys that open the values of a store in PostgreSQL.
    pub(super) fn keys(&self) -> WorkspaceKeys {
        let keys = WorkspaceKeys::of(self.key_number, self.key.clone());
        match (&self.previous_key, self.key_number.checked_sub(1)) {
            (Some(previous), Some(number)) => keys.with(number, previous.clone()),
            _ => keys,
        }
    }

    /// Reads and opens the file at `path`.
    ///
    /// # Errors
    /// [`VaultError::NotARecipient`], [`VaultError::DamagedSealedKey`], [`VaultError::MissingSealedKey`], [`VaultError::WorkspaceMismatch`].
    pub(super) fn read(path: &Path, identity: &dyn Unseal) -> Result<Self, VaultError> {
        let damaged = |why| VaultError::DamagedSealedKey { path: path.to_owned(), reason: why };
        let sealed = match File::open(path) {
            Ok(file) => read_limited(file).map_err(VaultError::at(path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VaultError::MissingSealedKey(path.to_owned()));
            }
            Err(error) => return Err(VaultError::at(path)(error)),
        };
        let sealed = sealed.ok_or_else(|| damaged("it is too large"))?;
        if identity::is_passphrase_encrypted(&sealed) {
            return Err(damaged("it is encrypted to a passphrase, not to recipients"));
        }
        let text = identity.unseal(&sealed).map_err(|unopened| match unopened {
            DecryptFailure::AgentStopped => VaultError::AgentStopped,
            DecryptFailure::WrongKey => {
                VaultError::NotARecipient { path: path.to_owned(), recipient: identity.recipient() }
            }
            other => damaged(other.why()),
        })?;
        let seal = Self::parse(&text).ok_or_else(|| damaged("its content is not a key and its recipients"))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        if folder.file_name().is_none_or(|name| name != seal.workspace.as_str()) {
            return Err(VaultError::WorkspaceMismatch { folder: folder.to_owned(), sealed_workspace: seal.workspace });
        }
        Ok(seal)
    }

    /// Seals it to its recipients, in place of the file at `path`.
    ///
    /// # Errors
    /// [`VaultError::Io`]; the old file stays as it was.
    pub(super) fn write(&self, path: &Path) -> Result<(), VaultError> {
        let recipients = self.recipients.iter().map(|recipient| recipient.recipient.as_str());
        let sealed = identity::encrypt(self.text().as_bytes(), recipients).map_err(VaultError::invalid_recipient)?;
        if sealed.is_empty() {
            return Err(VaultError::at(path)(io::Error::other("it would have no recipients")));
        }
        crate::files::write_atomic(path, &sealed).map_err(VaultError::at(path))
    }

    /// Changes the file under a lock of its own, so that of two processes neither undoes the other's change.
    ///
    /// # Errors
    /// Those of reading and writing, and of `change`.
    pub(super) fn update(
        path: &Path,
        identity: &dyn Unseal,
        mut change: impl FnMut(&mut Self) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let waiting = Stopwatch::start();
        // The file is replaced with each change, and a lock on one that was replaced protects nothing.
        while waiting.elapsed() < CHANGE_TIMEOUT {
            let lock = lock_file(path, LockMode::Exclusive, CHANGE_TIMEOUT)?;
            if is_file_at(&lock, path) {
                let mut seal = Self::read(path, identity)?;
                change(&mut seal)?;
                return seal.write(path);
            }
        }
        Err(VaultError::Locked(path.to_owned()))
    }

    fn text(&self) -> Zeroizing<String> {
        // Room for all of it, so that no half of a key is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(256 + 512 * self.recipients.len()));
        text.push_str(&format!("workspace = {}\n", toml::Value::from(self.workspace.as_str())));
        text.push_str("key = \"");
        text.push_str(self.key.hex());
        text.push_str("\"\n");
        text.push_str(&format!("number = {}\n", self.key_number));
        if let Some(previous) = &self.previous_key {
            text.push_str("previous = \"");
            text.push_str(previous.hex());
            text.push_str("\"\n");
        }
        for recipient in &self.recipients {
            let quoted = |text: &str| toml::Value::from(text).to_string();
            text.push_str(&format!(
                "\n[[recipient]]\nrecipient = {}\nlabel = {}\nadded_at = {}\n",
                quoted(&recipient.recipient),
                quoted(&recipient.label),
                quoted(&recipient.added_at.to_string())
            ));
        }
        text
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let document = DeTable::parse(std::str::from_utf8(text).ok()?).ok()?;
        let table = document.get_ref();
        let previous = match table.get("previous") {
            Some(_) => Some(StoreKey::from_hex(string(table, "previous")?)?),
            None => None,
        };
        let recipients = match table.get("recipient").map(toml::Spanned::get_ref) {
            Some(DeValue::Array(recipients)) => {
                recipients.iter().map(|value| recipient(value.get_ref())).collect::<Option<Vec<_>>>()?
            }
            _ => return None,
        };
        Some(Self {
            workspace: string(table, "workspace")?.to_owned(),
            key: StoreKey::from_hex(string(table, "key")?)?,
            key_number: number(table, "number")?,
            previous_key: previous,
            recipients,
        })
    }
}

fn string<'a>(table: &'a DeTable<'_>, name: &str) -> Option<&'a str> {
    match table.get(name)?.get_ref() {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

fn number(table: &DeTable<'_>, name: &str) -> Option<u16> {
    match table.get(name)?.get_ref() {
        DeValue::Integer(integer) => u16::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}

fn recipient(value: &DeValue<'_>) -> Option<Recipient> {
    let DeValue::Table(table) = value else { return None };
    Some(Recipient {
        recipient: string(table, "recipient")?.to_owned(),
        label: string(table, "label")?.to_owned(),
        added_at: string(table, "added_at")?.parse().ok()?,
    })
}

/// The whole file; absent where it is larger than any seal.
fn read_limited(file: File) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= SIZE_LIMIT).then_some(bytes))
}

/// Whether any vault lies below `workspaces` or in `global`.
pub(super) fn any_exists(workspaces: &Path, global: &Path) -> bool {
    let folders = fs::read_dir(workspaces).into_iter().flatten().flatten().map(|entry| entry.path());
    folders.chain(std::iter::once(global.to_owned())).any(|folder| folder.join("vault.age").exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Identity;

    fn seal(identity: &Identity, path: &Path) -> SealedKey {
        SealedKey {
            workspace: path.parent().and_then(Path::file_name).unwrap().to_str().unwrap().to_owned(),
            key: StoreKey::random(),
            key_number: 7,
            previous_key: Some(StoreKey::random()),
            recipients: vec![Recipient {
                recipient: identity.recipient(),
                label: "Zoë's \"laptop\"\n".to_owned(),
                added_at: Timestamp::UNIX_EPOCH,
            }],
        }
    }

    #[test]
    fn a_seal_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.age");
        let identity = Identity::generate();
        let written = seal(&identity, &path);
        written.write(&path).unwrap();
        let read = SealedKey::read(&path, &identity).unwrap();
        assert_eq!((&read.key, &read.previous_key), (&written.key, &written.previous_key));
        assert_eq!(read.keys(), written.keys());
        assert_eq!(read.keys().iter().map(|(number, _)| number).collect::<Vec<_>>(), [6, 7]);
        assert_eq!(read.recipients, written.recipients);
        assert!(!format!("{read:?}").contains(read.key.hex()));
    }

    #[test]
    fn fault_044_a_damaged_seal_is_told_from_one_of_another_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.age");
        let identity = Identity::generate();
        seal(&identity, &path).write(&path).unwrap();
        let stranger = SealedKey::read(&path, &Identity::generate());
        assert!(matches!(stranger, Err(VaultError::NotARecipient { .. })));
        let whole = fs::read(&path).unwrap();
        for length in [0, 20, 100, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(SealedKey::read(&path, &identity), Err(VaultError::DamagedSealedKey { .. })), "{length}");
        }
        fs::write(&path, vec![b'x'; 100_000]).unwrap();
        assert!(matches!(
            SealedKey::read(&path, &identity),
            Err(VaultError::DamagedSealedKey { reason: "it is too large", .. })
        ));
    }
}
