//! Connecting an account and letting it go: from a connector and a person to a grant in the vault, and back.

mod apps;
mod disconnect;
mod flow;
mod follow_up;
mod key;
mod oauth;
mod redirect;
mod talk;

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;
use url::Url;

pub use apps::{AppSource, find_client};
pub use disconnect::{Ended, disconnect};
pub use flow::connect;
pub use talk::{AskError, Conversation, Event, Question};

use crate::connection::{Client, Connection};
use crate::error::{Kind, Remedy};
use crate::oauth::{OAuthError, listener};
use crate::secret::Secret;

/// What the user asks of `integ connect`.
#[derive(Debug, Default)]
pub struct Wish {
    pub connector: String,
    pub account: Option<String>,
    /// The way of authenticating; the connector's usual one where absent.
    pub auth: Option<String>,
    pub scopes: Vec<String>,
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
    #[error("{connector} needs a client id: no app is registered with integ")]
    NoApp { connector: String },
    #[error("{connector} needs a client secret, and none was given")]
    NoSecret { connector: String },
    #[error("{connector} needs a value for {name}: {prompt}")]
    MissingParam { connector: String, name: String, prompt: String },
    #[error("{connector} has no parameter {name:?}")]
    UnknownParam { connector: String, name: String, known: Vec<String> },
    #[error("{value:?} is no value of {name}: it is one of {}", choices.join(", "))]
    BadChoice { connector: String, name: String, value: String, choices: Vec<String> },
    #[error("this is not {prompt} of {connector}: {why}")]
    BadKey { connector: String, prompt: String, why: String },
    #[error("{connector} refused the key: {why}")]
    KeyRefused { connector: String, why: String },
    #[error("{connector} does not offer {what}")]
    NotOffered { connector: String, what: &'static str },
    #[error(
        "--allow-peer is not possible with {connector}: its sign-in has no PKCE, so that other users could take it over"
    )]
    PeerCheckNeeded { connector: String },
    #[error("{connector} takes only https redirect URIs")]
    HttpsOnly { connector: String },
    #[error("the grant covers several: {}", labels.join(", "))]
    Choice { connector: String, param: String, labels: Vec<String> },
    #[error("the grant covers nothing that could be connected")]
    NothingGranted,
    #[error("{given:?} is none of {}", labels.join(", "))]
    UnknownChoice { connector: String, given: String, param: String, labels: Vec<String> },
    #[error("the vendor did not answer the follow-up call as expected: status {status}")]
    FollowUp { status: u16 },
    #[error("the sandbox's consent page did not lead back: status {status}")]
    NoConsent { status: u16 },
    #[error("the pasted text is not a callback URL of this sign-in")]
    BadPaste,
    #[error("{connector} could not be connected")]
    OAuth { connector: String, source: OAuthError },
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl Remedy for ConnectError {
    fn kind(&self) -> Kind {
        match self {
            Self::OAuth { source, .. } => source.kind(),
            Self::Ask(error) => error.kind(),
            Self::NothingGranted | Self::KeyRefused { .. } => Kind::AuthNeeded,
            Self::FollowUp { status } if *status >= 500 => Kind::Temporary,
            Self::FollowUp { .. } | Self::NoConsent { .. } => Kind::Failed,
            _ => Kind::Usage,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoApp { .. } => "no_app",
            Self::NoSecret { .. } => "no_client_secret",
            Self::MissingParam { .. } => "missing_param",
            Self::UnknownParam { .. } => "unknown_param",
            Self::BadChoice { .. } => "invalid_param",
            Self::BadKey { .. } => "invalid_key",
            Self::KeyRefused { .. } => "key_refused",
            Self::NotOffered { .. } => "not_offered",
            Self::HttpsOnly { .. } => "https_redirect_needed",
            Self::PeerCheckNeeded { .. } => "peer_check_needed",
            Self::Choice { .. } | Self::UnknownChoice { .. } => "choice_needed",
            Self::NothingGranted => "nothing_granted",
            Self::FollowUp { .. } => "follow_up_failed",
            Self::NoConsent { .. } => "no_consent",
            Self::BadPaste => "invalid_callback",
            // Nothing is there yet that could be connected again.
            Self::OAuth { source: OAuthError::Refused { .. }, .. } => "refused",
            Self::OAuth { source, .. } => source.code(),
            Self::Ask(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoApp { connector } => format!(
                "`integ connector setup {connector}` says how to register one and what to run then; try it without: \
                 `integ connect {connector} --sandbox`"
            ),
            Self::NoSecret { connector } => format!("integ app set {connector} --client-id ID --client-secret-file -"),
            Self::MissingParam { connector, name, .. } => format!("integ connect {connector} --param {name}=VALUE"),
            Self::UnknownParam { connector, known, .. } => match known.first() {
                Some(_) => format!("its parameters are {}", known.join(", ")),
                None => format!("it has none: `integ connector show {connector}`"),
            },
            Self::BadChoice { connector, name, choices, .. } => {
                format!("integ connect {connector} --param {name}={}", choices.first().map_or("VALUE", String::as_str))
            }
            Self::BadKey { connector, .. } | Self::KeyRefused { connector, .. } => {
                format!("integ connect {connector} --with-token")
            }
            Self::NotOffered { connector, .. } => format!("integ connector show {connector}"),
            Self::PeerCheckNeeded { connector } => format!("integ connect {connector} --paste"),
            Self::HttpsOnly { connector } => {
                format!(
                    "bring a tunnel to a port of yours: `integ connect {connector} --redirect-uri https://HOST/callback --port 8910`"
                )
            }
            Self::Choice { connector, param, labels } | Self::UnknownChoice { connector, param, labels, .. } => {
                // The vendor's words, which a shell must take for nothing but words.
                let label = labels.first().and_then(|label| shlex::try_quote(label).ok());
                format!("integ connect {connector} --param {param}={}", label.as_deref().unwrap_or("NAME"))
            }
            Self::BadPaste => "paste the whole address that the browser shows after you have consented".to_owned(),
            Self::OAuth { connector, source } => return source.hint_for(connector),
            Self::NothingGranted | Self::FollowUp { .. } => return None,
            Self::NoConsent { status: 500 } => "free some disk space and see what `integ vault check` says".to_owned(),
            Self::NoConsent { .. } => "integ sandbox reset, which forgets scripted faults".to_owned(),
            Self::Ask(error) => return error.hint(),
        })
    }
}
