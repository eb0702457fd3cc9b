//! A draft from an OpenAPI description: versions 2 (Swagger), 3.0 and 3.1, in JSON or YAML.
//!
//! A description says what an API takes, seldom who asks: what it leaves open stays open in the draft, and what was
//! guessed is under `unsure`. References are followed inside the document only: nothing else is fetched.

mod health;
mod operation;
mod schema;
mod security;
mod text;

use serde_json::Value;
use thiserror::Error;
use url::Url;

use self::text::{no_full_stop, one_line, slug, snake};
use super::draft::{ConnectorDraft, DraftAuthKind, DraftParam, health_doubt};
use crate::error::{Diagnostic, Hint, Kind, Remedy};

/// Bytes of a description: the largest public ones have a third of it.
pub const MAX_OPENAPI_BYTES: usize = 32 * 1024 * 1024;

/// Values of a YAML description, which aliases count into: what a small text may grow to.
const MAX_YAML_NODES: usize = 4_000_000;

/// References that lead to references are followed so far.
const MAX_REFERENCE_HOPS: usize = 16;

/// Operations taken where the user names none.
const DEFAULT_OPERATION_COUNT: usize = 5;

/// Why an OpenAPI description, or one of its operations, cannot be used.
#[derive(Debug, Error)]
pub enum OpenApiError {
    #[error("it is neither JSON nor YAML")]
    Syntax(#[source] OpenApiSyntaxError),
    #[error("it is not an OpenAPI description: it has neither openapi nor swagger")]
    MissingVersion,
    #[error("operation {id:?} not found in it")]
    UnknownOperation { id: String, suggestion: Option<String> },
    #[error("operation {id:?} cannot be an action: {reason}")]
    UnsupportedOperation { id: String, reason: &'static str },
}

/// What a parser says, in one line.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct OpenApiSyntaxError(String);

impl Remedy for OpenApiError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Syntax(_) | Self::MissingVersion => Diagnostic::new(Kind::Failed, "invalid_openapi"),
            Self::UnknownOperation { suggestion: likely, .. } => Diagnostic::new(Kind::Usage, "unknown_operation")
                .hint(Hint::text(match likely {
                    Some(likely) => format!("did you mean --action {likely}?"),
                    None => "name an operationId of the description with --action".to_owned(),
                })),
            Self::UnsupportedOperation { .. } => {
                Diagnostic::new(Kind::Usage, "unfit_operation").hint(Hint::text("leave it out, and write it by hand"))
            }
        }
    }
}

/// A parsed description.
#[derive(Debug)]
pub struct OpenApiDescription {
    root: Value,
    /// Where it was found, which relative URLs follow.
    base_url: Option<Url>,
}

/// An operation that can be offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationSummary {
    /// The operationId, or method and path where there is none.
    pub id: String,
    pub description: String,
    /// It creates something.
    pub creates: bool,
}

impl OpenApiDescription {
    /// # Errors
    /// [`OpenApiError::Syntax`], [`OpenApiError::MissingVersion`].
    pub fn parse(bytes: &[u8], at: Option<Url>) -> Result<Self, OpenApiError> {
        let root = match serde_json::from_slice::<Value>(bytes) {
            Ok(root) => root,
            // What begins like JSON is meant as such, whatever YAML would make of it.
            Err(error) if bytes.trim_ascii_start().starts_with(b"{") => {
                return Err(OpenApiError::Syntax(OpenApiSyntaxError(error.to_string())));
            }
            Err(_) => yaml(bytes)?,
        };
        if root.get("openapi").is_none() && root.get("swagger").is_none() {
            return Err(OpenApiError::MissingVersion);
        }
        Ok(Self { root, base_url: at })
    }

    /// The value itself, or what its reference inside the document leads to.
    fn resolve<'v>(&'v self, value: &'v Value) -> &'v Value {
        let mut at = value;
        for _ in 0..MAX_REFERENCE_HOPS {
            let Some(reference) = at.get("$ref").and_then(Value::as_str) else { return at };
            let Some(found) = reference.strip_prefix('#').and_then(|pointer| {
                // A pointer in a URL's fragment is percent-encoded (RFC 6901 section 6).
                let decoded = percent_decoded(pointer);
                self.root.pointer(&decoded)
            }) else {
                return &Value::Null;
            };
            at = found;
        }
        &Value::Null
    }

    fn is_swagger(&self) -> bool {
        self.root.get("swagger").is_some()
    }

    /// The operations there are, those that create things first.
    pub fn summaries(&self) -> Vec<OperationSummary> {
        let mut offers: Vec<OperationSummary> = self.operations().filter_map(|operation| operation.summary()).collect();
        offers.sort_by_key(|offer| !offer.creates);
        offers
    }

    /// A draft with the requested operations as actions, or the first few that create things.
    ///
    /// # Errors
    /// [`OpenApiError::UnknownOperation`], [`OpenApiError::UnsupportedOperation`].
    pub fn draft(&self, wanted: Option<&[String]>) -> Result<ConnectorDraft, OpenApiError> {
        let info = &self.root["info"];
        let name = info["title"].as_str().map(|title| one_line(title, 60)).unwrap_or_default();
        let name = trimmed_name(&name);
        let description = ["summary", "description"].iter().find_map(|key| info[*key].as_str());
        let description = description.map(|text| one_line(text, 120)).filter(|text| !text.is_empty());
        let mut draft = ConnectorDraft {
            id: slug(&name),
            description: description
                .map_or_else(|| format!("The API of {name}."), |text| format!("{}.", no_full_stop(&text))),
            name,
            category: "generic".to_owned(),
            docs: self.docs().unwrap_or_default(),
            ..ConnectorDraft::default()
        };
        self.server(&mut draft);
        let (ways, scopes) = self.auth_methods();
        (draft.auth, draft.scopes) = (ways, scopes);
        draft.health = self.health();
        if let Some(health) = &draft.health {
            draft.unverified.push(health_doubt(&health.path));
        }
        let chosen = match wanted {
            Some(ids) => self.select(ids)?,
            None => {
                let few = self.summaries().into_iter().filter(|offer| offer.creates).take(DEFAULT_OPERATION_COUNT);
                self.select(&few.map(|offer| offer.id).collect::<Vec<_>>())?
            }
        };
        operation::add_actions(&mut draft, &chosen);
        choose_scopes(&mut draft);
        Ok(draft)
    }

    fn docs(&self) -> Option<String> {
        let places = ["/externalDocs/url", "/info/contact/url", "/info/x-apisguru-origin/url"];
        let found = places.iter().filter_map(|place| self.root.pointer(place).and_then(Value::as_str));
        found.map(str::to_owned).find(|url| Url::parse(url).is_ok_and(|url| url.scheme() == "https"))
    }

    /// The API's base with its variables; https, else none.
    fn server(&self, draft: &mut ConnectorDraft) {
        if self.is_swagger() {
            draft.base = self.swagger_base();
            return;
        }
        let servers = self.root["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let https = |server: &&Value| self.absolute(server["url"].as_str().unwrap_or_default()).is_some();
        let Some(server) = servers.iter().find(https) else { return };
        let mut base = self.absolute(server["url"].as_str().unwrap_or_default()).unwrap_or_default();
        for (variable, detail) in server["variables"].as_object().into_iter().flatten() {
            let name = snake(variable);
            base = base.replace(&format!("{{{variable}}}"), &format!("{{{name}}}"));
            let choices: Vec<String> =
                detail["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            let default = detail["default"].as_str().map(str::to_owned).filter(|default| !default.is_empty());
            let prompt = detail["description"].as_str().map(|text| no_full_stop(&one_line(text, 80)));
            draft.params.push(DraftParam {
                prompt: prompt.filter(|text| !text.is_empty()).unwrap_or_else(|| super::draft::sentence(&name)),
                default: default.filter(|default| choices.is_empty() || choices.contains(default)),
                choices,
                name,
            });
        }
        draft.base = Some(base.trim_end_matches('/').to_owned());
    }

    /// An https URL as it is, or what a relative one means where the document was found.
    fn absolute(&self, url: &str) -> Option<String> {
        if url.starts_with("https://") {
            return Some(url.to_owned());
        }
        let at =
            self.base_url.as_ref().filter(|at| at.scheme() == "https" && !url.contains("://") && !url.is_empty())?;
        // Braces are kept: they are variables.
        let joined = at.join(url).ok()?;
        Some(joined.to_string().replace("%7B", "{").replace("%7D", "}"))
    }

    fn swagger_base(&self) -> Option<String> {
        let schemes = self.root["schemes"].as_array();
        if schemes.is_some_and(|schemes| !schemes.iter().any(|scheme| scheme == "https")) {
            return None;
        }
        let at = self.base_url.as_ref().filter(|at| at.scheme() == "https");
        let found_at = at.and_then(|at| at.host_str()).map(str::to_owned);
        let host = self.root["host"].as_str().map(str::to_owned).or(found_at)?;
        let path = self.root["basePath"].as_str().unwrap_or_default().trim_end_matches('/');
        Some(format!("https://{host}{path}"))
    }
}

fn yaml(bytes: &[u8]) -> Result<Value, OpenApiError> {
    let broken = |why: String| OpenApiError::Syntax(OpenApiSyntaxError(one_line(&why, 200)));
    let text = std::str::from_utf8(bytes).map_err(|error| broken(error.to_string()))?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_YAML_NODES,
            max_events: MAX_YAML_NODES * 2,
        },
    };
    let root: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| broken(error.to_string()))?;
    // A text without any structure is YAML too.
    if root.is_object() { Ok(root) } else { Err(OpenApiError::MissingVersion) }
}

fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    // What a form would take for its own stands for itself here.
    let text = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(text.as_bytes()).next().map_or_else(String::new, |(name, _)| name.into_owned())
}

/// `Acme` of `Acme API` and `Swagger Acme - OpenAPI 3.0`: what the service is called.
fn trimmed_name(title: &str) -> String {
    let mut name = title.trim();
    if let Some((before, after)) = name.split_once(" - ")
        && after.to_lowercase().contains("api")
    {
        name = before.trim();
    }
    for end in [" REST API", " Web API", " Public API", " API", " Api", " api"] {
        name = name.strip_suffix(end).unwrap_or(name);
    }
    name.trim_start_matches("The ").trim().to_owned()
}

/// Asks by default for what the actions and the check need, else for what only reads.
fn choose_scopes(draft: &mut ConnectorDraft) {
    /// More would be asking for everything.
    const MOST: usize = 5;
    let mut needed: Vec<String> = draft.actions.iter().flat_map(|action| action.scopes.iter().cloned()).collect();
    if needed.is_empty() {
        let reads = draft.scopes.iter().map(|(scope, _)| scope).filter(|scope| scope.to_lowercase().contains("read"));
        needed = reads.take(MOST).cloned().collect();
    }
    let order = |scope: &String| draft.scopes.iter().position(|(known, _)| known == scope);
    needed.sort_by_key(order);
    needed.dedup();
    for way in &mut draft.auth {
        if let DraftAuthKind::OAuth2(oauth2) = &mut way.kind {
            oauth2.default_scopes.clone_from(&needed);
        }
    }
}

#[cfg(test)]
mod tests;
