//! A PostgreSQL server of the tests' own, on a socket in a temporary folder.
//!
//! It is started once for all tests of the process, and ends with it, however it ends: a shell that waits for the end of its
//! stdin, which this process holds open, has pg_ctl end the server by its pid, and removes the folder.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use integ::clock::{Clock, Timestamp};
use tokio_postgres::{Client, Config, NoTls};

use crate::attack::clocks::library;
use crate::harness::{is_root, needs};

/// Where Debian's packages put the programs of each version.
const PROGRAMS: &str = "/usr/lib/postgresql";

/// The user `nobody`: PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;

/// The file with how far the clock of a server is ahead, in seconds.
const CLOCK: &str = "clock";

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a cluster in the folder `$1`, starts the server, and stops it when stdin ends. It sorts texts as a language does, as
/// most databases: what relies on their bytes must say so. Ctrl-C must not end the shell alone.
const SCRIPT: &str = r#"
trap : INT TERM
exec >"$1/log" 2>&1
"$2/initdb" --pgdata="$1/data" --username=integ --auth=trust --encoding=UTF8 --locale=C --locale-provider=icu \
    --icu-locale=en-US --no-sync || exit 1
options="-k $1 -c listen_addresses= -c max_connections=800 -c fsync=off -c shared_buffers=32MB"
"$2/pg_ctl" --pgdata="$1/data" --options="$options" --wait start </dev/null || exit 1
cat >/dev/null
"$2/pg_ctl" --pgdata="$1/data" --mode=immediate --wait stop && rm -rf "$1"
"#;

struct Server {
    /// Where the socket and the log are.
    folder: PathBuf,
    /// The server runs for as long as its stdin is open.
    shell: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A server of one test, whose clock the test sets.
pub struct ServerWithClock {
    server: Server,
}

impl ServerWithClock {
    /// Starts it; `None`, said aloud, where PostgreSQL or faketime is not installed.
    pub async fn start() -> Option<Self> {
        let (programs, library) = (installed()?, library()?);
        let folder = new_folder();
        let clock = folder.join(CLOCK);
        fs::write(&clock, "+0").unwrap();
        let variables: [(&str, &OsStr); 5] = [
            ("LD_PRELOAD", library.as_os_str()),
            ("FAKETIME_TIMESTAMP_FILE", clock.as_os_str()),
            ("FAKETIME_NO_CACHE", OsStr::new("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", OsStr::new("1")),
            ("NO_FAKE_STAT", OsStr::new("1")),
        ];
        Some(Self { server: start(&programs, folder, &variables).await })
    }

    /// Returns how it is reached.
    pub fn config(&self) -> Config {
        config(&self.server.folder)
    }

    /// Sets its clock, which goes on from there.
    pub fn set_clock(&self, time: Timestamp) {
        let ahead = time.as_second() - Clock::system().now().as_second();
        let (clock, new) = (self.server.folder.join(CLOCK), self.server.folder.join("clock.new"));
        fs::write(&new, format!("{ahead:+}")).unwrap();
        fs::rename(new, clock).unwrap();
    }
}

/// Returns how the tests' server is reached, or `None`, said aloud, where PostgreSQL is not installed.
pub fn server() -> Option<Config> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let programs = installed()?;
    let start = || block_on(async move { start(&programs, new_folder(), &[]).await });
    Some(config(&SERVER.get_or_init(start).folder))
}

/// The programs of PostgreSQL, or `None`, said aloud.
fn installed() -> Option<PathBuf> {
    let programs = programs();
    needs("PostgreSQL (the Debian package postgresql)", programs.is_some());
    programs
}

/// Runs a future on a thread of its own: the caller may be inside a runtime, in which no other can wait.
pub fn block_on<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || runtime().block_on(future)).join().unwrap()
}

/// Returns how the server with its socket in this folder is reached.
pub fn config(folder: &Path) -> Config {
    let mut config = Config::new();
    config.host_path(folder).user("integ").dbname("postgres");
    config
}

/// Returns how a node reaches it: with another role, which owns nothing.
pub fn node(config: &Config) -> Config {
    let mut config = config.clone();
    config.user("node");
    config
}

/// Returns how another of its databases is reached.
pub fn database(name: &str) -> Config {
    let mut config = server().expect("PostgreSQL is not installed");
    config.dbname(name);
    config
}

/// Connects as the owner of the schema, who is the superuser here.
pub async fn owner() -> Client {
    connect(&server().unwrap()).await
}

/// Connects with a configuration.
pub async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    // It ends with the runtime or with the client.
    tokio::spawn(connection);
    client
}

/// Creates the login role of nodes, once the schema is there.
pub async fn create_node_role() {
    let sql = "DO $$ BEGIN
                   PERFORM pg_advisory_xact_lock(1);
                   IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'node') THEN
                       CREATE ROLE node LOGIN;
                   END IF;
                   GRANT integ_node TO node;
               END $$";
    owner().await.batch_execute(sql).await.unwrap();
}

/// The programs of the newest version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(PROGRAMS).ok()?.flatten().map(|entry| entry.path().join("bin"));
    let complete =
        versions.filter(|folder| ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).is_file()));
    let number = |folder: &PathBuf| folder.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    complete.max_by_key(number)
}

/// A folder for a server, which removes it.
fn new_folder() -> PathBuf {
    // A socket's path may have 107 bytes, which a folder of the user's choice could exceed.
    tempfile::Builder::new().prefix("integ-postgres-").tempdir_in("/tmp").unwrap().keep()
}

/// Starts a server with variables, which are set only once it runs as its user.
async fn start(programs: &Path, folder: PathBuf, variables: &[(&str, &OsStr)]) -> Server {
    let mut command = Command::new(if is_root() { "setpriv" } else { "env" });
    if is_root() {
        std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()]);
        command.args(["--", "env"]);
    }
    for (name, value) in variables {
        let mut variable = OsString::from(name);
        variable.push("=");
        variable.push(value);
        command.arg(variable);
    }
    command.args(["sh", "-c", SCRIPT, "sh"]).arg(&folder).arg(programs);
    // None of the variables that would lead to another server, and no folder that the other user cannot enter.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir("/");
    let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while config(&folder).connect(NoTls).await.is_err() {
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(shell.try_wait().unwrap().is_none(), "PostgreSQL did not start:\n{}", log());
        assert!(started.elapsed() < PATIENCE, "PostgreSQL is not ready:\n{}", log());
        // It says nowhere but in its answers that it is ready.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Server { folder, shell }
}
