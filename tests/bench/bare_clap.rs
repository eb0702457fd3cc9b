//! The least that a program with clap can cost: what `integ --version` is measured against.

use clap::Parser;

/// A program that does nothing.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A word
    #[arg(long)]
    word: Option<String>,
}

fn main() {
    let _ = Arguments::parse().word;
}
