//! Many processes, one grant in PostgreSQL, and a server that counts how often each refresh token is presented.
//!
//! The processes are this test binary, each with an engine, a workspace and a connection to PostgreSQL that are new in
//! every round. `tests/campaigns/postgres-refresh` has more of them, nodes, and everything that goes wrong.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use integ::clock::Clock;
use integ::model::{ConnectionName, GrantStatus, NewConnection, SecretStorage, WorkspaceName};
use integ::oauth::refresh::{Freshness, fresh_grant};
use integ::runtime::Workspace;
use integ::store::{LockKey, PostgresServer, PostgresStore, Store, StoreKey};

use super::{PostgresWorkspace, engine, runtime, server};
use crate::fake::FakeProvider;
use crate::flow::connected;

/// Where a process of the race finds the socket's folder, the workspace's id and key, and the home, separated by line
/// breaks.
const PLACES: &str = "INTEG_TEST_RACE";

/// The test. Each process of the race runs it too, and there it races.
const TEST: &str = "one_refresh_of_many_processes_whose_grant_is_in_postgresql";

fn fake() -> ConnectionName {
    "fake".parse().unwrap()
}

/// How many of them ask at once, and how often.
const PROCESSES: usize = 8;
const ROUNDS: u64 = 3;

/// Copies a connection with its grant, as it was made by `integ connect`.
async fn copy(from: &dyn Store, to: &dyn Store) {
    let (connection, stored) = from.connections().find_with_grant(&fake()).await.unwrap().unwrap();
    let new = NewConnection {
        name: connection.name,
        mode: connection.mode,
        auth: connection.auth,
        origin: connection.origin,
        params: connection.params,
        metadata: connection.metadata,
        account: connection.account,
        user: connection.user,
        scopes_requested: connection.scopes_requested,
        scopes_granted: connection.scopes_granted,
        connected_at: connection.connected_at,
    };
    let grant = stored.unwrap().grant.unwrap();
    to.connections().connect(&new, &grant, SecretStorage::Store).await.unwrap();
}

/// A process of the race: for each line of its stdin it wants a token that is good, and prints it.
fn race(places: &str) {
    let [socket, id, key, home] = *places.lines().collect::<Vec<_>>() else { panic!("{places}") };
    let server = PostgresServer::new(server::node(&server::config(Path::new(socket)))).unwrap();
    let key = StoreKey::from_hex(key).unwrap();
    let runtime = runtime();
    for _ in std::io::stdin().lines() {
        let store = runtime.block_on(PostgresStore::open(&server, id, &key)).unwrap();
        let workspace = Workspace::with_store(engine(Path::new(home)), WorkspaceName::default(), Arc::new(store));
        let outcome = match workspace.run(fresh_grant(&workspace, &fake(), Freshness::Usable)) {
            Ok(found) => format!("token {}", found.grant.access_token.expose()),
            Err(error) => format!("error {}: {} {:?}", error.code(), error.message(), error.causes()),
        };
        if writeln!(std::io::stdout(), "\n{outcome}").is_err() {
            // The race has ended.
            return;
        }
    }
}

struct Racer {
    child: Child,
    stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Racer {
    fn start(places: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        // The name of this test, in whichever binary this module is.
        let test = format!("{}::{TEST}", module_path!().split_once("::").unwrap().1);
        command.args([&test, "--exact", "--nocapture"]);
        command.env_clear().env(PLACES, places);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, lines: BufReader::new(stdout) }
    }

    fn go(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
    }

    /// The token that it has in the end.
    fn token(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the process has ended");
            if let Some(token) = line.strip_prefix("token ") {
                return token.trim_end().to_owned();
            }
            // The test runner writes lines of its own.
            assert!(!line.starts_with("error "), "{line}");
        }
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn one_refresh_of_many_processes_whose_grant_is_in_postgresql() {
    if let Ok(places) = env::var(PLACES) {
        return race(&places);
    }
    let Some(config) = server::server() else { return };
    let provider = FakeProvider::start();
    let home = connected(&provider);
    // Long enough that all of them want the token before there is one.
    provider.state().latency = Duration::from_millis(100);
    let runtime = runtime();
    let created = runtime.block_on(PostgresWorkspace::create()).unwrap();
    let store = runtime.block_on(async {
        let store = created.open().await;
        let made = Workspace::new(engine(home.path()), WorkspaceName::default());
        copy(made.store().await.unwrap(), &store).await;
        store
    });
    let [tokio_postgres::config::Host::Unix(socket), ..] = config.get_hosts() else { panic!("{config:?}") };
    let (id, key) = (&created.id, created.key.hex());
    let places = format!("{}\n{id}\n{key}\n{}", socket.display(), home.path().display());
    let mut racers: Vec<Racer> = (0..PROCESSES).map(|_| Racer::start(&places)).collect();
    for round in 0..ROUNDS {
        runtime.block_on(created.expire_tokens());
        let before = provider.state().refreshes();
        racers.iter_mut().for_each(Racer::go);
        let tokens: BTreeSet<String> = racers.iter_mut().map(Racer::token).collect();
        let state = provider.state();
        assert_eq!(state.refreshes() - before, 1, "round {round}: exactly one asks");
        assert_eq!(tokens.iter().collect::<Vec<_>>(), [state.given.last().unwrap()], "round {round}");
        assert_eq!(state.doubles(), Vec::<&String>::new(), "round {round}");
    }
    drop(racers);
    let (connection, stored) = runtime.block_on(store.connections().find_with_grant(&fake())).unwrap().unwrap();
    let stored = stored.unwrap();
    assert_eq!(connection.grant_status, GrantStatus::Active);
    assert_eq!((stored.generation, stored.refresh_attempt), (1 + ROUNDS, None), "every answer was stored");
    let state = provider.state();
    assert_eq!(Some(stored.grant.unwrap().access_token.expose()), state.given.last());
    let key = LockKey::Grant(connection.id);
    assert!(
        !runtime.block_on(store.locks().is_held(key, Clock::system().now_millis())).unwrap(),
        "every lock was released"
    );
}
