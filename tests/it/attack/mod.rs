//! Attacks from outside, numbered as in the review of commit 273cca9: what a hostile connector file, vendor, backup, project
//! or second user of the machine must not achieve.

pub mod clocks;
pub mod connectors;
mod custody;
mod exec;
mod modes;
mod peers;
pub mod proofs;
mod restore;
mod terminal;
mod trusted_files;
mod typed_input;
pub mod users;
