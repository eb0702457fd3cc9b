//! Subscriptions: webhooks registered at vendors, with what is needed to renew and end them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::connection::ConnectionId;
use super::name::ConnectionName;
use super::words::words;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// The store's id of a subscription, not the vendor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub i64);

impl std::fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a subscription has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// The vendor was asked, and no answer is stored: it is unknown whether the subscription exists.
    Creating,
    Active,
    /// It is not wanted any more, and the vendor may have it still.
    Deleting,
}

words!(SubscriptionStatus { Creating => "creating", Active => "active", Deleting => "deleting" });

/// The request to the vendor.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionRequest {
    pub connection: ConnectionId,
    pub url: String,
    pub events: Vec<String>,
    /// The parameters of the action that the user gave.
    pub params: BTreeMap<String, Value>,
    pub idempotency_key: String,
}

/// What the service answered.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionResult {
    pub metadata: BTreeMap<String, String>,
    pub secret: Option<Secret>,
    pub expires_at: Option<Timestamp>,
}

/// A subscription as stored. Unless its status is active, the vendor may or may not have it.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub id: SubscriptionId,
    pub name: ConnectionName,
    pub request: SubscriptionRequest,
    pub status: SubscriptionStatus,
    pub metadata: BTreeMap<String, String>,
    pub created_at: Timestamp,
    pub renewed_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// When renewing or ending it last failed.
    pub last_failed_at: Option<Timestamp>,
    /// How often, since it last worked.
    pub failures: u32,
    pub last_error: Option<String>,
}
