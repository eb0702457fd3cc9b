//! What a sync shows while it runs, on a terminal; elsewhere its table says enough.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::ui::Ui;
use super::grouped;
use crate::clock::Stopwatch;
use crate::connection::ConnectionName;
use crate::store::{Counts, Traffic};
use crate::sync::{Outcome, Report, Watch};

const REDRAW: Duration = Duration::from_millis(120);

/// A line for each stream that runs.
pub(super) struct Progress<'a> {
    ui: &'a Ui,
    connection: &'a ConnectionName,
    bars: Option<MultiProgress>,
    lines: Mutex<HashMap<String, Line>>,
}

struct Line {
    bar: ProgressBar,
    began: Stopwatch,
    records: u64,
    requests: u64,
}

impl<'a> Progress<'a> {
    pub(super) fn new(ui: &'a Ui, connection: &'a ConnectionName) -> Self {
        let bars = (ui.stderr_is_terminal && !ui.json && !ui.quiet).then(MultiProgress::new);
        Self { ui, connection, bars, lines: Mutex::default() }
    }

    pub(super) fn finish(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<String, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn message(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate that is shown")]
        #[expect(clippy::cast_precision_loss, reason = "a rate that is shown")]
        let rate = (self.records as f64 / seconds) as u64;
        format!("{:>11} records {:>9}/s {:>7} requests", grouped(self.records), grouped(rate), grouped(self.requests))
    }
}

impl Watch for Progress<'_> {
    fn began(&self, stream: &str) {
        let Some(bars) = &self.bars else { return };
        let bar = bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:28!} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("{}/{stream}", self.connection));
        bar.enable_steady_tick(REDRAW);
        let line = Line { bar, began: Stopwatch::start(), records: 0, requests: 0 };
        self.lines().insert(stream.to_owned(), line);
    }

    fn page(&self, stream: &str, counts: Counts, traffic: Traffic, left: Option<u64>) {
        let mut lines = self.lines();
        let Some(line) = lines.get_mut(stream) else { return };
        line.records += counts.added + counts.changed + counts.deleted + counts.unchanged;
        line.requests += traffic.requests;
        let left = left.map(|left| format!(", {} left", grouped(left))).unwrap_or_default();
        line.bar.set_message(format!("{}{left}", line.message()));
    }

    fn note(&self, stream: &str, text: &str) {
        let note = || self.ui.note(&format!("{}/{stream}: {text}.", self.connection));
        match &self.bars {
            Some(bars) => bars.suspend(note),
            None => note(),
        }
    }

    fn ended(&self, report: &Report) {
        if let Some(line) = self.lines().remove(&report.stream) {
            let how = if matches!(report.outcome, Outcome::Done) { "✓" } else { "✗" };
            line.bar.finish_with_message(format!("{} {how}", line.message()));
        }
    }
}
