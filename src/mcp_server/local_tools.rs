//! Tools for what is stored here: the status of connections, synced records, received events. No service is asked.

use std::ops::ControlFlow;
use std::str::FromStr;

use rmcp::model::{Tool, ToolAnnotations};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::output::READ_RESULT;
use super::toolbox::schema;
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::model::{ConnectionName, EventId};
use crate::ops::agents::AgentSession;
use crate::ops::connections::{self, StatusRequest};
use crate::ops::sync::{self, RecordSelection, RecordsRequest, RecordsSince, StreamName, SyncTarget};
use crate::ops::webhooks::{self, ListEventsRequest};

const STATUS: &str = "connection_status";
const RECORDS: &str = "list_records";
const EVENTS: &str = "list_events";
const EVENT: &str = "show_event";

/// Records or events that are returned at most, and if no number is given.
const MAX_LIMIT: u32 = 1000;
const DEFAULT_LIMIT: u32 = 100;

/// The arguments of a tool are not what it takes.
#[derive(Debug, Error)]
#[error("invalid arguments: {0}")]
pub(super) struct InvalidArguments(pub(super) String);

impl Remedy for InvalidArguments {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "invalid_parameters")
    }
}

/// Parses the arguments of a tool.
///
/// # Errors
/// [`InvalidArguments`].
pub(super) fn parse<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| InvalidArguments(error.to_string()).into())
}

fn name<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|error: T::Err| InvalidArguments(error.to_string()).into())
}

/// Returns the tools that the agent may use.
pub(super) fn list(agent: &AgentSession) -> Vec<Tool> {
    let connection = || json!({ "type": "string", "description": "Name of a connection, from connection_status" });
    let limit = json!({
        "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT,
        "description": "Number to return; records of one commit are not divided",
    });
    let tools = [
        ("status", STATUS, "Show the connections that you can use, and whether they work", schema(&json!({}), &[])),
        (
            "records",
            RECORDS,
            "Read records that were synced from a service, oldest change first. Without a stream, list the streams",
            schema(
                &json!({
                    "connection": connection(),
                    "stream": { "type": "string", "description": "Stream to read, such as issues" },
                    "after_version": {
                        "type": "integer", "minimum": 0,
                        "description": "Only what has changed since this `_version`: the next page, or the news",
                    },
                    "limit": limit,
                }),
                &["connection"],
            ),
        ),
        (
            "webhook events",
            EVENTS,
            "List webhook events that were received, newest first",
            schema(
                &json!({
                    "connection": connection(),
                    "type": { "type": "string", "description": "Type, or a pattern such as charge.*" },
                    "since": { "type": "string", "format": "date-time" },
                    "before": { "type": "integer", "description": "Only those with a smaller id: the next page" },
                    "limit": limit,
                }),
                &[],
            ),
        ),
        (
            "webhook show",
            EVENT,
            "Show a webhook event with its payload",
            schema(&json!({ "event": { "type": "integer", "description": "Id, from list_events" } }), &["event"]),
        ),
    ];
    let may_use = |(operation, ..): &(&str, _, _, _)| agent.may_use(operation);
    let tools = tools.into_iter().filter(may_use);
    let mut tools: Vec<Tool> = tools.map(|(_, name, about, input)| tool(name, about, input)).collect();
    let input = schema(
        &json!({
            "result": { "type": "string", "description": "Id of the result, as the note at its end says" },
            "offset": { "type": "integer", "minimum": 0 },
        }),
        &["result", "offset"],
    );
    tools.push(tool(READ_RESULT, "Read on in a result that was cut", input));
    tools
}

fn tool(name: &'static str, about: &'static str, input: rmcp::model::JsonObject) -> Tool {
    let hints = ToolAnnotations::new().read_only(true).destructive(false).idempotent(true).open_world(false);
    Tool::new(name, about, input).with_annotations(hints)
}

/// Runs a tool; `None` if it is none of these.
///
/// # Errors
/// [`InvalidArguments`], and those of the operation.
pub(super) async fn run(
    agent: &AgentSession,
    client: &str,
    tool: &str,
    arguments: Map<String, Value>,
) -> Result<Option<Value>> {
    let found = match tool {
        STATUS => status(agent, client).await?,
        RECORDS => records(agent, client, parse(arguments)?).await?,
        EVENTS => events(agent, client, parse(arguments)?).await?,
        EVENT => event(agent, client, parse::<EventArguments>(arguments)?.event).await?,
        _ => return Ok(None),
    };
    Ok(Some(found))
}

/// Returns the status of the agent's connections.
pub(super) async fn status(agent: &AgentSession, client: &str) -> Result<Value> {
    let view = agent.read(client, "status", connections::status(&agent.workspace, StatusRequest::default())).await?;
    Ok(json!({ "connections": view.connections }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordsArguments {
    connection: String,
    stream: Option<String>,
    #[serde(default)]
    after_version: u64,
    limit: Option<u32>,
}

async fn records(agent: &AgentSession, client: &str, arguments: RecordsArguments) -> Result<Value> {
    let RecordsArguments { connection, stream, after_version, limit } = arguments;
    let connection: ConnectionName = name(&connection)?;
    match stream {
        Some(stream) => {
            let limit = limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
            stored_records(agent, client, StreamName { connection, stream }, after_version, limit).await
        }
        None => streams(agent, client, Some(connection)).await,
    }
}

/// Returns the synced streams of a connection, or of all that the agent may use.
pub(super) async fn streams(agent: &AgentSession, client: &str, connection: Option<ConnectionName>) -> Result<Value> {
    let targets: Vec<SyncTarget> =
        connection.into_iter().map(|connection| SyncTarget { connection, stream: None }).collect();
    let view = agent.read(client, "records", sync::list_stored_streams(&agent.workspace, &targets, None)).await?;
    Ok(json!({ "streams": view.streams }))
}

/// Returns records of a stream by the time of their last change, without those that were deleted.
pub(super) async fn stored_records(
    agent: &AgentSession,
    client: &str,
    stream: StreamName,
    after_version: u64,
    limit: u32,
) -> Result<Value> {
    let (mut records, mut last) = (Vec::new(), after_version);
    let request = RecordsRequest {
        stream,
        selection: RecordSelection { since: Some(RecordsSince::Version(after_version)), limit: None },
        binding: None,
    };
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut has_more = false;
    let reading = sync::read_records(&agent.workspace, request, |record| {
        if record.stored.deleted_at.is_some() {
            return Ok(ControlFlow::Continue(()));
        }
        // Records of one commit have one version: a page never ends between them.
        if records.len() >= wanted && record.stored.version > last {
            has_more = true;
            return Ok(ControlFlow::Break(()));
        }
        last = record.stored.version;
        records.push(RawValue::from_string(record.json()).map_err(|error| InvalidArguments(error.to_string()))?);
        Ok(ControlFlow::Continue(()))
    });
    agent.read(client, "records", reading).await?;
    let next = has_more.then_some(last);
    let records = serde_json::to_value(&records).unwrap_or_default();
    Ok(json!({ "records": records, "next_after_version": next }))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsArguments {
    connection: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    since: Option<Timestamp>,
    before: Option<i64>,
    limit: Option<u32>,
}

async fn events(agent: &AgentSession, client: &str, arguments: EventsArguments) -> Result<Value> {
    let EventsArguments { connection, kind, since, before, limit } = arguments;
    let request = ListEventsRequest {
        connection: connection.as_deref().map(name).transpose()?,
        kinds: kind.into_iter().collect(),
        since,
        before: before.map(EventId),
        limit: limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
        ..ListEventsRequest::default()
    };
    let view = agent.read(client, "webhook events", webhooks::list_events(&agent.workspace, request)).await?;
    Ok(json!({ "events": view.events }))
}

/// Returns the newest events of a connection.
pub(super) async fn events_of(agent: &AgentSession, client: &str, connection: &str) -> Result<Value> {
    let arguments = EventsArguments { connection: Some(connection.to_owned()), ..EventsArguments::default() };
    events(agent, client, arguments).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventArguments {
    event: i64,
}

/// Returns an event with its payload.
pub(super) async fn event(agent: &AgentSession, client: &str, id: i64) -> Result<Value> {
    let view = agent.read(client, "webhook show", webhooks::show_event(&agent.workspace, EventId(id))).await?;
    Ok(json!(view))
}
