//! Writes stored records into a folder, a file for each stream.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::records::{RecordReader, RecordSelection, RecordsRequest};
use super::stored::required_streams;
use super::{StreamName, SyncOperationError, SyncTarget};
use crate::error::{Error, Result};
use crate::export::{ExportError, RecordFormat};
use crate::files::{self, AtomicFile};
use crate::model::BindingName;
use crate::runtime::Workspace;
use crate::view::records::{WrittenStreamListView, WrittenStreamView};

/// Marks a folder with files that integ may replace.
const MARKER: &str = ".integ-records";

const MARKER_TEXT: &[u8] = b"integ writes the files of this folder, and replaces them: integ records --output\n";

/// How often a stream is restarted if a sync changes its records meanwhile.
const MAX_TRIES: usize = 3;

/// Which records to write, and where.
#[derive(Clone, Debug)]
pub struct WriteFilesRequest {
    /// Every stream that is stored if empty.
    pub targets: Vec<SyncTarget>,
    pub selection: RecordSelection,
    pub format: RecordFormat,
    pub folder: PathBuf,
    /// Uses a folder that holds other files, and replaces those that have the same names.
    pub force: bool,
    /// Maps the records of the one stream that it is for.
    pub binding: Option<BindingName>,
}

/// Progress while files are written.
pub trait WriteObserver: Sync {
    fn stream_started(&self, stream: &StreamName);

    /// Number of records of the stream written so far.
    fn records_written(&self, count: u64);
}

/// Writes the records of each stream into `FOLDER/CONNECTION/STREAM.EXTENSION`. Files are replaced atomically; that of
/// a failed stream is not changed.
///
/// # Errors
/// Those of finding the streams; [`SyncOperationError::ForeignFolder`] and [`SyncOperationError::Folder`]. A failure of one
/// stream is in its view.
pub async fn write_record_files(
    workspace: &Workspace,
    request: WriteFilesRequest,
    observer: &dyn WriteObserver,
) -> Result<WrittenStreamListView> {
    if request.format == RecordFormat::Parquet && !cfg!(feature = "parquet") {
        return Err(ExportError::ParquetNotBuilt.into());
    }
    let names = required_streams(workspace, &request.targets).await?;
    claim_folder(&request.folder, request.force)?;
    let mut streams = Vec::new();
    for name in names {
        observer.stream_started(&name);
        let path = file_path(&request.folder, &name, request.format);
        let written = write_file(workspace, &name, &path, &request, observer).await;
        streams.push(view(name, &path, written));
    }
    let folder = request.folder.display().to_string();
    Ok(WrittenStreamListView { workspace: workspace.name.clone(), folder, streams })
}

fn view(name: StreamName, path: &Path, written: Result<WrittenFile>) -> WrittenStreamView {
    let (written, error) = match written {
        Ok(written) => (written, None),
        Err(error) => (WrittenFile::default(), Some(error)),
    };
    WrittenStreamView {
        connection: name.connection,
        stream: name.stream,
        file: path.display().to_string(),
        records: written.records,
        unmapped: written.unmapped,
        bytes: written.bytes,
        error: error.as_ref().map(Error::on_one_line),
        error_code: error.as_ref().map(Error::code),
        error_kind: error.as_ref().map(Error::kind),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct WrittenFile {
    records: u64,
    unmapped: u64,
    bytes: u64,
}

async fn write_file(
    workspace: &Workspace,
    name: &StreamName,
    path: &Path,
    request: &WriteFilesRequest,
    observer: &dyn WriteObserver,
) -> Result<WrittenFile> {
    let (stream, selection, binding) = (name.clone(), request.selection, request.binding.clone());
    let mut reader = RecordReader::open(workspace, &RecordsRequest { stream, selection, binding }).await?;
    let mut tries = 0;
    loop {
        tries += 1;
        let file = AtomicFile::create(path).map_err(ExportError::from)?;
        let mut records = 0;
        let count = |written| {
            records = written;
            observer.records_written(written);
        };
        match reader.write(request.format, file, count).await {
            Ok((file, report)) => {
                let bytes = file.commit().map_err(ExportError::from)?;
                return Ok(WrittenFile { records, unmapped: report.failed, bytes });
            }
            Err(error) if is_changed(&error) && tries < MAX_TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_changed(error: &Error) -> bool {
    error.downcast_ref::<ExportError>().is_some_and(|error| matches!(error, ExportError::RecordChanged { .. }))
}

/// Accepts a folder that is missing, empty or marked, and any other with `force`. It is marked before files are
/// written, so that a killed run can be repeated.
fn claim_folder(folder: &Path, force: bool) -> Result<(), SyncOperationError> {
    let failed = |source| SyncOperationError::Folder { folder: folder.to_owned(), source };
    files::create_private_folder(folder).map_err(failed)?;
    let has_files = fs::read_dir(folder).map_err(failed)?.next().is_some();
    // Looked for after the other files: another process that began at the same time made it first.
    let marker = folder.join(MARKER);
    if marker.exists() {
        return Ok(());
    }
    if has_files && !force {
        return Err(SyncOperationError::ForeignFolder { folder: folder.to_owned() });
    }
    // It appears under its own name at once: a temporary file would be one of others' to a process that looks meanwhile.
    match files::create_private(&marker).and_then(|mut file| file.write_all(MARKER_TEXT)) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(failed),
    }
}

fn file_path(folder: &Path, name: &StreamName, format: RecordFormat) -> PathBuf {
    let file = format!("{}.{}", safe_name(&name.stream), format.extension());
    folder.join(safe_name(&name.connection.to_string())).join(file)
}

/// A name that is one visible file in any file system: what is not a letter, a digit or one of `-_.@` is percent-encoded, and
/// so is a dot at its begin.
fn safe_name(name: &str) -> String {
    let mut safe = String::new();
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if at > 0 => safe.push('.'),
            b'-' | b'_' | b'@' => safe.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => safe.push(char::from(byte)),
            _ => safe.push_str(&format!("%{byte:02X}")),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_stay_in_their_folder() {
        for (name, safe) in [
            ("slack@work", "slack@work"),
            ("issues.v2", "issues.v2"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            (".hidden", "%2Ehidden"),
            ("a b\\c:\u{e9}", "a%20b%5Cc%3A%C3%A9"),
            ("%2E", "%252E"),
        ] {
            assert_eq!(safe_name(name), safe);
        }
    }

    #[test]
    fn a_folder_of_others_is_not_written_to() {
        let home = tempfile::tempdir().unwrap();
        let (new, foreign) = (home.path().join("new"), home.path().join("foreign"));
        claim_folder(&new, false).unwrap();
        fs::write(new.join("github.csv"), "").unwrap();
        claim_folder(&new, false).unwrap();
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("notes.txt"), "mine").unwrap();
        let refused = claim_folder(&foreign, false);
        assert!(matches!(refused, Err(SyncOperationError::ForeignFolder { folder }) if folder == foreign));
        assert!(!foreign.join(MARKER).exists());
        claim_folder(&foreign, true).unwrap();
        claim_folder(&foreign, false).unwrap();
        let not_a_folder = claim_folder(&foreign.join("notes.txt"), true);
        assert!(
            matches!(not_a_folder, Err(SyncOperationError::Folder { source, .. }) if source.kind() == ErrorKind::AlreadyExists)
        );
    }
}
