//! Trust in the identity tokens of CI systems.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{ApiTokenName, ApiTokenTrust, TokenExchange, TokenExchangeResult};

/// Which identity tokens are exchanged for API tokens.
#[async_trait]
pub trait ApiTokenTrusts: Send + Sync {
    /// Stores a trust; false if there is one of this name.
    ///
    /// # Errors
    /// [`StoreError::ConnectionNotFound`] if one of its connections was removed.
    async fn add(&self, trust: &ApiTokenTrust) -> Result<bool, StoreError>;

    /// Returns all trusts, sorted by name.
    async fn list(&self) -> Result<Vec<ApiTokenTrust>, StoreError>;

    /// Removes a trust and revokes the tokens that came from it. Returns their number; `None` if it does not exist.
    async fn remove(&self, name: &ApiTokenName) -> Result<Option<u64>, StoreError>;

    /// Stores the API token that an identity token is exchanged for, once: of any number of exchanges of one identity token,
    /// one is stored. Removes tokens of trusts that expired a day ago.
    async fn exchange(&self, exchange: &TokenExchange, now: Timestamp) -> Result<TokenExchangeResult, StoreError>;
}
