//! Objects that were created by actions and are in no stream: webhooks, drafts, and others with a path.

use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::SandboxResponse;

/// Objects that are kept; older ones are forgotten.
const MAX_OBJECTS: usize = 500;

/// Bytes of all objects that are kept.
const MAX_OBJECT_BYTES: usize = 512 * 1024;

/// Answers that are kept for repetitions.
const MAX_RESPONSES: usize = 100;

/// Objects by the path under which the API knows them, each account's below a name of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CreatedObjects {
    objects: IndexMap<String, Value>,
    deleted: IndexSet<String>,
    /// Answers to requests that may be repeated, the oldest first.
    responses: Vec<IdempotentResponse>,
}

/// The answer to the first request with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IdempotentResponse {
    action: String,
    key: String,
    status: u16,
    body: String,
}

impl CreatedObjects {
    pub(super) fn insert(&mut self, path: &str, object: Value) {
        self.deleted.shift_remove(path);
        self.objects.insert(path.to_owned(), object);
        let mut bytes: usize = self.objects.values().map(|object| object.to_string().len()).sum();
        while self.objects.len() > MAX_OBJECTS || bytes > MAX_OBJECT_BYTES {
            let Some((_, oldest)) = self.objects.shift_remove_index(0) else { return };
            bytes -= oldest.to_string().len();
        }
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

    pub(super) fn idempotent_response(&self, action: &str, key: &str) -> Option<SandboxResponse> {
        let known = self.responses.iter().find(|known| known.action == action && known.key == key)?;
        Some(SandboxResponse::json_text(known.status, known.body.clone()))
    }

    pub(super) fn store_response(&mut self, action: &str, key: &str, reply: &SandboxResponse) {
        if self.responses.len() >= MAX_RESPONSES {
            self.responses.remove(0);
        }
        let (status, body) = (reply.status, reply.body.clone());
        self.responses.push(IdempotentResponse { action: action.to_owned(), key: key.to_owned(), status, body });
    }
}
