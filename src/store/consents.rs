//! What users allow.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{Consent, ConsentFilter, ConsentId};

/// The consents of a workspace. None is deleted but with its user.
#[async_trait]
pub trait Consents: Send + Sync {
    /// Stores a consent.
    async fn grant(&self, consent: &Consent) -> Result<(), StoreError>;

    /// Revokes the consents that match and are not revoked, and returns them.
    async fn revoke(&self, filter: &ConsentFilter, now: Timestamp) -> Result<Vec<Consent>, StoreError>;

    /// Returns a consent.
    async fn find(&self, id: &ConsentId) -> Result<Option<Consent>, StoreError>;

    /// Revokes a consent. Returns whether it was granted until now.
    async fn revoke_one(&self, id: &ConsentId, now: Timestamp) -> Result<bool, StoreError>;

    /// Returns up to `limit` consents that match, the newest first.
    async fn list(&self, filter: &ConsentFilter, limit: u32) -> Result<Vec<Consent>, StoreError>;
}
