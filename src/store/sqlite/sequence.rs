//! The two records of the number of committed writes: one in the store's folder, one next to it.
//!
//! SQLite silently drops the frames of a write-ahead log from the first one that is damaged, and an older copy of an
//! encrypted file is as authentic as the present one. A note says how far the store had come. Its number is authenticated
//! with a key that is derived from the store's, so that nobody else can write one: not a high one, which would lock the
//! user out, nor a low one, which would hide a rollback.
//!
//! A note is a floor: it never names a write that was not committed, it is never lowered but by
//! `integ vault check --accept`, and it need not be durable, for a number that is too low only notices less. The one beside
//! the folder is raised when a process closes the store; it notices that the whole folder was put back. Nothing on the same
//! machine notices that both were put back together with the store.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use super::open::StoreKey;
use crate::hash;
use crate::secret::Secret;

/// The number, little-endian, and HMAC-SHA256 of it.
const LENGTH: usize = 8 + 32;

/// What a note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SequenceReading {
    Absent,
    Number(u64),
    /// It was not written with this store's key.
    Forged,
}

/// Why it is unknown whether the store has lost writes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IntegrityWarning {
    #[error("{} is missing, so integ does not know whether the store lost its last writes", .0.display())]
    Missing(PathBuf),
    #[error("{} was not written with the key of this store, so integ does not know whether the store is an older copy", .0.display())]
    Forged(PathBuf),
}

/// The notes of one store.
#[derive(Debug)]
pub(super) struct SequenceFiles {
    inner: PathBuf,
    outer: Option<PathBuf>,
    /// What notes are authenticated with.
    key: Secret<[u8; 32]>,
    /// The last write of this process, for the outer note; 0 where it wrote nothing.
    written: AtomicU64,
}

impl SequenceFiles {
    pub(super) fn new(inner: PathBuf, key: &StoreKey) -> Self {
        let derived = hash::hmac_sha256(key.hex().as_bytes(), &[b"integ: sequence"]);
        Self { inner, outer: None, key: Secret::new(derived), written: AtomicU64::new(0) }
    }

    /// With the note beside the folder.
    pub(super) fn with_outer(mut self, outer: PathBuf) -> Self {
        self.outer = Some(outer);
        self
    }

    pub(super) fn inner(&self) -> io::Result<SequenceReading> {
        self.read(&self.inner)
    }

    pub(super) fn outer(&self) -> io::Result<SequenceReading> {
        self.outer.as_deref().map_or(Ok(SequenceReading::Absent), |outer| self.read(outer))
    }

    /// Notes a committed write. What goes wrong here is left: the write is committed, and the next one notes more.
    pub(super) fn note(&self, sequence: u64) {
        self.written.fetch_max(sequence, Ordering::Relaxed);
        let _ = self.raise(&self.inner, sequence);
    }

    /// Sets both notes whatever they were, as for a store that has just been put in place.
    pub(super) fn set(&self, sequence: u64) -> io::Result<()> {
        for path in [Some(&self.inner), self.outer.as_ref()].into_iter().flatten() {
            crate::files::write_atomic(path, &self.text(sequence))?;
        }
        Ok(())
    }

    pub(super) fn doubt(&self, noted: SequenceReading, outer: SequenceReading) -> Option<IntegrityWarning> {
        match (noted, outer, &self.outer) {
            (SequenceReading::Absent, ..) => Some(IntegrityWarning::Missing(self.inner.clone())),
            (SequenceReading::Forged, ..) => Some(IntegrityWarning::Forged(self.inner.clone())),
            (_, SequenceReading::Forged, Some(outer)) => Some(IntegrityWarning::Forged(outer.clone())),
            _ => None,
        }
    }

    fn text(&self, sequence: u64) -> [u8; LENGTH] {
        let number = sequence.to_le_bytes();
        let tag = hash::hmac_sha256(self.key.expose(), &[&number]);
        let mut text = [0; LENGTH];
        text[..8].copy_from_slice(&number);
        text[8..].copy_from_slice(&tag);
        text
    }

    fn parse(&self, bytes: &[u8]) -> SequenceReading {
        let Some((number, tag)) = bytes.split_first_chunk::<8>() else { return SequenceReading::Forged };
        if hash::verify_hmac_sha256(self.key.expose(), &[number], tag) {
            SequenceReading::Number(u64::from_le_bytes(*number))
        } else {
            SequenceReading::Forged
        }
    }

    /// Reads without a lock, and with one only if what was read is half of two notes.
    fn read(&self, path: &Path) -> io::Result<SequenceReading> {
        let mut file = match open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SequenceReading::Absent),
            Err(error) => return Err(error),
        };
        match self.parse(&contents(&mut file)?) {
            SequenceReading::Forged => {}
            noted => return Ok(noted),
        }
        patiently(|| file.try_lock_shared())?;
        Ok(self.parse(&contents(&mut file)?))
    }

    /// A note that is missing or forged is left so, for the user to hear of it until it is accepted.
    fn raise(&self, path: &Path, sequence: u64) -> io::Result<()> {
        let mut file = open(path, OpenMode::Write)?;
        // Held for two system calls, unless its holder was stopped: then the note is left to the next write.
        patiently(|| file.try_lock())?;
        if let SequenceReading::Number(noted) = self.parse(&contents(&mut file)?)
            && noted < sequence
        {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&self.text(sequence))?;
        }
        Ok(())
    }
}

impl Drop for SequenceFiles {
    fn drop(&mut self) {
        let written = self.written.load(Ordering::Relaxed);
        if let (Some(outer), 1..) = (&self.outer, written) {
            let _ = match self.read(outer) {
                Ok(SequenceReading::Absent) => crate::files::write_atomic(outer, &self.text(written)),
                _ => self.raise(outer, written),
            };
        }
    }
}

fn contents(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(LENGTH + 1);
    file.seek(SeekFrom::Start(0))?;
    file.take(LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenMode {
    Read,
    Write,
}

/// Opens no link, and waits for no other end of a pipe.
fn open(path: &Path, rights: OpenMode) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(rights == OpenMode::Write);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

fn patiently(mut lock: impl FnMut() -> Result<(), std::fs::TryLockError>) -> io::Result<()> {
    for attempt in 0.. {
        match lock() {
            Ok(()) => break,
            Err(_) if attempt < 50 => thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_never_lowered_and_only_the_stores_key_writes_one() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, outer) = (folder.path().join("sequence"), folder.path().join(".outer"));
        let key = StoreKey::random();
        let notes = || SequenceFiles::new(inner.clone(), &key).with_outer(outer.clone());
        assert_eq!(notes().inner().unwrap(), SequenceReading::Absent);
        notes().set(0).unwrap();
        let writing = notes();
        writing.note(7);
        writing.note(3);
        assert_eq!(
            (writing.inner().unwrap(), writing.outer().unwrap()),
            (SequenceReading::Number(7), SequenceReading::Number(0))
        );
        drop(writing);
        assert_eq!(notes().outer().unwrap(), SequenceReading::Number(7));
        assert_eq!(SequenceFiles::new(inner.clone(), &StoreKey::random()).inner().unwrap(), SequenceReading::Forged);
        for forged in [b"abc".as_slice(), &[0xff; 8], &[0xff; LENGTH], &[0; LENGTH + 1], b""] {
            std::fs::write(&inner, forged).unwrap();
            notes().note(9);
            assert_eq!(notes().inner().unwrap(), SequenceReading::Forged, "{forged:?}");
        }
        notes().set(2).unwrap();
        assert_eq!(
            (notes().inner().unwrap(), notes().outer().unwrap()),
            (SequenceReading::Number(2), SequenceReading::Number(2))
        );
    }
}
