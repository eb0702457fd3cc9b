//! Webhooks of services: receives, verifies, queues, handles, replays, subscribes to and simulates them.
//!
//! One rule of the connector's file drives both directions: [`receive`] verifies by it and [`simulate`] signs by it, both
//! with [`signing`](crate::signing). [`listen`] is the receiver, which stores what it has verified, and [`handle`]
//! syncs what an event is about, writes a line, runs a program or sends the event on.

pub mod backfill;
mod body;
pub mod burst;
pub mod confirm;
pub mod corrupt;
pub mod event;
pub mod event_view;
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
mod target;
#[cfg(test)]
mod tests;
mod throttle;
mod verification_keys;
