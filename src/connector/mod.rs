//! Connectors: TOML files that describe services and how to authenticate with them.
//!
//! The catalogue is compiled in and parsed file by file: a command parses the connectors that it touches. Adding a
//! service writes no Rust.

mod calendar_fields;
mod capability;
mod catalogue;
mod charset;
mod credential;
mod descriptor;
mod draft;
mod env_variables;
mod hosts;
mod install;
mod model;
mod of_workspace;
mod openapi;
mod paging;
mod param_input;
mod pin;
mod pointer;
mod schema;
mod schema_check;
pub mod scopes;
mod search;
mod semantic;
mod setup_guide;
mod signature_coverage;
mod syntax;
mod template;
mod validate;

use std::path::PathBuf;

use thiserror::Error;

pub use calendar_fields::{any_holds, service_zone};
pub use capability::{Capabilities, HostUse, url_templates};
pub use catalogue::{BUILT_IN, Catalogue, ConnectorSource, parse};
pub use charset::is_shell_safe;
pub use descriptor::{ActionDescriptor, Descriptor, VERSION as DESCRIPTOR_VERSION, describe_action, descriptor};
pub use draft::{
    ConnectorDraft, DiscoveredOAuth2, DraftAuth, DraftAuthKind, DraftError, DraftHealth, DraftOAuth2, sentence,
};
pub use env_variables::{
    CLIENT_ID, auth_method_parts, credential_parts, env_variable_name, is_dangerous_choice, is_dangerous_variable,
};
pub use hosts::HostTemplate;
pub use install::{ExistingConnector, InstallCandidate, InstallError, MAX_CONNECTOR_BYTES};
pub use model::*;
pub use openapi::{MAX_OPENAPI_BYTES, OpenApiDescription, OpenApiError, OperationSummary};
pub use paging::first_page;
pub use param_input::{AuthorizationServer, authorization_server, issuer_from_url, parse_param};
pub use pointer::Pointer;
pub use schema::json_schema;
pub use search::{SearchHit, SearchMatch, search};
pub use setup_guide::{SetupGuide, SetupKind, SetupPrompt, setup};
pub use signature_coverage::{SignatureCoverage, SignedPart};
pub use template::{Template, TemplateError, Values, fill_document};
pub use validate::{FileDiagnostic, validate};

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::TrustError;

/// The id of the connector for remote MCP servers, which a URL stands for.
pub const MCP: &str = "mcp";

/// The words that `category` may have.
pub const CATEGORIES: [&str; 12] = [
    "calendar",
    "communication",
    "crm",
    "developer",
    "documents",
    "email",
    "finance",
    "forms",
    "generic",
    "payments",
    "projects",
    "storage",
];

/// Why a connector, or one of its authentication methods, cannot be used.
#[derive(Debug, Error)]
pub enum ConnectorError {
    #[error("connector {id:?} not found")]
    Unknown { id: String, suggestion: Option<String> },
    #[error("connector {id:?} is not valid: {first}")]
    Invalid { id: String, first: String, path: Option<PathBuf> },
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    #[error("{} has changed since it was installed: its SHA-256 differs from the pinned one", path.display())]
    ChecksumMismatch { id: String, path: PathBuf },
    #[error("cannot read the pin {}", path.display())]
    InvalidPin { id: String, path: PathBuf, source: std::io::Error },
    #[error("unknown authentication method {auth:?} for {connector}: use one of {}", known.join(", "))]
    UnknownAuthMethod { connector: String, auth: String, known: Vec<String> },
}

impl Remedy for ConnectorError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unknown { suggestion: likely, .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_connector").hint(match likely {
                    Some(id) => Hint::new(format!("did you mean {id}? list them all:"), "integ connector list"),
                    None => Hint::run("integ connector list"),
                })
            }
            Self::Invalid { path, id, .. } => {
                let file = path.as_ref().map_or_else(|| id.clone(), |path| path.display().to_string());
                Diagnostic::new(Kind::Conflict, "invalid_connector").run(format!("integ connector validate {file}"))
            }
            Self::Untrusted(error) => error.diagnostic(),
            Self::ChecksumMismatch { path, .. } => {
                Diagnostic::new(Kind::Conflict, "changed_connector").hint(Hint::new(
                    "look at what it says now, then",
                    format!("integ connector install {} --replace", path.display()),
                ))
            }
            Self::InvalidPin { id, .. } => {
                Diagnostic::new(Kind::Conflict, "invalid_pin").run(format!("integ connector remove {id}"))
            }
            Self::UnknownAuthMethod { connector, .. } => {
                Diagnostic::new(Kind::Usage, "unknown_auth").run(format!("integ connector show {connector}"))
            }
        }
    }
}

impl Connector {
    /// The authentication method called `name`; the usual one where none is named.
    ///
    /// # Errors
    /// [`ConnectorError::UnknownAuthMethod`].
    pub fn auth_method(&self, name: Option<&str>) -> Result<(&str, &AuthMethod), ConnectorError> {
        let found = match name {
            Some(name) => self.auth.get_key_value(name),
            None => self.auth.first(),
        };
        found.map(|(key, auth)| (key.as_str(), auth)).ok_or_else(|| ConnectorError::UnknownAuthMethod {
            connector: self.id.clone(),
            auth: name.unwrap_or_default().to_owned(),
            known: self.auth.keys().cloned().collect(),
        })
    }

    /// The parameters of one authentication method: the connector's, then its own.
    pub fn params<'a>(&'a self, auth: &'a AuthMethod) -> impl Iterator<Item = (&'a String, &'a Param)> {
        self.params.iter().chain(&auth.params)
    }

    /// Adds the values that follow from choices.
    pub fn add_derived_values(&self, auth: &AuthMethod, values: &mut Values) {
        for (name, param) in self.params(auth) {
            let given = values.get(name).and_then(|choice| param.gives.get(choice));
            values.extend(given.into_iter().flatten());
        }
    }

    /// How an action's body is written; a GET has none, and what a DELETE says goes into the query unless it says otherwise.
    pub fn body_format(&self, action: &Action) -> ActionBody {
        match (action.method, action.body) {
            (HttpMethod::Get, _) | (HttpMethod::Delete, None) => ActionBody::None,
            (_, Some(body)) => body,
            (_, None) => self.api.body,
        }
    }

    /// Where a parameter of an action goes; absent for the path.
    pub fn param_location(&self, action: &Action, name: &str, param: &ActionParam) -> Option<ParamLocation> {
        if action.path.placeholders().any(|known| known == name) {
            return None;
        }
        let usual = match self.body_format(action) {
            ActionBody::Query | ActionBody::None => ParamLocation::Query,
            ActionBody::Json | ActionBody::Form | ActionBody::Multipart | ActionBody::Related => ParamLocation::Body,
        };
        Some(param.place.unwrap_or(usual))
    }

    /// Where in its place a parameter goes: in the body as it points, elsewhere its first part is the name.
    pub fn wire_name(&self, name: &str, param: &ActionParam) -> Pointer {
        param.to.clone().unwrap_or_else(|| Pointer::from_member(&self.api.names.apply(name)))
    }

    /// The health check of one authentication method.
    pub fn health<'a>(&'a self, auth: &'a AuthMethod) -> Option<&'a Health> {
        auth.health.as_ref().or(self.health.as_ref())
    }
}

impl Stream {
    /// Returns the names of the parameters that the user has to give.
    pub fn required_params(&self) -> impl Iterator<Item = &str> {
        let required = self.params.iter().filter(|(_, param)| !param.optional && param.default.is_none());
        required.map(|(name, _)| name.as_str())
    }

    /// All paths that it asks.
    pub fn paths(&self) -> impl Iterator<Item = &Template> {
        let token =
            self.token.iter().flat_map(|token| token.path.iter().chain(token.first.iter().map(|first| &first.path)));
        std::iter::once(&self.path).chain(self.detail.iter().map(|detail| &detail.path)).chain(token)
    }
}

impl AuthMethod {
    /// What it is called in `integ status`: `oauth2` or `key`.
    pub fn kind(&self) -> &'static str {
        if self.oauth2.is_some() {
            "oauth2"
        } else if self.fragment.is_some() {
            "token"
        } else {
            "key"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_categories_are_those_of_the_format() {
        let schema = json_schema();
        assert_eq!(schema["$defs"]["Category"]["enum"], serde_json::json!(CATEGORIES));
    }
}
