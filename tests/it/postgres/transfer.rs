//! A workspace that is carried from one store to the other and back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use integ::model::{
    ConnectionMode, ConsentCondition, ConsentPurpose, EventInsertResult, InboundDelivery, NewEvent, NewJob, NewPage,
    NewRecord, PageCheckpoint, SecretStorage, StreamParams, SyncMode, Traffic,
};
use integ::store::{
    CommitConditions, LockKey, LostWritesPolicy, PostgresStore, Snapshot, SqliteStore, Store, StoreError, StoreKey,
    TRANSFER_TABLES, TableSummary, TransferRow, TransferStore, TransferTable, TransferType, TransferValue,
    WorkspaceReader, copy_workspace,
};

use super::{PostgresWorkspace, at, grant, new_connection, new_delivery, new_event, runtime};

fn new_sqlite(folder: &Path, name: &str) -> SqliteStore {
    let (folder, key) = (folder.join(name), StoreKey::random());
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("vault.db");
    SqliteStore::create(&path, &key, at(1_700_000_000)).unwrap();
    SqliteStore::open(&path, &key, LostWritesPolicy::Refuse).unwrap()
}

async fn copy(from: TransferStore<'_>, to: TransferStore<'_>) -> Result<Vec<TableSummary>, StoreError> {
    copy_workspace(&mut from.reader().await?, to, |_| ()).await
}

/// Texts whose order by bytes is another one than that of a language.
const NAMES: [&str; 3] = ["B", "a-b", "ä"];

/// Rows of each table: the third one has NULL wherever it may.
const ROWS: usize = 3;

/// Returns the value of a column in a row. Rows with the same number refer to each other.
fn value(table: &TransferTable, name: &str, kind: TransferType, row: usize) -> TransferValue {
    let text = |text: &str| TransferValue::Text(text.to_owned());
    let id = row as i64 + 1;
    let word = match (table.name, name) {
        ("connections" | "connect_links", "mode") => "live",
        ("jobs", "mode") => "full",
        (_, "grant_status") => "active",
        (_, "reveal") => "never",
        ("health_checks", "outcome") => "healthy",
        ("api_usage", "outcome") => "succeeded",
        ("audit_entries", "outcome") | ("jobs", "status") => "done",
        (_, "refresh_method") => "key",
        (_, "display") => "popup",
        (_, "verification") => "verified",
        ("events", "status") => "processed",
        ("subscriptions", "status") => "active",
        ("deliveries", "status") => "dead",
        ("approvals", "status") => "used",
        ("entity_writes", "kind") => "update",
        (_, "backoff") => "none",
        (_, "disabled_reason") => "gone",
        (_, "tier") => "pro",
        (_, "approve") | (_, "effect") => "write",
        (_, "use_limit") => "once",
        (_, "actor") if table.name == "audit_entries" => "operator",
        (_, "consent_type") => "marketing",
        (_, "role") => "editor",
        (_, "conflicts") => ["[]", r#"[{"field":"a"}]"#, "[]"][row],
        (_, "headers") if table.name == "events" => [r#"[["a","b"]]"#, "[]", ""][row],
        (_, "headers") => r#"[["a","b"]]"#,
        ("events", "query") => ["a=b", "", ""][row],
        ("records", "json") => ["{}", r#"{"a":1}"#, "null"][row],
        _ if kind == TransferType::Text => NAMES[row],
        _ => "",
    };
    match kind {
        TransferType::Integer => TransferValue::Integer(id),
        // Its secrets are in the OS keyring.
        TransferType::Flag if name == "in_keyring" => TransferValue::Integer(1),
        TransferType::Flag => TransferValue::Integer(row as i64 % 2),
        TransferType::Text => text(word),
        TransferType::Bytes => TransferValue::Bytes(vec![row as u8; 32]),
    }
}

fn row(table: &TransferTable, number: usize) -> TransferRow {
    let values = table.columns.iter().map(|column| {
        let is_null = match (table.name, column.name) {
            ("bindings", "stream") | ("binding_failures", "record_id") => number == 1,
            ("bindings", "event") | ("binding_failures", "event_id") => number != 1,
            ("events", "batch_event_id") => number != 1,
            _ => column.is_optional && number == 2,
        };
        match (is_null, table.name, column.name) {
            (true, ..) => TransferValue::Null,
            // The first event of its request.
            (false, "events", "batch_event_id") => TransferValue::Integer(1),
            _ => value(table, column.name, column.kind, number),
        }
    });
    TransferRow::new(table, values.collect()).unwrap()
}

/// Fills all tables of a new store.
async fn fill(target: TransferStore<'_>) {
    for table in TRANSFER_TABLES {
        let count = if table.key_length == 0 { 1 } else { ROWS };
        let rows = (0..count).map(|number| row(table, number)).collect();
        target.write(table, rows).await.unwrap_or_else(|error| panic!("{}: {error:?}", table.name));
    }
}

#[test]
fn every_row_of_every_table_is_carried_there_and_back() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (first, last) = (new_sqlite(folder.path(), "first"), new_sqlite(folder.path(), "last"));
        fill(TransferStore::Sqlite(&first)).await;
        let expected = TransferStore::Sqlite(&first).reader().await.unwrap().summaries().await.unwrap();
        for (table, summary) in TRANSFER_TABLES.iter().zip(&expected) {
            assert_eq!(summary.rows, if table.key_length == 0 { 1 } else { ROWS as u64 }, "{}", table.name);
        }
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let postgres = workspace.open().await;
        let copied = copy(TransferStore::Sqlite(&first), TransferStore::Postgres(&postgres)).await.unwrap();
        assert_eq!(copied, expected);
        // A reader that opens the store itself, as a node does.
        let node = workspace.open().await;
        let back = copy(TransferStore::Postgres(&node), TransferStore::Sqlite(&last)).await.unwrap();
        assert_eq!(back, expected);
        last.check().unwrap();
    });
}

/// A delivery of one event.
fn delivery(connection: integ::model::ConnectionId, id: &str, signed: u8) -> Arc<InboundDelivery> {
    let event = NewEvent { signed_digest: Some([signed; 32]), ..new_event(id, signed) };
    Arc::new(new_delivery(connection, vec![event]))
}

/// Stores a page with one record, and returns how many were added and changed.
async fn sync(store: &dyn Store, json: &str) -> (u64, u64) {
    let connection = store.connections().find(&"github".parse().unwrap()).await.unwrap().unwrap().id;
    let stream = store.streams().ensure(connection, "issues").await.unwrap().id;
    let partition = store.streams().ensure_partition(stream, &StreamParams::new(), None).await.unwrap().id;
    let started_at = at(1_700_000_000);
    let job = NewJob { stream, mode: SyncMode::Incremental, since: None, until: None, started_at };
    let job = store.jobs().begin(&job).await.unwrap();
    let lease = store.locks().try_acquire(LockKey::Stream(stream), started_at).await.unwrap().unwrap();
    let consent = ConsentCondition { connection, purpose: ConsentPurpose::Sync, is_required: false, policy_version: 1 };
    let conditions = CommitConditions { fence: lease.fence, consent };
    let record = NewRecord {
        key: "1".to_owned(),
        json: json.to_owned(),
        hash: store.record_hasher().hash(json),
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
        checkpoint: PageCheckpoint::Complete { cursor: Some("next".to_owned()), parent_version: None },
        traffic: Traffic::default(),
        now: started_at,
    };
    let (counts, _) = store.records().commit_pages(vec![page], &conditions).await.unwrap();
    store.locks().release(lease).await.unwrap();
    (counts.added, counts.changed)
}

/// Goes on in a store with what was begun in another one.
async fn go_on(store: &dyn Store, what: &str, signed: u8, version: u64, last_event: i64) {
    let connection = store.connections().find(&"github".parse().unwrap()).await.unwrap().unwrap().id;
    assert_eq!(
        store.grants().get(connection).await.unwrap().unwrap().grant.unwrap().access_token.expose(),
        "access-one"
    );
    for id in ["one", "another id, the same bytes"] {
        let found = store.events().insert(delivery(connection, id, 1)).await.unwrap();
        assert!(matches!(found[..], [EventInsertResult::Duplicate(_)]), "{what}: {id}: {found:?}");
    }
    let new = store.events().insert(delivery(connection, what, signed)).await.unwrap();
    let [EventInsertResult::New(event)] = new[..] else { panic!("{what}: {new:?}") };
    assert!(event.0 > last_event, "{what}: {event:?} after {last_event}");
    // The hash of a record is another one in each store, and the record is the same.
    assert_eq!(sync(store, r#"{"a":1}"#).await, (0, 0), "{what}");
    assert_eq!(sync(store, &format!(r#"{{"a":{what:?}}}"#)).await, (0, 1), "{what}");
    assert!(store.version().await.unwrap() > version, "{what}");
    assert_eq!(sync(store, r#"{"a":1}"#).await, (0, 1), "{what}");
    let new = new_connection(what, ConnectionMode::Live);
    let (added, _) = store.connections().connect(&new, &grant("two"), SecretStorage::Store).await.unwrap();
    assert!(added.id > connection, "{what}");
}

#[test]
fn a_workspace_goes_on_where_it_was_carried() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (first, last) = (new_sqlite(folder.path(), "first"), new_sqlite(folder.path(), "last"));
        let new = new_connection("github", ConnectionMode::Live);
        let (connection, _) = first.connections().connect(&new, &grant("one"), SecretStorage::Store).await.unwrap();
        let inserted = first.events().insert(delivery(connection.id, "one", 1)).await.unwrap();
        let [EventInsertResult::New(event)] = inserted[..] else { panic!("{inserted:?}") };
        assert_eq!(sync(&first, r#"{"a":1}"#).await, (1, 0));
        let version = first.version().await.unwrap();
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let postgres = workspace.open().await;
        copy(TransferStore::Sqlite(&first), TransferStore::Postgres(&postgres)).await.unwrap();
        go_on(&postgres, "postgres", 8, version, event.0).await;
        let version = postgres.version().await.unwrap();
        let newest = postgres.events().find(connection.id, "postgres").await.unwrap().unwrap();
        copy(TransferStore::Postgres(&postgres), TransferStore::Sqlite(&last)).await.unwrap();
        // What a backup of it would hold.
        let backup = Snapshot::read(&last.snapshot(&[]).unwrap()).unwrap().contents().unwrap();
        assert_eq!(backup.connections.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["github", "postgres"]);
        go_on(&last, "sqlite", 9, version, newest.0).await;
    });
}

/// Adds many records, in the way of a store that is filled by a copy.
async fn fill_records(target: TransferStore<'_>, count: i64) {
    let table = TRANSFER_TABLES.iter().find(|table| table.name == "records").unwrap();
    let ids: Vec<i64> = (10..10 + count).collect();
    for ids in ids.chunks(1000) {
        let record = |id: &i64| {
            let values = table.columns.iter().map(|column| match column.name {
                "id" => TransferValue::Integer(*id),
                "key" => TransferValue::Text(format!("key-{id}")),
                name if column.is_optional && name != "json" => TransferValue::Null,
                name => value(table, name, column.kind, 1),
            });
            TransferRow::new(table, values.collect()).unwrap()
        };
        target.write(table, ids.iter().map(record).collect()).await.unwrap();
    }
}

#[test]
fn a_copy_that_was_cut_off_goes_on_and_notices_a_source_that_was_changed() {
    runtime().block_on(async {
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let folder = tempfile::tempdir().unwrap();
        let first = new_sqlite(folder.path(), "first");
        let source = TransferStore::Sqlite(&first);
        fill(source).await;
        fill_records(source, 5000).await;
        let postgres = workspace.open().await;
        let target = TransferStore::Postgres(&postgres);
        // It is killed after some chunks of records.
        let is_killed = Arc::new(AtomicBool::new(false));
        let (seen, mut reader) = (Arc::clone(&is_killed), source.reader().await.unwrap());
        let killed = async {
            copy_workspace(&mut reader, target, move |progress| {
                if matches!(progress, integ::store::TransferProgress::Copied { table: "records", rows: 2000.. }) {
                    seen.store(true, Ordering::Relaxed);
                }
            })
            .await
        };
        tokio::select! {
            biased;
            () = until(&is_killed) => {}
            copied = killed => panic!("it was not cut off: {copied:?}"),
        }
        let records = TRANSFER_TABLES.iter().find(|table| table.name == "records").unwrap();
        let written = target.last_key(records).await.unwrap();
        assert!(written.is_some());
        let copied = copy(source, target).await.unwrap();
        let count = |name: &str| copied.iter().find(|summary| summary.table == name).unwrap().rows;
        assert_eq!(count("records"), 5000 + ROWS as u64);
        // Copying once more writes nothing; a row that is added among those that were copied is noticed.
        assert_eq!(copy(source, target).await.unwrap(), copied);
        let lease = first.locks().try_acquire(LockKey::Deliveries, at(1_700_000_000)).await.unwrap().unwrap();
        let differs = copy(source, target).await;
        assert!(
            matches!(differs, Err(StoreError::TransferDiffers { table: "locks", expected: 4, found: 3 })),
            "{differs:?}"
        );
        first.locks().release(lease).await.unwrap();
    });
}

/// Waits until a flag is set, at each point at which the other future waits.
async fn until(flag: &AtomicBool) {
    std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        if flag.load(Ordering::Relaxed) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[test]
fn a_reader_sees_one_moment() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = new_sqlite(folder.path(), "first");
        let mut stores: Vec<(Arc<dyn Store>, WorkspaceReader)> = Vec::new();
        let reader = TransferStore::Sqlite(&sqlite).reader().await.unwrap();
        stores.push((Arc::new(sqlite), reader));
        if let Some(workspace) = PostgresWorkspace::create().await {
            let postgres: PostgresStore = workspace.open().await;
            let reader = TransferStore::Postgres(&postgres).reader().await.unwrap();
            stores.push((Arc::new(postgres), reader));
        }
        for (store, mut reader) in stores {
            let before = reader.summaries().await.unwrap();
            let new = new_connection("github", ConnectionMode::Live);
            store.connections().connect(&new, &grant("one"), SecretStorage::Store).await.unwrap();
            assert_eq!(reader.summaries().await.unwrap(), before);
        }
    });
}
