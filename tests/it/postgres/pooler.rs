//! A pooler that gives each transaction another connection: PgBouncer in transaction mode.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::server;
use crate::harness::{Home, has_program, is_root, needs};

/// Connections to the server, fewer than the processes that use them.
const POOL_SIZE: usize = 3;
const PROCESSES: usize = 12;

struct Pooler {
    process: Child,
    port: u16,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Pooler {
    fn start(folder: &Path) -> Option<Self> {
        let config = server::server()?;
        let tokio_postgres::config::Host::Unix(socket) = config.get_hosts().first()?.clone() else { return None };
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let settings = format!(
            "[databases]\npostgres = host={} dbname=postgres user=integ pool_size={POOL_SIZE}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n",
            socket.display()
        );
        let path = folder.join("pgbouncer.ini");
        fs::write(&path, settings).unwrap();
        let mut command = Command::new("pgbouncer");
        if is_root() {
            // It does not run as root, and reads its settings as the other user.
            command.args(["--user", "nobody"]);
        }
        let process = command.arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (pooler, started) = (Self { process, port }, Instant::now());
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "it does not listen");
            // It is starting.
            thread::sleep(Duration::from_millis(20));
        }
        Some(pooler)
    }
}

#[test]
fn a_pooler_of_transactions_is_enough() {
    if !needs("pgbouncer", has_program("pgbouncer")) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(pooler) = Pooler::start(folder.path()) else { return };
    let home = Home::in_files();
    home.ok("config set vault.identity file");
    home.ok(&format!("workspace create pooled --store postgres://integ@127.0.0.1:{}/postgres", pooler.port));
    home.ok("-w pooled connect slack --sandbox");
    home.ok("-w pooled connect github --sandbox");
    home.ok("-w pooled sync github");
    let refreshes: Vec<Child> = (0..PROCESSES)
        .map(|_| {
            let mut command = home.command("-w pooled refresh slack".split(' '));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for refresh in refreshes {
        let ran = refresh.wait_with_output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
    home.ok("-w pooled vault rekey");
    home.ok("-w pooled vault check");
    home.ok("-w pooled audit verify");
    let records = home.ok("-w pooled records github/issues --json");
    home.ok("-w pooled vault move --to file");
    assert_eq!(home.ok("-w pooled records github/issues --json"), records);
}
