//! The vendor on a port, with its state kept elsewhere.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;

use super::connectors::SLACK;
use super::*;
use crate::clock::Clock;
use crate::error::Error;
use crate::sandbox::{EmulatorServer, Fault, FaultKind, RunningEmulator, SandboxStorage, sandbox_fields};

#[derive(Default)]
struct MemoryStorage(Mutex<Value>);

#[async_trait]
impl SandboxStorage for MemoryStorage {
    async fn load(&self) -> Result<Option<Value>, Error> {
        Ok(Some(self.0.lock().unwrap().clone()).filter(|document| !document.is_null()))
    }

    async fn replace(&self, old: Option<&Value>, new: &Value) -> Result<bool, Error> {
        let mut document = self.0.lock().unwrap();
        let is_same = old.cloned().unwrap_or_default() == *document;
        if is_same {
            *document = new.clone();
        }
        Ok(is_same)
    }
}

fn started(storage: &Arc<MemoryStorage>) -> (RunningEmulator, String) {
    let slack = connector(SLACK);
    let (_, auth) = slack.auth_method(Some("bot-token")).unwrap();
    let token = sandbox_fields(&slack, auth, SEED)["token"].expose().clone();
    let vendor = VendorEmulator::new(&slack, Some("bot-token"), &BTreeMap::new(), SEED).unwrap();
    (EmulatorServer::start(vendor, Arc::clone(storage) as Arc<dyn SandboxStorage>, Clock::system()).unwrap(), token)
}

async fn ask(running: &RunningEmulator, host: &str, token: &str) -> String {
    let (address, head) = (
        running.address(),
        format!(
            "POST /api/auth.test HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        ),
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
    let storage = Arc::new(MemoryStorage::default());
    let mut state = SandboxState::default();
    state.add_fault(Fault { times: Some(1), ..Fault::new(FaultKind::ServerError) });
    *storage.0.lock().unwrap() = serde_json::to_value(&state).unwrap();
    let (running, token) = started(&storage);
    assert!(running.address().ip().is_loopback());
    let own = running.address().to_string();
    assert!(ask(&running, &own, &token).await.starts_with("HTTP/1.1 503"));
    assert_eq!(storage.0.lock().unwrap()["faults"], json!([]));
    let answer = ask(&running, &own, &token).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"ok\":true"), "{answer}");
    assert!(answer.contains("cache-control: no-store"));
}

#[tokio::test]
async fn fault_034_another_host_is_refused() {
    let (running, token) = started(&Arc::new(MemoryStorage::default()));
    assert!(ask(&running, "evil.example", &token).await.starts_with("HTTP/1.1 403"));
}
