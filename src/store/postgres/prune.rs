//! Deleting old events.

use super::PostgresStore;
use super::row::{get, number};
use super::transaction::Transaction;
use super::value::{Value, given};
use crate::model::PruneRequest;
use crate::store::StoreError;

impl PostgresStore {
    /// Returns up to `limit` events that may be pruned.
    pub(super) async fn find_prunable(&self, request: &PruneRequest, limit: u32) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT e.id FROM integ.events e WHERE e.workspace_id = $1 AND e.connection_id = $2 AND e.received_at < $3
                   AND e.request IS NOT NULL AND e.status = CASE WHEN $4 THEN 'dead' ELSE 'processed' END
                   AND e.status IN ('processed', 'dead')
                   AND NOT EXISTS (SELECT 1 FROM integ.event_conflicts x WHERE x.workspace_id = $1 AND x.event_id = e.id)
                   AND NOT EXISTS (SELECT 1 FROM integ.events o WHERE o.workspace_id = $1 AND o.batch_event_id = e.id
                       AND o.status <> 'processed' AND NOT ($4 AND o.status = 'dead'))
                   ORDER BY e.received_at LIMIT $5";
        let before = request.before.as_millisecond();
        let values: [Value<'_>; 4] = [&request.connection.0, &before, &request.include_dead, &i64::from(limit)];
        self.rows(sql, &values).await?.iter().map(|row| get(row, "id")).collect()
    }
}

/// Prunes events, unless they have become due again since they were found. Where the first event of a request is deleted,
/// the others go with it, since it has their body.
pub(super) async fn prune(transaction: &Transaction, ids: &[i64], keeps_ids: bool) -> Result<usize, StoreError> {
    let sql = if keeps_ids {
        concat!(
            "WITH pruned AS (UPDATE integ.events e SET request = NULL, body = NULL, batch_item = NULL, last_error = NULL FROM ",
            given!("$2::bigint[]", "id"),
            " WHERE e.workspace_id = u.workspace_id AND e.id = u.id AND e.status IN ('processed', 'dead')
             RETURNING e.workspace_id, e.id),
         attempts AS (DELETE FROM integ.event_attempts a USING pruned
             WHERE a.workspace_id = pruned.workspace_id AND a.event_id = pruned.id)
         SELECT count(*) AS count FROM pruned"
        )
    } else {
        concat!(
            "WITH found AS (SELECT u.workspace_id, u.id FROM ",
            given!("$2::bigint[]", "id"),
            " UNION SELECT e.workspace_id, e.id FROM ",
            given!("$2::bigint[]", "id"),
            " JOIN integ.events e ON e.workspace_id = u.workspace_id AND e.batch_event_id = u.id),
         pruned AS (DELETE FROM integ.events e USING found
             WHERE e.workspace_id = found.workspace_id AND e.id = found.id AND e.status IN ('processed', 'dead')
             RETURNING e.id, e.dedup_key, e.signed_dedup_key),
         keys AS (DELETE FROM integ.event_keys k USING pruned WHERE k.workspace_id IS NOT DISTINCT FROM $1
             AND k.key IN (pruned.dedup_key, pruned.signed_dedup_key) AND k.event_id = pruned.id)
         SELECT count(*) AS count FROM pruned WHERE id = ANY($2)"
        )
    };
    let row = transaction.first(sql, &[&ids.to_vec()]).await?;
    row.map_or(Ok(0), |row| number(&row, "count"))
}
