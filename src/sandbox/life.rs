//! What was created during the life of an emulator: a command's, or that of `integ sandbox run`.

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;

use super::message::Reply;

/// Older things are forgotten before memory grows.
const MOST_KEPT: usize = 10_000;

/// Objects by the path under which the API knows them.
#[derive(Clone, Debug, Default)]
pub struct Life {
    objects: IndexMap<String, Value>,
    deleted: IndexSet<String>,
    /// Answers by the action and the key of a request that may be repeated.
    answered: IndexMap<(String, String), Reply>,
}

impl Life {
    pub(super) fn keep(&mut self, path: &str, object: Value) {
        if self.objects.len() >= MOST_KEPT {
            self.objects.shift_remove_index(0);
        }
        self.deleted.shift_remove(path);
        self.objects.insert(path.to_owned(), object);
    }

    pub(super) fn object(&self, path: &str) -> Option<&Value> {
        self.objects.get(path)
    }

    pub(super) fn delete(&mut self, path: &str) {
        if self.deleted.len() >= MOST_KEPT {
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
    pub(super) fn below(&self, path: &str) -> Vec<Value> {
        let is_below = |key: &String| {
            key.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| !rest.contains('/'))
        };
        self.objects.iter().filter(|(key, _)| is_below(key)).map(|(_, object)| object.clone()).collect()
    }

    /// Whether anything was created or deleted at a path or below it.
    pub(super) fn touches(&self, path: &str) -> bool {
        let is_at = |key: &String| key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.objects.keys().chain(&self.deleted).any(is_at)
    }

    pub(super) fn answered(&self, action: &str, key: &str) -> Option<&Reply> {
        self.answered.get(&(action.to_owned(), key.to_owned()))
    }

    pub(super) fn answer(&mut self, action: &str, key: &str, reply: &Reply) {
        if self.answered.len() >= MOST_KEPT {
            self.answered.shift_remove_index(0);
        }
        self.answered.insert((action.to_owned(), key.to_owned()), reply.clone());
    }
}
