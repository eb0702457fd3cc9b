//! The audit log. The chain is computed inside the transaction that appends, so that no two writers fork it.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, named_params, params};
use zeroize::Zeroizing;

use super::row::{Row, collect, first, get_millis, get_word, query, timestamp_millis};
use super::{MalformedValue, SqliteStore, StoreError};
use crate::clock::{self, Timestamp};
use crate::model::{
    AuditActor, AuditActorFilter, AuditBounds, AuditCheckpoint, AuditEntry, AuditFilter, AuditHash, AuditRecord,
    AuditSequence, ChainLink, UserId,
};
use crate::secret::Secret;
use crate::signing::checkpoint::sign_checkpoint;
use crate::store::AuditLog;

/// Selects entries with the columns of [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT sequence, at, actor, actor_id, operation, effect, connection, user_id, consent_id, source, \
             request_id, detail, outcome, error_code, previous, hash FROM audit_entries ",
            $rest
        )
    };
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn append(&self, records: Vec<AuditRecord>) -> Result<(), StoreError> {
        self.write(move |transaction| append(transaction, &records)).await
    }

    async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<AuditSequence>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let filter = filter.clone();
        self.read(move |sqlite| {
            let values = named_params! {
                ":connection": filter.connection.as_ref().map(ToString::to_string),
                ":user": filter.user.as_ref().map(UserId::as_str),
                ":actor": filter.actor.as_ref().map(|actor| match actor {
                    AuditActorFilter::Kind(kind) => kind.as_str(),
                    AuditActorFilter::Id(id) => id,
                }),
                ":since": filter.since.map(Timestamp::as_millisecond),
                ":before": before.map_or(i64::MAX, |before| i64::try_from(before.0).unwrap_or(i64::MAX)),
                ":limit": limit,
            };
            let names: Vec<String> = (0..filter.operations.len()).map(operation_parameter).collect();
            let operations = names.iter().zip(&filter.operations);
            let operations = operations.map(|(name, operation)| (name.as_str(), operation as &dyn ToSql));
            let values: Vec<(&str, &dyn ToSql)> = values.iter().copied().chain(operations).collect();
            collect(query(&mut *sqlite.prepare_cached(&list_query(&filter))?, values.as_slice())?, from_row)
        })
        .await
    }

    async fn read(&self, after: AuditSequence, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(move |sqlite| {
            let mut statement = sqlite.prepare_cached(select!("WHERE sequence > ?1 ORDER BY sequence LIMIT ?2"))?;
            collect(query(&mut statement, (after.0, limit))?, from_row)
        })
        .await
    }

    async fn bounds(&self) -> Result<AuditBounds, StoreError> {
        self.read(|sqlite| {
            let oldest = "SELECT at FROM audit_entries ORDER BY sequence LIMIT 1";
            let oldest_at = first(query(&mut *sqlite.prepare_cached(oldest)?, [])?, |row| get_millis(row, "at"))?;
            let state = State::read(sqlite)?;
            Ok(AuditBounds { head: state.head, pruned: state.pruned, oldest_at })
        })
        .await
    }

    async fn checkpoint(&self, now: Timestamp) -> Result<AuditCheckpoint, StoreError> {
        self.read(move |sqlite| {
            let state = State::read(sqlite)?;
            state.sign(state.head, now)
        })
        .await
    }

    async fn prune(&self, before: Timestamp, limit: u32, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |transaction| prune(transaction, before, limit, now)).await
    }
}

/// Returns the query of a list. A filter that is not wanted leaves no condition, for an index finds no value that may be
/// absent; each has its parameter all the same.
fn list_query(filter: &AuditFilter) -> String {
    let unused = |is_wanted: bool, condition: &'static str, parameter: &'static str| match is_wanted {
        true => condition.to_owned(),
        false => format!("{parameter} IS NULL"),
    };
    let actor = match filter.actor {
        Some(AuditActorFilter::Kind(_)) => "actor = :actor",
        _ => "actor_id = :actor",
    };
    // The first entry since a time: an entry before it is older.
    let since = "at >= :since AND sequence >= (SELECT sequence FROM audit_entries WHERE latest_at >= :since \
                 ORDER BY latest_at, sequence LIMIT 1)";
    let mut conditions = vec![
        unused(filter.connection.is_some(), "connection = :connection", ":connection"),
        unused(filter.user.is_some(), "user_id = :user", ":user"),
        unused(filter.actor.is_some(), actor, ":actor"),
        unused(filter.since.is_some(), since, ":since"),
        "sequence < :before".to_owned(),
    ];
    if filter.hides_monitoring {
        conditions.push("operation NOT IN ('alert list', 'logs', 'metrics')".to_owned());
    }
    let conditions = conditions.join(" AND ");
    let of_operation = |index| format!(select!("WHERE operation = {} AND {}"), operation_parameter(index), conditions);
    let queries = match filter.operations.len() {
        0 => format!(select!("WHERE {}"), conditions),
        // Each is read in the order of the log and merged, so that no more entries are read than are listed.
        count => (0..count).map(of_operation).collect::<Vec<_>>().join(" UNION ALL "),
    };
    format!("{queries} ORDER BY sequence DESC LIMIT :limit")
}

/// Returns the name of the parameter of an operation, by its place in the filter.
fn operation_parameter(index: usize) -> String {
    format!(":operation_{index}")
}

/// Creates the state of a new store's log, with a new key.
pub(super) fn create(sqlite: &Connection) -> Result<(), StoreError> {
    let seed = Zeroizing::new(clock::random::<32>());
    let values = (seed.as_slice(), AuditHash::default().0);
    sqlite.execute("INSERT INTO audit_state (only_row, signing_seed, hash) VALUES (1, ?1, ?2)", values)?;
    Ok(())
}

/// Appends entries to the chain.
pub(super) fn append(transaction: &Transaction<'_>, records: &[AuditRecord]) -> Result<(), StoreError> {
    let sql = "SELECT sequence, hash FROM audit_state";
    let head = first(query(&mut *transaction.prepare_cached(sql)?, [])?, |row| link(row, "sequence", "hash"))?;
    let mut head = head.ok_or_else(missing_state)?;
    let sql = "INSERT INTO audit_entries (sequence, at, actor, actor_id, operation, effect, connection, user_id, \
               consent_id, source, request_id, detail, outcome, error_code, previous, hash, latest_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
    let mut latest_at = transaction
        .prepare_cached("SELECT latest_at FROM audit_entries ORDER BY sequence DESC LIMIT 1")?
        .query_row([], |row| row.get::<_, i64>("latest_at"))
        .optional()?
        .unwrap_or(i64::MIN);
    let mut insert = transaction.prepare_cached(sql)?;
    for record in records {
        let entry = head.append(record.clone());
        latest_at = latest_at.max(record.at.as_millisecond());
        insert.execute(params![
            entry.sequence.0,
            record.at.as_millisecond(),
            record.actor.kind().as_str(),
            record.actor.id(),
            record.operation,
            record.effect.as_str(),
            record.connection,
            record.user,
            record.consent,
            record.source,
            record.request_id,
            record.detail,
            record.outcome.as_str(),
            record.error_code,
            entry.previous.0,
            entry.hash.0,
            latest_at,
        ])?;
        head = entry.link();
    }
    let mut update = transaction.prepare_cached("UPDATE audit_state SET sequence = ?1, hash = ?2")?;
    update.execute((head.sequence.0, head.hash.0))?;
    Ok(())
}

/// Removes the entries at the beginning that are older than `before`. One that is newer keeps all behind it, so that a
/// clock that was set back breaks nothing.
fn prune(transaction: &Transaction<'_>, before: Timestamp, limit: u32, now: Timestamp) -> Result<u64, StoreError> {
    let oldest = select!("ORDER BY sequence LIMIT ?1");
    let entries = collect(query(&mut *transaction.prepare_cached(oldest)?, [limit])?, from_row)?;
    let Some(last) = entries.iter().take_while(|entry| entry.record.at < before).last() else { return Ok(0) };
    let checkpoint = State::read(transaction)?.sign(last.link(), now)?;
    let sql = "UPDATE audit_state SET pruned_sequence = ?1, pruned_hash = ?2, pruned_at = ?3, pruned_signature = ?4";
    let at = checkpoint.at.as_millisecond();
    transaction.execute(sql, (checkpoint.sequence.0, checkpoint.hash.0, at, checkpoint.signature))?;
    let removed = transaction.execute("DELETE FROM audit_entries WHERE sequence <= ?1", [checkpoint.sequence.0])?;
    Ok(u64::try_from(removed).unwrap_or(u64::MAX))
}

/// The row of the log's ends.
struct State {
    seed: Secret<Vec<u8>>,
    head: ChainLink,
    pruned: Option<AuditCheckpoint>,
}

impl State {
    fn read(sqlite: &Connection) -> Result<Self, StoreError> {
        let sql = "SELECT signing_seed, sequence, hash, pruned_sequence, pruned_hash, pruned_at, pruned_signature \
                   FROM audit_state";
        let state = first(query(&mut *sqlite.prepare_cached(sql)?, [])?, |row| {
            let seed = Secret::new(row.get("signing_seed")?);
            let mut state = Self { seed, head: link(row, "sequence", "hash")?, pruned: None };
            if row.get::<Option<u64>>("pruned_sequence")?.is_some() {
                let at = timestamp_millis(row.get("pruned_at")?)?;
                // What is stored of a checkpoint lacks the public key.
                let public_key = state.sign(state.head, at)?.public_key;
                let ChainLink { sequence, hash } = link(row, "pruned_sequence", "pruned_hash")?;
                let signature = row.get("pruned_signature")?;
                state.pruned = Some(AuditCheckpoint { sequence, hash, at, public_key, signature });
            }
            Ok(state)
        })?;
        state.ok_or_else(missing_state)
    }

    fn sign(&self, link: ChainLink, at: Timestamp) -> Result<AuditCheckpoint, StoreError> {
        // Milliseconds are what is stored and signed.
        let at = timestamp_millis(at.as_millisecond())?;
        let damaged = || StoreError::IntegrityCheck("the key of its audit log is damaged".to_owned());
        sign_checkpoint(&self.seed, link, at).ok_or_else(damaged)
    }
}

fn missing_state() -> StoreError {
    StoreError::IntegrityCheck("its table `audit_state` is empty".to_owned())
}

fn link(row: &Row<'_>, sequence: &str, hash: &str) -> Result<ChainLink, StoreError> {
    Ok(ChainLink { sequence: AuditSequence(row.get(sequence)?), hash: AuditHash(row.get(hash)?) })
}

fn from_row(row: &Row<'_>) -> Result<AuditEntry, StoreError> {
    let effect = row.get::<String>("effect")?;
    let record = AuditRecord {
        at: get_millis(row, "at")?,
        actor: AuditActor::new(get_word(row, "actor")?, row.get("actor_id")?),
        operation: row.get("operation")?,
        effect: effect.parse().map_err(|_| MalformedValue::EnumValue(effect))?,
        connection: row.get("connection")?,
        user: row.get("user_id")?,
        consent: row.get("consent_id")?,
        source: row.get("source")?,
        request_id: row.get("request_id")?,
        detail: row.get("detail")?,
        outcome: get_word(row, "outcome")?,
        error_code: row.get("error_code")?,
    };
    let ChainLink { sequence, hash } = link(row, "sequence", "hash")?;
    Ok(AuditEntry { sequence, record, previous: AuditHash(row.get("previous")?), hash })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{Fixture, at};
    use super::*;
    use crate::clock::Clock;
    use crate::model::{AuditActorKind, ChainProblemKind, ChainVerifier, Effect};
    use crate::store::{AuditTiming, PendingAudit, Store};

    fn record(second: i64, connection: &str) -> AuditRecord {
        let record = AuditRecord::new(at(second), AuditActor::Worker, "sync", Effect::Write);
        AuditRecord { connection: Some(connection.to_owned()), ..record }
    }

    async fn problems(store: &SqliteStore) -> Vec<(ChainProblemKind, u64)> {
        let log = store.audit();
        let bounds = log.bounds().await.unwrap();
        let base = bounds.pruned.map(|pruned| pruned.link()).unwrap_or_default();
        let mut verifier = ChainVerifier::new(base, bounds.head, None);
        log.read(base.sequence, 100).await.unwrap().iter().for_each(|entry| verifier.check(entry));
        let (_, _, problems) = verifier.finish();
        problems.into_iter().map(|problem| (problem.kind, problem.sequence.0)).collect()
    }

    async fn change(store: &SqliteStore, sql: &'static str) {
        store.write(move |transaction| Ok(transaction.execute_batch(sql)?)).await.unwrap();
    }

    #[tokio::test]
    async fn lists_are_read_by_an_index_in_the_order_of_the_log() {
        let fixture = Fixture::new();
        let store = fixture.open();
        let none = AuditFilter::default;
        let by_id = Some(AuditActorFilter::Id("itk_1".to_owned()));
        for (filter, expected) in [
            (none(), "SEARCH audit_entries USING INTEGER PRIMARY KEY (rowid<?)"),
            (
                AuditFilter { connection: "slack".parse().ok(), ..none() },
                "SEARCH audit_entries USING INDEX audit_entries_connection (connection=? AND rowid<?)",
            ),
            (
                AuditFilter { user: "u_1".parse().ok(), hides_monitoring: true, ..none() },
                "SEARCH audit_entries USING INDEX audit_entries_user (user_id=? AND rowid<?)",
            ),
            (
                AuditFilter { actor: Some(AuditActorFilter::Kind(AuditActorKind::Worker)), ..none() },
                "SEARCH audit_entries USING INDEX audit_entries_actor (actor=? AND rowid<?)",
            ),
            (
                AuditFilter { actor: by_id, ..none() },
                "SEARCH audit_entries USING INDEX audit_entries_actor_id (actor_id=? AND rowid<?)",
            ),
            (
                AuditFilter { operations: vec!["sync".to_owned()], ..none() },
                "SEARCH audit_entries USING INDEX audit_entries_operation (operation=? AND rowid<?)",
            ),
            (
                AuditFilter { operations: vec!["sync".to_owned(), "test".to_owned()], ..none() },
                "MERGE (UNION ALL) | LEFT | SEARCH audit_entries USING INDEX audit_entries_operation (operation=? AND rowid<?) \
                 | RIGHT | SEARCH audit_entries USING INDEX audit_entries_operation (operation=? AND rowid<?)",
            ),
            (
                AuditFilter { since: Some(at(1)), ..none() },
                "SEARCH audit_entries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?) | SCALAR SUBQUERY 1 | \
                 SEARCH audit_entries USING COVERING INDEX audit_entries_latest (latest_at>?)",
            ),
        ] {
            let plan = store.read(move |sqlite| {
                let mut statement = sqlite.prepare(&format!("EXPLAIN QUERY PLAN {}", list_query(&filter)))?;
                let plan = statement.raw_query().mapped(|row| row.get::<_, String>("detail"));
                Ok(plan.collect::<rusqlite::Result<Vec<_>>>()?)
            });
            assert_eq!(plan.await.unwrap().join(" | "), expected);
        }
    }

    #[tokio::test]
    async fn each_change_of_a_row_is_found() {
        use ChainProblemKind::{Edited, Removed, Reordered, Truncated};
        let swap = "UPDATE audit_entries SET sequence = 99 WHERE sequence = 2; \
                    UPDATE audit_entries SET sequence = 2 WHERE sequence = 3; \
                    UPDATE audit_entries SET sequence = 3 WHERE sequence = 99";
        for (sql, expected) in [
            ("UPDATE audit_entries SET user_id = 'u_2' WHERE sequence = 2", vec![(Edited, 2)]),
            ("DELETE FROM audit_entries WHERE sequence = 2", vec![(Removed, 2)]),
            (swap, vec![(Reordered, 2), (Reordered, 3)]),
            ("DELETE FROM audit_entries WHERE sequence > 2", vec![(Truncated, 3)]),
        ] {
            let fixture = Fixture::new();
            let store = fixture.open();
            store.audit().append(vec![record(1, "slack"); 4]).await.unwrap();
            change(&store, sql).await;
            assert_eq!(problems(&store).await, expected, "{sql}");
        }
    }

    #[tokio::test]
    async fn an_entry_that_was_removed_behind_a_checkpoint_is_found() {
        let fixture = Fixture::new();
        let store = fixture.open();
        store.audit().append((1..=5).map(|second| record(second, "slack")).collect()).await.unwrap();
        assert_eq!(store.audit().prune(at(3), 100, at(9)).await.unwrap(), 2);
        assert_eq!(problems(&store).await, []);
        change(&store, "DELETE FROM audit_entries WHERE sequence = 3").await;
        assert_eq!(problems(&store).await, [(ChainProblemKind::Removed, 3)]);
    }

    #[tokio::test]
    async fn a_pending_entry_and_the_first_write_are_one_commit() {
        let fixture = Fixture::new();
        let store = fixture.open();
        store.attach_audit(Arc::new(PendingAudit::new(
            Clock::fixed(at(7)),
            "disconnect",
            Effect::Destroy,
            AuditTiming::FirstWrite,
        )));
        let sequence = store.version().await.unwrap();
        change(&store, "INSERT INTO sandbox_state (key, value) VALUES ('a', '1')").await;
        let entries = store.audit().read(AuditSequence(0), 9).await.unwrap();
        assert_eq!((entries.len(), store.version().await.unwrap()), (1, sequence + 1));
    }

    #[tokio::test]
    async fn fault_098_a_change_whose_entry_cannot_be_written_is_not_made() {
        let fixture = Fixture::new();
        let store = fixture.open();
        change(&store, "CREATE TRIGGER full BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(FAIL, 'full'); END")
            .await;
        store.attach_audit(Arc::new(PendingAudit::new(
            Clock::fixed(at(7)),
            "link add",
            Effect::Write,
            AuditTiming::FirstWrite,
        )));
        assert!(store.ensure_writable().await.is_err());
        let record = AuditRecord::new(at(1), AuditActor::Local, "connect", Effect::Write);
        assert!(store.audit().append(vec![record]).await.is_err());
        assert_eq!(store.connections().list().await.unwrap().len(), 0);
    }
}
