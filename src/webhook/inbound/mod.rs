//! From an accepted socket to a stored event.
//!
//! [`server`] has the port and answers requests, [`receiver`] judges them, [`target`] is a connection that requests are
//! received for, and [`event`] reads events out of what was proved. [`explain`] says of a captured request what the receiver
//! would say.

pub(super) mod body;
pub mod event;
pub mod explain;
pub(super) mod fetch_keys;
pub(super) mod handler_responses;
pub mod handshake;
pub mod receiver;
pub(super) mod server;
pub mod target;
pub(super) mod throttle;
mod verification_keys;
