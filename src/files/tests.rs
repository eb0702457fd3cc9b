//! Owners, rights and kinds of files, on the file system of the machine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::error::Remedy;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A file two folders below a new one, each folder named as no other test names one: what passed is not checked again.
fn placed() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("above/folder/file");
    create_private_folder(path.parent().unwrap()).unwrap();
    fs::write(&path, "text").unwrap();
    (folder, path)
}

fn read(path: &Path) -> Result<Option<String>, TrustError> {
    read_trusted_text(path, 100)
}

#[test]
fn a_file_is_trusted_unless_others_can_write_to_it_or_to_a_folder_above_it() {
    let (_folder, path) = placed();
    mode(&path, 0o644);
    for (wide, refused) in [(0o666, &path), (0o646, &path)] {
        mode(&path, wide);
        let error = read(&path).unwrap_err();
        assert_eq!(error.hint().unwrap().to_string(), format!("chmod go-w {}", refused.display()));
    }
    mode(&path, 0o644);
    // A folder that was found safe is not looked at again by the same process: each case has folders of its own.
    for up in [1, 2] {
        let (_folder, path) = placed();
        let folder = path.ancestors().nth(up).unwrap();
        mode(folder, 0o777);
        assert!(matches!(read(&path), Err(TrustError::Writable { path, .. }) if path == folder));
        assert!(matches!(check_parents(&path.join("none")), Err(TrustError::Writable { path, .. }) if path == folder));
        // As in /tmp, where only the owner of an entry can replace it.
        mode(folder, 0o1777);
        assert!(check_trusted(&path).unwrap());
    }
    assert_eq!(read(&path).unwrap().as_deref(), Some("text"));
    assert!(read(&path.with_file_name("none")).unwrap().is_none());
    assert!(read(&path.join("below")).unwrap().is_none());
}

#[test]
fn a_link_is_judged_by_its_target_and_by_the_folder_that_holds_it() {
    let (folder, path) = placed();
    let (elsewhere, target) = placed();
    let link = path.with_file_name("link");
    symlink(&target, &link).unwrap();
    assert_eq!(read(&link).unwrap().as_deref(), Some("text"));
    mode(&target, 0o666);
    assert!(matches!(read(&link), Err(TrustError::Writable { .. })));
    mode(&target, 0o644);
    let relative = path.with_file_name("relative");
    symlink("../folder/./file", &relative).unwrap();
    assert_eq!(read(&relative).unwrap().as_deref(), Some("text"));
    symlink("loop", path.with_file_name("loop")).unwrap();
    assert!(matches!(read(&path.with_file_name("loop")), Err(TrustError::TooManyLinks(_))));
    symlink("nowhere", path.with_file_name("dangling")).unwrap();
    assert!(read(&path.with_file_name("dangling")).unwrap().is_none());
    drop((folder, elsewhere));
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_folder, path) = placed();
    let link = path.with_file_name("link");
    symlink(&path, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(65_533), None).unwrap();
    assert!(matches!(read(&link), Err(TrustError::ForeignOwner { path, owner: 65_533 }) if path == link));
    chown(&path, Some(65_533), None).unwrap();
    assert!(matches!(read(&path), Err(TrustError::ForeignOwner { .. })));
}

#[test]
fn what_is_no_regular_file_is_refused_at_once_and_what_is_too_large_is_not_read() {
    let (_folder, path) = placed();
    let pipe = path.with_file_name("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    for path in [pipe.as_path(), Path::new("/dev/zero"), Path::new("/dev/null"), path.parent().unwrap()] {
        let watch = crate::clock::Stopwatch::start();
        assert!(matches!(read(path), Err(TrustError::NotAFile(_))), "{}", path.display());
        assert!(matches!(read_secret(path, 10), Err(TrustError::NotAFile(_))), "{}", path.display());
        assert!(matches!(read_regular(path, 10), Err(TrustError::NotAFile(_))), "{}", path.display());
        assert!(watch.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(open_or_create_private(&pipe).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(matches!(read_trusted(&path, 3), Err(TrustError::TooLarge { limit: 3, .. })));
    assert_eq!(read_trusted(&path, 4).unwrap().unwrap(), b"text");
    assert_eq!(read_user_file(Path::new("/dev/zero"), 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn a_secret_is_readable_by_its_owner_alone() {
    let (_folder, path) = placed();
    for wide in [0o644, 0o640, 0o604] {
        mode(&path, wide);
        let error = read_secret(&path, 10).unwrap_err();
        assert_eq!(error.hint().unwrap().to_string(), format!("chmod 600 {}", path.display()));
    }
    mode(&path, 0o600);
    assert_eq!(read_secret(&path, 10).unwrap().unwrap().as_slice(), b"text");
    assert!(!is_mounted_secret(&path).unwrap());
}

#[test]
fn a_lock_is_not_taken_on_a_link() {
    let (_folder, path) = placed();
    let link = path.with_file_name("link");
    symlink(&path, &link).unwrap();
    assert_eq!(open_or_create_private(&link).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    open_or_create_private(&path.with_file_name("new")).unwrap();
}
