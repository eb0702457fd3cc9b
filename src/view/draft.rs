//! The view of a connector file that was written from a draft.

use schemars::JsonSchema;
use serde::Serialize;

use crate::connector::{ConnectorDraft, DraftAuthKind};

/// A connector file that was written.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DraftView {
    pub connector: String,
    pub file: String,
    pub auth_methods: Vec<String>,
    pub default_scopes: Vec<String>,
    pub actions: Vec<String>,
    /// What was guessed.
    pub unverified: Vec<String>,
    /// Commands to run next.
    pub next_steps: Vec<String>,
}

impl DraftView {
    /// Creates the view of a draft that was written to `file`.
    pub fn new(draft: &ConnectorDraft, file: String, next_steps: Vec<String>) -> Self {
        let scopes = draft.auth.iter().find_map(|method| match &method.kind {
            DraftAuthKind::OAuth2(oauth2) => Some(oauth2.default_scopes.clone()),
            DraftAuthKind::ApiKey { .. } => None,
        });
        Self {
            connector: draft.id.clone(),
            file,
            auth_methods: draft.auth.iter().map(|method| method.name.clone()).collect(),
            default_scopes: scopes.unwrap_or_default(),
            actions: draft.actions.iter().map(|action| action.name.clone()).collect(),
            unverified: draft.unverified.clone(),
            next_steps,
        }
    }
}
