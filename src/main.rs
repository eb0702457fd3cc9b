//! The `integ` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    integ::cli::run()
}
