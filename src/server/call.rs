//! The request of a route: the values of its path, query and body, and who asks.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use hyper::body::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::authentication::Caller;
use super::problem::RequestError;
use crate::error::Result;
use crate::model::ConnectionName;
use crate::runtime::Workspace;

/// The query or body of a route that has none. A query or body that comes all the same is refused.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Unused {}

/// A request to a route, before its values are parsed.
#[derive(Clone)]
pub(super) struct RawCall {
    /// The workspace of the caller, limited to the connections that the caller may use.
    pub(super) workspace: Arc<Workspace>,
    pub(super) caller: Arc<Caller>,
    pub(super) path: BTreeMap<&'static str, String>,
    pub(super) query: String,
    pub(super) body: Bytes,
    /// Whether the route has a body: without one, `body` is empty.
    pub(super) has_body: bool,
}

/// A request to a route.
pub(super) struct Call<Q, B> {
    pub(super) workspace: Arc<Workspace>,
    pub(super) caller: Arc<Caller>,
    path: BTreeMap<&'static str, String>,
    pub(super) query: Q,
    pub(super) body: B,
}

impl<Q: DeserializeOwned, B: DeserializeOwned> Call<Q, B> {
    pub(super) fn parse(raw: RawCall) -> Result<Self> {
        let RawCall { workspace, caller, path, query, body, has_body } = raw;
        let pairs = serde_html_form::Deserializer::new(form_urlencoded(&query));
        let query = serde_path_to_error::deserialize(pairs).map_err(|error| RequestError::query(&error))?;
        // What has no body is parsed as an empty object.
        let text: &[u8] = if has_body && !body.is_empty() { &body } else { b"{}" };
        let mut json = serde_json::Deserializer::from_slice(text);
        let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| RequestError::body(&error))?;
        json.end().map_err(|error| RequestError::Body { at: String::new(), reason: error.to_string() })?;
        Ok(Self { workspace, caller, path, query, body: parsed })
    }
}

fn form_urlencoded(query: &str) -> url::form_urlencoded::Parse<'_> {
    url::form_urlencoded::parse(query.as_bytes())
}

impl<Q, B> Call<Q, B> {
    /// Parses a value of the path.
    ///
    /// # Errors
    /// [`RequestError::Path`]: what has no such form is not found.
    pub(super) fn path<T: FromStr>(&self, name: &'static str) -> Result<T> {
        let text = self.path.get(name).map(String::as_str).unwrap_or_default();
        text.parse().map_err(|_| RequestError::Path { name, value: text.to_owned() }.into())
    }

    /// Returns the connection in the path.
    ///
    /// # Errors
    /// As [`Self::path`].
    pub(super) fn connection(&self) -> Result<ConnectionName> {
        self.path("connection")
    }
}
