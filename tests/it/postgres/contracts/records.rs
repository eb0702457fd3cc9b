//! What the records and the jobs of every store do.

use integ::model::{
    CompletedList, ConnectionId, ConsentCondition, ConsentPurpose, JobId, JobResult, JobStatus, NewJob, NewPage,
    NewRecord, PageCheckpoint, PartitionId, RecordId, StoredRecord, StreamId, StreamParams, SweepResult, SyncMode,
    Traffic,
};
use integ::store::{CommitConditions, Fence, LockKey, Store, StoreError};

use super::super::on_both_stores;
use super::at;

fn record(key: &str, hash: u8) -> NewRecord {
    NewRecord {
        key: key.to_owned(),
        json: format!("{{\"v\":{hash}}}"),
        hash: [hash; 16],
        is_deleted: false,
        former_keys: Vec::new(),
    }
}

fn page_of(job: JobId, stream: StreamId, partition: PartitionId, records: Vec<NewRecord>) -> NewPage {
    NewPage {
        job,
        stream,
        partition,
        records,
        unchanged_keys: Vec::new(),
        deleted_keys: Vec::new(),
        is_full_list: true,
        is_verification_pass: false,
        checkpoint: PageCheckpoint::InProgress("{}".to_owned()),
        traffic: Traffic::default(),
        now: at(1),
    }
}

/// A stream of a connection with its one partition, and what a holder of its lock commits under.
async fn locked_stream(store: &dyn Store, connection: ConnectionId) -> (StreamId, PartitionId, CommitConditions) {
    let stream = store.streams().ensure(connection, "issues").await.unwrap().id;
    let partition = store.streams().ensure_partition(stream, &StreamParams::new(), None).await.unwrap().id;
    let fence = store.locks().try_acquire(LockKey::Stream(stream), at(0)).await.unwrap().unwrap().fence;
    let consent = ConsentCondition { connection, purpose: ConsentPurpose::Sync, is_required: false, policy_version: 1 };
    (stream, partition, CommitConditions { fence, consent })
}

fn full_job(stream: StreamId) -> NewJob {
    NewJob { stream, mode: SyncMode::Full, since: None, until: None, started_at: at(0) }
}

#[test]
fn a_full_list_stores_its_records_and_deletes_the_others() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let connection = subject.connect("github").await.id;
        let (stream, partition, conditions) = locked_stream(store, connection).await;
        let conditions = &conditions;
        assert_eq!(store.streams().ensure(connection, "issues").await.unwrap().id, stream);
        let list = async |records: Vec<NewRecord>| {
            let job = store.jobs().begin(&full_job(stream)).await.unwrap();
            let start_version = store.records().begin_list(partition).await.unwrap();
            let page = page_of(job, stream, partition, records);
            let (counts, _) = store.records().commit_pages(vec![page], conditions).await.unwrap();
            let cursor = Some("next".to_owned());
            let list = CompletedList { partition, start_version, cursor, parent_version: None };
            let has_missing = store.records().has_missing(&list).await.unwrap();
            let swept = store.records().sweep(job, stream, &[list], Some(0), at(2), conditions).await.unwrap();
            let result = JobResult {
                id: job,
                status: JobStatus::Done,
                error: None,
                error_code: None,
                resumes_at: None,
                traffic: Traffic::default(),
                ended_at: at(3),
            };
            store.jobs().end(&result).await.unwrap();
            (counts.added, has_missing, swept, store.jobs().get(job).await.unwrap().unwrap().counts.deleted)
        };
        let first = list(vec![record("a", 1), record("b", 2)]).await;
        assert_eq!(first, (2, false, SweepResult::Done { deleted: 0 }, 0));
        let since = store.version().await.unwrap();
        let second = list(vec![record("b", 2), record("c", 3)]).await;
        assert_eq!(second, (1, true, SweepResult::Done { deleted: 1 }, 1));
        let keys = |records: Vec<StoredRecord>| records.into_iter().map(|one| one.key).collect::<Vec<_>>();
        assert_eq!(keys(store.records().list(stream, RecordId(0), 9).await.unwrap()), ["b", "c"]);
        assert_eq!(keys(store.records().changes(stream, since, None, 9).await.unwrap()), ["c", "a"]);
        let known = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(store.records().exist(stream, &known).await.unwrap(), [false, true, true]);
        assert!(store.records().find(stream, "a").await.unwrap().unwrap().record.deleted_at.is_some());
        let partitions = store.streams().partitions(stream).await.unwrap();
        assert_eq!((partitions.len(), partitions[0].cursor.as_deref()), (1, Some("next")));
        // Nobody may delete records by a list whose lock was taken over.
        let fence = Fence { number: conditions.fence.number - 1, ..conditions.fence };
        let lost = CommitConditions { fence, ..conditions.clone() };
        let refused = store.records().commit_pages(Vec::new(), &lost).await;
        assert!(matches!(refused, Err(StoreError::LeaseLost(_))));
    });
}

#[test]
fn a_deleted_connection_leaves_no_record_and_gets_none() {
    on_both_stores(async |subject| {
        let store = subject.store();
        let connection = subject.connect("github").await.id;
        let (stream, partition, conditions) = locked_stream(store, connection).await;
        let job = store.jobs().begin(&full_job(stream)).await.unwrap();
        let page = |key: &str, hash| vec![page_of(job, stream, partition, vec![record(key, hash)])];
        store.records().commit_pages(page("a", 1), &conditions).await.unwrap();
        assert_eq!(store.records().count(stream).await.unwrap(), 1);
        store.connections().remove(connection).await.unwrap();
        assert_eq!(store.records().count(stream).await.unwrap(), 0);
        // A sync that was under way.
        assert!(store.records().commit_pages(page("b", 2), &conditions).await.is_err());
        assert_eq!(store.records().count(stream).await.unwrap(), 0);
    });
}
