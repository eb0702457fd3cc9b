//! What every store does: a file for each aggregate.

mod alerts;
mod api_token_trusts;
mod api_tokens;
mod approvals;
mod audit;
mod bindings;
mod consents;
mod documents;
mod entity_states;
mod event_creations;
mod figures;
mod health_checks;
mod idempotency;
mod inbox;
mod installed_connectors;
mod links;
mod operators;
mod outbox;
mod queue;
mod records;
mod schedules;
mod sign_ins;
mod streams;
mod users;
mod webhooks;

use integ::clock::Timestamp;

/// A moment some seconds after another.
fn at(second: i64) -> Timestamp {
    super::at(1_700_000_000 + second)
}
