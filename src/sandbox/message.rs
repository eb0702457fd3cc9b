//! Requests and responses as values, so that the vendor is a pure function.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::state::merge_json;
use crate::connector::Pointer;
use crate::http::serve::{self, FullResponse, Method, StatusCode, header};

/// What no answer but a page needs: nothing may be loaded or run.
const NO_CONTENT_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// A request as the emulated vendor sees it.
#[derive(Clone, Debug)]
pub struct SandboxRequest {
    pub method: Method,
    /// Percent-encoded, as received.
    pub path: String,
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl SandboxRequest {
    /// The value of the header, where it came once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    pub(super) fn query_params(&self) -> RequestParams {
        RequestParams::parse(self.query.as_bytes())
    }

    /// The parameters of a call: the query's, and where a call may be a GET or a POST the body's too.
    pub(super) fn call_params(&self, with_body: bool) -> RequestParams {
        let mut params = self.query_params();
        if with_body {
            let body = if self.is_form() { self.form() } else { self.json().unwrap_or_default() };
            params.0.extend(body.0);
        }
        params
    }

    /// All values of a name in the query.
    pub(super) fn query_all(&self, name: &str) -> Vec<String> {
        self.query_params().iter().filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned()).collect()
    }

    /// Whether the body says that it is a form.
    pub(super) fn is_form(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
    }

    /// The parameters of a form.
    pub(super) fn form(&self) -> RequestParams {
        RequestParams::parse(&self.body)
    }

    /// The scalar members of a JSON object; absent where the body is none.
    pub(super) fn json(&self) -> Option<RequestParams> {
        let Ok(Value::Object(members)) = serde_json::from_slice(&self.body) else { return None };
        let scalar = |value: Value| match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            _ => None,
        };
        Some(RequestParams(members.into_iter().filter_map(|(name, value)| Some((name, scalar(value)?))).collect()))
    }

    /// User name and password of HTTP Basic (RFC 7617), as they came.
    pub(super) fn basic(&self) -> Option<(String, String)> {
        let (scheme, encoded) = self.header("authorization")?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }
}

impl From<hyper::Request<Bytes>> for SandboxRequest {
    fn from(request: hyper::Request<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            method: head.method,
            body: body.to_vec(),
        }
    }
}

/// Named values in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestParams(Vec<(String, String)>);

impl RequestParams {
    fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The first value of the name; an empty one counts as absent (RFC 6749 section 3.1).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value)
    }

    /// A name that came more than once, which RFC 6749 section 3.1 forbids.
    pub(super) fn duplicate(&self) -> Option<&str> {
        let seen_before = |at: usize, name: &str| self.0[..at].iter().any(|(earlier, _)| earlier == name);
        self.0.iter().enumerate().find(|(at, (name, _))| seen_before(*at, name)).map(|(_, (name, _))| name.as_str())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What the emulated vendor answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxResponse {
    pub status: u16,
    pub content_type: &'static str,
    pub content_security_policy: String,
    /// Beside those that every answer has.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// How long to wait before it is sent.
    pub delay: Duration,
}

impl SandboxResponse {
    fn new(status: u16, content_type: &'static str, body: String) -> Self {
        let content_policy = NO_CONTENT_POLICY.to_owned();
        Self {
            status,
            content_type,
            content_security_policy: content_policy,
            headers: Vec::new(),
            body,
            delay: Duration::ZERO,
        }
    }

    pub(super) fn json(status: u16, document: &Value) -> Self {
        Self::new(status, "application/json; charset=utf-8", document.to_string())
    }

    /// JSON that is written already.
    pub(super) fn json_text(status: u16, body: String) -> Self {
        Self::new(status, "application/json; charset=utf-8", body)
    }

    /// This answer with another's members laid over its own, at every depth: all answers of GraphQL begin with `data`.
    pub(super) fn merged_with(mut self, above: &Self) -> Self {
        let members = |reply: &Self| serde_json::from_str::<Value>(&reply.body).ok().filter(Value::is_object);
        if let (Some(mut own), Some(more)) = (members(&self), members(above)) {
            merge_json(&mut own, &more);
            self.body = own.to_string();
        }
        self
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::new(status, "application/json; charset=utf-8", String::new())
    }

    /// The top of a document in the encoding of a form, as some vendors answer who are not asked for JSON.
    pub(super) fn form(status: u16, document: &Value) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (name, value) in document.as_object().into_iter().flatten() {
            match value {
                Value::String(text) => form.append_pair(name, text),
                Value::Number(_) | Value::Bool(_) => form.append_pair(name, &value.to_string()),
                _ => &mut form,
            };
        }
        Self::new(status, "application/x-www-form-urlencoded", form.finish())
    }

    pub(super) fn text(status: u16, body: String) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// A success that is none: whatever body under whatever type.
    pub(super) fn malformed(content_type: &'static str, body: &str) -> Self {
        Self::new(200, content_type, body.to_owned())
    }

    /// This answer's members over another's, of which the values at some places do not count.
    pub(super) fn merged_onto<'p>(mut self, below: &Self, without: impl Iterator<Item = &'p Pointer>) -> Self {
        let members = |reply: &Self| serde_json::from_str::<serde_json::Map<String, Value>>(&reply.body).ok();
        if let (Some(own), Some(mut all)) = (members(&self), members(below)) {
            all.extend(own.clone());
            let (own, mut all) = (Value::Object(own), Value::Object(all));
            for at in without.filter(|at| at.find(&own).is_none()) {
                if at.find(&all).is_some() {
                    at.set(&mut all, Value::Null);
                }
            }
            self.body = all.to_string();
        }
        self
    }

    /// This answer without its second half.
    pub(super) fn truncated(mut self) -> Self {
        let middle = (0..=self.body.len() / 2).rev().find(|at| self.body.is_char_boundary(*at));
        self.body.truncate(middle.unwrap_or_default());
        self
    }

    pub(super) fn html(status: u16, body: String, content_policy: String) -> Self {
        Self { content_security_policy: content_policy, ..Self::new(status, "text/html; charset=utf-8", body) }
    }

    pub(super) fn redirect(to: &Url) -> Self {
        Self::new(302, "text/plain; charset=utf-8", String::new()).with_header("location", to.as_str())
    }

    pub(super) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn into_http_response(self) -> FullResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer: hyper::Response<Full<Bytes>> =
            serve::page(status, self.content_type, &self.body, &self.content_security_policy);
        for (name, value) in &self.headers {
            // A value that no header can hold came from the request: the answer goes without it.
            if let (Ok(name), Ok(value)) =
                (header::HeaderName::from_bytes(name.as_bytes()), header::HeaderValue::from_str(value))
            {
                answer.headers_mut().append(name, value);
            }
        }
        answer
    }
}
