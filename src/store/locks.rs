//! Locks that do not outlive their holder or its machine.
//!
//! A lock is a lease: it has a holder, an expiry, and a fencing number that increases with every holder. What a holder
//! commits names its number ([`Fence`]); a commit of a holder that was paused for longer than its lease, and whose lock
//! another has taken since, fails with [`StoreError::LeaseLost`] and changes nothing.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{ConnectionId, StreamId};

/// How long a lease lasts unless it is renewed. A holder renews it after a third of this, so that two renewals may fail.
pub const LEASE_DURATION: Duration = Duration::from_secs(60);

/// What one process does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKey {
    /// Refreshing the grant of a connection.
    Grant(ConnectionId),
    /// Creating, renewing and deleting the subscriptions of a connection.
    Subscriptions(ConnectionId),
    /// Handling the events of a connection.
    Events(ConnectionId),
    /// Confirming the events of a connection with the vendor.
    Confirmations(ConnectionId),
    /// Syncing a stream.
    Stream(StreamId),
    /// Writing the entities of two-way bindings to a connection.
    Entities(ConnectionId),
    /// Delivering messages to endpoints.
    Deliveries,
}

impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(id) => write!(f, "grant-{}", id.0),
            Self::Subscriptions(id) => write!(f, "subscriptions-{}", id.0),
            Self::Events(id) => write!(f, "events-{}", id.0),
            Self::Confirmations(id) => write!(f, "confirmations-{}", id.0),
            Self::Stream(id) => write!(f, "stream-{}", id.0),
            Self::Entities(id) => write!(f, "entities-{}", id.0),
            Self::Deliveries => f.write_str("deliveries"),
        }
    }
}

/// The fencing number of a lock's holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    pub key: LockKey,
    pub number: u64,
}

/// A lock that is held. Dropping it releases what this process holds of it; a lease that is kept elsewhere expires, unless
/// [`Locks::release`] ends it.
pub struct Lease {
    pub fence: Fence,
    pub expires_at: Timestamp,
    /// The operating system's part of the lock.
    pub(super) _guard: Box<dyn Any + Send + Sync>,
}

impl Lease {
    /// `guard` is dropped with the lease.
    pub fn new(fence: Fence, expires_at: Timestamp, guard: impl Any + Send + Sync) -> Self {
        Self { fence, expires_at, _guard: Box::new(guard) }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("fence", &self.fence).field("expires_at", &self.expires_at).finish()
    }
}

/// The locks of a workspace.
#[async_trait]
pub trait Locks: Send + Sync {
    /// Takes the lock for [`LEASE_DURATION`]; `None` if somebody holds it.
    async fn try_acquire(&self, key: LockKey, now: Timestamp) -> Result<Option<Lease>, StoreError>;

    /// Extends the lease to [`LEASE_DURATION`] from now.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if it expired and another has taken the lock.
    async fn renew(&self, fence: Fence, now: Timestamp) -> Result<(), StoreError>;

    /// Returns whether somebody holds the lock.
    async fn is_held(&self, key: LockKey, now: Timestamp) -> Result<bool, StoreError>;

    /// Ends the lease, so that the next holder need not wait until it expires.
    async fn release(&self, lease: Lease) -> Result<(), StoreError>;

    /// Returns how long a lock stays whose holder was killed.
    fn orphan_lifetime(&self) -> Duration {
        Duration::ZERO
    }
}
