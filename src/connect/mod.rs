//! Connects and disconnects accounts: from a connector and a user to a grant in the vault, and back.

mod api_key;
mod apps;
mod callback;
mod credential_input;
mod disconnect;
mod flow;
mod follow_up;
mod guide;
mod oauth;
pub mod pending;
mod prompter;
mod reconnect;
mod rename;
mod resource;
mod save;
mod unattended;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thiserror::Error;
use url::Url;

pub use apps::{AppSource, RegisteredApp, find_client};
pub use disconnect::{DisconnectResult, disconnect};
use flow::Previous;
pub use flow::connect;
pub use prompter::{ConnectEvent, DefaultAnswer, PromptError, PromptQuestion, Prompter, WaitsFor};
pub use reconnect::{ReconnectOptions, reconnect, reconnect_request};
pub use rename::{RenameError, rename};
pub use resource::parse_url;

use crate::connector::AuthorizationServer;
use crate::connector::scopes::add_scope_command;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::model::{
    ClientCredentials, Connection, ConnectionMode, ConnectionName, UserId, connect_command, reconnect_command,
};
use crate::oauth::protected_resource::ResourceError;
use crate::oauth::{AuthCapabilities, OAuthError, callback_listener};
use crate::secret::Secret;

/// What the user asks of `integ connect`.
#[derive(Clone, Debug, Default)]
pub struct ConnectRequest {
    pub connector: String,
    /// The URL of a server that says itself how to sign in, in place of a connector.
    pub url: Option<Url>,
    pub account: Option<String>,
    /// The authentication method; the connector's usual one if absent.
    pub auth: Option<String>,
    /// Scopes to request, instead of the connector's defaults.
    pub scopes: Vec<String>,
    /// In addition to the requested scopes of the connection, or the defaults.
    pub added_scopes: Vec<String>,
    /// `scopes` may leave out what the connection was granted, without a question.
    pub drops_scopes: bool,
    pub params: BTreeMap<String, String>,
    /// What `--param NAME=@FILE` read, by name.
    pub files: BTreeMap<String, Secret>,
    pub client_credentials: bool,
    pub sign_in: SignInOptions,
    /// A token or a key is read instead of asking the vendor for one.
    pub token: Option<Secret>,
    pub client: Option<ClientCredentials>,
    pub origin: Option<Url>,
    /// The caller's end user whom the account belongs to; absent to leave the connection's as it is.
    pub user: Option<UserId>,
    pub is_sandbox: bool,
    /// Others than the owner chose the parameters: hosts among them must be public, or allowed by `http.allow`.
    pub is_guarded: bool,
    pub purpose: ConnectPurpose,
}

/// How the person signs in: on which screen, and where the callback comes to.
#[derive(Clone, Debug, Default)]
pub struct SignInOptions {
    /// A code is entered on another screen.
    pub device: bool,
    /// The callback URL is pasted: nothing is listened on.
    pub is_paste: bool,
    pub redirect: callback_listener::RedirectOptions,
    pub open_browser: bool,
    pub timeout: Duration,
}

/// The purpose of a sign-in, which decides what happens if the user signs in as another account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectPurpose {
    /// Another account than the connection's is stored under a name of its own.
    #[default]
    Connect,
    /// The connection is to work again: another account is refused.
    Reconnect,
}

/// The service that is to be connected, and the command that asks for it as it was asked for: what hints are made of, so
/// that none leads from the sandbox to the real service, or from one origin to another.
#[derive(Clone, Debug)]
pub struct ConnectCommand {
    pub connector: String,
    pub command: String,
}

impl fmt::Display for ConnectCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.connector)
    }
}

impl ConnectRequest {
    /// Returns the mode that the connection will have; it never changes afterwards.
    pub fn mode(&self) -> ConnectionMode {
        if self.is_sandbox { ConnectionMode::Sandbox } else { ConnectionMode::Live }
    }

    fn command(&self) -> ConnectCommand {
        let connector = self.connector.clone();
        let name = ConnectionName::new(&connector, self.account.as_deref());
        if let (Some(url), ConnectPurpose::Connect) = (&self.url, self.purpose) {
            let mut command = format!("integ connect {}", resource::quoted(url));
            command.extend(self.account.iter().map(|account| format!(" --as {account}")));
            command.push_str(if self.is_sandbox { " --sandbox" } else { "" });
            return ConnectCommand { connector, command };
        }
        if let (Ok(name), ConnectPurpose::Reconnect) = (&name, self.purpose) {
            return ConnectCommand { connector, command: reconnect_command(name) };
        }
        let mut command = name.map_or_else(
            |_| "integ connect CONNECTOR".to_owned(),
            |name| connect_command(&name, self.mode(), self.origin.as_ref()),
        );
        if let Some(auth) = self.auth.as_ref().and_then(|auth| shlex::try_quote(auth).ok()) {
            command.push_str(&format!(" --auth {auth}"));
        }
        ConnectCommand { connector, command }
    }
}

impl ConnectRequest {
    /// Returns the command that connects the same under another account's name.
    fn command_as(&self, account: &str) -> String {
        let other = Self { account: Some(account.to_owned()), purpose: ConnectPurpose::Connect, ..self.clone() };
        let mut command = other.command().command;
        if self.url.is_none() {
            for (name, value) in &self.params {
                let given = format!("{name}={value}");
                command.push_str(&format!(" --param {}", shlex::try_quote(&given).unwrap_or_default()));
            }
        }
        if let Some(user) = &self.user {
            command.push_str(&format!(" --user {}", shlex::try_quote(user.as_str()).unwrap_or_default()));
        }
        command
    }
}

/// A connection that was made.
#[derive(Debug)]
pub struct ConnectResult {
    pub connection: Connection,
    pub missing_scopes: Vec<String>,
    /// What went otherwise than asked, in sentences.
    pub warnings: Vec<String>,
}

/// Why an account could not be connected, beside the errors of OAuth and the vault.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("{command} needs a client id: no app is registered with integ")]
    MissingApp { command: ConnectCommand },
    #[error("{command} needs a client id: no app is registered with integ for {}", server.value)]
    MissingAppForServer { command: ConnectCommand, server: Box<AuthorizationServer> },
    #[error("{command} needs a client secret")]
    MissingClientSecret { command: ConnectCommand },
    #[error("{command} needs a value for {name}: {prompt}")]
    MissingParam { command: ConnectCommand, name: String, prompt: String },
    #[error("unknown authentication method {auth:?} for {command}: use one of {}", known.join(", "))]
    UnknownAuth { command: ConnectCommand, auth: String, known: Vec<String> },
    #[error("unknown parameter {name:?} for {command}")]
    UnknownParam { command: ConnectCommand, name: String, known: Vec<String> },
    #[error("{name} is a secret, and other users can read the arguments of a command")]
    SecretInArguments { command: ConnectCommand, name: String },
    #[error("invalid value {value:?} for {name}: use one of {}", choices.join(", "))]
    InvalidChoice { command: ConnectCommand, name: String, value: String, choices: Vec<String> },
    #[error("invalid value {value:?} for {name}: it must be {expected}")]
    InvalidParam {
        command: ConnectCommand,
        name: Box<str>,
        value: Box<str>,
        expected: &'static str,
        example: Option<String>,
    },
    #[error("invalid value for \"{prompt}\" of {command}: {why}")]
    InvalidKey { command: ConnectCommand, prompt: String, why: String, flag: Box<str> },
    #[error("this is not a {value}: {reason}")]
    InvalidClient { value: &'static str, reason: &'static str },
    #[error("{command} refused the key: {why}")]
    KeyRejected { command: ConnectCommand, why: String },
    #[error("{command} does not offer {grant}")]
    UnsupportedGrant { command: ConnectCommand, grant: &'static str },
    #[error(
        "--allow-peer is not possible with {command}: its sign-in has no PKCE, so that other users could take it over"
    )]
    PeerCheckRequired { command: ConnectCommand },
    #[error("{command} accepts only https redirect URIs")]
    HttpsRedirectRequired { command: ConnectCommand },
    #[error("{command} accepts only https redirect URIs, and the server's public URL is not https")]
    HttpsPublicUrlRequired { command: ConnectCommand },
    #[error("the grant covers several accounts or sites: {}", labels.join(", "))]
    ChoiceRequired { command: ConnectCommand, param: String, labels: Vec<String> },
    #[error("the grant covers nothing to connect")]
    EmptyGrant,
    #[error("{value:?} is not one of {}", labels.join(", "))]
    UnknownChoice { command: ConnectCommand, value: String, param: String, labels: Vec<String> },
    #[error("{command} is connected to {current}, which this grant does not cover: it covers {}", labels.join(", "))]
    ResourceNotGranted {
        command: ConnectCommand,
        current: Box<str>,
        param: Box<str>,
        labels: Vec<String>,
        command_for_new_name: Box<str>,
    },
    #[error("the requested scopes drop scopes that {name} was granted: {}", dropped.join(", "))]
    ScopesDropped { name: ConnectionName, dropped: Vec<String>, hint: Box<Hint> },
    #[error("{name} is connected to {expected}, but you signed in as {found}; nothing was changed")]
    AccountMismatch { name: ConnectionName, expected: Box<str>, found: Box<str>, connect: Box<str> },
    #[error("the service did not answer the follow-up call as expected: status {status}")]
    FollowUp { status: u16 },
    #[error("{name} is already a live connection{target}")]
    NameTaken { name: ConnectionName, target: String, command: String },
    #[error("{name} belongs to user {user}")]
    OtherUser { name: ConnectionName, user: UserId, command: String },
    #[error("the sandbox's consent page did not redirect: status {status}")]
    SandboxConsentFailed { status: u16 },
    #[error("the pasted text is not a callback URL of this sign-in")]
    InvalidCallback,
    #[error("cannot connect {url:?}: {reason}")]
    InvalidUrl { url: Box<str>, reason: &'static str },
    #[error("{name} is connected to {known}")]
    OtherResource { name: ConnectionName, known: Box<str>, command: Box<str> },
    #[error("{issuer} does not register clients; {command} needs a client id")]
    RegistrationUnsupported { command: ConnectCommand, issuer: String },
    #[error("cannot connect {command}")]
    Resource { command: ConnectCommand, source: Box<ResourceError> },
    #[error("cannot connect {command}")]
    OAuth { command: ConnectCommand, offers: Box<AuthCapabilities>, source: Box<OAuthError> },
    #[error(transparent)]
    Prompt(#[from] PromptError),
}

impl Remedy for ConnectError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::MissingApp { command: requested } => {
                Diagnostic::new(Kind::Usage, "missing_app").hint(register_or_try(requested))
            }
            Self::MissingAppForServer { command: requested, server } => {
                Diagnostic::new(Kind::Usage, "missing_app").hint(register_at(requested, server))
            }
            Self::MissingClientSecret { command: requested } => Diagnostic::new(Kind::Usage, "missing_client_secret")
                .run(format!("integ app set {} --client-id ID --client-secret-file -", requested.connector)),
            Self::MissingParam { .. }
            | Self::UnknownParam { .. }
            | Self::SecretInArguments { .. }
            | Self::InvalidChoice { .. }
            | Self::InvalidParam { .. } => self.param_diagnostic(),
            Self::InvalidKey { command: requested, flag, .. } => {
                Diagnostic::new(Kind::Usage, "invalid_key").run(format!("{} {flag}", requested.command))
            }
            Self::UnknownAuth { command, known, .. } => unknown_auth(command, known),
            Self::InvalidClient { .. } => Diagnostic::new(Kind::Usage, "invalid_client_value"),
            Self::KeyRejected { command: requested, .. } => {
                Diagnostic::new(Kind::AuthNeeded, "key_rejected").run(format!("{} --with-token", requested.command))
            }
            Self::UnsupportedGrant { command: requested, .. } => Diagnostic::new(Kind::Usage, "unsupported_grant")
                .run(format!("integ connector show {}", requested.connector)),
            Self::HttpsRedirectRequired { command: requested } => {
                let tunnel = format!("{} --redirect-uri https://HOST/callback --port 8910", requested.command);
                Diagnostic::new(Kind::Usage, "https_redirect_required")
                    .hint(Hint::new("use a tunnel to a local port:", tunnel))
            }
            Self::HttpsPublicUrlRequired { .. } => Diagnostic::new(Kind::Usage, "https_redirect_required")
                .run("integ config set serve.public_url https://HOST"),
            Self::PeerCheckRequired { command: requested } => {
                Diagnostic::new(Kind::Usage, "peer_check_required").run(format!("{} --paste", requested.command))
            }
            Self::ChoiceRequired { command: requested, param, labels }
            | Self::UnknownChoice { command: requested, param, labels, .. } => {
                Diagnostic::new(Kind::Usage, "choice_required").run(with_param(requested, param, &first_quoted(labels)))
            }
            Self::ResourceNotGranted { param, labels, command_for_new_name: other, .. } => {
                Diagnostic::new(Kind::AuthNeeded, "resource_not_granted").hint(Hint::new(
                    "connect the other one under another name:",
                    format!("{other} --param {param}={}", first_quoted(labels)),
                ))
            }
            Self::ScopesDropped { name, hint, .. } => {
                Diagnostic::new(Kind::Usage, "scopes_dropped").hint((**hint).clone()).connection(name)
            }
            Self::AccountMismatch { name, connect, .. } => Diagnostic::new(Kind::AuthNeeded, "account_mismatch")
                .hint(Hint::new("sign in as that account; or connect the other one as well:", &**connect))
                .connection(name),
            Self::Resource { source, .. } => source.diagnostic(),
            Self::InvalidUrl { .. } | Self::OtherResource { .. } | Self::RegistrationUnsupported { .. } => {
                self.url_diagnostic()
            }
            Self::EmptyGrant => Diagnostic::new(Kind::AuthNeeded, "empty_grant"),
            Self::FollowUp { status } if *status >= 500 => Diagnostic::new(Kind::Temporary, "follow_up_failed"),
            Self::FollowUp { .. } => Diagnostic::new(Kind::Rejected, "follow_up_failed"),
            Self::SandboxConsentFailed { status } => consent_diagnostic(*status),
            Self::NameTaken { command, .. } => Diagnostic::new(Kind::Usage, "name_taken").run(command),
            Self::OtherUser { name, command, .. } => Diagnostic::new(Kind::Usage, "other_user")
                .hint(Hint::new("connect the other user's account under a name of its own:", command))
                .connection(name),
            Self::InvalidCallback => Diagnostic::new(Kind::Usage, "invalid_callback")
                .hint(Hint::text("paste the whole address that the browser shows after you have consented")),
            Self::OAuth { command: requested, offers, source } => {
                let found = source.diagnostic_for(&requested.connector, &requested.command, offers);
                // Nothing is there yet that could be connected again.
                let is_refused = matches!(**source, OAuthError::InvalidGrant { .. });
                Diagnostic { code: if is_refused { "invalid_grant" } else { found.code }, ..found }
            }
            Self::Prompt(error) => error.diagnostic(),
        }
    }
}

fn consent_diagnostic(status: u16) -> Diagnostic {
    let hint = match status {
        500 => Hint::new("free some disk space, then check the vault:", "integ vault check"),
        _ => Hint::new("remove the injected faults of the sandbox:", "integ sandbox reset"),
    };
    Diagnostic::new(Kind::Rejected, "sandbox_consent_failed").hint(hint)
}

impl ConnectError {
    /// Returns the error of a token that was given by hand and is to be given again.
    pub fn missing_token(request: &ConnectRequest) -> Self {
        let (name, prompt) = ("token".to_owned(), "Access token".to_owned());
        Self::MissingParam { command: request.command(), name, prompt }
    }

    /// Returns the name of the value that is missing or wrong, and what it may be.
    pub fn field(&self) -> Option<(&str, &[String])> {
        match self {
            Self::MissingParam { name, .. } => Some((name, &[])),
            Self::UnknownParam { name, known, .. } => Some((name, known)),
            Self::InvalidChoice { name, choices, .. } => Some((name, choices)),
            Self::InvalidParam { name, .. } => Some((name, &[])),
            Self::ChoiceRequired { param, labels, .. } | Self::UnknownChoice { param, labels, .. } => {
                Some((param, labels))
            }
            Self::ResourceNotGranted { param, labels, .. } => Some((param, labels)),
            Self::UnknownAuth { known, .. } => Some(("auth", known)),
            Self::ScopesDropped { dropped, .. } => Some(("scopes", dropped)),
            _ => None,
        }
    }

    /// What it means for a value that the connector asks for.
    fn param_diagnostic(&self) -> Diagnostic {
        match self {
            Self::MissingParam { command: requested, name, .. } => {
                Diagnostic::new(Kind::Usage, "missing_param").run(with_param(requested, name, "VALUE"))
            }
            Self::UnknownParam { command: requested, known, .. } => {
                Diagnostic::new(Kind::Usage, "unknown_param").hint(match known.first() {
                    Some(_) => Hint::text(format!("its parameters are {}", known.join(", "))),
                    None => Hint::new("it has none:", format!("integ connector show {}", requested.connector)),
                })
            }
            Self::SecretInArguments { command: requested, name } => Diagnostic::new(Kind::Usage, "secret_in_arguments")
                .hint(Hint::new("give it in a file:", with_param(requested, name, "@FILE"))),
            Self::InvalidChoice { command: requested, name, choices, .. } => {
                let choice = choices.first().map_or("VALUE", String::as_str);
                Diagnostic::new(Kind::Usage, "invalid_param").run(with_param(requested, name, choice))
            }
            Self::InvalidParam { command: requested, name, example, .. } => {
                let example = example.as_ref().and_then(|example| shlex::try_quote(example).ok());
                let example = example.as_deref().unwrap_or("VALUE");
                Diagnostic::new(Kind::Usage, "invalid_param").run(with_param(requested, name, example))
            }
            _ => Diagnostic::new(Kind::Usage, "invalid_param"),
        }
    }

    /// What it means for a server that is connected by its URL.
    fn url_diagnostic(&self) -> Diagnostic {
        match self {
            Self::OtherResource { name, command, .. } => Diagnostic::new(Kind::Usage, "name_taken")
                .hint(Hint::new("connect this one under another name:", &**command))
                .connection(name),
            Self::RegistrationUnsupported { command: requested, .. } => Diagnostic::new(Kind::Usage, "missing_app")
                .hint(Hint::new(
                    "register integ with the service by hand, then",
                    format!("{} --client-id ID", requested.command),
                )),
            _ => Diagnostic::new(Kind::Usage, "invalid_url").run("integ connect https://mcp.example.com/mcp"),
        }
    }
}

fn register_or_try(ConnectCommand { connector, .. }: &ConnectCommand) -> Hint {
    let setup = format!("`integ connector setup {connector}` says how to register one and what to run then");
    Hint::new(format!("{setup}; try it without:"), format!("integ connect {connector} --sandbox"))
}

fn register_at(ConnectCommand { connector, .. }: &ConnectCommand, server: &AuthorizationServer) -> Hint {
    let value = shlex::try_quote(&server.value).map_or("VALUE".into(), Cow::into_owned);
    let set = format!("integ app set {connector} --client-id ID --client-secret-file -");
    Hint::new("register one there, then", format!("{set} --param {}={value}", server.param))
}

/// The error of scopes that leave out `dropped`, with the command that keeps them.
fn scopes_dropped(
    request: &ConnectRequest,
    name: &ConnectionName,
    asked: &[String],
    before: &[String],
    dropped: Vec<String>,
) -> ConnectError {
    let command = request.command().command;
    let added: Vec<&String> = asked.iter().filter(|scope| !before.contains(scope)).collect();
    let hint = if added.is_empty() {
        let scopes: Vec<_> = asked.iter().filter_map(|scope| shlex::try_quote(scope).ok()).collect();
        Hint::new("to drop them:", format!("{command} --scope {} --yes", scopes.join(",")))
    } else {
        Hint::new("--yes drops them; to keep them:", add_scope_command(&command, &added))
    };
    ConnectError::ScopesDropped { name: name.clone(), dropped, hint: Box::new(hint) }
}

fn unknown_auth(command: &ConnectCommand, known: &[String]) -> Diagnostic {
    let method = known.first().map_or("METHOD", String::as_str);
    Diagnostic::new(Kind::Usage, "unknown_auth").run(format!("{} --auth {method}", command.command))
}

fn with_param(command: &ConnectCommand, name: &str, value: &str) -> String {
    format!("{} --param {name}={value}", command.command)
}

/// The first of the vendor's words, which a shell must take for nothing but words.
fn first_quoted(labels: &[String]) -> Cow<'_, str> {
    labels.first().and_then(|label| shlex::try_quote(label).ok()).unwrap_or("NAME".into())
}
