//! The side file that notes how many writes the store has committed.
//!
//! SQLite silently drops the frames of a write-ahead log from the first one that is damaged. The file says how far the
//! store had come. It is a floor: it never names a write that was not committed, it is never lowered but by
//! `integ vault check --accept`, and it need not be durable, for a number that is too low only notices less.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The number noted, 0 where there is none. Eight bytes are read in one call and need no lock.
///
/// # Errors
/// The I/O error, of kind `InvalidData` where the file is not eight bytes.
pub(super) fn noted(path: &Path) -> io::Result<u64> {
    let mut bytes = Vec::with_capacity(16);
    match File::open(path) {
        Ok(file) => file.take(9).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    match <[u8; 8]>::try_from(bytes.as_slice()) {
        Ok(number) => Ok(u64::from_le_bytes(number)),
        // Made, and killed before the number was in it.
        Err(_) if bytes.is_empty() => Ok(0),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the file `sequence` is not eight bytes")),
    }
}

/// Notes a committed write. What goes wrong here is left: the write is committed, and the next one notes more.
pub(super) fn note(path: &Path, sequence: u64) {
    let _ = raise(path, sequence);
}

/// Sets the number whatever it was, as for a store that has just been put in place.
///
/// # Errors
/// The I/O error.
pub(super) fn set(path: &Path, sequence: u64) -> io::Result<()> {
    crate::files::write_atomic(path, &sequence.to_le_bytes())
}

fn raise(path: &Path, sequence: u64) -> io::Result<()> {
    let mut file = crate::files::open_or_create_private(path)?;
    // Held for two system calls, unless its holder was stopped: then the note is left to the next write.
    for attempt in 0.. {
        match file.try_lock() {
            Ok(()) => break,
            Err(_) if attempt < 50 => thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
    let mut bytes = [0; 8];
    let noted = match file.read_exact(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => 0,
    };
    if sequence > noted {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&sequence.to_le_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_never_lowered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sequence");
        assert_eq!(noted(&path).unwrap(), 0);
        note(&path, 7);
        note(&path, 3);
        assert_eq!(noted(&path).unwrap(), 7);
        set(&path, 2).unwrap();
        assert_eq!(noted(&path).unwrap(), 2);
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(noted(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
