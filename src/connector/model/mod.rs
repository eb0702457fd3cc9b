//! The model of a connector file. `connectors/README.md` describes it for people, `connectors/schema.json` for editors.
//!
//! Declarative: types and their defaults, nothing else. Values are optional if some vendor does not have them.

mod action;
mod calendar;
mod credential;
mod oauth2;
mod stream;
mod webhook;
mod write;

use crate::model::{Budget, Effect};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::pointer::Pointer;
use super::template::Template;
pub use action::*;
pub use calendar::*;
pub use credential::*;
pub use oauth2::*;
pub use stream::*;
pub use webhook::*;
pub use write::*;

/// One service: what it is, how to authenticate, and what it can do.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connector {
    /// Kebab-case; the file name.
    pub id: String,
    /// Name of the service, as the vendor writes it.
    pub name: String,
    pub category: Category,
    /// Description, in one line.
    pub description: String,
    /// URL of the vendor's developer documentation.
    pub docs: String,
    /// A file in `connectors/vendors/` whose keys this file inherits; the file's own keys take precedence.
    #[serde(default)]
    pub vendor: Option<String>,
    /// Values to ask the user for, with any authentication method: subdomain, tenant, region.
    #[serde(default)]
    pub params: IndexMap<String, Param>,
    /// Hosts that a value from a response may contain, by the value's name: `*.salesforce.com`, a full host, or `*` for
    /// any public host. `issuer` applies to discovered endpoints.
    #[serde(default)]
    pub hosts: IndexMap<String, Vec<String>>,
    #[serde(default)]
    pub api: Api,
    /// Authentication methods; the first is the default.
    pub auth: IndexMap<String, AuthMethod>,
    /// Available scopes, each with its purpose.
    #[serde(default)]
    pub scopes: IndexMap<String, Scope>,
    /// The request that checks a connection and identifies its account.
    #[serde(default)]
    pub health: Option<Health>,
    /// How to interpret responses. The first matching rule applies, then the HTTP status.
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
    #[serde(default)]
    pub rate: RateLimits,
    /// What the service can do, by names such as `issues.create`.
    #[serde(default)]
    pub actions: IndexMap<String, Action>,
    /// What can be synced from it, by names such as `issues`.
    #[serde(default)]
    pub streams: IndexMap<String, Stream>,
    /// Its calendars.
    #[serde(default)]
    pub calendar: Option<Box<CalendarDefinition>>,
    /// How it sends webhooks.
    #[serde(default)]
    pub webhook: Option<WebhookDefinition>,
    /// Events that the service sends through webhooks, by the vendor's names.
    #[serde(default)]
    pub events: IndexMap<String, EventDefinition>,
    /// Texts with which bindings can begin, by the common names of what they make: contact, ticket, payment, message, event.
    #[serde(default)]
    pub templates: IndexMap<String, BindingTemplate>,
    /// Facts that could not be confirmed from documentation.
    #[serde(default)]
    pub unsure: Vec<String>,
}

/// The kind of service; `generic` is for connectors that work with any service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    Calendar,
    Communication,
    Crm,
    Developer,
    Documents,
    Email,
    Finance,
    Forms,
    Generic,
    Payments,
    Projects,
    Storage,
}

impl Category {
    /// Returns the word that connector files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Calendar => "calendar",
            Category::Communication => "communication",
            Category::Crm => "crm",
            Category::Developer => "developer",
            Category::Documents => "documents",
            Category::Email => "email",
            Category::Finance => "finance",
            Category::Forms => "forms",
            Category::Generic => "generic",
            Category::Payments => "payments",
            Category::Projects => "projects",
            Category::Storage => "storage",
        }
    }
}

/// A text with which a binding can begin: what makes records of a stream, or events of a type, a common shape.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BindingTemplate {
    /// One line.
    pub about: String,
    /// The stream whose records it maps. A template has a stream or an event.
    #[serde(default)]
    pub stream: Option<String>,
    /// The type of the events that it maps.
    #[serde(default)]
    pub event: Option<String>,
    /// The fields, as `integ help mapping` explains them.
    pub text: String,
}

/// A value that the user gives with `--param` or at a prompt.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// What to ask for, in a few words.
    pub prompt: String,
    /// Used if the user gives no value.
    #[serde(default)]
    pub default: Option<String>,
    /// Allowed values.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Never asked for; has no value unless the user gives one.
    #[serde(default)]
    pub optional: bool,
    /// An example, shown with the prompt.
    #[serde(default)]
    pub example: Option<String>,
    /// More values that depend on the choice: choice, name and value. An environment's hosts, for example.
    #[serde(default)]
    pub gives: IndexMap<String, IndexMap<String, String>>,
}

/// Where the API is, and what each request contains.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Base URL of relative paths, without a trailing slash.
    #[serde(default)]
    pub base: Option<Template>,
    #[serde(default)]
    pub headers: IndexMap<String, Template>,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// Naming of parameters in requests.
    #[serde(default)]
    pub names: NameCase,
    /// Encoding of bodies.
    #[serde(default)]
    pub body: ActionBody,
    /// Every call can be a GET or a POST, with its parameters in the query or in the body.
    #[serde(default)]
    pub get_or_post: bool,
    /// Values that every successful (2xx) response must have.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub success: IndexMap<Pointer, Value>,
    /// Where a response contains its error message, in order. Then the usual places are tried.
    #[serde(default)]
    pub message: Vec<Pointer>,
    /// Where an error for missing scopes lists the required ones: a list, or a text with commas or spaces. The scopes
    /// in a `WWW-Authenticate: Bearer` header (RFC 6750 section 3) are always read.
    #[serde(default)]
    pub needed_scopes: Option<Pointer>,
    /// Where requests that change something have their idempotency key.
    #[serde(default)]
    pub idempotency: Option<Idempotency>,
    /// How lists are paginated by default.
    #[serde(default)]
    pub pages: Option<Pagination>,
}

/// One authentication method: `oauth2`, a token in the redirect's fragment, or `fields` from the user. With `oauth2`,
/// the fields are what tokens are requested with, such as a private key or a certificate.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthMethod {
    /// Name shown to the user.
    pub label: String,
    /// Page where the user gets the key or registers the app.
    #[serde(default)]
    pub setup_url: Option<String>,
    /// What the user must do there, shown before anything is asked for.
    #[serde(default)]
    pub note: Option<String>,
    /// API base URL for this method, instead of `api.base`.
    #[serde(default)]
    pub base: Option<Template>,
    #[serde(default)]
    pub params: IndexMap<String, Param>,
    #[serde(default)]
    pub oauth2: Option<OAuth2>,
    #[serde(default)]
    pub fragment: Option<ImplicitFlow>,
    /// The parts of a key, in the order in which they are asked for.
    #[serde(default)]
    pub fields: IndexMap<String, CredentialField>,
    /// The field that `--with-token` sets and, without `oauth2`, `integ token` prints (default: the first secret
    /// field).
    #[serde(default)]
    pub token: Option<String>,
    /// A certificate that is presented to the token endpoint and the API.
    #[serde(default)]
    pub tls: Option<ClientCertificate>,
    /// How requests carry the credentials (default: `Authorization: Bearer` with the token).
    #[serde(default)]
    pub send: Option<CredentialPlacement>,
    /// Health check for this method, instead of the connector's.
    #[serde(default)]
    pub health: Option<Health>,
}

/// How requests carry credentials. The names of headers and parameters are templates too.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialPlacement {
    #[serde(default)]
    pub headers: IndexMap<String, Template>,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// HTTP Basic (RFC 7617).
    #[serde(default)]
    pub basic: Option<BasicCredentials>,
}

/// The user name and the password of HTTP Basic authentication (RFC 7617).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicCredentials {
    pub username: Template,
    pub password: Template,
}

/// A scope: its purpose, or a table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scope {
    Purpose(String),
    Detailed(ScopeDetail),
}

/// A scope's purpose, the scopes it includes, and how the vendor reports it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScopeDetail {
    pub purpose: String,
    /// Scopes that it includes.
    #[serde(default)]
    pub includes: Vec<String>,
    /// Its name in the vendor's responses.
    #[serde(default)]
    pub reported_as: Option<String>,
    /// The vendor never lists it among the granted scopes.
    #[serde(default)]
    pub unreported: bool,
}

impl Scope {
    /// Returns the scope's purpose.
    pub fn purpose(&self) -> &str {
        match self {
            Scope::Purpose(purpose) => purpose,
            Scope::Detailed(detail) => &detail.purpose,
        }
    }

    /// Returns the scope's table; None if the file gives its purpose alone.
    pub fn detail(&self) -> Option<&ScopeDetail> {
        match self {
            Scope::Purpose(_) => None,
            Scope::Detailed(detail) => Some(detail),
        }
    }
}

/// The HTTP method of a request to the vendor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    #[default]
    Get,
    Post,
    Put,
    Patch,
    Delete,
    // Asked for by users alone: what connectors describe has an answer.
    #[serde(skip)]
    Head,
}

impl HttpMethod {
    /// Returns whether repeating the request may repeat its effect (RFC 9110 section 9.2.2).
    pub fn is_non_idempotent(self) -> bool {
        matches!(self, Self::Post | Self::Patch)
    }

    /// Returns what a request with this method does at the service at most, as far as its API keeps to HTTP.
    pub fn effect(self) -> Effect {
        match self {
            Self::Get | Self::Head => Effect::Read,
            Self::Delete => Effect::Destroy,
            Self::Post | Self::Put | Self::Patch => Effect::Write,
        }
    }

    /// Returns the method as sent, in upper case.
    pub fn as_str(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
            HttpMethod::Head => "HEAD",
        }
    }

    /// Returns whether the request has no body, so that parameters are in its query.
    pub fn is_bodiless(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// A request without side effects that checks a connection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    #[serde(default)]
    pub method: HttpMethod,
    /// Relative to the API's base, or a full URL. If it uses an optional parameter that was not given, there is no
    /// check.
    pub path: Template,
    /// The JSON body of the request, sent unchanged: `{ query = "{ viewer { id name } }" }`. It makes the method POST.
    #[serde(default)]
    pub body: Option<Value>,
    /// Values that a successful response must have, in addition to `api.success`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub success: IndexMap<Pointer, Value>,
    /// The ID and name of the account.
    #[serde(default)]
    pub account: AccountPointers,
    /// The header that lists the granted scopes.
    #[serde(default)]
    pub scopes_header: Option<String>,
    /// The response as the vendor writes it, for the sandbox: JSON whose strings can use `{id}`, `{uuid}`, `{n}`,
    /// `{code}`, `{account}`, `{login}` and `{email}` of the account.
    #[serde(default)]
    pub sample: Option<String>,
    /// The protocol at `path`.
    #[serde(default)]
    pub protocol: HealthProtocol,
}

impl Health {
    /// Returns the method of the request: POST with a body, unless the file says otherwise.
    pub fn request_method(&self) -> HttpMethod {
        match (self.method, &self.body) {
            (HttpMethod::Get, Some(_)) => HttpMethod::Post,
            (method, _) => method,
        }
    }
}

/// The protocol of a health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthProtocol {
    /// One HTTP request.
    #[default]
    Http,
    /// The Model Context Protocol: a session is initialized and the tools are listed.
    Mcp,
}

/// Where a response has the account's ID and display name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountPointers {
    pub id: Option<Pointer>,
    pub name: Option<Pointer>,
}

/// How to interpret a response.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    pub class: ErrorClass,
    /// Any of these HTTP statuses (default: any status).
    #[serde(default)]
    pub status: Vec<u16>,
    /// Headers that must have this value; `*` for any.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// Places in the body, all of which must have one of their values; a value that ends in `*` matches any text with
    /// that prefix.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub body: IndexMap<Pointer, Vec<Value>>,
}

/// The meaning of an error response, which determines what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The token was rejected: refresh once, then the user must reconnect.
    Auth,
    /// The grant does not allow it: a scope is missing.
    Permission,
    RateLimit,
    NotFound,
    /// The cursor of an incremental sync has expired.
    CursorExpired,
    /// Retry later.
    Retry,
    Fail,
}

/// The vendor's rate limits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// Where a response says when to retry, in order.
    pub retry_hints: Vec<RetryHint>,
    /// The request rate for each connection, chosen to stay below the vendor's limit.
    pub budget: Option<Budget>,
    /// Units that a request costs, unless its action or stream has another cost (default: 1).
    pub cost: Option<u32>,
    /// The header with the number of requests left; at 0, the next request waits as long as `retry_hints` say.
    pub remaining: Option<String>,
    /// The vendor's limits, in words.
    pub limits: Vec<String>,
}

impl RateLimits {
    /// Returns the units of the budget that a request of an action or stream costs.
    pub fn cost_of(&self, own: Option<u32>) -> u32 {
        own.or(self.cost).unwrap_or(1)
    }
}

/// A place in a response that says when to retry: exactly one of `header` and `body`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryHint {
    #[serde(default)]
    pub header: Option<String>,
    #[serde(default)]
    pub body: Option<Pointer>,
    pub unit: RetryUnit,
}

/// Format of a retry hint: a delay, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryUnit {
    Seconds,
    Milliseconds,
    /// Unix time in seconds.
    EpochSeconds,
    /// Unix time in milliseconds.
    EpochMilliseconds,
}

fn yes() -> bool {
    true
}
