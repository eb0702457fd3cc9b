//! Process hardening (core dumps, ptrace), and the output of `-v`.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::json_log::JsonLines;
use crate::config::LogFormat;

/// Whether stderr is a log of JSON objects.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// No core dump, no tracing by other programs of the user, and no panic message that quotes a value (faults 48 and 49).
pub(super) fn harden() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    std::panic::set_hook(Box::new(|panic| {
        // The payload may quote what the code worked on: only the place is said.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        if IS_JSON.load(Ordering::Relaxed) {
            return tracing::error!("integ has a mistake at {place}");
        }
        let _ = writeln!(
            io::stderr(),
            "error: integ has a mistake at {place}\nhint: report it with `integ config redacted` and the command you ran"
        );
    }));
}

/// Warnings are always shown unless `-q` says otherwise; `-v` shows what is done, `-vv` requests, `-vvv` their headers and
/// bodies without secrets. Only integ's own messages: libraries log what they carry.
pub(super) fn start(verbose: u8, quiet: bool, format: LogFormat) {
    let level = match verbose {
        0 if quiet => return,
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    let own =
        move |metadata: &tracing::Metadata<'_>| metadata.target().starts_with("integ") && *metadata.level() <= level;
    match format {
        LogFormat::Text => {
            let filter = tracing_subscriber::filter::filter_fn(own);
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(io::stderr)
                .with_ansi(false)
                .without_time()
                .with_target(false);
            let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
        }
        LogFormat::Json => {
            IS_JSON.store(true, Ordering::Relaxed);
            // Spans hold what an object says beside its message, whatever their level.
            let filter = tracing_subscriber::filter::filter_fn(move |metadata| {
                own(metadata) || (metadata.is_span() && metadata.target().starts_with("integ"))
            });
            let _ = tracing_subscriber::registry().with(JsonLines.with_filter(filter)).try_init();
        }
    }
}
