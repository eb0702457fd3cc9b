//! Calls to the services of connections: actions, and requests to any path.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::base64_body::Base64Bytes;
use super::super::call::Call;
use super::super::problem::RequestError;
use super::super::reply::JsonReply;
use super::{ApiRoute, GET, POST, Unused};
use crate::api::{ApiError, Attachment, FetchedPage, Input, PagePosition};
use crate::connector::HttpMethod;
use crate::error::Result;
use crate::http::serve::header::{HOST, HeaderName, HeaderValue};
use crate::ops::Effect;
use crate::ops::calls::{self, CallActionRequest, CallPathRequest};
use crate::view::call::{ActionListView, CallResultView, CallableActionView, RequestPreviewView, ServiceResponseView};
use crate::view::problem::ProblemView;

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/connections/{connection}/actions"), "call", "List its actions", actions),
        ApiRoute::new(
            (GET, "/v1/connections/{connection}/actions/{action}"),
            "call",
            "Show an action with its parameters",
            action,
        ),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/actions/{action}"),
            "call",
            "Call an action of its service",
            call_action,
        )
        .with_effect(call_effect),
        ApiRoute::new(
            (POST, "/v1/connections/{connection}/action-previews/{action}"),
            "call",
            "Return the request of an action without sending it",
            preview_action,
        )
        .with_effect(|_: Call<Unused, ActionBody>| async { Ok(Effect::Read) }),
        ApiRoute::new((POST, "/v1/connections/{connection}/request"), "api", "Send a request to its API", request)
            .with_effect(request_effect),
    ]
}

async fn actions(call: Call<Unused, Unused>) -> Result<JsonReply<ActionListView>> {
    Ok(JsonReply(calls::list_actions(&call.workspace, call.connection()?).await?))
}

async fn action(call: Call<Unused, Unused>) -> Result<JsonReply<CallableActionView>> {
    let action: String = call.path("action")?;
    Ok(JsonReply(calls::find_action(&call.workspace, call.connection()?, &action).await?.view()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ActionBody {
    /// Parameters by name, as `GET /v1/connections/{connection}/actions/{action}` describes them.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Value>")]
    input: IndexMap<String, Value>,
    /// The files of parameters that take them.
    #[serde(default)]
    files: BTreeMap<String, Vec<FileBody>>,
    /// For actions of services that take one.
    #[schemars(extend("pattern" = HEADER_VALUE))]
    idempotency_key: Option<String>,
}

/// A file that is sent.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileBody {
    name: String,
    content_type: String,
    content_base64: Base64Bytes,
}

fn action_request(call: &Call<Unused, ActionBody>) -> Result<CallActionRequest> {
    let ActionBody { input, files, idempotency_key } = &call.body;
    check_idempotency_key(idempotency_key.as_deref())?;
    let mut input = Input { values: input.clone(), files: IndexMap::new() };
    for (name, files) in files {
        let attachment =
            |file: &FileBody| Attachment::new(&file.name, &file.content_type, file.content_base64.0.clone());
        input.files.insert(name.clone(), files.iter().map(attachment).collect());
    }
    Ok(CallActionRequest {
        connection: call.connection()?,
        action: call.path("action")?,
        input,
        idempotency_key: idempotency_key.clone(),
    })
}

/// The problem of a service's rejection, which is part of a result.
fn problem_of(error: ApiError) -> ProblemView {
    ProblemView::new(&error.into(), "Rejected")
}

/// What a service answered to an action.
#[derive(JsonSchema, Serialize)]
struct CalledActionView {
    #[serde(flatten)]
    result: CallResultView,
    /// What the response means if the service rejected the call.
    refusal: Option<ProblemView>,
}

async fn call_action(call: Call<Unused, ActionBody>) -> Result<JsonReply<CalledActionView>> {
    let request = action_request(&call)?;
    let mut result = Box::pin(calls::call_action(&call.workspace, request)).await?;
    let refusal = result.refusal.take().map(problem_of);
    Ok(JsonReply(CalledActionView { result, refusal }))
}

async fn call_effect(call: Call<Unused, ActionBody>) -> Result<Effect> {
    let action: String = call.path("action")?;
    calls::action_effect(&call.workspace, call.connection()?, &action).await
}

/// A request that would be sent, without its secrets.
#[derive(JsonSchema, Serialize)]
struct ActionPreviewView {
    #[serde(flatten)]
    preview: RequestPreviewView,
    /// Why the service would probably reject it.
    warning: Option<ProblemView>,
}

async fn preview_action(call: Call<Unused, ActionBody>) -> Result<JsonReply<ActionPreviewView>> {
    let request = action_request(&call)?;
    let mut preview = Box::pin(calls::preview_action(&call.workspace, request)).await?;
    let warning = preview.warning.take().map(problem_of);
    Ok(JsonReply(ActionPreviewView { preview, warning }))
}

/// The method of a request to a service.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum RequestMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Head,
}

impl From<RequestMethod> for HttpMethod {
    fn from(method: RequestMethod) -> Self {
        match method {
            RequestMethod::Get => Self::Get,
            RequestMethod::Post => Self::Post,
            RequestMethod::Put => Self::Put,
            RequestMethod::Patch => Self::Patch,
            RequestMethod::Delete => Self::Delete,
            RequestMethod::Head => Self::Head,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    method: Option<RequestMethod>,
    /// A path of the API, or a whole URL of one of its hosts.
    path: String,
    /// Members of the JSON or form that is sent, or of the query where there is a body or the method has none.
    #[serde(default)]
    fields: Map<String, Value>,
    /// A body of JSON.
    body: Option<Value>,
    /// A body as it is, in place of `body`.
    body_base64: Option<Base64Bytes>,
    /// Headers beside the connection's own. `Host` is that of the URL.
    #[serde(default)]
    #[schemars(schema_with = "headers_schema")]
    headers: BTreeMap<String, String>,
    #[schemars(extend("pattern" = HEADER_VALUE))]
    idempotency_key: Option<String>,
    /// Return the response as it is, also one that rejects the request.
    #[serde(default)]
    exact: bool,
    /// Return what the next page is requested with.
    #[serde(default)]
    paginate: bool,
    /// The `next_page` of the page before. The rest of the request is repeated.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    page: PagePosition,
}

fn path_request(call: &Call<Unused, RequestBody>) -> Result<CallPathRequest> {
    let body = &call.body;
    let bytes = match (&body.body_base64, &body.body) {
        (Some(bytes), _) => Some(bytes.0.clone()),
        (None, Some(json)) => Some(json.to_string().into_bytes()),
        (None, None) => None,
    };
    check_headers(&body.headers)?;
    check_idempotency_key(body.idempotency_key.as_deref())?;
    Ok(CallPathRequest {
        connection: call.connection()?,
        method: body.method.map(HttpMethod::from),
        path: body.path.clone(),
        fields: body.fields.clone(),
        body: bytes,
        headers: body.headers.clone().into_iter().collect(),
        idempotency_key: body.idempotency_key.clone(),
        paginate: body.paginate,
    })
}

/// What [`check_headers`] accepts of names and values (RFC 9110, sections 5.1 and 5.5).
const HEADER_NAME: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
const HEADER_VALUE: &str = r"^[^\x00-\x08\x0a-\x1f\x7f]*$";

fn headers_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": HEADER_NAME, "not": { "pattern": "^[Hh][Oo][Ss][Tt]$" } },
        "additionalProperties": { "type": "string", "pattern": HEADER_VALUE },
    })
}

/// Checks that headers can be sent. `Host` is that of the URL: another would lead the credential elsewhere.
fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), RequestError> {
    let is_name = |name: &str| HeaderName::try_from(name).is_ok_and(|name| name != HOST);
    if headers.iter().all(|(name, value)| is_name(name) && is_header_value(value)) {
        return Ok(());
    }
    let reason = "a header name or value is not valid".to_owned();
    Err(RequestError::Body { at: " at headers".to_owned(), reason })
}

/// Checks that a key can be sent in a header.
fn check_idempotency_key(key: Option<&str>) -> Result<(), RequestError> {
    if key.is_none_or(is_header_value) {
        return Ok(());
    }
    let reason = "it has a control character, which no header can have".to_owned();
    Err(RequestError::Body { at: " at idempotency_key".to_owned(), reason })
}

fn is_header_value(text: &str) -> bool {
    HeaderValue::try_from(text).is_ok()
}

async fn request_effect(call: Call<Unused, RequestBody>) -> Result<Effect> {
    calls::request_effect(&call.workspace, &path_request(&call)?, &call.body.page).await
}

async fn request(call: Call<Unused, RequestBody>) -> Result<JsonReply<ServiceResponseView>> {
    let request = path_request(&call)?;
    let fetched = Box::pin(calls::call_page(&call.workspace, request, &call.body.page)).await?;
    let FetchedPage { response, refusal, next } = fetched;
    let refusal = match refusal {
        Some(error) if !call.body.exact => return Err(error.into()),
        refusal => refusal.map(problem_of),
    };
    let json = if call.body.exact { None } else { serde_json::from_slice(&response.body).ok() };
    Ok(JsonReply(ServiceResponseView {
        status: response.status,
        headers: response.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body_base64: json.is_none().then(|| STANDARD.encode(&response.body)),
        json,
        next_page: next,
        refusal,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_described_as_they_are_checked() {
        let names = regex_bites::Regex::new(HEADER_NAME).unwrap();
        let values = regex_bites::Regex::new(HEADER_VALUE).unwrap();
        let accepts =
            |name: &str, value: &str| check_headers(&BTreeMap::from([(name.to_owned(), value.to_owned())])).is_ok();
        for character in (0..0x300).filter_map(char::from_u32) {
            let text = format!("a{character}");
            assert_eq!(accepts(&text, ""), names.is_match(&text), "{character:?}");
            assert_eq!(accepts("a", &text), values.is_match(&text), "{character:?}");
            assert_eq!(check_idempotency_key(Some(&text)).is_ok(), values.is_match(&text), "{character:?}");
        }
        assert!(accepts("a", "") && !accepts("", "") && !names.is_match("") && !accepts("Host", ""));
    }
}
