//! Converts operations to actions.

use serde_json::Value;

use super::schema::{is_json, json_schema};
use super::text::{no_full_stop, one_line, snake};
use super::{OpenApiDescription, OpenApiError, OperationSummary};
use crate::connector::draft::{ConnectorDraft, DraftAction, DraftActionParam, DraftAuthKind, sentence};
use crate::connector::{NameCase, Pointer};
use crate::near::closest;

const METHODS: [(&str, &str); 5] =
    [("get", "GET"), ("post", "POST"), ("put", "PUT"), ("patch", "PATCH"), ("delete", "DELETE")];

/// Values of every connection, which a parameter cannot be called after.
const RESERVED_NAMES: &[&str] = &["access_token", "client_id", "client_secret", "refresh_token", "redirect_uri"];

/// How names of operations begin that create something.
const CREATE_VERBS: &[&str] = &["create", "add", "send", "insert", "new", "post", "publish", "upload", "place"];

/// Members of an answer that matter, as many as fit a line.
const RESULT_MEMBERS: &[&str] = &["id", "url", "html_url", "uri", "name", "status"];

#[derive(Clone, Copy)]
pub(super) struct OpenApiOperation<'v> {
    description: &'v OpenApiDescription,
    pub(super) path: &'v str,
    pub(super) method: &'static str,
    pub(super) value: &'v Value,
}

/// The body that an operation takes.
struct Body<'v> {
    /// The format's word; JSON if absent.
    kind: Option<&'static str>,
    schema: &'v Value,
    required: bool,
}

/// An action and the API's own names of what it sends by query and body, by which the usual way of writing is found.
pub(super) struct ImportedAction {
    action: DraftAction,
    /// Parameter by parameter; absent for those in the path.
    wire_names: Vec<Option<String>>,
}

impl OpenApiDescription {
    pub(super) fn operations(&self) -> impl Iterator<Item = OpenApiOperation<'_>> {
        let paths = self.root["paths"].as_object().into_iter().flatten();
        paths.flat_map(move |(path, item)| {
            let item = self.resolve(item);
            METHODS.iter().filter_map(move |(key, method)| {
                let value = item.get(key).filter(|value| value.is_object())?;
                Some(OpenApiOperation { description: self, path, method, value })
            })
        })
    }

    /// The parameters of a path and of an operation; the operation's win.
    pub(super) fn parameters<'v>(&'v self, path: &str, operation: &'v Value) -> Vec<&'v Value> {
        let shared = self.root["paths"].get(path).map_or(&Value::Null, |item| &self.resolve(item)["parameters"]);
        let mut all: Vec<&Value> = Vec::new();
        for parameter in [&operation["parameters"], shared].into_iter().filter_map(Value::as_array).flatten() {
            let parameter = self.resolve(parameter);
            if !all.iter().any(|known| known["name"] == parameter["name"] && known["in"] == parameter["in"]) {
                all.push(parameter);
            }
        }
        all
    }

    /// The operations of these ids, as actions.
    pub(super) fn select(&self, ids: &[String]) -> Result<Vec<ImportedAction>, OpenApiError> {
        ids.iter().map(|id| self.find(id)?.to_action()).collect()
    }

    fn find(&self, id: &str) -> Result<OpenApiOperation<'_>, OpenApiError> {
        let found = self.operations().find(|operation| operation.id() == id);
        found.ok_or_else(|| {
            let ids: Vec<String> = self.operations().map(|operation| operation.id()).collect();
            let likely = closest(id, ids.iter().map(String::as_str)).map(str::to_owned);
            OpenApiError::UnknownOperation { id: id.to_owned(), suggestion: likely }
        })
    }
}

impl<'v> OpenApiOperation<'v> {
    fn id(&self) -> String {
        let named = self.value["operationId"].as_str().filter(|id| !id.is_empty());
        named.map_or_else(|| format!("{} {}", self.method, self.path), str::to_owned)
    }

    fn about(&self) -> String {
        let told = ["summary", "description"].iter().filter_map(|key| self.value[*key].as_str());
        let told = told.map(|text| no_full_stop(&one_line(text, 100))).find(|text| !text.is_empty());
        told.unwrap_or_else(|| sentence(&snake(&self.id())))
    }

    /// What is offered of it; `None` for a deprecated one, and for one that a connector cannot describe.
    pub(super) fn summary(&self) -> Option<OperationSummary> {
        if self.value["deprecated"] == true || self.to_action().is_err() {
            return None;
        }
        let id = self.id();
        let name = snake(id.rsplit(['/', '.']).next().unwrap_or(&id));
        let called = CREATE_VERBS.iter().any(|word| name.split('_').next() == Some(word));
        let creates = self.method == "POST" && (called || self.description.success(self.value).0 == 201);
        Some(OperationSummary { description: self.about(), creates, id })
    }

    /// `pets.create` of `pets/create`, `create_pet` of `createPet`.
    fn name(&self) -> String {
        match self.value["operationId"].as_str().filter(|id| id.chars().any(|c| c.is_ascii_alphanumeric())) {
            Some(id) => id.split(['/', '.']).map(snake).collect::<Vec<_>>().join("."),
            None => {
                let parts = self.path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{'));
                let path: Vec<String> = parts.map(snake).collect();
                format!("{}.{}", path.join("."), self.method.to_lowercase())
            }
        }
    }

    fn body(&self) -> Result<Option<Body<'v>>, &'static str> {
        let description = self.description;
        if self.method == "GET" {
            return Ok(None);
        }
        let parameters = description.parameters(self.path, self.value);
        let found = if description.is_swagger() {
            let form = parameters.iter().any(|parameter| parameter["in"] == "formData");
            let file = parameters.iter().any(|parameter| parameter["type"] == "file");
            let whole = parameters.iter().find(|parameter| parameter["in"] == "body");
            match whole {
                // The parameters themselves are the members of a form.
                _ if form => {
                    let kind = Some(if file { "multipart" } else { "form" });
                    return Ok(Some(Body { kind, schema: &Value::Null, required: false }));
                }
                Some(body) => Body { kind: None, schema: &body["schema"], required: body["required"] == true },
                None => return Ok(None),
            }
        } else {
            let Some(body) = self.value.get("requestBody").map(|body| description.resolve(body)) else {
                return Ok(None);
            };
            let required = body["required"] == true;
            let content = &body["content"];
            let media = |wanted: &str| {
                let mut all = content.as_object().into_iter().flatten();
                all.find(|(name, _)| name.starts_with(wanted)).map(|(_, media)| &media["schema"])
            };
            if content.as_object().is_some_and(|content| content.keys().any(|name| is_json(name))) {
                Body { kind: None, schema: json_schema(content), required }
            } else if let Some(schema) = media("application/x-www-form-urlencoded") {
                Body { kind: Some("form"), schema, required }
            } else if let Some(schema) = media("multipart/form-data") {
                Body { kind: Some("multipart"), schema, required }
            } else {
                return Err("its body is none of JSON, a form and multipart");
            }
        };
        let schema = description.resolve(found.schema);
        if !schema.is_null()
            && description.kind(schema) != "object"
            && description.members(schema).properties.is_empty()
        {
            return Err("its body is not an object");
        }
        Ok(Some(Body { schema, ..found }))
    }

    fn to_action(self) -> Result<ImportedAction, OpenApiError> {
        let unfit = |why| OpenApiError::UnsupportedOperation { id: self.id(), reason: why };
        let body = self.body().map_err(unfit)?;
        if !self.path.starts_with('/') || self.path.contains(['#', ' ']) {
            return Err(unfit("its path is not one"));
        }
        let mut chosen = ImportedAction {
            action: DraftAction {
                name: self.name(),
                description: self.about(),
                method: self.method,
                path: self.path.to_owned(),
                scopes: self.scopes(),
                body: match &body {
                    Some(body) => body.kind,
                    None if self.method == "GET" => None,
                    None => Some("none"),
                },
                status: 200,
                result: Vec::new(),
                params: Vec::new(),
            },
            wire_names: Vec::new(),
        };
        self.add_parameters(&mut chosen, body.is_some());
        if let Some(body) = &body {
            self.add_members(&mut chosen, body);
        }
        if chosen.wire_names.iter().flatten().any(|name| name == "*") {
            return Err(unfit("it has a parameter *, which a connector cannot name"));
        }
        let (status, schema) = self.description.success(self.value);
        chosen.action.status = status;
        let members = self.description.members(schema);
        let find = |name: &&str| members.properties.keys().find(|known| known.eq_ignore_ascii_case(name));
        let telling = RESULT_MEMBERS.iter().filter_map(find).take(3);
        chosen.action.result = telling.map(|name| (snake(name), Pointer::from_member(name).to_string())).collect();
        if self.path_is_open(&chosen.action) {
            return Err(unfit("its path has a parameter that nothing describes"));
        }
        Ok(chosen)
    }

    fn path_is_open(&self, action: &DraftAction) -> bool {
        let template = crate::connector::Template::parse(&action.path);
        let known = |name: &str| action.params.iter().any(|param| param.name == name);
        template.map_or(true, |template| !template.placeholders().all(known))
    }

    /// What the operation's OAuth scheme wants.
    fn scopes(&self) -> Vec<String> {
        let own = self.value["security"].as_array();
        let requirements = own.or(self.description.root["security"].as_array()).into_iter().flatten();
        let pairs = requirements.filter_map(Value::as_object).flatten();
        let wanted = pairs.filter(|(scheme, _)| self.description.is_oauth2(scheme)).map(|(_, scopes)| scopes);
        let first = wanted.filter_map(Value::as_array).find(|scopes| !scopes.is_empty());
        first.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn add_parameters(&self, chosen: &mut ImportedAction, has_body: bool) {
        for parameter in self.description.parameters(self.path, self.value) {
            let Some(name) = parameter["name"].as_str() else { continue };
            // Version 2 has the type beside the name.
            let schema = parameter.get("schema").unwrap_or(parameter);
            let required = parameter["required"] == true;
            let mut param = self.param(name, parameter, schema, required);
            let original = match parameter["in"].as_str().unwrap_or_default() {
                "path" => {
                    let open = format!("{{{name}}}");
                    param.name = chosen.unique_name(param.name);
                    chosen.action.path = chosen.action.path.replace(&open, &format!("{{{}}}", param.name));
                    param.required = true;
                    None
                }
                "query" => {
                    param.location = has_body.then_some("query");
                    Some(name)
                }
                // Those belong to the request itself; a connector's own headers stand in [api].
                "header" if ["accept", "authorization", "content-type"].contains(&name.to_lowercase().as_str()) => {
                    continue;
                }
                "header" => {
                    param.location = Some("header");
                    Some(name)
                }
                "formData" => Some(name),
                _ => continue,
            };
            chosen.add(param, original);
        }
    }

    fn add_members(&self, chosen: &mut ImportedAction, body: &Body<'v>) {
        let members = self.description.members(body.schema);
        for (name, member) in &members.properties {
            let schema = self.description.resolve(member);
            if schema["readOnly"] == true || schema["deprecated"] == true {
                continue;
            }
            let required = body.required && members.required.contains(name);
            let mut param = self.param(name, schema, member, required);
            if param.kind == "file" && body.kind != Some("multipart") {
                param.kind = "string";
            }
            chosen.add(param, Some(name));
        }
    }

    fn param(&self, name: &str, told: &Value, schema: &Value, required: bool) -> DraftActionParam {
        let own = snake(name);
        let about = told["description"].as_str().map(|text| no_full_stop(&one_line(text, 90)));
        DraftActionParam {
            description: about.filter(|text| !text.is_empty()).unwrap_or_else(|| sentence(&own)),
            kind: self.description.kind(schema),
            choices: if self.description.kind(schema) == "string" {
                self.description.choices(schema)
            } else {
                Vec::new()
            },
            name: own,
            required,
            location: None,
            to: None,
        }
    }
}

impl ImportedAction {
    fn add(&mut self, mut param: DraftActionParam, original: Option<&str>) {
        if original.is_some() {
            param.name = self.unique_name(param.name);
        }
        self.wire_names.push(original.map(str::to_owned));
        self.action.params.push(param);
    }

    /// A name that no other parameter of the action has.
    fn unique_name(&self, name: String) -> String {
        let taken = |name: &str| self.action.params.iter().any(|param| param.name == name);
        if !taken(&name) {
            return name;
        }
        (2..).map(|number| format!("{name}_{number}")).find(|name| !taken(name)).unwrap_or(name)
    }
}

/// Puts the actions into the draft: the way in which most names are written becomes the API's, the others are spelt out.
pub(super) fn add_actions(draft: &mut ConnectorDraft, chosen: &[ImportedAction]) {
    let taken = reserved_names(draft);
    let originals: Vec<&str> =
        chosen.iter().flat_map(|chosen| &chosen.wire_names).flatten().map(String::as_str).collect();
    let fits = |names: NameCase| originals.iter().filter(|name| names.apply(&snake(name)) == **name).count();
    let styles = [(NameCase::Snake, None), (NameCase::Camel, Some("camel")), (NameCase::Pascal, Some("pascal"))];
    let mut best = styles[0];
    for style in styles {
        if fits(style.0) > fits(best.0) {
            best = style;
        }
    }
    draft.param_case = best.1;
    for chosen in chosen {
        let mut action = chosen.action.clone();
        for (param, original) in action.params.iter_mut().zip(&chosen.wire_names) {
            if taken.contains(&param.name) {
                let own = format!("{}_value", param.name);
                if original.is_none() {
                    action.path = action.path.replace(&format!("{{{}}}", param.name), &format!("{{{own}}}"));
                }
                param.name = own;
            }
            let written = best.0.apply(&param.name);
            param.to =
                original.as_ref().filter(|name| **name != written).map(|name| Pointer::from_member(name).to_string());
        }
        // Those that must be given come first, what the path names before the others.
        let path = &action.path;
        action.params.sort_by_key(|param| (!param.required, !path.contains(&format!("{{{}}}", param.name))));
        action.scopes.retain(|scope| draft.scopes.iter().any(|(known, _)| known == scope));
        while draft.actions.iter().any(|known| known.name == action.name) {
            action.name.push_str("_2");
        }
        draft.actions.push(action);
    }
}

/// What a connection has values of already.
fn reserved_names(draft: &ConnectorDraft) -> Vec<String> {
    let mut taken: Vec<String> = RESERVED_NAMES.iter().map(|name| (*name).to_owned()).collect();
    taken.extend(draft.params.iter().map(|param| param.name.clone()));
    for way in &draft.auth {
        match &way.kind {
            DraftAuthKind::ApiKey { fields, .. } => taken.extend(fields.iter().map(|field| field.name.clone())),
            // What discovery gives has names too.
            DraftAuthKind::OAuth2(_) => taken.extend(["issuer".to_owned(), "userinfo_endpoint".to_owned()]),
        }
    }
    taken
}
