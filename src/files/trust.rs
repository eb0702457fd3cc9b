//! Checks whether other users could have changed or replaced a file, like sshd's `StrictModes`.
//!
//! A file or folder is trusted if it belongs to this user or to root, nobody else can write to it, and the same holds for
//! every folder above it, up to `/`. A folder that others can write to is accepted above a trusted path if it is sticky, as
//! `/tmp` is: there only its owner can replace an entry. A symbolic link is judged by the folder that holds it, by its own
//! owner, and by its target with all folders above that.
//!
//! Two decisions go beyond sshd, because they do not widen who can write:
//! - Write access of a group counts as nobody's if the group is root's (0) or this user's private group: its members are
//!   this user and root alone. Debian's sshd does the same; where the umask is 002, as on Ubuntu, `~/.local/share` is such
//!   a folder.
//! - In a user namespace, folders of users who are not mapped into it show the overflow uid. There it is read as root.
//!
//! Once no component can be changed by others, a path that was checked stays the one that is opened afterwards.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

use super::owner;
use crate::error::{Diagnostic, Kind, Remedy};

/// Symbolic links on the way to one file; as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Folders that passed, each checked once in the life of the process.
static CHECKED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Why a file is not used.
#[derive(Debug, Error)]
pub enum TrustError {
    #[error("{} belongs to another user (uid {owner})", path.display())]
    ForeignOwner { path: PathBuf, owner: u32 },
    #[error("{} can be written by others", path.display())]
    Writable { path: PathBuf, owner: u32 },
    #[error("{} can be read by others", path.display())]
    Readable { path: PathBuf },
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} has more than {MAX_LINKS} symbolic links in its path", .0.display())]
    TooManyLinks(PathBuf),
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

impl TrustError {
    /// An I/O error at `path`, for `map_err`.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_owned(), source }
    }
}

impl Remedy for TrustError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::ForeignOwner { path, .. } if owner::is_root() => {
                Diagnostic::new(Kind::Failed, "unsafe_file").run(format!("chown root {}", shell_quoted(path)))
            }
            Self::ForeignOwner { path, .. } => {
                Diagnostic::new(Kind::Failed, "unsafe_file").run(format!("sudo chown \"$USER\" {}", shell_quoted(path)))
            }
            Self::Writable { path, owner } => {
                let sudo = if owner::is_ours(*owner) { "" } else { "sudo " };
                Diagnostic::new(Kind::Failed, "unsafe_file").run(format!("{sudo}chmod go-w {}", shell_quoted(path)))
            }
            Self::Readable { path } => {
                Diagnostic::new(Kind::Failed, "unsafe_file").run(format!("chmod 600 {}", shell_quoted(path)))
            }
            Self::TooManyLinks(path) => {
                Diagnostic::new(Kind::Failed, "unsafe_file").run(format!("namei -l {}", shell_quoted(path)))
            }
            Self::NotAFile(path) => {
                Diagnostic::new(Kind::Failed, "not_a_file").run(format!("ls -ld {}", shell_quoted(path)))
            }
            Self::TooLarge { path, .. } => {
                Diagnostic::new(Kind::Failed, "too_large").run(format!("ls -ld {}", shell_quoted(path)))
            }
            Self::NotText(path) => {
                Diagnostic::new(Kind::Failed, "not_text").run(format!("file {}", shell_quoted(path)))
            }
            Self::Read { path, .. } => {
                Diagnostic::new(Kind::Failed, "io").run(format!("ls -ld {}", shell_quoted(path)))
            }
        }
    }
}

/// A path as a shell takes it.
pub fn shell_quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    shlex::try_quote(&text).map_or_else(|_| format!("{text:?}"), std::borrow::Cow::into_owned)
}

/// A file or folder that was found at the end of a path, and that all folders and links on the way to are trusted.
#[derive(Debug)]
pub(super) struct ResolvedPath {
    /// Without symbolic links.
    pub path: PathBuf,
    pub metadata: Metadata,
}

/// Checks a file or folder and everything above it. Returns whether there is one.
///
/// # Errors
/// [`TrustError`] that names the first path that others could change.
pub fn check_trusted(path: &Path) -> Result<bool, TrustError> {
    match resolve_trusted(path)? {
        Some(found) => check_permissions(&found.path, &found.metadata).map(|()| true),
        None => Ok(false),
    }
}

/// Checks every existing folder above a path, and every link among them. The path itself may be missing, and is not judged.
///
/// # Errors
/// [`TrustError`] that names the first folder that others could change.
pub fn check_parents(path: &Path) -> Result<(), TrustError> {
    let absolute = std::path::absolute(path).map_err(TrustError::at(path))?;
    absolute.parent().map_or(Ok(()), |parent| match resolve_trusted(parent)? {
        Some(found) if found.metadata.is_dir() => check_folder_permissions(&found.path, &found.metadata),
        _ => Ok(()),
    })
}

/// Whether a path is a secret that was mounted into a container: a regular file of root's on a file system that is mounted
/// read-only. Kubernetes and Docker give secrets so, readable by everybody in the container and behind symbolic links.
///
/// # Errors
/// [`TrustError`] of the folders above it.
pub fn is_mounted_secret(path: &Path) -> Result<bool, TrustError> {
    Ok(resolve_trusted(path)?.is_some_and(|found| {
        found.metadata.is_file() && check_permissions(&found.path, &found.metadata).is_ok() && is_mounted(&found)
    }))
}

/// Whether a folder was mounted into a container: root's, on a file system that is mounted read-only.
///
/// # Errors
/// [`TrustError`] of the folders above it.
pub fn is_mounted_folder(path: &Path) -> Result<bool, TrustError> {
    Ok(resolve_trusted(path)?.is_some_and(|found| {
        found.metadata.is_dir() && check_folder_permissions(&found.path, &found.metadata).is_ok() && is_mounted(&found)
    }))
}

pub(super) fn is_mounted(found: &ResolvedPath) -> bool {
    owner::is_roots(&found.metadata) && owner::is_on_read_only_mount(&found.path)
}

/// Judges a file or folder itself.
pub(super) fn check_permissions(path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
    owner::check_owner(path, metadata)?;
    owner::check_writers(path, metadata)
}

/// Judges a folder above a trusted path.
fn check_folder_permissions(path: &Path, metadata: &Metadata) -> Result<(), TrustError> {
    owner::check_folder_owner(path, metadata)?;
    if owner::is_sticky(metadata) { Ok(()) } else { owner::check_writers(path, metadata) }
}

/// Walks a path from `/`, one component after the other, through links. Every folder and link on the way is judged; what is
/// at the end is not. Absent if there is nothing.
pub(super) fn resolve_trusted(path: &Path) -> Result<Option<ResolvedPath>, TrustError> {
    let absolute = std::path::absolute(path).map_err(TrustError::at(path))?;
    let mut at = PathBuf::new();
    let mut pending: Vec<OsString> = Vec::new();
    let mut links = 0;
    push(&mut pending, &absolute);
    loop {
        let Some(component) = pending.pop() else {
            let metadata = fs::symlink_metadata(&at).map_err(TrustError::at(&at))?;
            return Ok(Some(ResolvedPath { path: at, metadata }));
        };
        if component == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&component);
        if is_checked(&next) {
            at = next;
            continue;
        }
        let metadata = match fs::symlink_metadata(&next) {
            Ok(metadata) => metadata,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(source) => return Err(TrustError::Read { path: next, source }),
        };
        if metadata.is_symlink() {
            owner::check_owner(&next, &metadata)?;
            links += 1;
            if links > MAX_LINKS {
                return Err(TrustError::TooManyLinks(path.to_owned()));
            }
            let target = fs::read_link(&next).map_err(TrustError::at(&next))?;
            if target.is_absolute() {
                at = PathBuf::new();
            }
            push(&mut pending, &target);
        } else if pending.is_empty() {
            return Ok(Some(ResolvedPath { path: next, metadata }));
        } else if metadata.is_dir() {
            check_folder_permissions(&next, &metadata)?;
            CHECKED.lock().unwrap_or_else(PoisonError::into_inner).insert(next.clone());
            at = next;
        } else {
            return Ok(None);
        }
    }
}

/// Puts the components of a path before those that are pending.
fn push(pending: &mut Vec<OsString>, path: &Path) {
    let components = path.components().rev().filter(|component| *component != Component::CurDir);
    // On Windows the drive and the root behind it are two components, and joined again.
    pending.extend(components.map(|component| component.as_os_str().to_owned()));
}

fn is_checked(folder: &Path) -> bool {
    CHECKED.lock().unwrap_or_else(PoisonError::into_inner).contains(folder)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
