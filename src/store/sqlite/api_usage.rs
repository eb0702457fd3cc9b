//! The rate limits of API tokens, and how often they are used.
//!
//! The requests of the last window are rows with consecutive numbers. Their times never decrease, so that the first and the
//! last row say how many there are, and each row is written once and deleted once. A window of 3 requests in 60 s, with a
//! request at 100 s, at the limit, and at 121 s:
//!
//! ```text
//! (7, 60) (8, 90) (9, 95)    at 100 s: 60 > 100 - 60, and 9 - 7 + 1 = 3: rejected until 120
//! (8, 90) (9, 95)            at 121 s: (7, 60) has left, 9 - 8 + 1 = 2: admitted as (10, 121)
//! ```

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::api_tokens::exists;
use super::row::{Row, collect, get_word, query};
use super::{SqliteStore, StoreError};
use crate::clock::Timestamp;
use crate::model::{Admission, ApiTokenId, ApiUse, ApiUseCount};

/// A request that was counted: its number, and its time in Unix microseconds.
type CountedRequest = (i64, i64);

/// What the window that ends now has of the requests of one token.
struct RateWindow {
    /// The time of the request: not before that of the last one.
    now: i64,
    /// Requests up to this number have left the window.
    expired: i64,
    /// The number of the last request.
    last: i64,
    /// Whether the last request is further ahead of the clock than a window is long.
    has_clock_moved_back: bool,
}

impl SqliteStore {
    /// Counts a request unless the limit is reached, in one transaction. What a reader finds to be over the limit needs none:
    /// requests that others make meanwhile can only add to it. A reader looks only after a rejection, so that a flood of
    /// requests over the limit costs no commits, and others cost no second read.
    pub(super) async fn admit_request(
        &self,
        root: ApiTokenId,
        now: Timestamp,
        limit: u32,
        window: Duration,
    ) -> Result<Option<Admission>, StoreError> {
        let (now, window) = (now.as_microsecond(), i64::try_from(window.as_micros()).unwrap_or(i64::MAX));
        if self.limited().contains(&root) {
            let id = root.clone();
            let rejected = self.read(move |sqlite| rejection(sqlite, &id, now, limit, window));
            if let Some(rejected) = rejected.await? {
                return Ok(Some(rejected));
            }
        }
        let id = root.clone();
        let admission = self.write(move |transaction| admit(transaction, &id, now, limit, window)).await?;
        match admission {
            Some(Admission { is_allowed: false, .. }) => self.limited().insert(root),
            _ => self.limited().remove(&root),
        };
        Ok(admission)
    }

    fn limited(&self) -> MutexGuard<'_, HashSet<ApiTokenId>> {
        self.limited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the rejection of a request that needs no write: the limit is reached, and no times have to be changed.
fn rejection(
    sqlite: &Connection,
    root: &ApiTokenId,
    now: i64,
    limit: u32,
    window: i64,
) -> Result<Option<Admission>, StoreError> {
    let found = look(sqlite, root, now, window)?;
    if found.has_clock_moved_back { Ok(None) } else { found.reject(sqlite, root, limit, window) }
}

/// Reads which requests of a token are in the window.
fn look(sqlite: &Connection, root: &ApiTokenId, now: i64, window: i64) -> Result<RateWindow, StoreError> {
    let sql = "SELECT number, at FROM rate_requests WHERE token_id = ?1 ORDER BY number DESC LIMIT 1";
    let last = sqlite.prepare_cached(sql)?.query_row([root.as_str()], counted_request).optional()?;
    let Some((last, last_at)) = last else {
        return Ok(RateWindow { now, expired: 0, last: 0, has_clock_moved_back: false });
    };
    // Two processes may commit in another order than they read the clock, and a clock may be set back: the time stands still
    // then. After a longer step the requests count as made now, for another window, instead of for as long as the step.
    let has_clock_moved_back = last_at.saturating_sub(now) > window;
    let now = if has_clock_moved_back { now } else { now.max(last_at) };
    let since = now.saturating_sub(window);
    let sql = "SELECT number, at FROM rate_requests WHERE token_id = ?1 ORDER BY number";
    let mut statement = sqlite.prepare_cached(sql)?;
    let mut rows = statement.query([root.as_str()])?;
    let mut expired = last;
    // Each row that is passed here is deleted by the next request that is admitted.
    while let Some(row) = rows.next()? {
        let (number, at) = counted_request(row)?;
        if at > since {
            expired = number - 1;
            break;
        }
    }
    Ok(RateWindow { now, expired, last, has_clock_moved_back })
}

fn counted_request(row: &rusqlite::Row<'_>) -> rusqlite::Result<CountedRequest> {
    Ok((row.get("number")?, row.get("at")?))
}

impl RateWindow {
    fn count(&self) -> u32 {
        u32::try_from(self.last - self.expired).unwrap_or(u32::MAX)
    }

    /// When the request with this number leaves the window.
    fn end_of(
        &self,
        sqlite: &Connection,
        root: &ApiTokenId,
        number: i64,
        window: i64,
    ) -> Result<Timestamp, StoreError> {
        let sql = "SELECT at FROM rate_requests WHERE token_id = ?1 AND number = ?2";
        let at: Option<i64> =
            sqlite.prepare_cached(sql)?.query_row((root.as_str(), number), |row| row.get(0)).optional()?;
        let at = at.map_or(self.now, |at| at.min(self.now));
        Ok(Timestamp::from_microsecond(at.saturating_add(window)).unwrap_or(Timestamp::MAX))
    }

    /// Returns the rejection of a request, if the limit is reached.
    fn reject(
        &self,
        sqlite: &Connection,
        root: &ApiTokenId,
        limit: u32,
        window: i64,
    ) -> Result<Option<Admission>, StoreError> {
        if self.count() < limit {
            return Ok(None);
        }
        // There is room when the request is outside before which there are as many as the limit allows, which may have been
        // lowered.
        let number = self.last - i64::from(limit) + 1;
        let resets_at = self.end_of(sqlite, root, number, window)?;
        Ok(Some(Admission { is_allowed: false, limit, remaining: 0, resets_at }))
    }
}

fn admit(
    transaction: &Transaction<'_>,
    root: &ApiTokenId,
    now: i64,
    limit: u32,
    window: i64,
) -> Result<Option<Admission>, StoreError> {
    if !exists(transaction, root)? {
        return Ok(None);
    }
    let found = look(transaction, root, now, window)?;
    if found.has_clock_moved_back {
        let sql = "UPDATE rate_requests SET at = ?2 WHERE token_id = ?1 AND at > ?2";
        transaction.execute(sql, (root.as_str(), now))?;
    }
    if let Some(rejected) = found.reject(transaction, root, limit, window)? {
        return Ok(Some(rejected));
    }
    let sql = "DELETE FROM rate_requests WHERE token_id = ?1 AND number <= ?2";
    transaction.prepare_cached(sql)?.execute((root.as_str(), found.expired))?;
    let sql = "INSERT INTO rate_requests (token_id, number, at) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(sql)?.execute((root.as_str(), found.last + 1, found.now))?;
    let remaining = limit.saturating_sub(found.count()).saturating_sub(1);
    let resets_at = found.end_of(transaction, root, found.expired + 1, window)?;
    Ok(Some(Admission { is_allowed: true, limit, remaining, resets_at }))
}

/// Adds uses to the numbers of their days.
pub(super) fn record(transaction: &Transaction<'_>, uses: &[ApiUse]) -> Result<(), StoreError> {
    let sql = "INSERT INTO api_usage (token_id, day, operation, outcome, count) \
               SELECT id, ?2, ?3, ?4, 1 FROM api_tokens WHERE id = ?1 \
               ON CONFLICT (token_id, day, operation, outcome) DO UPDATE SET count = count + 1";
    let mut statement = transaction.prepare_cached(sql)?;
    for one in uses {
        let day = one.at.to_zoned(TimeZone::UTC).date().to_string();
        statement.execute((one.token.as_str(), day, &one.operation, one.outcome.as_str()))?;
    }
    Ok(())
}

/// Returns the numbers of a token since a day.
pub(super) fn counts(sqlite: &Connection, id: &ApiTokenId, since: Date) -> Result<Vec<ApiUseCount>, StoreError> {
    let sql = "SELECT day, operation, outcome, count FROM api_usage WHERE token_id = ?1 AND day >= ?2 \
               ORDER BY day, operation, outcome";
    let mut statement = sqlite.prepare_cached(sql)?;
    collect(query(&mut statement, (id.as_str(), since.to_string()))?, from_row)
}

fn from_row(row: &Row<'_>) -> Result<ApiUseCount, StoreError> {
    Ok(ApiUseCount {
        day: get_word(row, "day")?,
        operation: row.get("operation")?,
        outcome: get_word(row, "outcome")?,
        count: row.get("count")?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use rusqlite::TransactionBehavior;

    use super::super::migrations;
    use super::*;
    use crate::model::ApiOutcome;

    const WINDOW: i64 = 60_000_000;

    /// A store with two tokens, without a file.
    fn store() -> (Connection, [ApiTokenId; 2]) {
        let mut sqlite = Connection::open_in_memory().unwrap();
        migrations::migrate(&mut sqlite).unwrap();
        let ids = ["tok_a", "tok_b"].map(|id| id.parse::<ApiTokenId>().unwrap());
        for id in &ids {
            let sql = "INSERT INTO api_tokens (id, name, hash, scopes, is_limited, tier, root_id, is_enabled, created_at, \
                       rotated_at, expires_at) VALUES (?1, ?1, CAST (?1 AS BLOB), '[]', 0, 'free', ?1, 1, 0, 0, 0)";
            sqlite.execute(sql, [id.as_str()]).unwrap();
        }
        (sqlite, ids)
    }

    fn ask(sqlite: &mut Connection, id: &ApiTokenId, now: i64, limit: u32) -> Admission {
        if let Some(rejected) = rejection(sqlite, id, now, limit, WINDOW).unwrap() {
            return rejected;
        }
        let transaction = sqlite.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let admission = admit(&transaction, id, now, limit, WINDOW).unwrap().unwrap();
        transaction.commit().unwrap();
        admission
    }

    fn micros(at: Timestamp) -> i64 {
        at.as_microsecond()
    }

    #[test]
    fn a_burst_at_the_edge_of_a_window_gets_no_more_than_the_limit() {
        let (mut sqlite, [id, other]) = store();
        // All 60 in the last microsecond of a minute, and 60 more in the first of the next one.
        let edge = 1_000 * WINDOW;
        for number in 0..60 {
            let admission = ask(&mut sqlite, &id, edge - 1, 60);
            assert_eq!((admission.is_allowed, admission.remaining), (true, 59 - number));
            assert_eq!(micros(admission.resets_at), edge - 1 + WINDOW);
        }
        for now in [edge - 1, edge, edge + 1, edge + WINDOW - 2] {
            let admission = ask(&mut sqlite, &id, now, 60);
            assert_eq!((admission.is_allowed, admission.remaining), (false, 0), "{now}");
            assert_eq!(micros(admission.resets_at), edge - 1 + WINDOW);
        }
        // Exactly a window later there is room for all of them again, as the answers said.
        let admitted = (0..100).filter(|_| ask(&mut sqlite, &id, edge + WINDOW - 1, 60).is_allowed).count();
        assert_eq!(admitted, 60);
        assert!(ask(&mut sqlite, &other, edge, 1).is_allowed, "another token has a window of its own");
        let rows: u32 = sqlite.query_row("SELECT count(*) FROM rate_requests", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 61, "what has left the window is deleted");
    }

    #[test]
    fn a_lower_limit_counts_the_requests_that_a_higher_one_admitted() {
        let (mut sqlite, [id, _]) = store();
        let admitted = (0..10).map(|second| ask(&mut sqlite, &id, second * 1_000_000, 10));
        assert!(admitted.collect::<Vec<_>>().iter().all(|admission| admission.is_allowed));
        let rejected = ask(&mut sqlite, &id, 10_000_000, 3);
        assert!(!rejected.is_allowed);
        // The requests at 7, 8 and 9 s fill the limit until the first of them has left.
        assert_eq!(micros(rejected.resets_at), 7_000_000 + WINDOW);
        assert!(!ask(&mut sqlite, &id, 6_999_999 + WINDOW, 3).is_allowed);
        assert!(ask(&mut sqlite, &id, 7_000_000 + WINDOW, 3).is_allowed);
    }

    #[test]
    fn a_clock_that_is_set_back_admits_no_more_and_blocks_for_a_window_at_most() {
        let (mut sqlite, [id, _]) = store();
        let hour = 60 * WINDOW;
        for _ in 0..3 {
            assert!(ask(&mut sqlite, &id, 2 * hour, 3).is_allowed);
        }
        assert!(!ask(&mut sqlite, &id, 2 * hour - WINDOW / 2, 3).is_allowed);
        let rejected = ask(&mut sqlite, &id, hour, 3);
        assert!(!rejected.is_allowed);
        assert_eq!(micros(rejected.resets_at), hour + WINDOW);
        assert!(!ask(&mut sqlite, &id, hour + WINDOW - 1, 3).is_allowed);
        assert!(ask(&mut sqlite, &id, hour + WINDOW, 3).is_allowed);
    }

    proptest! {
        #[test]
        fn the_window_is_that_of_a_log_of_all_requests(
            limit in 1_u32..6,
            steps in proptest::collection::vec((0_i64..WINDOW / 2, 0_i64..3), 1..60),
        ) {
            let (mut sqlite, [id, _]) = store();
            let mut log: VecDeque<i64> = VecDeque::new();
            let mut now = WINDOW;
            for (step, back) in steps {
                // Several processes may come in another order than they read their clock.
                now += step;
                let read = now - back;
                let at = log.back().map_or(read, |last| read.max(*last));
                while log.front().is_some_and(|first| *first <= at - WINDOW) {
                    log.pop_front();
                }
                let admission = ask(&mut sqlite, &id, read, limit);
                prop_assert_eq!(admission.is_allowed, log.len() < limit as usize);
                if admission.is_allowed {
                    log.push_back(at);
                    prop_assert_eq!(admission.remaining as usize, limit as usize - log.len());
                }
                prop_assert_eq!(micros(admission.resets_at), log.front().unwrap() + WINDOW);
            }
        }
    }

    #[test]
    fn uses_are_counted_by_day_operation_and_outcome() {
        let (mut sqlite, [id, other]) = store();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let day = 86_400;
        let one = |token: &ApiTokenId, second, operation: &str, outcome| ApiUse {
            token: token.clone(),
            at: at(second),
            operation: operation.to_owned(),
            outcome,
        };
        let uses = [
            one(&id, day - 1, "status", ApiOutcome::Succeeded),
            one(&id, day, "status", ApiOutcome::Succeeded),
            one(&id, day + 5, "status", ApiOutcome::Succeeded),
            one(&id, day + 5, "token", ApiOutcome::Denied),
            one(&other, day, "status", ApiOutcome::RateLimited),
            one(&"tok_revoked".parse().unwrap(), day, "status", ApiOutcome::Failed),
        ];
        for uses in uses.chunks(4) {
            let transaction = sqlite.transaction().unwrap();
            record(&transaction, uses).unwrap();
            transaction.commit().unwrap();
        }
        let shown = |since: &str| {
            let counts = counts(&sqlite, &id, since.parse().unwrap()).unwrap();
            let show = |one: &ApiUseCount| format!("{} {} {} {}", one.day, one.operation, one.outcome, one.count);
            counts.iter().map(show).collect::<Vec<_>>()
        };
        let second_day = ["1970-01-02 status succeeded 2", "1970-01-02 token denied 1"];
        assert_eq!(shown("1970-01-02"), second_day);
        assert_eq!(shown("1970-01-01").len(), 3);
    }
}
