//! Bindings: field mappings, inbound and two-way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::bounded::Bounded;
use super::super::call::Call;
use super::super::page::{CursorPage, PageQuery};
use super::super::problem::RequestError;
use super::super::reply::JsonReply;
use super::{ApiRoute, DELETE, GET, POST, PUT, Unused};
use crate::error::Result;
use crate::model::{BindingName, BindingOrigin, ConnectionName, Entity, SyncSide};
use crate::ops::bindings::{
    self, BindingChoice, BindingText, ImportBindingsRequest, PreviewBindingRequest, PushEntitiesRequest, Resolution,
    ResolveEntityRequest, SetBindingRequest, SyncBindingRequest,
};
use crate::view::binding::{
    BindingExportView, BindingPreviewView, BindingRetryView, BindingSummaryView, BindingTestView, BindingView,
    EntityOutcomeView, EntitySyncView, ImportedBindingsView, OpenConflictListView, RemovedBindingView, SetBindingView,
};

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/bindings"), "binding list", "List the bindings", list),
        ApiRoute::new((GET, "/v1/bindings/{binding}"), "binding show", "Show a binding", show),
        ApiRoute::new((PUT, "/v1/bindings/{binding}"), "binding set", "Create or replace a binding", set),
        ApiRoute::new((DELETE, "/v1/bindings/{binding}"), "binding remove", "Remove a binding", remove),
        ApiRoute::new(
            (POST, "/v1/bindings/{binding}/preview"),
            "binding preview",
            "Show how a binding, or a changed text of it, maps some records or events; stores nothing",
            preview,
        ),
        ApiRoute::new((POST, "/v1/bindings/{binding}/test"), "binding test", "Run the examples of a binding", test),
        ApiRoute::new(
            (POST, "/v1/bindings/{binding}/retry"),
            "binding retry",
            "Retry the records and events that a binding could not map",
            retry,
        ),
        ApiRoute::new(
            (POST, "/v1/bindings/{binding}/push"),
            "binding push",
            "Write your entities to the service, merged with what changed there",
            push,
        ),
        ApiRoute::new(
            (POST, "/v1/bindings/{binding}/sync"),
            "binding sync",
            "Update both sides of a two-way binding",
            sync,
        ),
        ApiRoute::new(
            (GET, "/v1/binding-conflicts"),
            "binding conflicts",
            "List the open conflicts of two-way bindings",
            conflicts,
        ),
        ApiRoute::new(
            (POST, "/v1/bindings/{binding}/resolve"),
            "binding resolve",
            "Resolve the conflict of an entity",
            resolve,
        ),
        ApiRoute::new((GET, "/v1/binding-export"), "binding export", "Export all bindings as text", export),
        ApiRoute::new((POST, "/v1/binding-imports"), "binding import", "Import bindings that were exported", import),
    ]
}

async fn list(call: Call<PageQuery, Unused>) -> Result<JsonReply<CursorPage<BindingSummaryView>>> {
    let PageQuery { limit, cursor } = call.query;
    let bindings = bindings::list_bindings(&call.workspace).await?.bindings;
    Ok(JsonReply(CursorPage::of_list(bindings, cursor.as_ref(), limit, |binding| binding.name.to_string())?))
}

fn binding<Q, B>(call: &Call<Q, B>) -> Result<BindingName> {
    call.path("binding")
}

async fn show(call: Call<Unused, Unused>) -> Result<JsonReply<BindingView>> {
    Ok(JsonReply(bindings::show_binding(&call.workspace, binding(&call)?).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetBody {
    /// What it maps; may be omitted for a binding that exists.
    origin: Option<BindingOrigin>,
    /// The text of the binding; or give `template`.
    text: Option<String>,
    /// The name of a template of the connector.
    template: Option<String>,
}

async fn set(call: Call<Unused, SetBody>) -> Result<JsonReply<SetBindingView>> {
    let name = binding(&call)?;
    let text = match call.body {
        SetBody { text: Some(ref text), template: None, .. } => BindingText::Text(text.clone()),
        SetBody { text: None, template: Some(ref template), .. } => BindingText::Template(template.clone()),
        _ => {
            let reason = "give `text` or `template`".to_owned();
            return Err(RequestError::Value { at: String::new(), reason }.into());
        }
    };
    let request = SetBindingRequest { name, origin: call.body.origin, text };
    Ok(JsonReply(bindings::set_binding(&call.workspace, request).await?))
}

async fn remove(call: Call<Unused, Unused>) -> Result<JsonReply<RemovedBindingView>> {
    Ok(JsonReply(bindings::remove_binding(&call.workspace, binding(&call)?).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PreviewBody {
    /// A text to try instead of the stored one.
    text: Option<String>,
    connection: Option<ConnectionName>,
    limit: Option<Bounded<1, 100>>,
}

async fn preview(call: Call<Unused, PreviewBody>) -> Result<JsonReply<BindingPreviewView>> {
    let name = binding(&call)?;
    let PreviewBody { text, connection, limit } = call.body;
    let binding = match text {
        Some(text) => BindingChoice::Changed { name, text },
        None => BindingChoice::Stored(name),
    };
    let request = PreviewBindingRequest { binding, connection, limit: limit.map_or(5, Bounded::get) };
    Ok(JsonReply(bindings::preview_binding(&call.workspace, request).await?))
}

async fn test(call: Call<Unused, Unused>) -> Result<JsonReply<BindingTestView>> {
    Ok(JsonReply(bindings::test_bindings(&call.workspace, vec![binding(&call)?]).await?))
}

async fn retry(call: Call<Unused, Unused>) -> Result<JsonReply<BindingRetryView>> {
    Ok(JsonReply(bindings::retry_binding(&call.workspace, binding(&call)?, |_| Ok(())).await?))
}

/// The entities of a two-way binding, and what became of each.
#[derive(JsonSchema, Serialize)]
struct EntityOutcomesView {
    summary: EntitySyncView,
    entities: Vec<EntityOutcomeView>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PushBody {
    /// Your entities: objects with the fields of the binding.
    entities: Vec<Value>,
    /// The connection, if the binding is for all connections of a connector.
    connection: Option<ConnectionName>,
    /// Return what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

async fn push(call: Call<Unused, PushBody>) -> Result<JsonReply<EntityOutcomesView>> {
    let name = binding(&call)?;
    let PushBody { entities, connection, dry_run } = call.body;
    let text = entities.iter().map(|entity| format!("{entity}\n")).collect();
    let request = PushEntitiesRequest { name, connection, text, is_dry_run: dry_run };
    let mut entities = Vec::new();
    let pushed = bindings::push_entities(&call.workspace, request, |entity| {
        entities.push(entity);
        Ok(())
    });
    let summary = Box::pin(pushed).await?;
    Ok(JsonReply(EntityOutcomesView { summary, entities }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SyncBody {
    connection: Option<ConnectionName>,
    /// Compare every record, not only those that changed.
    #[serde(default)]
    full: bool,
    /// Also return objects that are not linked with an entity.
    #[serde(default)]
    with_new: bool,
    /// Return what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

async fn sync(call: Call<Unused, SyncBody>) -> Result<JsonReply<EntityOutcomesView>> {
    let name = binding(&call)?;
    let SyncBody { connection, full, with_new, dry_run } = call.body;
    let request = SyncBindingRequest { name, connection, is_full: full, with_new, is_dry_run: dry_run };
    let mut entities = Vec::new();
    let synced = bindings::sync_binding(&call.workspace, request, |entity| {
        entities.push(entity);
        Ok(())
    });
    let summary = Box::pin(synced).await?;
    Ok(JsonReply(EntityOutcomesView { summary, entities }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConflictsQuery {
    /// Only those of this binding.
    binding: Option<BindingName>,
}

async fn conflicts(call: Call<ConflictsQuery, Unused>) -> Result<JsonReply<OpenConflictListView>> {
    Ok(JsonReply(bindings::list_conflicts(&call.workspace, call.query.binding).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResolveBody {
    /// `TYPE/ID`.
    entity: String,
    connection: Option<ConnectionName>,
    resolution: ResolutionBody,
}

/// How a conflict ends.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum ResolutionBody {
    /// Use your values for these fields; for all if empty.
    Ours(Vec<String>),
    /// Use the service's values for these fields; for all if empty.
    Theirs(Vec<String>),
    /// Use another value for a field.
    Value { field: String, value: Value },
    /// The interrupted creation succeeded: this is its object.
    Created { object: String },
    /// The interrupted creation created nothing: send it again.
    NotCreated {},
}

async fn resolve(call: Call<Unused, ResolveBody>) -> Result<JsonReply<EntityOutcomesView>> {
    let name = binding(&call)?;
    let ResolveBody { entity, connection, resolution } = call.body;
    let invalid =
        |error| RequestError::Value { at: " at entity".to_owned(), reason: crate::error::on_one_line(&error) };
    let entity: Entity = entity.parse().map_err(invalid)?;
    let resolution = match resolution {
        ResolutionBody::Ours(fields) => Resolution::Side { side: SyncSide::Ours, fields },
        ResolutionBody::Theirs(fields) => Resolution::Side { side: SyncSide::Theirs, fields },
        ResolutionBody::Value { field, value } => Resolution::Value { field, value },
        ResolutionBody::Created { object } => Resolution::Created { object },
        ResolutionBody::NotCreated {} => Resolution::NotCreated,
    };
    let mut entities = Vec::new();
    let request = ResolveEntityRequest { name, connection, entity, resolution };
    let resolved = bindings::resolve_conflict(&call.workspace, request, |entity| {
        entities.push(entity);
        Ok(())
    });
    let summary = Box::pin(resolved).await?;
    Ok(JsonReply(EntityOutcomesView { summary, entities }))
}

async fn export(call: Call<Unused, Unused>) -> Result<JsonReply<BindingExportView>> {
    Ok(JsonReply(bindings::export_bindings(&call.workspace, Vec::new()).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImportBody {
    /// The response of `GET /v1/binding-export`, as text.
    text: String,
}

async fn import(call: Call<Unused, ImportBody>) -> Result<JsonReply<ImportedBindingsView>> {
    Ok(JsonReply(bindings::import_bindings(&call.workspace, ImportBindingsRequest { text: call.body.text }).await?))
}
