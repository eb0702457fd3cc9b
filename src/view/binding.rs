//! Views of bindings. Times are RFC 3339.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::schema::Time;
use super::word;
use crate::clock::Timestamp;
use crate::model::{
    Binding, BindingChange, BindingName, BindingOrigin, ConnectionName, Entity, FieldConflict, Link, words,
};

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

/// The outcome of an entity of a two-way binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityOutcome {
    /// An object was created for it.
    Created,
    /// Its object was changed.
    Updated,
    /// It changed at the service: `received` lists the fields, and `document` is what the user's side should store.
    Changed,
    /// It was linked with an existing object.
    Linked,
    Unchanged,
    /// A field was changed on both sides.
    Conflict,
    /// Its object was deleted at the service, so the user's side should delete it.
    Deleted,
    /// It was deleted; its object stays.
    Unlinked,
    /// Its object was merged into that of another entity.
    Merged,
    /// An object that is not linked with an entity.
    New,
    /// Its creation was interrupted, with an unknown result.
    Unconfirmed,
    Failed,
}

words!(EntityOutcome {
    Created => "created",
    Updated => "updated",
    Changed => "changed",
    Linked => "linked",
    Unchanged => "unchanged",
    Conflict => "conflict",
    Deleted => "deleted",
    Unlinked => "unlinked",
    Merged => "merged",
    New => "new",
    Unconfirmed => "unconfirmed",
    Failed => "failed",
});

/// A field that was changed on both sides. A value is absent if the side never had one, or deleted the entity.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FieldConflictView {
    /// `(deleted)` for a change on one side and a deletion on the other.
    pub field: String,
    /// What both sides had last.
    pub agreed: Option<Value>,
    pub ours: Option<Value>,
    pub theirs: Option<Value>,
}

impl From<&FieldConflict> for FieldConflictView {
    fn from(conflict: &FieldConflict) -> Self {
        let FieldConflict { field, agreed, ours, theirs } = conflict.clone();
        Self { field, agreed, ours, theirs }
    }
}

/// The outcome of one entity that was pushed or synced.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct EntityOutcomeView {
    #[serde(serialize_with = "word")]
    pub outcome: EntityOutcome,
    /// `customer/42`; absent for an object that is not linked with an entity.
    pub entity: Option<String>,
    /// The id of the object at the service.
    pub object: Option<String>,
    /// Fields that were written at the service.
    pub sent: Vec<String>,
    /// Fields that changed at the service.
    pub received: Vec<String>,
    /// What the user's side should store.
    pub document: Option<Value>,
    pub conflicts: Vec<FieldConflictView>,
    /// Why it failed, or why the result is unknown.
    pub reason: Option<String>,
}

impl EntityOutcomeView {
    /// An outcome of an entity and the object that it is linked with.
    pub fn new(entity: &Entity, link: Option<&Link>, outcome: EntityOutcome) -> Self {
        let object = link.map(|link| link.object.id().to_owned());
        Self { entity: Some(entity.to_string()), object, outcome, ..Self::of_object() }
    }

    /// The outcome of an object that is not linked with an entity.
    pub fn of_object() -> Self {
        Self {
            outcome: EntityOutcome::New,
            entity: None,
            object: None,
            sent: Vec::new(),
            received: Vec::new(),
            document: None,
            conflicts: Vec::new(),
            reason: None,
        }
    }
}

/// The number of entities for each outcome of a push or a sync.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
pub struct EntitySyncView {
    pub counts: BTreeMap<&'static str, u64>,
}

impl EntitySyncView {
    /// Counts an outcome.
    pub fn count(&mut self, view: &EntityOutcomeView) {
        *self.counts.entry(view.outcome.as_str()).or_default() += 1;
    }

    /// The number of entities with an outcome.
    pub fn of(&self, outcome: EntityOutcome) -> u64 {
        self.counts.get(outcome.as_str()).copied().unwrap_or_default()
    }
}

/// A conflict that is open.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct OpenConflictView {
    #[serde(serialize_with = "word")]
    pub binding: BindingName,
    pub entity: String,
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub object: String,
    #[serde(flatten)]
    pub conflict: FieldConflictView,
}

/// An interrupted creation with an unknown result.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct UnconfirmedCreationView {
    #[serde(serialize_with = "word")]
    pub binding: BindingName,
    pub entity: String,
    pub action: String,
    #[schemars(with = "Time")]
    pub started_at: Timestamp,
}

/// Open conflicts and interrupted creations.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
pub struct OpenConflictListView {
    pub conflicts: Vec<OpenConflictView>,
    /// Creations that were interrupted; the next push or sync finds out whether they were done, if that is possible.
    pub interrupted: Vec<UnconfirmedCreationView>,
}
