//! From an accepted socket to a stored event.
//!
//! `server` has the port and answers requests. [`receiver`] finds the connection of a request in the [`registry`], which
//! holds a [`target`] for each, and judges the request with its keys; [`event`] reads events out of what was proved, and
//! `inbox` commits them and wakes those who work on them. [`outcome`] is what there is to see of it. [`explain`] says of a
//! captured request what the receiver would say.

pub(super) mod body;
pub mod delivery;
pub mod event;
pub mod explain;
pub(super) mod fetch_keys;
pub(super) mod handler_responses;
pub mod handshake;
mod inbox;
pub mod outcome;
pub mod receiver;
pub mod registry;
pub mod server;
pub mod target;
pub(super) mod throttle;
mod verification_keys;
