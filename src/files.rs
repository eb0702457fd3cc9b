//! The user's files and folders: created private whatever the umask, replaced atomically, and trusted only if no other
//! user could have changed them.

mod atomic;
mod owner;
mod read;
#[cfg(all(test, unix))]
mod tests;
mod trust;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use atomic::AtomicFile;
pub use read::{
    read_limited, read_owned_text, read_regular, read_secret, read_trusted, read_trusted_text, read_user_file,
};
pub use trust::{TrustError, check_parents, check_trusted, is_mounted_folder, is_mounted_secret, shell_quoted};

use crate::clock;

/// Replaces the file at `path`: a temporary file beside it, fsync, rename, fsync of the folder. A reader sees the old
/// text or the new one, and so does a machine that loses power. The file gets mode 0600, its new folders 0700.
///
/// # Errors
/// The I/O error; the old file stays as it was.
pub fn write_atomic(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_private_folder(folder)?;
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, contents).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(folder)
}

/// Replaces a file of another program's, as [`write_atomic`] does: one that exists keeps its mode, and a new one and its
/// folders get those that the umask leaves.
///
/// # Errors
/// The I/O error; the old file is unchanged then.
pub fn replace_keeping_mode(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = temporary_beside(path);
    let write = || {
        let mut file = match fs::metadata(path) {
            Ok(existing) => {
                let file = create_private(&temporary)?;
                file.set_permissions(existing.permissions())?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::create_new(&temporary)?,
            Err(error) => return Err(error),
        };
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    if let Err(error) = write() {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(folder)
}

/// An unused name in the same folder: `.vault.age.3f9c…`.
pub fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let suffix = u64::from_ne_bytes(clock::random::<8>());
    path.with_file_name(format!(".{name}.{suffix:016x}"))
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// Whether a write failed because the file system or the folder cannot be written by this user.
pub fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Makes a new file of mode 0600; fails where something, even a dangling symlink, is at `path`.
///
/// # Errors
/// The I/O error.
pub fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).read(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Opens a file to read and write, and makes it, of mode 0600, where it is missing. A symbolic link, a pipe or a device in
/// its place is refused.
///
/// # Errors
/// The I/O error; one of the kind `InvalidInput` for anything but a regular file.
pub fn open_or_create_private(path: &Path) -> io::Result<File> {
    match open_existing(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match create_private(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_existing(path),
            made => made,
        },
        opened => opened,
    }
}

/// Opens a file to read and write.
///
/// # Errors
/// The I/O error; one of the kind `InvalidInput` for anything but a regular file.
pub fn open_existing(path: &Path) -> io::Result<File> {
    let not_a_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(not_a_file());
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    guard(&mut options);
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_a_file()) }
}

/// Opens a file to read, and to lock it with others.
///
/// # Errors
/// The I/O error; one of the kind `InvalidInput` for anything but a regular file.
pub fn open_read_only(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    guard(&mut options);
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Opens no link at the end of a path, and never waits for the other end of a pipe.
fn guard(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags.bits().cast_signed());
    }
    #[cfg(not(unix))]
    let _ = options;
}

/// Opens a file that is there to be locked, and makes it and its folder where they are missing.
///
/// # Errors
/// The I/O error.
pub fn open_lock(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        create_private_folder(folder)?;
    }
    open_or_create_private(path)
}

/// Makes a folder and those above it, each of mode 0700; one that exists is left as it is.
///
/// # Errors
/// The I/O error.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a rename or a new file in the folder durable.
///
/// # Errors
/// The I/O error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    // Windows has no handle to sync a folder by; there the rename itself is what is durable.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
