//! How events are inserted in as few statements as can be, and what becomes of them if the server cannot be reached.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use integ::model::{ConnectionMode, EventInsertResult, SecretStorage};
use integ::store::{PostgresServer, PostgresStore, Store, StoreError};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;
use tokio_postgres::Client;
use tokio_postgres::config::Host;

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
        // As 64 senders do, so that there is always a commit under way while the next is prepared.
        let senders = (0..64).map(async |sender| {
            for number in 0..20 {
                insert(format!("evt_{sender}_{number}")).await;
            }
        });
        join_all(senders).await;
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

/// A way to the server that can be cut.
struct Link {
    port: u16,
    is_cut: watch::Sender<bool>,
    /// Connections that were refused.
    refused: Arc<AtomicUsize>,
}

impl Link {
    async fn start() -> Self {
        let server = server::server().unwrap();
        let [Host::Unix(folder)] = server.get_hosts() else { panic!("the tests' server has one socket") };
        let socket = folder.join(".s.PGSQL.5432");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_cut, cuts) = watch::channel(false);
        let refused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refused);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut cuts = cuts.clone();
                if *cuts.borrow_and_update() {
                    count.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let mut server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { port, is_cut, refused }
    }

    /// Returns how the server is reached on this way, with a node's rights.
    fn server(&self) -> PostgresServer {
        PostgresServer::parse(&format!("postgres://node@127.0.0.1:{}/postgres", self.port), None).unwrap()
    }
}

#[test]
fn deliveries_of_one_commit_are_refused_together_if_the_server_cannot_be_reached() {
    // On one thread all deliveries are there before the first commit begins.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let link = Link::start().await;
        let store = PostgresStore::open(&link.server(), &workspace.id, &workspace.key).await.unwrap();
        let new = new_connection("github", ConnectionMode::Live);
        let (connection, _) = store.connections().connect(&new, &grant("one"), SecretStorage::Store).await.unwrap();
        let insert = async |number: usize| {
            let delivery = new_delivery(connection.id, vec![new_event(&format!("evt_{number}"), 1)]);
            store.events().insert(Arc::new(delivery)).await
        };
        let insert_all = async || join_all((0..64).map(insert)).await;
        insert(64).await.unwrap();
        link.is_cut.send(true).unwrap();
        for result in insert_all().await {
            assert!(matches!(result, Err(StoreError::Unreachable(_))), "{result:?}");
        }
        // One to insert what was predicted, or to read first.
        let refused = link.refused.load(Ordering::Relaxed);
        assert!((1..=2).contains(&refused), "{refused}");
        link.is_cut.send(false).unwrap();
        for result in insert_all().await {
            assert!(matches!(result.as_deref(), Ok([EventInsertResult::New(_)])), "{result:?}");
        }
    });
}
