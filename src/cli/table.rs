//! Tables that fit the terminal.

use std::ops::Range;

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width};

use super::escape::wrap;
use super::ui::{Tone, Ui, escape};

/// The longest text of a cell, in characters; values come from services, and the JSON has them whole.
const MAX_CELL_LENGTH: usize = 200;

/// Columns between two cells.
const GAP: u16 = 2;

/// The width to which words are shortened at most.
const NARROWEST: usize = 10;

/// The width that any column but the first can be narrowed to.
const LEAST_WIDTH: usize = 8;

/// The width to which sentences are wrapped before words are shortened.
const SENTENCE_WIDTH: usize = 24;

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
    // The widths are decided here: the library would wrap cells although there is room for all, and break names.
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if ui.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(headings.iter().map(|heading| Cell::new(heading.to_uppercase())));
    let columns = columns(headings, &rows);
    let widths = ui.width.map(|width| column_widths(&columns, width));
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(at, TableCell(text, tone))| {
            let text = fitted(&escape(&text), MAX_CELL_LENGTH);
            let cell = Cell::new(match (&widths, columns.get(at)) {
                (Some(widths), Some(column)) => column.fit(&text, widths[at]),
                _ => text,
            });
            match tone.filter(|_| ui.color) {
                Some(Tone::Good) => cell.fg(Color::Green),
                Some(Tone::Warn) => cell.fg(Color::Yellow),
                Some(Tone::Bad) => cell.fg(Color::Red),
                Some(Tone::Dim) => cell.add_attribute(Attribute::Dim),
                None => cell,
            }
        }));
    }
    let last = columns.len().saturating_sub(1);
    for column in table.column_iter_mut() {
        // Nothing is behind the last column: spaces within its colour would be wider than the terminal.
        let gap = if column.index == last { 0 } else { GAP };
        column.set_padding((0, gap));
        let width = widths.as_ref().and_then(|widths| widths.get(column.index));
        if let Some(width) = width.filter(|width| **width < columns[column.index].width) {
            let whole = u16::try_from(*width).unwrap_or(u16::MAX).saturating_add(gap);
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(whole)));
        }
        if numbers.contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// What a column needs.
#[derive(Debug)]
struct Column {
    /// Characters of the longest cell, or of the heading.
    width: usize,
    longest_word: usize,
    /// Whether it has sentences, which are wrapped. Single words are shortened instead.
    wraps: bool,
}

impl Column {
    /// A text that fits into the column: shortened, or with its words shortened if it wraps.
    fn fit(&self, text: &str, width: usize) -> String {
        match self.wraps {
            true => text.split(' ').map(|word| fitted(word, width)).collect::<Vec<_>>().join(" "),
            false => fitted(text, width),
        }
    }
}

fn columns(headings: &[&str], rows: &[Vec<TableCell>]) -> Vec<Column> {
    let heading = |heading: &&str| {
        let width = heading.chars().count();
        Column { width, longest_word: width, wraps: false }
    };
    let mut columns: Vec<Column> = headings.iter().map(heading).collect();
    for row in rows {
        for (column, TableCell(text, _)) in columns.iter_mut().zip(row) {
            let text = escape(text);
            let length = text.chars().count().min(MAX_CELL_LENGTH);
            let words = text.split(' ').map(|word| word.chars().count().min(MAX_CELL_LENGTH));
            column.width = column.width.max(length);
            column.longest_word = column.longest_word.max(words.max().unwrap_or(0));
            column.wraps |= text.contains(' ') && length > NARROWEST;
        }
    }
    columns
}

/// The widths of the columns of a table, so that it fits. Sentences wrap first; then words are shortened; the first column, by
/// which a row is known, keeps its width for as long as any other can give way.
fn column_widths(columns: &[Column], width: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = columns.iter().map(|column| column.width).collect();
    let is_name = |at: usize| at == 0 && !columns[at].wraps;
    narrow(&mut widths, width, |at| least_without_loss(&columns[at]));
    narrow(&mut widths, width, |at| (!columns[at].wraps && !is_name(at)).then_some(NARROWEST));
    narrow(&mut widths, width, |at| (!is_name(at)).then_some(LEAST_WIDTH));
    narrow(&mut widths, width, |_| Some(LEAST_WIDTH));
    widths
}

/// The width at which a column shows all its words, if it can be narrower than its cells.
fn least_without_loss(column: &Column) -> Option<usize> {
    column.wraps.then(|| column.longest_word.max(SENTENCE_WIDTH))
}

/// Takes from the widest column that may be narrower until the table fits, or none may.
fn narrow(widths: &mut [usize], width: usize, least: impl Fn(usize) -> Option<usize>) {
    while !fits(widths, width) {
        let wider = (0..widths.len()).filter(|at| least(*at).is_some_and(|least| widths[*at] > least));
        let Some(widest) = wider.max_by_key(|at| widths[*at]) else { return };
        widths[widest] -= 1;
    }
}

fn fits(widths: &[usize], width: usize) -> bool {
    // No space is behind the last column.
    widths.iter().map(|width| width + usize::from(GAP)).sum::<usize>() <= width + usize::from(GAP)
}

/// Removes columns that matter less, in this order, for as long as a terminal is too narrow to show every word.
pub(super) fn remove_spare(ui: &Ui, headings: &mut Vec<&str>, rows: &mut [Vec<TableCell>], spare: &[&str]) {
    let Some(width) = ui.width else { return };
    for spare in spare {
        let columns = columns(headings, rows);
        let mut widths: Vec<usize> = columns.iter().map(|column| column.width).collect();
        narrow(&mut widths, width, |at| least_without_loss(&columns[at]));
        if fits(&widths, width) {
            return;
        }
        if let Some(at) = headings.iter().position(|heading| heading == spare) {
            headings.remove(at);
            rows.iter_mut().for_each(|row| _ = row.remove(at));
        }
    }
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
    fn sentences_wrap_before_words_are_shortened() {
        let text = "a sentence that says what happened and why it did so at length, to the end";
        let (name, account) = ("google-calendar@accounting", "accounting@example.com");
        for width in [60, 80, 120, 200] {
            let lines = lines(width, &[[name, text, account], ["slack", "short", "a@b.c"]]);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
            assert!(lines[1].starts_with(name), "{width}: {lines:#?}");
            let words: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
            assert!(text.split(' ').all(|word| words.contains(&word)), "{width}: {lines:#?}");
            assert_eq!(words.contains(&account), width >= 80, "{width}: {lines:#?}");
        }
        assert_eq!(lines(200, &[[name, text, account]]).len(), 2);
    }

    #[test]
    fn spare_columns_go_before_words_are_shortened() {
        let cells = ["google-calendar@accounting", "accounting@example.com", "needs reauth", "in 59 min", "12 s ago"];
        let columns_at = |width: usize| {
            let mut ui = Ui::plain();
            ui.width = Some(width);
            let mut headings = vec!["connection", "account", "status", "expires", "checked"];
            let mut rows = vec![cells.map(TableCell::from).into_iter().collect::<Vec<_>>()];
            remove_spare(&ui, &mut headings, &mut rows, &["checked", "expires"]);
            let text = table(&ui, &headings, rows);
            assert!(text.contains("google-calendar@accounting"), "{width}: {text}");
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
            headings.len()
        };
        assert_eq!([60, 80, 120, 200].map(columns_at), [3, 4, 5, 5]);
    }

    #[test]
    fn only_what_has_no_room_at_all_breaks_a_name() {
        let name = "a-name-of-seventy-characters-that-is-longer-than-a-narrow-terminal-is.";
        assert!(lines(90, &[[name, "", ""]])[1].starts_with(name));
        let narrow = lines(60, &[[name, "Acme", "sandbox"]]);
        assert!(narrow.iter().all(|line| line.chars().count() <= 60), "{narrow:#?}");
    }
}
