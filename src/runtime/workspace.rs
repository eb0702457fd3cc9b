//! One tenant: its store, its connections, and what is made for them while the process lives.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::{AppError, Engine, Session, live_route, new_runtime, shutdown};
use crate::error::Result;
use crate::http::{self, Route};
use crate::model::{Connection, ConnectionId, ConnectionMode, ConnectionName, WorkspaceName, connect_command};
use crate::near::closest;
use crate::notify::Notification;
use crate::sandbox;
use crate::store::Store;
use crate::vault::{IdentityLocation, IfAbsent, OpenVault};

/// A workspace of an engine. Operations share it: every part may be used from several threads.
pub struct Workspace {
    pub engine: Arc<Engine>,
    pub name: WorkspaceName,
    /// The project's file that chose the workspace, if one did.
    pub chosen_by: Option<PathBuf>,
    vault: OnceLock<Arc<OpenVault>>,
    /// The emulators that run for its sandbox connections, by connector and parameters.
    sandboxes: Mutex<HashMap<String, sandbox::RunningEmulator>>,
    rate_limiters: Mutex<HashMap<ConnectionId, Arc<http::RateLimiter>>>,
}

impl Workspace {
    pub fn new(engine: Arc<Engine>, name: WorkspaceName) -> Self {
        Self {
            engine,
            name,
            chosen_by: None,
            vault: OnceLock::new(),
            sandboxes: Mutex::default(),
            rate_limiters: Mutex::default(),
        }
    }

    /// Returns where something was looked for, to go on a message that it is not there: nothing for the default workspace,
    /// else its name, and the file that chose it.
    pub fn workspace_note(&self) -> String {
        match &self.chosen_by {
            Some(file) => format!(" in workspace {}, which {} chooses", self.name, file.display()),
            None if self.name == WorkspaceName::default() => String::new(),
            None => format!(" in workspace {}", self.name),
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
        Ok(&self.open(IfAbsent::Create { now: self.engine.clock.now() })?.store)
    }

    fn open(&self, absent: IfAbsent) -> Result<&Arc<OpenVault>> {
        if let Some(opened) = self.vault.get() {
            return Ok(opened);
        }
        let opened = self.engine.vault_opener().open(&self.engine.folders.workspace(&self.name), absent)?;
        Ok(self.vault.get_or_init(|| Arc::new(opened)))
    }

    /// The open vault itself, for what outlives a borrow of this.
    ///
    /// # Errors
    /// The vault's error.
    pub fn open_vault(&self) -> Result<Arc<OpenVault>> {
        Ok(Arc::clone(self.open(IfAbsent::Fail)?))
    }

    /// Whether this workspace has a vault at all: a fresh home has none, and that is no failure for commands that list.
    pub fn has_vault(&self) -> bool {
        self.vault.get().is_some() || self.engine.folders.workspace(&self.name).exists()
    }

    /// Where the identity was put, if this process made it: something to say once.
    pub fn new_identity_location(&self) -> Option<IdentityLocation> {
        let own = self.vault.get().and_then(|opened| opened.new_identity_location);
        own.or_else(|| self.engine.new_identity_location())
    }

    /// # Errors
    /// [`AppError::ConnectionNotFound`] with the likely one.
    pub fn connection(&self, name: &ConnectionName) -> Result<Connection> {
        let unknown = |likely, mode| {
            // There may be no such connector either.
            let known = self.engine.catalogue.get(name.connector()).is_ok();
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
        let connector = self.engine.catalogue.get(connection.name.connector())?;
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

    pub(super) fn sandboxes(&self) -> MutexGuard<'_, HashMap<String, sandbox::RunningEmulator>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to tell the user's hooks of every connection that broke or works again since the last call. Nothing is
    /// waited for, but inside [`Self::run`], at its end. To be called with no lock held that a hook may want.
    pub fn send_notifications(&self) {
        let Some(opened) = self.vault.get() else { return };
        for changed in opened.store.drain_transitions() {
            self.engine.notifier.notify(Notification::new(&changed, &self.name, self.engine.clock.now()));
        }
    }

    /// Begins to tell the user's hooks of something; waited for as in [`Self::send_notifications`].
    pub fn notify(&self, notice: Notification) {
        self.engine.notifier.notify(notice);
    }

    /// Runs what needs the network, on a runtime that is started for it and ends with it.
    ///
    /// # Errors
    /// The error of the work itself, or [`AppError::Runtime`].
    pub fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = new_runtime().map_err(|source| AppError::Runtime { source })?;
        let result = runtime.block_on(async {
            tokio::spawn(shutdown::forward_signals(self.engine.shutdown.clone()));
            // The task registers its handlers before anything is begun, so that an early Ctrl-C counts.
            tokio::task::yield_now().await;
            let result = tokio::select! {
                result = work => result,
                () = self.engine.shutdown.ready() => Err(AppError::Interrupted.into()),
            };
            self.send_notifications();
            self.engine.notifier.finish(self.engine.shutdown.requested_again()).await;
            result
        });
        // The sandboxes' tasks live on this runtime.
        self.sandboxes().clear();
        // A resolver thread that hangs must not keep the command.
        runtime.shutdown_background();
        result
    }
}
