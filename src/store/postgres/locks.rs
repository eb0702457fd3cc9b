//! Locks as rows on the server's clock: a lease that nobody renews expires, whatever the clocks of its users say.

use std::time::Duration;

use async_trait::async_trait;

use super::PostgresStore;
use super::row::{get_millis, number, signed};
use super::server_clock::server_now;
use super::transaction::Transaction;
use crate::clock::Timestamp;
use crate::store::{Fence, LEASE_DURATION, Lease, LockKey, Locks, StoreError};

#[async_trait]
impl Locks for PostgresStore {
    async fn try_acquire(&self, key: LockKey, _: Timestamp) -> Result<Option<Lease>, StoreError> {
        let sql = concat!(
            "INSERT INTO integ.locks (workspace_id, key, holder, fence, expires_at) VALUES ($1, $2, $3, 1, ",
            server_now!(),
            " + $4) ON CONFLICT (workspace_id, key) DO UPDATE SET holder = excluded.holder, fence = locks.fence + 1, \
             expires_at = excluded.expires_at WHERE locks.expires_at < ",
            server_now!(),
            " RETURNING fence, expires_at"
        );
        let transaction = self.begin().await?;
        let row = transaction.first(sql, &[&key.to_string(), &&*self.holder, &lease_millis()]).await?;
        let Some(row) = row else { return Ok(None) };
        let (number, expires_at) = (number(&row, "fence")?, get_millis(&row, "expires_at")?);
        transaction.commit().await?;
        // There is nothing of the operating system's to let go of.
        Ok(Some(Lease::new(Fence { key, number }, expires_at, ())))
    }

    fn orphan_lifetime(&self) -> Duration {
        LEASE_DURATION
    }

    /// A lease that was released is not renewed by a renewal that was under way.
    async fn renew(&self, fence: Fence, _: Timestamp) -> Result<(), StoreError> {
        let sql = concat!(
            "UPDATE integ.locks SET expires_at = ",
            server_now!(),
            " + $4 WHERE workspace_id = $1 AND key = $2 AND fence = $3 AND holder <> ''"
        );
        match self.execute(sql, &[&fence.key.to_string(), &signed(fence.number), &lease_millis()]).await? {
            0 => Err(StoreError::LeaseLost(fence.key)),
            _ => Ok(()),
        }
    }

    async fn is_held(&self, key: LockKey, _: Timestamp) -> Result<bool, StoreError> {
        let sql =
            concat!("SELECT 1 FROM integ.locks WHERE workspace_id = $1 AND key = $2 AND expires_at >= ", server_now!());
        Ok(self.row(sql, &[&key.to_string()]).await?.is_some())
    }

    /// The row stays: the number must go on from here.
    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        let sql =
            "UPDATE integ.locks SET holder = '', expires_at = 0 WHERE workspace_id = $1 AND key = $2 AND fence = $3";
        self.execute(sql, &[&lease.fence.key.to_string(), &signed(lease.fence.number)]).await.map(drop)
    }
}

/// Fails the transaction if another has taken the lock, and keeps others from taking it until the transaction ends.
pub(super) async fn check_fence(transaction: &Transaction, fence: Fence) -> Result<(), StoreError> {
    let sql = "SELECT fence FROM integ.locks WHERE workspace_id = $1 AND key = $2 FOR SHARE";
    let row = transaction.first(sql, &[&fence.key.to_string()]).await?;
    match row.map(|row| number::<u64>(&row, "fence")).transpose()? {
        Some(number) if number == fence.number => Ok(()),
        _ => Err(StoreError::LeaseLost(fence.key)),
    }
}

fn lease_millis() -> i64 {
    i64::try_from(LEASE_DURATION.as_millis()).unwrap_or(i64::MAX)
}
