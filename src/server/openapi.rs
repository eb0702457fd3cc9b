//! The description of the API (OpenAPI 3.1), generated from the table of routes.

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::openapi_schemas::Schemas;
use super::reply::{JSON, ReplyContent};
use super::route::ApiRoute;
use super::table::ApiRouteTable;
use crate::http::serve::{Method, StatusCode};
use crate::ops::{Effect, Reach};
use crate::view::problem::ProblemView;

/// The failures of every route, with their meaning.
const FAILURES: &[(u16, &str)] = &[
    (400, "The query, the body or a value in them is invalid"),
    (401, "The API token is missing, invalid, expired, disabled or revoked"),
    (403, "The token does not have the scope, the request needs an approval, or the Host or Origin is foreign"),
    (404, "The object does not exist, or the token may not use it"),
    (408, "The body was not received in time"),
    (409, "The current state does not allow it, for example because the connection needs to be reconnected"),
    (412, "The object has changed since it was read (If-Match)"),
    (413, "The body is too large"),
    (415, "The body is not JSON"),
    (422, "The idempotency key was used for another request"),
    (424, "The service rejected the request, or its response cannot be used"),
    (429, "The token has reached its rate limit"),
    (500, "An error in this server"),
    (503, "Temporary: the network, the service, the vault or this server is not available"),
];

/// Returns the description of the API. `base_path` is the path that a proxy has it below.
pub(super) fn document(table: &ApiRouteTable, base_path: &str) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for route in table.routes().iter().filter(|route| route.operation.reach >= Reach::Api) {
        let operation = operation(route, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let problem = schemas.response(SchemaGenerator::subschema_for::<ProblemView>);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "integ",
            "version": "1",
            "summary": "The HTTP API of `integ serve`",
            "license": { "name": "MIT", "identifier": "MIT" },
            "description": "Connections to services: their status, tokens, records, webhooks and calls. Each request needs an API token \
                            of the workspace (`integ api-token create`); a trusted CI job gets one from `POST /v1/api-token-exchanges`. Times are RFC 3339 in UTC, durations are seconds, sizes are bytes.",
        },
        "servers": [{ "url": if base_path.is_empty() { "/" } else { base_path } }],
        "security": [{ "api_token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "api_token": {
                    "type": "http", "scheme": "bearer",
                    "description": "A token from `integ api-token create`",
                }
            },
            "headers": {
                "RateLimit": { "description": "Requests left in the window (`r`) and its length in seconds (`t`)", "schema": { "type": "string" } },
                "RequestId": { "description": "The id of the request in logs and in the audit log", "schema": { "type": "string" } },
            },
            "responses": { "Problem": {
                "description": "A failure (RFC 9457)",
                "content": { "application/problem+json": { "schema": problem } }
            } },
            "schemas": schemas.definitions(),
        },
    })
}

fn operation(route: &ApiRoute, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = route.path_names().map(path_parameter).collect();
    parameters.extend(route.query.iter().flat_map(|query| query_parameters(&schemas.query(*query))));
    if route.is_repeatable {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "A repeated request with the same key gets the response of the first one, for 24 hours",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        }));
    }
    let mut responses = Map::new();
    responses.insert(route.response.status.as_str().to_owned(), success(route, schemas));
    for (status, meaning) in FAILURES {
        if *status == 412 && route.operation.effect == Effect::Read {
            continue;
        }
        let problem = json!({ "$ref": "#/components/schemas/ProblemView" });
        let content = json!({ "application/problem+json": { "schema": problem } });
        responses.insert(status.to_string(), json!({ "description": meaning, "content": content }));
    }
    let (scope, id) = (route.operation.api_scope().to_string(), operation_id(route, &parameters));
    let mut operation = json!({
        "operationId": id,
        "summary": route.summary,
        "tags": [scope.split(':').next().unwrap_or_default()],
        "description": format!("Needs the scope `{scope}`. Does the same as `integ {}`.", route.operation.name),
        "x-integ-operation": route.operation.name,
        "x-integ-effect": route.operation.effect.as_str(),
        "x-integ-scope": scope,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = route.body {
        let schema = schemas.body(&format!("{}Request", pascal_case(&id)), body);
        operation["requestBody"] = json!({ "required": route.needs_body, "content": { JSON: { "schema": schema } } });
    }
    operation
}

/// A name for generated clients: what the method does, and the path in words, with the names of values in place of the
/// collections that they are of. `GET /v1/connections/{connection}/streams` is `get_connection_streams`.
fn operation_id(route: &ApiRoute, parameters: &[Value]) -> String {
    let parts: Vec<String> =
        route.path.split('/').filter(|part| !part.is_empty() && *part != "v1").map(identifier).collect();
    let is_collection = |index: usize| {
        let singular = parts[index].strip_suffix("ies").map(|stem| format!("{stem}y"));
        let singular = singular.or_else(|| parts[index].strip_suffix('s').map(str::to_owned));
        singular.is_some() && parts.get(index + 1).map(|next| next.trim_matches(['{', '}'])) == singular.as_deref()
    };
    let words = parts.iter().enumerate().filter(|(index, _)| !is_collection(*index));
    let mut words: Vec<&str> = words.map(|(_, part)| part.trim_matches(['{', '}'])).collect();
    // Outside of /v1 there is the same in another format.
    words.extend((!route.path.starts_with("/v1/")).then_some("text"));
    let verb = match route.method {
        Method::GET if parameters.iter().any(|parameter| parameter["name"] == "limit") => "list",
        Method::GET => "get",
        Method::PUT => "put",
        Method::PATCH => "update",
        Method::DELETE => "delete",
        _ if route.response.status == StatusCode::CREATED => "create",
        _ => "post",
    };
    format!("{verb}_{}", words.join("_"))
}

fn identifier(part: &str) -> String {
    part.replace(['-', '.'], "_")
}

fn pascal_case(name: &str) -> String {
    let word = |word: &str| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => String::new(),
    };
    name.split('_').map(word).collect()
}

fn success(route: &ApiRoute, schemas: &mut Schemas) -> Value {
    let headers = json!({
        "RateLimit": { "$ref": "#/components/headers/RateLimit" },
        "X-Request-Id": { "$ref": "#/components/headers/RequestId" },
    });
    let mut response = json!({ "description": route.summary, "headers": headers });
    match route.response.content {
        ReplyContent::Nothing => {}
        ReplyContent::Json(schema) => response["content"] = json!({ JSON: { "schema": schemas.response(schema) } }),
        ReplyContent::Text(media_type) => {
            response["content"] = json!({ media_type: { "schema": { "type": "string" } } });
        }
    }
    response
}

/// A value in a path. Ids that are numbers are so in the schema, so that a client need not guess.
fn path_parameter(name: &'static str) -> Value {
    let (schema, description) = match name {
        "connection" => {
            (json!({ "type": "string", "maxLength": 257 }), "The name of a connection, such as `slack` or `slack@work`")
        }
        "job" | "event" | "subscription" => (json!({ "type": "integer", "minimum": 1 }), "The id of the object"),
        _ => (json!({ "type": "string", "minLength": 1, "maxLength": 256 }), "The id or name of the object"),
    };
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
}

fn query_parameters(schema: &Value) -> Vec<Value> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let parameter = |(name, mut schema): (String, Value)| {
        let description = schema.as_object_mut().and_then(|object| object.remove("description"));
        without_null(&mut schema);
        let mut parameter =
            json!({ "name": name, "in": "query", "required": required.contains(&name.as_str()), "schema": schema });
        if let Some(description) = description {
            parameter["description"] = description;
        }
        parameter
    };
    properties.into_iter().map(parameter).collect()
}

/// A parameter that is absent is not null.
fn without_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object
        .remove("default")
        .filter(|default| !default.is_null())
        .map(|default| object.insert("default".to_owned(), default));
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        if let [only] = choices.as_slice()
            && let Value::Object(only) = only.clone()
        {
            object.remove("anyOf");
            object.extend(only);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_once_under_a_name_of_its_own() {
        let table = ApiRouteTable::new();
        let document = document(&table, "");
        let ids: Vec<&str> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|path| path.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        let described = table.routes().iter().filter(|route| route.operation.reach >= Reach::Api);
        assert_eq!(ids.len(), described.count());
        let distinct: BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn every_reference_leads_to_a_component() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                Value::Object(object) => {
                    found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    object.values().for_each(|value| references(value, found));
                }
                _ => {}
            }
        }
        let document = document(&ApiRouteTable::new(), "");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }
}
