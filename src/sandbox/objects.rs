//! What was created during the life of an emulator: a command's, or that of `integ sandbox run`.

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;

use super::message::SandboxResponse;

/// Older things are forgotten before memory grows.
const MAX_OBJECTS: usize = 10_000;

/// Objects by the path under which the API knows them.
#[derive(Clone, Debug, Default)]
pub struct SessionObjects {
    objects: IndexMap<String, Value>,
    deleted: IndexSet<String>,
    /// Answers by the action and the key of a request that may be repeated.
    idempotent_responses: IndexMap<(String, String), SandboxResponse>,
}

impl SessionObjects {
    pub(super) fn insert(&mut self, path: &str, object: Value) {
        if self.objects.len() >= MAX_OBJECTS {
            self.objects.shift_remove_index(0);
        }
        self.deleted.shift_remove(path);
        self.objects.insert(path.to_owned(), object);
    }

    pub(super) fn object(&self, path: &str) -> Option<&Value> {
        self.objects.get(path)
    }

    pub(super) fn delete(&mut self, path: &str) {
        if self.deleted.len() >= MAX_OBJECTS {
            self.deleted.shift_remove_index(0);
        }
        self.objects.shift_remove(path);
        self.deleted.insert(path.to_owned());
    }

    /// Whether it, or what it is a part of, was deleted.
    pub(super) fn is_deleted(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.into_iter().any(|end| self.deleted.contains(&path[..end]))
    }

    /// What is directly below a path.
    pub(super) fn children(&self, path: &str) -> Vec<Value> {
        let is_below = |key: &String| {
            key.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| !rest.contains('/'))
        };
        self.objects.iter().filter(|(key, _)| is_below(key)).map(|(_, object)| object.clone()).collect()
    }

    /// Whether anything was created or deleted at a path or below it.
    pub(super) fn has_changes_under(&self, path: &str) -> bool {
        let is_at = |key: &String| key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.objects.keys().chain(&self.deleted).any(is_at)
    }

    pub(super) fn idempotent_response(&self, action: &str, key: &str) -> Option<&SandboxResponse> {
        self.idempotent_responses.get(&(action.to_owned(), key.to_owned()))
    }

    pub(super) fn store_response(&mut self, action: &str, key: &str, reply: &SandboxResponse) {
        if self.idempotent_responses.len() >= MAX_OBJECTS {
            self.idempotent_responses.shift_remove_index(0);
        }
        self.idempotent_responses.insert((action.to_owned(), key.to_owned()), reply.clone());
    }
}
