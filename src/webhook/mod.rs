//! Webhooks: what proves a request, what it tells, and how one is made.
//!
//! One rule of the connector's file drives both directions: [`proof`] verifies by it, [`sign`] signs by it. [`standard`] is
//! how integ signs what it sends itself. All of it is pure; who listens, stores and sends is elsewhere.

pub mod event;
mod fetch;
pub mod handshake;
pub mod inbox;
mod jwt;
pub mod proof;
pub mod receive;
pub mod request;
pub mod sign;
pub mod simulate;
pub mod standard;
