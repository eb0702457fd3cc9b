//! Lists: how they end, what may be deleted by them, and what is asked for again.

mod changes;
mod endings;
mod graphql;
mod random_endings;
mod service;
