//! A connection that webhooks are received for, with the keys that its requests are verified with.

use std::sync::{Mutex, PoisonError};

use url::Url;

use crate::clock::{Clock, Stopwatch};
use crate::connector::WebhookDefinition;
use crate::http::Route;
use crate::model::{ConnectionId, ConnectionName};
use crate::signing::verify::SigningContext;
use crate::store::Store;

/// A connection that webhooks are received for.
pub struct ReceiveTarget {
    pub connection: ConnectionId,
    pub name: ConnectionName,
    pub connector: String,
    /// The last part of its URL.
    pub path: String,
    /// What the vendor calls, without a query; some sign it.
    pub public_url: Url,
    pub rules: WebhookDefinition,
    pub keys: Mutex<SigningContext>,
    /// When they were last read from the store.
    pub keys_read_at: Mutex<Stopwatch>,
    /// What the vendor's own pages are fetched through.
    pub route: Route,
    /// Whether anybody handles its events.
    pub has_handlers: bool,
    /// The largest body that is taken, in bytes.
    pub max_body: usize,
}

impl ReceiveTarget {
    /// Reads the secrets and values that another process has put in force meanwhile, and leaves out secrets that are over.
    pub(in crate::webhook) async fn reload_keys(&self, store: &dyn Store, clock: &Clock) {
        let Ok(Some(row)) = store.webhooks().get(self.connection).await else { return };
        let secrets = row.secrets(clock.now());
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !secrets.is_empty() && keys.secrets != secrets {
            keys.secrets = secrets;
        }
        keys.values.extend(&row.params);
    }

    /// The keys that requests are verified with now.
    pub(in crate::webhook) fn signing_context(&self) -> SigningContext {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
