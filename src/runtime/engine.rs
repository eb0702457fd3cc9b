//! The parts that a process has once, for all of its workspaces.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::{EnvironmentConnections, Notify, OpenStore, ParamSource, Shutdown};
use crate::clock::Clock;
use crate::config::{Config, Folders};
use crate::connector::Catalogue;
use crate::error::Result;
use crate::http;
use crate::store::{PendingAudit, Store};
use crate::task::blocking;
use crate::vault::{
    IdentityLocation, IfAbsent, Keyring, OpenVault, PassphraseSource, TokenVault, VaultError, VaultOpener,
};

/// The parts shared by every workspace of a process. Each is created on first use, or costs nothing.
pub struct Engine {
    pub folders: Folders,
    pub config: Config,
    pub clock: Clock,
    pub catalogue: Catalogue,
    /// The client for services' own hosts; hooks, endpoints and forwarders have guarded ones.
    pub http: http::Client,
    /// The stop request, from signals or from the program that runs the engine.
    pub shutdown: Shutdown,
    /// Where the secrets of connections are kept.
    pub token_vault: TokenVault,
    pub(super) notifier: Box<dyn Notify>,
    /// The connections of the environment, if they replace the stored ones.
    pub environment: Option<EnvironmentConnections>,
    /// The audit entry of the operation for which the process runs; the first write of a store takes it along.
    pub audit: Option<Arc<PendingAudit>>,
    passphrase: Box<dyn PassphraseSource>,
    /// The vault of the apps shared by all workspaces.
    global_vault: OnceCell<OpenVault>,
}

impl Engine {
    /// Creates an engine with the system's clock. No vault is opened until one is needed.
    pub fn new(
        folders: Folders,
        config: Config,
        passphrase: Box<dyn PassphraseSource>,
        notifier: Box<dyn Notify>,
    ) -> Self {
        let keyring = Keyring::default().with_attended(passphrase.is_attended());
        Self {
            catalogue: Catalogue::new(&folders.connectors()),
            http: http::Client::new(config.http.timeout).with_max_read(config.http.max_response_bytes),
            shutdown: Shutdown::default(),
            token_vault: TokenVault::new(keyring, config.vault.tokens),
            notifier,
            folders,
            config,
            clock: Clock::system(),
            environment: None,
            audit: None,
            passphrase,
            global_vault: OnceCell::new(),
        }
    }

    /// Uses the connections of the environment instead of stored ones: no vault is then read or written.
    #[must_use]
    pub fn with_environment(self, environment: Option<EnvironmentConnections>) -> Self {
        Self { environment, ..self }
    }

    /// Records the operation for which the process runs.
    #[must_use]
    pub fn with_audit(self, audit: Option<Arc<PendingAudit>>) -> Self {
        Self { audit, ..self }
    }

    /// Returns who chose the parameters of a connection: the owner, or others whose hosts are guarded.
    pub fn param_source(&self, is_guarded: bool) -> ParamSource<'_> {
        if is_guarded { ParamSource::Caller(&self.config.http.allow) } else { ParamSource::Owner }
    }

    /// Returns what is needed to open vaults in blocking work: see [`Self::with_vaults`].
    pub fn vault_opener(&self) -> VaultOpener<'_> {
        VaultOpener::new(&self.folders, &self.config.vault, &*self.passphrase)
    }

    /// Runs work on vaults, which reads files and may ask for a passphrase, on a thread for blocking work.
    ///
    /// # Errors
    /// The work's.
    pub async fn with_vaults<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(VaultOpener<'_>) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let engine = Arc::clone(self);
        blocking(move || work(engine.vault_opener())).await
    }

    /// Opens the store of the vault in `folder`.
    ///
    /// # Errors
    /// The vault's.
    pub async fn open_store(self: &Arc<Self>, folder: PathBuf, absent: IfAbsent) -> Result<OpenStore> {
        let unlocked = self.with_vaults(move |vaults| vaults.unlock_vault(&folder, absent)).await?;
        // Boxed, so that no operation holds what it takes to reach a server.
        Ok(Box::pin(OpenStore::open(unlocked)).await?)
    }

    /// Returns the store of the apps that every workspace may use, if there is one.
    ///
    /// # Errors
    /// The vault's.
    pub async fn global_store(self: &Arc<Self>) -> Result<Option<&dyn Store>> {
        let is_absent = !self.global_vault.initialized() && !self.folders.global().exists();
        if is_absent || self.environment.is_some() {
            return Ok(None);
        }
        self.open_global(IfAbsent::Fail).await.map(Some)
    }

    /// Returns the store of the apps that every workspace may use; creates it if there is none.
    ///
    /// # Errors
    /// The vault's.
    pub async fn global_store_or_new(self: &Arc<Self>) -> Result<&dyn Store> {
        self.open_global(IfAbsent::Create { now: self.clock.now() }).await
    }

    async fn open_global(self: &Arc<Self>, absent: IfAbsent) -> Result<&dyn Store> {
        let folder = self.folders.global();
        let open = || self.with_vaults(move |vaults| vaults.open(&folder, absent));
        let store = self.global_vault.get_or_try_init(open).await?.store();
        if let Some(audit) = &self.audit {
            store.attach_audit(Arc::clone(audit));
        }
        Ok(store)
    }

    /// Returns where the identity is stored, if opening the global vault created it.
    pub(super) fn new_identity_location(&self) -> Option<IdentityLocation> {
        self.global_vault.get()?.new_identity_location
    }
}
