//! Operators, their links to the dashboard, and their sessions.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{Operator, OperatorActivity, OperatorName, OperatorRole, OperatorSession};

/// The operators of a workspace. Only hashes of the secrets of links and sessions are stored.
#[async_trait]
pub trait Operators: Send + Sync {
    /// Returns all operators, sorted by name.
    async fn list(&self, now: Timestamp) -> Result<Vec<OperatorActivity>, StoreError>;

    /// Returns an operator.
    async fn find(&self, name: &OperatorName) -> Result<Option<Operator>, StoreError>;

    /// Stores an operator, or changes the role of the one of that name. Returns whether it is new.
    async fn set(&self, name: &OperatorName, role: OperatorRole, now: Timestamp) -> Result<bool, StoreError>;

    /// Deletes an operator with its links and sessions. Returns whether there was one.
    async fn remove(&self, name: &OperatorName) -> Result<bool, StoreError>;

    /// Stores a link for an operator, and deletes links and sessions that have ended. Returns whether there is such an operator.
    async fn add_link(
        &self,
        operator: &OperatorName,
        secret_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Returns the operator of a link that can be used.
    async fn find_link(&self, secret_hash: &[u8; 32], now: Timestamp) -> Result<Option<Operator>, StoreError>;

    /// Uses up a link and starts a session, in one transaction. Returns the operator, if the link could be used.
    async fn start_session(
        &self,
        link_hash: &[u8; 32],
        session_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<Operator>, StoreError>;

    /// Returns a session, also one that has ended, with the present role of its operator.
    async fn find_session(&self, secret_hash: &[u8; 32]) -> Result<Option<OperatorSession>, StoreError>;

    /// Notes that a session is used.
    async fn touch_session(&self, secret_hash: &[u8; 32], now: Timestamp) -> Result<(), StoreError>;

    /// Deletes a session.
    async fn end_session(&self, secret_hash: &[u8; 32]) -> Result<(), StoreError>;
}
