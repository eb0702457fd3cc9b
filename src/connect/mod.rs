//! Connecting an account and letting it go: from a connector and a person to a grant in the vault, and back.

mod apps;
mod disconnect;
mod flow;
mod follow_up;
mod key;
mod oauth;
mod redirect;
mod talk;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thiserror::Error;
use url::Url;

pub use apps::{AppSource, Registered, find_client};
pub use disconnect::{Ended, disconnect};
pub use flow::connect;
pub use talk::{AskError, Conversation, Event, Question};

use crate::connector::AppServer;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::model::{Client, Connection, ConnectionName, Mode, connect_command};
use crate::oauth::{OAuthError, Offers, listener};
use crate::secret::Secret;

/// What the user asks of `integ connect`.
#[derive(Debug, Default)]
pub struct Wish {
    pub connector: String,
    pub account: Option<String>,
    /// The way of authenticating; the connector's usual one where absent.
    pub auth: Option<String>,
    /// In place of the connector's defaults.
    pub scopes: Vec<String>,
    /// Beside those that the connection was asked for, or the defaults.
    pub added_scopes: Vec<String>,
    pub params: BTreeMap<String, String>,
    pub device: bool,
    pub client_credentials: bool,
    /// The callback URL is pasted: nothing is listened on.
    pub paste: bool,
    pub redirect: listener::Wish,
    pub open_browser: bool,
    /// A token or a key is read instead of asking the vendor for one.
    pub token: Option<Secret>,
    pub client: Option<Client>,
    pub origin: Option<Url>,
    pub sandbox: bool,
    pub timeout: Duration,
}

/// The service that is to be connected, and the command that asks for it as it was asked for: what hints are made of, so
/// that none leads from the sandbox to the real service, or from one origin to another.
#[derive(Clone, Debug)]
pub struct Requested {
    pub connector: String,
    pub command: String,
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.connector)
    }
}

impl Wish {
    pub fn mode(&self) -> Mode {
        if self.sandbox { Mode::Sandbox } else { Mode::Live }
    }

    fn requested(&self) -> Requested {
        let connector = self.connector.clone();
        let name = ConnectionName::new(&connector, self.account.as_deref());
        let mut command = name.map_or_else(
            |_| "integ connect CONNECTOR".to_owned(),
            |name| connect_command(&name, self.mode(), self.origin.as_ref()),
        );
        if let Some(auth) = self.auth.as_ref().and_then(|auth| shlex::try_quote(auth).ok()) {
            command.push_str(&format!(" --auth {auth}"));
        }
        Requested { connector, command }
    }
}

/// A connection that was made.
#[derive(Debug)]
pub struct Connected {
    pub connection: Connection,
    pub missing_scopes: Vec<String>,
    /// Things that went otherwise than asked, in sentences.
    pub warnings: Vec<String>,
}

/// Why no connection came of it, beside what OAuth and the vault say.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("{requested} needs a client id: no app is registered with integ")]
    NoApp { requested: Requested },
    #[error("{requested} needs a client id: no app is registered with integ for {}", server.value)]
    NoAppAt { requested: Requested, server: Box<AppServer> },
    #[error("{requested} needs a client secret, and none was given")]
    NoSecret { requested: Requested },
    #[error("{requested} needs a value for {name}: {prompt}")]
    MissingParam { requested: Requested, name: String, prompt: String },
    #[error("{requested} has no parameter {name:?}")]
    UnknownParam { requested: Requested, name: String, known: Vec<String> },
    #[error("{value:?} is no value of {name}: it is one of {}", choices.join(", "))]
    BadChoice { requested: Requested, name: String, value: String, choices: Vec<String> },
    #[error("invalid value {value:?} for {name}: it must be {expected}")]
    BadParam { requested: Requested, name: Box<str>, value: Box<str>, expected: &'static str, example: Option<String> },
    #[error("this is not {prompt} of {requested}: {why}")]
    BadKey { requested: Requested, prompt: String, why: String },
    #[error("{requested} refused the key: {why}")]
    KeyRefused { requested: Requested, why: String },
    #[error("{requested} does not offer {what}")]
    NotOffered { requested: Requested, what: &'static str },
    #[error(
        "--allow-peer is not possible with {requested}: its sign-in has no PKCE, so that other users could take it over"
    )]
    PeerCheckNeeded { requested: Requested },
    #[error("{requested} takes only https redirect URIs")]
    HttpsOnly { requested: Requested },
    #[error("the grant covers several: {}", labels.join(", "))]
    Choice { requested: Requested, param: String, labels: Vec<String> },
    #[error("the grant covers nothing that could be connected")]
    NothingGranted,
    #[error("{given:?} is none of {}", labels.join(", "))]
    UnknownChoice { requested: Requested, given: String, param: String, labels: Vec<String> },
    #[error("{requested} is connected to {before}, which this grant does not cover: it covers {}", labels.join(", "))]
    SiteTaken { requested: Requested, before: Box<str>, param: Box<str>, labels: Vec<String>, other: Box<str> },
    #[error("the vendor did not answer the follow-up call as expected: status {status}")]
    FollowUp { status: u16 },
    #[error("the name {name} is taken by a live connection{place}")]
    NameTaken { name: ConnectionName, place: String, command: String },
    #[error("the sandbox's consent page did not lead back: status {status}")]
    NoConsent { status: u16 },
    #[error("the pasted text is not a callback URL of this sign-in")]
    BadPaste,
    #[error("{requested} could not be connected")]
    OAuth { requested: Requested, offers: Offers, source: Box<OAuthError> },
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl Remedy for ConnectError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoApp { requested: Requested { connector, .. } } => {
                Diagnostic::new(Kind::Usage, "no_app").hint(Hint::new(
                    format!(
                        "`integ connector setup {connector}` says how to register one and what to run then; \
                         try it without:"
                    ),
                    format!("integ connect {connector} --sandbox"),
                ))
            }
            Self::NoAppAt { requested, server } => {
                Diagnostic::new(Kind::Usage, "no_app").hint(register_at(requested, server))
            }
            Self::NoSecret { requested } => Diagnostic::new(Kind::Usage, "no_client_secret")
                .run(format!("integ app set {} --client-id ID --client-secret-file -", requested.connector)),
            Self::MissingParam { requested, name, .. } => {
                Diagnostic::new(Kind::Usage, "missing_param").run(with_param(requested, name, "VALUE"))
            }
            Self::UnknownParam { requested, known, .. } => {
                Diagnostic::new(Kind::Usage, "unknown_param").hint(match known.first() {
                    Some(_) => Hint::text(format!("its parameters are {}", known.join(", "))),
                    None => Hint::new("it has none:", format!("integ connector show {}", requested.connector)),
                })
            }
            Self::BadChoice { requested, name, choices, .. } => {
                let choice = choices.first().map_or("VALUE", String::as_str);
                Diagnostic::new(Kind::Usage, "invalid_param").run(with_param(requested, name, choice))
            }
            Self::BadParam { requested, name, example, .. } => {
                let example = example.as_ref().and_then(|example| shlex::try_quote(example).ok());
                let example = example.as_deref().unwrap_or("VALUE");
                Diagnostic::new(Kind::Usage, "invalid_param").run(with_param(requested, name, example))
            }
            Self::BadKey { requested, .. } => {
                Diagnostic::new(Kind::Usage, "invalid_key").run(format!("{} --with-token", requested.command))
            }
            Self::KeyRefused { requested, .. } => {
                Diagnostic::new(Kind::AuthNeeded, "key_refused").run(format!("{} --with-token", requested.command))
            }
            Self::NotOffered { requested, .. } => {
                Diagnostic::new(Kind::Usage, "not_offered").run(format!("integ connector show {}", requested.connector))
            }
            Self::HttpsOnly { requested } => Diagnostic::new(Kind::Usage, "https_redirect_needed").hint(Hint::new(
                "bring a tunnel to a port of yours:",
                format!("{} --redirect-uri https://HOST/callback --port 8910", requested.command),
            )),
            Self::PeerCheckNeeded { requested } => {
                Diagnostic::new(Kind::Usage, "peer_check_needed").run(format!("{} --paste", requested.command))
            }
            Self::Choice { requested, param, labels } | Self::UnknownChoice { requested, param, labels, .. } => {
                Diagnostic::new(Kind::Usage, "choice_needed").run(with_param(requested, param, &first_quoted(labels)))
            }
            Self::SiteTaken { param, labels, other, .. } => {
                Diagnostic::new(Kind::AuthNeeded, "site_not_granted").hint(Hint::new(
                    "connect the other one under a name of its own:",
                    format!("{other} --param {param}={}", first_quoted(labels)),
                ))
            }
            Self::NothingGranted => Diagnostic::new(Kind::AuthNeeded, "nothing_granted"),
            Self::FollowUp { status } if *status >= 500 => Diagnostic::new(Kind::Temporary, "follow_up_failed"),
            Self::FollowUp { .. } => Diagnostic::new(Kind::Failed, "follow_up_failed"),
            Self::NoConsent { status: 500 } => Diagnostic::new(Kind::Failed, "no_consent")
                .hint(Hint::new("free some disk space, then check the vault:", "integ vault check")),
            Self::NoConsent { .. } => Diagnostic::new(Kind::Failed, "no_consent")
                .hint(Hint::new("forget the scripted faults of the sandbox:", "integ sandbox reset")),
            Self::NameTaken { command, .. } => Diagnostic::new(Kind::Usage, "name_taken").run(command),
            Self::BadPaste => Diagnostic::new(Kind::Usage, "invalid_callback")
                .hint(Hint::text("paste the whole address that the browser shows after you have consented")),
            Self::OAuth { requested, offers, source } => {
                let found = source.diagnostic_for(&requested.connector, &requested.command, offers);
                // Nothing is there yet that could be connected again.
                let is_refused = matches!(**source, OAuthError::Refused { .. });
                Diagnostic { code: if is_refused { "refused" } else { found.code }, ..found }
            }
            Self::Ask(error) => error.diagnostic(),
        }
    }
}

fn register_at(Requested { connector, .. }: &Requested, server: &AppServer) -> Hint {
    let value = shlex::try_quote(&server.value).map_or("VALUE".into(), Cow::into_owned);
    let set = format!("integ app set {connector} --client-id ID --client-secret-file -");
    Hint::new("register one there, then", format!("{set} --param {}={value}", server.param))
}

fn with_param(requested: &Requested, name: &str, value: &str) -> String {
    format!("{} --param {name}={value}", requested.command)
}

/// The first of the vendor's words, which a shell must take for nothing but words.
fn first_quoted(labels: &[String]) -> Cow<'_, str> {
    labels.first().and_then(|label| shlex::try_quote(label).ok()).unwrap_or("NAME".into())
}
