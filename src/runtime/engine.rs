//! What a process has once, whatever the number of its workspaces.

use std::sync::{Arc, OnceLock};

use super::{AppError, Shutdown};
use crate::clock::Clock;
use crate::config::{Config, Folders};
use crate::connector::Catalogue;
use crate::error::Result;
use crate::http;
use crate::notify::Notifier;
use crate::store::Store;
use crate::vault::{IdentityLocation, IfAbsent, Keyring, OpenVault, PassphraseSource, TokenVault, VaultOpener};

/// The parts that every workspace of a process shares. Each is made when it is first needed, or costs nothing.
pub struct Engine {
    pub folders: Folders,
    pub config: Config,
    pub clock: Clock,
    pub catalogue: Catalogue,
    /// The client for services' own hosts; hooks, endpoints and forwarders have guarded ones.
    pub http: http::Client,
    /// Asked to stop by signals, or by the program that runs the engine.
    pub shutdown: Shutdown,
    pub(super) notifier: Notifier,
    passphrase: Box<dyn PassphraseSource + Send + Sync>,
    /// The vault of the apps that every workspace may use.
    global_vault: OnceLock<Arc<OpenVault>>,
}

impl Engine {
    pub fn new(folders: Folders, config: Config, passphrase: Box<dyn PassphraseSource + Send + Sync>) -> Self {
        Self {
            catalogue: Catalogue::new(&folders.connectors()),
            http: http::Client::new(config.http.timeout).with_max_read(config.http.max_response_bytes),
            shutdown: Shutdown::default(),
            notifier: Notifier::new(&config),
            folders,
            config,
            clock: Clock::system(),
            passphrase,
            global_vault: OnceLock::new(),
        }
    }

    /// What it takes to get at vaults, for the commands that manage them.
    pub fn vault_opener(&self) -> VaultOpener<'_> {
        VaultOpener::new(&self.folders, &self.config.vault, &*self.passphrase)
    }

    /// Who keeps the secrets of connections.
    pub fn token_vault(&self) -> TokenVault {
        TokenVault::new(Keyring::default().with_attended(self.passphrase.is_attended()), self.config.vault.tokens)
    }

    /// The store of the apps that every workspace may use; absent where there is none.
    ///
    /// # Errors
    /// The vault's error.
    pub fn global_store(&self) -> Result<Option<&Store>> {
        if self.global_vault.get().is_none() && !self.folders.global().exists() {
            return Ok(None);
        }
        self.open_global(IfAbsent::Fail).map(Some)
    }

    /// The same, made where it does not exist.
    ///
    /// # Errors
    /// The vault's error.
    pub fn global_store_or_new(&self) -> Result<&Store> {
        self.open_global(IfAbsent::Create { now: self.clock.now() })
    }

    fn open_global(&self, absent: IfAbsent) -> Result<&Store> {
        if self.global_vault.get().is_none() {
            let opened = self.vault_opener().open(&self.folders.global(), absent)?;
            let _ = self.global_vault.set(Arc::new(opened));
        }
        self.global_vault.get().map(|opened| &opened.store).ok_or_else(|| AppError::GlobalVaultUnavailable.into())
    }

    /// Where the identity was put, if opening the global vault made it.
    pub(super) fn new_identity_location(&self) -> Option<IdentityLocation> {
        self.global_vault.get()?.new_identity_location
    }
}
