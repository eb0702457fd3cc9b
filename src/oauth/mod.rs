//! OAuth 2.0 as a client: authorization code with PKCE through a loopback redirect, device code, client credentials,
//! refresh, revocation and discovery.
//!
//! The rules are RFC 9700 (security), 8252 (native apps), 7636 (PKCE), 9207 (`iss`), 8628 (device), 7009 (revocation) and
//! 8414 (metadata). The protocol itself is the `oauth2` crate's; [`dialect`] stands between it and what vendors really
//! send, so that everything above sees the standard alone.

pub mod access;
mod answer;
pub mod authorize;
pub mod callback;
mod client;
pub mod device;
pub mod dialect;
pub mod discovery;
mod guard;
pub mod id_token;
pub mod lifetime;
pub mod listener;
pub mod revoke;
pub mod start;
mod unique;

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;
use url::Url;

pub use client::Party;

use crate::connector::{Auth, ClientAuth, GrantKind, OAuth2, Template, TemplateError, Values};
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::http::HttpError;
use crate::http::loopback::BindError;
use crate::model::Account;
use crate::secret::Secret;

/// What a token endpoint gave.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access_token: Secret,
    /// Absent where the answer leaves it out: a refresh then keeps the old one (RFC 6749 section 6).
    pub refresh_token: Option<Secret>,
    /// Seconds that the access token lives, as the answer or the connector says.
    pub lifetime: Option<u32>,
    /// Seconds that the refresh token lives.
    pub refresh_lifetime: Option<u32>,
    /// Absent where the answer does not say: those asked for are granted (RFC 6749 section 5.1).
    pub scopes: Option<Vec<String>>,
    pub kept: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Secret>,
    /// Whose account it is, where the answer holds an ID token.
    pub account: Option<Account>,
}

/// Where the vendor's OAuth is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    pub issuer: Option<String>,
    /// The server says that it sends `iss` with every redirect (RFC 9207).
    pub sends_issuer: bool,
    pub authorize: Option<Url>,
    pub token: Option<Url>,
    pub refresh: Option<Url>,
    pub device: Option<Url>,
    pub revoke: Option<Url>,
    pub userinfo: Option<Url>,
    /// How the client shows its secret, where the metadata leaves one way only.
    pub client_auth: Option<ClientAuth>,
    /// The metadata lists `client_secret_post`.
    pub takes_post: bool,
    /// The PKCE methods that the metadata lists; absent where there is no metadata or it does not say.
    pub pkce_methods: Option<Vec<String>>,
    /// The scopes that the metadata lists; a server need not list any.
    pub scopes: Vec<String>,
}

impl Endpoints {
    /// Those that the connector's file names. A template that names an optional parameter nobody gave is no endpoint.
    ///
    /// # Errors
    /// [`OAuthError::Template`] where something else is missing or no URL comes out.
    pub fn declared(rules: &OAuth2, values: &Values) -> Result<Self, OAuthError> {
        let fill = |template: &Option<Template>| match template {
            Some(template) if template.is_complete(values) => template.fill_url(values).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            authorize: fill(&rules.authorize_url)?,
            token: fill(&rules.token_url)?,
            refresh: fill(&rules.refresh_url)?,
            device: fill(&rules.device_url)?,
            ..Self::default()
        })
    }

    /// These, and from another document what they lack.
    fn or(self, other: Self) -> Self {
        Self {
            issuer: self.issuer.or(other.issuer),
            sends_issuer: self.sends_issuer || other.sends_issuer,
            authorize: self.authorize.or(other.authorize),
            token: self.token.or(other.token),
            refresh: self.refresh.or(other.refresh),
            device: self.device.or(other.device),
            revoke: self.revoke.or(other.revoke),
            userinfo: self.userinfo.or(other.userinfo),
            client_auth: self.client_auth.or(other.client_auth),
            takes_post: self.takes_post || other.takes_post,
            pkce_methods: self.pkce_methods.or(other.pkce_methods),
            scopes: if self.scopes.is_empty() { other.scopes } else { self.scopes },
        }
    }

    /// Whether no other document could add an endpoint.
    fn is_whole(&self) -> bool {
        [&self.authorize, &self.token, &self.device, &self.revoke, &self.userinfo].iter().all(|url| url.is_some())
    }
}

/// Why no grant came of it.
#[derive(Debug, Error)]
pub enum OAuthError {
    #[error("the authorization was refused ({code})")]
    Denied {
        code: String,
        #[source]
        description: Option<Described>,
    },
    /// The grant is dead for good: only a person can mend it.
    #[error("the vendor refused the grant ({code})")]
    Refused {
        code: String,
        #[source]
        description: Option<Described>,
    },
    #[error("the vendor refused the request ({code})")]
    Rejected {
        code: String,
        #[source]
        description: Option<Described>,
    },
    #[error("the vendor answered {status}; try again{}", after.map_or(String::new(), |after| format!(" in {} s", after.as_secs())))]
    Temporary { status: u16, after: Option<Duration> },
    #[error("the answer of {endpoint} cannot be used: {why}")]
    Malformed { endpoint: &'static str, why: String },
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the request cannot be made: {0}")]
    Template(#[from] TemplateError),
    #[error("nothing says where the {0} endpoint is")]
    NoEndpoint(&'static str),
    /// `named` is the issuer that the metadata names instead, on the same host.
    #[error("the metadata of {issuer} cannot be used: {why}")]
    Discovery { issuer: String, why: String, named: Option<String> },
    #[error("the metadata of {issuer} cannot be read now: {why}")]
    Unavailable { issuer: String, why: String },
    #[error("the answer came from {got:?}, not from {expected:?}: it may be an attack (RFC 9207)")]
    Issuer { expected: String, got: String },
    #[error(transparent)]
    Listener { source: BindError },
    #[error("cannot serve the redirect page")]
    Serve { source: std::io::Error },
    #[error("nobody finished the sign-in within {} s", after.as_secs())]
    TimedOut { after: Duration },
    #[error("the device code expired before anybody entered it")]
    DeviceExpired,
    #[error("{}", if *.plain { "the server supports only plain PKCE, which protects nothing" } else { "the server's metadata says that it does not support PKCE" })]
    NoS256 { plain: bool },
}

/// What the vendor says of an error: untrusted text, bounded; whoever prints it escapes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described(String);

impl Described {
    pub fn new(text: &str) -> Option<Self> {
        const LONGEST: usize = 300;
        let text: String = text.trim().chars().take(LONGEST).collect();
        (!text.is_empty()).then_some(Self(text))
    }
}

impl std::fmt::Display for Described {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Described {}

impl OAuthError {
    /// What the vendor said of it.
    pub fn description(&self) -> Option<&Described> {
        match self {
            Self::Denied { description, .. }
            | Self::Refused { description, .. }
            | Self::Rejected { description, .. } => description.as_ref(),
            _ => None,
        }
    }
}

impl Remedy for OAuthError {
    fn diagnostic(&self) -> Diagnostic {
        self.diagnostic_for("CONNECTOR", "integ connect CONNECTOR", &Offers::default())
    }
}

/// What a connector's way of authenticating offers that hints may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// The device code grant.
    pub device: bool,
    /// A redirect whose address can be pasted.
    pub paste: bool,
    /// The parameters that choose PKCE and the client's authentication.
    pub pkce: Option<String>,
    pub client_auth: Option<String>,
}

impl Offers {
    pub fn of(auth: &Auth) -> Self {
        let grants = |kind| auth.oauth2.as_ref().is_some_and(|rules| rules.grants.contains(&kind));
        Self {
            device: grants(GrantKind::DeviceCode),
            paste: grants(GrantKind::AuthorizationCode) || auth.fragment.is_some(),
            pkce: auth.oauth2.as_ref().and_then(|rules| rules.pkce_param.clone()),
            client_auth: auth.oauth2.as_ref().and_then(|rules| rules.client_auth_param.clone()),
        }
    }

    /// The flags that need no redirect to this machine.
    fn without_redirect(&self) -> Option<&'static str> {
        match (self.paste, self.device) {
            (true, true) => Some("--paste or --device need no redirect"),
            (true, false) => Some("--paste needs no redirect"),
            (false, true) => Some("--device needs no redirect"),
            (false, false) => None,
        }
    }
}

impl OAuthError {
    /// What it means for one connector; `connect` is the command that connects it as it was asked for.
    pub fn diagnostic_for(&self, connector: &str, connect: &str, offers: &Offers) -> Diagnostic {
        match self {
            Self::Denied { .. } => Diagnostic::new(Kind::AuthNeeded, "denied"),
            Self::Refused { .. } => Diagnostic::new(Kind::AuthNeeded, "needs_reauth"),
            Self::Rejected { .. } => Diagnostic::new(Kind::Failed, "rejected"),
            Self::Temporary { .. } | Self::Unavailable { .. } => Diagnostic::new(Kind::Temporary, "vendor_unavailable"),
            Self::Malformed { .. } => Diagnostic::new(Kind::Failed, "malformed_answer"),
            Self::Http(error) => error.diagnostic(),
            Self::Template(_) => Diagnostic::new(Kind::Usage, "missing_value"),
            Self::NoEndpoint(_) => Diagnostic::new(Kind::Usage, "no_endpoint"),
            Self::Discovery { .. } => Diagnostic::new(Kind::Failed, "discovery_failed"),
            Self::Issuer { .. } => Diagnostic::new(Kind::Failed, "issuer_mismatch"),
            Self::Listener { .. } | Self::Serve { .. } => Diagnostic::new(Kind::Failed, "listener"),
            Self::TimedOut { .. } => Diagnostic::new(Kind::AuthNeeded, "timed_out"),
            Self::DeviceExpired => Diagnostic::new(Kind::AuthNeeded, "device_expired"),
            Self::NoS256 { .. } => Diagnostic::new(Kind::Failed, "pkce_unsupported"),
        }
        .maybe_hint(self.hint_for(connector, connect, offers))
    }

    /// Several variants need a look into what the vendor said, so that this is no part of the table above.
    pub fn hint_for(&self, connector: &str, connect: &str, offers: &Offers) -> Option<Hint> {
        match self {
            Self::Rejected { code, .. } if matches!(code.as_str(), "invalid_client" | "unauthorized_client") => {
                let otherwise = offers.client_auth.as_ref().map_or_else(String::new, |param| {
                    format!("if the server wants it sent otherwise, `{connect} --param {param}=post`; ")
                });
                let text = format!("{otherwise}check the client id and secret:");
                Some(Hint::new(text, format!("integ app set {connector}")))
            }
            Self::Rejected { code, .. } | Self::Denied { code, .. } if code == "invalid_scope" => {
                Some(Hint::new("ask for other scopes:", format!("{connect} --scope SCOPE")))
            }
            Self::Denied { code, .. } | Self::Rejected { code, .. }
                if code == "invalid_request" && offers.pkce.is_some() =>
            {
                let command = offers.pkce.as_ref().map(|param| format!("{connect} --param {param}=never"));
                command.map(|command| Hint::new("if the server does not know PKCE:", command))
            }
            Self::NoS256 { .. } => {
                offers.pkce.as_ref().map(|param| Hint::run(format!("{connect} --param {param}=never")))
            }
            Self::Discovery { named: Some(named), .. } => {
                let named = shlex::try_quote(named).ok()?;
                Some(Hint::new("if that is the server you mean:", format!("{connect} --param issuer={named}")))
            }
            Self::Rejected { code, .. } if code == "redirect_uri_mismatch" => Some(Hint::text(
                "register the redirect URI that was printed, or give the registered one with --redirect-uri",
            )),
            Self::Http(error) => error.hint(),
            Self::Listener { .. } | Self::Serve { .. } => Some(Hint::new(
                "--port takes another port, if the app allows its redirect URI; or do without one:",
                format!("{connect} --paste"),
            )),
            Self::TimedOut { .. } | Self::DeviceExpired => {
                let other = offers.without_redirect().filter(|_| matches!(self, Self::TimedOut { .. }));
                let other = other.map(|other| format!("{other}; or ")).unwrap_or_default();
                Some(Hint::new(format!("{other}run it again with more time:"), format!("{connect} --timeout 15m")))
            }
            Self::Denied { .. } | Self::Refused { .. } => Some(Hint::new("run it again:", connect)),
            Self::NoEndpoint(name) => Some(Hint::text(format!("give it with --param {name}_url=URL, or --issuer URL"))),
            _ => None,
        }
    }

    /// The kind, code and sentence for a stored reason: `invalid_grant: Token has been revoked`.
    pub fn reason(&self) -> String {
        match (self, self.description()) {
            (Self::Refused { code, .. } | Self::Denied { code, .. } | Self::Rejected { code, .. }, Some(text)) => {
                format!("{code}: {text}")
            }
            (Self::Refused { code, .. } | Self::Denied { code, .. } | Self::Rejected { code, .. }, None) => {
                code.clone()
            }
            (other, _) => other.to_string(),
        }
    }
}
