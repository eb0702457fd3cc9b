//! One calendar over several services: events, free/busy, conflicts, free slots, and changes.
//!
//! A connector's `[calendar]` says which of its actions list, add and change events, and what an event looks like; nothing here
//! knows a service by name. `mapping` reads and writes by that declaration, `read` asks several calendars side by side through
//! [`crate::api`], `create` and `change` write. What follows from the answers is computed by `interval` and `agenda`, which are
//! pure. Recurring events are expanded by the service.
//!
//! Everything is asked live: no synced record is ever used. What depends on an answer being whole ([`freebusy::busy`],
//! [`read::all_events`]) fails if any calendar could not be read, was late or changed meanwhile.

pub mod agenda;
pub mod change;
pub mod create;
mod error;
mod event;
pub mod freebusy;
pub mod icalendar;
mod interval;
mod mapping;
pub mod read;
pub mod time;

pub use error::CalendarError;
pub use interval::{gaps, merge, overlaps};
