//! Connections that broke or recovered, as detected by writes.
//!
//! A write that may change a connection's health reads it before and after in the same transaction, and returns the
//! transition. Of any number of processes that record the same failure, exactly one therefore gets it. The caller notifies
//! the hooks; if it is killed before, nobody else does.

use rusqlite::Transaction;

use super::row::{Row, first, get_word, query};
use super::{SqliteStore, StoreError, connections, subscriptions};
use crate::model::{ConnectionHealth, ConnectionId, ConnectionName, ConnectionTransition, GrantStatus, Transition};

/// The connection that a write is about: one that is to be made has no id yet.
#[derive(Clone, Debug)]
pub(super) enum ConnectionRef {
    Id(ConnectionId),
    Name(ConnectionName),
}

impl SqliteStore {
    /// [`SqliteStore::write`], for what may change a connection's health.
    pub(super) async fn write_tracked<T: Send + 'static>(
        &self,
        subject: ConnectionRef,
        write: impl Fn(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<(T, Option<ConnectionTransition>), StoreError> {
        self.write(move |transaction| {
            let before = health(transaction, &subject)?;
            let value = write(transaction)?;
            let transition = match (before, health(transaction, &subject)?) {
                (Some((_, before)), Some((id, after))) => Transition::between(before, after).map(|change| (id, change)),
                _ => None,
            };
            let Some((id, transition)) = transition else { return Ok((value, None)) };
            let mut connection = connections::find_by_id(transaction, id)?;
            if let Some(connection) = connection.as_mut().filter(|connection| connection.error_count == 0) {
                connection.last_error = subscriptions::failure(transaction, id)?.or(connection.last_error.take());
            }
            Ok((value, connection.map(|connection| ConnectionTransition { connection, transition })))
        })
        .await
    }
}

/// Returns the connection's id and health, if there is such a connection.
///
/// A check that failed counts until another succeeds: a refresh in between gives a new token, and proves nothing of what
/// the check found. A subscription that cannot be renewed counts until it can.
fn health(
    transaction: &Transaction<'_>,
    subject: &ConnectionRef,
) -> Result<Option<(ConnectionId, ConnectionHealth)>, StoreError> {
    const SELECT: &str = "SELECT id, grant_status, check_unauthorized, error_count > 0 OR check_passed IS 0 \
        OR EXISTS (SELECT 1 FROM subscriptions s WHERE s.connection_id = connections.id \
        AND s.status = 'active' AND s.failures > 0) AS is_failing \
        FROM connections";
    match subject {
        ConnectionRef::Id(id) => {
            let mut statement = transaction.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
            first(query(&mut statement, [id.0])?, from_row)
        }
        ConnectionRef::Name(name) => {
            let mut statement =
                transaction.prepare_cached(&format!("{SELECT} WHERE connector = ?1 AND account = ?2"))?;
            first(query(&mut statement, (name.connector(), name.account().unwrap_or_default()))?, from_row)
        }
    }
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
