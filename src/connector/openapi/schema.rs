//! Reads types and choices from schemas.

use indexmap::IndexMap;
use serde_json::Value;

use super::OpenApiDescription;

/// Schemas inside schemas are looked into so deep: one may hold itself.
const MAX_SCHEMA_DEPTH: usize = 6;

/// The members of an object, and which of them must be there.
#[derive(Debug, Default)]
pub(super) struct Members<'v> {
    pub(super) properties: IndexMap<&'v str, &'v Value>,
    pub(super) required: Vec<&'v str>,
}

impl OpenApiDescription {
    pub(super) fn members<'v>(&'v self, schema: &'v Value) -> Members<'v> {
        let mut members = Members::default();
        self.collect(schema, true, MAX_SCHEMA_DEPTH, &mut members);
        members
    }

    fn collect<'v>(&'v self, schema: &'v Value, certain: bool, depth: usize, members: &mut Members<'v>) {
        if depth == 0 {
            return;
        }
        let schema = self.resolve(schema);
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            members.properties.entry(name).or_insert(member);
        }
        if certain {
            members.required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
        }
        // What holds in one case only is required in none.
        for (combination, certain) in [("allOf", certain), ("anyOf", false), ("oneOf", false)] {
            for part in schema[combination].as_array().into_iter().flatten() {
                self.collect(part, certain, depth - 1, members);
            }
        }
    }

    /// The format's word for a schema's type.
    pub(super) fn kind(&self, schema: &Value) -> &'static str {
        self.kind_within(schema, MAX_SCHEMA_DEPTH)
    }

    fn kind_within(&self, schema: &Value, depth: usize) -> &'static str {
        let schema = self.resolve(schema);
        // Version 3.1 lists types, of which null says only that the value may be absent.
        let listed = schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let named = schema["type"].as_str().or_else(|| listed.into_iter().find(|word| *word != "null"));
        match named {
            Some("string") if schema["format"] == "binary" => "file",
            Some("file") => "file",
            Some("string") => "string",
            Some("integer") => "integer",
            Some("number") => "number",
            Some("boolean") => "boolean",
            Some("array") => "array",
            Some("object") => "object",
            _ if schema.get("properties").is_some() => "object",
            _ if schema.get("items").is_some() => "array",
            _ if depth == 0 => "string",
            _ => {
                let parts = ["allOf", "anyOf", "oneOf"].iter().filter_map(|name| schema[*name].as_array()).flatten();
                let typed = parts.filter(|part| self.resolve(part)["type"] != "null");
                typed.map(|part| self.kind_within(part, depth - 1)).next().unwrap_or("string")
            }
        }
    }

    /// The only texts that a schema takes.
    pub(super) fn choices(&self, schema: &Value) -> Vec<String> {
        let listed = self.resolve(schema)["enum"].as_array().map(Vec::as_slice).unwrap_or_default();
        let texts: Vec<String> = listed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let all_texts = texts.len() == listed.iter().filter(|value| !value.is_null()).count();
        if all_texts { texts } else { Vec::new() }
    }

    /// The schema of the JSON that an operation answers a success with, and its status.
    pub(super) fn success<'v>(&'v self, operation: &'v Value) -> (u16, &'v Value) {
        let answers = operation["responses"].as_object();
        let status = |name: &str| name.parse().ok().filter(|status| (200..300).contains(status));
        let mut found: Vec<(u16, &Value)> =
            answers.into_iter().flatten().filter_map(|(name, answer)| Some((status(name)?, answer))).collect();
        found.sort_by_key(|(status, _)| *status);
        let Some((status, answer)) = found.first() else { return (200, &Value::Null) };
        let answer = self.resolve(answer);
        let schema = if self.is_swagger() { &answer["schema"] } else { json_schema(&answer["content"]) };
        (*status, self.resolve(schema))
    }
}

/// The schema of the JSON among a body's media types.
pub(super) fn json_schema(content: &Value) -> &Value {
    let media = content.as_object().into_iter().flatten();
    let json = media.into_iter().find(|(name, _)| is_json(name));
    json.map_or(&Value::Null, |(_, media)| &media["schema"])
}

/// `application/json`, with parameters, and what is written like it: `application/vnd.api+json`.
pub(super) fn is_json(media: &str) -> bool {
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || media.ends_with("+json") || media == "*/*"
}
