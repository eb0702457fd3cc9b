//! Links: pairs of a user's entity and a service's object.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::connection::ConnectionId;
use super::name::ConnectionName;
use super::user::UserId;
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Hint, Kind, Remedy};

/// The longest part of a link, in characters: it is a key of an index.
const MAX_PART_CHARS: usize = 1_024;

/// The row of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub i64);

/// An entity of the user's: `customer/42`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    kind: String,
    id: String,
}

/// An object of a service: the id that it has in a resource of a connection, such as a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkedObject {
    resource: String,
    id: String,
}

/// A text that cannot be a part of a link.
#[derive(Debug, Error)]
pub enum LinkPartError {
    #[error("invalid entity {0:?}: write TYPE/ID, such as customer/42")]
    Entity(String),
    #[error("invalid object {id:?} of {resource:?}")]
    Object { resource: String, id: String },
}

impl Remedy for LinkPartError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "invalid_link").hint(match self {
            Self::Entity(_) => Hint::new("write TYPE/ID:", "integ link add customer/42 CONNECTION/RESOURCE OBJECT"),
            Self::Object { .. } => Hint::text(format!(
                "use 1 to {MAX_PART_CHARS} characters for each, without spaces at either end or control characters"
            )),
        })
    }
}

/// Whether a text can be an id that others chose: visible, and not too long for an index.
pub(super) fn is_id(text: &str, max_chars: usize) -> bool {
    (1..=max_chars).contains(&text.chars().count()) && text.trim() == text && !text.chars().any(char::is_control)
}

impl Entity {
    /// Creates an entity from its type, which has no `/`, and its id.
    ///
    /// # Errors
    /// [`LinkPartError::Entity`] if either is empty, too long, or has control characters.
    pub fn new(kind: &str, id: &str) -> Result<Self, LinkPartError> {
        if is_id(kind, MAX_PART_CHARS) && !kind.contains('/') && is_id(id, MAX_PART_CHARS) {
            Ok(Self { kind: kind.to_owned(), id: id.to_owned() })
        } else {
            Err(LinkPartError::Entity(format!("{kind}/{id}")))
        }
    }

    /// Returns the type: `customer` of `customer/42`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the id: `42` of `customer/42`.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl FromStr for Entity {
    type Err = LinkPartError;

    fn from_str(text: &str) -> Result<Self, LinkPartError> {
        let (kind, id) = text.split_once('/').ok_or_else(|| LinkPartError::Entity(text.to_owned()))?;
        Self::new(kind, id)
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

impl LinkedObject {
    /// Creates an object from its resource, such as a stream or a calendar, and its id there.
    ///
    /// # Errors
    /// [`LinkPartError::Object`] if either is empty, too long, or has control characters.
    pub fn new(resource: &str, id: &str) -> Result<Self, LinkPartError> {
        if is_id(resource, MAX_PART_CHARS) && is_id(id, MAX_PART_CHARS) {
            Ok(Self { resource: resource.to_owned(), id: id.to_owned() })
        } else {
            Err(LinkPartError::Object { resource: resource.to_owned(), id: id.to_owned() })
        }
    }

    /// Returns the resource.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Returns the id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// A pair of an entity and an object. An entity has one object of each resource of a connection, and an object one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: LinkId,
    pub user: Option<UserId>,
    pub entity: Entity,
    pub connection: ConnectionName,
    pub object: LinkedObject,
    /// The id of the object that the service made of this one together with another, which has a link of its own: two of the
    /// user's entities are one object there.
    pub merged_into: Option<String>,
    pub created_at: Timestamp,
    /// When its object was last given another id.
    pub changed_at: Timestamp,
}

/// A link to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    pub user: Option<UserId>,
    pub entity: Entity,
    pub connection: ConnectionId,
    pub object: LinkedObject,
}

/// What became of a link that was to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkInsertResult {
    Added(Link),
    /// The same link was there.
    Unchanged(Link),
    /// The entity has another object in the resource.
    EntityLinked(Link),
    /// The object has another entity.
    ObjectLinked(Link),
}

/// Which links to list. Absent values match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFilter {
    pub user: Option<UserId>,
    pub entity_type: Option<String>,
    pub entity_id: Option<String>,
    pub connection: Option<ConnectionId>,
    pub resource: Option<String>,
    pub object_id: Option<String>,
}

/// An object that got another id at a service or was merged with others: its former ids, and its id now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedObject {
    pub resource: String,
    pub former_ids: Vec<String>,
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_a_type_and_an_id() {
        let entity: Entity = "customer/a/b".parse().unwrap();
        assert_eq!((entity.kind(), entity.id()), ("customer", "a/b"));
        assert_eq!(entity.to_string(), "customer/a/b");
        for text in ["customer", "customer/", "/42", "", "a\u{7}/1", " a/1", "a/1 "] {
            assert!(text.parse::<Entity>().is_err(), "{text:?}");
        }
        assert!(Entity::new("a/b", "1").is_err());
        assert!(LinkedObject::new("contacts", &"1".repeat(MAX_PART_CHARS + 1)).is_err());
        assert!(LinkedObject::new("", "1").is_err());
    }
}
