//! How events are inserted in as few statements as can be.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use integ::model::{ConnectionMode, EventInsertResult, SecretStorage};
use integ::store::{PostgresServer, PostgresStore, Store};
use tokio_postgres::Client;

use super::{PostgresWorkspace, grant, new_connection, new_delivery, new_event, runtime, server};

/// How often a function of the schema was called.
async fn calls(client: &Client, function: &str) -> i64 {
    let sql = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_user_functions
               WHERE schemaname = 'integ' AND funcname = $1::text::name";
    client.query_one(sql, &[&function]).await.unwrap().get(0)
}

#[test]
fn what_one_process_inserts_at_once_is_predicted() {
    runtime().block_on(async {
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        // Of this test's sessions alone.
        let owner = server::owner().await;
        owner
            .batch_execute("CREATE ROLE counted SUPERUSER LOGIN; ALTER ROLE counted SET track_functions = 'all'")
            .await
            .unwrap();
        let mut counted = server::server().unwrap();
        counted.user("counted");
        let counted = PostgresServer::new(counted).unwrap();
        let store = PostgresStore::open(&counted, &workspace.id, &workspace.key).await.unwrap();
        let new = new_connection("github", ConnectionMode::Live);
        let (connection, _) = store.connections().connect(&new, &grant("one"), SecretStorage::Store).await.unwrap();
        let insert = async |id: String| {
            let delivery = new_delivery(connection.id, vec![new_event(&id, 1)]);
            let results = store.events().insert(Arc::new(delivery)).await.unwrap();
            assert!(matches!(results[..], [EventInsertResult::New(_)]), "{results:?}");
        };
        for round in 0..20 {
            join_all((0..64).map(|number| insert(format!("evt_{round}_{number}")))).await;
        }
        drop(store);
        // The calls of a session are counted when it has ended.
        let sessions = "SELECT FROM pg_stat_activity WHERE usename = 'counted'";
        while !owner.query(sessions, &[]).await.unwrap().is_empty() {
            // The server does not say when one has ended.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Called where what is stored is read: by the first ones, of which nothing is known, and by those at midnight.
        let reads = calls(&owner, "first_event_of").await;
        assert!((1..=8).contains(&reads), "{reads} of {} insertions", calls(&owner, "insert_events").await);
    });
}
