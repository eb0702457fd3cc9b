//! The progress of a sync on a terminal.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::super::stdout::progress_width;
use super::super::ui::Ui;
use super::number::grouped;
use crate::env;
use crate::model::ConnectionName;
use crate::sync::{StoredPage, SyncObserver, SyncOutcome, SyncReport};

pub(super) const REDRAW: Duration = Duration::from_millis(120);

/// Lines beyond so many end with their stream, so that those that run stay in sight.
const MAX_LINES: usize = 14;

/// A line for each stream that runs.
pub(super) struct ProgressDisplay<'a> {
    ui: &'a Ui,
    bars: Option<MultiProgress>,
    /// By connection and stream.
    lines: Mutex<HashMap<(ConnectionName, String), ProgressLine>>,
}

struct ProgressLine {
    bar: ProgressBar,
    figures: Arc<Mutex<ProgressCounts>>,
}

/// What a line says.
#[derive(Clone, Debug, Default)]
struct ProgressCounts {
    name: String,
    records: u64,
    requests: u64,
    /// Requests that the vendor still allows.
    left: Option<u64>,
    /// Seconds that it took.
    took: Option<f64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> ProgressDisplay<'a> {
    pub(super) fn new(ui: &'a Ui) -> Self {
        let bars = (ui.animates && !ui.json && !ui.quiet).then(MultiProgress::new);
        Self { ui, bars, lines: Mutex::default() }
    }

    /// A line that is computed whenever it is drawn, so that its rate is true while nothing comes.
    fn style(&self, sign: &str, figures: &Arc<Mutex<ProgressCounts>>) -> Option<ProgressStyle> {
        let width = progress_width().saturating_sub(SIGN);
        let figures = Arc::clone(figures);
        let line = move |state: &ProgressState, out: &mut dyn Write| {
            let figures = locked(&figures);
            let seconds = figures.took.unwrap_or_else(|| state.elapsed().as_secs_f64());
            let _ = out.write_str(&figures.line(seconds, width));
        };
        let style = ProgressStyle::with_template(&format!("{sign} {{line}}")).ok()?.with_key("line", line);
        // The usual signs are Braille patterns.
        Some(if env::is_utf8_locale() { style } else { style.tick_chars("-\\|/ ") })
    }
}

/// The sign before a line, the space after it, and a column to spare.
const SIGN: usize = 3;

impl ProgressCounts {
    /// Never wider than `width`: what matters least is left out.
    fn line(&self, seconds: f64, width: usize) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate that is shown")]
        #[expect(clippy::cast_precision_loss, reason = "a rate that is shown")]
        let rate = if seconds < 0.1 { 0 } else { (self.records as f64 / seconds) as u64 };
        let rate = if rate == 0 { String::new() } else { format!("{}/s", grouped(rate)) };
        let mut line = format!("{:>9} records {rate:>9}", grouped(self.records));
        let left = self.left.map(|left| format!(" {:>8} left", grouped(left)));
        let requests = format!(" {:>6} requests", grouped(self.requests));
        for more in [left, Some(requests)].into_iter().flatten() {
            if NAME + 1 + line.len() + more.len() <= width {
                line.push_str(&more);
            }
        }
        let name = width.saturating_sub(line.len() + 1).min(NAME);
        let mut shown: String = self.name.chars().take(name).collect();
        if self.name.chars().count() > name {
            shown.pop();
            shown.push('…');
        }
        format!("{shown:name$} {line}").chars().take(width).collect()
    }
}

/// The column of names.
const NAME: usize = 28;

impl SyncObserver for ProgressDisplay<'_> {
    fn stream_started(&self, connection: &ConnectionName, stream: &str) {
        let Some(bars) = &self.bars else { return };
        let bar = bars.add(ProgressBar::new_spinner());
        let name = format!("{connection}/{stream}");
        let figures = Arc::new(Mutex::new(ProgressCounts { name, ..ProgressCounts::default() }));
        if let Some(style) = self.style("{spinner}", &figures) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(REDRAW);
        locked(&self.lines).insert((connection.clone(), stream.to_owned()), ProgressLine { bar, figures });
    }

    fn page_stored(&self, connection: &ConnectionName, stream: &str, page: StoredPage) {
        let lines = locked(&self.lines);
        let Some(line) = lines.get(&(connection.clone(), stream.to_owned())) else { return };
        let mut figures = locked(&line.figures);
        let counts = page.counts;
        figures.records += counts.added + counts.changed + counts.deleted + counts.unchanged;
        figures.requests += page.traffic.requests;
        figures.left = page.requests_left.or(figures.left);
    }

    fn note(&self, connection: &ConnectionName, stream: &str, text: &str) {
        let note = || self.ui.note(&format!("{connection}/{stream}: {text}."));
        match &self.bars {
            Some(bars) => bars.suspend(note),
            None => note(),
        }
    }

    fn stream_finished(&self, report: &SyncReport) {
        let lines = locked(&self.lines);
        let name = (report.connection.clone(), report.stream.clone());
        let (Some(line), Some(bars)) = (lines.get(&name), &self.bars) else { return };
        locked(&line.figures).took = Some(report.duration_secs);
        let sign = match report.outcome {
            SyncOutcome::Done => "✓",
            SyncOutcome::RateLimited(_)
            | SyncOutcome::Cancelled
            | SyncOutcome::Skipped
            | SyncOutcome::NotStarted(_) => "!",
            SyncOutcome::Locked(_) | SyncOutcome::DeletesBlocked(_) | SyncOutcome::Failed(_) => "✗",
        };
        if let Some(style) = self.style(sign, &line.figures) {
            line.bar.set_style(style);
        }
        line.bar.finish();
        if lines.len() > MAX_LINES {
            bars.remove(&line.bar);
        }
    }

    fn connection_finished(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_wider_than_the_terminal() {
        let figures = ProgressCounts {
            name: "salesforce@production/opportunity_line_items".to_owned(),
            records: 12_345_678,
            requests: 123_456,
            left: Some(99_999),
            took: None,
        };
        for width in [20, 40, 57, 77, 97, 117] {
            let line = figures.line(60.0, width);
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        assert_eq!(figures.line(60.0, 77), "salesforce@production/oppor… 12,345,678 records 205,761/s   99,999 left");
        let early = ProgressCounts { name: "github/issues".to_owned(), ..ProgressCounts::default() };
        assert_eq!(
            early.line(0.01, 77).trim_end(),
            "github/issues                        0 records                0 requests"
        );
    }
}
