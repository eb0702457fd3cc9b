//! Another key for a workspace whose nodes keep running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use integ::model::ConnectionMode;
use integ::model::SecretStorage;
use integ::store::{KeyDropResult, PostgresStore, Store, StoreError, StoreKey, WorkspaceKeys};

use super::barriers::plant;
use super::{PostgresWorkspace, grant, new_connection, runtime};

async fn connect(store: &PostgresStore, name: &str) -> Result<(), StoreError> {
    let new = new_connection(name, ConnectionMode::Live);
    store.connections().connect(&new, &grant("one"), SecretStorage::Store).await.map(drop)
}

/// Reads all connections with their secrets.
async fn read(store: &PostgresStore) -> Result<usize, StoreError> {
    let connections = store.connections().list().await?;
    for connection in &connections {
        store.grants().get(connection.id).await?;
    }
    Ok(connections.len())
}

#[test]
fn nodes_go_on_while_everything_is_sealed_with_another_key() {
    runtime().block_on(async {
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let (old, new) = (workspace.key.clone(), StoreKey::random());
        let (ours, theirs) = (workspace.open().await, workspace.open().await);
        plant(&ours).await;
        ours.add_key(2, &new).await.unwrap();
        ours.add_key(2, &new).await.unwrap();
        assert_eq!((ours.key_number().await.unwrap(), theirs.key_number().await.unwrap()), (2, 2));
        let other = ours.add_key(2, &StoreKey::random()).await;
        assert!(matches!(other, Err(StoreError::Unsealable { .. })), "{other:?}");
        let lower = ours.add_key(1, &StoreKey::random()).await;
        assert!(matches!(lower, Err(StoreError::KeyNumberTaken(1))), "{lower:?}");
        connect(&ours, "slack").await.unwrap();
        // The other node still has the old key alone: it reads what that opens, and writes nothing with it.
        for failed in [connect(&theirs, "stripe").await.err(), read(&theirs).await.err()] {
            assert!(matches!(failed, Some(StoreError::UnknownKey(2))), "{failed:?}");
        }
        let keys = WorkspaceKeys::of(1, old.clone()).with(2, new.clone());
        let key_file = keys.clone();
        theirs.set_key_source(Box::new(move || Some(key_file.clone())));
        connect(&theirs, "stripe").await.unwrap();
        assert_eq!((read(&ours).await.unwrap(), read(&theirs).await.unwrap()), (3, 3));
        let KeyDropResult::InUse { rows } = ours.drop_key(1).await.unwrap() else { panic!("it is in use") };
        assert!(rows > 5, "{rows}");
        // While rows are sealed again, nodes write.
        let is_over = Arc::new(AtomicBool::new(false));
        let writer = {
            let (store, is_over) = (theirs.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut written = 0;
                while !is_over.load(Ordering::Relaxed) {
                    connect(&store, &format!("slack@a{written}")).await.unwrap();
                    written += 1;
                }
                written
            })
        };
        assert_eq!(ours.reseal(|_| ()).await.unwrap(), 0);
        is_over.store(true, Ordering::Relaxed);
        let written: usize = writer.await.unwrap();
        assert_eq!(ours.drop_key(1).await.unwrap(), KeyDropResult::Dropped);
        assert!(matches!(ours.drop_key(2).await.unwrap(), KeyDropResult::InUse { .. }));
        let only_new = WorkspaceKeys::of(2, new);
        let opened = PostgresStore::open(&workspace.server, &workspace.id, &only_new).await.unwrap();
        assert_eq!(read(&opened).await.unwrap(), 3 + written);
        let outdated = PostgresStore::open(&workspace.server, &workspace.id, &old).await;
        assert!(matches!(outdated, Err(StoreError::UnknownKey(2))), "{outdated:?}");
        let wrong = WorkspaceKeys::of(2, StoreKey::random());
        let wrong = PostgresStore::open(&workspace.server, &workspace.id, &wrong).await;
        assert!(matches!(wrong, Err(StoreError::Unsealable { .. })), "{wrong:?}");
    });
}

#[test]
fn sealing_again_goes_on_after_it_was_cut_off_and_passes_rows_that_are_locked() {
    runtime().block_on(async {
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let store = workspace.open().await;
        plant(&store).await;
        for number in 0..600 {
            let document = serde_json::json!({ "number": number });
            let key = format!("document {number}");
            assert!(store.sandbox().replace(&key, None, Some(&document)).await.unwrap());
        }
        store.add_key(2, &StoreKey::random()).await.unwrap();
        // It is killed once it has sealed some rows.
        let begun = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&begun);
        let task = {
            let store = store.clone();
            tokio::spawn(async move { store.reseal(|progress| seen.store(progress.rows > 0, Ordering::Relaxed)).await })
        };
        while !begun.load(Ordering::Relaxed) && !task.is_finished() {
            tokio::task::yield_now().await;
        }
        task.abort();
        let _ = task.await;
        let KeyDropResult::InUse { rows } = store.drop_key(1).await.unwrap() else { panic!("nothing was left") };
        assert!(rows > 0);
        // Another program has a row locked: it is left for the next call.
        let owner = super::server::owner().await;
        let lock =
            format!("BEGIN; SELECT 1 FROM integ.audit_state WHERE workspace_id = {} FOR UPDATE", workspace.number());
        owner.batch_execute(&lock).await.unwrap();
        assert_eq!(store.reseal(|_| ()).await.unwrap(), 1);
        assert!(matches!(store.drop_key(1).await.unwrap(), KeyDropResult::InUse { rows: 1 }));
        owner.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(store.reseal(|_| ()).await.unwrap(), 0);
        assert_eq!(store.drop_key(1).await.unwrap(), KeyDropResult::Dropped);
    });
}
