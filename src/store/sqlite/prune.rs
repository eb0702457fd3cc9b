//! Deleting old events.

use rusqlite::{Connection, Transaction};

use super::StoreError;
use crate::model::{EventStatus, PruneRequest};

/// Returns up to `limit` events that may be pruned.
pub(super) fn find(sqlite: &Connection, request: PruneRequest, limit: u32) -> Result<Vec<i64>, StoreError> {
    let ready = "SELECT e.id FROM events e WHERE e.connection_id = ?1 AND e.received_at < ?2 \
                 AND e.headers <> '' AND NOT EXISTS (SELECT 1 FROM event_conflicts x WHERE x.event_id = e.id) \
                 AND NOT EXISTS (SELECT 1 FROM events o WHERE o.batch_event_id = e.id \
                 AND o.status NOT IN ('processed'";
    let statuses =
        if request.include_dead { ", 'dead')) AND e.status = 'dead'" } else { ")) AND e.status = 'processed'" };
    let mut statement = sqlite.prepare_cached(&format!("{ready}{statuses} ORDER BY e.received_at LIMIT ?3"))?;
    let values = (request.connection.0, request.before.as_millisecond(), limit);
    let rows = statement.query_map(values, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Prunes events, unless they have become due again since they were found.
pub(super) fn prune(transaction: &Transaction<'_>, ids: &[i64], keeps_ids: bool) -> Result<usize, StoreError> {
    let sql = if keeps_ids {
        "UPDATE events SET headers = '', query = '', body = NULL, batch_item = NULL, last_error = NULL \
         WHERE id = ?1 AND status IN ('processed', 'dead')"
    } else {
        "DELETE FROM events WHERE id = ?1 AND status IN ('processed', 'dead')"
    };
    let mut statement = transaction.prepare_cached(sql)?;
    let mut pruned = 0;
    // With the event itself its attempts go by themselves.
    let mut forget = transaction.prepare_cached("DELETE FROM event_attempts WHERE event_id = ?1")?;
    for id in ids {
        let count = statement.execute([id])?;
        if count > 0 && keeps_ids {
            forget.execute([id])?;
        }
        pruned += count;
    }
    Ok(pruned)
}

pub(super) fn count(sqlite: &Connection, request: PruneRequest) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM events WHERE connection_id = ?1 AND received_at < ?2 AND headers <> '' \
               AND status = ?3 AND NOT EXISTS (SELECT 1 FROM event_conflicts x WHERE x.event_id = events.id)";
    let status = if request.include_dead { EventStatus::Dead } else { EventStatus::Processed };
    let values = (request.connection.0, request.before.as_millisecond(), status.as_str());
    Ok(sqlite.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
}
