//! Schedules: when streams are synced.

use rusqlite::Row;

use super::row::{collect, connection_name, get_optional_seconds, get_seconds};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::model::connection::ConnectionId;
use crate::model::schedule::Schedule;

/// The schedules of a store.
#[derive(Clone, Copy, Debug)]
pub struct Schedules<'a>(pub(super) &'a Store);

impl Schedules<'_> {
    /// Sets a schedule, replacing one of the same connection and stream.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set(
        &self,
        connection: ConnectionId,
        stream: Option<&str>,
        rule: &str,
        jitter_secs: u32,
        next_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "INSERT INTO schedules (connection_id, stream, rule, jitter_secs, next_at) VALUES (?1, ?2, ?3, ?4, ?5) \
                       ON CONFLICT DO UPDATE SET rule = excluded.rule, jitter_secs = excluded.jitter_secs, \
                       next_at = excluded.next_at";
            transaction.execute(
                sql,
                (connection.0, stream.unwrap_or_default(), rule, jitter_secs, next_at.as_second()),
            )?;
            Ok(())
        })
    }

    /// Removes a schedule; false if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(&self, connection: ConnectionId, stream: Option<&str>) -> Result<bool, StoreError> {
        self.0.write(|transaction| {
            let sql = "DELETE FROM schedules WHERE connection_id = ?1 AND stream = ?2";
            Ok(transaction.execute(sql, (connection.0, stream.unwrap_or_default()))? == 1)
        })
    }

    /// The next one to come first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self) -> Result<Vec<Schedule>, StoreError> {
        self.0.read(|sqlite| {
            let sql = "SELECT c.connector, c.account, s.stream, s.rule, s.jitter_secs, s.next_at, s.last_at \
                       FROM schedules s JOIN connections c ON c.id = s.connection_id ORDER BY s.next_at, s.id";
            let mut statement = sqlite.prepare_cached(sql)?;
            collect(statement.query([])?, from_row)
        })
    }

    /// Corrects a next time that was written while the clock was fast.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_next_at(&self, schedule: &Schedule, next_at: Timestamp) -> Result<(), StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE schedules SET next_at = ?4 WHERE stream = ?2 AND next_at = ?3 AND connection_id = \
                       (SELECT id FROM connections WHERE connector = ?1 AND account = ?5)";
            let (name, stream) = (&schedule.connection, schedule.stream.as_deref().unwrap_or_default());
            let (old, new) = (schedule.next_at.as_second(), next_at.as_second());
            let account = name.account().unwrap_or_default();
            transaction.execute(sql, (name.connector(), stream, old, new, account))?;
            Ok(())
        })
    }

    /// Claims a schedule that is due, so that of several processes one runs it: moves it on from `due_at`. False if
    /// another process has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn claim(
        &self,
        connection: ConnectionId,
        stream: Option<&str>,
        due_at: Timestamp,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.0.write(|transaction| {
            let sql = "UPDATE schedules SET next_at = ?4, last_at = ?5 \
                       WHERE connection_id = ?1 AND stream = ?2 AND next_at = ?3";
            let times = (due_at.as_second(), next_at.as_second(), now.as_second());
            let taken =
                transaction.execute(sql, (connection.0, stream.unwrap_or_default(), times.0, times.1, times.2))?;
            Ok(taken == 1)
        })
    }
}

fn from_row(row: &Row<'_>) -> Result<Schedule, StoreError> {
    Ok(Schedule {
        connection: connection_name(row)?,
        stream: Some(row.get::<_, String>("stream")?).filter(|stream| !stream.is_empty()),
        rule: row.get("rule")?,
        jitter_secs: row.get("jitter_secs")?,
        next_at: get_seconds(row, "next_at")?,
        last_at: get_optional_seconds(row, "last_at")?,
    })
}
