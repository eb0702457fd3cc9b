//! Simulated events: [`sample`](simulate) makes and signs one, [`corrupt`] damages it, [`burst`] makes many, and
//! [`send`] posts them to a receiver.

pub mod burst;
pub mod corrupt;
mod sample;
pub mod send;

pub use sample::{SimulateError, SimulateRequest, simulate};
