//! Removal of processed events.

use super::StoreError;
use super::events::Events;
use crate::model::event::{EventStatus, PruneRequest};

impl Events<'_> {
    /// Prunes processed events, at most `most` of them; the number pruned. A batch is pruned as a whole, once all of it
    /// was processed, and an event with conflicts stays until they are resolved.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prune(&self, pruning: &PruneRequest, most: u32) -> Result<usize, StoreError> {
        let PruneRequest { connection, before, keeps_ids, include_dead: dead } = *pruning;
        let old: Vec<i64> = self.0.read(|sqlite| {
            let ready = "SELECT e.id FROM events e WHERE e.connection_id = ?1 AND e.received_at < ?2 \
                         AND e.headers <> '' AND NOT EXISTS (SELECT 1 FROM event_conflicts x WHERE x.event_id = e.id) \
                         AND NOT EXISTS (SELECT 1 FROM events o WHERE o.batch_event_id = e.id \
                         AND o.status NOT IN ('processed'";
            let statuses = if dead { ", 'dead')) AND e.status = 'dead'" } else { ")) AND e.status = 'processed'" };
            let mut statement = sqlite.prepare_cached(&format!("{ready}{statuses} ORDER BY e.received_at LIMIT ?3"))?;
            let rows = statement.query_map((connection.0, before.as_millisecond(), most), |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        if old.is_empty() {
            return Ok(0);
        }
        self.0.write(|transaction| {
            let sql = if keeps_ids {
                "UPDATE events SET headers = '', query = '', body = NULL, batch_item = NULL, last_error = NULL \
                 WHERE id = ?1 AND status IN ('processed', 'dead')"
            } else {
                "DELETE FROM events WHERE id = ?1 AND status IN ('processed', 'dead')"
            };
            let mut statement = transaction.prepare_cached(sql)?;
            let mut pruned = 0;
            for id in &old {
                pruned += statement.execute([id])?;
            }
            Ok(pruned)
        })
    }

    /// Counts the events to prune.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count_prunable(&self, pruning: &PruneRequest) -> Result<u64, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT count(*) FROM events WHERE connection_id = ?1 AND received_at < ?2 AND headers <> '' \
                       AND status = ?3 AND NOT EXISTS (SELECT 1 FROM event_conflicts x WHERE x.event_id = events.id)";
            let status = if pruning.include_dead { EventStatus::Dead } else { EventStatus::Processed };
            let parameters = (pruning.connection.0, pruning.before.as_millisecond(), status.as_str());
            Ok(sqlite.prepare_cached(sql)?.query_row(parameters, |row| row.get(0))?)
        })
    }
}
