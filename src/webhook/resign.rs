//! Signs a stored request again: receivers reject signatures that are some minutes old.

use serde_json::Value;

use super::inbound::event;
use crate::clock::Timestamp;
use crate::connector::WebhookDefinition;
use crate::signing::request::WebhookRequest;
use crate::signing::sign::{EmulatorKeys, proof_for, sign};
use crate::signing::verify::SigningContext;

/// Signs the request by the secret in force, as of now, and returns whether that was possible: the proof of some vendors
/// cannot be made with what integ has. A body is never changed.
pub(super) fn resign(
    rules: &WebhookDefinition,
    keys: &SigningContext,
    vendor: &EmulatorKeys,
    request: &mut WebhookRequest,
    now: Timestamp,
) -> bool {
    let mut document = event::document(&rules.event, request).unwrap_or(Value::Null);
    let Some(proof) = proof_for(&rules.proofs, request, &document, keys) else { return false };
    let mut signed = request.clone();
    let done = sign(proof, &rules.event, &mut signed, &mut document, keys, vendor, now).is_ok();
    if done && signed.body == request.body {
        *request = signed;
        return true;
    }
    false
}
