//! Operations on bindings: mappings from records and events to the user's own shape.

mod error;
mod inputs;
mod records;
mod retry;
mod transfer;
mod trial;
mod two_way;

pub use error::BindingOperationError;
pub(crate) use records::only_stream;
pub use records::{MappingReport, RecordMapping};
pub use retry::retry_binding;
pub use transfer::{ImportBindingsRequest, export_bindings, import_bindings};
pub use trial::{BindingChoice, PreviewBindingRequest, preview_binding, test_bindings};
pub use two_way::{
    PushEntitiesRequest, Resolution, ResolveEntityRequest, SyncBindingRequest, list_conflicts, push_entities,
    resolve_conflict, sync_binding,
};

use super::{Effect, Operation, OperationScope, Reach};
use crate::connector::BindingTemplate;
use crate::error::Result;
use crate::mapping::{BindingSource, BoundMapper, Mapper};
use crate::model::{Binding, BindingFailure, BindingInput, BindingName, BindingOrigin, BoundInput, matches_type};
use crate::near::closest;
use crate::runtime::Workspace;
use crate::view::binding::{
    BindingFailureView, BindingListView, BindingSummaryView, BindingView, RemovedBindingView, SetBindingView,
};

const BINDINGS: OperationScope = OperationScope::Bindings;

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("binding list", BINDINGS, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("binding show", BINDINGS, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("binding set", BINDINGS, Effect::Write).reachable_by(Reach::Api),
    Operation::local("binding remove", BINDINGS, Effect::Write).reachable_by(Reach::Api),
    Operation::local("binding preview", BINDINGS, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("binding test", BINDINGS, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("binding export", BINDINGS, Effect::Read).reachable_by(Reach::Api),
    Operation::local("binding import", BINDINGS, Effect::Write).reachable_by(Reach::Api),
    Operation::local("binding push", BINDINGS, Effect::Destroy).reachable_by(Reach::Api),
    Operation::local("binding sync", BINDINGS, Effect::Destroy).reachable_by(Reach::Api),
    Operation::local("binding conflicts", BINDINGS, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("binding resolve", BINDINGS, Effect::Destroy).reachable_by(Reach::Api),
    Operation::local("binding retry", BINDINGS, Effect::Write).reachable_by(Reach::Api),
];

/// Failures that a view of a binding has.
const SHOWN_FAILURES: u32 = 100;

/// A binding to set.
#[derive(Clone, Debug)]
pub struct SetBindingRequest {
    pub name: BindingName,
    /// May be absent if there is a binding of this name.
    pub origin: Option<BindingOrigin>,
    pub text: BindingText,
}

/// Where the text of a binding comes from.
#[derive(Clone, Debug)]
pub enum BindingText {
    Text(String),
    /// A template of the connector, by its name.
    Template(String),
}

/// Returns the bindings, sorted by name.
pub async fn list_bindings(workspace: &Workspace) -> Result<BindingListView> {
    let bindings = stored(workspace).await?;
    let bindings = bindings.iter().map(BindingSummaryView::from).collect();
    Ok(BindingListView { as_of: workspace.clock.now(), bindings })
}

/// Returns a binding with its text, and the inputs that it failed on.
///
/// # Errors
/// [`BindingOperationError::NotFound`].
pub async fn show_binding(workspace: &Workspace, name: BindingName) -> Result<BindingView> {
    let binding = find(workspace, &name).await?;
    let failures = workspace.store().await?.bindings().failures(binding.id, SHOWN_FAILURES).await?;
    let view = |failure: BindingFailure| BindingFailureView {
        input: input_text(&binding.origin, &failure),
        reason: failure.reason,
        failed_at: failure.failed_at,
    };
    Ok(BindingView {
        summary: BindingSummaryView::from(&binding),
        failures: failures.into_iter().map(view).collect(),
        text: binding.text,
    })
}

/// Sets a binding, in place of one of this name. It is compiled first; nothing is stored if it is wrong.
///
/// # Errors
/// [`crate::mapping::BindingError`]; unknown connectors, streams and events; [`BindingOperationError::NotFound`] for a
/// change without an origin.
pub async fn set_binding(workspace: &Workspace, request: SetBindingRequest) -> Result<SetBindingView> {
    let SetBindingRequest { name, origin, text } = request;
    let origin = match origin {
        Some(origin) => origin,
        None => find(workspace, &name).await?.origin,
    };
    ensure_origin(workspace, &origin)?;
    let text = match text {
        BindingText::Text(text) => text,
        BindingText::Template(template) => template_text(workspace, &origin, &template)?,
    };
    let source = BindingSource::parse(&text)?;
    let mapper = Mapper::compile(&source)?;
    two_way::check(workspace, &origin, &source)?;
    let fields = mapper.field_names().map(str::to_owned).collect();
    let failed_examples =
        source.examples.iter().filter(|example| !trial::differences(&mapper, example).is_empty()).count();
    let bindings = workspace.store_or_new().await?.bindings();
    let outcome = bindings.put(&name, &origin, &text, workspace.clock.now()).await?;
    let summary = BindingSummaryView::from(&find(workspace, &name).await?);
    Ok(SetBindingView { outcome, summary, fields, failed_examples })
}

/// Removes a binding with its failures.
///
/// # Errors
/// [`BindingOperationError::NotFound`].
pub async fn remove_binding(workspace: &Workspace, name: BindingName) -> Result<RemovedBindingView> {
    let binding = find(workspace, &name).await?;
    workspace.store().await?.bindings().remove(&binding.name).await?;
    Ok(RemovedBindingView { removed: name })
}

/// Returns a binding, compiled.
///
/// # Errors
/// [`BindingOperationError::NotFound`] and [`BindingOperationError::Unusable`].
pub async fn bound_mapper(workspace: &Workspace, name: &BindingName) -> Result<BoundMapper> {
    let unusable = |source| BindingOperationError::Unusable { name: name.clone(), source };
    Ok(BoundMapper::new(find(workspace, name).await?).map_err(unusable)?)
}

/// Returns a binding of events, compiled.
///
/// # Errors
/// Those of [`bound_mapper`]; [`BindingOperationError::NoEvents`].
pub async fn event_mapper(workspace: &Workspace, name: &BindingName) -> Result<BoundMapper> {
    let bound = bound_mapper(workspace, name).await?;
    match &bound.binding.origin.input {
        BindingInput::Event(_) => Ok(bound),
        BindingInput::Stream(_) => Err(BindingOperationError::NoEvents { name: name.clone() }.into()),
    }
}

async fn stored(workspace: &Workspace) -> Result<Vec<Binding>> {
    match workspace.has_vault() {
        true => Ok(workspace.store().await?.bindings().list().await?),
        false => Ok(Vec::new()),
    }
}

async fn find(workspace: &Workspace, name: &BindingName) -> Result<Binding> {
    let found = match workspace.has_vault() {
        true => workspace.store().await?.bindings().find(name).await?,
        false => None,
    };
    if let Some(binding) = found {
        return Ok(binding);
    }
    let all = stored(workspace).await?;
    let likely = closest(name.as_str(), all.iter().map(|binding| binding.name.as_str())).map(str::to_owned);
    Err(BindingOperationError::NotFound { name: name.clone(), suggestion: likely }.into())
}

/// The text of a connector's template, which must be for the same inputs.
fn template_text(workspace: &Workspace, origin: &BindingOrigin, name: &str) -> Result<String> {
    let connector = workspace.catalogue().get(&origin.connector)?;
    let is_for = |template: &BindingTemplate| match &origin.input {
        BindingInput::Stream(stream) => template.stream.as_ref() == Some(stream),
        BindingInput::Event(event) => template.event.as_ref() == Some(event),
    };
    let found = connector.templates.get(name).filter(|template| is_for(template));
    let known = || connector.templates.iter().filter(|(_, template)| is_for(template)).map(|(name, _)| name.clone());
    found.map(|template| template.text.clone()).ok_or_else(|| {
        let (template, known) = (name.to_owned(), known().collect());
        BindingOperationError::UnknownTemplate { origin: origin.clone(), template, known }.into()
    })
}

/// Refuses an origin that a connector does not have.
fn ensure_origin(workspace: &Workspace, origin: &BindingOrigin) -> Result<()> {
    let connector = workspace.catalogue().get(&origin.connector)?;
    let near = |name: &str, known: Vec<&str>| closest(name, known).map(str::to_owned);
    match &origin.input {
        BindingInput::Stream(stream) if !connector.streams.contains_key(stream) => {
            let suggestion = near(stream, connector.streams.keys().map(String::as_str).collect());
            Err(BindingOperationError::UnknownStream {
                connector: connector.id.clone(),
                stream: stream.clone(),
                suggestion,
            }
            .into())
        }
        // A service may leave the types of its events to its users.
        BindingInput::Event(event)
            if !connector.events.is_empty() && !connector.events.keys().any(|known| matches_type(event, known)) =>
        {
            let suggestion = near(event, connector.events.keys().map(String::as_str).collect());
            Err(BindingOperationError::UnknownEvent {
                connector: connector.id.clone(),
                event: event.clone(),
                suggestion,
            }
            .into())
        }
        _ => Ok(()),
    }
}

/// How an input that failed is called.
fn input_text(origin: &BindingOrigin, failure: &BindingFailure) -> String {
    match (&failure.input, &failure.record, &origin.input) {
        (BoundInput::Record(_), Some((_, key)), BindingInput::Stream(stream)) => {
            format!("{}/{stream} {key}", failure.connection)
        }
        (BoundInput::Record(id), ..) => format!("{} record {}", failure.connection, id.0),
        (BoundInput::Event(id), ..) => format!("{} event {}", failure.connection, id.0),
    }
}
