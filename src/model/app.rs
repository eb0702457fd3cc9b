//! OAuth apps: the clients that the user registered with vendors.

use super::grant::ClientCredentials;
use crate::clock::Timestamp;

/// An OAuth client that is registered at one server.
#[derive(Clone, Debug)]
pub struct OAuthApp {
    pub connector: String,
    /// The issuer or token URL of a server that the user named; absent for the connector's own server, and for an app
    /// that belongs to no server yet.
    pub server: Option<String>,
    pub client: ClientCredentials,
    pub updated_at: Timestamp,
}
