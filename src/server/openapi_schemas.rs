//! The JSON Schemas in the description of the API, in the form that generators of clients read best.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::route::SchemaFunction;

/// The schemas of requests, whose members are inlined, and of responses, which refer to components.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    responses: SchemaGenerator,
    named: Map<String, Value>,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let mut requests = SchemaSettings::draft2020_12().for_deserialize();
        requests.inline_subschemas = true;
        let mut responses = SchemaSettings::draft2020_12().for_serialize();
        responses.definitions_path = "/components/schemas".into();
        let (requests, responses) = (requests.into_generator(), responses.into_generator());
        Self { requests, responses, named: Map::new() }
    }

    /// Returns the schema of a query, whose members become parameters.
    pub(super) fn query(&mut self, schema: SchemaFunction) -> Value {
        let mut schema = schema(&mut self.requests).to_value();
        simplify(&mut schema);
        limit_integers(&mut schema);
        schema
    }

    /// Adds the schema of a body to the components, and returns a reference to it.
    pub(super) fn body(&mut self, name: &str, schema: SchemaFunction) -> Value {
        let mut schema = self.query(schema);
        if let Some(object) = schema.as_object_mut() {
            object.remove("$schema");
            object.insert("title".to_owned(), name.into());
        }
        self.named.insert(name.to_owned(), schema);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// Returns the schema of a response.
    pub(super) fn response(&mut self, schema: SchemaFunction) -> Value {
        let mut schema = schema(&mut self.responses).to_value();
        simplify(&mut schema);
        schema
    }

    /// Returns the components that were named or referred to.
    pub(super) fn definitions(mut self) -> Value {
        let mut definitions = Value::Object(self.responses.take_definitions(true));
        if let Some(definitions) = definitions.as_object_mut() {
            definitions.values_mut().for_each(simplify);
            definitions.extend(self.named);
        }
        definitions
    }
}

/// Rewrites what is allowed in JSON Schema and few generators read: `true` for any value, tuples, alternatives of which each
/// is a word, and a type or null as two alternatives.
fn simplify(schema: &mut Value) {
    if *schema == Value::Bool(true) {
        *schema = json!({});
        return;
    }
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("$schema");
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(simplify);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key).filter(|inner| inner.is_object() || key == "items") {
            simplify(inner);
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(choices)) = object.get_mut(key) {
            choices.iter_mut().for_each(simplify);
        }
    }
    tuple_to_list(object);
    words_to_enum(object);
    null_to_type(object);
}

/// A tuple of equal items is a list of that length.
fn tuple_to_list(object: &mut Map<String, Value>) {
    if let Some(Value::Array(items)) = object.get("prefixItems")
        && let Some(first) = items.first().filter(|first| items.iter().all(|item| item == *first))
    {
        let first = first.clone();
        object.remove("prefixItems");
        object.insert("items".to_owned(), first);
    }
}

/// Alternatives that are one word each are an enum.
fn words_to_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get("oneOf") else { return };
    let word = |choice: &Value| choice.get("const").or_else(|| choice.get("enum")).cloned();
    let words: Option<Vec<Value>> = choices.iter().map(word).collect();
    let Some(words) = words.filter(|_| choices.iter().all(|choice| choice["type"] == "string")) else { return };
    let words = words.into_iter().flat_map(|word| match word {
        Value::Array(words) => words,
        word => vec![word],
    });
    let words: Vec<Value> = words.collect();
    object.remove("oneOf");
    object.insert("type".to_owned(), "string".into());
    object.insert("enum".to_owned(), words.into());
}

/// A type or null is a list of two types, unless the type is a reference.
fn null_to_type(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get("anyOf") else { return };
    let (nulls, others): (Vec<&Value>, Vec<&Value>) = choices.iter().partition(|choice| choice["type"] == "null");
    let [Value::Object(only)] = others.as_slice() else { return };
    let Some(Value::String(kind)) = only.get("type") else { return };
    if nulls.is_empty() {
        return;
    }
    let mut only = only.clone();
    only.insert("type".to_owned(), json!([kind, "null"]));
    if let Some(Value::Array(words)) = only.get_mut("enum") {
        words.push(Value::Null);
    }
    object.remove("anyOf");
    for (key, value) in only {
        object.entry(key).or_insert(value);
    }
}

/// Gives integers of requests the bounds of their type, which JSON Schema does not know by its name.
fn limit_integers(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(limit_integers),
        Value::Object(object) => {
            let most = match object.get("format").and_then(Value::as_str) {
                Some("uint8") => Some(json!(u8::MAX)),
                Some("uint16") => Some(json!(u16::MAX)),
                Some("uint32") => Some(json!(u32::MAX)),
                Some("uint64" | "uint" | "int64") => Some(json!(i64::MAX)),
                _ => None,
            };
            if let Some(most) = most {
                object.remove("format");
                object.entry("maximum").or_insert(most);
            }
            object.values_mut().for_each(limit_integers);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simplified(mut schema: Value) -> Value {
        simplify(&mut schema);
        schema
    }

    #[test]
    fn schemas_are_rewritten_for_generators() {
        let text = json!({ "type": "string" });
        for (schema, expected) in [
            (json!({ "properties": { "a": true } }), json!({ "properties": { "a": {} } })),
            (
                json!({ "type": "array", "items": { "type": "array", "prefixItems": [text, text], "minItems": 2 } }),
                json!({ "type": "array", "items": { "type": "array", "items": text, "minItems": 2 } }),
            ),
            (
                json!({ "oneOf": [{ "type": "string", "const": "a" }, { "type": "string", "enum": ["b"] }] }),
                json!({ "type": "string", "enum": ["a", "b"] }),
            ),
            (
                json!({ "description": "d", "anyOf": [{ "type": "string", "enum": ["a"] }, { "type": "null" }] }),
                json!({ "description": "d", "type": ["string", "null"], "enum": ["a", null] }),
            ),
            (
                json!({ "anyOf": [{ "$ref": "#/a" }, { "type": "null" }] }),
                json!({ "anyOf": [{ "$ref": "#/a" }, { "type": "null" }] }),
            ),
            (json!({ "additionalProperties": false }), json!({ "additionalProperties": false })),
        ] {
            assert_eq!(simplified(schema), expected);
        }
    }

    #[test]
    fn integers_have_the_bounds_of_their_type() {
        let mut schema = json!({ "properties": { "a": { "type": "integer", "format": "uint32", "minimum": 0 } } });
        limit_integers(&mut schema);
        assert_eq!(schema["properties"]["a"], json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }));
    }
}
