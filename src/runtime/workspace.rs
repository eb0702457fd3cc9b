//! A tenant: its store, its connections, and their state in this process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::open_store::OpenStore;
use super::sandbox_pages::SandboxPageTable;
use super::{Engine, LockGuard, ProcessMetrics, RuntimeError, Session, live_route, new_runtime, shutdown};
use crate::clock::Clock;
use crate::connector::Catalogue;
use crate::env;
use crate::error::{Error, Result};
use crate::http::{self, Route};
use crate::model::{
    Connection, ConnectionAccess, ConnectionId, ConnectionMode, ConnectionName, ConnectionTransition, Grant,
    Notification, UserId, WorkspaceName, connect_command,
};
use crate::near::closest;
use crate::sandbox;
use crate::store::{LockKey, PendingAudit, SqliteStore, Store, StoreDetails};
use crate::task::blocking;
use crate::vault::{BackupKey, IdentityLocation, IfAbsent, UnlockedVault};

/// How long the end of a command waits for blocking work that was cut off. A read of the store takes milliseconds and must
/// end first: libcrypto frees its locks when the process exits, and a thread that decrypts a page then would crash it. A
/// name that cannot be resolved, or a keyring that hangs, must not keep the command.
const BLOCKING_TIMEOUT: Duration = Duration::from_millis(500);

/// A workspace of an engine, shared by operations. Every part can be used from several threads.
pub struct Workspace {
    pub engine: Arc<Engine>,
    pub name: WorkspaceName,
    /// Shows the time of the machine that has the workspace's store, once that is open.
    pub clock: Clock,
    /// The project's file that chose the workspace, if one did.
    pub chosen_by: Option<PathBuf>,
    /// The connections that operations on this value may use and see.
    access: ConnectionAccess,
    state: Arc<WorkspaceState>,
}

/// What a workspace has once in a process, however many callers with different access use it.
#[derive(Default)]
struct WorkspaceState {
    opened: OnceCell<OpenStore>,
    /// The emulators that run for its sandbox connections, by connector and parameters.
    sandboxes: Mutex<HashMap<String, sandbox::RunningEmulator>>,
    sandbox_pages: SandboxPageTable,
    rate_limiters: Mutex<HashMap<ConnectionId, Arc<http::RateLimiter>>>,
    metrics: Arc<ProcessMetrics>,
    handles_events: AtomicBool,
}

impl Workspace {
    /// Creates a workspace. Its vault need not exist, and is opened on first use.
    pub fn new(engine: Arc<Engine>, name: WorkspaceName) -> Self {
        let clock = engine.clock.detached();
        Self { engine, name, clock, chosen_by: None, access: ConnectionAccess::All, state: Arc::default() }
    }

    /// Creates a workspace in this store, without a vault.
    pub fn with_store(engine: Arc<Engine>, name: WorkspaceName, store: Arc<dyn Store>) -> Self {
        let opened = OnceCell::new_with(Some(OpenStore::of_caller(store)));
        let state = Arc::new(WorkspaceState { opened, ..WorkspaceState::default() });
        Self { state, ..Self::new(engine, name) }
    }

    /// Returns the same workspace for a caller who may use only these connections. To that caller, others do not exist.
    #[must_use]
    pub fn limited_to(&self, access: ConnectionAccess) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            name: self.name.clone(),
            clock: self.clock.clone(),
            chosen_by: self.chosen_by.clone(),
            access,
            state: Arc::clone(&self.state),
        }
    }

    /// Returns the connections that operations may use.
    pub fn access(&self) -> &ConnectionAccess {
        &self.access
    }

    /// Returns where something was not found, for error messages: nothing for the default workspace, otherwise its name
    /// and the file that chose it, or the variables that replace a workspace.
    pub fn workspace_note(&self) -> String {
        if let Some(environment) = &self.engine.environment {
            return format!(" in {}", environment.variables().join(", "));
        }
        match &self.chosen_by {
            Some(file) => format!(" in workspace {}, which {} chooses", self.name, file.display()),
            None if self.name == WorkspaceName::default() => String::new(),
            None => format!(" in workspace {}", self.name),
        }
    }

    /// Returns the workspace's store.
    ///
    /// # Errors
    /// The vault's, also where the workspace has none.
    pub async fn store(&self) -> Result<&dyn Store> {
        Ok(self.open(IfAbsent::Fail).await?.store())
    }

    /// Returns the workspace's store; creates it if there is none.
    ///
    /// # Errors
    /// The vault's.
    pub async fn store_or_new(&self) -> Result<&dyn Store> {
        Ok(self.open(IfAbsent::Create { now: self.clock.now() }).await?.store())
    }

    /// Returns the workspace's store, for work that outlives a borrow of the workspace.
    ///
    /// # Errors
    /// The vault's.
    pub async fn shared_store(&self) -> Result<Arc<dyn Store>> {
        Ok(self.open(IfAbsent::Fail).await?.shared())
    }

    /// Returns the backend of the workspace's store.
    ///
    /// # Errors
    /// The vault's.
    pub async fn store_details(&self) -> Result<StoreDetails> {
        self.open(IfAbsent::Fail).await?.details().await
    }

    /// Makes a backup of the workspace's store, with the grants that are in the OS keyring.
    ///
    /// # Errors
    /// The vault's; [`RuntimeError::NoVault`] if the store is part of no vault.
    pub async fn back_up(&self, keyring_grants: Vec<(ConnectionId, u64, Grant)>, key: BackupKey) -> Result<Vec<u8>> {
        self.open(IfAbsent::Fail).await?.back_up(keyring_grants, key, self.clock.now()).await
    }

    async fn open(&self, absent: IfAbsent) -> Result<&OpenStore> {
        let folder = self.folder();
        let open = || async {
            if let Some(environment) = self.engine.environment.clone() {
                let engine = Arc::clone(&self.engine);
                let opened = blocking(move || engine.open_environment(&environment)).await?;
                return Ok::<_, Error>(OpenStore::from(opened));
            }
            self.engine.open_store(folder, absent).await
        };
        let opened = self.state.opened.get_or_try_init(open).await?;
        opened.store().attach_clock(&self.clock);
        if let (Some(audit), None) = (&self.engine.audit, &self.engine.environment) {
            opened.store().attach_audit(Arc::clone(audit));
        }
        Ok(opened)
    }

    /// Names a connection in the audit entry of the operation that runs.
    pub fn note_connection(&self, connection: &Connection) {
        if let Some(audit) = self.audit_entry() {
            audit.add_connection(&connection.name, connection.user.as_ref());
        }
    }

    /// Returns the audit entry of the operation that runs: the process's, or the task's.
    pub fn audit_entry(&self) -> Option<Arc<PendingAudit>> {
        PendingAudit::current().or_else(|| self.engine.audit.clone())
    }

    /// Returns the store of the workspace's vault if it is a file. It blocks and needs no runtime, for reads that start none.
    ///
    /// # Errors
    /// The vault's.
    pub fn file_store_blocking(&self) -> Result<Option<Arc<SqliteStore>>> {
        if let Some(opened) = self.state.opened.get() {
            return Ok(opened.file_store());
        }
        let opened = match &self.engine.environment {
            Some(environment) => OpenStore::from(self.engine.open_environment(environment)?),
            None => match self.engine.vault_opener().unlock_vault(&self.folder(), IfAbsent::Fail)? {
                UnlockedVault::File(opened) => OpenStore::from(opened),
                UnlockedVault::Postgres(_) | UnlockedVault::NewPostgres(_) => return Ok(None),
            },
        };
        let store = opened.file_store();
        // Another thread may have been faster; both have opened the same store.
        let _ = self.state.opened.set(opened);
        Ok(store)
    }

    /// Returns the connectors of the machine, and those that callers of the workspace's API installed.
    pub fn catalogue(&self) -> Catalogue {
        self.engine.catalogue.of_workspace(self.name.as_str())
    }

    /// The folder of the workspace's vault.
    pub fn folder(&self) -> PathBuf {
        self.engine.folders.workspace(&self.name)
    }

    /// Acquires a lock; `None` if it is held.
    ///
    /// # Errors
    /// The vault's.
    pub async fn try_lock(&self, key: LockKey) -> Result<Option<LockGuard>> {
        Ok(LockGuard::try_acquire(self.shared_store().await?, &self.engine, key).await?)
    }

    /// Returns whether a lock is held.
    ///
    /// # Errors
    /// The vault's.
    pub async fn is_locked(&self, key: LockKey) -> Result<bool> {
        Ok(self.store().await?.locks().is_held(key, self.clock.now_millis()).await?)
    }

    /// Returns whether this process has opened the workspace's store.
    pub fn is_open(&self) -> bool {
        self.state.opened.initialized()
    }

    /// Returns whether this workspace has a vault. A new home has none, which is not an error for commands that list.
    pub fn has_vault(&self) -> bool {
        self.state.opened.initialized() || self.engine.environment.is_some() || self.folder().exists()
    }

    /// Returns where the identity is stored, if this process created it.
    pub fn new_identity_location(&self) -> Option<IdentityLocation> {
        let own = self.state.opened.get().and_then(OpenStore::new_identity_location);
        own.or_else(|| self.engine.new_identity_location())
    }

    /// Returns the connection of this name.
    ///
    /// # Errors
    /// [`RuntimeError::ConnectionNotFound`] with the likely one.
    pub async fn connection(&self, name: &ConnectionName) -> Result<Connection> {
        let unknown = |likely, mode| {
            // There may be no such connector either, and what the environment lacks is not connected here.
            let known = self.engine.environment.is_none() && self.catalogue().get(name.connector()).is_ok();
            let connect = known.then(|| connect_command(name, mode, None));
            RuntimeError::ConnectionNotFound {
                name: name.clone(),
                workspace_note: self.workspace_note(),
                suggestion: likely,
                connect,
                is_inside_exec: env::var_os(&env::EXPORTED).is_some() && self.engine.environment.is_none(),
            }
        };
        if !self.has_vault() {
            return Err(unknown(None, ConnectionMode::Live).into());
        }
        let found = self.store().await?.connections().find(name).await?;
        if let Some(connection) = found.filter(|found| self.access.allows(found.id)) {
            self.note_connection(&connection);
            return Ok(connection);
        }
        let wanted = name.to_string();
        let all = self.connections().await?;
        let names: Vec<String> = all.iter().map(|known| known.name.to_string()).collect();
        // Somebody who works in the sandbox alone is not led to a real service.
        let is_sandbox = !all.is_empty() && all.iter().all(|known| known.mode == ConnectionMode::Sandbox);
        let mode = if is_sandbox { ConnectionMode::Sandbox } else { ConnectionMode::Live };
        Err(unknown(closest(&wanted, names.iter().map(String::as_str)).map(str::to_owned), mode).into())
    }

    /// Returns the connections that the caller may use, sorted by name; none if the workspace has no vault yet.
    ///
    /// # Errors
    /// The vault's.
    pub async fn connections(&self) -> Result<Vec<Connection>> {
        if !self.has_vault() {
            return Ok(Vec::new());
        }
        let mut connections = self.store().await?.connections().list().await?;
        connections.retain(|connection| self.access.allows(connection.id));
        Ok(connections)
    }

    /// Returns the names of the connections that the caller may use, sorted; none if the workspace has no vault yet.
    ///
    /// # Errors
    /// The vault's.
    pub async fn connection_names(&self) -> Result<Vec<ConnectionName>> {
        if self.access != ConnectionAccess::All {
            return Ok(self.connections().await?.into_iter().map(|connection| connection.name).collect());
        }
        if !self.has_vault() {
            return Ok(Vec::new());
        }
        Ok(self.store().await?.connections().names().await?)
    }

    /// Returns the queries of a list: one over every connection (`None`), or one for each that is meant. Those are the
    /// connection of this name, those of a user, and those that the caller may use. No query if the workspace has no vault
    /// yet.
    ///
    /// # Errors
    /// Those of [`Self::connection`].
    pub async fn listed(
        &self,
        name: Option<&ConnectionName>,
        user: Option<&UserId>,
    ) -> Result<Vec<Option<ConnectionId>>> {
        let connections = match name {
            Some(name) => vec![self.connection(name).await?],
            None if !self.has_vault() => return Ok(Vec::new()),
            None if user.is_none() && self.access == ConnectionAccess::All => return Ok(vec![None]),
            None => self.connections().await?,
        };
        let is_meant = |connection: &&Connection| user.is_none() || connection.user.as_ref() == user;
        Ok(connections.iter().filter(is_meant).map(|connection| Some(connection.id)).collect())
    }

    /// Returns the id of a connection that a list is limited to; `None` if it is not limited.
    ///
    /// # Errors
    /// Those of [`Self::connection`].
    pub async fn connection_id(&self, name: Option<&ConnectionName>) -> Result<Option<ConnectionId>> {
        match name {
            Some(name) => Ok(Some(self.connection(name).await?.id)),
            None => Ok(None),
        }
    }

    /// Returns a connection with what is needed to use it. For sandbox connections, must be called inside the runtime.
    ///
    /// # Errors
    /// Unknown connectors or authentication methods, and errors that keep a sandbox from starting.
    pub async fn session(&self, connection: Connection) -> Result<Session> {
        let connector = self.catalogue().get(connection.name.connector())?;
        let (_, auth) = connector.auth_method(Some(&connection.auth))?;
        let auth = auth.clone();
        let route = match (&connection.origin, connection.mode) {
            (_, ConnectionMode::Sandbox) => {
                // Boxed, so that every operation on a live connection need not hold what starts an emulator.
                let account = connection.name.account();
                Box::pin(self.sandbox_route(&connector, &connection.auth, account, &connection.params)).await?
            }
            (Some(origin), ConnectionMode::Live) => Route::Origin(origin.clone()),
            (None, ConnectionMode::Live) => {
                let source = self.engine.param_source(connection.is_guarded());
                live_route(&connector, &connection.auth, &auth, &connection.params, source)
            }
        };
        Ok(Session { connection, connector, auth, route })
    }

    /// Whether this process handles received events. Otherwise they wait for another program, for as long as it likes.
    pub fn handles_events(&self) -> bool {
        self.state.handles_events.load(Ordering::Relaxed)
    }

    /// Sets whether this process handles received events.
    pub fn set_handles_events(&self, handles_events: bool) {
        self.state.handles_events.store(handles_events, Ordering::Relaxed);
    }

    /// Returns the counters of what this process does for the workspace.
    pub fn metrics(&self) -> &Arc<ProcessMetrics> {
        &self.state.metrics
    }

    /// Returns the rate limiter of a connection.
    pub fn rate_limiter(&self, session: &Session) -> Arc<http::RateLimiter> {
        let mut paces = self.state.rate_limiters.lock().unwrap_or_else(PoisonError::into_inner);
        // The sandbox is this machine's, and no vendor's limit is used up by it.
        let budget = session.connector.rate.budget.filter(|_| session.connection.mode == ConnectionMode::Live);
        let new = || Arc::new(http::RateLimiter::new(budget));
        Arc::clone(paces.entry(session.connection.id).or_insert_with(new))
    }

    pub(super) fn sandbox_pages(&self) -> &SandboxPageTable {
        &self.state.sandbox_pages
    }

    pub(super) fn sandboxes(&self) -> MutexGuard<'_, HashMap<String, sandbox::RunningEmulator>> {
        self.state.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to notify the user's hooks, and returns immediately; [`Self::run`] waits for them at its end.
    pub fn notify(&self, notification: Notification) {
        self.engine.notifier.notify(notification);
    }

    /// Begins to notify the user's hooks that a connection broke or recovered, if it did.
    pub fn notify_transition(&self, transition: Option<ConnectionTransition>) {
        if let Some(transition) = transition {
            self.notify(Notification::new(&transition, &self.name, self.clock.now()));
        }
    }

    /// Runs work that needs the network on a new runtime. It is dropped when a stop is requested and nothing defers it.
    ///
    /// # Errors
    /// The error of the work itself, [`RuntimeError::Interrupted`] or [`RuntimeError::Runtime`].
    pub fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.run_to_end(async {
            tokio::select! {
                result = work => result,
                () = self.engine.shutdown.ready() => Err(RuntimeError::Interrupted.into()),
            }
        })
    }

    /// Runs work that ends by itself once [`Shutdown::requested`](super::Shutdown::requested) resolves.
    ///
    /// # Errors
    /// The error of the work itself, or [`RuntimeError::Runtime`].
    pub fn run_to_end<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = new_runtime().map_err(|source| RuntimeError::Runtime { source })?;
        let result = runtime.block_on(async {
            tokio::spawn(shutdown::forward_signals(self.engine.shutdown.clone()));
            // The task registers its handlers before anything is begun, so that an early Ctrl-C counts.
            tokio::task::yield_now().await;
            let result = work.await;
            self.engine.notifier.finish(Box::pin(self.engine.shutdown.requested_again())).await;
            // Locks that are still being released would stay taken until they expire.
            self.engine.shutdown.released().await;
            result
        });
        // The sandboxes' tasks live on this runtime.
        self.sandboxes().clear();
        runtime.shutdown_timeout(BLOCKING_TIMEOUT);
        result
    }
}
