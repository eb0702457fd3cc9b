//! The audit log. The chain is computed while its head is locked, inside the transaction that appends.

use async_trait::async_trait;
use tokio_postgres::Row;
use zeroize::Zeroizing;

use super::PostgresStore;
use super::row::{SealedRow, get, get_bytes, get_millis, get_word, millis, number, signed};
use super::seal::{Column, Sealer, column};
use super::transaction::Transaction;
use super::value::Value;
use crate::clock::{self, Timestamp};
use crate::model::{
    AuditActor, AuditActorFilter, AuditBounds, AuditCheckpoint, AuditEntry, AuditFilter, AuditHash, AuditRecord,
    AuditSequence, ChainLink, UserId,
};
use crate::secret::Secret;
use crate::signing::checkpoint::sign_checkpoint;
use crate::store::{AuditLog, StoreError};

const SIGNING_SEED: Column = column("audit_state", "signing_seed");

/// Selects entries with the columns of [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT sequence, at, actor, actor_id, operation, effect, connection, user_id, consent_id, source,
             request_id, detail, outcome, error_code, previous, hash FROM integ.audit_entries WHERE workspace_id = $1 ",
            $rest
        )
    };
}

#[async_trait]
impl AuditLog for PostgresStore {
    async fn append(&self, records: Vec<AuditRecord>) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        append(&transaction, &records).await?;
        transaction.commit().await
    }

    async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<AuditSequence>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        // What is absent leaves no condition: the statement is planned for its values. Entries since a time begin with the
        // first one whose latest time up to it is not before.
        let sql = select!(
            "AND ($2 IS NULL OR connection = $2) AND ($3 IS NULL OR user_id = $3) AND ($4 IS NULL OR operation = ANY($4))
             AND ($5 IS NULL OR at >= $5 AND sequence >= (SELECT e.sequence FROM integ.audit_entries e
                 WHERE e.workspace_id = $1 AND e.latest_at >= $5 ORDER BY e.latest_at, e.sequence LIMIT 1))
             AND ($9 IS NULL OR actor = $9) AND ($10 IS NULL OR actor_id = $10) AND sequence < $6
             AND NOT ($8 AND operation IN ('alert list', 'logs', 'metrics')) ORDER BY sequence DESC LIMIT $7"
        );
        let (kind, actor) = match &filter.actor {
            Some(AuditActorFilter::Kind(kind)) => (Some(kind.as_str()), None),
            Some(AuditActorFilter::Id(id)) => (None, Some(id.as_str())),
            None => (None, None),
        };
        let operations = (!filter.operations.is_empty()).then(|| filter.operations.clone());
        let values: [Value<'_>; 9] = [
            &filter.connection.as_ref().map(ToString::to_string),
            &filter.user.as_ref().map(UserId::as_str),
            &operations,
            &filter.since.map(Timestamp::as_millisecond),
            &before.map_or(i64::MAX, |before| signed(before.0)),
            &i64::from(limit),
            &filter.hides_monitoring,
            &kind,
            &actor,
        ];
        self.rows(sql, &values).await?.iter().map(from_row).collect()
    }

    async fn read(&self, after: AuditSequence, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = select!("AND sequence > $2 ORDER BY sequence LIMIT $3");
        self.rows(sql, &[&signed(after.0), &i64::from(limit)]).await?.iter().map(from_row).collect()
    }

    async fn bounds(&self) -> Result<AuditBounds, StoreError> {
        let transaction = self.snapshot().await?;
        let sql = "SELECT at FROM integ.audit_entries WHERE workspace_id = $1 ORDER BY sequence LIMIT 1";
        let oldest_at = transaction.first(sql, &[]).await?.map(|row| get_millis(&row, "at")).transpose()?;
        let state = State::read(&transaction).await?;
        Ok(AuditBounds { head: state.head, pruned: state.pruned, oldest_at })
    }

    async fn checkpoint(&self, now: Timestamp) -> Result<AuditCheckpoint, StoreError> {
        let state = State::read(&self.snapshot().await?).await?;
        state.sign(state.head, now)
    }

    async fn prune(&self, before: Timestamp, limit: u32, now: Timestamp) -> Result<u64, StoreError> {
        let transaction = self.begin().await?;
        let state = State::lock(&transaction).await?;
        let rows = transaction.query(select!("ORDER BY sequence LIMIT $2"), &[&i64::from(limit)]).await?;
        let entries = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        // One that is newer keeps all behind it, so that a clock that was set back breaks nothing.
        let Some(last) = entries.iter().take_while(|entry| entry.record.at < before).last() else { return Ok(0) };
        let checkpoint = state.sign(last.link(), now)?;
        let sql = "UPDATE integ.audit_state SET pruned_sequence = $2, pruned_hash = $3, pruned_at = $4,
                       pruned_signature = $5 WHERE workspace_id = $1";
        let sequence = signed(checkpoint.sequence.0);
        let values: [Value<'_>; 4] = [
            &sequence,
            &checkpoint.hash.0.as_slice(),
            &checkpoint.at.as_millisecond(),
            &checkpoint.signature.as_slice(),
        ];
        transaction.execute(sql, &values).await?;
        let sql = "DELETE FROM integ.audit_entries WHERE workspace_id = $1 AND sequence <= $2";
        let removed = transaction.execute(sql, &[&sequence]).await?;
        transaction.commit().await?;
        Ok(removed)
    }
}

/// Creates the state of a new workspace's log, with a new key.
pub(super) async fn create(transaction: &Transaction) -> Result<(), StoreError> {
    let seed = Zeroizing::new(clock::random::<32>());
    let seed = transaction.sealer.seal(SIGNING_SEED, 0_i64, seed.as_slice())?;
    let sql = "INSERT INTO integ.audit_state (workspace_id, signing_seed, hash) VALUES ($1, $2, $3)";
    transaction.execute(sql, &[&seed, &AuditHash::default().0.as_slice()]).await.map(drop)
}

/// Appends entries to the chain.
pub(super) async fn append(transaction: &Transaction, records: &[AuditRecord]) -> Result<(), StoreError> {
    let sql = "SELECT sequence, hash FROM integ.audit_state WHERE workspace_id = $1 FOR UPDATE";
    let row = transaction.first(sql, &[]).await?.ok_or_else(missing_state)?;
    let mut head = link(&row, "sequence", "hash")?;
    let sql = "SELECT latest_at FROM integ.audit_entries WHERE workspace_id = $1 ORDER BY sequence DESC LIMIT 1";
    let mut latest_at = transaction.first(sql, &[]).await?.map_or(Ok(i64::MIN), |row| get(&row, "latest_at"))?;
    let sql =
        "INSERT INTO integ.audit_entries (workspace_id, sequence, at, actor, actor_id, operation, effect, connection,
                   user_id, consent_id, source, request_id, detail, outcome, error_code, previous, hash, latest_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
    for record in records {
        let entry = head.append(record.clone());
        latest_at = latest_at.max(record.at.as_millisecond());
        let values: [Value<'_>; 17] = [
            &signed(entry.sequence.0),
            &record.at.as_millisecond(),
            &record.actor.kind().as_str(),
            &record.actor.id(),
            &record.operation,
            &record.effect.as_str(),
            &record.connection,
            &record.user,
            &record.consent,
            &record.source,
            &record.request_id,
            &record.detail,
            &record.outcome.as_str(),
            &record.error_code,
            &entry.previous.0.as_slice(),
            &entry.hash.0.as_slice(),
            &latest_at,
        ];
        transaction.execute(sql, &values).await?;
        head = entry.link();
    }
    let sql = "UPDATE integ.audit_state SET sequence = $2, hash = $3 WHERE workspace_id = $1";
    transaction.execute(sql, &[&signed(head.sequence.0), &head.hash.0.as_slice()]).await.map(drop)
}

/// The row of the log's ends.
struct State {
    seed: Secret<Vec<u8>>,
    head: ChainLink,
    pruned: Option<AuditCheckpoint>,
}

macro_rules! select_state {
    ($rest:literal) => {
        concat!(
            "SELECT signing_seed, sequence, hash, pruned_sequence, pruned_hash, pruned_at, pruned_signature
             FROM integ.audit_state WHERE workspace_id = $1",
            $rest
        )
    };
}

impl State {
    async fn read(transaction: &Transaction) -> Result<Self, StoreError> {
        Self::from_row(
            &transaction.sealer,
            &transaction.first(select_state!(""), &[]).await?.ok_or_else(missing_state)?,
        )
    }

    /// [`Self::read`], and keeps others from appending.
    async fn lock(transaction: &Transaction) -> Result<Self, StoreError> {
        let row = transaction.first(select_state!(" FOR UPDATE"), &[]).await?;
        Self::from_row(&transaction.sealer, &row.ok_or_else(missing_state)?)
    }

    fn from_row(sealer: &Sealer, row: &Row) -> Result<Self, StoreError> {
        let seed = Secret::new(SealedRow::new(sealer, row, 0_i64).bytes(SIGNING_SEED)?.unwrap_or_default());
        let mut state = Self { seed, head: link(row, "sequence", "hash")?, pruned: None };
        if get::<Option<i64>>(row, "pruned_sequence")?.is_some() {
            let at = get_millis(row, "pruned_at")?;
            // What is stored of a checkpoint lacks the public key.
            let public_key = state.sign(state.head, at)?.public_key;
            let ChainLink { sequence, hash } = link(row, "pruned_sequence", "pruned_hash")?;
            let signature = get_bytes(row, "pruned_signature")?;
            state.pruned = Some(AuditCheckpoint { sequence, hash, at, public_key, signature });
        }
        Ok(state)
    }

    fn sign(&self, link: ChainLink, at: Timestamp) -> Result<AuditCheckpoint, StoreError> {
        // Milliseconds are what is stored and signed.
        let at = millis(at.as_millisecond())?;
        let damaged = || StoreError::IntegrityCheck("the key of its audit log is damaged".to_owned());
        sign_checkpoint(&self.seed, link, at).ok_or_else(damaged)
    }
}

fn missing_state() -> StoreError {
    StoreError::IntegrityCheck("its table `audit_state` has no row".to_owned())
}

fn link(row: &Row, sequence: &str, hash: &str) -> Result<ChainLink, StoreError> {
    Ok(ChainLink { sequence: AuditSequence(number(row, sequence)?), hash: AuditHash(get_bytes(row, hash)?) })
}

fn from_row(row: &Row) -> Result<AuditEntry, StoreError> {
    let record = AuditRecord {
        at: get_millis(row, "at")?,
        actor: AuditActor::new(get_word(row, "actor")?, get(row, "actor_id")?),
        operation: get(row, "operation")?,
        effect: get_word(row, "effect")?,
        connection: get(row, "connection")?,
        user: get(row, "user_id")?,
        consent: get(row, "consent_id")?,
        source: get(row, "source")?,
        request_id: get(row, "request_id")?,
        detail: get(row, "detail")?,
        outcome: get_word(row, "outcome")?,
        error_code: get(row, "error_code")?,
    };
    let ChainLink { sequence, hash } = link(row, "sequence", "hash")?;
    Ok(AuditEntry { sequence, record, previous: AuditHash(get_bytes(row, "previous")?), hash })
}
