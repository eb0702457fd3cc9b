//! What is stored here as resources: `integ://status`, `integ://records/…` and `integ://events/…`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rmcp::model::{Resource, ResourceTemplate};
use serde_json::Value;

use super::local_tools;
use crate::error::Result;
use crate::ops::agents::AgentSession;
use crate::ops::sync::StreamName;

const STATUS: &str = "integ://status";
const RECORDS: &str = "integ://records/";
const EVENTS: &str = "integ://events/";

pub(super) const MEDIA_TYPE: &str = "application/json";

/// Records that a resource has; the tool reads on.
const MAX_RECORDS: u32 = 100;

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@');

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Lists what the agent may read.
///
/// # Errors
/// The store's.
pub(super) async fn list(agent: &AgentSession, client: &str) -> Result<Vec<Resource>> {
    let mut resources = Vec::new();
    if agent.may_use("status") {
        resources.push(resource(STATUS.to_owned(), "Connections", "The connections, and whether they work"));
    }
    if agent.may_use("records") {
        let streams = local_tools::streams(agent, client, None).await?;
        for stream in streams["streams"].as_array().into_iter().flatten() {
            let text = |name: &str| stream[name].as_str().unwrap_or_default();
            let (connection, stream) = (text("connection"), text("stream"));
            let uri = format!("{RECORDS}{}/{}", segment(connection), segment(stream));
            resources.push(resource(
                uri,
                &format!("{connection}/{stream}"),
                "Records that were synced, the oldest change first",
            ));
        }
    }
    if agent.may_use("webhook events") {
        for name in agent.workspace.connection_names().await? {
            let uri = format!("{EVENTS}{}", segment(&name.to_string()));
            resources.push(resource(
                uri,
                &format!("Events of {name}"),
                "Webhook events that were received, newest first",
            ));
        }
    }
    Ok(resources)
}

fn resource(uri: String, name: &str, about: &str) -> Resource {
    Resource::new(uri, name).with_description(about).with_mime_type(MEDIA_TYPE)
}

/// Lists the forms of URIs of resources that are not listed.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    let event = ResourceTemplate::new(format!("{EVENTS}{{connection}}/{{event}}"), "Event");
    vec![event.with_description("A webhook event with its payload").with_mime_type(MEDIA_TYPE)]
}

/// Reads a resource; `None` for an unknown URI.
///
/// # Errors
/// Those of the operation that reads it.
pub(super) async fn read(agent: &AgentSession, client: &str, uri: &str) -> Result<Option<Value>> {
    if uri == STATUS {
        return local_tools::status(agent, client).await.map(Some);
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (rest, is_event) = match (uri.strip_prefix(RECORDS), uri.strip_prefix(EVENTS)) {
        (Some(rest), _) => (rest, false),
        (_, Some(rest)) => (rest, true),
        (None, None) => return Ok(None),
    };
    let (connection, rest) = rest.split_once('/').map_or((rest, None), |(connection, rest)| (connection, Some(rest)));
    match (is_event, rest) {
        (true, None) => local_tools::events_of(agent, client, &decoded(connection)).await.map(Some),
        (true, Some(event)) => match event.parse() {
            Ok(id) => local_tools::event(agent, client, id).await.map(Some),
            Err(_) => Ok(None),
        },
        (false, Some(stream)) => match decoded(connection).parse() {
            Ok(connection) => {
                let stream = StreamName { connection, stream: decoded(stream) };
                local_tools::stored_records(agent, client, stream, 0, MAX_RECORDS).await.map(Some)
            }
            Err(_) => Ok(None),
        },
        (false, None) => Ok(None),
    }
}
