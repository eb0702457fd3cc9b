//! The sandbox of this workspace: its seed, and its state in the encrypted store.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{AppError, Workspace};
use crate::clock;
use crate::connector::Connector;
use crate::env;
use crate::error::{Error, Result};
use crate::hex;
use crate::http::Route;
use crate::http::loopback::{self, ListenAddresses};
use crate::sandbox::{EmulatorServer, RunningEmulator, SandboxStorage, VendorEmulator};
pub use crate::store::state_key;
use crate::store::{Store, StoreError};
use crate::vault::OpenVault;

const SEED_KEY: &str = "seed";

/// Keeps one connector's state in the workspace's store.
struct VaultSandboxStorage {
    opened: Arc<OpenVault>,
    key: String,
}

impl SandboxStorage for VaultSandboxStorage {
    fn update(&self, change: &mut dyn FnMut(&mut Value)) -> Result<(), Error> {
        let sandbox = self.opened.store.sandbox();
        let updated = sandbox.update(&self.key, |document| {
            let mut value = document.take().unwrap_or_default();
            change(&mut value);
            *document = (!value.is_null()).then_some(value);
        });
        match updated {
            // In a folder that cannot be written the emulation answers, and forgets.
            Err(StoreError::ReadOnly(_)) => change(&mut sandbox.get(&self.key)?.unwrap_or_default()),
            updated => updated?,
        }
        Ok(())
    }
}

impl Workspace {
    /// What every token of the sandbox is signed with: `INTEG_SANDBOX_SEED`, else random and kept.
    ///
    /// # Errors
    /// The vault's.
    pub fn sandbox_seed(&self) -> Result<Vec<u8>> {
        if let Some(seed) = env::var(&env::SANDBOX_SEED) {
            return Ok(seed.into_bytes());
        }
        let sandbox = self.store()?.sandbox();
        if let Some(Value::String(seed)) = sandbox.get(SEED_KEY)? {
            return Ok(seed.into_bytes());
        }
        let fresh = hex::encode(&clock::random::<32>());
        // Another process may have been faster: the first one's seed is everybody's.
        let seed = sandbox.update(SEED_KEY, |seed| seed.get_or_insert(Value::String(fresh)).clone())?;
        Ok(seed.as_str().unwrap_or_default().as_bytes().to_vec())
    }

    /// Where the emulation of a connector's way answers; it is started when it is first asked for, and ends with the
    /// command. Must be called inside the runtime.
    ///
    /// # Errors
    /// [`AppError::Sandbox`], and the vault's.
    pub fn sandbox_route(&self, connector: &Connector, auth: &str, params: &BTreeMap<String, String>) -> Result<Route> {
        let key = format!("{}/{auth}/{params:?}", connector.id);
        if let Some(running) = self.sandboxes().get(&key) {
            return Ok(Route::Sandbox(running.origin.clone()));
        }
        let vendor = VendorEmulator::new(connector, Some(auth), params, &self.sandbox_seed()?)?;
        let started = self.serve_vendor(connector, vendor, None)?;
        let route = Route::Sandbox(started.origin.clone());
        self.sandboxes().insert(key, started);
        Ok(route)
    }

    /// An emulated vendor on a port, any free one where none is given, for programs that know that address alone: the links
    /// in its answers lead there.
    ///
    /// # Errors
    /// [`AppError::Sandbox`], and the vault's.
    pub fn start_emulator(
        &self,
        connector: &Connector,
        auth: &str,
        params: &BTreeMap<String, String>,
        port: Option<u16>,
    ) -> Result<RunningEmulator> {
        let vendor = VendorEmulator::new(connector, Some(auth), params, &self.sandbox_seed()?)?.for_external_clients();
        self.serve_vendor(connector, vendor, Some(port.unwrap_or_default()))
    }

    fn serve_vendor(
        &self,
        connector: &Connector,
        vendor: VendorEmulator,
        port: Option<u16>,
    ) -> Result<RunningEmulator> {
        let storage = Arc::new(VaultSandboxStorage { opened: self.open_vault()?, key: state_key(&connector.id) });
        let started = match port {
            None => EmulatorServer::start(vendor, storage, self.engine.clock.clone()),
            // Other programs are often led to `localhost`.
            Some(port) => {
                let bound =
                    loopback::bind(ListenAddresses::Both, port).map_err(|source| AppError::PortInUse { source })?;
                EmulatorServer::serve(bound, vendor, storage, self.engine.clock.clone())
            }
        };
        Ok(started.map_err(|source| AppError::Sandbox { source })?)
    }

    /// Forgets what the sandbox remembers, of one connector or of all: rotated and revoked grants, scripted faults.
    ///
    /// # Errors
    /// The store's.
    pub fn sandbox_reset(store: &Store, connector: Option<&str>) -> Result<usize> {
        Ok(store.sandbox().clear(&connector.map_or_else(|| state_key(""), state_key))?)
    }
}
