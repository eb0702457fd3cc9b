//! Formats the results of handlers as terminal lines.

use super::super::table::{fitted, relative};
use super::super::ui::{Tone, Ui, escape};
use super::listen_rows::{GAP, TIME};
use crate::clock::Timestamp;
use crate::model::{EventStatus, HandlerKind};
use crate::view::listen::HandledEventView;

/// Lines of a handler's output that are shown.
const MAX_OUTPUT_LINES: usize = 20;

/// Fewer characters of an id say nothing.
const LEAST_ID_WIDTH: usize = 8;

/// The result, after a failure why, and what was answered or printed:
///
/// ```text
/// 12:00:01  → invoice.paid  17  evt_1a2b3c  200  4 ms  http://localhost:3000/hook
/// 12:00:02  ✗ invoice.paid  18  evt_4d5e6f  500  12 ms  try 3 of 8, next in 8 s
///           http://localhost:3000/hook answered 500
///           │ no such column: amount_due
/// ```
pub(super) fn handled_lines(
    ui: &Ui,
    width: usize,
    (time, now): (&str, Timestamp),
    names_connection: bool,
    handled: &HandledEventView,
) -> Vec<String> {
    let indent = " ".repeat(TIME + GAP);
    let output = handled.output.as_deref().unwrap_or_default();
    let mut lines = vec![result_line(ui, width, (time, now), names_connection, handled)];
    if let Some(error) = &handled.error {
        lines.push(format!("{indent}{}", fitted(&escape(error), width - indent.len())));
    }
    let mut printed = output.lines();
    let room = width.saturating_sub(TIME + GAP + 2);
    for line in printed.by_ref().take(MAX_OUTPUT_LINES) {
        lines.push(format!("{indent}{} {}", ui.paint(Tone::Dim, "│"), fitted(&escape(line), room)));
    }
    if printed.next().is_some() {
        lines.push(format!("{indent}{} …", ui.paint(Tone::Dim, "│")));
    }
    lines
}

/// One line. What does not fit is shortened in the order of its worth: the delivery id first, then the target, then the type.
fn result_line(
    ui: &Ui,
    width: usize,
    (time, now): (&str, Timestamp),
    names_connection: bool,
    handled: &HandledEventView,
) -> String {
    let (mark, tone) = match (handled.error.is_some(), handled.event_status) {
        (false, _) => ("→", Tone::Good),
        (true, EventStatus::Dead) => ("✗", Tone::Bad),
        (true, _) => ("✗", Tone::Warn),
    };
    let detail = match handled.error {
        None => escape(handled.target.as_deref().unwrap_or_default()),
        Some(_) => next_try(handled, now),
    };
    let (status, duration, id) = (status(handled), duration(handled.duration_ms), handled.id.to_string());
    let mut kind = escape(&handled.kind);
    if names_connection {
        kind = format!("{} {kind}", escape(&handled.connection));
    }
    let own = [id.as_str(), &status, &duration].map(|cell| cell.chars().count() + GAP).iter().sum::<usize>();
    let mut rest = width.saturating_sub(TIME + GAP + 2 + own);
    kind = fitted(&kind, rest.max(1));
    rest = rest.saturating_sub(kind.chars().count());
    let detail = if rest > GAP { fitted(&detail, rest - GAP) } else { String::new() };
    rest = rest.saturating_sub(detail.chars().count() + GAP);
    let delivery =
        if rest >= LEAST_ID_WIDTH + GAP { fitted(&escape(&handled.delivery_id), rest - GAP) } else { String::new() };
    let cells = [kind, id, delivery, ui.paint(tone, &status), duration, detail];
    let cells: Vec<String> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
    format!("{time}  {} {}", ui.paint(tone, mark), cells.join("  "))
}

/// The HTTP status, the exit code, or a word.
fn status(handled: &HandledEventView) -> String {
    match (handled.status, handled.handler) {
        (Some(status), Some(HandlerKind::Exec)) => format!("exit {status}"),
        (Some(status), _) => status.to_string(),
        (None, Some(HandlerKind::Forward)) => "no answer".to_owned(),
        (None, _) if handled.error.is_some() => "failed".to_owned(),
        (None, _) => "ok".to_owned(),
    }
}

fn duration(millis: u64) -> String {
    match millis {
        0 => "<1 ms".to_owned(),
        1..10_000 => format!("{millis} ms"),
        _ => format!("{} s", millis / 1000),
    }
}

fn next_try(handled: &HandledEventView, now: Timestamp) -> String {
    let HandledEventView { attempt, attempts, .. } = handled;
    let seconds = handled.next_attempt_at.map(|at| (at.as_millisecond() - now.as_millisecond() + 999) / 1000);
    match seconds {
        Some(seconds) => format!("try {attempt} of {attempts}, next {}", relative(seconds.max(1))),
        None => format!("try {attempt} of {attempts}, dead"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> HandledEventView {
        HandledEventView {
            connection: "stripe".to_owned(),
            id: 17,
            kind: "invoice.paid".to_owned(),
            delivery_id: "evt_0123456789abcdef0123456789abcdef".to_owned(),
            handler: Some(HandlerKind::Forward),
            target: Some("http://localhost:3000/hook".to_owned()),
            status: Some(500),
            duration_ms: 12,
            attempt: 3,
            attempts: 8,
            next_attempt_at: Timestamp::from_millisecond(107_400).ok(),
            event_status: EventStatus::Failed,
            error: Some("http://localhost:3000/hook answered 500".to_owned()),
            output: Some("{\n  \"error\": \"\x1b[2J\"\n}".to_owned()),
            is_last: true,
        }
    }

    fn lines(width: usize, several: bool, handled: &HandledEventView) -> String {
        let now = Timestamp::from_second(100).unwrap();
        handled_lines(&Ui::plain(), width, ("12:00:02", now), several, handled).join("\n")
    }

    #[test]
    fn a_failure_says_what_was_answered_and_when_it_is_tried_again() {
        insta::assert_snapshot!(lines(80, false, &failed()), @r#"
        12:00:02  ✗ invoice.paid  17  evt_01234567…  500  12 ms  try 3 of 8, next in 8 s
                  http://localhost:3000/hook answered 500
                  │ {
                  │   "error": "\u{1b}[2J"
                  │ }
        "#);
    }

    #[test]
    fn a_success_names_its_target_and_what_does_not_fit_is_left_out() {
        let handled = HandledEventView {
            status: Some(200),
            duration_ms: 4,
            next_attempt_at: None,
            event_status: EventStatus::Processed,
            error: None,
            output: None,
            ..failed()
        };
        let all = [80, 120, 50].map(|width| lines(width, false, &handled)).join("\n");
        insta::assert_snapshot!(format!("{all}\n{}", lines(80, true, &handled)), @r"
        12:00:02  → invoice.paid  17  evt_012345…  200  4 ms  http://localhost:3000/hook
        12:00:02  → invoice.paid  17  evt_0123456789abcdef0123456789abcdef  200  4 ms  http://localhost:3000/hook
        12:00:02  → invoice.paid  17  200  4 ms  http://l…
        12:00:02  → stripe invoice.paid  17  200  4 ms  http://localhost:3000/hook
        ");
        assert!(all.lines().all(|line| line.chars().count() <= 120));
        let exec = HandledEventView { handler: Some(HandlerKind::Exec), status: Some(0), duration_ms: 0, ..handled };
        assert!(lines(80, false, &exec).contains("exit 0  <1 ms"));
        let dead = HandledEventView { attempt: 8, next_attempt_at: None, event_status: EventStatus::Dead, ..failed() };
        assert!(lines(80, false, &dead).contains("try 8 of 8, dead"));
        let long = HandledEventView { output: Some("x\n".repeat(99)), ..failed() };
        assert_eq!(lines(80, false, &long).lines().count(), MAX_OUTPUT_LINES + 3);
    }
}
