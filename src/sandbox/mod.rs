//! The sandbox: an emulation of every connector's vendor, built only from the connector's file.
//!
//! [`VendorEmulator`] is pure: a request, the [`SandboxState`] and the time go in, a [`SandboxResponse`] comes out. [`EmulatorServer`] puts it on a port
//! of this machine and keeps the state in a [`SandboxStateStore`]. A connector that a user writes has a sandbox at once,
//! because nothing here knows any vendor by name.
//!
//! Invariants:
//! - Nothing is asked of the network, of a clock or of a random source: the same seed, requests and times give the same
//!   tokens, so that any process continues where another ended.
//! - Tokens are signed and say what they are for. The state holds only what a signature cannot: grants that were rotated
//!   or revoked, codes that were used, devices that wait, faults to come. Without it every good token is good.
//! - An account has one world. Its records follow from the file, the account's name, the ticks of time that the state counts
//!   and the edits that actions made, the same for every request: of a stream, of an action, of the path of a list or a record.
//! - What actions create is kept in the state, and no more of it than some hundreds of kilobytes. An object of which the file
//!   says no stream is taken for one that was there before; one that was deleted stays deleted.
//! - A request that only reads writes nothing.
//! - No value of a request reaches a page or a redirect unescaped, and a redirect URI that a vendor of this kind would not
//!   register is never redirected to.

mod account;
mod action;
mod action_call;
mod assertion;
mod authorize;
mod calendar;
mod client_auth;
mod credential;
mod device;
mod discovery;
mod fault;
mod health;
mod html;
mod mcp;
mod message;
mod objects;
mod pattern;
mod record_action;
mod relation;
mod response;
mod revocation;
mod routes;
mod server;
mod state;
mod state_store;
mod stream;
#[cfg(test)]
mod tests;
mod token;
mod token_endpoint;
mod vendor_emulator;
mod verification_keys;

pub use account::{
    SandboxAccount, account_fields, sandbox_client, sandbox_fields, sandbox_params, sandbox_webhook_seed,
};
pub use authorize::approve_url;
pub use fault::{Fault, FaultKind};
pub use message::{SandboxRequest, SandboxResponse};
pub use routes::EmulatedEndpoint;
pub use server::{EmulatorServer, RunningEmulator};
pub use state::SandboxState;
pub use state_store::SandboxStateStore;
pub use vendor_emulator::VendorEmulator;
pub use verification_keys::rsa_key;
