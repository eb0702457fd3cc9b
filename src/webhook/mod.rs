//! Webhooks: what proves a request, what it tells, and how one is made.
//!
//! One rule of the connector's file drives both directions: [`proof`] verifies by it, [`sign`] signs by it. [`standard`] is
//! how integ signs what it sends itself. All of it is pure; who listens, stores and sends is elsewhere.

pub mod backfill;
mod body;
pub mod burst;
pub mod confirm;
pub mod corrupt;
pub mod event;
pub mod event_writer;
pub mod explain;
mod fetch_keys;
pub mod handle;
mod handler_responses;
pub mod handshake;
pub mod listen;
mod queue;
pub mod receive;
pub mod replay;
pub mod retention;
pub mod send;
mod serve;
pub mod settings;
pub mod simulate;
pub mod subscription;
#[cfg(test)]
mod tests;
mod throttle;
mod verification_keys;
pub mod view;
