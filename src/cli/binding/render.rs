//! How bindings are shown to a person.

use crate::cli::table::{TableCell, fitted, relative, table, table_of_numbers};
use crate::cli::ui::{Render, Tone, Ui, escape, escape_lines};
use crate::model::BindingChange;
use crate::view::binding::{
    BindingListView, BindingPreviewView, BindingRetryView, BindingSummaryView, BindingTestView, BindingView,
    DocumentPreviewView, ExampleOutcome, ExampleView, FieldPreviewView, ImportedBindingsView, RemovedBindingView,
    SetBindingView,
};

/// Failures that are shown of a binding.
const SHOWN_FAILURES: usize = 10;

/// The width of a preview without a terminal.
const USUAL_WIDTH: usize = 120;

impl Render for BindingListView {
    fn text(&self, ui: &Ui) -> String {
        if self.bindings.is_empty() {
            return "No bindings. `integ help mapping` shows how to write one.".to_owned();
        }
        let row = |binding: &BindingSummaryView| {
            let failures = binding.failure_count + binding.dropped_failure_count;
            vec![
                binding.name.to_string().into(),
                binding.from.to_string().into(),
                TableCell(failures.to_string(), (failures > 0).then_some(Tone::Warn)),
                relative(binding.changed_at.as_second() - self.as_of.as_second()).into(),
            ]
        };
        let rows = self.bindings.iter().map(row).collect();
        table_of_numbers(ui, &["binding", "from", "failures", "changed"], rows, 2..3)
    }
}

impl Render for BindingView {
    fn text(&self, ui: &Ui) -> String {
        let BindingSummaryView { name, from, failure_count, dropped_failure_count, .. } = &self.summary;
        let mut text = escape_lines(&format!("# {name}, from {from}\n{}", self.text.trim_end()));
        if !self.failures.is_empty() {
            let shown = self.failures.iter().take(SHOWN_FAILURES);
            let rows = shown.map(|failure| vec![failure.input.clone().into(), failure.reason.clone().into()]).collect();
            text.push_str(&format!("\n\n{}", table(ui, &["failed on", "why"], rows)));
            let more = failure_count.saturating_sub(SHOWN_FAILURES as u64);
            if more > 0 {
                text.push_str(&format!("\nand {more} more"));
            }
            if *dropped_failure_count > 0 {
                text.push_str(&format!("\n{dropped_failure_count} further failures were not stored"));
            }
            text.push_str(&format!("\nAfter changing the binding or the data: `integ binding retry {name}`"));
        }
        text
    }
}

impl Render for SetBindingView {
    fn text(&self, _ui: &Ui) -> String {
        let BindingSummaryView { name, from, failure_count, .. } = &self.summary;
        let done = match self.outcome {
            BindingChange::Added => "Added",
            BindingChange::Changed => "Changed",
            BindingChange::Unchanged => "Unchanged:",
        };
        let count = self.fields.len();
        let fields = if count == 1 { "1 field".to_owned() } else { format!("{count} fields") };
        let mut text = format!("{done} {name}, {fields} from {}", escape(&from.to_string()));
        if *failure_count > 0 {
            text.push_str(&format!("\n{failure_count} failures can be tried again: `integ binding retry {name}`"));
        }
        text
    }
}

impl Render for RemovedBindingView {
    fn text(&self, _ui: &Ui) -> String {
        format!("Removed {}", self.removed)
    }
}

impl Render for BindingPreviewView {
    fn text(&self, ui: &Ui) -> String {
        self.documents.iter().map(|document| document_text(ui, document)).collect::<Vec<_>>().join("\n\n")
    }
}

/// A document as a table: each field with its input and its output side by side.
fn document_text(ui: &Ui, document: &DocumentPreviewView) -> String {
    let width = ui.width.unwrap_or(USUAL_WIDTH);
    let names = document.fields.iter().map(|field| field.field.chars().count()).max().unwrap_or_default().clamp(5, 24);
    // What is left for two columns, with the space between columns.
    let cell = (width.saturating_sub(names + 6) / 2).clamp(12, 100);
    let row = |field: &FieldPreviewView| {
        let output = match (&field.output, &field.error) {
            (Some(output), _) => TableCell(fitted(output.get(), cell), None),
            (None, Some(error)) => TableCell(error.clone(), Some(Tone::Bad)),
            (None, None) => TableCell(String::new(), None),
        };
        vec![field.field.clone().into(), input_text(field, cell).into(), output]
    };
    let rows = document.fields.iter().map(row).collect();
    format!("{}\n{}", escape(&document.input), table(ui, &["field", "input", "output"], rows))
}

/// What a field was made of: a value for each path, or the expression if it reads none.
fn input_text(field: &FieldPreviewView, width: usize) -> String {
    let one = |path: &str, value: Option<&str>| match value {
        Some(value) => fitted(&format!("{path} {value}"), width),
        None => fitted(&format!("{path} (missing)"), width),
    };
    if field.inputs.is_empty() {
        return fitted(&field.expression, width);
    }
    let lines = field.inputs.iter().map(|input| one(&input.path, input.value.as_ref().map(|value| value.get())));
    lines.collect::<Vec<_>>().join(" ")
}

impl Render for BindingTestView {
    fn text(&self, ui: &Ui) -> String {
        let row = |example: &ExampleView| {
            let tone = match example.outcome {
                ExampleOutcome::Passed => Tone::Good,
                ExampleOutcome::Failed => Tone::Bad,
            };
            vec![
                example.binding.to_string().into(),
                example.example.clone().into(),
                TableCell(example.outcome.to_string(), Some(tone)),
            ]
        };
        let mut text = match self.examples.is_empty() {
            true => "No examples. Write some below a binding's fields: `integ help mapping`.".to_owned(),
            false => table(ui, &["binding", "example", "result"], self.examples.iter().map(row).collect()),
        };
        for example in self.examples.iter().filter(|example| !example.differences.is_empty()) {
            text.push_str(&format!("\n\n{}, {}:", example.binding, escape(&example.example)));
            example.differences.iter().for_each(|line| text.push_str(&format!("\n  {}", escape(line))));
        }
        for name in self.untested.iter().filter(|_| !self.examples.is_empty()) {
            text.push_str(&format!("\n{name} has no examples"));
        }
        text
    }
}

impl Render for ImportedBindingsView {
    fn text(&self, _ui: &Ui) -> String {
        format!("{} added, {} changed, {} unchanged", self.added, self.changed, self.unchanged)
    }
}

/// The counts of a retry in one line.
pub(super) fn retry_line(view: &BindingRetryView) -> String {
    let mut text = format!("{} mapped, {} failed again", view.mapped, view.failed);
    if view.queued > 0 {
        text.push_str(&format!(", {} events queued for `integ webhook listen`", view.queued));
    }
    if let Some(first) = &view.first_failure {
        text.push_str(&format!(": {first}"));
    }
    text
}
