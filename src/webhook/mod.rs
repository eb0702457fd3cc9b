//! Webhooks: what proves a request, what it tells, and how one is made.
//!
//! One rule of the connector's file drives both directions: [`proof`] verifies by it, [`sign`] signs by it. [`standard`] is
//! how integ signs what it sends itself. All of it is pure; who listens, stores and sends is elsewhere.

mod answers;
pub mod backfill;
mod body;
pub mod confirm;
pub mod event;
pub mod explain;
mod fetch;
mod flood;
pub mod handle;
pub mod handshake;
pub mod inbox;
pub mod listen;
mod queue;
pub mod receive;
pub mod replay;
pub mod retention;
pub mod send;
mod serve;
pub mod setup;
pub mod simulate;
pub mod subscription;
pub mod tamper;
#[cfg(test)]
mod tests;
mod trust;
pub mod view;
pub mod volley;
