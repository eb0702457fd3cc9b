//! What both stores must do: SQLite's, and that in PostgreSQL; and what is the latter's alone.

mod barriers;
mod checks;
mod clocks;
mod contracts;
pub mod databases;
mod grant_contract;
mod guards;
mod insertions;
mod lock_contract;
mod moving;
mod partitions;
mod pooler;
mod refresh;
mod rekey;
mod server;
mod transfer;
pub mod workspaces;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use integ::clock::Timestamp;
use integ::config::{Config, Folders, IdentityStorage};
use integ::model::{
    ClientCredentials, Connection, ConnectionId, ConnectionMode, EventVerification, Grant, InboundDelivery,
    NewConnection, NewEvent, Notification, RefreshMethod, SecretStorage, WorkspaceName,
};
use integ::runtime::{BoxFuture, Engine, Notify, Workspace};
use integ::secret::Secret;
use integ::store::{PostgresServer, PostgresStore, Store, StoreKey};
use integ::vault::{PassphrasePrompt, PassphraseSource};

use crate::harness::Home;

/// As many processes as a contract is tried with; each has a store of its own.
const HANDLES: usize = 8;

/// A store, as several processes have it.
struct Subject {
    name: &'static str,
    handles: Vec<Arc<dyn Store>>,
    home: Home,
    kind: SubjectKind,
}

enum SubjectKind {
    Sqlite,
    Postgres(Box<PostgresWorkspace>),
}

/// A workspace in the tests' server, as nodes reach it.
struct PostgresWorkspace {
    server: PostgresServer,
    id: String,
    key: StoreKey,
}

impl PostgresWorkspace {
    /// Creates a workspace as the owner of the schema; `None` where PostgreSQL is not installed.
    async fn create() -> Option<Self> {
        let owner = PostgresServer::new(server::server()?).unwrap();
        let key = StoreKey::random();
        let store = PostgresStore::create(&owner, &PostgresStore::random_id(), &key, at(1_700_000_000)).await.unwrap();
        server::create_node_role().await;
        let node = PostgresServer::new(server::node(&server::server()?)).unwrap();
        Some(Self { server: node, id: store.id().to_owned(), key })
    }

    /// Opens it as another process does, with a node's rights.
    async fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.server, &self.id, &self.key).await.unwrap()
    }

    /// Makes every token one that expired a day ago, as if time had passed.
    async fn expire_tokens(&self) {
        let sql = "UPDATE integ.grants SET issued_at = issued_at - 86400 - (expires_at - issued_at),
                       expires_at = issued_at - 86400 WHERE workspace_id = ";
        server::owner().await.batch_execute(&format!("{sql}{}", self.number())).await.unwrap();
    }

    /// Its number in the tables.
    fn number(&self) -> i64 {
        i64::from_str_radix(&self.id, 16).unwrap()
    }
}

impl Subject {
    async fn sqlite() -> Self {
        let home = Home::new();
        let mut handles = Vec::new();
        for _ in 0..HANDLES {
            let workspace = Workspace::new(engine(home.path()), WorkspaceName::default());
            workspace.store_or_new().await.unwrap();
            handles.push(workspace.shared_store().await.unwrap());
        }
        Self { name: "SQLite", handles, home, kind: SubjectKind::Sqlite }
    }

    /// `None` where PostgreSQL is not installed.
    async fn postgres() -> Option<Self> {
        let workspace = PostgresWorkspace::create().await?;
        let mut handles = Vec::new();
        for _ in 0..HANDLES {
            handles.push(Arc::new(workspace.open().await) as Arc<dyn Store>);
        }
        Some(Self { name: "PostgreSQL", handles, home: Home::new(), kind: SubjectKind::Postgres(Box::new(workspace)) })
    }

    fn store(&self) -> &dyn Store {
        &*self.handles[0]
    }

    /// As another process has the store.
    fn other(&self) -> &dyn Store {
        &*self.handles[1]
    }

    /// A workspace that is in the store, as a process of its own has it.
    async fn workspace(&self) -> Workspace {
        let (engine, name) = (engine(self.home.path()), WorkspaceName::default());
        match &self.kind {
            SubjectKind::Sqlite => Workspace::new(engine, name),
            SubjectKind::Postgres(workspace) => Workspace::with_store(engine, name, Arc::new(workspace.open().await)),
        }
    }

    /// Ends all leases, as if nobody had renewed them for a minute.
    async fn expire_leases(&self) {
        if let SubjectKind::Postgres(workspace) = &self.kind {
            let sql = format!("UPDATE integ.locks SET expires_at = 1 WHERE workspace_id = {}", workspace.number());
            server::owner().await.batch_execute(&sql).await.unwrap();
        }
    }

    /// The folder of the files that processes of this machine lock, if there is one.
    fn lock_files(&self) -> Option<PathBuf> {
        matches!(self.kind, SubjectKind::Sqlite).then(|| self.home.workspace().join("locks"))
    }

    /// Stores a connection with a grant.
    async fn connect(&self, name: &str) -> Connection {
        let new = new_connection(name, ConnectionMode::Live);
        self.store().connections().connect(&new, &grant("first"), SecretStorage::Store).await.unwrap().0
    }
}

/// Whether the tests can start a server.
pub fn is_installed() -> bool {
    server::server().is_some()
}

/// Runs a contract on both stores, each with new data.
#[expect(clippy::needless_pass_by_value, reason = "a contract is written where it is run")]
fn on_both_stores(contract: impl AsyncFn(&Subject)) {
    runtime().block_on(async {
        contract(&Subject::sqlite().await).await;
        if let Some(subject) = Subject::postgres().await {
            contract(&subject).await;
        }
    });
}

/// A runtime whose tasks, such as the connections to the server, go on while nobody waits for them.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The engine of a process with this home.
pub fn engine(home: &Path) -> Arc<Engine> {
    let mut config = Config::default();
    config.vault.identity = IdentityStorage::File;
    Arc::new(Engine::new(Folders::under(home), config, Box::new(Nobody), Box::new(Silent)))
}

/// Nobody who could be asked for a passphrase.
struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> std::io::Result<Option<Secret>> {
        Ok(None)
    }
}

/// Hooks of which there are none.
struct Silent;

impl Notify for Silent {
    fn notify(&self, _: Notification) {}

    fn finish<'a>(&'a self, _: BoxFuture<'a, ()>) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn new_connection(name: &str, mode: ConnectionMode) -> NewConnection {
    NewConnection {
        name: name.parse().unwrap(),
        mode,
        auth: "oauth".to_owned(),
        origin: None,
        params: [("tenant".to_owned(), "acme".to_owned())].into(),
        metadata: [("cloud_id".to_owned(), "cloud".to_owned())].into(),
        account: None,
        user: None,
        scopes_requested: vec!["read".to_owned(), "write".to_owned()],
        scopes_granted: None,
        connected_at: at(1_700_000_000),
    }
}

/// An event with an id, and a digest of one byte repeated.
fn new_event(id: &str, digest: u8) -> NewEvent {
    NewEvent {
        delivery_id: id.to_owned(),
        has_delivery_id: true,
        digest: Some([digest; 32]),
        signed_digest: None,
        kind: "push".to_owned(),
        account: Some("acme".to_owned()),
        resource: Some("app".to_owned()),
        actor: None,
        occurred_at: Some(at(1_700_000_001)),
        batch_item: None,
        merged: None,
    }
}

/// A verified request with events, to be handled.
fn new_delivery(connection: ConnectionId, events: Vec<NewEvent>) -> InboundDelivery {
    InboundDelivery {
        connection,
        received_at: at(1_700_000_002),
        headers: vec![("x-event".to_owned(), "push".to_owned())],
        query: "a=1".to_owned(),
        body: b"{\"planted\": \"secret\"}".to_vec(),
        events,
        verification: EventVerification::Verified,
        needs_handling: true,
    }
}

/// A grant whose secrets carry a word.
fn grant(word: &str) -> Grant {
    Grant {
        access_token: format!("access-{word}").as_str().into(),
        refresh_token: Some(format!("refresh-{word}").as_str().into()),
        fields: [("user_token".to_owned(), format!("user-{word}").as_str().into())].into(),
        client: Some(ClientCredentials { id: "client".to_owned(), secret: Some("client secret".into()) }),
        issued_at: at(1_700_000_000),
        expires_at: Some(at(1_700_003_600)),
        refresh_expires_at: None,
        refresh_method: RefreshMethod::RefreshToken,
    }
}
