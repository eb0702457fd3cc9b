//! How a vendor speaks OAuth 2.0: endpoints, client authentication, scopes, redirects, answers, revocation.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Assertion, HttpMethod};
use crate::connector::{Pointer, Template};
use crate::model::words::words;

/// OAuth 2.0 as this vendor speaks it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// The grants there are, the usual one first.
    #[serde(default = "authorization_code")]
    pub grants: Vec<GrantType>,
    /// Finds the endpoints by discovery (RFC 8414, OpenID Connect Discovery); those given here win.
    #[serde(default)]
    pub issuer: Option<Template>,
    /// The URL of a protected resource, whose metadata names the issuer and the scopes (RFC 9728). integ registers itself with
    /// that issuer (RFC 7591) unless the user has a client. `issuer`, `resource`, `authorize_url` and `token_url` are then
    /// values of what was found.
    #[serde(default)]
    pub protected_resource: Option<Template>,
    #[serde(default)]
    pub authorize_url: Option<Template>,
    #[serde(default)]
    pub token_url: Option<Template>,
    /// Where refreshing goes, if not to `token_url`.
    #[serde(default)]
    pub refresh_url: Option<Template>,
    #[serde(default)]
    pub device_url: Option<Template>,
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// The assertion that a client shows with `client_auth = "private_key_jwt"`. The claims `iss`, `sub`, `aud` and `jti` are
    /// those of RFC 7523 section 3 unless it has its own.
    #[serde(default)]
    pub client_assertion: Option<Assertion>,
    /// What templates name as `{assertion}`, and what the grant `jwt_bearer` presents.
    #[serde(default)]
    pub assertion: Option<Assertion>,
    #[serde(default)]
    pub client_secret: ClientSecretPolicy,
    /// The parameter with which a user chooses `client_auth`, for connectors of any server; its choices are the values.
    #[serde(default)]
    pub client_auth_param: Option<String>,
    #[serde(default)]
    pub pkce: Pkce,
    /// The parameter with which a user chooses `pkce`, for connectors of any server; its choices are the values.
    #[serde(default)]
    pub pkce_param: Option<String>,
    #[serde(default)]
    pub scope: ScopeRule,
    /// Further parameters of the authorization request.
    #[serde(default)]
    pub authorize_params: IndexMap<String, Template>,
    /// Further parameters of the token request.
    #[serde(default)]
    pub token_params: IndexMap<String, Template>,
    /// Further parameters of the refresh request.
    #[serde(default)]
    pub refresh_params: IndexMap<String, Template>,
    /// Further headers of every request to the token endpoint.
    #[serde(default)]
    pub token_headers: IndexMap<String, Template>,
    /// How the body of a token request is written.
    #[serde(default)]
    pub token_body: BodyFormat,
    /// The method of the request that the grant `exchange` makes; with GET, `token_params` go into the query.
    #[serde(default = "post")]
    pub token_method: HttpMethod,
    #[serde(default)]
    pub redirect: Redirect,
    /// Values to keep from the callback's query: what to call it here, and the parameter's name.
    #[serde(default)]
    pub callback_keep: IndexMap<String, String>,
    #[serde(default)]
    pub answer: TokenResponseShape,
    /// A call after the grant, whose answer holds values to keep, with a choice where it lists several.
    #[serde(default)]
    pub follow_up: Option<FollowUp>,
    #[serde(default)]
    pub revoke: Option<Revocation>,
    #[serde(default)]
    pub rotation: RefreshTokenRotation,
    /// The parameter by which a user says whether refresh tokens rotate, for servers that the file does not know.
    #[serde(default)]
    pub rotation_param: Option<String>,
}

impl OAuth2 {
    /// The grant that presents a key; no other grant is beside it.
    pub fn key_grant(&self) -> Option<GrantType> {
        self.grants.iter().copied().find(|grant| grant.presents_key())
    }

    /// Whether requests name an OAuth client: all but those that present a key of the user's and nothing else.
    pub fn needs_client(&self) -> bool {
        match self.key_grant() {
            None => true,
            Some(GrantType::JwtBearer) if self.client_auth != ClientAuth::None => true,
            Some(_) => self.names_of_key_request().any(|name| matches!(name, "client_id" | "client_secret")),
        }
    }

    /// Whether requests show the secret of an OAuth client.
    pub fn sends_client_secret(&self) -> bool {
        match self.key_grant() {
            Some(GrantType::Exchange) => self.names_of_key_request().any(|name| name == "client_secret"),
            _ => self.client_auth.sends_secret(),
        }
    }

    /// The values that the request which presents a key is made of.
    fn names_of_key_request(&self) -> impl Iterator<Item = &str> {
        let claims = self.assertion.iter().flat_map(|assertion| assertion.claims.values());
        let sent = self.token_params.values().chain(self.token_headers.values());
        claims.chain(&self.token_url).chain(sent).flat_map(Template::placeholders)
    }

    /// Returns whether refresh tokens rotate, as the user said at `connect`, else as the file says.
    pub fn rotation(&self, params: &BTreeMap<String, String>) -> RefreshTokenRotation {
        let said = self.rotation_param.as_ref().and_then(|param| params.get(param));
        said.and_then(|word| RefreshTokenRotation::from_name(word)).unwrap_or(self.rotation)
    }
}

/// An OAuth 2.0 grant type (RFC 6749 sections 4.1 and 4.4, RFC 8628, RFC 7523), or the vendor's own request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    AuthorizationCode,
    DeviceCode,
    ClientCredentials,
    /// A signed assertion is exchanged for a token (RFC 7523 section 2.1).
    JwtBearer,
    /// A key is exchanged for a token by a request that `token_headers` and `token_params` describe, and nothing else.
    Exchange,
}

impl GrantType {
    /// Whether a person signs in.
    pub fn needs_person(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::DeviceCode)
    }

    /// Whether a token is asked for with a key of the user's, and again whenever it ends.
    pub fn presents_key(self) -> bool {
        matches!(self, Self::JwtBearer | Self::Exchange)
    }
}

words!(GrantType {
    AuthorizationCode => "authorization_code",
    DeviceCode => "device_code",
    ClientCredentials => "client_credentials",
    JwtBearer => "jwt_bearer",
    Exchange => "exchange",
});

/// How a client authenticates at the token endpoint (RFC 6749 section 2.3.1, RFC 7523 section 2.2, RFC 8705 section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    #[default]
    Basic,
    Post,
    /// The secret is not sent.
    None,
    /// By an assertion that it signs: `client_assertion`.
    PrivateKeyJwt,
    /// By the certificate of its TLS connections: `tls` of the method.
    TlsClientAuth,
}

impl ClientAuth {
    /// Reads a value that a user may choose: what needs no key.
    pub fn from_name(name: &str) -> Option<Self> {
        [("basic", Self::Basic), ("post", Self::Post), ("none", Self::None)]
            .into_iter()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Whether the client's secret is sent.
    pub fn sends_secret(self) -> bool {
        matches!(self, Self::Basic | Self::Post)
    }

    /// Whether the client authenticates with a key of its own, in place of a secret.
    pub fn uses_key(self) -> bool {
        matches!(self, Self::PrivateKeyJwt | Self::TlsClientAuth)
    }

    /// Returns its name in metadata and registrations (RFC 7591 section 2).
    pub fn registered_name(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
            Self::None => "none",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
        }
    }
}

/// Whether an app has a client secret. A client without one is public and shows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientSecretPolicy {
    Required,
    #[default]
    Optional,
    /// The device grant needs none, the others do.
    OptionalForDevice,
}

/// Proof Key for Code Exchange (RFC 7636); only S256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pkce {
    #[default]
    Always,
    /// Always, and a server whose metadata does not list S256 is refused.
    Advertised,
    /// Turning it on makes the client public: only where there is no client secret.
    PublicOnly,
    /// The vendor does not know it.
    Never,
}

impl Pkce {
    /// Reads a value as connector files write it.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            ("always", Self::Always),
            ("advertised", Self::Advertised),
            ("public_only", Self::PublicOnly),
            ("never", Self::Never),
        ]
        .into_iter()
        .find_map(|(known, value)| (known == name).then_some(value))
    }
}

impl OAuth2 {
    /// The rules with what the user chose by `client_auth_param` and `pkce_param`.
    #[must_use]
    pub fn with_choices<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Self {
        let of = |param: &Option<String>| param.as_deref().and_then(&value);
        Self {
            client_auth: of(&self.client_auth_param).and_then(ClientAuth::from_name).unwrap_or(self.client_auth),
            pkce: of(&self.pkce_param).and_then(Pkce::from_name).unwrap_or(self.pkce),
            ..self.clone()
        }
    }
}

/// How scopes are asked for and answered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScopeRule {
    /// The parameter's name; empty where the vendor has no scopes.
    pub param: String,
    /// What is asked for when the user names none.
    pub default: Vec<String>,
    /// Asked for beside whatever the user names.
    pub always: Vec<String>,
    pub separator: String,
    /// What parts the scopes in answers, where that differs.
    pub answer_separator: Option<String>,
    /// Further scope lists of the same request: the parameter and its defaults. `--scope PARAM=SCOPE` adds to one.
    pub also: IndexMap<String, Vec<String>>,
}

impl Default for ScopeRule {
    fn default() -> Self {
        Self {
            param: "scope".to_owned(),
            default: Vec::new(),
            always: Vec::new(),
            separator: " ".to_owned(),
            answer_separator: None,
            also: IndexMap::new(),
        }
    }
}

/// How the body of a token or revocation request is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyFormat {
    #[default]
    Form,
    Json,
}

/// What redirect URIs the vendor takes (RFC 8252 section 7.3).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    pub host: LoopbackHost,
    /// The port that must be registered; any free port where absent.
    pub port: Option<u16>,
    /// The vendor takes only https: the user brings a tunnel and `--redirect-uri`.
    pub https: bool,
    /// What to enter where the app is registered.
    pub note: Option<String>,
}

/// The name of this machine in a redirect URI. RFC 8252 wants the literal; some vendors take only the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum LoopbackHost {
    #[default]
    #[serde(rename = "127.0.0.1")]
    Address,
    #[serde(rename = "localhost")]
    Name,
}

/// Where a token answer holds what. The defaults are those of RFC 6749 section 5.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenResponseShape {
    pub access_token: Pointer,
    pub refresh_token: Pointer,
    pub expires_in: Pointer,
    /// When the access token ends, where the answer has a time in place of seconds: RFC 3339, or Unix seconds.
    pub expires_at: Option<Pointer>,
    pub scope: Pointer,
    pub token_type: Pointer,
    /// Seconds until the refresh token dies; `/refresh_token_expires_in` or `/refresh_expires_in` where absent.
    pub refresh_expires_in: Option<Pointer>,
    /// Where the answer to a refresh holds them, where that differs: tried before the others.
    pub refreshed_access_token: Option<Pointer>,
    pub refreshed_refresh_token: Option<Pointer>,
    pub refreshed_expires_in: Option<Pointer>,
    /// What must hold for an answer of status 200 to be a success.
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub success: IndexMap<Pointer, Value>,
    pub error: Pointer,
    pub error_description: Pointer,
    /// Error codes that refuse the grant for good, beside `invalid_grant`.
    pub refused: Vec<String>,
    /// HTTP statuses that refuse the grant for good. Of the grant `exchange`, 401 and 403 do anyway.
    pub refused_status: Vec<u16>,
    /// Values to keep: what to call each, and where it is. Templates and `integ status` may use them.
    pub keep: IndexMap<String, Pointer>,
    /// Further secrets to keep: a user's token beside the bot's.
    pub secrets: IndexMap<String, Pointer>,
    /// How long a token lives where the answer does not say, in seconds.
    pub lifetime_secs: Option<u32>,
}

impl Default for TokenResponseShape {
    fn default() -> Self {
        let at = |path: &str| Pointer::parse(path).expect("a literal pointer is valid");
        Self {
            access_token: at("/access_token"),
            refresh_token: at("/refresh_token"),
            expires_in: at("/expires_in"),
            expires_at: None,
            scope: at("/scope"),
            token_type: at("/token_type"),
            refresh_expires_in: None,
            refreshed_access_token: None,
            refreshed_refresh_token: None,
            refreshed_expires_in: None,
            success: IndexMap::new(),
            error: at("/error"),
            error_description: at("/error_description"),
            refused: Vec::new(),
            refused_status: Vec::new(),
            keep: IndexMap::new(),
            secrets: IndexMap::new(),
            lifetime_secs: None,
        }
    }
}

/// A call after the grant that finds what the grant is for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FollowUp {
    pub url: Template,
    /// The list in the answer; the whole answer where absent. An object counts as a list of one.
    #[serde(default)]
    pub items: Option<Pointer>,
    /// The parameter by which a user says which: matched with the label and every kept value.
    pub choose_by: String,
    /// What the user sees of each.
    pub label: Pointer,
    pub keep: IndexMap<String, Pointer>,
}

/// How a grant is ended at the vendor (RFC 7009, or the vendor's own way).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    pub url: Template,
    #[serde(default = "post")]
    pub method: HttpMethod,
    #[serde(default)]
    pub auth: RevocationAuth,
    #[serde(default)]
    pub body: BodyFormat,
    #[serde(default)]
    pub headers: IndexMap<String, Template>,
    /// The parameters of the body; `token` with the refresh token, else the access token, where absent.
    #[serde(default)]
    pub params: IndexMap<String, Template>,
    /// What must hold of an answer of status 200.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub success: IndexMap<Pointer, Value>,
    /// Error codes that mean that there was nothing left to revoke.
    #[serde(default)]
    pub gone: Vec<String>,
    /// Statuses that mean the same.
    #[serde(default)]
    pub gone_status: Vec<u16>,
}

impl Revocation {
    /// The standard's own way (RFC 7009 section 2.1) at an endpoint that discovery found.
    pub fn rfc7009(url: Template) -> Self {
        Self {
            url,
            method: HttpMethod::Post,
            auth: RevocationAuth::Client,
            body: BodyFormat::Form,
            headers: IndexMap::new(),
            params: IndexMap::new(),
            success: IndexMap::new(),
            gone: Vec::new(),
            gone_status: Vec::new(),
        }
    }
}

/// How a revocation request authenticates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationAuth {
    /// As at the token endpoint.
    #[default]
    Client,
    /// HTTP Basic with the client's id and secret, whatever the token endpoint takes.
    Basic,
    /// The access token itself.
    Bearer,
    /// The client secret as a bearer token.
    Secret,
    None,
}

/// Whether a refresh replaces the refresh token (RFC 6749 section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefreshTokenRotation {
    /// Each refresh gives a new refresh token, and the old one dies.
    Always,
    Never,
    /// It depends on the app's settings or is not known: a new one is stored, a missing one keeps the old.
    #[default]
    Sometimes,
}

impl RefreshTokenRotation {
    /// Reads a value as connector files write it; None for any other word.
    pub fn from_name(word: &str) -> Option<Self> {
        Some(match word {
            "always" => Self::Always,
            "never" => Self::Never,
            "sometimes" => Self::Sometimes,
            _ => return None,
        })
    }
}

/// A token that comes back in the fragment of the redirect: the authorization page hands it to a script of ours.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImplicitFlow {
    pub authorize_url: Template,
    #[serde(default)]
    pub authorize_params: IndexMap<String, Template>,
    /// The parameter that takes the redirect URI.
    pub redirect_param: String,
    /// The name of the token in the fragment.
    pub token: String,
    #[serde(default)]
    pub scope: ScopeRule,
    #[serde(default)]
    pub redirect: Redirect,
}

pub(super) fn post() -> HttpMethod {
    HttpMethod::Post
}

fn authorization_code() -> Vec<GrantType> {
    vec![GrantType::AuthorizationCode]
}
