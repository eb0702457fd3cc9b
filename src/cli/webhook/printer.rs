//! Prints lines to stdout from a thread, so that a slow reader does not delay webhook senders.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::ui::Ui;
use crate::view::listen::ListenEventView;

/// Lines that wait; those beyond are counted, and their events are in the store. The queue takes memory for all of them from
/// the start.
const QUEUE_CAPACITY: usize = 2048;

/// Lines that are written at once.
const MAX_BATCH: usize = 1024;

/// After what was written: where many events come, this thread is not woken for each.
const REST: Duration = Duration::from_millis(10);

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Prints on a thread of its own.
#[derive(Debug)]
pub(super) struct LinePrinter {
    lines: SyncSender<OutputLine>,
    skipped: Arc<Mutex<u64>>,
    /// Says that the thread has ended.
    ended: Receiver<()>,
}

#[derive(Debug)]
pub(super) enum OutputLine {
    Json(ListenEventView),
    Text(String),
}

impl OutputLine {
    /// Says that lines are missing.
    pub(super) fn skipped(ui: &Ui, lines: u64) -> Self {
        if ui.json {
            return Self::Json(ListenEventView::Skipped { lines });
        }
        Self::Text(format!("… {lines} lines are not shown; `integ webhook events` has the events"))
    }
}

impl LinePrinter {
    pub(super) fn start(ui: &Ui) -> Self {
        let (lines, waiting) = sync_channel(QUEUE_CAPACITY);
        let (ending, ended) = sync_channel(1);
        let skipped = Arc::new(Mutex::new(0));
        let (ui, counted) = (ui.clone(), Arc::clone(&skipped));
        std::thread::spawn(move || {
            while let Ok(first) = waiting.recv() {
                // What has come meanwhile is written with it: a line is not a system call.
                let lines = std::iter::once(first).chain(waiting.try_iter().take(MAX_BATCH - 1));
                ui.raw(&lines.map(|line| text(&ui, &line)).collect::<String>());
                let count = std::mem::take(&mut *counted.lock().unwrap_or_else(PoisonError::into_inner));
                if count > 0 {
                    ui.raw(&text(&ui, &OutputLine::skipped(&ui, count)));
                }
                std::thread::sleep(REST);
            }
            let _ = ending.send(());
        });
        Self { lines, skipped, ended }
    }

    pub(super) fn print(&self, line: OutputLine) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            *self.skipped.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    }

    /// Waits for the last lines, though not for a reader that has stopped.
    pub(super) fn finish(self) {
        let Self { lines, ended, .. } = self;
        drop(lines);
        let _ = ended.recv_timeout(LAST_LINES);
    }
}

fn text(ui: &Ui, line: &OutputLine) -> String {
    let event = match line {
        OutputLine::Json(event) => event,
        OutputLine::Text(text) => return format!("{text}\n"),
    };
    // Not by way of a tree: this is done for every event.
    let line = serde_json::to_string(event).map_err(|error| error.to_string());
    line.and_then(|json| ui.line_of(&json).map_err(|error| error.to_string())).unwrap_or_else(|error| {
        ui.warning(&error);
        String::new()
    })
}
