//! Webhooks: the rules by which they are signed and verified. Pure; who sends and who receives is elsewhere.

pub mod standard;
