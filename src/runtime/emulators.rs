//! The sandbox of this workspace: its seed, and its state in the encrypted store.

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use super::{RuntimeError, Workspace};
use crate::connector::Connector;
use crate::error::Result;
use crate::http::Route;
use crate::http::loopback::{self, ListenAddresses};
use crate::sandbox::{
    EmulatorServer, RunningEmulator, SandboxAccount, SandboxState, SandboxStateStore, VendorEmulator,
};
use crate::store::{Store, state_key};
use crate::{clock, env, hex};

/// The key of the document that holds the sandbox's seed.
pub(super) const SEED_KEY: &str = "seed";

/// Changes the sandbox's state of a connector atomically. `change` runs again if another process was faster.
///
/// # Errors
/// The store's; [`RuntimeError::SandboxState`].
pub async fn update_sandbox_state<T: Send>(
    store: &dyn Store,
    connector: &str,
    mut change: impl FnMut(&mut SandboxState) -> T + Send,
) -> Result<T> {
    let (sandbox, key) = (store.sandbox(), state_key(connector));
    loop {
        let old = sandbox.get(&key).await?;
        // A state that this version cannot read is as good as none.
        let mut state: SandboxState =
            old.clone().and_then(|document| serde_json::from_value(document).ok()).unwrap_or_default();
        let result = change(&mut state);
        let new = serde_json::to_value(&state)
            .map_err(|source| RuntimeError::SandboxState { connector: connector.to_owned(), source })?;
        if sandbox.replace(&key, old.as_ref(), Some(&new)).await? {
            return Ok(result);
        }
    }
}

impl Workspace {
    /// Returns the signing seed of the sandbox's tokens: `INTEG_SANDBOX_SEED`, or a stored random one.
    ///
    /// # Errors
    /// The vault's.
    pub async fn sandbox_seed(&self) -> Result<Vec<u8>> {
        if let Some(seed) = env::var(&env::SANDBOX_SEED) {
            return Ok(seed.into_bytes());
        }
        let sandbox = self.store().await?.sandbox();
        loop {
            if let Some(Value::String(seed)) = sandbox.get(SEED_KEY).await? {
                return Ok(seed.into_bytes());
            }
            let seed = hex::encode(&clock::random::<32>());
            // Another process may have been faster: the first one's seed is everybody's.
            if sandbox.replace(SEED_KEY, None, Some(&Value::String(seed.clone()))).await? {
                return Ok(seed.into_bytes());
            }
        }
    }

    /// Returns the address of the emulation of a connector's authentication method for an account. It is started on
    /// first use, and ends with the command. Must be called inside the runtime.
    ///
    /// # Errors
    /// [`RuntimeError::Sandbox`], and the vault's.
    pub async fn sandbox_route(
        &self,
        connector: &Connector,
        auth: &str,
        account: Option<&str>,
        params: &BTreeMap<String, String>,
    ) -> Result<Route> {
        let key = format!("{}/{auth}/{account:?}/{params:?}", connector.id);
        if let Some(running) = self.sandboxes().get(&key) {
            return Ok(Route::Sandbox(running.origin.clone()));
        }
        let account = SandboxAccount::named(account);
        let vendor = VendorEmulator::new(connector, Some(auth), &account, params, &self.sandbox_seed().await?)?;
        let started = self.serve_vendor(connector, vendor, None).await?;
        // Another operation may have started one meanwhile: the first one stays.
        let mut sandboxes = self.sandboxes();
        let running = sandboxes.entry(key).or_insert(started);
        Ok(Route::Sandbox(running.origin.clone()))
    }

    /// Returns whether a URL leads to an emulation that this process runs for a connection.
    pub fn has_emulator_at(&self, url: &Url) -> bool {
        self.sandboxes().values().any(|running| running.origin.origin() == url.origin())
    }

    /// Starts an emulated vendor on a port (any free port if none is given), for other programs: the links in its
    /// responses lead there.
    ///
    /// # Errors
    /// [`RuntimeError::Sandbox`], and the vault's.
    pub async fn start_emulator(
        &self,
        connector: &Connector,
        auth: &str,
        account: &SandboxAccount,
        params: &BTreeMap<String, String>,
        port: Option<u16>,
    ) -> Result<RunningEmulator> {
        let vendor = VendorEmulator::new(connector, Some(auth), account, params, &self.sandbox_seed().await?)?
            .for_external_clients();
        self.serve_vendor(connector, vendor, Some(port.unwrap_or_default())).await
    }

    async fn serve_vendor(
        &self,
        connector: &Connector,
        vendor: VendorEmulator,
        port: Option<u16>,
    ) -> Result<RunningEmulator> {
        let storage = SandboxStateStore::new(&self.shared_store().await?, &connector.id);
        let started = match port {
            None => EmulatorServer::start(vendor, storage, self.clock.clone()),
            // Other programs are often led to `localhost`.
            Some(port) => {
                let bound =
                    loopback::bind(ListenAddresses::Both, port).map_err(|source| RuntimeError::PortInUse { source })?;
                EmulatorServer::serve(bound, vendor, storage, self.clock.clone())
            }
        };
        Ok(started.map_err(|source| RuntimeError::Sandbox { source })?)
    }

    /// Resets the sandbox's state, of one connector or of all: rotated and revoked grants, injected faults, created and
    /// changed objects.
    ///
    /// # Errors
    /// The store's.
    pub async fn sandbox_reset(store: &dyn Store, connector: Option<&str>) -> Result<usize> {
        Ok(store.sandbox().clear(&connector.map_or_else(|| state_key(""), state_key)).await?)
    }
}
