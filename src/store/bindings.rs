//! Bindings, and the inputs that they failed on.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{Binding, BindingChange, BindingFailure, BindingId, BindingName, BindingOrigin, BindingResults};

/// The bindings of a workspace. They outlive connections; a failure is deleted with its record or its event.
#[async_trait]
pub trait Bindings: Send + Sync {
    /// Returns all bindings, sorted by name.
    async fn list(&self) -> Result<Vec<Binding>, StoreError>;

    /// Returns the binding of this name, if there is one.
    async fn find(&self, name: &BindingName) -> Result<Option<Binding>, StoreError>;

    /// Stores a binding, in place of the one of this name. Its failures stay, if it is for the same inputs.
    async fn put(
        &self,
        name: &BindingName,
        origin: &BindingOrigin,
        text: &str,
        now: Timestamp,
    ) -> Result<BindingChange, StoreError>;

    /// Removes a binding with its failures, and returns whether there was one.
    async fn remove(&self, name: &BindingName) -> Result<bool, StoreError>;

    /// Records what a binding made of inputs, in one commit. Of failures a fixed number is stored; further ones are counted.
    async fn record_results(&self, id: BindingId, results: BindingResults, now: Timestamp) -> Result<(), StoreError>;

    /// Returns the failures of a binding, oldest first.
    async fn failures(&self, id: BindingId, limit: u32) -> Result<Vec<BindingFailure>, StoreError>;
}
