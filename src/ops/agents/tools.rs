//! The actions of an agent's connections, as tools.

use std::collections::BTreeSet;

use serde_json::Value;

use super::AgentSession;
use crate::api;
use crate::connector::{Action, ParamKind, describe_action};
use crate::error::Result;
use crate::hash::sha256;
use crate::hex;
use crate::model::{ApiScope, ApiToken, ApiVerb, ConnectionName, Effect, OperationScope};

/// The longest name that clients and models take.
const MAX_NAME_LENGTH: usize = 64;

/// Bytes of a digest in a name.
const DIGEST_BYTES: usize = 4;

/// An action of a connection that an agent may call.
#[derive(Clone, Debug)]
pub struct AgentTool {
    /// Of letters, digits, `_` and `-`: `slack-work_chat_postMessage`.
    pub name: String,
    pub connection: ConnectionName,
    pub action: String,
    pub about: String,
    pub effect: Effect,
    /// Whether a repetition does its work once.
    pub is_idempotent: bool,
    pub needs_approval: bool,
    /// JSON Schema of its parameters.
    pub input: Value,
}

impl AgentSession {
    /// Returns the actions that the agent may call, sorted by connection and action. Actions whose scopes were not granted are
    /// left out, and so are those that need a file.
    ///
    /// # Errors
    /// The store's, and connectors that cannot be read.
    pub async fn tools(&self) -> Result<Vec<AgentTool>> {
        let (mut tools, mut names) = (Vec::new(), BTreeSet::new());
        if !self.may_use("call") {
            return Ok(tools);
        }
        for connection in self.workspace.connections().await? {
            let connector = self.workspace.catalogue().get(connection.name.connector())?;
            let mut actions: Vec<(&String, &Action)> = connector.actions.iter().collect();
            actions.sort_by_key(|(name, _)| *name);
            for (action_name, action) in actions {
                let effect = action.effect();
                if !self.offers(effect) || needs_file(action) || !api::is_allowed(&connection, &connector, action) {
                    continue;
                }
                let described = describe_action(&connector, action_name, action);
                let name = tool_name(&connection.name, action_name, |name| names.contains(name));
                names.insert(name.clone());
                tools.push(AgentTool {
                    name,
                    connection: connection.name.clone(),
                    action: action_name.clone(),
                    about: described.about,
                    effect,
                    is_idempotent: described.idempotent,
                    needs_approval: self.needs_approval(effect),
                    input: without_files(action, described.input),
                });
            }
        }
        Ok(tools)
    }
}

/// Returns the effects that the scopes of a token allow to the calls of an agent: writing and destroying need verbs of their
/// own, beside the scope for calls.
pub fn allowed_effects(token: &ApiToken) -> BTreeSet<Effect> {
    let verbs = [(ApiVerb::Write, Effect::Write), (ApiVerb::Delete, Effect::Destroy)];
    let is_allowed = |verb: ApiVerb| token.allows(&ApiScope::new(OperationScope::Connections, verb));
    verbs.into_iter().filter(|(verb, _)| is_allowed(*verb)).map(|(_, effect)| effect).collect()
}

/// An agent names no files of this machine.
fn needs_file(action: &Action) -> bool {
    let is_file = |name: &String| {
        action.params.get(name).is_some_and(|param| matches!(param.kind, ParamKind::File | ParamKind::Files))
    };
    action.params.iter().any(|(name, param)| param.required && is_file(name))
        || action.one_of.iter().any(|group| group.iter().all(is_file))
}

/// Leaves out the parameters that take files.
fn without_files(action: &Action, mut input: Value) -> Value {
    if let Some(properties) = input["properties"].as_object_mut() {
        properties.retain(|name, _| {
            action.params.get(name).is_none_or(|param| !matches!(param.kind, ParamKind::File | ParamKind::Files))
        });
    }
    input
}

/// Returns the name of a tool, which depends on its connection and action alone unless another tool has it.
fn tool_name(connection: &ConnectionName, action: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let prefix: String = connection.to_string().chars().map(plain).collect();
    let name = format!("{prefix}_{}", action.replace('.', "_"));
    if name.len() <= MAX_NAME_LENGTH && !is_taken(&name) {
        return name;
    }
    let digest = hex::encode(&sha256(format!("{connection}/{action}").as_bytes())[..DIGEST_BYTES]);
    let rest = MAX_NAME_LENGTH - digest.len() - 1;
    format!("{}_{digest}", &name[..name.len().min(rest)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_named_after_its_connection_and_action() {
        let name = |connection: &str, action: &str| tool_name(&connection.parse().unwrap(), action, |_| false);
        assert_eq!(name("slack", "chat.postMessage"), "slack_chat_postMessage");
        assert_eq!(name("slack@work.eu", "search"), "slack-work-eu_search");
        let long = name("google-calendar@a-long-account-name-of-a-person", "calendars.events.list_all");
        assert_eq!(long.len(), MAX_NAME_LENGTH);
        assert!(long.starts_with("google-calendar-a-long-account-name-of-a-person_calenda_"), "{long}");
        let taken = tool_name(&"slack".parse().unwrap(), "a.b", |name| name == "slack_a_b");
        assert!(taken.starts_with("slack_a_b_") && taken.len() == 18, "{taken}");
    }
}
