//! The OAuth 2.0 settings of a vendor: endpoints, client authentication, scopes, redirects, responses, revocation.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Assertion, HttpMethod};
use crate::connector::{Pointer, Template};
use crate::model::words::words;

/// OAuth 2.0 settings of a vendor.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth2 {
    /// Supported grants; the first is the default.
    #[serde(default = "authorization_code")]
    pub grants: Vec<GrantType>,
    /// Discovers the endpoints (RFC 8414, OpenID Connect Discovery); those given here take precedence.
    #[serde(default)]
    pub issuer: Option<Template>,
    /// The URL of a protected resource whose metadata contains the issuer and the scopes (RFC 9728). integ registers
    /// itself with that issuer (RFC 7591) unless the user has a client. `issuer`, `resource`, `authorize_url` and
    /// `token_url` then have the discovered values.
    #[serde(default)]
    pub protected_resource: Option<Template>,
    #[serde(default)]
    pub authorize_url: Option<Template>,
    #[serde(default)]
    pub token_url: Option<Template>,
    /// Endpoint for refreshing, if not `token_url`.
    #[serde(default)]
    pub refresh_url: Option<Template>,
    #[serde(default)]
    pub device_url: Option<Template>,
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// The assertion that a client signs with `client_auth = "private_key_jwt"`. The claims `iss`, `sub`, `aud` and
    /// `jti` are those of RFC 7523 section 3 unless set here.
    #[serde(default)]
    pub client_assertion: Option<Assertion>,
    /// The value of `{assertion}` in templates, and the assertion for the grant `jwt_bearer`.
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
    /// Additional parameters of the authorization request.
    #[serde(default)]
    pub authorize_params: IndexMap<String, Template>,
    /// Additional parameters of the token request.
    #[serde(default)]
    pub token_params: IndexMap<String, Template>,
    /// Additional parameters of the refresh request.
    #[serde(default)]
    pub refresh_params: IndexMap<String, Template>,
    /// Additional headers of every request to the token endpoint.
    #[serde(default)]
    pub token_headers: IndexMap<String, Template>,
    /// Encoding of token requests.
    #[serde(default)]
    pub token_body: BodyFormat,
    /// Method of the request for the grant `exchange`. With GET, `token_params` are in the query.
    #[serde(default = "post")]
    pub token_method: HttpMethod,
    #[serde(default)]
    pub redirect: Redirect,
    /// Values to store from the callback's query: their name here = the parameter's name.
    #[serde(default)]
    pub callback_keep: IndexMap<String, String>,
    #[serde(default)]
    pub answer: TokenResponseShape,
    /// A request after the grant whose response has values to store, with a choice if it lists several.
    #[serde(default)]
    pub follow_up: Option<FollowUp>,
    #[serde(default)]
    pub revoke: Option<Revocation>,
    #[serde(default)]
    pub rotation: RefreshTokenRotation,
    /// The parameter with which a user sets whether refresh tokens rotate, for servers unknown to the file.
    #[serde(default)]
    pub rotation_param: Option<String>,
}

impl OAuth2 {
    /// Returns the grant that presents a key, which is then the only grant.
    pub fn key_grant(&self) -> Option<GrantType> {
        self.grants.iter().copied().find(|grant| grant.presents_key())
    }

    /// Returns whether requests have an OAuth client; only those that present a user's key have none.
    pub fn needs_client(&self) -> bool {
        match self.key_grant() {
            None => true,
            Some(GrantType::JwtBearer) if self.client_auth != ClientAuth::None => true,
            Some(_) => self.names_of_key_request().any(|name| matches!(name, "client_id" | "client_secret")),
        }
    }

    /// Returns whether requests contain the secret of an OAuth client.
    pub fn sends_client_secret(&self) -> bool {
        match self.key_grant() {
            Some(GrantType::Exchange) => self.names_of_key_request().any(|name| name == "client_secret"),
            _ => self.client_auth.sends_secret(),
        }
    }

    /// Returns the values used by the request that presents a key.
    fn names_of_key_request(&self) -> impl Iterator<Item = &str> {
        let claims = self.assertion.iter().flat_map(|assertion| assertion.claims.values());
        let sent = self.token_params.values().chain(self.token_headers.values());
        claims.chain(&self.token_url).chain(sent).flat_map(Template::placeholders)
    }

    /// Returns whether refresh tokens rotate, as set by the user at `connect`, otherwise by the file.
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
    /// Returns whether a user signs in.
    pub fn needs_person(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::DeviceCode)
    }

    /// Returns whether tokens are requested with a user's key, again each time one expires.
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
    /// With an assertion that it signs: `client_assertion`.
    PrivateKeyJwt,
    /// With the certificate of its TLS connections: `tls` of the method.
    TlsClientAuth,
}

impl ClientAuth {
    /// Parses a value that a user may choose: only those that need no key.
    pub fn from_name(name: &str) -> Option<Self> {
        [("basic", Self::Basic), ("post", Self::Post), ("none", Self::None)]
            .into_iter()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Returns whether the client's secret is sent.
    pub fn sends_secret(self) -> bool {
        matches!(self, Self::Basic | Self::Post)
    }

    /// Returns whether the client authenticates with a key instead of a secret.
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

/// Whether an app has a client secret. A client without one is public.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientSecretPolicy {
    Required,
    #[default]
    Optional,
    /// The device grant needs none; the others do.
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
    /// Using it makes the client public, so it is used only without a client secret.
    PublicOnly,
    /// The vendor does not support it.
    Never,
}

impl Pkce {
    /// Parses a value as connector files write it.
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
    /// Returns the settings with the user's choices for `client_auth_param` and `pkce_param`.
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

/// How scopes are requested and reported.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScopeRule {
    /// Name of the parameter; empty if the vendor has no scopes.
    pub param: String,
    /// Scopes to request if the user names none.
    pub default: Vec<String>,
    /// Scopes to request in addition to the user's.
    pub always: Vec<String>,
    pub separator: String,
    /// Separates scopes in responses, if it differs.
    pub answer_separator: Option<String>,
    /// Additional scope lists in the same request: parameter and defaults. `--scope PARAM=SCOPE` adds to one.
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

/// Encoding of a token or revocation request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyFormat {
    #[default]
    Form,
    Json,
}

/// Redirect URIs that the vendor accepts (RFC 8252 section 7.3).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    pub host: LoopbackHost,
    /// The port that must be registered (default: any free port).
    pub port: Option<u16>,
    /// Only https is accepted: the user needs a tunnel and `--redirect-uri`.
    pub https: bool,
    /// What to enter where the app is registered.
    pub note: Option<String>,
}

/// The host in a redirect URI. RFC 8252 recommends the IP address; some vendors accept only the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum LoopbackHost {
    #[default]
    #[serde(rename = "127.0.0.1")]
    Address,
    #[serde(rename = "localhost")]
    Name,
}

/// Where the values of a token response are. The defaults are those of RFC 6749 section 5.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenResponseShape {
    pub access_token: Pointer,
    pub refresh_token: Pointer,
    pub expires_in: Pointer,
    /// When the access token expires, if the response has a time instead of seconds: RFC 3339, or Unix seconds.
    pub expires_at: Option<Pointer>,
    pub scope: Pointer,
    pub token_type: Pointer,
    /// Seconds until the refresh token expires (default: `/refresh_token_expires_in` or `/refresh_expires_in`).
    pub refresh_expires_in: Option<Pointer>,
    /// Where they are in the response to a refresh, if it differs; tried before the others.
    pub refreshed_access_token: Option<Pointer>,
    pub refreshed_refresh_token: Option<Pointer>,
    pub refreshed_expires_in: Option<Pointer>,
    /// Values that a successful response with status 200 must have.
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub success: IndexMap<Pointer, Value>,
    pub error: Pointer,
    pub error_description: Pointer,
    /// Error codes that mean that the grant has ended, in addition to `invalid_grant`.
    pub refused: Vec<String>,
    /// HTTP statuses that mean the same. With the grant `exchange`, 401 and 403 always do.
    pub refused_status: Vec<u16>,
    /// Values to store: names and pointers. Templates and `integ status` can use them.
    pub keep: IndexMap<String, Pointer>,
    /// More secrets to store, such as a user's token next to the bot's.
    pub secrets: IndexMap<String, Pointer>,
    /// Lifetime of a token in seconds, if the response does not give it.
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

/// A request after the grant that finds what the grant gives access to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FollowUp {
    pub url: Template,
    /// The list in the response (default: the whole response). An object counts as a list of one.
    #[serde(default)]
    pub items: Option<Pointer>,
    /// The parameter with which a user selects an item, compared with the label and every stored value.
    pub choose_by: String,
    /// The text shown to the user for each item.
    pub label: Pointer,
    pub keep: IndexMap<String, Pointer>,
}

/// How to revoke a grant at the vendor (RFC 7009 or a custom request).
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
    /// The parameters of the body; an empty table for none. By default, `token` with the refresh token, else the access
    /// token.
    #[serde(default)]
    pub params: Option<IndexMap<String, Template>>,
    /// Values that a success with status 200 must have.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"format": Pointer::FORMAT}))]
    pub success: IndexMap<Pointer, Value>,
    /// Error codes that mean that the grant was already revoked.
    #[serde(default)]
    pub gone: Vec<String>,
    /// Statuses that mean the same.
    #[serde(default)]
    pub gone_status: Vec<u16>,
}

impl Revocation {
    /// Returns a standard revocation (RFC 7009 section 2.1) at a discovered endpoint.
    pub fn rfc7009(url: Template) -> Self {
        Self {
            url,
            method: HttpMethod::Post,
            auth: RevocationAuth::Client,
            body: BodyFormat::Form,
            headers: IndexMap::new(),
            params: None,
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
    /// HTTP Basic with the client's ID and secret, whatever the token endpoint uses.
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
    /// Each refresh returns a new refresh token and invalidates the old one.
    Always,
    Never,
    /// Depends on the app's settings or is unknown: a new refresh token is stored, otherwise the old one stays.
    #[default]
    Sometimes,
}

impl RefreshTokenRotation {
    /// Parses a value as connector files write it; None for any other word.
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
    /// The parameter for the redirect URI.
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
