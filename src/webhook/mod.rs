//! Webhooks of services: receives, verifies, queues, handles, replays, subscribes to and simulates them.
//!
//! One rule of the connector's file drives both directions: [`receive`] verifies by it and [`simulate`] signs by it, both
//! with [`signing`](crate::signing). [`listen`] is the receiver, [`inbox`] stores what was verified, and [`handle`] syncs
//! what an event is about, writes a line, runs a program or sends the event on.

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
