//! Webhooks of services: receives, verifies, queues, handles, replays, subscribes to and simulates them.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`settings`] | the URL, secrets and values of a connection's webhooks |
//! | [`inbound`] | from an accepted socket to a stored event: server, receiver, targets, verification |
//! | [`handle`] | from a stored event to its handlers, and the vendor's confirmation before that |
//! | [`subscription`] | registers URLs at vendors, renews and ends what they promised |
//! | [`simulate`] | makes, signs, corrupts and sends sample events |
//! | [`listen`] | puts these together: a port, the work behind it, and what there is to see of them |
//! | `targets`, [`feed`] | connections as they come and go, what a watcher sees |
//! | [`backfill`], [`poll`] | events that the vendor is asked for: once, or again and again |
//! | [`replay`], [`retention`] | events that are sent again, or are over their time |
//!
//! One rule of the connector's file drives both directions: [`inbound`] verifies by it and [`simulate`] signs by it, both
//! with [`signing`](crate::signing). [`handle`] uses [`inbound`], and [`inbound`] uses neither it nor [`listen`]: an event
//! that is committed wakes its handlers through [`inbound::target`].

pub mod backfill;
pub mod feed;
pub mod handle;
pub mod inbound;
pub mod listen;
pub mod poll;
pub mod replay;
mod resign;
pub mod retention;
pub mod settings;
pub mod simulate;
pub mod subscription;
pub mod targets;
#[cfg(test)]
mod tests;
