//! Stores the state of an emulated vendor: one JSON document per connector, in the workspace's store.

use std::sync::{Arc, Weak};

use serde_json::Value;

use super::state::SandboxState;
use crate::store::{Store, StoreError, state_key};

/// The state of one connector's emulation, which any number of processes change at once.
#[derive(Clone)]
pub struct SandboxStateStore {
    /// The workspace keeps the store open: a request that is being cut off must not be the last to close it.
    store: Weak<dyn Store>,
    key: String,
}

/// A state, with the document that it was read from.
pub(super) struct StoredState {
    document: Option<Value>,
    pub(super) state: SandboxState,
}

impl SandboxStateStore {
    /// Returns the place of a connector's state, which is open for as long as `store` is.
    pub fn new(store: &Arc<dyn Store>, connector: &str) -> Self {
        Self { store: Arc::downgrade(store), key: state_key(connector) }
    }

    fn store(&self) -> Result<Arc<dyn Store>, StoreError> {
        self.store.upgrade().ok_or(StoreError::Closed)
    }

    pub(super) async fn load(&self) -> Result<StoredState, StoreError> {
        let document = self.store()?.sandbox().get(&self.key).await?;
        // A document that another version wrote and this one cannot read is worth less than a sandbox that works.
        let state = document.clone().and_then(|document| serde_json::from_value(document).ok()).unwrap_or_default();
        Ok(StoredState { document, state })
    }

    /// Stores a state if the document is still the one that `before` was read from, and returns whether it was. A state that
    /// has not changed is not written.
    pub(super) async fn replace(&self, before: &StoredState, after: &SandboxState) -> Result<bool, StoreError> {
        if *after == before.state {
            return Ok(true);
        }
        let Ok(document) = serde_json::to_value(after) else { return Ok(true) };
        match self.store()?.sandbox().replace(&self.key, before.document.as_ref(), Some(&document)).await {
            // In a folder that cannot be written the emulation answers, and forgets.
            Err(StoreError::ReadOnly(_)) => Ok(true),
            replaced => replaced,
        }
    }
}
