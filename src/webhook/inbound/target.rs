//! A connection that receives webhooks, with its verification keys.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use url::Url;

use crate::clock::{Clock, Stopwatch};
use crate::connector::WebhookDefinition;
use crate::http::Route;
use crate::model::{ConnectionId, ConnectionName, EventId, WorkspaceName};
use crate::runtime::ProcessMetrics;
use crate::signing::verify::SigningContext;
use crate::store::Store;

/// A connection that webhooks are received for.
pub struct ReceiveTarget {
    pub workspace: WorkspaceName,
    pub connection: ConnectionId,
    pub name: ConnectionName,
    pub connector: String,
    /// The last part of its URL.
    pub path: String,
    /// What the vendor calls, without a query; some sign it.
    pub public_url: Url,
    pub rules: Arc<WebhookDefinition>,
    /// Shared with those who confirm its events, and with later targets of the connection.
    pub keys: Arc<Mutex<Arc<SigningContext>>>,
    /// When they were last read from the store.
    pub keys_read_at: Mutex<Stopwatch>,
    /// What the vendor's own pages are fetched through.
    pub route: Route,
    /// Whether anybody handles its events.
    pub has_handlers: bool,
    /// The largest body that is taken, in bytes.
    pub max_body: usize,
    /// Where its events are stored.
    pub store: Arc<dyn Store>,
    pub signals: Arc<EventSignals>,
    /// Where its events are counted.
    pub metrics: Arc<ProcessMetrics>,
}

/// Wakes those who work on the events of a connection. What another process stores wakes nobody here: they look for it now
/// and then.
#[derive(Debug, Default)]
pub struct EventSignals {
    /// Waited for by the one that hands events to handlers.
    pub to_handle: Notify,
    /// Waited for by the one that asks the vendor about events.
    pub to_confirm: Notify,
    /// Events with requests that wait for a handler's answer; the dispatcher waits for them.
    awaited: Mutex<Vec<EventId>>,
    pub to_answer: Notify,
    /// Whether this process hands the events to handlers.
    is_handled_here: AtomicBool,
}

impl EventSignals {
    /// An event was committed.
    pub fn event_stored(&self) {
        self.to_handle.notify_one();
        self.to_confirm.notify_one();
    }

    /// A request waits for the answer to its event, which is therefore handled before others. Returns whether anyone here
    /// will.
    pub(in crate::webhook) fn await_answer(&self, event: EventId) -> bool {
        if !self.is_handled_here.load(Ordering::Acquire) {
            return false;
        }
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.to_answer.notify_one();
        true
    }

    /// Takes the events with requests that have begun to wait.
    pub(in crate::webhook) fn take_awaited(&self) -> Vec<EventId> {
        std::mem::take(&mut *self.awaited.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says whether this process hands the events to handlers.
    pub(in crate::webhook) fn set_handled_here(&self, is_handled_here: bool) {
        self.is_handled_here.store(is_handled_here, Ordering::Release);
        if !is_handled_here {
            self.take_awaited();
        }
    }

    /// The vendor said whether it sent an event.
    pub fn event_confirmed(&self) {
        self.to_handle.notify_one();
    }
}

impl ReceiveTarget {
    /// Reads the secrets and values that another process has put in force meanwhile, and leaves out secrets that are over.
    pub(in crate::webhook) async fn reload_keys(&self, clock: &Clock) {
        let Ok(Some(row)) = self.store.webhooks().get(self.connection).await else { return };
        let secrets = row.secrets(clock.now());
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = Arc::make_mut(&mut keys);
        if !secrets.is_empty() && keys.secrets != secrets {
            keys.secrets = secrets;
        }
        keys.values.extend(&row.params);
    }

    /// The keys that requests are verified with now.
    pub(in crate::webhook) fn signing_context(&self) -> Arc<SigningContext> {
        Arc::clone(&self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
