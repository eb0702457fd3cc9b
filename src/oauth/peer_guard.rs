//! Restricts callbacks to processes of integ's own user and root.

use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Bytes;

use crate::http::peer::{self, PeerOwner, SocketPair};
use crate::http::serve::Request;

/// Judges the connections of one flow, and warns once of those that it refuses.
#[derive(Debug)]
pub(super) struct PeerGuard {
    /// A proxy or another container may bring the callback. What only a browser of the user's own needs stays barred.
    allows_other_users: bool,
    has_warned: AtomicBool,
}

impl PeerGuard {
    pub(super) fn new(allow_peer: bool) -> Self {
        Self { allows_other_users: allow_peer, has_warned: AtomicBool::new(false) }
    }

    /// Whether the sender of a request may be answered; `own_only` is for what shows the flow's `state`.
    pub(super) async fn allows(&self, request: &Request<Bytes>, own_only: bool) -> bool {
        if self.allows_other_users && !own_only {
            return true;
        }
        let Some(ends) = request.extensions().get::<SocketPair>() else { return false };
        let refused = match peer::identify(*ends).await {
            PeerOwner::CurrentUser | PeerOwner::Unchecked => return true,
            PeerOwner::OtherUser(account) => format!("a connection from {account} was refused"),
            PeerOwner::Unknown => "a connection from outside this machine or container was refused".to_owned(),
        };
        // A flood of them must not bury the URL that was printed.
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("{refused}; if it is your browser or its proxy, use --allow-peer or --paste");
        }
        false
    }
}
