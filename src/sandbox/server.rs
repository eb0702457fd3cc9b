//! The vendor on a port of this machine, with its state in the store.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use serde_json::Value;
use url::Url;

use super::message::{SandboxRequest, SandboxResponse};
use super::objects::SessionObjects;
use super::state::SandboxState;
use super::vendor_emulator::VendorEmulator;
use crate::clock::Clock;
use crate::error::Error;
use crate::http::serve::{FullResponse, Server, StatusCode, plain};

/// Where the state is stored: one JSON document for each connector.
pub trait SandboxStorage: Send + Sync {
    /// Changes the document inside one transaction; null where there is none yet. A change that leaves it as it was need
    /// not be written. Any number of processes do this at once.
    ///
    /// # Errors
    /// Where the store cannot be read or written; the request is then answered with status 500.
    fn update(&self, change: &mut dyn FnMut(&mut Value)) -> Result<(), Error>;
}

/// Starts emulated vendors.
#[derive(Debug)]
pub struct EmulatorServer;

/// A vendor that answers. Dropping it closes the port.
#[derive(Debug)]
pub struct RunningEmulator {
    /// What the vendor's scheme, host and port are replaced by.
    pub origin: Url,
    server: Server,
}

impl RunningEmulator {
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

impl EmulatorServer {
    /// Answers on a free port of this machine.
    ///
    /// # Errors
    /// The I/O error where no port can be had.
    pub fn start(
        vendor: VendorEmulator,
        storage: Arc<dyn SandboxStorage>,
        clock: Clock,
    ) -> io::Result<RunningEmulator> {
        Self::serve(vec![TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?], vendor, storage, clock)
    }

    /// Answers on a port that is open already, at one address or at several.
    ///
    /// # Errors
    /// The I/O error where a listener cannot be used.
    pub fn serve(
        listeners: Vec<TcpListener>,
        vendor: VendorEmulator,
        storage: Arc<dyn SandboxStorage>,
        clock: Clock,
    ) -> io::Result<RunningEmulator> {
        let port = listeners.first().ok_or(io::ErrorKind::InvalidInput)?.local_addr()?.port();
        let vendor = Arc::new(vendor);
        let life = Arc::new(Mutex::new(SessionObjects::default()));
        let server = Server::start(listeners, move |request: hyper::Request<Bytes>| {
            let request = SandboxRequest::from(request);
            let (vendor, storage, clock) = (Arc::clone(&vendor), Arc::clone(&storage), clock.clone());
            let life = Arc::clone(&life);
            async move {
                // A page of another site that was rebound to this address names another host.
                if !is_own_host(&request, port) {
                    return plain(StatusCode::FORBIDDEN, "The sandbox answers for its own address only.");
                }
                // The store blocks; the other connections go on meanwhile.
                let answered = tokio::task::spawn_blocking(move || {
                    respond_from_storage(&vendor, &request, &*storage, &life, &clock)
                });
                match answered.await {
                    Ok(Ok(reply)) => delayed(reply).await,
                    Ok(Err(_)) | Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "The sandbox's store failed."),
                }
            }
        })?;
        let origin = Url::parse(&format!("http://127.0.0.1:{port}")).map_err(io::Error::other)?;
        Ok(RunningEmulator { origin, server })
    }
}

async fn delayed(reply: SandboxResponse) -> FullResponse {
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    reply.into_http_response()
}

fn is_own_host(request: &SandboxRequest, port: u16) -> bool {
    let host = request.header("host").unwrap_or_default();
    ["127.0.0.1", "localhost", "[::1]"]
        .map(|name| format!("{name}:{port}"))
        .iter()
        .any(|own| own.eq_ignore_ascii_case(host))
}

/// Answers from the stored state and stores what becomes of it.
fn respond_from_storage(
    vendor: &VendorEmulator,
    request: &SandboxRequest,
    storage: &dyn SandboxStorage,
    life: &Mutex<SessionObjects>,
    clock: &Clock,
) -> Result<SandboxResponse, Error> {
    // Outside of the store's transaction: making a key takes its time.
    if let Some(reply) = vendor.verification_key(request) {
        return Ok(reply);
    }
    let mut reply = None;
    storage.update(&mut |document| {
        // A document that another version wrote and this one cannot read is worth less than a sandbox that works.
        let before: SandboxState = serde_json::from_value(document.clone()).unwrap_or_default();
        let mut state = before.clone();
        let mut life = life.lock().unwrap_or_else(PoisonError::into_inner);
        reply = Some(vendor.handle(request, &mut state, &mut life, clock.now()));
        if state != before
            && let Ok(changed) = serde_json::to_value(&state)
        {
            *document = changed;
        }
    })?;
    Ok(reply.unwrap_or_else(|| SandboxResponse::json(500, &serde_json::json!({"error": "server_error"}))))
}
