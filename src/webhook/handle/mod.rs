//! Passes stored events to their handlers.
//!
//! `dispatch` takes the events of one connection and gives each to the `handlers`: `sync`, `append`, `exec` and `forward`;
//! `mapped` maps it before by the user's binding.
//! Several are handled at once and one that fails holds up no other, unless the order of arrival is asked for. What fails is
//! tried again, and is dead in the end. Where a signature covers too little, `confirm` asks the vendor first. `workers` runs
//! both for each connection, as connections come and go.

mod append;
mod attempt;
pub(super) mod confirm;
pub(super) mod dispatch;
mod event_queue;
pub mod event_view;
mod exec;
mod forward;
mod handler;
mod handlers;
pub(super) mod in_flight;
mod mapped;
mod sync;
pub(super) mod workers;

pub use handler::HandleError;
pub use handlers::{EventSelection, Handlers, HandlingOrder};

pub use super::inbound::handler_responses::ReplyMode;
