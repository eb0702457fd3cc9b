//! Messages: kept durably before anything is sent, and brought back by hand.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::EndpointError;
use crate::clock::Timestamp;
use crate::model::EventType;
use crate::signing::standard::MessageId;
use crate::store::outbox::{Delivery, DeliveryFilter, DeliveryId, Message, Sent};
use crate::store::{Endpoint, EndpointId, Store};

/// A message is held in memory once for each attempt that runs; receivers seldom take more than this.
const LARGEST_BYTES: usize = 256 * 1024;

/// What is to be sent.
#[derive(Debug)]
pub struct Order {
    message: Message,
    /// To one endpoint alone, whatever types it wants.
    only: Option<EndpointId>,
}

/// What was kept of it.
#[derive(Debug)]
pub struct Outgoing {
    pub message: String,
    pub kind: String,
    /// The message was known, and is not sent again.
    pub duplicate: bool,
    pub deliveries: Vec<Delivery>,
    /// Endpoints that would have wanted it, were they not disabled.
    pub disabled: Vec<EndpointId>,
}

/// Which deliveries are brought back together.
#[derive(Clone, Debug)]
pub struct Bulk {
    pub endpoint: Option<EndpointId>,
    pub since: Timestamp,
}

/// Makes a message. Its payload is what Standard Webhooks recommends: `type`, `timestamp` and `data` (section "Payload
/// structure"); the data keep their bytes.
///
/// # Errors
/// [`EndpointError::Data`], [`EndpointError::TooLarge`], [`EndpointError::MessageId`].
pub fn order(
    kind: EventType,
    data: &[u8],
    id: Option<&str>,
    only: Option<EndpointId>,
    now: Timestamp,
) -> Result<Order, EndpointError> {
    let id = match id {
        Some(id) => MessageId::parse(id).map_err(|_| EndpointError::MessageId(id.to_owned()))?,
        None => MessageId::random(),
    };
    let data: &RawValue = serde_json::from_slice(data).map_err(|source| EndpointError::Data { source })?;
    let body =
        format!("{{\"type\":{},\"timestamp\":{},\"data\":{data}}}", json!(kind.as_str()), json!(now.to_string()));
    if body.len() > LARGEST_BYTES {
        return Err(EndpointError::TooLarge { size: body.len(), most: LARGEST_BYTES });
    }
    let message = Message { id: id.as_str().to_owned(), kind, body: body.into_bytes(), created_at: now };
    Ok(Order { message, only })
}

/// Keeps a message with a delivery for each endpoint that wants it. What is new is durable when this returns.
///
/// # Errors
/// [`EndpointError::NoEndpoint`], [`EndpointError::Disabled`] for the one that is named; [`EndpointError::Conflict`].
pub fn send(store: &Store, order: &Order) -> Result<Outgoing, EndpointError> {
    let message = &order.message;
    if let Some(id) = &order.only {
        let endpoint = store.endpoints().get(id)?.ok_or_else(|| EndpointError::NoEndpoint(id.to_string()))?;
        if endpoint.standing.disabled.is_some() {
            return Err(EndpointError::Disabled(endpoint.id));
        }
    }
    let wants = |endpoint: &Endpoint| match &order.only {
        Some(id) => endpoint.id == *id,
        None => endpoint.events.is_empty() || endpoint.events.iter().any(|pattern| pattern.matches(&message.kind)),
    };
    let (duplicate, disabled) = match store.outbox().send(message, wants, |known| same(known, &message.body))? {
        Sent::Stored { disabled } => (false, disabled),
        Sent::Duplicate => (true, Vec::new()),
        Sent::Conflict => return Err(EndpointError::Conflict(message.id.clone())),
    };
    let filter = DeliveryFilter { message: Some(message.id.clone()), limit: u32::MAX, ..DeliveryFilter::default() };
    let mut deliveries = store.outbox().list(&filter)?;
    deliveries.reverse();
    Ok(Outgoing { message: message.id.clone(), kind: message.kind.to_string(), duplicate, deliveries, disabled })
}

/// Whether two bodies are one message: their types and data agree, whenever each was made.
fn same(one: &[u8], other: &[u8]) -> bool {
    let read = |body: &[u8]| serde_json::from_slice::<Value>(body).ok();
    let (Some(one), Some(other)) = (read(one), read(other)) else { return false };
    one["type"] == other["type"] && one["data"] == other["data"]
}

/// Begins deliveries anew, whatever became of them: the same messages under the same ids.
///
/// # Errors
/// [`EndpointError::NoDelivery`], [`EndpointError::Disabled`]; nothing is brought back then.
pub fn retry(store: &Store, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<Delivery>, EndpointError> {
    for id in ids {
        let delivery = store.outbox().get(*id)?.ok_or(EndpointError::NoDelivery(*id))?;
        let endpoint = store.endpoints().get(&delivery.endpoint)?;
        if endpoint.is_some_and(|endpoint| endpoint.standing.disabled.is_some()) {
            return Err(EndpointError::Disabled(delivery.endpoint));
        }
    }
    Ok(store.outbox().revive(ids, now)?)
}

/// Begins all deliveries anew that failed or were given up, of enabled endpoints; the number of them.
///
/// # Errors
/// [`EndpointError::Disabled`] for the endpoint that is named.
pub fn retry_all(store: &Store, bulk: &Bulk, now: Timestamp) -> Result<usize, EndpointError> {
    let mut revived = 0;
    for endpoint in store.endpoints().list()? {
        if bulk.endpoint.as_ref().is_some_and(|id| endpoint.id != *id) {
            continue;
        }
        if endpoint.standing.disabled.is_some() {
            match bulk.endpoint {
                Some(_) => return Err(EndpointError::Disabled(endpoint.id)),
                None => continue,
            }
        }
        revived += store.outbox().revive_failed(&endpoint.id, bulk.since, now)?;
    }
    Ok(revived)
}
