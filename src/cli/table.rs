//! Tables that fit the terminal.

use std::ops::Range;

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table};

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
    let rows = match ui.width {
        None => rows,
        Some(width) => {
            let (rows, fits) = shortened(rows, headings, width);
            if fits {
                // The arrangement of the library wraps cells although there is room for all.
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
            rows
        }
    };
    // What a row is called is in its first cell, and is never broken, unless it would take most of the terminal.
    let most = ui.width.map_or(usize::MAX, |width| width * 2 / 3);
    let mut names = rows.iter().filter_map(|row| row.first());
    let keeps_first = names.all(|TableCell(name, _)| !name.contains(' ') && name.chars().count() <= most);
    for row in rows {
        table.add_row(row.into_iter().map(|TableCell(text, tone)| {
            let cell = Cell::new(fitted(&escape(&text), MAX_CELL_LENGTH));
            match tone.filter(|_| ui.color) {
                Some(Tone::Good) => cell.fg(Color::Green),
                Some(Tone::Warn) => cell.fg(Color::Yellow),
                Some(Tone::Bad) => cell.fg(Color::Red),
                Some(Tone::Dim) => cell.add_attribute(Attribute::Dim),
                None => cell,
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if column.index == 0 && keeps_first {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        if numbers.contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Shortens words that a narrow terminal would break, so that the first column, by which a row is known, stays whole. Only
/// columns of single words are shortened, the widest first; those with sentences wrap. Also returns whether all fits now.
fn shortened(mut rows: Vec<Vec<TableCell>>, headings: &[&str], width: usize) -> (Vec<Vec<TableCell>>, bool) {
    const NARROWEST: usize = 10;
    let length = |text: &str| escape(text).chars().count().min(MAX_CELL_LENGTH);
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    let mut is_words = vec![true; headings.len()];
    for row in &rows {
        for (column, TableCell(text, _)) in row.iter().enumerate().take(headings.len()) {
            widths[column] = widths[column].max(length(text));
            is_words[column] &= !text.contains(' ') || length(text) <= NARROWEST;
        }
    }
    // The space behind the last column may be cut off.
    let total = |widths: &[usize]| widths.iter().map(|width| width + 2).sum::<usize>().saturating_sub(2);
    while total(&widths) > width {
        let columns = (1..widths.len()).filter(|column| is_words[*column] && widths[*column] > NARROWEST);
        let Some(widest) = columns.max_by_key(|column| widths[*column]) else { break };
        widths[widest] -= 1;
    }
    for row in &mut rows {
        for (column, TableCell(text, _)) in row.iter_mut().enumerate().skip(1).take(headings.len() - 1) {
            if is_words[column] {
                *text = fitted(text, widths[column]);
            }
        }
    }
    let fits = total(&widths) <= width;
    (rows, fits)
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

/// Returns a number with its noun: `1 delivery`, `2 deliveries`.
pub(super) fn count(number: impl std::fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    match noun.strip_suffix('y') {
        _ if number == "1" => format!("1 {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None => format!("{number} {noun}s"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a table, at a width.
    fn lines(width: usize, rows: &[[&str; 3]]) -> Vec<String> {
        let mut ui = Ui::plain();
        ui.width = Some(width);
        let rows = rows.iter().map(|row| row.iter().map(|cell| TableCell::from(*cell)).collect()).collect();
        table(&ui, &["connection", "account", "mode"], rows).lines().map(str::to_owned).collect()
    }

    #[test]
    fn names_are_never_broken_from_60_to_200_columns() {
        let long = "google-calendar@accounting-department";
        let rows = [[long, "accounting-department@example.com", "sandbox"], ["slack", "Acme", "sandbox"]];
        for width in 60..=200 {
            let lines = lines(width, &rows);
            assert_eq!(lines.len(), 3, "{width}: {lines:#?}");
            assert!(lines[1].starts_with(long), "{width}: {lines:#?}");
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
        }
        assert!(lines(60, &rows)[1].contains('…'));
        assert!(lines(100, &rows)[1].contains("accounting-department@example.com"));
    }

    #[test]
    fn sentences_wrap_and_are_not_shortened() {
        let text = "a sentence that says what happened and why it did so at length, to the end";
        let lines = lines(60, &[["slack", text, "live"]]);
        assert!(lines.len() > 2 && lines.join(" ").contains("end"), "{lines:#?}");
    }
}
