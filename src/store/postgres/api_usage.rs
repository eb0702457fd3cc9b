//! The rate limits of API tokens, and how often they are used.
//!
//! The requests of the last window are rows with consecutive numbers whose times never decrease, as in the SQLite store.
//! The row of the token is locked while one is counted, so that the window is that of all nodes.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{get, get_word, number};
use super::transaction::Transaction;
use crate::clock::Timestamp;
use crate::model::{Admission, ApiTokenId, ApiUse, ApiUseCount};
use crate::store::StoreError;

/// Selects how often a token was used since a day.
pub(super) const COUNTS: &str = "SELECT day, operation, outcome, count FROM integ.api_usage
    WHERE workspace_id = $1 AND token_id = $2 AND day >= $3 ORDER BY day, operation, outcome";

/// What the window that ends now has of the requests of one token.
struct RateWindow<'a> {
    transaction: &'a Transaction,
    root: &'a str,
    window: i64,
    /// The time of the request: not before that of the last one.
    now: i64,
    /// Requests up to this number have left the window.
    expired: i64,
    /// The number of the last request.
    last: i64,
    /// Whether the last request is further ahead of the clock than a window is long.
    has_clock_moved_back: bool,
}

impl PostgresStore {
    /// Counts a request unless the limit is reached. What a snapshot finds to be over the limit needs no lock: requests that
    /// others make meanwhile can only add to it. It is looked at only after a rejection, so that a flood of requests over the
    /// limit writes nothing, and others cost no second read.
    pub(super) async fn admit_request(
        &self,
        root: &ApiTokenId,
        now: Timestamp,
        limit: u32,
        window: Duration,
    ) -> Result<Option<Admission>, StoreError> {
        let (now, window) = (now.as_microsecond(), i64::try_from(window.as_micros()).unwrap_or(i64::MAX));
        if self.limited().contains(root) {
            let snapshot = self.snapshot().await?;
            if let Some(rejected) = rejection(&snapshot, root, now, limit, window).await? {
                return Ok(Some(rejected));
            }
        }
        let transaction = self.begin().await?;
        let admission = admit(&transaction, root, now, limit, window).await?;
        transaction.commit().await?;
        match admission {
            Some(Admission { is_allowed: false, .. }) => self.limited().insert(root.clone()),
            _ => self.limited().remove(root),
        };
        Ok(admission)
    }

    fn limited(&self) -> MutexGuard<'_, HashSet<ApiTokenId>> {
        self.limited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request unless the limit is reached; `None` for an unknown token.
async fn admit(
    transaction: &Transaction,
    root: &ApiTokenId,
    now: i64,
    limit: u32,
    window: i64,
) -> Result<Option<Admission>, StoreError> {
    let root = root.as_str();
    let sql = "SELECT 1 FROM integ.api_tokens WHERE workspace_id = $1 AND id = $2 FOR NO KEY UPDATE";
    if transaction.first(sql, &[&root]).await?.is_none() {
        return Ok(None);
    }
    let found = RateWindow::read(transaction, root, now, window).await?;
    if found.has_clock_moved_back {
        // The requests count as made now, for another window, instead of for as long as the step.
        let sql = "UPDATE integ.rate_requests SET at = $3 WHERE workspace_id = $1 AND token_id = $2 AND at > $3";
        transaction.execute(sql, &[&root, &now]).await?;
    }
    if let Some(rejected) = found.reject(limit).await? {
        return Ok(Some(rejected));
    }
    let sql = "DELETE FROM integ.rate_requests WHERE workspace_id = $1 AND token_id = $2 AND number <= $3";
    transaction.execute(sql, &[&root, &found.expired]).await?;
    let sql = "INSERT INTO integ.rate_requests (workspace_id, token_id, number, at) VALUES ($1, $2, $3, $4)";
    transaction.execute(sql, &[&root, &(found.last + 1), &found.now]).await?;
    let remaining = limit.saturating_sub(found.count()).saturating_sub(1);
    let resets_at = found.end_of(found.expired + 1).await?;
    Ok(Some(Admission { is_allowed: true, limit, remaining, resets_at }))
}

/// Returns the rejection of a request that needs no write: the limit is reached, and no times have to be changed.
async fn rejection(
    transaction: &Transaction,
    root: &ApiTokenId,
    now: i64,
    limit: u32,
    window: i64,
) -> Result<Option<Admission>, StoreError> {
    let found = RateWindow::read(transaction, root.as_str(), now, window).await?;
    if found.has_clock_moved_back { Ok(None) } else { found.reject(limit).await }
}

impl<'a> RateWindow<'a> {
    async fn read(transaction: &'a Transaction, root: &'a str, now: i64, window: i64) -> Result<Self, StoreError> {
        let sql = "SELECT number, at FROM integ.rate_requests WHERE workspace_id = $1 AND token_id = $2
                   ORDER BY number DESC LIMIT 1";
        let Some(row) = transaction.first(sql, &[&root]).await? else {
            return Ok(Self { transaction, root, window, now, expired: 0, last: 0, has_clock_moved_back: false });
        };
        let (last, last_at): (i64, i64) = (get(&row, "number")?, get(&row, "at")?);
        // Two processes may commit in another order than they read the clock, and a clock may be set back: the time stands
        // still then, unless the step is longer than the window.
        let has_clock_moved_back = last_at.saturating_sub(now) > window;
        let now = if has_clock_moved_back { now } else { now.max(last_at) };
        let sql = "SELECT number FROM integ.rate_requests WHERE workspace_id = $1 AND token_id = $2 AND at > $3
                   ORDER BY number LIMIT 1";
        let first = transaction.first(sql, &[&root, &now.saturating_sub(window)]).await?;
        let expired = first.map_or(Ok(last), |row| get::<i64>(&row, "number").map(|number| number - 1))?;
        Ok(Self { transaction, root, window, now, expired, last, has_clock_moved_back })
    }

    /// The number of requests in the window.
    fn count(&self) -> u32 {
        u32::try_from(self.last - self.expired).unwrap_or(u32::MAX)
    }

    async fn reject(&self, limit: u32) -> Result<Option<Admission>, StoreError> {
        if self.count() < limit {
            return Ok(None);
        }
        // There is room when the request is outside before which there are as many as the limit allows, which may have been
        // lowered.
        let resets_at = self.end_of(self.last - i64::from(limit) + 1).await?;
        Ok(Some(Admission { is_allowed: false, limit, remaining: 0, resets_at }))
    }

    /// When the request with this number leaves the window.
    async fn end_of(&self, number: i64) -> Result<Timestamp, StoreError> {
        let sql = "SELECT at FROM integ.rate_requests WHERE workspace_id = $1 AND token_id = $2 AND number = $3";
        let row = self.transaction.first(sql, &[&self.root, &number]).await?;
        let at = row.map_or(Ok(self.now), |row| get::<i64>(&row, "at"))?.min(self.now);
        Ok(Timestamp::from_microsecond(at.saturating_add(self.window)).unwrap_or(Timestamp::MAX))
    }
}

/// Adds uses to the numbers of their days.
pub(super) async fn record(transaction: &Transaction, uses: &[ApiUse]) -> Result<(), StoreError> {
    let sql = "INSERT INTO integ.api_usage (workspace_id, token_id, day, operation, outcome, count)
               SELECT $1, id, $3, $4, $5, 1 FROM integ.api_tokens WHERE workspace_id = $1 AND id = $2
               ON CONFLICT (workspace_id, token_id, day, operation, outcome)
               DO UPDATE SET count = api_usage.count + 1";
    // In one order, so that two nodes do not wait for each other.
    let mut uses: Vec<&ApiUse> = uses.iter().collect();
    uses.sort_by(|one, other| {
        (one.token.as_str(), &one.operation, one.outcome).cmp(&(other.token.as_str(), &other.operation, other.outcome))
    });
    for one in uses {
        let day = one.at.to_zoned(TimeZone::UTC).date().to_string();
        transaction.execute(sql, &[&one.token.as_str(), &day, &one.operation, &one.outcome.as_str()]).await?;
    }
    Ok(())
}

pub(super) fn from_row(row: &Row) -> Result<ApiUseCount, StoreError> {
    Ok(ApiUseCount {
        day: get_word(row, "day")?,
        operation: get(row, "operation")?,
        outcome: get_word(row, "outcome")?,
        count: number(row, "count")?,
    })
}
