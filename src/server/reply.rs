//! The responses of routes.

use hyper::body::Bytes;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;

use super::route::SchemaFunction;
use crate::http::serve::{FullResponse, Response as HttpResponse, StatusCode, header};

/// The shape of a route's successful response, for the description of the API.
#[derive(Clone, Copy)]
pub(super) struct ReplyShape {
    pub(super) status: StatusCode,
    pub(super) content: ReplyContent,
}

/// The content of a response.
#[derive(Clone, Copy)]
pub(super) enum ReplyContent {
    Nothing,
    Json(SchemaFunction),
    /// Of this media type.
    Text(&'static str),
}

/// A successful response.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
    /// Where the created object is.
    pub(super) location: Option<String>,
}

pub(super) const JSON: &str = "application/json";

/// A value that a handler returns.
pub(super) trait IntoReply: Send + 'static {
    fn shape() -> ReplyShape;
    fn into_reply(self) -> Reply;
}

/// 200 with a view.
pub(super) struct JsonReply<T>(pub(super) T);

/// 201 with the view of what was created, and its address.
pub(super) struct Created<T>(pub(super) String, pub(super) T);

/// 202 with a view: the work goes on.
pub(super) struct Accepted<T>(pub(super) T);

/// 204.
pub(super) struct NoContent;

/// 200 with a text of another media type.
pub(super) struct Calendar(pub(super) String);

/// 200 with metrics in the text format of Prometheus.
pub(super) struct PrometheusText(pub(super) String);

/// 200 with the exact bytes of a webhook's body.
pub(super) struct Octets(pub(super) Vec<u8>);

/// 200 with a JSON object on each line.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Adds a line.
    pub(super) fn push(&mut self, view: &impl Serialize) {
        // Views are trees of strings and numbers.
        self.0.extend(serde_json::to_vec(view).unwrap_or_default());
        self.0.push(b'\n');
    }
}

impl IntoReply for Lines {
    fn shape() -> ReplyShape {
        ReplyShape { status: StatusCode::OK, content: ReplyContent::Text("application/x-ndjson") }
    }

    fn into_reply(self) -> Reply {
        Reply { status: StatusCode::OK, content_type: "application/x-ndjson", body: self.0.into(), location: None }
    }
}

impl<T: Serialize + JsonSchema + Send + 'static> IntoReply for JsonReply<T> {
    fn shape() -> ReplyShape {
        ReplyShape { status: StatusCode::OK, content: ReplyContent::Json(SchemaGenerator::subschema_for::<T>) }
    }

    fn into_reply(self) -> Reply {
        json(StatusCode::OK, &self.0, None)
    }
}

impl<T: Serialize + JsonSchema + Send + 'static> IntoReply for Created<T> {
    fn shape() -> ReplyShape {
        ReplyShape { status: StatusCode::CREATED, content: ReplyContent::Json(SchemaGenerator::subschema_for::<T>) }
    }

    fn into_reply(self) -> Reply {
        json(StatusCode::CREATED, &self.1, Some(self.0))
    }
}

impl<T: Serialize + JsonSchema + Send + 'static> IntoReply for Accepted<T> {
    fn shape() -> ReplyShape {
        ReplyShape { status: StatusCode::ACCEPTED, content: ReplyContent::Json(SchemaGenerator::subschema_for::<T>) }
    }

    fn into_reply(self) -> Reply {
        json(StatusCode::ACCEPTED, &self.0, None)
    }
}

impl IntoReply for NoContent {
    fn shape() -> ReplyShape {
        ReplyShape { status: StatusCode::NO_CONTENT, content: ReplyContent::Nothing }
    }

    fn into_reply(self) -> Reply {
        Reply { status: StatusCode::NO_CONTENT, content_type: "", body: Bytes::new(), location: None }
    }
}

impl IntoReply for Calendar {
    fn shape() -> ReplyShape {
        ReplyShape { status: StatusCode::OK, content: ReplyContent::Text("text/calendar") }
    }

    fn into_reply(self) -> Reply {
        let content_type = "text/calendar; charset=utf-8";
        Reply { status: StatusCode::OK, content_type, body: self.0.into(), location: None }
    }
}

impl IntoReply for PrometheusText {
    fn shape() -> ReplyShape {
        ReplyShape { status: StatusCode::OK, content: ReplyContent::Text("text/plain") }
    }

    fn into_reply(self) -> Reply {
        let content_type = crate::view::prometheus::CONTENT_TYPE;
        Reply { status: StatusCode::OK, content_type, body: self.0.into(), location: None }
    }
}

impl IntoReply for Octets {
    fn shape() -> ReplyShape {
        ReplyShape { status: StatusCode::OK, content: ReplyContent::Text("application/octet-stream") }
    }

    fn into_reply(self) -> Reply {
        let content_type = "application/octet-stream";
        Reply { status: StatusCode::OK, content_type, body: self.0.into(), location: None }
    }
}

fn json(status: StatusCode, value: &impl Serialize, location: Option<String>) -> Reply {
    // Views are trees of strings and numbers; a map with other keys would be a mistake in the view.
    let body = serde_json::to_vec(value).unwrap_or_default();
    Reply { status, content_type: JSON, body: body.into(), location }
}

impl Reply {
    /// Returns it as an HTTP response, which no cache may keep and no browser may interpret.
    pub(super) fn into_http(self) -> FullResponse {
        let mut response = HttpResponse::new(self.body.into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if !self.content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(self.content_type));
        }
        if let Some(location) = self.location.and_then(|location| header::HeaderValue::try_from(location).ok()) {
            headers.insert(header::LOCATION, location);
        }
        protect(headers);
        response
    }
}

/// Adds the headers of every response of the API.
pub(super) fn protect(headers: &mut header::HeaderMap) {
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    let policy = header::HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
}
