//! Files named on the command line, to be sent or stored.

use std::io;
use std::path::Path;

use crate::files;

/// No file that is sent is larger.
const MAX_INPUT_SIZE: u64 = 100 * 1024 * 1024;

/// Returns the content of a file, or of stdin for `-`.
pub(super) fn read_input_file(path: &str) -> io::Result<Vec<u8>> {
    if path == "-" {
        files::read_limited(io::stdin().lock(), MAX_INPUT_SIZE)
    } else {
        files::read_user_file(Path::new(path), MAX_INPUT_SIZE)
    }
}
