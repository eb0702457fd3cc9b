//! A second implementation of the store's traits, in PostgreSQL, and what both must do: locks, grants, and one refresh of
//! many processes. It exists for the tests alone, and shows that nothing above the traits depends on SQLite.

mod absent;
mod connections;
mod grant_contract;
mod grants;
mod guards;
mod lock_contract;
mod locks;
mod refresh;
mod server;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use integ::clock::Timestamp;
use integ::config::{Config, Folders, IdentityStorage};
use integ::model::{
    ClientCredentials, Connection, ConnectionMode, Grant, NewConnection, Notification, RefreshMethod, SecretStorage,
    WorkspaceName,
};
use integ::runtime::{BoxFuture, Engine, Notify, Workspace};
use integ::secret::Secret;
use integ::store::Store;
use integ::vault::{PassphrasePrompt, PassphraseSource};
use store::PostgresStore;

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
    Postgres { schema: String },
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
        let server = server::server()?;
        let schema = new_schema();
        let stores = (0..HANDLES).map(|index| PostgresStore::new(server.clone(), &schema, &format!("handle {index}")));
        let stores: Vec<_> = stores.collect();
        stores[0].create().await.unwrap();
        let handles = stores.into_iter().map(|store| Arc::new(store) as Arc<dyn Store>).collect();
        Some(Self { name: "PostgreSQL", handles, home: Home::new(), kind: SubjectKind::Postgres { schema } })
    }

    fn store(&self) -> &dyn Store {
        &*self.handles[0]
    }

    /// As another process has the store.
    fn other(&self) -> &dyn Store {
        &*self.handles[1]
    }

    /// A workspace that is kept in the store, as a process of its own has it.
    fn workspace(&self) -> Workspace {
        let (engine, name) = (engine(self.home.path()), WorkspaceName::default());
        match &self.kind {
            SubjectKind::Sqlite => Workspace::new(engine, name),
            SubjectKind::Postgres { schema } => {
                let store = PostgresStore::new(server::server().unwrap(), schema, "workspace");
                Workspace::with_store(engine, name, Arc::new(store))
            }
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

/// Runs a contract on both stores, each with new data.
#[expect(clippy::needless_pass_by_value, reason = "a contract is written where it is run")]
fn on_both_stores(contract: impl AsyncFn(&Subject)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        contract(&Subject::sqlite().await).await;
        if let Some(subject) = Subject::postgres().await {
            contract(&subject).await;
        }
    });
}

/// The name of a schema that no other test has.
fn new_schema() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("integ_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The engine of a process with this home.
fn engine(home: &Path) -> Arc<Engine> {
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
