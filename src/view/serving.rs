//! The view of a server that has started.

use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::schema::tag;
use super::word_list;
use crate::model::WorkspaceName;

/// The server answers requests.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(tag = "event", rename = "serving")]
#[schemars(transform = |schema: &mut Schema| tag(schema, "serving"))]
pub struct ServingView {
    /// Where this machine reaches it.
    pub url: String,
    #[serde(serialize_with = "word_list")]
    pub workspaces: Vec<WorkspaceName>,
}
