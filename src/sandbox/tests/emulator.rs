//! The vendor on a port, with its state in a store.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::connectors::SLACK;
use super::streams::FILE;
use super::*;
use crate::clock::Clock;
use crate::sandbox::{EmulatorServer, Fault, FaultKind, RunningEmulator, SandboxStateStore, sandbox_fields};
use crate::store::{LostWritesPolicy, SqliteStore, Store, StoreKey, state_key};

const STREAM: &str = "[streams.t]\nabout = \"x\"\npath = \"/things\"\nkey = [\"/id\"]\n";

/// A store of its own, with the state that the emulation begins with.
struct Fixture {
    store: Arc<dyn Store>,
    _folder: TempDir,
}

impl Fixture {
    async fn new(state: &SandboxState) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("vault.db"), StoreKey::random());
        SqliteStore::create(&path, &key, Timestamp::UNIX_EPOCH).unwrap();
        let store = SqliteStore::open(&path, &key, LostWritesPolicy::Refuse).unwrap();
        let document = serde_json::to_value(state).unwrap();
        for connector in ["slack", "things"] {
            assert!(store.sandbox().replace(&state_key(connector), None, Some(&document)).await.unwrap());
        }
        Self { store: Arc::new(store), _folder: folder }
    }

    async fn state(&self, connector: &str) -> Value {
        self.store.sandbox().get(&state_key(connector)).await.unwrap().unwrap()
    }

    /// Starts a vendor whose key is in the field `token`, and returns that key.
    fn start(&self, toml: &str, auth: &str) -> (RunningEmulator, String) {
        let connector = connector(toml);
        let (_, method) = connector.auth_method(Some(auth)).unwrap();
        let token = sandbox_fields(&connector, method, SEED)["token"].expose().clone();
        let vendor =
            VendorEmulator::new(&connector, Some(auth), &SandboxAccount::default(), &BTreeMap::new(), SEED).unwrap();
        let storage = SandboxStateStore::new(&self.store, &connector.id);
        (EmulatorServer::start(vendor, storage, Clock::system()).unwrap(), token)
    }
}

async fn ask(running: &RunningEmulator, host: &str, token: &str) -> String {
    request(running, "POST /api/auth.test", host, token).await
}

async fn request(running: &RunningEmulator, line: &str, host: &str, token: &str) -> String {
    let (address, head) = (
        running.address(),
        format!("{line} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"),
    );
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn answers_on_loopback_and_remembers() {
    let mut state = SandboxState::default();
    state.add_fault(Fault { times: Some(1), ..Fault::new(FaultKind::ServerError) });
    let fixture = Fixture::new(&state).await;
    let (running, token) = fixture.start(SLACK, "bot-token");
    assert!(running.address().ip().is_loopback());
    let own = running.address().to_string();
    assert!(ask(&running, &own, &token).await.starts_with("HTTP/1.1 503"));
    assert_eq!(fixture.state("slack").await["faults"], json!([]));
    let answer = ask(&running, &own, &token).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"ok\":true"), "{answer}");
    assert!(answer.contains("cache-control: no-store"));
}

#[tokio::test]
async fn a_request_that_only_reads_writes_nothing() {
    let fixture = Fixture::new(&SandboxState::default()).await;
    let (running, token) = fixture.start(&format!("{FILE}{STREAM}"), "key");
    let own = running.address().to_string();
    let before = fixture.store.version().await.unwrap();
    let first = request(&running, "GET /v1/things", &own, &token).await;
    assert!(first.starts_with("HTTP/1.1 200") && first.contains("\"id\":"), "{first}");
    let begun = fixture.store.version().await.unwrap();
    assert!(begun > before, "the first one notes since when the records have been there");
    for line in ["GET /v1/things", "HEAD /v1/things", "GET /v1/me", "POST /v1/me", "GET /nowhere"] {
        assert!(request(&running, line, &own, &token).await.starts_with("HTTP/1.1 "), "{line}");
        assert_eq!(fixture.store.version().await.unwrap(), begun, "{line}");
    }
}

#[tokio::test]
async fn fault_034_another_host_is_refused() {
    let fixture = Fixture::new(&SandboxState::default()).await;
    let (running, token) = fixture.start(SLACK, "bot-token");
    assert!(ask(&running, "evil.example", &token).await.starts_with("HTTP/1.1 403"));
}
