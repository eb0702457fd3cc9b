//! What every command is given: settings, the vault, the catalogue, the network, the clock.
//!
//! Each part is made when it is first needed: a command that reads one token opens one store, parses no connector and
//! starts no runtime.

mod emulators;
mod routes;
mod session;
mod shutdown;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use thiserror::Error;

pub use emulators::state_key;
pub use routes::{live_route, route_to};
pub use shutdown::{Shutdown, ShutdownHold};
pub use session::{Session, SessionError, template_values};

use crate::clock::Clock;
use crate::config::{Config, Folders};
use crate::connector::Catalogue;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::http::{self, Route};
use crate::model::{Connection, ConnectionId, ConnectionMode, ConnectionName, WorkspaceName, connect_command};
use crate::near::closest;
use crate::notify::{Notification, Notifier};
use crate::sandbox;
use crate::store::Store;
use crate::vault::{self, IfAbsent, Keyring, OpenVault, PassphraseSource, TokenVault, VaultOpener};

/// Everything a command works with, of one workspace.
pub struct App {
    pub folders: Folders,
    pub config: Config,
    pub workspace: WorkspaceName,
    /// The project's file that chose the workspace, if one did.
    pub workspace_file: Option<PathBuf>,
    pub clock: Clock,
    pub catalogue: Catalogue,
    pub http: http::Client,
    pub shutdown: Shutdown,
    notifier: Notifier,
    passphrase: Box<dyn PassphraseSource + Send + Sync>,
    vault: OnceLock<Arc<OpenVault>>,
    global_vault: OnceLock<Arc<OpenVault>>,
    sandboxes: Mutex<HashMap<String, sandbox::RunningEmulator>>,
    rate_limiters: Mutex<HashMap<ConnectionId, Arc<http::RateLimiter>>>,
}

/// What a command asks for that is not there.
#[derive(Debug, Error)]
pub enum AppError {
    /// `place` is as [`App::workspace_note`] says it.
    #[error("there is no connection {name}{workspace_note}")]
    ConnectionNotFound {
        name: ConnectionName,
        workspace_note: String,
        suggestion: Option<String>,
        connect: Option<String>,
    },
    #[error("the vault of the apps for all workspaces cannot be opened")]
    GlobalVaultUnavailable,
    #[error("the runtime cannot be started")]
    Runtime { source: std::io::Error },
    #[error("the sandbox cannot be started")]
    Sandbox { source: std::io::Error },
    #[error("interrupted")]
    Interrupted,
    #[error("the sandbox cannot be started")]
    PortInUse { source: http::loopback::BindError },
}

impl Remedy for AppError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::ConnectionNotFound { name, suggestion: likely, connect, .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_connection").connection(name).hint(match (likely, connect) {
                    (Some(likely), _) => {
                        Hint::new(format!("did you mean {likely}? list the connections:"), "integ status")
                    }
                    (None, Some(connect)) => Hint::run(connect),
                    (None, None) => Hint::new("list the connections:", "integ status"),
                })
            }
            Self::GlobalVaultUnavailable => Diagnostic::new(Kind::Failed, "no_global_vault"),
            Self::Runtime { .. } => {
                Diagnostic::new(Kind::Failed, "runtime").maybe_hint(cfg!(unix).then(|| Hint::run("ulimit -n 256")))
            }
            Self::Sandbox { .. } => Diagnostic::new(Kind::Failed, "sandbox"),
            Self::Interrupted => Diagnostic::new(Kind::Interrupted, "interrupted"),
            Self::PortInUse { .. } => Diagnostic::new(Kind::Failed, "port_taken")
                .hint(Hint::text("leave out `--port`: a free port is taken then")),
        }
    }
}

/// Starts the runtime of one thread that the network needs.
///
/// # Errors
/// The I/O error, also where too few file descriptors are left: tokio panics if it cannot make the sockets of its signal
/// handler, so that they are tried out first.
pub fn new_runtime() -> io::Result<tokio::runtime::Runtime> {
    #[cfg(unix)]
    {
        // Six for the runtime itself (epoll and its waker, twice, and the handler's pair), and a connection.
        const PAIRS: usize = 4;
        let spare: Vec<_> = (0..PAIRS).map(|_| std::os::unix::net::UnixStream::pair()).collect::<io::Result<_>>()?;
        drop(spare);
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl App {
    pub fn new(
        folders: Folders,
        config: Config,
        workspace: WorkspaceName,
        passphrase: Box<dyn PassphraseSource + Send + Sync>,
    ) -> Self {
        Self {
            catalogue: Catalogue::new(&folders.connectors()),
            http: http::Client::new(config.http.timeout).with_max_read(config.http.max_response_bytes),
            shutdown: Shutdown::default(),
            notifier: Notifier::new(&config),
            folders,
            config,
            workspace,
            workspace_file: None,
            clock: Clock::system(),
            passphrase,
            vault: OnceLock::new(),
            global_vault: OnceLock::new(),
            sandboxes: Mutex::new(HashMap::new()),
            rate_limiters: Mutex::new(HashMap::new()),
        }
    }

    /// Returns where something was looked for, to go on a message that it is not there: nothing for the default workspace,
    /// else its name, and the file that chose it.
    pub fn workspace_note(&self) -> String {
        match &self.workspace_file {
            Some(file) => format!(" in workspace {}, which {} chooses", self.workspace, file.display()),
            None if self.workspace == WorkspaceName::default() => String::new(),
            None => format!(" in workspace {}", self.workspace),
        }
    }

    /// The workspace's store; one that does not exist is an error.
    ///
    /// # Errors
    /// The vault's error.
    pub fn store(&self) -> Result<&Store> {
        Ok(&self.open(IfAbsent::Fail)?.store)
    }

    /// The workspace's store, made where it does not exist.
    ///
    /// # Errors
    /// The vault's error.
    pub fn store_or_new(&self) -> Result<&Store> {
        Ok(&self.open(IfAbsent::Create { now: self.clock.now() })?.store)
    }

    fn open(&self, absent: IfAbsent) -> Result<&Arc<OpenVault>> {
        if let Some(opened) = self.vault.get() {
            return Ok(opened);
        }
        let opened = self.vault_opener().open(&self.folders.workspace(&self.workspace), absent)?;
        Ok(self.vault.get_or_init(|| Arc::new(opened)))
    }

    /// Where the identity was put, if this command made it: something to say once.
    pub fn new_identity_location(&self) -> Option<vault::IdentityLocation> {
        let global = self.global_vault.get();
        self.vault.get().into_iter().chain(global).find_map(|opened| opened.new_identity_location)
    }

    /// Whether this workspace has a vault at all: a fresh home has none, and that is no failure for commands that list.
    pub fn has_vault(&self) -> bool {
        self.vault.get().is_some() || self.folders.workspace(&self.workspace).exists()
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

    /// # Errors
    /// [`AppError::ConnectionNotFound`] with the likely one.
    pub fn connection(&self, name: &ConnectionName) -> Result<Connection> {
        let unknown = |likely, mode| {
            // There may be no such connector either.
            let known = self.catalogue.get(name.connector()).is_ok();
            let connect = known.then(|| connect_command(name, mode, None));
            AppError::ConnectionNotFound {
                name: name.clone(),
                workspace_note: self.workspace_note(),
                suggestion: likely,
                connect,
            }
        };
        if !self.has_vault() {
            return Err(unknown(None, ConnectionMode::Live).into());
        }
        let connections = self.store()?.connections();
        if let Some(connection) = connections.find(name)? {
            return Ok(connection);
        }
        let wanted = name.to_string();
        let all = connections.list()?;
        let names: Vec<String> = all.iter().map(|known| known.name.to_string()).collect();
        // Somebody who works in the sandbox alone is not led to a real service.
        let is_sandbox = !all.is_empty() && all.iter().all(|known| known.mode == ConnectionMode::Sandbox);
        let mode = if is_sandbox { ConnectionMode::Sandbox } else { ConnectionMode::Live };
        Err(unknown(closest(&wanted, names.iter().map(String::as_str)).map(str::to_owned), mode).into())
    }

    /// A connection with what is needed to use it. Must be called inside the runtime where it may be a sandbox's.
    ///
    /// # Errors
    /// Unknown connectors or ways of authenticating, and whatever stops a sandbox from starting.
    pub fn session(&self, connection: Connection) -> Result<Session> {
        let connector = self.catalogue.get(connection.name.connector())?;
        let (_, auth) = connector.auth_method(Some(&connection.auth))?;
        let auth = auth.clone();
        let route = match (&connection.origin, connection.mode) {
            (_, ConnectionMode::Sandbox) => self.sandbox_route(&connector, &connection.auth, &connection.params)?,
            (Some(origin), ConnectionMode::Live) => Route::Origin(origin.clone()),
            (None, ConnectionMode::Live) => live_route(&connector, &connection.auth, &auth, &connection.params),
        };
        Ok(Session { connection, connector, auth, route })
    }

    /// How fast this process may ask for a connection.
    pub fn rate_limiter(&self, session: &Session) -> Arc<http::RateLimiter> {
        let mut paces = self.rate_limiters.lock().unwrap_or_else(PoisonError::into_inner);
        // The sandbox is this machine's, and no vendor's limit is used up by it.
        let budget = session.connector.rate.budget.filter(|_| session.connection.mode == ConnectionMode::Live);
        let new = || Arc::new(http::RateLimiter::new(budget));
        Arc::clone(paces.entry(session.connection.id).or_insert_with(new))
    }

    /// The open vault itself, for what outlives a borrow of this.
    ///
    /// # Errors
    /// The vault's error.
    pub fn open_vault(&self) -> Result<Arc<OpenVault>> {
        Ok(Arc::clone(self.open(IfAbsent::Fail)?))
    }

    fn sandboxes(&self) -> MutexGuard<'_, HashMap<String, sandbox::RunningEmulator>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to tell the user's hooks of every connection that broke or works again since the last call. Nothing is
    /// waited for, but inside [`Self::run`], at its end. To be called with no lock held that a hook may want.
    pub fn send_notifications(&self) {
        let Some(opened) = self.vault.get() else { return };
        for changed in opened.store.drain_transitions() {
            self.notifier.notify(Notification::new(&changed, &self.workspace, self.clock.now()));
        }
    }

    /// Begins to tell the user's hooks of something; waited for as in [`Self::send_notifications`].
    pub fn notify(&self, notice: Notification) {
        self.notifier.notify(notice);
    }

    /// Runs what needs the network, on a runtime that is started for it and ends with it.
    ///
    /// # Errors
    /// The error of the work itself, or [`AppError::Runtime`].
    pub fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = new_runtime().map_err(|source| AppError::Runtime { source })?;
        let result = runtime.block_on(async {
            tokio::spawn(shutdown::forward_signals(self.shutdown.clone()));
            // The task registers its handlers before anything is begun, so that an early Ctrl-C counts.
            tokio::task::yield_now().await;
            let result = tokio::select! {
                result = work => result,
                () = self.shutdown.ready() => Err(AppError::Interrupted.into()),
            };
            self.send_notifications();
            self.notifier.finish(self.shutdown.requested_again()).await;
            result
        });
        // The sandboxes' tasks live on this runtime.
        self.sandboxes().clear();
        // A resolver thread that hangs must not keep the command.
        runtime.shutdown_background();
        result
    }
}
