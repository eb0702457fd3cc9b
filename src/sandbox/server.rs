//! The emulated vendor on a local port, with its state in the store.
//!
//! A request that changes no state, as nearly all do, only reads the store: it waits for no writer, and none waits for it.
//! Where the store cannot be read or written, the request is answered with status 500.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use hyper::body::Bytes;
use url::Url;

use super::message::{SandboxRequest, SandboxResponse};
use super::state_store::SandboxStateStore;
use super::vendor_emulator::VendorEmulator;
use crate::clock::Clock;
use crate::http::serve::{FullResponse, Server, StatusCode, plain};
use crate::store::StoreError;
use crate::task::blocking;

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
    /// Returns the address of the first listener; any others have the same port.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

impl EmulatorServer {
    /// Answers on a free port of this machine.
    ///
    /// # Errors
    /// The I/O error where no port can be had.
    pub fn start(vendor: VendorEmulator, storage: SandboxStateStore, clock: Clock) -> io::Result<RunningEmulator> {
        Self::serve(vec![TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?], vendor, storage, clock)
    }

    /// Answers on a port that is open already, at one address or at several.
    ///
    /// # Errors
    /// The I/O error where a listener cannot be used.
    pub fn serve(
        listeners: Vec<TcpListener>,
        vendor: VendorEmulator,
        storage: SandboxStateStore,
        clock: Clock,
    ) -> io::Result<RunningEmulator> {
        let port = listeners.first().ok_or(io::ErrorKind::InvalidInput)?.local_addr()?.port();
        let vendor = Arc::new(vendor);
        let server = Server::start(listeners, move |request: hyper::Request<Bytes>| {
            let request = SandboxRequest::from(request);
            let (vendor, storage, clock) = (Arc::clone(&vendor), storage.clone(), clock.clone());
            async move {
                // A page of another site that was rebound to this address names another host.
                if !is_own_host(&request, port) {
                    return plain(StatusCode::FORBIDDEN, "The sandbox answers for its own address only.");
                }
                match respond_from_storage(vendor, request, &storage, &clock).await {
                    Ok(reply) => delayed(reply).await,
                    Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "The sandbox's store failed."),
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

/// Responds from the stored state, and stores the new state.
async fn respond_from_storage(
    vendor: Arc<VendorEmulator>,
    request: SandboxRequest,
    storage: &SandboxStateStore,
    clock: &Clock,
) -> Result<SandboxResponse, StoreError> {
    let request = Arc::new(request);
    if vendor.webhook_rsa_key.is_some() {
        // Making a key takes its time: nothing waits for that.
        let (emulator, asked) = (Arc::clone(&vendor), Arc::clone(&request));
        if let Some(reply) = blocking(move || emulator.verification_key(&asked)).await {
            return Ok(reply);
        }
    }
    loop {
        let before = storage.load().await?;
        let (emulator, request, now) = (Arc::clone(&vendor), Arc::clone(&request), clock.now());
        let mut state = before.state.clone();
        let (reply, state) = blocking(move || {
            let reply = emulator.handle(&request, &mut state, now);
            (reply, state)
        })
        .await;
        // Where another process has changed the document, this one answers from that.
        if storage.replace(&before, &state).await? {
            return Ok(reply);
        }
    }
}
