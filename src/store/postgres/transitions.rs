//! Connections that broke or recovered, as detected by writes.
//!
//! A write that may change a connection's health locks its row and reads it before and after. Of any number of processes
//! that record the same failure, exactly one therefore gets the transition.

use tokio_postgres::Row;

use super::row::{get, get_word};
use super::transaction::Transaction;
use super::{connections, subscriptions};
use crate::model::{ConnectionHealth, ConnectionId, ConnectionName, ConnectionTransition, GrantStatus, Transition};
use crate::store::StoreError;

/// The connection that a write is about: one that is to be made has no id yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum TrackedConnection<'a> {
    Id(ConnectionId),
    Name(&'a ConnectionName),
}

/// A connection's health before a write.
pub(super) struct HealthBefore<'a> {
    subject: TrackedConnection<'a>,
    health: Option<(ConnectionId, ConnectionHealth)>,
}

impl<'a> HealthBefore<'a> {
    /// Reads the health, and locks the connection until the transaction ends.
    pub(super) async fn read(transaction: &Transaction, subject: TrackedConnection<'a>) -> Result<Self, StoreError> {
        Ok(Self { subject, health: health(transaction, subject).await? })
    }

    /// Returns the transition that the transaction has made of it.
    pub(super) async fn transition(
        self,
        transaction: &Transaction,
    ) -> Result<Option<ConnectionTransition>, StoreError> {
        let Some((_, before)) = self.health else { return Ok(None) };
        let Some((id, after)) = health(transaction, self.subject).await? else { return Ok(None) };
        let Some(transition) = Transition::between(before, after) else { return Ok(None) };
        let Some(mut connection) = connections::find_by_id(transaction, id).await? else { return Ok(None) };
        if connection.error_count == 0 {
            connection.last_error = subscriptions::failure(transaction, id).await?.or(connection.last_error);
        }
        Ok(Some(ConnectionTransition { connection, transition }))
    }
}

/// Returns the connection's id and health, if there is such a connection.
///
/// A check that failed counts until another succeeds, and a subscription that cannot be renewed until it can.
async fn health(
    transaction: &Transaction,
    subject: TrackedConnection<'_>,
) -> Result<Option<(ConnectionId, ConnectionHealth)>, StoreError> {
    const SELECT: &str = "SELECT id, grant_status, check_unauthorized, error_count > 0 OR check_passed IS FALSE \
        OR EXISTS (SELECT 1 FROM integ.subscriptions s WHERE s.workspace_id = $1 AND s.connection_id = connections.id \
        AND s.status = 'active' AND s.failures > 0) AS is_failing FROM integ.connections WHERE workspace_id = $1";
    // Inserts that refer to the connection need not wait.
    let row = match subject {
        TrackedConnection::Id(id) => {
            transaction.first(&format!("{SELECT} AND id = $2 FOR NO KEY UPDATE OF connections"), &[&id.0]).await?
        }
        TrackedConnection::Name(name) => {
            let sql = format!("{SELECT} AND connector = $2 AND account = $3 FOR NO KEY UPDATE OF connections");
            transaction.first(&sql, &[&name.connector(), &name.account().unwrap_or_default()]).await?
        }
    };
    row.as_ref().map(from_row).transpose()
}

fn from_row(row: &Row) -> Result<(ConnectionId, ConnectionHealth), StoreError> {
    let health = match get_word(row, "grant_status")? {
        GrantStatus::NeedsReauth => ConnectionHealth::Unauthorized,
        GrantStatus::Disconnected => ConnectionHealth::Disconnected,
        GrantStatus::Active if get(row, "check_unauthorized")? => ConnectionHealth::Unauthorized,
        GrantStatus::Active if get(row, "is_failing")? => ConnectionHealth::Failing,
        GrantStatus::Active => ConnectionHealth::Healthy,
    };
    Ok((ConnectionId(get(row, "id")?), health))
}
