//! From a stored event to its handlers.
//!
//! `dispatch` takes the events of one connection in their order and gives each to the `handlers`: `sync`, `append`, `exec` and
//! `forward`. What fails is tried again, and is dead in the end. Where a signature covers too little, `confirm` asks the vendor
//! first. `workers` runs both for each connection, as connections come and go.

mod append;
pub(super) mod confirm;
pub(super) mod dispatch;
pub mod event_view;
mod exec;
mod forward;
mod handler;
mod handlers;
mod in_flight;
mod sync;
pub(super) mod workers;

pub use handler::HandleError;
pub use handlers::{EventSelection, Handlers};
