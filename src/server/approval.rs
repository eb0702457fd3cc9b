//! What makes a request one exact request, for a person to approve.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::call::RawCall;
use super::problem::RequestError;
use super::route::ApiRoute;
use crate::error::Result;
use crate::hash::sha256_of_parts;
use crate::json::canonical;
use crate::model::{ApiTokenId, ApprovalRequest, Connection, Effect, approval_summary};

/// Bytes of a request that needs an approval: nobody reads more before deciding.
const MAX_BYTES: usize = 64 * 1024;

/// What is percent-encoded in a path: different values never make the same path.
const PATH_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@');

/// Describes a request: its method, its path, its query in the order of names, and its body as canonical JSON. The digest
/// also covers the id of the connection, so that an approval never reaches another account of the same name.
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
    let mut query: Vec<(String, String)> = url::form_urlencoded::parse(raw.query.as_bytes()).into_owned().collect();
    // Stable: the values of one name keep their order.
    query.sort_by(|(one, _), (other, _)| one.cmp(other));
    let shown_query: String = query.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    let summary = format!("{}: {} {path}{shown_query}", route.operation.name, route.method);
    let query: Vec<Value> = query.into_iter().map(|(name, value)| Value::from(vec![name, value])).collect();
    let request = format!(
        r#"{{"method":{},"path":{},"query":{},"body":{}}}"#,
        Value::from(route.method.as_str()),
        Value::from(path),
        Value::from(query),
        body(raw)?
    );
    if request.len() > MAX_BYTES {
        return Err(RequestError::TooLarge { limit: MAX_BYTES }.into());
    }
    let id = connection.map_or(0, |connection| connection.id.0).to_be_bytes();
    Ok(ApprovalRequest {
        token: token.clone(),
        operation: route.operation.name.to_owned(),
        effect,
        connection: connection.map(|connection| connection.name.clone()),
        digest: sha256_of_parts(&[request.as_bytes(), &id]),
        summary: approval_summary(&summary),
        request,
    })
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
