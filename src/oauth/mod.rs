//! OAuth 2.0 as a client: authorization code with PKCE through a loopback redirect, device code, client credentials,
//! refresh, revocation, discovery and registration.
//!
//! The rules are RFC 9700 (security), 8252 (native apps), 7636 (PKCE), 9207 (`iss`), 8628 (device), 7009 (revocation),
//! 8414 (metadata), 9728 (resource metadata), 7591 (registration), 7523 (assertions) and 8705 (mutual TLS). The protocol itself is the `oauth2` crate's; [`quirks`] translates between it and what vendors really
//! send, so that everything above sees the standard alone.

mod assertion;
pub mod authorize;
pub mod callback;
pub mod callback_listener;
mod client;
pub mod device;
pub mod discovery;
mod duplicate_members;
pub mod id_token;
pub mod issuer_keys;
pub mod lifetime;
pub mod outcome_page;
mod peer_guard;
pub mod protected_resource;
pub mod quirks;
pub mod refresh;
pub mod registration;
pub mod reveal;
pub mod revoke;
pub mod start_page;
mod token_response;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;
use url::Url;

pub use client::OAuthClient;

use crate::connector::{AuthMethod, ClientAuth, GrantType, OAuth2, Template, TemplateError, Values};
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::http::HttpError;
use crate::http::loopback::BindError;
use crate::model::Account;
use crate::runtime::SessionError;
use crate::secret::Secret;
use crate::signing::assertion::AssertionError;

/// What a token endpoint gave.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access_token: Secret,
    /// Absent where the answer leaves it out: a refresh then keeps the old one (RFC 6749 section 6).
    pub refresh_token: Option<Secret>,
    /// Seconds that the access token lives, as the answer or the connector says.
    pub expires_in: Option<u32>,
    /// Seconds that the refresh token lives.
    pub refresh_expires_in: Option<u32>,
    /// Absent if the answer does not say: the requested ones are granted (RFC 6749 section 5.1).
    pub scopes: Option<Vec<String>>,
    pub metadata: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Secret>,
    /// Whose account it is, where the answer holds an ID token.
    pub account: Option<Account>,
}

/// Where the vendor's OAuth is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerMetadata {
    /// The server has published metadata: what it leaves out, it does not have.
    pub is_published: bool,
    pub issuer: Option<String>,
    /// The server says that it sends `iss` with every redirect (RFC 9207).
    pub supports_iss_parameter: bool,
    pub authorization_endpoint: Option<Url>,
    pub token_endpoint: Option<Url>,
    pub refresh_endpoint: Option<Url>,
    pub device_authorization_endpoint: Option<Url>,
    pub revocation_endpoint: Option<Url>,
    pub userinfo_endpoint: Option<Url>,
    /// Where a client registers itself (RFC 7591).
    pub registration_endpoint: Option<Url>,
    /// A client id may be the URL of a document that describes the client.
    pub supports_client_metadata_document: bool,
    /// The client authentication methods that the metadata lists; absent where it does not say.
    pub auth_methods: Option<Vec<String>>,
    /// How the client shows its secret, where the metadata leaves one method only.
    #[serde(serialize_with = "client_auth_word")]
    pub client_auth: Option<ClientAuth>,
    /// The metadata lists `client_secret_post`.
    pub supports_client_secret_post: bool,
    /// The PKCE methods that the metadata lists; absent where there is no metadata or it does not say.
    pub code_challenge_methods: Option<Vec<String>>,
    /// The scopes that the metadata lists; a server need not list any.
    pub scopes_supported: Vec<String>,
    /// The endpoints for clients that show a certificate, by their names in the metadata.
    pub mtls_endpoints: BTreeMap<String, Url>,
}

/// Writes the word that connector files have, from which it is read.
fn client_auth_word<S: Serializer>(method: &Option<ClientAuth>, serializer: S) -> Result<S::Ok, S::Error> {
    let word = method.map(|method| match method {
        ClientAuth::Basic => "basic",
        ClientAuth::Post => "post",
        ClientAuth::None => "none",
        ClientAuth::PrivateKeyJwt => "private_key_jwt",
        ClientAuth::TlsClientAuth => "tls_client_auth",
    });
    word.serialize(serializer)
}

impl ServerMetadata {
    /// Those that the connector's file names. A template with an optional parameter that has no value is not an endpoint.
    ///
    /// # Errors
    /// [`OAuthError::Template`] where something else is missing or no URL comes out.
    pub fn declared(rules: &OAuth2, values: &Values) -> Result<Self, OAuthError> {
        let fill = |template: &Option<Template>| match template {
            Some(template) if template.is_complete(values) => template.fill_url(values).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            authorization_endpoint: fill(&rules.authorize_url)?,
            token_endpoint: fill(&rules.token_url)?,
            refresh_endpoint: fill(&rules.refresh_url)?,
            device_authorization_endpoint: fill(&rules.device_url)?,
            ..Self::default()
        })
    }

    /// These, and from another document what they lack.
    fn or(self, other: Self) -> Self {
        Self {
            is_published: self.is_published || other.is_published,
            issuer: self.issuer.or(other.issuer),
            supports_iss_parameter: self.supports_iss_parameter || other.supports_iss_parameter,
            authorization_endpoint: self.authorization_endpoint.or(other.authorization_endpoint),
            token_endpoint: self.token_endpoint.or(other.token_endpoint),
            refresh_endpoint: self.refresh_endpoint.or(other.refresh_endpoint),
            device_authorization_endpoint: self.device_authorization_endpoint.or(other.device_authorization_endpoint),
            revocation_endpoint: self.revocation_endpoint.or(other.revocation_endpoint),
            userinfo_endpoint: self.userinfo_endpoint.or(other.userinfo_endpoint),
            registration_endpoint: self.registration_endpoint.or(other.registration_endpoint),
            supports_client_metadata_document: self.supports_client_metadata_document
                || other.supports_client_metadata_document,
            auth_methods: self.auth_methods.or(other.auth_methods),
            client_auth: self.client_auth.or(other.client_auth),
            supports_client_secret_post: self.supports_client_secret_post || other.supports_client_secret_post,
            code_challenge_methods: self.code_challenge_methods.or(other.code_challenge_methods),
            mtls_endpoints: if self.mtls_endpoints.is_empty() { other.mtls_endpoints } else { self.mtls_endpoints },
            scopes_supported: if self.scopes_supported.is_empty() {
                other.scopes_supported
            } else {
                self.scopes_supported
            },
        }
    }

    /// Takes the endpoints for clients that show a certificate in place of the usual ones.
    fn use_mtls_endpoints(&mut self) {
        for (name, place) in [
            ("token_endpoint", &mut self.token_endpoint),
            ("device_authorization_endpoint", &mut self.device_authorization_endpoint),
            ("revocation_endpoint", &mut self.revocation_endpoint),
            ("userinfo_endpoint", &mut self.userinfo_endpoint),
        ] {
            if let Some(url) = self.mtls_endpoints.get(name) {
                *place = Some(url.clone());
            }
        }
    }

    /// Whether no other document could add an endpoint.
    fn is_complete(&self) -> bool {
        [
            &self.authorization_endpoint,
            &self.token_endpoint,
            &self.device_authorization_endpoint,
            &self.revocation_endpoint,
            &self.userinfo_endpoint,
        ]
        .iter()
        .all(|url| url.is_some())
    }
}

/// Why no grant came of it.
#[derive(Debug, Error)]
pub enum OAuthError {
    #[error("the authorization was refused ({code})")]
    Denied {
        code: String,
        #[source]
        description: Option<ErrorDescription>,
    },
    /// The grant has ended; the user must reconnect.
    #[error("the service refused the grant ({code})")]
    InvalidGrant {
        code: String,
        #[source]
        description: Option<ErrorDescription>,
    },
    #[error("the service refused the request ({code})")]
    ErrorResponse {
        code: String,
        #[source]
        description: Option<ErrorDescription>,
    },
    #[error("the service answered {status}; try again{}", retry_after.map_or(String::new(), |after| format!(" in {} s", after.as_secs())))]
    ServerUnavailable { status: u16, retry_after: Option<Duration> },
    #[error("invalid answer from {endpoint}: {reason}")]
    MalformedResponse { endpoint: &'static str, reason: String },
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("cannot build the request")]
    Template(#[from] TemplateError),
    #[error("cannot sign the request")]
    Signing(#[from] AssertionError),
    #[error(transparent)]
    Certificate(#[from] SessionError),
    /// `seconds` is how far this machine's clock is ahead of the server's.
    #[error("the server rejects what this machine signs: its clock is {} the server's ({reason})", clock_offset(*seconds))]
    ClockSkew { seconds: i64, reason: String },
    #[error("the {0} endpoint is unknown")]
    MissingEndpoint(&'static str),
    /// `named` is the issuer that the metadata names instead, on the same host.
    #[error("invalid metadata of {issuer}: {reason}")]
    InvalidMetadata { issuer: String, reason: String, metadata_issuer: Option<String> },
    #[error("{issuer} publishes no metadata: {reason}")]
    MetadataNotFound { issuer: String, reason: String },
    #[error("cannot read the metadata of {issuer}: {reason}")]
    DiscoveryUnavailable { issuer: String, reason: String },
    #[error("the answer came from {received:?}, not from {expected:?}: it may be an attack (RFC 9207)")]
    IssuerMismatch { expected: String, received: String },
    #[error(transparent)]
    Bind { source: BindError },
    #[error("cannot serve the redirect page")]
    Serve { source: std::io::Error },
    #[error("the sign-in was not completed within {} s", retry_after.as_secs())]
    TimedOut { retry_after: Duration },
    #[error("the device code expired before it was entered")]
    DeviceCodeExpired,
    #[error("{support}")]
    S256Unsupported { support: PkceSupport },
    #[error("the server does not register integ as a client ({code})")]
    RegistrationRefused {
        code: String,
        #[source]
        description: Option<ErrorDescription>,
    },
}

/// How far a clock is off, in words.
fn clock_offset(seconds: i64) -> String {
    let apart = seconds.unsigned_abs();
    let rounded = |size: u64| (apart + size / 2) / size;
    let apart = match apart {
        0..=119 => format!("{apart} s"),
        120..=5_399 => format!("{} min", rounded(60)),
        5_400..=172_799 => format!("{} h", rounded(3_600)),
        _ => format!("{} days", rounded(86_400)),
    };
    if seconds > 0 { format!("{apart} ahead of") } else { format!("{apart} behind") }
}

/// What a server's metadata says of PKCE where S256 is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PkceSupport {
    /// `plain` alone.
    PlainOnly,
    /// The list is there and has no method that is known.
    NoMethod,
    /// There is no list.
    Unstated,
}

impl PkceSupport {
    fn of(methods: Option<&[String]>) -> Self {
        match methods {
            None => Self::Unstated,
            Some(methods) if methods.iter().any(|method| method == "plain") => Self::PlainOnly,
            Some(_) => Self::NoMethod,
        }
    }
}

impl std::fmt::Display for PkceSupport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PlainOnly => "the server supports only plain PKCE, which protects nothing",
            Self::NoMethod => "the server's metadata says that it does not support PKCE",
            Self::Unstated => {
                "the server's metadata does not say that it supports PKCE, and without it the sign-in is not safe"
            }
        })
    }
}

/// What the vendor says of an error: untrusted text, bounded; callers escape it before printing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorDescription(String);

impl ErrorDescription {
    /// Trims the vendor's text and cuts it after 300 characters. Returns `None` if nothing is left.
    pub fn new(text: &str) -> Option<Self> {
        const LONGEST: usize = 300;
        let text: String = text.trim().chars().take(LONGEST).collect();
        (!text.is_empty()).then_some(Self(text))
    }
}

impl std::fmt::Display for ErrorDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ErrorDescription {}

impl OAuthError {
    /// What the vendor said of it.
    pub fn description(&self) -> Option<&ErrorDescription> {
        match self {
            Self::Denied { description, .. }
            | Self::InvalidGrant { description, .. }
            | Self::ErrorResponse { description, .. }
            | Self::RegistrationRefused { description, .. } => description.as_ref(),
            _ => None,
        }
    }
}

impl Remedy for OAuthError {
    fn diagnostic(&self) -> Diagnostic {
        self.diagnostic_for("CONNECTOR", "integ connect CONNECTOR", &AuthCapabilities::default())
    }
}

/// What a connector's authentication method offers, for hints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthCapabilities {
    /// The device code grant.
    pub has_device_code: bool,
    /// A redirect to an address that the user can paste.
    pub has_paste: bool,
    /// The parameters that choose PKCE and the client's authentication.
    pub pkce_param: Option<String>,
    pub client_auth_param: Option<String>,
    /// The field with the key for requesting tokens.
    pub key_field: Option<String>,
}

impl AuthCapabilities {
    /// Returns what an authentication method offers, from its grants and parameters.
    pub fn from_auth(auth: &AuthMethod) -> Self {
        let grants = |kind| auth.oauth2.as_ref().is_some_and(|rules| rules.grants.contains(&kind));
        Self {
            has_device_code: grants(GrantType::DeviceCode),
            has_paste: grants(GrantType::AuthorizationCode) || auth.fragment.is_some(),
            pkce_param: auth.oauth2.as_ref().and_then(|rules| rules.pkce_param.clone()),
            client_auth_param: auth.oauth2.as_ref().and_then(|rules| rules.client_auth_param.clone()),
            key_field: auth.main_field().filter(|_| auth.oauth2.is_some()).map(str::to_owned),
        }
    }

    /// The command that gives another key.
    fn key_command(&self, connect: &str) -> String {
        let field = self.key_field.as_deref().unwrap_or("NAME");
        format!("{connect} --param {field}=@FILE")
    }

    /// The flags that need no redirect to this machine.
    fn redirectless_flag(&self) -> Option<&'static str> {
        match (self.has_paste, self.has_device_code) {
            (true, true) => Some("--paste or --device need no redirect"),
            (true, false) => Some("--paste needs no redirect"),
            (false, true) => Some("--device needs no redirect"),
            (false, false) => None,
        }
    }
}

impl OAuthError {
    /// What it means for one connector; `connect` is the command that connects it as it was asked for.
    pub fn diagnostic_for(&self, connector: &str, connect: &str, offers: &AuthCapabilities) -> Diagnostic {
        match self {
            Self::Denied { .. } => Diagnostic::new(Kind::AuthNeeded, "access_denied"),
            Self::InvalidGrant { .. } => Diagnostic::new(Kind::AuthNeeded, "needs_reauth"),
            Self::ErrorResponse { .. } => Diagnostic::new(Kind::Rejected, "oauth_error"),
            Self::ServerUnavailable { .. } | Self::DiscoveryUnavailable { .. } => {
                Diagnostic::new(Kind::Temporary, "vendor_unavailable")
            }
            Self::MalformedResponse { .. } => Diagnostic::new(Kind::Rejected, "malformed_response"),
            Self::Http(error) => error.diagnostic(),
            Self::Signing(_) => Diagnostic::new(Kind::Rejected, "invalid_key"),
            Self::Certificate(error) => error.diagnostic(),
            Self::ClockSkew { .. } => Diagnostic::new(Kind::Temporary, "clock_skew"),
            Self::Template(_) => Diagnostic::new(Kind::Usage, "missing_value"),
            Self::MissingEndpoint(_) => Diagnostic::new(Kind::Usage, "missing_endpoint"),
            Self::InvalidMetadata { .. } | Self::MetadataNotFound { .. } => {
                Diagnostic::new(Kind::Rejected, "discovery_failed")
            }
            Self::IssuerMismatch { .. } => Diagnostic::new(Kind::Rejected, "issuer_mismatch"),
            Self::Bind { .. } | Self::Serve { .. } => Diagnostic::new(Kind::Failed, "listen_failed"),
            Self::TimedOut { .. } => Diagnostic::new(Kind::AuthNeeded, "timed_out"),
            Self::DeviceCodeExpired => Diagnostic::new(Kind::AuthNeeded, "device_code_expired"),
            Self::S256Unsupported { .. } => Diagnostic::new(Kind::Rejected, "pkce_unsupported"),
            Self::RegistrationRefused { .. } => Diagnostic::new(Kind::Rejected, "registration_refused"),
        }
        .maybe_hint(self.hint_for(connector, connect, offers))
    }

    /// Several variants need a look into what the vendor said, so that this is no part of the table above.
    pub fn hint_for(&self, connector: &str, connect: &str, offers: &AuthCapabilities) -> Option<Hint> {
        match self {
            Self::ClockSkew { .. } => Some(Hint::new("set the clock, and check it with", "date")),
            Self::Signing(_) => Some(Hint::new("give another key:", offers.key_command(connect))),
            Self::ErrorResponse { code, .. }
                if offers.key_field.is_some() && matches!(code.as_str(), "invalid_client" | "unauthorized_client") =>
            {
                Some(Hint::new(
                    "check that this key is registered for this client; to use another key:",
                    offers.key_command(connect),
                ))
            }
            Self::InvalidGrant { .. } if offers.key_field.is_some() => Some(Hint::new(
                "if you replaced the key at the service, give the new one:",
                offers.key_command(connect),
            )),
            Self::ErrorResponse { code, .. } if matches!(code.as_str(), "invalid_client" | "unauthorized_client") => {
                let otherwise = offers.client_auth_param.as_ref().map_or_else(String::new, |param| {
                    format!("if the server expects it in another form, `{connect} --param {param}=post`; ")
                });
                let text = format!("{otherwise}check the client id and secret:");
                Some(Hint::new(text, format!("integ app set {connector}")))
            }
            Self::ErrorResponse { code, .. } | Self::Denied { code, .. } if code == "invalid_scope" => {
                Some(Hint::new("list the scopes of the service:", format!("integ connector show {connector}")))
            }
            Self::Denied { code, .. } | Self::ErrorResponse { code, .. }
                if code == "invalid_request" && offers.pkce_param.is_some() =>
            {
                let command = offers.pkce_param.as_ref().map(|param| format!("{connect} --param {param}=never"));
                command.map(|command| Hint::new("if the server does not know PKCE:", command))
            }
            Self::S256Unsupported { .. } => {
                offers.pkce_param.as_ref().map(|param| Hint::run(format!("{connect} --param {param}=never")))
            }
            Self::RegistrationRefused { .. } => {
                Some(Hint::new("register integ with the service by hand, then", format!("{connect} --client-id ID")))
            }
            Self::InvalidMetadata { metadata_issuer: Some(named), .. } => {
                let named = shlex::try_quote(named).ok()?;
                Some(Hint::new("if that is the server you mean:", format!("{connect} --param issuer={named}")))
            }
            Self::ErrorResponse { code, .. } if code == "redirect_uri_mismatch" => Some(Hint::text(
                "register the redirect URI that was printed, or give the registered one with --redirect-uri",
            )),
            Self::Http(error) => error.hint(),
            Self::Bind { .. } | Self::Serve { .. } => Some(Hint::new(
                "choose another port with --port if the app allows that redirect URI; or use no port:",
                format!("{connect} --paste"),
            )),
            Self::TimedOut { .. } | Self::DeviceCodeExpired => {
                let other = offers.redirectless_flag().filter(|_| matches!(self, Self::TimedOut { .. }));
                let other = other.map(|other| format!("{other}; or ")).unwrap_or_default();
                Some(Hint::new(format!("{other}run it again with more time:"), format!("{connect} --timeout 15m")))
            }
            Self::Denied { .. } | Self::InvalidGrant { .. } => Some(Hint::new("run it again:", connect)),
            Self::MissingEndpoint(name) => {
                Some(Hint::text(format!("give it with --param {name}_url=URL, or --issuer URL")))
            }
            _ => None,
        }
    }

    /// The kind, code and sentence for a stored reason: `invalid_grant: Token has been revoked`.
    pub fn reason(&self) -> String {
        match (self, self.description()) {
            (
                Self::InvalidGrant { code, .. } | Self::Denied { code, .. } | Self::ErrorResponse { code, .. },
                Some(text),
            ) => {
                format!("{code}: {text}")
            }
            (Self::InvalidGrant { code, .. } | Self::Denied { code, .. } | Self::ErrorResponse { code, .. }, None) => {
                code.clone()
            }
            (other, _) => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_metadata_is_read_as_it_was() {
        let methods = [
            ClientAuth::Basic,
            ClientAuth::Post,
            ClientAuth::None,
            ClientAuth::PrivateKeyJwt,
            ClientAuth::TlsClientAuth,
        ];
        for client_auth in methods.map(Some).into_iter().chain([None]) {
            let token_endpoint = Url::parse("https://as.example/token").ok();
            let metadata = ServerMetadata { client_auth, token_endpoint, is_published: true, ..Default::default() };
            let text = serde_json::to_string(&metadata).unwrap();
            assert_eq!(serde_json::from_str::<ServerMetadata>(&text).unwrap(), metadata, "{text}");
        }
    }
}
