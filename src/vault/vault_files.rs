//! The files of a vault: their location, trust checks, and locking.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{io, thread};

use super::VaultError;
use crate::clock::Stopwatch;
use crate::files;

/// How long to wait for the holder of the vault. Replacing a store takes less than a second; what takes longer is a
/// program that keeps the store open, and waiting will not end that.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a lock is tried meanwhile.
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

/// The folder of one workspace's vault.
#[derive(Clone, Debug)]
pub(super) struct VaultFiles {
    folder: PathBuf,
}

/// What there is of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VaultState {
    Absent,
    /// The key is sealed, and the store was never put in place: making it was cut short.
    Incomplete,
    Present,
}

/// How a vault's lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockMode {
    /// With others, to use the store.
    Shared,
    /// Alone, to replace the store.
    Exclusive,
}

impl VaultFiles {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn store_path(&self) -> PathBuf {
        self.folder.join("vault.db")
    }

    pub(super) fn sealed_key_path(&self) -> PathBuf {
        self.folder.join("vault.age")
    }

    /// The file that refers to a store in PostgreSQL.
    pub(super) fn store_file_path(&self) -> PathBuf {
        self.folder.join("store.toml")
    }

    /// The note of a move between a file and PostgreSQL that was begun.
    pub(super) fn move_note_path(&self) -> PathBuf {
        self.folder.join("moving.toml")
    }

    /// The file that a store is copied into from PostgreSQL.
    pub(super) fn copy_path(&self) -> PathBuf {
        self.folder.join("moving.db")
    }

    pub(super) fn sequence_path(&self) -> PathBuf {
        crate::store::SqliteStore::sequence_file(&self.store_path())
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// The workspace's name.
    pub(super) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The note of how many writes there are that lies outside the folder: `.default.sequence`.
    pub(super) fn outer_sequence_path(&self) -> PathBuf {
        self.folder.with_file_name(format!(".{}.sequence", self.name()))
    }

    /// The locks of connections and streams.
    pub(super) fn locks_folder(&self) -> PathBuf {
        self.folder.join("locks")
    }

    /// The store's write-ahead log, and the index of it.
    pub(super) fn logs(&self) -> [PathBuf; 2] {
        [self.folder.join("vault.db-wal"), self.folder.join("vault.db-shm")]
    }

    /// What there is, each file checked. To be asked while the lock is held.
    ///
    /// # Errors
    /// [`VaultError::MissingStore`] and [`VaultError::MissingSealedKey`] where one of them was there once, and those of
    /// [`check_private`].
    pub(super) fn state(&self) -> Result<VaultState, VaultError> {
        let (store, seal) = (self.store_path(), self.sealed_key_path());
        for path in self.logs().into_iter().chain([self.sequence_path(), self.outer_sequence_path()]) {
            check_private(&path)?;
        }
        if check_private(&self.store_file_path())? {
            return if check_private(&seal)? {
                Ok(VaultState::Present)
            } else {
                Err(VaultError::MissingSealedKey(seal))
            };
        }
        match (check_private(&seal)?, check_private(&store)?) {
            (true, true) => Ok(VaultState::Present),
            (false, true) => Err(VaultError::MissingSealedKey(seal)),
            // The side file is written once the store is in place.
            (true, false) if self.sequence_path().exists() => Err(VaultError::MissingStore(store)),
            (true, false) => Ok(VaultState::Incomplete),
            (false, false) if self.sequence_path().exists() => Err(VaultError::MissingStore(store)),
            (false, false) => Ok(VaultState::Absent),
        }
    }

    /// Makes the folder, of mode 0700.
    ///
    /// # Errors
    /// [`VaultError::Io`], [`VaultError::NetworkFileSystem`].
    pub(super) fn create(&self) -> Result<(), VaultError> {
        files::create_private_folder(&self.folder).map_err(VaultError::at(&self.folder))
    }

    /// Takes the lock, which is held as long as the returned file is open. Absent where the folder is.
    ///
    /// # Errors
    /// [`VaultError::Locked`] after 15 s, and what makes the folder one that cannot be used.
    pub(super) fn lock(&self, hold: LockMode) -> Result<Option<File>, VaultError> {
        files::check_parents(&self.folder)?;
        match fs::symlink_metadata(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(VaultError::at(&self.folder)(error)),
            Ok(metadata) => check_folder(&self.folder, &metadata)?,
        }
        ensure_local_file_system(&self.folder)?;
        lock_file(&self.lock_path(), hold, LOCK_TIMEOUT).map(Some)
    }

    /// Removes what a process that was killed has left half made. To be called while the lock is held alone.
    pub(super) fn remove_temporary_files(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            // A process that changes one of these holds the lock with others, so that none is being written now.
            if is_temporary(&entry.file_name().to_string_lossy()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes the folder of a vault whose creation failed. Takes the lock that the creation holds.
    pub(super) fn remove(&self, lock: File) {
        self.remove_temporary_files();
        let _ = fs::remove_file(self.sealed_key_path());
        let _ = fs::remove_file(self.lock_path());
        let _ = fs::remove_dir(&self.folder);
        drop(lock);
    }

    /// What the folder holds, but the lock and the seal.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub(super) fn contents(&self) -> Result<FolderContents, VaultError> {
        let mut contents = FolderContents::default();
        for (folder, within) in [(self.folder.clone(), ""), (self.locks_folder(), "locks/")] {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(VaultError::at(&folder)(error)),
            };
            for entry in entries {
                let entry = entry.map_err(VaultError::at(&folder))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let kind = entry.file_type().map_err(VaultError::at(entry.path()))?;
                let own = match within {
                    "" => OWN_FILES.contains(&name.as_str()) || is_temporary(&name),
                    _ => name.ends_with(".lock"),
                };
                match (own, kind.is_file()) {
                    (true, true) => contents.own.push(entry.path()),
                    (false, false) if within.is_empty() && name == "locks" && kind.is_dir() => {}
                    _ => contents.foreign.push(format!("{within}{name}")),
                }
            }
        }
        contents.own.retain(|path| *path != self.lock_path() && *path != self.sealed_key_path());
        contents.foreign.sort();
        Ok(contents)
    }
}

/// The files of a vault; the journal is SQLite's while a store is being made.
const OWN_FILES: [&str; 13] = [
    "vault.age",
    "vault.db",
    "vault.db-wal",
    "vault.db-shm",
    "vault.db-journal",
    "store.toml",
    "moving.toml",
    "moving.db",
    "moving.db-wal",
    "moving.db-shm",
    "moving.db-journal",
    "sequence",
    "lock",
];

/// Whether the file is one that is being made, or was when its process was killed.
fn is_temporary(name: &str) -> bool {
    [".vault.db.", ".vault.age.", ".store.toml.", ".moving.toml.", ".sequence."]
        .iter()
        .any(|begin| name.starts_with(begin))
}

/// The files of a vault's folder.
#[derive(Debug, Default)]
pub(super) struct FolderContents {
    pub(super) own: Vec<PathBuf>,
    /// By name.
    pub(super) foreign: Vec<String>,
}

/// Takes a lock on the file at `path`, which is made where it is missing.
///
/// # Errors
/// [`VaultError::Locked`] where it is held for longer than `timeout`.
pub(super) fn lock_file(path: &Path, hold: LockMode, timeout: Duration) -> Result<File, VaultError> {
    let waiting = Stopwatch::start();
    loop {
        check_private(path)?;
        let (file, path) = open_lock(path, hold).map_err(VaultError::at(path))?;
        let locked = match hold {
            LockMode::Shared => file.try_lock_shared(),
            LockMode::Exclusive => file.try_lock(),
        };
        match locked {
            // Its folder may have been deleted and recreated while this waited.
            Ok(()) if is_file_at(&file, path) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if waiting.elapsed() < timeout => thread::sleep(LOCK_INTERVAL),
            Err(TryLockError::WouldBlock) => return Err(VaultError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(VaultError::at(path)(error)),
        }
        if waiting.elapsed() > timeout {
            return Err(VaultError::Locked(path.to_owned()));
        }
    }
}

/// Opens what is locked: the file at `path`, which is made where it is missing. In a folder that this user can only read it
/// is opened to read, which is enough to hold it with others; where it was never made, the folder itself is held.
fn open_lock(path: &Path, hold: LockMode) -> io::Result<(File, &Path)> {
    match files::open_or_create_private(path) {
        Err(error) if hold == LockMode::Shared && files::is_read_only(&error) => match files::open_read_only(path) {
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().ok_or(absent)?;
                Ok((File::open(folder)?, folder))
            }
            opened => Ok((opened?, path)),
        },
        opened => Ok((opened?, path)),
    }
}

/// Whether the open file still is the one at `path`.
pub(super) fn is_file_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        matches!((file.metadata(), fs::metadata(path)), (Ok(open), Ok(named)) if same(&open, &named))
    }
    // Windows deletes no file that is open.
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

/// Whether there is a file at `path`, and that nobody but this user can have read or written it. Files that root mounted
/// into a container, read-only, are as they must be there: behind links, and readable by others.
///
/// # Errors
/// [`VaultError::Symlink`], [`VaultError::NotAFile`], [`VaultError::ForeignOwner`], [`VaultError::InsecurePermissions`].
pub(super) fn check_private(path: &Path) -> Result<bool, VaultError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(VaultError::at(path)(error)),
    };
    let private = if metadata.is_symlink() {
        Err(VaultError::Symlink(path.to_owned()))
    } else if !metadata.is_file() {
        Err(VaultError::NotAFile(path.to_owned()))
    } else {
        check_rights(path, &metadata, 0o077, "600")
    };
    match private {
        Err(error) if !files::is_mounted_secret(path)? => Err(error),
        _ => Ok(true),
    }
}

/// A folder may be seen by others, for its files cannot be read; it may not be written by others.
fn check_folder(path: &Path, metadata: &fs::Metadata) -> Result<(), VaultError> {
    let own = if metadata.is_symlink() {
        Err(VaultError::Symlink(path.to_owned()))
    } else {
        check_rights(path, metadata, 0o022, "700")
    };
    match own {
        Err(error) if !files::is_mounted_folder(path)? => Err(error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn check_rights(path: &Path, metadata: &fs::Metadata, refused: u32, mode: &'static str) -> Result<(), VaultError> {
    use std::os::unix::fs::MetadataExt;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(VaultError::ForeignOwner(path.to_owned()));
    }
    if metadata.mode() & refused != 0 {
        return Err(VaultError::InsecurePermissions { path: path.to_owned(), mode });
    }
    Ok(())
}

/// A user's profile folder is the user's alone on Windows.
#[cfg(not(unix))]
fn check_rights(_: &Path, _: &fs::Metadata, _: u32, _: &'static str) -> Result<(), VaultError> {
    Ok(())
}

/// Refuses file systems of the network and of other machines, whose locks and shared memory do not hold between all who
/// use them: SQLite's write-ahead log would lose writes there.
fn ensure_local_file_system(folder: &Path) -> Result<(), VaultError> {
    #[cfg(target_os = "linux")]
    if let Ok(status) = rustix::fs::statfs(folder)
        && let Some(file_system) = network_file_system(status.f_type as u32)
    {
        return Err(VaultError::NetworkFileSystem { path: folder.to_owned(), file_system });
    }
    let _ = folder;
    Ok(())
}

/// The network file system with this number, of those in Linux's `statfs(2)`.
#[cfg(any(target_os = "linux", test))]
fn network_file_system(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "a Windows share (SMB)",
        // What WSL shows of Windows' drives, and what some virtual machines share folders by.
        0x0102_1997 => "a folder shared by 9P",
        0x786f_4256 => "a folder shared by VirtualBox",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x00c3_6400 => "Ceph",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_108_network_file_systems_are_known() {
        assert_eq!(network_file_system(0x6969), Some("NFS"));
        assert_eq!(network_file_system(0x0102_1997), Some("a folder shared by 9P"));
        assert_eq!(network_file_system(0xef53), None);
    }

    #[test]
    fn a_lock_that_is_held_alone_is_waited_for_and_then_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let alone = lock_file(&path, LockMode::Exclusive, LOCK_TIMEOUT).unwrap();
        let busy = lock_file(&path, LockMode::Shared, Duration::from_millis(20));
        assert!(matches!(busy, Err(VaultError::Locked(_))));
        drop(alone);
        let _first = lock_file(&path, LockMode::Shared, LOCK_TIMEOUT).unwrap();
        let _second = lock_file(&path, LockMode::Shared, LOCK_TIMEOUT).unwrap();
    }

    #[test]
    fn a_lock_on_a_deleted_file_is_not_taken_for_the_one_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let old = lock_file(&path, LockMode::Exclusive, LOCK_TIMEOUT).unwrap();
        fs::remove_file(&path).unwrap();
        let new = lock_file(&path, LockMode::Exclusive, LOCK_TIMEOUT).unwrap();
        assert!(!is_file_at(&old, &path) && is_file_at(&new, &path));
    }
}
