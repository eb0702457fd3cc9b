//! The inputs of a binding that are stored: records and events.

use crate::error::Result;
use crate::model::{BindingInput, BindingOrigin, ConnectionName, EventFilter, RecordId};
use crate::runtime::Workspace;
use crate::webhook::inbound::delivery::payload_json;

/// An input with its name.
pub(super) struct SampleInput {
    /// `hubspot/contacts 15`, `stripe event 7`.
    pub(super) name: String,
    /// JSON.
    pub(super) json: String,
}

/// The connections of a binding's inputs, sorted by name.
pub(super) async fn connections(workspace: &Workspace, origin: &BindingOrigin) -> Result<Vec<ConnectionName>> {
    let names = workspace.connection_names().await?;
    Ok(names.into_iter().filter(|name| origin.includes(name)).collect())
}

/// Some inputs of a binding: the first records, the newest events. `only` names one connection.
pub(super) async fn sample(
    workspace: &Workspace,
    origin: &BindingOrigin,
    only: Option<&ConnectionName>,
    limit: u32,
) -> Result<Vec<SampleInput>> {
    let mut inputs = Vec::new();
    for name in connections(workspace, origin).await? {
        let left = limit.saturating_sub(u32::try_from(inputs.len()).unwrap_or(limit));
        if left == 0 || only.is_some_and(|only| *only != name) {
            continue;
        }
        match &origin.input {
            BindingInput::Stream(stream) => inputs.extend(records(workspace, &name, stream, left).await?),
            BindingInput::Event(kind) => inputs.extend(events(workspace, &name, kind, left).await?),
        }
    }
    Ok(inputs)
}

async fn records(workspace: &Workspace, name: &ConnectionName, stream: &str, limit: u32) -> Result<Vec<SampleInput>> {
    let store = workspace.store().await?;
    let connection = workspace.connection(name).await?;
    let Some(stored) = store.streams().find(connection.id, stream).await? else { return Ok(Vec::new()) };
    let records = store.records().list(stored.id, RecordId(0), limit).await?;
    let input = |record: crate::model::StoredRecord| SampleInput {
        name: format!("{name}/{stream} {}", record.key),
        json: record.json,
    };
    Ok(records.into_iter().map(input).collect())
}

async fn events(workspace: &Workspace, name: &ConnectionName, kind: &str, limit: u32) -> Result<Vec<SampleInput>> {
    let events = workspace.store().await?.events();
    let connection = workspace.connection(name).await?;
    let connector = workspace.catalogue().get(name.connector())?;
    let Some(rules) = &connector.webhook else { return Ok(Vec::new()) };
    let filter =
        EventFilter { connection: Some(connection.id), kinds: vec![kind.to_owned()], limit, ..EventFilter::default() };
    let mut inputs = Vec::new();
    for event in events.list(&filter).await? {
        // One whose content was removed has nothing to show.
        if let Some(raw) = events.raw_request(event.id).await? {
            inputs.push(SampleInput { name: format!("{name} event {}", event.id.0), json: payload_json(rules, &raw) });
        }
    }
    Ok(inputs)
}
