//! Two-way bindings: what the user's side and a service last agreed on, what is in conflict, and which writes are under way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::binding::BindingId;
use super::connection::ConnectionId;
use super::link::{Entity, LinkId};
use super::user::UserId;
use super::words::words;
use crate::clock::Timestamp;

/// The fields of an entity with their values; `address.city` is the name of a member of an object.
pub type EntityFields = BTreeMap<String, Value>;

/// The name of the conflict between a change on one side and a deletion on the other.
pub const DELETION: &str = "(deleted)";

/// Who wins if a field was changed on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConflictPolicy {
    /// The side that was changed last.
    Newest,
    /// The user's side.
    Ours,
    /// The service.
    Theirs,
    /// Neither: the conflict stays open until `binding resolve`.
    #[default]
    Ask,
}

words!(ConflictPolicy { Newest => "newest", Ours => "ours", Theirs => "theirs", Ask => "ask" });

/// What happens to an object if the user's entity is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntityDeletion {
    /// It stays, without a link.
    #[default]
    Keep,
    /// It is deleted at the service.
    Delete,
}

words!(EntityDeletion { Keep => "keep", Delete => "delete" });

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncSide {
    /// The user's.
    Ours,
    /// The service's.
    Theirs,
}

words!(SyncSide { Ours => "ours", Theirs => "theirs" });

/// A field that was changed on both sides. An absent value means that the side never had one, of a deletion that it deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldConflict {
    pub field: String,
    pub agreed: Option<Value>,
    pub ours: Option<Value>,
    pub theirs: Option<Value>,
}

/// What is known of a linked entity: the version that both sides last agreed on, and what the user's side has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityState {
    pub agreed: EntityFields,
    /// What the user's side last pushed, or was given.
    pub ours: EntityFields,
    /// When the user's side was changed, as far as that is known.
    pub ours_changed_at: Option<Timestamp>,
    pub conflicts: Vec<FieldConflict>,
    /// The object was deleted at the service, and the user's side was given that.
    pub is_deleted: bool,
    /// The store's version when the object was last looked at: records that are not newer say nothing new.
    pub seen_version: u64,
}

/// The entity that a state or a write belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundEntity {
    pub binding: BindingId,
    pub connection: ConnectionId,
    pub user: Option<UserId>,
    pub entity: Entity,
}

/// What a write does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    Create,
    Update,
    Delete,
}

words!(WriteKind { Create => "create", Update => "update", Delete => "delete" });

/// A write that was begun. It is committed before the request, and removed with the result: one that is found later
/// may or may not have been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityWrite {
    pub of: BoundEntity,
    pub kind: WriteKind,
    /// The link of the object that is changed or deleted.
    pub link: Option<LinkId>,
    pub action: String,
    /// The parameters of the action, to be sent again as they were.
    pub params: serde_json::Map<String, Value>,
    /// The key by which a service may know a repetition.
    pub key: String,
    /// The values that the write gives to fields.
    pub fields: EntityFields,
    pub started_at: Timestamp,
}

/// A conflict that is open, with its entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenConflict {
    pub link: super::link::Link,
    pub conflict: FieldConflict,
}
