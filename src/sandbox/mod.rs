//! The sandbox: an emulation of every connector's vendor, built from the connector's file alone.
//!
//! [`Vendor`] is pure: a request, the [`State`] and the time go in, a [`Reply`] comes out. [`Emulator`] puts it on a port
//! of this machine and keeps the state through a [`Storage`]. A connector that a user writes has a sandbox at once,
//! because nothing here knows any vendor by name.
//!
//! Invariants:
//! - Nothing is asked of the network, of a clock or of a random source: the same seed, requests and times give the same
//!   tokens, so that any process continues where another ended.
//! - Tokens are signed and say what they are for. The state holds only what a signature cannot: grants that were rotated
//!   or revoked, codes that were used, devices that wait, faults to come. Without it every good token is good.
//! - The records of streams follow from the file, the seed and the ticks of time that the state counts; nothing that a
//!   request does changes them, but for those that it says it is done with.
//! - What actions create is kept in a [`Life`], which ends with the emulator. An object that nobody created is taken for one
//!   that was there before; one that was deleted is gone.
//! - No value of a request reaches a page or a redirect unescaped, and a redirect URI that a vendor of this kind would not
//!   register is never redirected to.

mod account;
mod action;
mod address;
mod answer;
mod authorize;
mod client;
mod credential;
mod device;
mod discovery;
mod emulator;
mod exchange;
mod fault;
mod given;
mod health;
mod life;
mod message;
mod page;
mod pattern;
mod published;
mod revoke;
mod signed;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod vendor;

pub use account::{sandbox_client, sandbox_fields, sandbox_params, sandbox_webhook_seed};
pub use address::Endpoint;
pub use authorize::approve_url;
pub use emulator::{Emulator, Running, Storage};
pub use fault::{Fault, FaultKind};
pub use life::Life;
pub use message::{Reply, Request};
pub use published::rsa_key;
pub use state::State;
pub use vendor::Vendor;
