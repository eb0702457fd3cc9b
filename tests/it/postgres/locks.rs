//! Locks as rows: a lease that nobody renews expires.

use async_trait::async_trait;
use integ::clock::Timestamp;
use integ::store::{Fence, LEASE_DURATION, Lease, LockKey, Locks, StoreError};
use tokio_postgres::Transaction;

use super::store::{PostgresStore, failed, signed, unsigned};

#[async_trait]
impl Locks for PostgresStore {
    async fn try_acquire(&self, key: LockKey, now: Timestamp) -> Result<Option<Lease>, StoreError> {
        let sql = "INSERT INTO locks (key, holder, fence, expires_at) VALUES ($1, $2, 1, $3)
                   ON CONFLICT (key) DO UPDATE SET holder = excluded.holder, fence = locks.fence + 1,
                       expires_at = excluded.expires_at
                   WHERE locks.expires_at < $4
                   RETURNING fence";
        let (name, expires_at) = (key.to_string(), expiry(now));
        let client = self.client().await?;
        let found = client
            .query_opt(sql, &[&name, &self.holder, &expires_at.as_millisecond(), &now.as_millisecond()])
            .await
            .map_err(failed)?;
        let Some(row) = found else { return Ok(None) };
        let number = unsigned(row.try_get("fence").map_err(failed)?)?;
        // There is nothing of the operating system's to let go of.
        Ok(Some(Lease::new(Fence { key, number }, expires_at, ())))
    }

    /// A lease that was released is not renewed by a renewal that was under way.
    async fn renew(&self, fence: Fence, now: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE locks SET expires_at = $3 WHERE key = $1 AND fence = $2 AND holder <> ''";
        let values = (fence.key.to_string(), signed(fence.number)?, expiry(now).as_millisecond());
        let client = self.client().await?;
        match client.execute(sql, &[&values.0, &values.1, &values.2]).await.map_err(failed)? {
            0 => Err(StoreError::LeaseLost(fence.key)),
            _ => Ok(()),
        }
    }

    async fn is_held(&self, key: LockKey, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM locks WHERE key = $1 AND expires_at >= $2";
        let client = self.client().await?;
        let found = client.query_opt(sql, &[&key.to_string(), &now.as_millisecond()]).await.map_err(failed)?;
        Ok(found.is_some())
    }

    /// The row stays: the number must go on from here.
    async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        let sql = "UPDATE locks SET holder = '', expires_at = 0 WHERE key = $1 AND fence = $2";
        let (name, number) = (lease.fence.key.to_string(), signed(lease.fence.number)?);
        let client = self.client().await?;
        client.execute(sql, &[&name, &number]).await.map_err(failed)?;
        Ok(())
    }
}

/// Fails the transaction if another has taken the lock, and keeps others from taking it until the transaction ends.
pub async fn check_fence(transaction: &Transaction<'_>, fence: Fence) -> Result<(), StoreError> {
    let sql = "SELECT fence FROM locks WHERE key = $1 FOR SHARE";
    let found = transaction.query_opt(sql, &[&fence.key.to_string()]).await.map_err(failed)?;
    match found.map(|row| row.try_get::<_, i64>("fence")).transpose().map_err(failed)? {
        Some(number) if number == signed(fence.number)? => Ok(()),
        _ => Err(StoreError::LeaseLost(fence.key)),
    }
}

fn expiry(now: Timestamp) -> Timestamp {
    now.checked_add(LEASE_DURATION).unwrap_or(Timestamp::MAX)
}
