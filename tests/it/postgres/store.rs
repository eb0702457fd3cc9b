//! Connections, grants and locks in PostgreSQL: what shows that the traits of the store fit a server.
//!
//! Every write is one transaction under PostgreSQL's default isolation. It takes its rows in one order, which is that of
//! the lock, the connection and the grant; each is read `FOR UPDATE`, or compared in the statement that changes it.

use std::error::Error as _;
use std::sync::Arc;

use async_trait::async_trait;
use integ::store::{
    Alerts, ApiTokenTrusts, ApiTokens, Approvals, Apps, AuditLog, Bindings, ConnectLinks, Connections, Consents,
    Endpoints, EntityStates, EventCreations, EventTypes, Events, Figures, Grants, HealthChecks, IdempotencyKeys,
    InstalledConnectors, Jobs, Links, Locks, MalformedValue, Operators, Outbox, PendingAudit, Records, Sandbox,
    Schedules, SignIns, Store, StoreError, Streams, Subscriptions, Users, Webhooks,
};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio_postgres::{Client, Config, NoTls};

const SCHEMA: &str = "
    CREATE TABLE connections (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        connector TEXT NOT NULL,
        account TEXT NOT NULL,
        mode TEXT NOT NULL,
        auth TEXT NOT NULL,
        origin TEXT,
        params TEXT NOT NULL,
        metadata TEXT NOT NULL,
        account_id TEXT,
        account_name TEXT,
        scopes_requested TEXT NOT NULL,
        scopes_granted TEXT,
        grant_status TEXT NOT NULL,
        status_reason TEXT,
        connected_at BIGINT NOT NULL,
        reveal TEXT NOT NULL DEFAULT 'allowed',
        checked_at BIGINT,
        check_passed BOOLEAN,
        check_unauthorized BOOLEAN NOT NULL DEFAULT FALSE,
        error_count BIGINT NOT NULL DEFAULT 0,
        last_error TEXT,
        UNIQUE (connector, account)
    );
    CREATE TABLE grants (
        connection_id BIGINT PRIMARY KEY REFERENCES connections ON DELETE CASCADE,
        secrets TEXT,
        in_keyring BOOLEAN NOT NULL,
        client_id TEXT,
        issued_at BIGINT NOT NULL,
        expires_at BIGINT,
        refresh_expires_at BIGINT,
        refresh_method TEXT NOT NULL,
        generation BIGINT NOT NULL,
        refresh_started_at BIGINT,
        from_backup BOOLEAN NOT NULL DEFAULT FALSE
    );
    CREATE TABLE locks (
        key TEXT PRIMARY KEY,
        holder TEXT NOT NULL,
        fence BIGINT NOT NULL,
        expires_at BIGINT NOT NULL
    );
";

/// A store in a schema of a PostgreSQL database. It connects when it is first used, and again once its connection is lost.
pub struct PostgresStore {
    config: Config,
    schema: String,
    pub(super) holder: String,
    client: Mutex<Option<Client>>,
}

impl PostgresStore {
    /// The store in a schema, as the process or thread `holder` uses it. Nothing is asked of the server.
    pub fn new(mut config: Config, schema: &str, holder: &str) -> Self {
        config.options(format!("-c search_path={schema}"));
        Self { config, schema: schema.to_owned(), holder: holder.to_owned(), client: Mutex::default() }
    }

    /// Creates the schema with its tables.
    ///
    /// # Errors
    /// The server's.
    pub async fn create(&self) -> Result<(), StoreError> {
        let sql = format!("CREATE SCHEMA {}; {SCHEMA}", self.schema);
        self.client().await?.batch_execute(&sql).await.map_err(failed)
    }

    /// Makes every token one that expired a day ago, as if time had passed.
    ///
    /// # Errors
    /// The server's.
    pub async fn expire(&self) -> Result<(), StoreError> {
        let sql = "UPDATE grants SET issued_at = issued_at - 86400 - (expires_at - issued_at),
                       expires_at = issued_at - 86400";
        self.client().await?.batch_execute(sql).await.map_err(failed)
    }

    /// Returns the connection to the server. The others of this process wait until it is dropped: a store for more than
    /// tests would have several.
    pub(super) async fn client(&self) -> Result<MappedMutexGuard<'_, Client>, StoreError> {
        let mut slot = self.client.lock().await;
        let client = match slot.take() {
            Some(client) if !client.is_closed() => client,
            _ => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
                // It ends with the runtime or with the client.
                tokio::spawn(connection);
                client
            }
        };
        *slot = Some(client);
        Ok(MutexGuard::map(slot, |slot| slot.as_mut().unwrap()))
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn id(&self) -> &str {
        &self.schema
    }

    fn connections(&self) -> &dyn Connections {
        self
    }

    fn alerts(&self) -> &dyn Alerts {
        self
    }

    fn health_checks(&self) -> &dyn HealthChecks {
        self
    }

    fn grants(&self) -> &dyn Grants {
        self
    }

    fn apps(&self) -> &dyn Apps {
        self
    }

    fn sign_ins(&self) -> &dyn SignIns {
        self
    }

    fn connect_links(&self) -> &dyn ConnectLinks {
        self
    }

    fn installed_connectors(&self) -> &dyn InstalledConnectors {
        self
    }

    fn webhooks(&self) -> &dyn Webhooks {
        self
    }

    fn subscriptions(&self) -> &dyn Subscriptions {
        self
    }

    fn events(&self) -> &dyn Events {
        self
    }

    fn endpoints(&self) -> &dyn Endpoints {
        self
    }

    fn event_types(&self) -> &dyn EventTypes {
        self
    }

    fn outbox(&self) -> &dyn Outbox {
        self
    }

    fn api_tokens(&self) -> &dyn ApiTokens {
        self
    }

    fn api_token_trusts(&self) -> &dyn ApiTokenTrusts {
        self
    }

    fn operators(&self) -> &dyn Operators {
        self
    }

    fn approvals(&self) -> &dyn Approvals {
        self
    }

    fn bindings(&self) -> &dyn Bindings {
        self
    }

    fn entity_states(&self) -> &dyn EntityStates {
        self
    }

    fn links(&self) -> &dyn Links {
        self
    }

    fn audit(&self) -> &dyn AuditLog {
        self
    }

    fn consents(&self) -> &dyn Consents {
        self
    }

    fn users(&self) -> &dyn Users {
        self
    }

    fn attach_audit(&self, _: Arc<PendingAudit>) {}

    fn idempotency_keys(&self) -> &dyn IdempotencyKeys {
        self
    }

    fn event_creations(&self) -> &dyn EventCreations {
        self
    }

    fn streams(&self) -> &dyn Streams {
        self
    }

    fn records(&self) -> &dyn Records {
        self
    }

    fn jobs(&self) -> &dyn Jobs {
        self
    }

    fn schedules(&self) -> &dyn Schedules {
        self
    }

    fn sandbox(&self) -> &dyn Sandbox {
        self
    }

    fn figures(&self) -> &dyn Figures {
        self
    }

    fn locks(&self) -> &dyn Locks {
        self
    }

    async fn ensure_writable(&self) -> Result<(), StoreError> {
        self.client().await?.batch_execute("UPDATE locks SET fence = fence WHERE FALSE").await.map_err(failed)
    }

    async fn version(&self) -> Result<u64, StoreError> {
        Err(StoreError::Closed)
    }
}

/// The store's error for one of the server or of the way to it.
pub fn failed(error: tokio_postgres::Error) -> StoreError {
    let is_io = error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
    if is_io || error.is_closed() {
        return StoreError::Unreachable(Box::new(error));
    }
    StoreError::Backend(Box::new(error))
}

/// PostgreSQL's integers have signs.
pub fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|error| StoreError::Backend(Box::new(error)))
}

pub fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|error| StoreError::Backend(Box::new(error)))
}

/// Reads a closed enum from its word.
pub fn word<T: std::str::FromStr>(text: &str) -> Result<T, MalformedValue> {
    text.parse().map_err(|_| MalformedValue::EnumValue(text.to_owned()))
}
