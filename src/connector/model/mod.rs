//! The shape of a connector file. `connectors/README.md` describes it for people, `connectors/schema.json` for editors.
//!
//! Declarative: types and their defaults, nothing else. Optional things are optional because some vendor leaves them
//! out; every field names what it is for, with its unit.

mod action;
mod calendar;
mod credential;
mod oauth2;
mod stream;
mod webhook;

use crate::model::Budget;
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

/// One service: who it is, how to authenticate, and how to tell that it works.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connector {
    /// Kebab-case; the name of the file.
    pub id: String,
    /// As the vendor writes it.
    pub name: String,
    pub category: Category,
    /// One line.
    pub description: String,
    /// The vendor's developer documentation.
    pub docs: String,
    /// A file of `connectors/vendors/` whose keys this one inherits; its own keys win.
    #[serde(default)]
    pub vendor: Option<String>,
    /// What to ask the user for, whichever way of authenticating is taken: subdomain, tenant, region.
    #[serde(default)]
    pub params: IndexMap<String, Param>,
    /// The hosts that a value of an answer may name, by the value's name: `*.salesforce.com`, a whole host, or `*` for any
    /// public one. `issuer` is for the endpoints that discovery finds.
    #[serde(default)]
    pub hosts: IndexMap<String, Vec<String>>,
    #[serde(default)]
    pub api: Api,
    /// The ways of authenticating, the usual one first.
    pub auth: IndexMap<String, AuthMethod>,
    /// The scopes there are, with a purpose each.
    #[serde(default)]
    pub scopes: IndexMap<String, Scope>,
    /// The call that says whether a connection works and whose it is.
    #[serde(default)]
    pub health: Option<Health>,
    /// What answers mean, the first that fits; below them HTTP's own meaning of the status.
    #[serde(default)]
    pub errors: Vec<ErrorRule>,
    #[serde(default)]
    pub rate: RateLimits,
    /// What the service can be told to do, by names such as `issues.create`.
    #[serde(default)]
    pub actions: IndexMap<String, Action>,
    /// What can be pulled from it, by names such as `issues`.
    #[serde(default)]
    pub streams: IndexMap<String, Stream>,
    /// Its calendars, if it has any.
    #[serde(default)]
    pub calendar: Option<Box<CalendarDefinition>>,
    /// How it tells of events.
    #[serde(default)]
    pub webhook: Option<WebhookDefinition>,
    /// What the service tells of by webhooks, by the vendor's own names.
    #[serde(default)]
    pub events: IndexMap<String, EventDefinition>,
    /// Texts with which bindings can begin, by the common names of what they make: contact, ticket, payment, message, event.
    #[serde(default)]
    pub templates: IndexMap<String, BindingTemplate>,
    /// Facts of this file that no source was found for.
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
    /// What is taken when the user says nothing.
    #[serde(default)]
    pub default: Option<String>,
    /// The only values there are.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Left out when the user says nothing, and never asked for.
    #[serde(default)]
    pub optional: bool,
    /// An example, shown with the prompt.
    #[serde(default)]
    pub example: Option<String>,
    /// Further values that follow from a choice: by choice, what to call each. An environment's hosts are such.
    #[serde(default)]
    pub gives: IndexMap<String, IndexMap<String, String>>,
}

/// Where the API is, and what each request to it carries.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// What relative paths follow, without a slash at its end.
    #[serde(default)]
    pub base: Option<Template>,
    #[serde(default)]
    pub headers: IndexMap<String, Template>,
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// How it writes the names of parameters.
    #[serde(default)]
    pub names: NameCase,
    /// How bodies are written.
    #[serde(default)]
    pub body: ActionBody,
    /// Every call may be a GET or a POST, with its parameters in the query or in the body.
    #[serde(default)]
    pub get_or_post: bool,
    /// What must hold of every answer of status 2xx for it to be a success.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub success: IndexMap<Pointer, Value>,
    /// Where an answer says in words what went wrong, in order; the usual places where absent.
    #[serde(default)]
    pub message: Vec<Pointer>,
    /// Where a refusal for want of scopes names those that are needed: a list, or a text with commas or spaces. What a
    /// `WWW-Authenticate: Bearer` header names (RFC 6750 section 3) is read without this.
    #[serde(default)]
    pub needed_scopes: Option<Pointer>,
    /// What makes a repeated request that changes something harmless.
    #[serde(default)]
    pub idempotency: Option<Idempotency>,
    /// How lists are paginated, unless something else is said of one.
    #[serde(default)]
    pub pages: Option<Pagination>,
}

/// One authentication method: by `oauth2`, by a token in the redirect's fragment, or by `fields` that the user gives. With
/// `oauth2` the fields hold what a token is asked for with: a private key, a certificate.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthMethod {
    /// What it is called when the user chooses.
    pub label: String,
    /// Where the user gets the key or registers the app.
    #[serde(default)]
    pub setup_url: Option<String>,
    /// What the user must know of making it, shown before anything is asked for.
    #[serde(default)]
    pub note: Option<String>,
    /// The API base of this way, in place of `api.base`.
    #[serde(default)]
    pub base: Option<Template>,
    #[serde(default)]
    pub params: IndexMap<String, Param>,
    #[serde(default)]
    pub oauth2: Option<OAuth2>,
    #[serde(default)]
    pub fragment: Option<ImplicitFlow>,
    /// Keys and what belongs to them, in the order in which they are asked for.
    #[serde(default)]
    pub fields: IndexMap<String, CredentialField>,
    /// The field that `--with-token` gives and, without `oauth2`, `integ token` prints; the first secret one where absent.
    #[serde(default)]
    pub token: Option<String>,
    /// A certificate that the token endpoint and the API are shown.
    #[serde(default)]
    pub tls: Option<ClientCertificate>,
    /// How requests carry the credentials; `Authorization: Bearer` with the token where absent.
    #[serde(default)]
    pub send: Option<CredentialPlacement>,
    /// The health check of this way, in place of the connector's.
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

/// What is special about a scope: a purpose, or a table.
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
    /// Scopes that this one covers.
    #[serde(default)]
    pub includes: Vec<String>,
    /// How the vendor names it in answers.
    #[serde(default)]
    pub reported_as: Option<String>,
    /// The vendor never lists it among the granted ones.
    #[serde(default)]
    pub unreported: bool,
}

impl Scope {
    /// Returns what the scope is for.
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
    /// Whether a repetition may do its work twice (RFC 9110 section 9.2.2).
    pub fn is_non_idempotent(self) -> bool {
        matches!(self, Self::Post | Self::Patch)
    }

    /// Returns the method as it is sent, in upper case.
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

    /// Whether the request has no body, so that fields belong into its query.
    pub fn is_bodiless(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// A harmless call that shows whether a connection works.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    #[serde(default)]
    pub method: HttpMethod,
    /// After the API's base, or a whole URL. One that names an optional parameter nobody gave is no check.
    pub path: Template,
    /// The JSON body of the request, sent as it is: `{ query = "{ viewer { id name } }" }`. With a body the method is POST.
    #[serde(default)]
    pub body: Option<Value>,
    /// What must hold of an answer of status 200, beside `api.success`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub success: IndexMap<Pointer, Value>,
    /// Whose account it is.
    #[serde(default)]
    pub account: AccountPointers,
    /// The header that lists the granted scopes.
    #[serde(default)]
    pub scopes_header: Option<String>,
    /// The answer as the vendor writes it, for the sandbox: JSON whose strings may name `{id}`, `{uuid}`, `{n}`, `{code}`,
    /// `{account}`, `{login}` and `{email}` of the account.
    #[serde(default)]
    pub sample: Option<String>,
    /// What is spoken at `path`.
    #[serde(default)]
    pub protocol: HealthProtocol,
}

impl Health {
    /// The method of the request; one with a body is a POST unless the file says otherwise.
    pub fn request_method(&self) -> HttpMethod {
        match (self.method, &self.body) {
            (HttpMethod::Get, Some(_)) => HttpMethod::Post,
            (method, _) => method,
        }
    }
}

/// How a health check asks the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthProtocol {
    /// One HTTP request.
    #[default]
    Http,
    /// The Model Context Protocol: a session is initialized and the tools are listed.
    Mcp,
}

/// Where an answer holds the account's id and its display name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountPointers {
    pub id: Option<Pointer>,
    pub name: Option<Pointer>,
}

/// What an answer means.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    pub class: ErrorClass,
    /// Any of these HTTP statuses; any status where absent.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Headers that must have this value; `*` for any.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// Places in the body, all of which must hold one of their values; a string ending in `*` fits whatever starts like it.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub body: IndexMap<Pointer, Vec<Value>>,
}

/// What an error answer of the vendor means, which decides what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The token is refused: refresh once, then a person must reconnect.
    Auth,
    /// The grant does not cover it: a scope is missing.
    Permission,
    RateLimit,
    NotFound,
    /// The place of an incremental sync is lost.
    CursorExpired,
    /// Try again later.
    Retry,
    Fail,
}

/// How the vendor limits requests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// Where an answer says when to try again, in order.
    pub retry_hints: Vec<RetryHint>,
    /// What integ allows itself for each connection, so as to stay below the vendor's limit.
    pub budget: Option<Budget>,
    /// What a request takes of the budget where its action or stream says nothing; 1 where absent.
    pub cost: Option<u32>,
    /// The header that says how many requests are left; at 0 the next one waits for as long as `retry_hints` say.
    pub remaining: Option<String>,
    /// What the vendor allows, in its words.
    pub limits: Vec<String>,
}

impl RateLimits {
    /// What a request of an action or a stream takes of the budget.
    pub fn cost_of(&self, own: Option<u32>) -> u32 {
        own.or(self.cost).unwrap_or(1)
    }
}

/// A place in an answer that says when to try again: exactly one of `header` and `body`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryHint {
    #[serde(default)]
    pub header: Option<String>,
    #[serde(default)]
    pub body: Option<Pointer>,
    pub unit: RetryUnit,
}

/// How a retry hint is written: a delay, or a point in time.
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
