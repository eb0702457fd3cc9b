//! Tables that fit the terminal.

use std::ops::Range;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table};

use super::escape::wrap;
use super::ui::{Tone, Ui, escape};

/// The longest text of a cell, in characters; values come from services, and the JSON has them whole.
const MAX_CELL_LENGTH: usize = 200;

/// A cell's text, made harmless, and its tone.
pub(super) struct TableCell(pub String, pub Option<Tone>);

impl From<&str> for TableCell {
    fn from(text: &str) -> Self {
        Self(text.to_owned(), None)
    }
}

impl From<String> for TableCell {
    fn from(text: String) -> Self {
        Self(text, None)
    }
}

/// Rows under headings, as wide as the terminal at most; unbounded where there is none.
pub(super) fn table(ui: &Ui, headings: &[&str], rows: Vec<Vec<TableCell>>) -> String {
    table_of_numbers(ui, headings, rows, 0..0)
}

/// The same with numbers in some columns, which end at their right edge.
pub(super) fn table_of_numbers(ui: &Ui, headings: &[&str], rows: Vec<Vec<TableCell>>, numbers: Range<usize>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    match ui.width {
        Some(width) => table.set_width(u16::try_from(width).unwrap_or(u16::MAX)),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if ui.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(headings.iter().map(|heading| Cell::new(heading.to_uppercase())));
    for row in rows {
        table.add_row(row.into_iter().map(|TableCell(text, tone)| {
            let cell = Cell::new(fitted(&escape(&text), MAX_CELL_LENGTH));
            match tone.filter(|_| ui.color) {
                Some(Tone::Good) => cell.fg(Color::Green),
                Some(Tone::Warn) => cell.fg(Color::Yellow),
                Some(Tone::Bad) => cell.fg(Color::Red),
                Some(Tone::Dim) => cell.fg(Color::DarkGrey),
                None => cell,
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if numbers.contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// What there is to know of a row beside its cells, and the command that fixes it: below the table, where nothing is folded
/// into a narrow column, and a command can be copied whole.
pub(super) struct TableNote {
    /// What the row is called.
    pub subject: String,
    pub text: String,
    pub command: Option<String>,
}

/// Appends notes to a table, after an empty line.
pub(super) fn with_notes(ui: &Ui, mut table: String, notes: &[TableNote]) -> String {
    if !notes.is_empty() {
        table.push('\n');
    }
    for TableNote { subject, text, command } in notes {
        let line = format!("{subject}: {}", fitted(text, MAX_CELL_LENGTH));
        table.push('\n');
        table.push_str(&wrap(&line, ui.width.map_or(usize::MAX, |width| width.saturating_sub(2))).join("\n  "));
        if let Some(command) = command {
            table.push_str(&format!("\n  {}", escape(command)));
        }
    }
    table
}

/// What is too long ends in an ellipsis.
pub(in crate::cli) fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `in 3 h`, `5 min ago`; the exact time is in the JSON.
pub(super) fn relative(seconds: i64) -> String {
    let size = seconds.unsigned_abs();
    let amount = match size {
        0 => return "now".to_owned(),
        1..60 => format!("{size} s"),
        60..3600 => format!("{} min", size / 60),
        3600..172_800 => format!("{} h", size / 3600),
        _ => format!("{} days", size / 86_400),
    };
    if seconds >= 0 { format!("in {amount}") } else { format!("{amount} ago") }
}
