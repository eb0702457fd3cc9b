//! What keeps workspaces apart in one database, and what the database does not see.

use std::sync::Arc;

use integ::model::{
    ConsentCondition, ConsentPurpose, InboundDelivery, InstalledConnector, NewEvent, NewJob, NewPage, NewRecord,
    PageCheckpoint, StreamParams, SyncMode, Traffic,
};
use integ::store::{CommitConditions, LockKey, PostgresServer, PostgresStore, Store, StoreError, StoreKey};
use tokio_postgres::Client;

use super::{PostgresWorkspace, at, grant, new_connection, new_delivery, new_event, runtime, server};
use integ::model::{ConnectionMode, SecretStorage};

/// A text that is in no table unless it is sealed.
const PLANTED: &str = "planted-4711";

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_typed_one(sql, &[]).await.unwrap().get(0)
}

/// Stores a secret of each kind.
pub(super) async fn plant(store: &dyn Store) {
    let new = new_connection("github", ConnectionMode::Live);
    let (connection, _) = store.connections().connect(&new, &grant(PLANTED), SecretStorage::Store).await.unwrap();
    let event = NewEvent {
        signed_digest: Some([2; 32]),
        account: Some(format!("{PLANTED}-account")),
        actor: Some(format!("{PLANTED}-actor")),
        ..new_event(&format!("{PLANTED}-delivery"), 1)
    };
    let delivery = InboundDelivery {
        headers: vec![("authorization".to_owned(), format!("{PLANTED}-header"))],
        query: format!("token={PLANTED}-query"),
        body: format!("{{\"text\":\"{PLANTED}-body\"}}").into_bytes(),
        ..new_delivery(connection.id, vec![event])
    };
    store.events().insert(Arc::new(delivery)).await.unwrap();
    let stream = store.streams().ensure(connection.id, "issues").await.unwrap().id;
    let params: StreamParams = [("list".to_owned(), format!("{PLANTED}-param"))].into();
    let partition = store.streams().ensure_partition(stream, &params, None).await.unwrap().id;
    let started_at = at(1_700_000_000);
    let job = NewJob { stream, mode: SyncMode::Full, since: None, until: None, started_at };
    let job = store.jobs().begin(&job).await.unwrap();
    let lease = store.locks().try_acquire(LockKey::Stream(stream), started_at).await.unwrap().unwrap();
    let record = NewRecord {
        key: format!("{PLANTED}-key"),
        json: format!("{{\"text\":\"{PLANTED}-record\"}}"),
        hash: [1; 16],
        is_deleted: false,
        former_keys: Vec::new(),
    };
    let page = NewPage {
        job,
        stream,
        partition,
        records: vec![record],
        unchanged_keys: Vec::new(),
        deleted_keys: Vec::new(),
        is_full_list: false,
        is_verification_pass: false,
        checkpoint: PageCheckpoint::Complete { cursor: Some(format!("{PLANTED}-cursor")), parent_version: None },
        traffic: Traffic::default(),
        now: started_at,
    };
    let consent = ConsentCondition {
        connection: connection.id,
        purpose: ConsentPurpose::Sync,
        is_required: false,
        policy_version: 1,
    };
    let conditions = CommitConditions { fence: lease.fence, consent };
    store.records().commit_pages(vec![page], &conditions).await.unwrap();
    let installed = InstalledConnector {
        connector: "acme".to_owned(),
        sha256: "00".repeat(32),
        source: format!("https://example.com/{PLANTED}.toml"),
        installed_at: started_at,
        installed_by: "tok_1".to_owned(),
        user: None,
        configuration: [("region".to_owned(), format!("{PLANTED}-parameter"))].into(),
    };
    assert!(store.installed_connectors().add(&installed, 9).await.unwrap());
    store.connections().record_failure(connection.id, &format!("{PLANTED}-error")).await.unwrap();
}

#[test]
fn no_table_shows_what_was_stored() {
    runtime().block_on(async {
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let store = workspace.open().await;
        plant(&store).await;
        let owner = server::owner().await;
        let tables = "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'integ'::regnamespace
                      AND c.relkind = 'r' AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid
                      AND a.attname = 'workspace_id')";
        let mut looked_at = 0;
        for row in owner.query_typed(tables, &[]).await.unwrap() {
            let table: &str = row.get(0);
            // Bytes are shown in hexadecimal digits.
            let planted: String = PLANTED.bytes().map(|byte| format!("{byte:02x}")).collect();
            let sql = format!(
                "SELECT count(*) FROM integ.{table} t WHERE workspace_id = {} AND (t::text LIKE '%{PLANTED}%' OR t::text LIKE '%{planted}%')",
                workspace.number()
            );
            assert_eq!(count(&owner, &sql).await, 0, "{table}");
            looked_at += 1;
        }
        assert!(looked_at > 40, "{looked_at}");
    });
}

#[test]
fn a_transaction_sees_the_workspace_that_it_names_and_none_without() {
    runtime().block_on(async {
        let (Some(one), Some(two)) = (PostgresWorkspace::create().await, PostgresWorkspace::create().await) else {
            return;
        };
        for workspace in [&one, &two] {
            plant(&workspace.open().await).await;
        }
        let node = server::connect(&server::node(&server::server().unwrap())).await;
        for table in ["connections", "grants", "events", "records", "workspaces", "audit_state"] {
            let all = format!("SELECT count(*) FROM integ.{table}");
            assert_eq!(count(&node, &all).await, 0, "{table}");
            node.batch_execute(&format!("BEGIN; SET LOCAL integ.workspace = '{}'", one.number())).await.unwrap();
            assert_eq!(count(&node, &all).await, 1, "{table}");
            let foreign = format!("UPDATE integ.{table} SET workspace_id = {}", two.number());
            assert!(node.batch_execute(&foreign).await.is_err(), "{table}: a row was given away");
            node.batch_execute("ROLLBACK").await.unwrap();
            assert_eq!(count(&node, &all).await, 0, "{table}: the name outlives its transaction");
        }
        // The partitions themselves, and the tables' definitions, are none of a node's business.
        for forbidden in
            ["SELECT * FROM integ.events_other", "DROP TABLE integ.locks", "DELETE FROM integ.schema_versions"]
        {
            assert!(node.batch_execute(forbidden).await.is_err(), "{forbidden}");
        }
    });
}

#[test]
fn a_row_that_was_copied_does_not_open() {
    runtime().block_on(async {
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let store = workspace.open().await;
        plant(&store).await;
        let new = new_connection("stripe", ConnectionMode::Live);
        let (other, _) = store.connections().connect(&new, &grant("own"), SecretStorage::Store).await.unwrap();
        let owner = server::owner().await;
        let copy = format!(
            "UPDATE integ.grants g SET secrets = o.secrets FROM integ.grants o
             WHERE g.workspace_id = {0} AND o.workspace_id = {0} AND g.connection_id = {1} AND o.connection_id <> {1}",
            workspace.number(),
            other.id.0
        );
        owner.batch_execute(&copy).await.unwrap();
        let opened = store.grants().get(other.id).await;
        assert!(matches!(opened, Err(StoreError::Unsealable { .. })), "{opened:?}");
    });
}

#[test]
fn another_key_or_an_unknown_workspace_does_not_open() {
    runtime().block_on(async {
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let wrong = PostgresStore::open(&workspace.server, &workspace.id, &StoreKey::random()).await;
        assert!(matches!(wrong, Err(StoreError::Unsealable { .. })), "{wrong:?}");
        for id in ["0000000000000000", "x", ""] {
            let missing = PostgresStore::open(&workspace.server, id, &workspace.key).await;
            assert!(matches!(missing, Err(StoreError::WorkspaceNotFound(_))), "{id}: {missing:?}");
        }
        let owner = PostgresServer::new(server::server().unwrap()).unwrap();
        let store = PostgresStore::open(&owner, &workspace.id, &workspace.key).await.unwrap();
        store.delete().await.unwrap();
        let deleted = PostgresStore::open(&workspace.server, &workspace.id, &workspace.key).await;
        assert!(matches!(deleted, Err(StoreError::WorkspaceNotFound(_))), "{deleted:?}");
    });
}
