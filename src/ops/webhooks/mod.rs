//! Operations on the webhooks of services: their URLs and secrets, subscriptions, receiving, and the events received.

mod error;
mod events;
mod listen;
mod replay;
mod settings;
mod simulate;
mod subscriptions;
mod verify;

pub use error::WebhookOperationError;
pub use events::{
    ListEventsRequest, PruneEventsRequest, ResolveConflictRequest, list_events, prune_events, read_event_body,
    resolve_conflict, retry_events, show_event,
};
pub use listen::{ListenObserver, ListenStarted, UnknownEventType, listen};
pub use replay::{BackfillEventsRequest, ReplayEventsRequest, backfill_events, replay_events};
pub use settings::{
    NewWebhookSecret, SetPublicUrlRequest, SetWebhookSecretRequest, reveal_webhook_secret, set_public_url,
    set_webhook_secret, show_webhook_secret, show_webhook_url,
};
pub use simulate::{
    SimulateEventsRequest, SimulationObserver, SimulationResult, SimulationTarget, list_sample_events,
    preview_simulation, simulate_events,
};
pub use subscriptions::{
    SubscribeRequest, SubscriptionPreview, UnsubscribeRequest, preview_subscription, subscribe, unsubscribe,
};
pub use verify::{VerifyRequest, verify_request};

use super::Effect::{Destroy, Read, Write};
use super::OperationScope::Webhooks;
use super::Reach::{Agent, Api};
use super::{Effect, Operation};
use crate::model::ApiVerb;

/// The operations of this module.
///
/// Operations that print a secret, choose a URL or run a program are for the owner only.
pub const OPERATIONS: &[Operation] = &[
    local("webhook url --public-url", Write),
    local("webhook secret --print-secret", Read),
    local("webhook secret --set", Write),
    local("webhook listen", Write),
    local("webhook simulate --to", Write),
    // Without a URL, events go to this machine's own listener.
    local("webhook simulate", Write).requires(ApiVerb::Simulate).reachable_by(Api),
    local("webhook simulate --dry-run", Read).requires(ApiVerb::Simulate),
    local("webhook subscribe --url", Write),
    // Without a URL, the owner's public URL is registered.
    local("webhook subscribe", Write).reachable_by(Api),
    local("webhook subscribe --dry-run", Read),
    local("webhook replay", Write),
    local("webhook url", Read).reachable_by(Api),
    local("webhook secret", Read).reachable_by(Api),
    local("webhook verify", Read).reachable_by(Api),
    local("webhook unsubscribe", Destroy).reachable_by(Api),
    local("webhook show", Read).reachable_by(Agent),
    local("webhook show --body", Read).reachable_by(Api),
    local("webhook retry", Write).reachable_by(Api),
    local("webhook resolve", Destroy).reachable_by(Api),
    local("webhook backfill", Write).reachable_by(Api),
    local("webhook prune", Destroy).reachable_by(Api),
    local("webhook events", Read).reachable_by(Agent),
    // `webhook simulate CONNECTOR` without an event.
    local("webhook samples", Read).reachable_by(Agent),
];

const fn local(name: &'static str, effect: Effect) -> Operation {
    Operation::local(name, Webhooks, effect)
}
