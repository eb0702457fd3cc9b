//! From a stored event to its handlers.
//!
//! [`dispatch`] takes the events of one connection in their order and hands each to the handlers; what fails is tried again,
//! and is dead in the end. Where a signature covers too little, [`confirm`] asks the vendor first.

pub(super) mod confirm;
pub(super) mod dispatch;
pub mod event_view;
mod handlers;

pub use handlers::{EventSelection, HandleError, Handlers};
