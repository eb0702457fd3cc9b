//! Commands that use an `integ serve` elsewhere in place of the store of this machine.

mod calls;
mod refusals;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Home, INTEG, Ran, finish};
use crate::server::{Server, token};

/// A machine without a store: its home does not exist, and must not be made.
pub struct Elsewhere {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Elsewhere {
    pub fn new(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { folder: tempfile::tempdir().unwrap(), variables }
    }

    /// A machine that uses a server with a token.
    pub fn at(url: &str, token: &str) -> Self {
        Self::new(&[("INTEG_SERVER", url), ("INTEG_API_TOKEN", token)])
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(INTEG);
        command
            .args(words)
            .env_clear()
            .env("INTEG_HOME", self.folder.path().join("home"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line, its words separated by spaces.
    pub fn run(&self, line: &str) -> Ran {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ran = finish(self.command(&words));
        assert!(!self.folder.path().join("home").exists(), "{line} made a home folder");
        ran
    }
}

/// A home with sandbox connections, its server, and a machine that uses it with all rights.
struct Setup {
    home: Home,
    server: Server,
    elsewhere: Elsewhere,
}

impl Setup {
    fn new(connectors: &[&str]) -> Self {
        let home = Home::new();
        for connector in connectors {
            home.ok(&format!("connect {connector} --sandbox"));
        }
        let scopes = "--scope connections:read --scope connections:call --scope tokens:reveal --tier enterprise";
        let token = token(&home, "elsewhere", scopes);
        let server = Server::start(&home, "");
        let elsewhere = Elsewhere::at(&server.url, &token);
        Self { home, server, elsewhere }
    }

    /// Runs a command line at both, and compares exit code, output and errors. Numbers differ: seconds pass between the two.
    fn same(&self, line: &str) -> Ran {
        let (here, there) = (self.home.run(line), self.elsewhere.run(line));
        assert_eq!(there.code, here.code, "{line}: {there:?} {here:?}");
        assert_eq!(without_numbers(&there.stdout), without_numbers(&here.stdout), "{line}: {}", there.stderr);
        assert_eq!(there.stderr, here.stderr, "{line}");
        there
    }
}

/// A text with `#` for each number, one unit of time for all, and one space for several. What happened now is seconds ago a
/// moment later, and what ends in an hour ends in 59 minutes.
fn without_numbers(text: &str) -> String {
    let mut shown = String::new();
    let text = text.replace(" now ", " 0 s ago ").replace(" min ", " s ").replace(" h ", " s ");
    for c in text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }) {
        if !((c == '#' || c == ' ') && shown.ends_with(c)) {
            shown.push(c);
        }
    }
    shown
}
