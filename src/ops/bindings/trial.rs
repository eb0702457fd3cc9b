//! Trying a binding: on what is stored, and on its examples. Nothing is changed.

use serde_json::value::RawValue;

use super::{BindingOperationError, bound_mapper, ensure_origin, find, inputs, stored};
use crate::error::Result;
use crate::json::Json;
use crate::mapping::{BindingSource, Example, Expected, MappedField, Mapper, failure_text};
use crate::model::{BindingName, BindingOrigin, ConnectionName};
use crate::runtime::Workspace;
use crate::view::binding::{
    BindingPreviewView, BindingTestView, DocumentPreviewView, ExampleOutcome, ExampleView, FieldInputView,
    FieldPreviewView,
};

/// A binding to try.
#[derive(Clone, Debug)]
pub enum BindingChoice {
    Stored(BindingName),
    /// A text that is not stored, for these inputs.
    Text {
        origin: BindingOrigin,
        text: String,
    },
    /// A text in place of that of a binding.
    Changed {
        name: BindingName,
        text: String,
    },
}

/// What to preview.
#[derive(Clone, Debug)]
pub struct PreviewBindingRequest {
    pub binding: BindingChoice,
    /// Only inputs of this connection.
    pub connection: Option<ConnectionName>,
    /// Number of inputs at most.
    pub limit: u32,
}

/// Maps stored records or events, and returns the result of each field.
///
/// # Errors
/// [`crate::mapping::BindingError`]; [`BindingOperationError::NotFound`] and [`BindingOperationError::NoInputs`].
pub async fn preview_binding(workspace: &Workspace, request: PreviewBindingRequest) -> Result<BindingPreviewView> {
    let (origin, mapper) = match request.binding {
        BindingChoice::Stored(name) => {
            let bound = bound_mapper(workspace, &name).await?;
            (bound.binding.origin.clone(), bound.mapper)
        }
        BindingChoice::Text { origin, text } => {
            ensure_origin(workspace, &origin)?;
            (origin, Mapper::new(&text)?.into())
        }
        BindingChoice::Changed { name, text } => (find(workspace, &name).await?.origin, Mapper::new(&text)?.into()),
    };
    if let Some(connection) = &request.connection {
        workspace.connection(connection).await?;
    }
    let inputs = inputs::sample(workspace, &origin, request.connection.as_ref(), request.limit).await?;
    if inputs.is_empty() {
        return Err(BindingOperationError::NoInputs { origin }.into());
    }
    let documents = inputs
        .into_iter()
        .map(|input| DocumentPreviewView {
            fields: mapper.trace(&input.json).fields.into_iter().map(field_view).collect(),
            input: input.name,
        })
        .collect();
    Ok(BindingPreviewView { from: origin, documents })
}

fn field_view(field: MappedField) -> FieldPreviewView {
    let raw = |json: String| RawValue::from_string(json).ok();
    let inputs = field.inputs.into_iter();
    let inputs = inputs.map(|input| FieldInputView { path: input.path, value: input.value.and_then(raw) });
    let (output, error) = match field.result {
        Ok(output) => (raw(output), None),
        Err(error) => (None, Some(error)),
    };
    FieldPreviewView { field: field.field, expression: field.expression, inputs: inputs.collect(), output, error }
}

/// Runs the examples of bindings; of all if none is named.
///
/// # Errors
/// [`BindingOperationError::NotFound`] and [`BindingOperationError::Unusable`].
pub async fn test_bindings(workspace: &Workspace, names: Vec<BindingName>) -> Result<BindingTestView> {
    let bindings = match names.is_empty() {
        true => stored(workspace).await?,
        false => {
            let mut found = Vec::with_capacity(names.len());
            for name in &names {
                found.push(find(workspace, name).await?);
            }
            found
        }
    };
    let mut view = BindingTestView { examples: Vec::new(), passed: 0, failed: 0, untested: Vec::new() };
    for binding in bindings {
        let unusable = |source| BindingOperationError::Unusable { name: binding.name.clone(), source };
        let source = BindingSource::parse(&binding.text).map_err(unusable)?;
        let mapper = Mapper::compile(&source).map_err(unusable)?;
        if source.examples.is_empty() {
            view.untested.push(binding.name.clone());
        }
        for example in &source.examples {
            let differences = differences(&mapper, example);
            let outcome = if differences.is_empty() { ExampleOutcome::Passed } else { ExampleOutcome::Failed };
            match outcome {
                ExampleOutcome::Passed => view.passed += 1,
                ExampleOutcome::Failed => view.failed += 1,
            }
            view.examples.push(ExampleView {
                binding: binding.name.clone(),
                example: example.name.clone(),
                outcome,
                differences,
            });
        }
    }
    Ok(view)
}

/// What a mapper makes otherwise than an example says, a line for each member; empty if it passes.
pub(super) fn differences(mapper: &Mapper, example: &Example) -> Vec<String> {
    match (mapper.map(&example.input), &example.expected) {
        (Ok(output), Expected::Output(expected)) => {
            let (output, expected) = (Json::from_validated(&output), Json::from_validated(expected));
            compared(output, expected)
        }
        (Ok(output), Expected::Error(error)) => vec![format!("expected an error with {error:?}, got {output}")],
        (Err(failures), Expected::Output(_)) => vec![failure_text(&failures)],
        (Err(failures), Expected::Error(error)) => {
            let found = failure_text(&failures);
            let is_same = found.contains(error.as_str());
            if is_same { Vec::new() } else { vec![format!("expected an error with {error:?}, got: {found}")] }
        }
    }
}

fn compared(output: Json<'_>, expected: Json<'_>) -> Vec<String> {
    let text = |value: Option<Json<'_>>| value.map_or_else(|| "nothing".to_owned(), |value| value.as_str().to_owned());
    let is_same = |one: Option<Json<'_>>, other: Option<Json<'_>>| match (one, other) {
        (Some(one), Some(other)) => one.equals(&other.value()),
        (one, other) => one.is_none() && other.is_none(),
    };
    let mut names: Vec<String> = expected.members().map(|(name, _)| name.into_owned()).collect();
    for (name, _) in output.members() {
        if !names.iter().any(|known| *known == name) {
            names.push(name.into_owned());
        }
    }
    names
        .iter()
        .filter(|name| !is_same(output.get(name), expected.get(name)))
        .map(|name| format!("{name}: expected {}, got {}", text(expected.get(name)), text(output.get(name))))
        .collect()
}
