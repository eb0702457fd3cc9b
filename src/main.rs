//! The `integ` program: everything is in the library. The command line and the server do not know each other.

use std::process::ExitCode;

fn main() -> ExitCode {
    integ::cli::run(&integ::server::ApiServer)
}
