//! The descriptor of a connector, for programs that run actions or offer them.
//!
//! The shape is stable: members are added, never renamed or removed, without a new [`VERSION`]. `connectors/README.md`
//! documents it.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Action, ActionParam, AuthMethod, Connector, FieldKind, Param, ParamKind, SignatureAlgorithm, SignatureScheme,
    SignedPart, Stream,
};
use crate::model::Effect;

/// The version of the descriptor's shape.
pub const VERSION: u32 = 1;

/// What a connector can do, which events it sends, and what it needs.
#[derive(Debug, JsonSchema, Serialize)]
pub struct Descriptor {
    pub descriptor_version: u32,
    pub id: String,
    pub name: String,
    pub category: &'static str,
    pub description: String,
    pub docs: String,
    pub auth: Vec<AuthDescriptor>,
    pub scopes: Vec<ScopeDescriptor>,
    pub actions: Vec<ActionDescriptor>,
    pub triggers: Vec<TriggerDescriptor>,
    pub webhook_proofs: Vec<SignatureDescriptor>,
    pub streams: Vec<StreamDescriptor>,
}

/// One authentication method.
#[derive(Debug, JsonSchema, Serialize)]
pub struct AuthDescriptor {
    pub name: String,
    pub label: String,
    /// `oauth2`, `token` or `key`.
    pub kind: &'static str,
    /// How a token is requested, the usual grant first; empty for keys.
    pub grants: Vec<&'static str>,
    /// What of an OAuth client the user registers: `none`, `id`, or `id_and_secret`, of which the secret may be optional.
    pub client: ClientNeed,
    pub default_scopes: Vec<String>,
    /// JSON Schema of what the user gives at `integ connect`: parameters, and the parts of a key.
    pub input: Value,
}

/// What of an OAuth client the user registers with the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientNeed {
    None,
    Id,
    IdAndSecret,
}

#[derive(Debug, JsonSchema, Serialize)]
pub struct ScopeDescriptor {
    pub name: String,
    pub purpose: String,
    pub includes: Vec<String>,
}

/// An action of a connector, as its descriptor shows it to other programs.
#[derive(Debug, JsonSchema, Serialize)]
pub struct ActionDescriptor {
    pub name: String,
    pub about: String,
    pub method: &'static str,
    /// A template, after the API's base or a whole URL.
    pub path: String,
    /// The authentication methods that may do it.
    pub auth: Vec<String>,
    /// The least scopes that it needs.
    pub scopes: Vec<String>,
    /// JSON Schema of its parameters.
    pub input: Value,
    /// The values of the answer that have a name, and the JSON Pointer to each.
    pub output: IndexMap<String, String>,
    /// Whether a repetition does its work once.
    pub idempotent: bool,
    /// What it does at the service: `read`, `write` or `destroy`.
    pub effect: Effect,
}

/// Events that the service sends through webhooks.
#[derive(Debug, JsonSchema, Serialize)]
pub struct TriggerDescriptor {
    pub name: String,
    pub about: String,
    pub scopes: Vec<String>,
}

/// One way in which a webhook request proves its sender.
#[derive(Debug, JsonSchema, Serialize)]
pub struct SignatureDescriptor {
    pub scheme: SignatureAlgorithm,
    /// Which parts of the event it covers: `body`, `id`, `type`, `time`, `url`.
    pub covers: Vec<SignedPart>,
    /// Whether the service is asked before an event counts as verified.
    pub confirmed: bool,
}

/// What can be pulled from the service.
#[derive(Debug, JsonSchema, Serialize)]
pub struct StreamDescriptor {
    pub name: String,
    pub about: String,
    /// The authentication methods that may list it.
    pub auth: Vec<String>,
    /// The least scopes that it needs.
    pub scopes: Vec<String>,
    /// JSON Pointers to the parts of a record's key.
    pub key: Vec<String>,
    /// The streams that it is listed for, record by record.
    pub parents: Vec<String>,
    /// `filter`, `scan` (newest first, until nothing is new), `token`, or null: all of it is listed every time.
    pub incremental: Option<&'static str>,
    /// JSON Schema of what the user gives for it.
    pub input: Value,
}

/// The descriptor of a connector. Pure.
pub fn descriptor(connector: &Connector) -> Descriptor {
    Descriptor {
        descriptor_version: VERSION,
        id: connector.id.clone(),
        name: connector.name.clone(),
        category: connector.category.as_str(),
        description: connector.description.clone(),
        docs: connector.docs.clone(),
        auth: connector.auth.iter().map(|(name, auth)| describe_auth_method(connector, name, auth)).collect(),
        scopes: connector
            .scopes
            .iter()
            .map(|(name, scope)| ScopeDescriptor {
                name: name.clone(),
                purpose: scope.purpose().to_owned(),
                includes: scope.detail().map(|detail| detail.includes.clone()).unwrap_or_default(),
            })
            .collect(),
        actions: connector.actions.iter().map(|(name, action)| describe_action(connector, name, action)).collect(),
        triggers: connector
            .events
            .iter()
            .map(|(name, event)| TriggerDescriptor {
                name: name.clone(),
                about: event.about.clone(),
                scopes: event.scopes.clone(),
            })
            .collect(),
        webhook_proofs: proofs(connector),
        streams: connector.streams.iter().map(|(name, stream)| describe_stream(connector, name, stream)).collect(),
    }
}

fn proofs(connector: &Connector) -> Vec<SignatureDescriptor> {
    let Some(rules) = &connector.webhook else { return Vec::new() };
    let one = |proof: &SignatureScheme| {
        let covers = rules.coverage(proof);
        let confirmed = rules.confirm.is_some() && !covers.covers(SignedPart::Body);
        SignatureDescriptor { scheme: proof.scheme, covers: covers.parts, confirmed }
    };
    rules.proofs.iter().map(one).collect()
}

fn describe_stream(connector: &Connector, name: &str, stream: &Stream) -> StreamDescriptor {
    let ways = if stream.auth.is_empty() { connector.auth.keys().cloned().collect() } else { stream.auth.clone() };
    let (properties, required) = param_properties(stream.params.iter());
    StreamDescriptor {
        name: name.to_owned(),
        about: stream.about.clone(),
        auth: ways,
        scopes: stream.scopes.clone(),
        key: stream.key.iter().map(ToString::to_string).collect(),
        parents: stream.parents.iter().map(|parent| parent.stream.clone()).collect(),
        incremental: match (&stream.incremental, &stream.token) {
            (Some(rule), _) if rule.newest_first => Some("scan"),
            (Some(_), _) => Some("filter"),
            (None, Some(_)) => Some("token"),
            (None, None) => None,
        },
        input: object(&properties, &required),
    }
}

/// The properties of a JSON Schema for what a user gives, and those that must be given.
fn param_properties<'c>(params: impl Iterator<Item = (&'c String, &'c Param)>) -> (Map<String, Value>, Vec<String>) {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, param) in params {
        let mut schema = json!({ "type": "string", "description": param.prompt });
        if !param.choices.is_empty() {
            schema["enum"] = json!(param.choices);
        }
        if let Some(default) = &param.default {
            schema["default"] = json!(default);
        }
        if let Some(example) = &param.example {
            schema["examples"] = json!([example]);
        }
        if !param.optional && param.default.is_none() {
            required.push(name.clone());
        }
        properties.insert(name.clone(), schema);
    }
    (properties, required)
}

fn describe_auth_method(connector: &Connector, name: &str, auth: &AuthMethod) -> AuthDescriptor {
    let (mut properties, mut required) = param_properties(connector.params(auth));
    for (name, field) in &auth.fields {
        // `writeOnly` is how JSON Schema says that a value is given and never shown.
        let mut schema = json!({ "type": "string", "description": field.prompt, "writeOnly": field.secret });
        // The text of a file: a form lets the user choose one.
        let media_type = match field.kind {
            FieldKind::Text => None,
            FieldKind::PrivateKey | FieldKind::Certificate => Some("application/x-pem-file"),
            FieldKind::Json => Some("application/json"),
        };
        if let Some(media_type) = media_type {
            schema["contentMediaType"] = json!(media_type);
        }
        properties.insert(name.clone(), schema);
        required.push(name.clone());
    }
    let scope = auth.oauth2.as_ref().map(|rules| &rules.scope);
    let scope = scope.or(auth.fragment.as_ref().map(|fragment| &fragment.scope));
    AuthDescriptor {
        name: name.to_owned(),
        label: auth.label.clone(),
        kind: auth.kind(),
        grants: auth.oauth2.iter().flat_map(|rules| &rules.grants).map(|grant| grant.as_str()).collect(),
        client: client_need(auth),
        default_scopes: scope
            .map(|rule| rule.default.iter().chain(&rule.always).cloned().collect())
            .unwrap_or_default(),
        input: object(&properties, &required),
    }
}

fn client_need(auth: &AuthMethod) -> ClientNeed {
    match &auth.oauth2 {
        // A server of a resource registers clients by itself.
        Some(rules) if rules.protected_resource.is_some() || !rules.needs_client() => ClientNeed::None,
        Some(rules) if rules.sends_client_secret() => ClientNeed::IdAndSecret,
        Some(_) => ClientNeed::Id,
        None if auth.fragment.is_some() => ClientNeed::Id,
        None => ClientNeed::None,
    }
}

fn object(properties: &Map<String, Value>, required: &[String]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// Describes an action of a connector. Pure.
pub fn describe_action(connector: &Connector, name: &str, action: &Action) -> ActionDescriptor {
    let ways = if action.auth.is_empty() { connector.auth.keys().cloned().collect() } else { action.auth.clone() };
    let keyed = action.idempotency.is_some() || connector.api.idempotency.is_some();
    ActionDescriptor {
        name: name.to_owned(),
        about: action.about.clone(),
        method: action.method.as_str(),
        path: action.path.to_string(),
        auth: ways,
        scopes: action.scopes.clone(),
        input: input(action),
        output: action.result.iter().map(|(name, at)| (name.clone(), at.to_string())).collect(),
        idempotent: keyed || !action.method.is_non_idempotent(),
        effect: action.effect(),
    }
}

/// JSON Schema (draft 2020-12) of an action's parameters.
fn input(action: &Action) -> Value {
    let properties: Map<_, _> = action.params.iter().map(|(name, param)| (name.clone(), schema(param))).collect();
    let required: Vec<String> =
        action.params.iter().filter(|(_, param)| param.required).map(|(name, _)| name.clone()).collect();
    let mut schema = object(&properties, &required);
    if !action.one_of.is_empty() {
        let group = |names: &Vec<String>| json!({ "anyOf": names.iter().map(|name| json!({ "required": [name] })).collect::<Vec<_>>() });
        schema["allOf"] = action.one_of.iter().map(group).collect();
    }
    schema
}

fn schema(param: &ActionParam) -> Value {
    let file = || json!({ "type": "string", "format": "file-path" });
    let mut schema = match param.kind {
        ParamKind::File => file(),
        ParamKind::Files => json!({ "type": "array", "items": file() }),
        ParamKind::String if param.wrap.is_some() => json!({ "type": ["string", "object", "array"] }),
        ParamKind::String => json!({ "type": "string" }),
        ParamKind::Integer => json!({ "type": "integer" }),
        ParamKind::Number => json!({ "type": "number" }),
        ParamKind::Boolean => json!({ "type": "boolean" }),
        ParamKind::Array => json!({ "type": "array" }),
        ParamKind::Object if param.wrap.is_some() => json!({ "type": ["object", "string"] }),
        ParamKind::Object => json!({ "type": "object" }),
    };
    schema["description"] = json!(param.about);
    if !param.choices.is_empty() {
        schema["enum"] = json!(param.choices);
    }
    if let Some(default) = &param.default {
        schema["default"] = default.clone();
    }
    if let Some(example) = &param.example {
        schema["examples"] = json!([example]);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::super::{BUILT_IN, catalogue};
    use super::*;

    const ACTION: &str = r#"
        id = "acme"
        name = "Acme"
        category = "projects"
        description = "Boards"
        docs = "https://acme.example"
        params.team = { prompt = "Team", example = "blue" }
        api = { base = "https://{team}.acme.example", names = "camel", idempotency = { header = "Idempotency-Key" } }
        [auth.key]
        label = "Key"
        fields.token = { prompt = "Token" }
        [scopes]
        write = { purpose = "Write cards", includes = ["read"] }
        [actions."cards.create"]
        about = "Add a card"
        path = "/lists/{list_id}/cards"
        scopes = ["write"]
        one_of = [["title", "url"]]
        result = { card_id = "/id" }
        [actions."cards.create".params]
        list_id = { about = "List", type = "integer", required = true }
        title = { about = "Title", example = "Buy milk" }
        url = { about = "Link" }
        position = { about = "Where", choices = ["top", "bottom"], default = "top" }
        photo = { about = "Picture", type = "object", wrap = { src = "{value}" } }
        [streams.boards]
        about = "Boards"
        path = "/boards"
        key = ["/id"]
        [streams.cards]
        about = "Cards"
        path = "/boards/{board}/cards"
        scopes = ["write"]
        params.state = { prompt = "Which", choices = ["open", "all"], default = "all" }
        query = { state = "{state}" }
        key = ["/id"]
        parents = [{ stream = "boards", values = { board = "/id" } }]
        incremental = { at = "/changed", query = { since = "{since}" } }
        [events]
        card_added = { about = "A card was added", scopes = ["write"] }
    "#;

    #[test]
    fn its_shape_is_this() {
        let connector = catalogue::parse(ACTION).unwrap();
        let shape = serde_json::to_value(descriptor(&connector)).unwrap();
        let expected = json!({
            "descriptor_version": 1,
            "id": "acme", "name": "Acme", "category": "projects", "description": "Boards", "docs": "https://acme.example",
            "auth": [{
                "name": "key", "label": "Key", "kind": "key", "grants": [], "client": "none", "default_scopes": [],
                "input": {
                    "type": "object",
                    "properties": {
                        "team": {"type": "string", "description": "Team", "examples": ["blue"]},
                        "token": {"type": "string", "description": "Token", "writeOnly": true},
                    },
                    "required": ["team", "token"],
                    "additionalProperties": false,
                },
            }],
            "scopes": [{"name": "write", "purpose": "Write cards", "includes": ["read"]}],
            "actions": [{
                "name": "cards.create", "about": "Add a card", "method": "POST", "path": "/lists/{list_id}/cards",
                "auth": ["key"], "scopes": ["write"],
                "input": {
                    "type": "object",
                    "properties": {
                        "list_id": {"type": "integer", "description": "List"},
                        "title": {"type": "string", "description": "Title", "examples": ["Buy milk"]},
                        "url": {"type": "string", "description": "Link"},
                        "position": {
                            "type": "string", "description": "Where", "enum": ["top", "bottom"], "default": "top",
                        },
                        "photo": {"type": ["object", "string"], "description": "Picture"},
                    },
                    "required": ["list_id"],
                    "additionalProperties": false,
                    "allOf": [{"anyOf": [{"required": ["title"]}, {"required": ["url"]}]}],
                },
                "output": {"card_id": "/id"},
                "idempotent": true,
                "effect": "destroy",
            }],
            "triggers": [{"name": "card_added", "about": "A card was added", "scopes": ["write"]}],
            "webhook_proofs": [],
            "streams": [
                {
                    "name": "boards", "about": "Boards", "auth": ["key"], "scopes": [], "key": ["/id"], "parents": [],
                    "incremental": null,
                    "input": {"type": "object", "properties": {}, "required": [], "additionalProperties": false},
                },
                {
                    "name": "cards", "about": "Cards", "auth": ["key"], "scopes": ["write"], "key": ["/id"],
                    "parents": ["boards"], "incremental": "filter",
                    "input": {
                        "type": "object",
                        "properties": {
                            "state": {
                                "type": "string", "description": "Which", "enum": ["open", "all"], "default": "all",
                            },
                        },
                        "required": [],
                        "additionalProperties": false,
                    },
                },
            ],
        });
        assert_eq!(shape, expected);
    }

    #[test]
    fn every_connector_has_one() {
        for (id, text) in BUILT_IN {
            let shape = descriptor(&catalogue::parse(text).unwrap());
            assert_eq!(shape.id, *id);
            for action in &shape.actions {
                assert!(!action.auth.is_empty() && !action.about.is_empty(), "{id} {}", action.name);
            }
        }
    }
}
