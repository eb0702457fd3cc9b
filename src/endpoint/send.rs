//! Messages: stored durably before anything is sent, and retried manually.

use serde_json::json;
use serde_json::value::RawValue;

use super::EndpointError;
use crate::clock::Timestamp;
use crate::model::delivery::{Delivery, DeliveryFilter, DeliveryId, MessageInsertResult};
use crate::model::{EndpointId, EventType, Message};
use crate::signing::standard::MessageId;
use crate::store::Store;

/// A message is held in memory once for each attempt that runs; receivers seldom take more than this.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// A message that is not stored yet.
#[derive(Debug)]
pub struct MessageDraft {
    message: Message,
    /// Send to this endpoint alone, whatever types it receives.
    endpoint: Option<EndpointId>,
}

/// A message that was stored.
#[derive(Debug)]
pub struct SentMessage {
    pub message: String,
    pub kind: String,
    /// The message was known, and is not sent again.
    pub is_duplicate: bool,
    pub deliveries: Vec<Delivery>,
    /// Endpoints that would have wanted it, were they not disabled.
    pub disabled: Vec<EndpointId>,
}

/// Which deliveries are made due again together.
#[derive(Clone, Debug)]
pub struct RetryFilter {
    pub endpoint: Option<EndpointId>,
    pub since: Timestamp,
}

/// Makes a message. Its payload is what Standard Webhooks recommends: `type`, `timestamp` and `data` (section "Payload
/// structure"); the data keep their bytes.
///
/// # Errors
/// [`EndpointError::InvalidJson`], [`EndpointError::TooLarge`], [`EndpointError::InvalidMessageId`].
pub fn draft(
    kind: EventType,
    data: &[u8],
    id: Option<&str>,
    only: Option<EndpointId>,
    now: Timestamp,
) -> Result<MessageDraft, EndpointError> {
    let id = match id {
        Some(id) => MessageId::parse(id).map_err(|_| EndpointError::InvalidMessageId(id.to_owned()))?,
        None => MessageId::random(),
    };
    let data: &RawValue = serde_json::from_slice(data).map_err(|source| EndpointError::InvalidJson { source })?;
    let body =
        format!("{{\"type\":{},\"timestamp\":{},\"data\":{data}}}", json!(kind.as_str()), json!(now.to_string()));
    if body.len() > MAX_MESSAGE_BYTES {
        return Err(EndpointError::TooLarge { size: body.len(), limit: MAX_MESSAGE_BYTES });
    }
    let message = Message { id: id.as_str().to_owned(), kind, body: body.into_bytes(), created_at: now };
    Ok(MessageDraft { message, endpoint: only })
}

/// Stores a message with a delivery for each endpoint that wants it. What is new is durable when this returns.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`], [`EndpointError::Disabled`] for the one that is named; [`EndpointError::DuplicateMessageId`].
pub async fn send(store: &dyn Store, draft: &MessageDraft) -> Result<SentMessage, EndpointError> {
    let message = &draft.message;
    if let Some(id) = &draft.endpoint {
        let endpoint =
            store.endpoints().get(id).await?.ok_or_else(|| EndpointError::EndpointNotFound(id.to_string()))?;
        if endpoint.health.disabled.is_some() {
            return Err(EndpointError::Disabled(endpoint.id));
        }
    }
    let (duplicate, disabled) = match store.outbox().insert(message, draft.endpoint.as_ref()).await? {
        MessageInsertResult::Stored { disabled_endpoints } => (false, disabled_endpoints),
        MessageInsertResult::Duplicate => (true, Vec::new()),
        MessageInsertResult::Conflict => return Err(EndpointError::DuplicateMessageId(message.id.clone())),
    };
    let filter = DeliveryFilter { message: Some(message.id.clone()), limit: u32::MAX, ..DeliveryFilter::default() };
    let mut deliveries = store.outbox().list(&filter).await?;
    deliveries.reverse();
    Ok(SentMessage {
        message: message.id.clone(),
        kind: message.kind.to_string(),
        is_duplicate: duplicate,
        deliveries,
        disabled,
    })
}

/// Makes deliveries due again, whatever their status: the same messages under the same ids.
///
/// # Errors
/// [`EndpointError::DeliveryNotFound`], [`EndpointError::Disabled`]; nothing is due again then.
pub async fn retry(store: &dyn Store, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<Delivery>, EndpointError> {
    for id in ids {
        let delivery = store.outbox().get(*id).await?.ok_or(EndpointError::DeliveryNotFound(*id))?;
        let endpoint = store.endpoints().get(&delivery.endpoint).await?;
        if endpoint.is_some_and(|endpoint| endpoint.health.disabled.is_some()) {
            return Err(EndpointError::Disabled(delivery.endpoint));
        }
    }
    Ok(store.outbox().requeue(ids, now).await?)
}

/// Makes all deliveries due again that failed or were given up, of enabled endpoints, and returns their number.
///
/// # Errors
/// [`EndpointError::Disabled`] for the endpoint that is named.
pub async fn retry_all(store: &dyn Store, filter: &RetryFilter, now: Timestamp) -> Result<usize, EndpointError> {
    let mut retried = 0;
    for endpoint in store.endpoints().list().await? {
        if filter.endpoint.as_ref().is_some_and(|id| endpoint.id != *id) {
            continue;
        }
        if endpoint.health.disabled.is_some() {
            match filter.endpoint {
                Some(_) => return Err(EndpointError::Disabled(endpoint.id)),
                None => continue,
            }
        }
        retried += store.outbox().requeue_failed(&endpoint.id, filter.since, now).await?;
    }
    Ok(retried)
}
