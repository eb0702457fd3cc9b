//! What every command is given: settings, the vault, the catalogue, the network, the clock.
//!
//! Each part is made when it is first needed: a command that reads one token opens one store, parses no connector and
//! starts no runtime.

mod emulated;
mod reach;
mod session;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use thiserror::Error;

pub use emulated::state_key;
pub use reach::{live_route, typed_route};
pub use session::{Session, SessionError, values};

use crate::clock::Clock;
use crate::config::{Config, Folders};
use crate::connector::Catalogue;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::http::{self, Route};
use crate::model::{Connection, ConnectionId, ConnectionName, Mode, WorkspaceName, connect_command};
use crate::near::near;
use crate::notify::{Notice, Notifier};
use crate::sandbox;
use crate::store::Store;
use crate::vault::{self, Access, Custodian, IfAbsent, Keyring, Opened, PassphraseSource};

/// Everything a command works with, of one workspace.
pub struct App {
    pub folders: Folders,
    pub config: Config,
    pub workspace: WorkspaceName,
    /// The project's file that chose the workspace, if one did.
    pub chosen_by: Option<PathBuf>,
    pub clock: Clock,
    pub catalogue: Catalogue,
    pub http: http::Client,
    notifier: Notifier,
    passphrase: Box<dyn PassphraseSource + Send + Sync>,
    opened: OnceLock<Arc<Opened>>,
    global: OnceLock<Arc<Opened>>,
    sandboxes: Mutex<HashMap<String, sandbox::Running>>,
    paces: Mutex<HashMap<ConnectionId, Arc<http::Pace>>>,
}

/// What a command asks for that is not there.
#[derive(Debug, Error)]
pub enum AppError {
    /// `place` is as [`App::place`] says it.
    #[error("there is no connection {name}{place}")]
    NoConnection { name: ConnectionName, place: String, likely: Option<String>, connect: Option<String> },
    #[error("the vault of the apps for all workspaces cannot be opened")]
    NoGlobal,
    #[error("the runtime cannot be started")]
    Runtime { source: std::io::Error },
    #[error("the sandbox cannot be started")]
    Sandbox { source: std::io::Error },
    #[error("the sandbox cannot be started")]
    Port { source: http::loopback::BindError },
}

impl Remedy for AppError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoConnection { name, likely, connect, .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_connection").connection(name).hint(match (likely, connect) {
                    (Some(likely), _) => {
                        Hint::new(format!("did you mean {likely}? list the connections:"), "integ status")
                    }
                    (None, Some(connect)) => Hint::run(connect),
                    (None, None) => Hint::new("list the connections:", "integ status"),
                })
            }
            Self::NoGlobal => Diagnostic::new(Kind::Failed, "no_global_vault"),
            Self::Runtime { .. } => {
                Diagnostic::new(Kind::Failed, "runtime").maybe_hint(cfg!(unix).then(|| Hint::run("ulimit -n 256")))
            }
            Self::Sandbox { .. } => Diagnostic::new(Kind::Failed, "sandbox"),
            Self::Port { .. } => Diagnostic::new(Kind::Failed, "port_taken")
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
            http: http::Client::new(config.http.timeout).reading(config.http.largest_answer),
            notifier: Notifier::new(&config),
            folders,
            config,
            workspace,
            chosen_by: None,
            clock: Clock::system(),
            passphrase,
            opened: OnceLock::new(),
            global: OnceLock::new(),
            sandboxes: Mutex::new(HashMap::new()),
            paces: Mutex::new(HashMap::new()),
        }
    }

    /// Returns where something was looked for, to go on a message that it is not there: nothing for the default workspace,
    /// else its name, and the file that chose it.
    pub fn place(&self) -> String {
        match &self.chosen_by {
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

    fn open(&self, absent: IfAbsent) -> Result<&Arc<Opened>> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = self.access().open(&self.folders.workspace(&self.workspace), absent)?;
        Ok(self.opened.get_or_init(|| Arc::new(opened)))
    }

    /// Where the identity was put, if this command made it: something to say once.
    pub fn identity_made(&self) -> Option<vault::Custody> {
        let global = self.global.get();
        self.opened.get().into_iter().chain(global).find_map(|opened| opened.identity_made)
    }

    /// Whether this workspace has a vault at all: a fresh home has none, and that is no failure for commands that list.
    pub fn has_vault(&self) -> bool {
        self.opened.get().is_some() || self.folders.workspace(&self.workspace).exists()
    }

    /// What it takes to get at vaults, for the commands that manage them.
    pub fn access(&self) -> Access<'_> {
        Access::new(&self.folders, &self.config.vault, &*self.passphrase)
    }

    /// Who keeps the secrets of connections.
    pub fn custodian(&self) -> Custodian {
        Custodian::new(Keyring::default().attended_if(self.passphrase.is_attended()), self.config.vault.tokens)
    }

    /// The store of the apps that every workspace may use; absent where there is none.
    ///
    /// # Errors
    /// The vault's error.
    pub fn global_store(&self) -> Result<Option<&Store>> {
        if self.global.get().is_none() && !self.folders.global().exists() {
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
        if self.global.get().is_none() {
            let opened = self.access().open(&self.folders.global(), absent)?;
            let _ = self.global.set(Arc::new(opened));
        }
        self.global.get().map(|opened| &opened.store).ok_or_else(|| AppError::NoGlobal.into())
    }

    /// # Errors
    /// [`AppError::NoConnection`] with the likely one.
    pub fn connection(&self, name: &ConnectionName) -> Result<Connection> {
        let unknown = |likely, mode| {
            // There may be no such connector either.
            let known = self.catalogue.get(name.connector()).is_ok();
            let connect = known.then(|| connect_command(name, mode, None));
            AppError::NoConnection { name: name.clone(), place: self.place(), likely, connect }
        };
        if !self.has_vault() {
            return Err(unknown(None, Mode::Live).into());
        }
        let connections = self.store()?.connections();
        if let Some(connection) = connections.find(name)? {
            return Ok(connection);
        }
        let wanted = name.to_string();
        let all = connections.list()?;
        let names: Vec<String> = all.iter().map(|known| known.name.to_string()).collect();
        // Somebody who works in the sandbox alone is not led to a real service.
        let is_sandbox = !all.is_empty() && all.iter().all(|known| known.mode == Mode::Sandbox);
        let mode = if is_sandbox { Mode::Sandbox } else { Mode::Live };
        Err(unknown(near(&wanted, names.iter().map(String::as_str)).map(str::to_owned), mode).into())
    }

    /// A connection with what is needed to use it. Must be called inside the runtime where it may be a sandbox's.
    ///
    /// # Errors
    /// Unknown connectors or ways of authenticating, and whatever stops a sandbox from starting.
    pub fn session(&self, connection: Connection) -> Result<Session> {
        let connector = self.catalogue.get(connection.name.connector())?;
        let (_, auth) = connector.auth(Some(&connection.auth))?;
        let auth = auth.clone();
        let route = match (&connection.origin, connection.mode) {
            (_, Mode::Sandbox) => self.sandbox_route(&connector, &connection.auth, &connection.params)?,
            (Some(origin), Mode::Live) => Route::Origin(origin.clone()),
            (None, Mode::Live) => live_route(&connector, &connection.auth, &auth, &connection.params),
        };
        Ok(Session { connection, connector, auth, route })
    }

    /// How fast this process may ask for a connection.
    pub fn pace(&self, session: &Session) -> Arc<http::Pace> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        // The sandbox is this machine's, and no vendor's limit is used up by it.
        let budget = session.connector.rate.budget.filter(|_| session.connection.mode == Mode::Live);
        let new = || Arc::new(http::Pace::new(budget));
        Arc::clone(paces.entry(session.connection.id).or_insert_with(new))
    }

    /// The open vault itself, for what outlives a borrow of this.
    ///
    /// # Errors
    /// The vault's error.
    pub fn opened(&self) -> Result<Arc<Opened>> {
        Ok(Arc::clone(self.open(IfAbsent::Fail)?))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, sandbox::Running>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to tell the user's hooks of every connection that broke or works again since the last call. Nothing is
    /// waited for, but inside [`Self::run`], at its end. To be called with no lock held that a hook may want.
    pub fn announce(&self) {
        let Some(opened) = self.opened.get() else { return };
        for changed in opened.store.take_changes() {
            self.notifier.tell(Notice::new(&changed, &self.workspace, self.clock.now()));
        }
    }

    /// Begins to tell the user's hooks of something; waited for as in [`Self::announce`].
    pub fn tell(&self, notice: Notice) {
        self.notifier.tell(notice);
    }

    /// Runs what needs the network, on a runtime that is started for it and ends with it.
    ///
    /// # Errors
    /// The error of the work itself, or [`AppError::Runtime`].
    pub fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = new_runtime().map_err(|source| AppError::Runtime { source })?;
        let result = runtime.block_on(async {
            let result = work.await;
            self.announce();
            self.notifier.finish().await;
            result
        });
        // The sandboxes' tasks live on this runtime.
        self.running().clear();
        // A resolver thread that hangs must not keep the command.
        runtime.shutdown_background();
        result
    }
}
