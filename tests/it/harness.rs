//! One home, one binary, nothing of the machine's own environment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tempfile::TempDir;

use crate::postgres::databases::Database;

/// The binary under test.
pub const INTEG: &str = env!("CARGO_BIN_EXE_integ");

/// A user's empty home. Nothing outside it is read or written, and no keyring is reached.
pub struct Home {
    folder: TempDir,
    variables: Vec<(String, String)>,
    /// Whether new workspaces are created in PostgreSQL, in a database of the home's own.
    in_postgres: bool,
    database: OnceLock<Database>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Whether the homes of all tests create their workspaces in PostgreSQL, not in files.
pub fn on_postgres() -> bool {
    std::env::var("INTEG_TESTS_STORE").is_ok_and(|store| store == "postgres")
}

/// Whether to skip a test, because it is about what workspaces in files have and those in PostgreSQL have not.
pub fn skipped_on_postgres(reason: &str) -> bool {
    if on_postgres() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(std::io::stderr(), "not on PostgreSQL: {test}: {reason}");
    }
    on_postgres()
}

impl Home {
    /// A home with the store that all tests have in this run.
    pub fn new() -> Self {
        Self::with_store(on_postgres())
    }

    /// A home whose workspaces are in files.
    pub fn in_files() -> Self {
        Self::with_store(false)
    }

    /// A home whose workspaces are in PostgreSQL; `None` where it is not installed.
    pub fn in_postgres() -> Option<Self> {
        crate::postgres::is_installed().then(|| Self::with_store(true))
    }

    fn with_store(in_postgres: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, variables: Vec::new(), in_postgres, database: OnceLock::new() }
    }

    /// Sets a variable for every command of this home.
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.variables.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// `INTEG_HOME`.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the default workspace.
    pub fn workspace(&self) -> PathBuf {
        self.path().join("workspaces/default")
    }

    /// Whether its new workspaces are created in PostgreSQL.
    pub fn is_in_postgres(&self) -> bool {
        self.in_postgres
    }

    /// The URL of the home's database, unless the test has set another.
    pub fn store_url(&self) -> Option<&str> {
        let is_set = self.variables.iter().any(|(name, _)| name == "INTEG_STORE_URL");
        (self.in_postgres && !is_set).then(|| self.database.get_or_init(Database::create).url.as_str())
    }

    /// Runs a query in the home's database, and returns its first column as text.
    pub fn sql(&self, query: &str) -> Vec<String> {
        self.database.get().expect("a command in PostgreSQL ran before").column(query)
    }

    /// Ends the leases of processes that were killed, as a minute does. The locks of files end with their process.
    pub fn expire_leases(&self) {
        if self.in_postgres {
            self.sql("UPDATE integ.locks SET expires_at = 1");
        }
    }

    /// Copies the home with its workspaces, which no process may have open.
    pub fn copy(&self) -> Self {
        let copy = Self { variables: self.variables.clone(), ..Self::with_store(self.in_postgres) };
        let from = self.path().join(".");
        assert!(Command::new("cp").arg("-a").arg(from).arg(copy.path()).status().unwrap().success());
        if let Some(database) = self.database.get() {
            let copied = copy.database.get_or_init(|| database.copy());
            for workspace in fs::read_dir(copy.path().join("workspaces")).into_iter().flatten().flatten() {
                let file = workspace.path().join("store.toml");
                if let Ok(text) = fs::read_to_string(&file) {
                    fs::write(&file, text.replace(&database.url, &copied.url)).unwrap();
                }
            }
        }
        copy
    }

    /// The id of the first event, the second, and so on. In PostgreSQL it begins with the day of the receipt.
    pub fn event(&self, number: u64) -> u64 {
        let day = || Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%d").to_string();
        if self.in_postgres { day().parse::<u64>().unwrap() * 100_000_000 + number } else { number }
    }

    /// A command with a clean environment, no terminal and no stdin.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(INTEG);
        command
            .args(arguments)
            .env_clear()
            .env("INTEG_HOME", self.path())
            .env("HOME", self.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.store_url().map(|url| ("INTEG_STORE_URL", url)))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line, its words separated by spaces.
    pub fn run(&self, line: &str) -> Ran {
        finish(self.command(line.split_whitespace()))
    }

    /// Runs a command line with text on its stdin.
    pub fn run_with_input(&self, line: &str, input: &str) -> Ran {
        let mut command = self.command(line.split_whitespace());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that does not read its stdin may have gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::of(child.wait_with_output().unwrap())
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub fn json(&self, line: &str) -> Value {
        let ran = self.run(&format!("{line} --json"));
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {ran:?}"))
    }

    /// Runs a command that must succeed, and returns what it printed without the last line break.
    pub fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.stdout.trim_end().to_owned()
    }

    /// Writes a connector of the user's own.
    pub fn install(&self, id: &str, toml: &str) {
        let folder = self.path().join("connectors");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{id}.toml")), toml).unwrap();
    }
}

/// Every file below a folder, with its bytes; sockets and links are left out.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// Whether the bytes hold the text.
pub fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Whether root runs the tests, who may give files away and mount.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Copies the program. Another process writes the copy: a test that starts a program meanwhile would inherit a file that is
/// open for writing, and the system runs no such file (ETXTBSY, execve(2)).
pub fn copy_program(to: &Path) {
    assert!(Command::new("cp").arg(INTEG).arg(to).status().unwrap().success(), "{}", to.display());
}

/// Runs a command to its end.
pub fn finish(mut command: Command) -> Ran {
    Ran::of(command.output().unwrap())
}

impl Ran {
    #[expect(clippy::needless_pass_by_value, reason = "what a command left behind is read once")]
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The code of the JSON error on stderr.
    pub fn error_code(&self) -> String {
        let line = self.stderr.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        let error: Value = serde_json::from_str(line).unwrap_or_default();
        error["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A program that runs beside the test and ends with it: a peer, or a flow that waits.
pub struct Running {
    pub child: Child,
    /// Closed when the test ends, which is how peers learn of it.
    pub stdin: Option<ChildStdin>,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, lines }
    }

    /// The next line of its stdout; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line, as JSON.
    pub fn event(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Its exit code, once it has ended by itself.
    pub fn code(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a test can run here. Where it cannot it says so past the test runner's capture, and `tests/run`, which installs
/// everything, makes that a failure.
pub fn needs(what: &str, present: bool) -> bool {
    if present {
        return true;
    }
    assert!(
        std::env::var_os("INTEG_TESTS_ALL").is_none(),
        "{what} is missing, and INTEG_TESTS_ALL wants every test run"
    );
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test} needs {what}");
    false
}

/// Whether a program is on the PATH.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// The folder of the peers that nobody here wrote.
pub fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers")
}
