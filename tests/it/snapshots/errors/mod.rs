//! Every error of the library as it is shown: message, causes, hint, code and exit code.
//!
//! The list of each enum is checked by the compiler: a new variant does not compile until it is named here. `[]` is for one
//! that only the library can make. Errors of the command line itself come from running it, in `commands`.

mod access;
mod agents;
mod connectors;
mod foundation;
mod sign_ins;
mod storage;
mod webhooks;
mod work;

use std::fmt::{Debug, Write};
use std::io;
use std::time::Duration;

use integ::error::Error;
use integ::model::ConnectionName;

use crate::hints::assert_parse;

/// The errors of an enum, each variant with examples of it, as text.
macro_rules! errors {
    ($enum:ty { $($variant:ident => [$($example:expr),* $(,)?]),* $(,)? }) => {{
        type E = $enum;
        /// Does not compile where a variant is missing.
        fn check(error: &E) {
            match error {
                $(E::$variant { .. } => {})*
            }
        }
        let examples: Vec<Vec<E>> = vec![$(vec![$($example),*]),*];
        let examples: Vec<E> = examples.into_iter().flatten().collect();
        examples.iter().for_each(check);
        $crate::snapshots::errors::shown(examples)
    }};
}
use errors;

/// Errors of one type, one after the other.
fn shown<E: Debug + Into<Error>>(errors: Vec<E>) -> String {
    let name = std::any::type_name::<E>().rsplit("::").next().unwrap().to_owned();
    let mut out = String::new();
    for error in errors {
        let debug = format!("{error:?}");
        let variant = debug.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned();
        let error: Error = error.into();
        writeln!(out, "## {name}::{variant}").unwrap();
        writeln!(out, "error: {}", error.message()).unwrap();
        for cause in error.causes() {
            writeln!(out, "  because: {cause}").unwrap();
        }
        if let Some(hint) = error.hint() {
            assert_parse(&hint.to_string());
            assert_parse(&hint.clone().in_workspace("team").to_string());
            writeln!(out, "hint: {hint}").unwrap();
        }
        let connection = error.connection().map_or(String::new(), |name| format!(", connection {name}"));
        writeln!(out, "(code {}, exit code {}{connection})\n", error.code(), error.kind().exit_code()).unwrap();
    }
    out
}

/// A connection with an account's name.
fn slack() -> ConnectionName {
    "slack@work".parse().unwrap()
}

/// What the operating system says.
fn io() -> io::Error {
    io::Error::other("what the system says")
}

const MINUTE: Duration = Duration::from_secs(60);

/// The command of most hints.
const RECONNECT: &str = "integ reconnect slack@work";
