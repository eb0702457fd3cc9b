//! Snapshots of everything that people and programs see: help pages, tables, JSON, errors.
//!
//! A change that only moves code leaves them as they are; a change of words or keys shows up as a diff to review. Accept one
//! with `INSTA_UPDATE=always cargo test --test it snapshots`.

mod commands;
mod errors;
pub mod help;
mod mapping;
mod monitoring;
mod operations;
pub mod scrub;
pub mod session;
mod sharing;

pub use commands::usage_lines;

/// Compares a text with `snaps/NAME.snap`.
pub fn assert_snap(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snaps");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
