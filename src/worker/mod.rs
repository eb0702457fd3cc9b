//! Workers that deliver messages, refresh grants, check connections, run scheduled syncs, renew subscriptions and remove old
//! data.
//!
//! [`run`](crate::runtime::worker::run()) is the loop around each of them. Any number of processes may run the same worker of
//! a workspace, and nothing is done twice: one process delivers, a schedule is claimed before its sync begins, and grants and
//! subscriptions are read again under their locks.

pub mod alerts;
pub mod deliver;
pub mod health;
pub mod refresh;
pub mod retention;
pub mod schedule;
pub mod subscriptions;

/// A function that is called with each result of a worker.
pub type Report<'a, T> = Box<dyn FnMut(T) + Send + 'a>;
