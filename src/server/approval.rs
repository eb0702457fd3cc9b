//! What makes a request one exact request, for a person to approve.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::call::RawCall;
use super::problem::RequestError;
use super::route::ApiRoute;
use crate::error::Result;
use crate::json::canonical;
use crate::model::{ApiTokenId, ApprovalRequest, Connection, ConnectionName, Effect};
use crate::ops::approvals::{ExactRequest, MAX_APPROVED_BYTES};

/// What is percent-encoded in a path: different values never make the same path.
const PATH_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@');

/// Members of queries and bodies that name a connection, alone or with one of its calendars.
const CONNECTION_MEMBERS: [&str; 2] = ["connection", "calendar"];

/// Finds the connection that a request names in its query or in its body: an approval is for that account.
pub(super) async fn named_connection(raw: &RawCall) -> Option<Connection> {
    let is_one = |name: &str| CONNECTION_MEMBERS.contains(&name);
    let mut query = url::form_urlencoded::parse(raw.query.as_bytes());
    let in_query = query.find(|(name, _)| is_one(name)).map(|(_, value)| value.into_owned());
    let in_body = || {
        let body: Value = serde_json::from_slice(&raw.body).ok()?;
        CONNECTION_MEMBERS.iter().find_map(|name| body[name].as_str().map(str::to_owned))
    };
    let named = in_query.or_else(in_body)?;
    let name: ConnectionName = named.split('/').next()?.parse().ok()?;
    raw.workspace.connection(&name).await.ok()
}

/// Describes a request: its method, its path, its query in the order of names, and its body as canonical JSON.
///
/// # Errors
/// [`RequestError::TooLarge`]; [`RequestError::Body`] for a member that appears twice.
pub(super) fn approval_request(
    route: &ApiRoute,
    effect: Effect,
    raw: &RawCall,
    connection: Option<&Connection>,
    token: &ApiTokenId,
) -> Result<ApprovalRequest> {
    let mut path = route.path.to_owned();
    for (name, value) in &raw.path {
        path = path.replace(&format!("{{{name}}}"), &utf8_percent_encode(value, PATH_VALUE).to_string());
    }
    let request = ExactRequest {
        token: Some(token),
        operation: route.operation.name,
        effect,
        connection,
        method: route.method.as_str(),
        path: &path,
        query: url::form_urlencoded::parse(raw.query.as_bytes()).into_owned().collect(),
        body: body(raw)?,
    };
    request.describe().ok_or_else(|| RequestError::TooLarge { limit: MAX_APPROVED_BYTES }.into())
}

/// Returns the body as canonical JSON. A body that was left out is read as an empty object.
fn body(raw: &RawCall) -> Result<String, RequestError> {
    if !raw.has_body {
        return Ok("null".to_owned());
    }
    if raw.body.is_empty() {
        return Ok("{}".to_owned());
    }
    let invalid = |reason: String| RequestError::Body { at: String::new(), reason };
    let text = std::str::from_utf8(&raw.body).map_err(|error| invalid(error.to_string()))?;
    canonical(text).map_err(|error| invalid(error.to_string()))
}
