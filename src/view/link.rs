//! Views of links. Times are RFC 3339.

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Time;
use super::{optional_word, word};
use crate::clock::Timestamp;
use crate::model::{ConnectionName, Link, LinkId, UserId, words};

/// A pair of a user's entity and a service's object. `link import` reads what `link list --json` prints.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct LinkView {
    #[serde(skip)]
    #[schemars(skip)]
    pub id: LinkId,
    #[serde(serialize_with = "optional_word")]
    pub user: Option<UserId>,
    pub entity_type: String,
    pub entity_id: String,
    #[serde(serialize_with = "word")]
    pub connection: ConnectionName,
    pub resource: String,
    pub object: String,
    /// The object into which the service merged this one, which has its own link.
    pub merged_into: Option<String>,
    #[schemars(with = "Time")]
    pub created_at: Timestamp,
    /// When the object's ID last changed.
    #[schemars(with = "Time")]
    pub changed_at: Timestamp,
}

impl From<Link> for LinkView {
    fn from(link: Link) -> Self {
        Self {
            id: link.id,
            user: link.user,
            entity_type: link.entity.kind().to_owned(),
            entity_id: link.entity.id().to_owned(),
            connection: link.connection,
            resource: link.object.resource().to_owned(),
            object: link.object.id().to_owned(),
            merged_into: link.merged_into,
            created_at: link.created_at,
            changed_at: link.changed_at,
        }
    }
}

/// Links, in the order in which they were added.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct LinkListView {
    pub links: Vec<LinkView>,
}

/// The outcome of adding a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOutcome {
    Added,
    /// The same link existed.
    Unchanged,
}

words!(LinkOutcome { Added => "added", Unchanged => "unchanged" });

/// A link that was added.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AddedLinkView {
    #[serde(serialize_with = "word")]
    pub outcome: LinkOutcome,
    pub link: LinkView,
}

/// A link that was removed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RemovedLinkView {
    pub removed: LinkView,
}

/// A line of an import that was not stored.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RejectedLineView {
    /// From 1.
    pub line: u64,
    pub error: String,
}

/// The outcome of an import.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ImportedLinksView {
    pub added: usize,
    pub unchanged: usize,
    pub rejected: Vec<RejectedLineView>,
}
