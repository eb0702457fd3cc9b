//! Views of bindings. Times are RFC 3339.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::schema::Time;
use super::word;
use crate::clock::Timestamp;
use crate::model::{Binding, BindingChange, BindingName, BindingOrigin, words};

/// A binding, without its text.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BindingSummaryView {
    #[serde(serialize_with = "word")]
    pub name: BindingName,
    /// `hubspot/contacts` or `stripe#charge.refunded`.
    #[serde(serialize_with = "word")]
    pub from: BindingOrigin,
    #[schemars(with = "Time")]
    pub changed_at: Timestamp,
    /// Inputs that could not be mapped and wait for `binding retry`.
    pub failure_count: u64,
    /// Failures that were not stored, because there were too many.
    pub dropped_failure_count: u64,
}

impl From<&Binding> for BindingSummaryView {
    fn from(binding: &Binding) -> Self {
        Self {
            name: binding.name.clone(),
            from: binding.origin.clone(),
            changed_at: binding.changed_at,
            failure_count: binding.failures,
            dropped_failure_count: binding.dropped_failures,
        }
    }
}

/// Bindings, sorted by name.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BindingListView {
    #[serde(skip)]
    #[schemars(with = "Time")]
    pub as_of: Timestamp,
    pub bindings: Vec<BindingSummaryView>,
}

/// An input that a binding could not map.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BindingFailureView {
    /// `hubspot/contacts 15`, `stripe event 7`.
    pub input: String,
    pub reason: String,
    #[schemars(with = "Time")]
    pub failed_at: Timestamp,
}

/// A binding with its text and its failures.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BindingView {
    #[serde(flatten)]
    pub summary: BindingSummaryView,
    pub text: String,
    /// The first failures, oldest first.
    pub failures: Vec<BindingFailureView>,
}

/// A binding that was set.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SetBindingView {
    #[serde(serialize_with = "word")]
    pub outcome: BindingChange,
    #[serde(flatten)]
    pub summary: BindingSummaryView,
    pub fields: Vec<String>,
    /// Examples in its text that it does not pass.
    pub failed_examples: usize,
}

/// A binding that was removed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RemovedBindingView {
    #[serde(serialize_with = "word")]
    pub removed: BindingName,
}

/// A value that a field was made of.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FieldInputView {
    pub path: String,
    /// Absent if the path leads nowhere.
    pub value: Option<Box<RawValue>>,
}

/// What a field was made of, and what it became.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FieldPreviewView {
    pub field: String,
    pub expression: String,
    pub inputs: Vec<FieldInputView>,
    pub output: Option<Box<RawValue>>,
    pub error: Option<String>,
}

/// An input of a binding, mapped field by field.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DocumentPreviewView {
    /// `hubspot/contacts 15`, `stripe event 7`.
    pub input: String,
    pub fields: Vec<FieldPreviewView>,
}

/// What a binding makes of some inputs. Nothing is stored.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BindingPreviewView {
    #[serde(serialize_with = "word")]
    pub from: BindingOrigin,
    pub documents: Vec<DocumentPreviewView>,
}

/// What became of an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExampleOutcome {
    Passed,
    Failed,
}

words!(ExampleOutcome { Passed => "passed", Failed => "failed" });

/// An example of a binding that was run.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ExampleView {
    #[serde(serialize_with = "word")]
    pub binding: BindingName,
    pub example: String,
    #[serde(serialize_with = "word")]
    pub outcome: ExampleOutcome,
    /// The differences, one per line.
    pub differences: Vec<String>,
}

/// The examples of bindings that were run.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BindingTestView {
    pub examples: Vec<ExampleView>,
    pub passed: usize,
    pub failed: usize,
    /// Bindings without examples.
    #[serde(skip)]
    #[schemars(skip)]
    pub untested: Vec<BindingName>,
}

/// A binding as it is exported.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ExportedBindingView {
    #[serde(serialize_with = "word")]
    pub name: BindingName,
    #[serde(serialize_with = "word")]
    pub from: BindingOrigin,
    pub text: String,
}

/// Bindings as they are exported, sorted by name. `binding import` reads it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct BindingExportView {
    pub bindings: Vec<ExportedBindingView>,
}

/// What became of bindings that were imported.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
pub struct ImportedBindingsView {
    pub added: usize,
    pub changed: usize,
    pub unchanged: usize,
}

/// What became of the failures of a binding that were tried again.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
pub struct BindingRetryView {
    /// Records that were mapped.
    pub mapped: u64,
    /// Events that were queued to be handled again.
    pub queued: u64,
    /// Records that failed again.
    pub failed: u64,
    /// Why the first one failed.
    pub first_failure: Option<String>,
}
