//! What the streams and partitions of every store do.

use integ::model::{RecordId, StreamParams};

use super::super::on_both_stores;
use super::at;

#[test]
fn a_stream_and_its_partitions_are_created_once_and_keep_their_cursors() {
    on_both_stores(async |subject| {
        let name = subject.name;
        let connection = subject.connect("github").await.id;
        let (own, other) = (subject.store().streams(), subject.other().streams());
        assert!(own.find(connection, "issues").await.unwrap().is_none(), "{name}");
        let stream = own.ensure(connection, "issues").await.unwrap().id;
        other.ensure(connection, "commits").await.unwrap();
        assert_eq!(other.ensure(connection, "issues").await.unwrap().id, stream, "{name}");
        let params: StreamParams = [("repository".to_owned(), "acme/app".to_owned())].into();
        own.set_params(stream, &params).await.unwrap();
        let listed = other.list(connection).await.unwrap();
        let names: Vec<_> = listed.iter().map(|one| one.name.as_str()).collect();
        assert_eq!((names, &listed[1].params), (vec!["commits", "issues"], &params), "{name}");

        let partition = own.ensure_partition(stream, &StreamParams::new(), None).await.unwrap().id;
        let child = own.ensure_partition(stream, &params, None).await.unwrap();
        assert_eq!(other.ensure_partition(stream, &params, None).await.unwrap().id, child.id, "{name}");
        assert_eq!((child.params, child.cursor, child.synced_at), (params, None, None), "{name}");
        for number in 0..25 {
            own.set_cursor(partition, Some(&format!("cursor {number}")), at(number)).await.unwrap();
        }
        own.set_cursor(partition, None, at(25)).await.unwrap();
        let partitions = other.partitions(stream).await.unwrap();
        assert_eq!((partitions.len(), partitions[0].id, &partitions[0].cursor), (2, partition, &None), "{name}");
        let former = other.cursor_history(partition).await.unwrap();
        let newest = (former[0].cursor.as_deref(), former[0].replaced_at);
        assert_eq!((former.len(), newest), (20, (Some("cursor 24"), at(25))), "{name}");
        assert!(other.last_synced().await.unwrap().is_empty(), "{name}");
        subject.store().connections().remove(connection).await.unwrap();
        assert!(other.partitions(stream).await.unwrap().is_empty(), "{name}");
        let orphan = own.ensure_partition(stream, &StreamParams::new(), Some(RecordId(1))).await;
        assert!(orphan.is_err(), "{name}: {orphan:?}");
    });
}
