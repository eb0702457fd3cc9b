//! The months of the inbox, on a server whose clock the test sets.

use std::sync::Arc;

use integ::clock::Timestamp;
use integ::model::{ConnectionMode, InboundDelivery, PruneRequest, SecretStorage};
use integ::store::{PostgresServer, PostgresStore, Store, StoreKey};

use super::server::{ServerWithClock, connect};
use super::{at, grant, new_connection, new_delivery, new_event, runtime};

/// An id begins with the day on which the event came.
const IDS_OF_A_DAY: i64 = 100_000_000;

/// Returns the partitions with how many events each has, without the default one if it is empty.
async fn partitions(server: &ServerWithClock) -> Vec<(String, i64)> {
    let sql = "SELECT c.relname::text, (SELECT count(*) FROM integ.events e WHERE e.tableoid = c.oid)
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'integ.events'::regclass ORDER BY c.relname";
    let rows = connect(&server.config()).await.query(sql, &[]).await.unwrap();
    let all = rows.iter().map(|row| (row.get(0), row.get(1)));
    all.filter(|(name, count): &(String, i64)| name != "events_other" || *count > 0).collect()
}

fn expected(partitions: &[(&str, i64)]) -> Vec<(String, i64)> {
    partitions.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn months_are_created_ahead_and_dropped_when_they_are_empty() {
    runtime().block_on(async {
        let Some(server) = ServerWithClock::start().await else { return };
        let set_clock = |time: &str| server.set_clock(time.parse::<Timestamp>().unwrap());
        set_clock("2027-12-15T12:00:00Z");
        let owner = PostgresServer::new(server.config()).unwrap();
        let (id, key) = (PostgresStore::random_id(), StoreKey::random());
        let store = PostgresStore::create(&owner, &id, &key, at(1_700_000_000)).await.unwrap();
        assert_eq!(partitions(&server).await, expected(&[("events_202712", 0), ("events_202801", 0)]));

        let new = new_connection("github", ConnectionMode::Live);
        let (connection, _) = store.connections().connect(&new, &grant("one"), SecretStorage::Store).await.unwrap();
        let insert = async |id: &str| {
            let delivery =
                InboundDelivery { needs_handling: false, ..new_delivery(connection.id, vec![new_event(id, 1)]) };
            store.events().insert(Arc::new(delivery)).await.unwrap()[0].id().0
        };
        assert_eq!(insert("evt_1").await / IDS_OF_A_DAY, 20_271_215);
        set_clock("2027-12-31T23:50:00Z");
        assert_eq!(insert("evt_2").await / IDS_OF_A_DAY, 20_271_231);
        set_clock("2028-01-01T00:10:00Z");
        assert_eq!(insert("evt_3").await / IDS_OF_A_DAY, 20_280_101);
        store.maintain().await.unwrap();
        let all = [("events_202712", 2), ("events_202801", 1), ("events_202802", 0)];
        assert_eq!(partitions(&server).await, expected(&all));

        let all = PruneRequest {
            connection: connection.id,
            before: at(1_800_000_000),
            keeps_ids: false,
            include_dead: false,
        };
        assert_eq!(store.events().prune(&all, 100).await.unwrap(), 3);
        // A node whose transaction began yesterday may still insert.
        store.maintain().await.unwrap();
        let empty = [("events_202712", 0), ("events_202801", 0), ("events_202802", 0)];
        assert_eq!(partitions(&server).await, expected(&empty));
        set_clock("2028-01-02T00:10:00Z");
        assert_eq!(insert("evt_4").await / IDS_OF_A_DAY, 20_280_102);
        store.maintain().await.unwrap();
        assert_eq!(partitions(&server).await, expected(&[("events_202801", 1), ("events_202802", 0)]));

        // Nobody maintained them for months: the events of these go into the default partition, and stay there.
        set_clock("2028-05-10T00:00:00Z");
        assert_eq!(insert("evt_5").await / IDS_OF_A_DAY, 20_280_510);
        store.maintain().await.unwrap();
        let late = [("events_202801", 1), ("events_202806", 0), ("events_other", 1)];
        assert_eq!(partitions(&server).await, expected(&late));
        set_clock("2028-06-01T00:00:00Z");
        assert_eq!(insert("evt_6").await / IDS_OF_A_DAY, 20_280_601);
        let late = [("events_202801", 1), ("events_202806", 1), ("events_other", 1)];
        assert_eq!(partitions(&server).await, expected(&late));
    });
}
