//! The webhook URL of a connection, and the secrets that verify requests.

use std::collections::BTreeMap;

use super::connection::ConnectionId;
use super::secrets::RotatingSecrets;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// What is kept for one connection.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub connection: ConnectionId,
    /// The last part of its URL.
    pub path: String,
    pub public_url: Option<String>,
    /// The port of this machine that was last listened at.
    pub port: Option<u16>,
    pub params: BTreeMap<String, String>,
    pub(crate) secrets: RotatingSecrets,
    /// Those that vendors made for their subscriptions, the newest first.
    pub(crate) subscription_secrets: Vec<Secret>,
}

impl Webhook {
    /// The secrets that are good now, the one in force first.
    pub fn secrets(&self, now: Timestamp) -> Vec<Secret> {
        self.subscription_secrets.iter().cloned().chain(self.secrets.current(now)).collect()
    }
}
