//! A file that is written piece by piece and appears atomically.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{create_private, create_private_folder, open_existing, sync_folder, temporary_beside};

/// A temporary file that is younger may be one that its process has made and not locked yet.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// A temporary file beside the path that it will have. It is removed if it is dropped before [`commit`](Self::commit).
#[derive(Debug)]
pub struct AtomicFile {
    out: BufWriter<File>,
    path: PathBuf,
    /// Empty once it has become the file.
    temporary: PathBuf,
}

impl AtomicFile {
    /// Makes the temporary file, of mode 0600, and its folder, of mode 0700, if it is missing. Removes those of processes that
    /// were killed.
    ///
    /// # Errors
    /// The I/O error.
    pub fn create(path: &Path) -> io::Result<Self> {
        create_private_folder(folder_of(path))?;
        remove_abandoned(path);
        let temporary = temporary_beside(path);
        let file = create_private(&temporary)?;
        // A file system without locks loses no more than the removal of what was abandoned.
        let _ = file.try_lock();
        Ok(Self { out: BufWriter::new(file), path: path.to_owned(), temporary })
    }

    /// Makes the file durable, and puts it in the place of what is at its path. Returns its size in bytes.
    ///
    /// # Errors
    /// The I/O error; what was at the path is unchanged then.
    pub fn commit(mut self) -> io::Result<u64> {
        self.out.flush()?;
        let file = self.out.get_ref();
        file.sync_all()?;
        let size = file.metadata()?.len();
        fs::rename(&self.temporary, &self.path)?;
        self.temporary = PathBuf::new();
        sync_folder(folder_of(&self.path))?;
        Ok(size)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes temporary files of this path that no process has locked.
fn remove_abandoned(path: &Path) {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return };
    let is_temporary = |found: &str| {
        let suffix =
            found.strip_prefix('.').and_then(|rest| rest.strip_prefix(name)).and_then(|rest| rest.strip_prefix('.'));
        suffix.is_some_and(|suffix| suffix.len() == 16 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    for entry in fs::read_dir(folder_of(path)).into_iter().flatten().flatten() {
        let is_old = || entry.metadata().and_then(|found| found.modified()).ok()?.elapsed().ok();
        if entry.file_name().to_str().is_some_and(is_temporary)
            && is_old().is_some_and(|age| age > ABANDONED_AFTER)
            && open_existing(&entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("new/folder");
        let path = folder.join("file");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"first").unwrap();
        assert!(!path.exists());
        assert_eq!(file.commit().unwrap(), 5);
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"second").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        drop(file);
        assert_eq!(names(&folder), ["file"]);
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn what_killed_processes_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let at = |name: &str| folder.path().join(name);
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for name in
            [".file.0123456789abcdef", ".file.fedcba9876543210", ".file.0123456789abcde", ".other.0123456789abcdef"]
        {
            File::create(at(name)).unwrap().set_modified(old).unwrap();
        }
        File::create(at(".file.1111111111111111")).unwrap();
        let locked = File::open(at(".file.fedcba9876543210")).unwrap();
        locked.lock().unwrap();
        AtomicFile::create(&path).unwrap().commit().unwrap();
        let mut left = names(folder.path());
        left.sort();
        let expected = [
            ".file.0123456789abcde",
            ".file.1111111111111111",
            ".file.fedcba9876543210",
            ".other.0123456789abcdef",
            "file",
        ];
        assert_eq!(left, expected);
    }
}
