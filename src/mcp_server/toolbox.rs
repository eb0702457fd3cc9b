//! The tools of an agent, as the protocol lists them: each action, or tools to find them if there are many.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::local_tools;
use crate::model::Effect;
use crate::ops::agents::{AgentSession, AgentTool};

/// Tools that are listed one by one. Models confuse more, and some clients refuse more than 128.
const MAX_LISTED: usize = 30;

pub(super) const SEARCH: &str = "search_tools";
pub(super) const DESCRIBE: &str = "describe_tool";
pub(super) const CALL: &str = "call_tool";
pub(super) const CALL_WRITE: &str = "call_write_tool";

/// Tools that a search returns.
const MAX_FOUND: usize = 20;

/// The tools of an agent.
pub(super) struct Toolbox {
    pub(super) actions: Vec<AgentTool>,
    local: Vec<Tool>,
}

impl Toolbox {
    /// Creates the toolbox of an agent from its actions.
    pub(super) fn new(agent: &AgentSession, actions: Vec<AgentTool>) -> Self {
        Self { actions, local: local_tools::list(agent) }
    }

    /// Whether actions are found by searching.
    pub(super) fn is_searched(&self) -> bool {
        self.actions.len() + self.local.len() > MAX_LISTED
    }

    /// Returns the tools that are listed, always in the same order.
    pub(super) fn list(&self) -> Vec<Tool> {
        let actions =
            if self.is_searched() { self.search_tools() } else { self.actions.iter().map(action_tool).collect() };
        actions.into_iter().chain(self.local.iter().cloned()).collect()
    }

    /// Returns the action of this name.
    pub(super) fn find(&self, name: &str) -> Option<&AgentTool> {
        self.actions.iter().find(|tool| tool.name == name)
    }

    fn search_tools(&self) -> Vec<Tool> {
        let by_name = |about: &str| {
            schema(
                &json!({
                    "tool": { "type": "string", "description": "Name of the tool, from search_tools" },
                    "arguments": { "type": "object", "description": about },
                }),
                &["tool"],
            )
        };
        let reads = || ToolAnnotations::new().read_only(true).destructive(false);
        let mut tools = vec![
            Tool::new(
                SEARCH,
                format!("Find tools by words. There are {} tools of {}", self.actions.len(), self.connections().join(", ")),
                schema(&json!({
                    "query": { "type": "string", "description": "Words such as `list issues`; all of a connection if only its name is given" },
                }), &["query"]),
            )
            .with_annotations(reads().open_world(false)),
            Tool::new(
                DESCRIBE,
                "Show what a tool does, and the JSON Schema of its arguments",
                schema(&json!({ "tool": { "type": "string", "description": "Name of the tool, from search_tools" } }), &["tool"]),
            )
            .with_annotations(reads().open_world(false)),
            Tool::new(CALL, "Call a tool that only reads", by_name("As describe_tool shows them"))
                .with_annotations(reads().open_world(true)),
        ];
        if let Some(greatest) =
            self.actions.iter().map(|tool| tool.effect).max().filter(|effect| *effect > Effect::Read)
        {
            tools.push(
                Tool::new(CALL_WRITE, "Call a tool that writes or destroys", by_name("As describe_tool shows them"))
                    .with_annotations(annotations(greatest, false)),
            );
        }
        tools
    }

    fn connections(&self) -> Vec<String> {
        let mut names: Vec<String> = self.actions.iter().map(|tool| tool.connection.to_string()).collect();
        names.dedup();
        names
    }

    /// Returns the tools that match most words of a query, the best first.
    pub(super) fn search(&self, query: &str) -> Value {
        let words: Vec<String> = query
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        let score = |tool: &AgentTool| {
            let (name, about) = (tool.name.to_lowercase(), tool.about.to_lowercase());
            let weight = |word: &String| 2 * usize::from(name.contains(word)) + usize::from(about.contains(word));
            words.iter().map(weight).sum::<usize>()
        };
        let mut found: Vec<(usize, &AgentTool)> = self.actions.iter().map(|tool| (score(tool), tool)).collect();
        found.retain(|(score, _)| *score > 0);
        // Stable: of those that match equally, the first in the order of the list.
        found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        let shown: Vec<Value> = found.iter().take(MAX_FOUND).map(|(_, tool)| summary(tool)).collect();
        json!({ "tools": shown, "matches": found.len(), "total": self.actions.len() })
    }
}

fn summary(tool: &AgentTool) -> Value {
    json!({
        "tool": tool.name,
        "about": tool.about,
        "connection": tool.connection.to_string(),
        "effect": tool.effect,
        "needs_approval": tool.needs_approval,
    })
}

/// Describes an action with the schema of its arguments.
pub(super) fn describe(tool: &AgentTool) -> Value {
    let mut described = summary(tool);
    described["call_with"] = json!(if tool.effect == Effect::Read { CALL } else { CALL_WRITE });
    described["arguments"] = tool.input.clone();
    described
}

fn action_tool(tool: &AgentTool) -> Tool {
    let effect = match (tool.effect, tool.needs_approval) {
        (Effect::Read, _) => "",
        (_, true) => ". Each call needs a person's approval",
        (Effect::Write, false) => ". It writes",
        (Effect::Destroy, false) => ". It destroys",
    };
    let description = format!("{} ({} of {}){effect}", tool.about, tool.action, tool.connection);
    let input: JsonObject = tool.input.as_object().cloned().unwrap_or_default();
    Tool::new(tool.name.clone(), description, input).with_annotations(annotations(tool.effect, tool.is_idempotent))
}

fn annotations(effect: Effect, is_idempotent: bool) -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(effect == Effect::Read)
        .destructive(effect == Effect::Destroy)
        .idempotent(is_idempotent || effect == Effect::Read)
        .open_world(true)
}

/// The JSON Schema of an object with these members.
pub(super) fn schema(properties: &Value, required: &[&str]) -> JsonObject {
    let schema = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    schema.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, about: &str, effect: Effect) -> AgentTool {
        AgentTool {
            name: name.to_owned(),
            connection: "acme".parse().unwrap(),
            action: name.to_owned(),
            about: about.to_owned(),
            effect,
            is_idempotent: false,
            needs_approval: effect == Effect::Destroy,
            input: json!({ "type": "object" }),
        }
    }

    fn names(toolbox: &Toolbox) -> Vec<String> {
        toolbox.list().into_iter().map(|tool| tool.name.into_owned()).collect()
    }

    #[test]
    fn many_tools_are_searched() {
        let mut toolbox = Toolbox { actions: Vec::new(), local: Vec::new() };
        toolbox.actions = (0..MAX_LISTED).map(|number| tool(&format!("t{number:02}"), "List", Effect::Read)).collect();
        assert_eq!(names(&toolbox).len(), MAX_LISTED);
        toolbox.actions.push(tool("acme_cards_list", "List the cards of a board", Effect::Read));
        assert_eq!(names(&toolbox), [SEARCH, DESCRIBE, CALL]);
        toolbox.actions.push(tool("acme_cards_delete", "Delete a card", Effect::Destroy));
        assert_eq!(names(&toolbox), [SEARCH, DESCRIBE, CALL, CALL_WRITE]);
        let found = toolbox.search("list CARDS");
        assert_eq!(found["tools"][0]["tool"], "acme_cards_list");
        assert_eq!((&found["matches"], &found["total"]), (&json!(32), &json!(32)));
        assert_eq!(found["tools"].as_array().unwrap().len(), MAX_FOUND);
        assert_eq!(toolbox.search("???")["tools"], json!([]));
    }

    #[test]
    fn effects_are_hints() {
        let hints = |effect| {
            let annotations = annotations(effect, false);
            (annotations.read_only_hint, annotations.destructive_hint, annotations.idempotent_hint)
        };
        assert_eq!(hints(Effect::Read), (Some(true), Some(false), Some(true)));
        assert_eq!(hints(Effect::Write), (Some(false), Some(false), Some(false)));
        assert_eq!(hints(Effect::Destroy), (Some(false), Some(true), Some(false)));
        assert!(action_tool(&tool("a", "Delete", Effect::Destroy)).description.unwrap().contains("approval"));
    }
}
