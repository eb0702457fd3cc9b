//! Changes of the health of connections, found by the writes that cause them.
//!
//! A write that may change a connection's health reads it before and after in the same transaction. Of any number of
//! processes that record the same failure exactly one therefore sees the change, and only committed changes are
//! reported. The owner of the store drains them and notifies the hooks. If its process is killed before that, no other
//! process does.

use std::sync::{MutexGuard, PoisonError};

use rusqlite::{OptionalExtension, Row, Transaction};

use super::row::get_word;
use super::{Store, StoreError, connections, subscriptions};
use crate::model::connection::{ConnectionHealth, ConnectionId, ConnectionTransition, GrantStatus, Transition};
use crate::model::name::ConnectionName;

/// The connection that a write is about: one that is to be made has no id yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum ConnectionRef<'a> {
    Id(ConnectionId),
    Name(&'a ConnectionName),
}

impl Store {
    /// The changes since the last call, in the order in which they were committed.
    pub fn drain_transitions(&self) -> Vec<ConnectionTransition> {
        std::mem::take(&mut *self.changes())
    }

    /// [`Store::write`], for what may change a connection's health.
    pub(super) fn write_tracked<T>(
        &self,
        subject: ConnectionRef<'_>,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (value, changed) = self.write(|transaction| {
            let before = health(transaction, subject)?;
            let value = write(transaction)?;
            let transition = match (before, health(transaction, subject)?) {
                (Some((_, before)), Some((id, after))) => Transition::between(before, after).map(|change| (id, change)),
                _ => None,
            };
            let changed = match transition {
                Some((id, transition)) => {
                    let mut connection = connections::find_by_id(transaction, id)?;
                    if let Some(connection) = connection.as_mut().filter(|connection| connection.error_count == 0) {
                        connection.last_error =
                            subscriptions::failure(transaction, id)?.or(connection.last_error.take());
                    }
                    connection.map(|connection| ConnectionTransition { connection, transition })
                }
                None => None,
            };
            Ok((value, changed))
        })?;
        self.changes().extend(changed);
        Ok(value)
    }

    fn changes(&self) -> MutexGuard<'_, Vec<ConnectionTransition>> {
        self.transitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection's id and health; absent if there is no such connection.
///
/// A failed check counts until another passes: a refresh in between gives a new token, which says nothing about what
/// the check found. A subscription that cannot be renewed counts until it can.
fn health(
    transaction: &Transaction<'_>,
    subject: ConnectionRef<'_>,
) -> Result<Option<(ConnectionId, ConnectionHealth)>, StoreError> {
    const SELECT: &str = "SELECT id, grant_status, check_unauthorized, error_count > 0 OR check_passed IS 0 \
        OR EXISTS (SELECT 1 FROM subscriptions s WHERE s.connection_id = connections.id \
        AND s.status = 'active' AND s.failures > 0) AS is_failing \
        FROM connections";
    let row = match subject {
        ConnectionRef::Id(id) => transaction
            .prepare_cached(&format!("{SELECT} WHERE id = ?1"))?
            .query_row([id.0], |row| Ok(from_row(row)))
            .optional()?,
        ConnectionRef::Name(name) => transaction
            .prepare_cached(&format!("{SELECT} WHERE connector = ?1 AND account = ?2"))?
            .query_row((name.connector(), name.account().unwrap_or_default()), |row| Ok(from_row(row)))
            .optional()?,
    };
    row.transpose()
}

fn from_row(row: &Row<'_>) -> Result<(ConnectionId, ConnectionHealth), StoreError> {
    let health = match get_word(row, "grant_status")? {
        GrantStatus::NeedsReauth => ConnectionHealth::Unauthorized,
        GrantStatus::Disconnected => ConnectionHealth::Disconnected,
        GrantStatus::Active if row.get("check_unauthorized")? => ConnectionHealth::Unauthorized,
        GrantStatus::Active if row.get("is_failing")? => ConnectionHealth::Failing,
        GrantStatus::Active => ConnectionHealth::Healthy,
    };
    Ok((ConnectionId(row.get("id")?), health))
}
