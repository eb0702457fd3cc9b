//! Reads files up to a limit, and only regular files unless the user named the file on the command line.
//!
//! A pipe that nobody writes to would be waited for without end, and a device such as `/dev/zero` has no end.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::owner;
use super::trust::{ResolvedPath, TrustError, check_permissions, is_mounted, resolve_trusted};

/// Reads a file that integ acts upon: settings, connectors, pins. Absent if there is none.
///
/// # Errors
/// [`TrustError`] if others could have changed it, it is not a regular file, or is larger than `limit` bytes.
pub fn read_trusted(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, TrustError> {
    let Some(found) = resolve_trusted(path)? else { return Ok(None) };
    let (file, metadata) = open_regular(&found.path, &found.metadata)?;
    check_permissions(&found.path, &metadata)?;
    read_all(file, &metadata, &found.path, limit).map(Some)
}

/// The same, as text.
///
/// # Errors
/// Those of [`read_trusted`]; [`TrustError::NotText`].
pub fn read_trusted_text(path: &Path, limit: u64) -> Result<Option<String>, TrustError> {
    let bytes = read_trusted(path, limit)?;
    bytes.map(|bytes| String::from_utf8(bytes).map_err(|_| TrustError::NotText(path.to_owned()))).transpose()
}

/// Reads a secret: trusted, and readable by nobody else unless it is mounted into a container. A path below `/dev/fd` is a
/// descriptor that the process which started this one opened for it, as `<(pass show integ)` does: it may be a pipe.
///
/// # Errors
/// Those of [`read_trusted`]; [`TrustError::Readable`].
pub fn read_secret(path: &Path, limit: u64) -> Result<Option<Zeroizing<Vec<u8>>>, TrustError> {
    if is_descriptor(path) {
        return read_descriptor(path, limit).map(|bytes| Some(Zeroizing::new(bytes)));
    }
    let Some(found) = resolve_trusted(path)? else { return Ok(None) };
    let (file, metadata) = open_regular(&found.path, &found.metadata)?;
    check_permissions(&found.path, &metadata)?;
    let found = ResolvedPath { metadata, ..found };
    if !is_mounted(&found) {
        owner::check_readers(&found.path, &found.metadata)?;
    }
    read_all(file, &found.metadata, &found.path, limit).map(|bytes| Some(Zeroizing::new(bytes)))
}

/// Reads a text that came with a project: it must belong to this user or to root, as a link to it must, and nobody else may
/// write to it. The folders above it are not judged: a project may lie in a folder that others share.
///
/// # Errors
/// Those of [`read_trusted_text`], of the file alone; also if it is missing.
pub fn read_owned_text(path: &Path, limit: u64) -> Result<String, TrustError> {
    owner::check_owner(path, &std::fs::symlink_metadata(path).map_err(TrustError::at(path))?)?;
    let (file, metadata) = open_resolved(path)?;
    check_permissions(path, &metadata)?;
    let bytes = read_all(file, &metadata, path, limit)?;
    String::from_utf8(bytes).map_err(|_| TrustError::NotText(path.to_owned()))
}

/// Reads a file without checking its owner and mode, because it is not trusted alone. Absent if there is none.
///
/// # Errors
/// [`TrustError`] if it is not a regular file or larger than `limit` bytes.
pub fn read_regular(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, TrustError> {
    match open_resolved(path) {
        Ok((file, metadata)) => read_all(file, &metadata, path, limit).map(Some),
        Err(TrustError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a regular file behind whatever links lead to it.
fn open_resolved(path: &Path) -> Result<(File, Metadata), TrustError> {
    let metadata = std::fs::metadata(path).map_err(TrustError::at(path))?;
    if !metadata.is_file() {
        return Err(TrustError::NotAFile(path.to_owned()));
    }
    open_regular(&path.canonicalize().map_err(TrustError::at(path))?, &metadata)
}

/// Reads what the user named on the command line, which may be a pipe, as in `--data <(jq …)`.
///
/// # Errors
/// The I/O error; one of the kind `FileTooLarge` after `limit` bytes.
pub fn read_user_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_limited(File::open(path)?, limit)
}

/// Reads to the end of a stream.
///
/// # Errors
/// The I/O error; one of the kind `FileTooLarge` after `limit` bytes.
pub fn read_limited(stream: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there is more.
    stream.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

fn read_all(file: File, metadata: &Metadata, path: &Path, limit: u64) -> Result<Vec<u8>, TrustError> {
    let too_large = || TrustError::TooLarge { path: path.to_owned(), limit };
    if metadata.len() > limit {
        return Err(too_large());
    }
    read_limited(file, limit).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => too_large(),
        _ => TrustError::at(path)(error),
    })
}

/// Opens a file without links at its end. What is not a regular file is not even opened, which would wait for a pipe's other
/// end and may change a device.
fn open_regular(path: &Path, seen: &Metadata) -> Result<(File, Metadata), TrustError> {
    let not_a_file = || TrustError::NotAFile(path.to_owned());
    if !seen.is_file() {
        return Err(not_a_file());
    }
    let mut options = OpenOptions::new();
    options.read(true);
    super::guard(&mut options);
    let file = options.open(path).map_err(TrustError::at(path))?;
    let metadata = file.metadata().map_err(TrustError::at(path))?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(not_a_file()) }
}

/// Whether a path is one of this process's own descriptors.
fn is_descriptor(path: &Path) -> bool {
    cfg!(unix) && ["/dev/fd", "/proc/self/fd"].iter().any(|folder| path.parent() == Some(Path::new(folder)))
}

fn read_descriptor(path: &Path, limit: u64) -> Result<Vec<u8>, TrustError> {
    let file = File::open(path).map_err(TrustError::at(path))?;
    let metadata = file.metadata().map_err(TrustError::at(path))?;
    #[cfg(unix)]
    let is_device = {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        kind.is_char_device() || kind.is_block_device()
    };
    #[cfg(not(unix))]
    let is_device = false;
    if is_device || metadata.is_dir() {
        return Err(TrustError::NotAFile(path.to_owned()));
    }
    read_limited(file, limit).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => TrustError::TooLarge { path: path.to_owned(), limit },
        _ => TrustError::at(path)(error),
    })
}
