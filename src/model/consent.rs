//! Consents: records that a user allowed a purpose on connections.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::link::is_id;
use super::name::ConnectionName;
use super::random_id::random_id;
use super::user::UserId;
use super::words::words;
use crate::clock::Timestamp;
use crate::error::{Diagnostic, Hint, Kind, Remedy};

/// The longest part of a resource, purpose or description, in characters.
const MAX_PART_CHARS: usize = 256;

/// The longest description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 1_024;

random_id! {
    /// The id of a consent: `cns_` and 48 random bits in hexadecimal.
    ConsentId, "cns_", 6, "a consent"
}

/// What sort of processing a consent allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsentType {
    /// A connection to a third party's service.
    #[default]
    ThirdParty,
    DataSharing,
    DataProcessing,
    Marketing,
}

words!(ConsentType {
    ThirdParty => "third_party",
    DataSharing => "data_sharing",
    DataProcessing => "data_processing",
    Marketing => "marketing",
});

/// A text that cannot be a part of a consent.
#[derive(Debug, Error)]
pub enum ConsentTextError {
    #[error("invalid resource {0:?}")]
    Resource(String),
    #[error("invalid purpose {0:?}")]
    Purpose(String),
    #[error("the description is too long or has control characters")]
    Description,
}

impl Remedy for ConsentTextError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "invalid_consent").hint(Hint::text(match self {
            Self::Resource(_) => "write a connection such as slack@work, connector:slack, or TYPE:ID".to_owned(),
            Self::Purpose(_) => {
                format!("use sync, webhooks, deliver, call, or another text of 1 to {MAX_PART_CHARS} characters")
            }
            Self::Description => format!("use one line of at most {MAX_DESCRIPTION_CHARS} characters"),
        }))
    }
}

/// What a consent allows to do. integ asks for the first four; others are the caller's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsentPurpose {
    /// Copying records into the store.
    Sync,
    /// Handling webhooks.
    Webhooks,
    /// Giving events of the service to programs, files and URLs.
    Deliver,
    /// Calling the service's API.
    Call,
    Other(String),
}

impl ConsentPurpose {
    /// The purposes that integ asks for.
    pub const KNOWN: [Self; 4] = [Self::Sync, Self::Webhooks, Self::Deliver, Self::Call];

    /// Returns its word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sync => "sync",
            Self::Webhooks => "webhooks",
            Self::Deliver => "deliver",
            Self::Call => "call",
            Self::Other(text) => text,
        }
    }
}

impl FromStr for ConsentPurpose {
    type Err = ConsentTextError;

    fn from_str(text: &str) -> Result<Self, ConsentTextError> {
        if let Some(known) = Self::KNOWN.into_iter().find(|known| known.as_str() == text) {
            return Ok(known);
        }
        if is_id(text, MAX_PART_CHARS) {
            Ok(Self::Other(text.to_owned()))
        } else {
            Err(ConsentTextError::Purpose(text.to_owned()))
        }
    }
}

impl fmt::Display for ConsentPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a consent is about: `slack@work`, `connector:slack`, or a type and an id of the caller's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsentResource {
    /// One connection.
    Connection(ConnectionName),
    /// Every connection of a connector.
    Connector(String),
    /// Something that integ does not know.
    Other { kind: String, id: String },
}

impl ConsentResource {
    /// Creates a resource from its type and its id.
    ///
    /// # Errors
    /// [`ConsentTextError::Resource`].
    pub fn new(kind: &str, id: &str) -> Result<Self, ConsentTextError> {
        let invalid = || ConsentTextError::Resource(format!("{kind}:{id}"));
        if !is_id(kind, MAX_PART_CHARS) || kind.contains(':') || !is_id(id, MAX_PART_CHARS) {
            return Err(invalid());
        }
        match kind {
            "connection" => id.parse().map(Self::Connection).map_err(|_| invalid()),
            "connector" => Ok(Self::Connector(id.to_owned())),
            _ => Ok(Self::Other { kind: kind.to_owned(), id: id.to_owned() }),
        }
    }

    /// Returns the type: `connection`, `connector` or the caller's own.
    pub fn kind(&self) -> &str {
        match self {
            Self::Connection(_) => "connection",
            Self::Connector(_) => "connector",
            Self::Other { kind, .. } => kind,
        }
    }

    /// Returns the id within the type.
    pub fn id(&self) -> String {
        match self {
            Self::Connection(name) => name.to_string(),
            Self::Connector(id) | Self::Other { id, .. } => id.clone(),
        }
    }
}

impl FromStr for ConsentResource {
    type Err = ConsentTextError;

    fn from_str(text: &str) -> Result<Self, ConsentTextError> {
        let (kind, id) = text.split_once(':').unwrap_or(("connection", text));
        Self::new(kind, id)
    }
}

impl fmt::Display for ConsentResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(name) => name.fmt(f),
            Self::Connector(_) | Self::Other { .. } => write!(f, "{}:{}", self.kind(), self.id()),
        }
    }
}

/// A consent as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    pub id: ConsentId,
    pub user: UserId,
    pub kind: ConsentType,
    /// Everything of the user's if absent.
    pub resource: Option<ConsentResource>,
    pub purpose: ConsentPurpose,
    /// The version of the caller's policy that the user agreed to.
    pub policy_version: u32,
    pub description: Option<String>,
    pub granted_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// A consent to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewConsent {
    pub user: UserId,
    pub kind: ConsentType,
    pub resource: Option<ConsentResource>,
    pub purpose: ConsentPurpose,
    pub policy_version: u32,
    pub description: Option<String>,
}

impl NewConsent {
    /// Returns the consent with its id and time.
    ///
    /// # Errors
    /// [`ConsentTextError::Description`].
    pub fn granted(self, at: Timestamp) -> Result<Consent, ConsentTextError> {
        let description = self.description.filter(|text| !text.is_empty());
        if description.as_ref().is_some_and(|text| !is_id(text, MAX_DESCRIPTION_CHARS)) {
            return Err(ConsentTextError::Description);
        }
        Ok(Consent {
            id: ConsentId::random(),
            user: self.user,
            kind: self.kind,
            resource: self.resource,
            purpose: self.purpose,
            policy_version: self.policy_version,
            description,
            granted_at: at,
            revoked_at: None,
        })
    }
}

impl Consent {
    /// Whether it is about this purpose on this connection.
    pub fn covers(&self, connection: &ConnectionName, purpose: &ConsentPurpose) -> bool {
        let is_about = match &self.resource {
            None => true,
            Some(ConsentResource::Connection(name)) => name == connection,
            Some(ConsentResource::Connector(connector)) => connector == connection.connector(),
            Some(ConsentResource::Other { .. }) => false,
        };
        is_about && self.purpose == *purpose
    }

    /// Returns its state under a version of the policy.
    pub fn state(&self, policy_version: u32) -> ConsentState {
        match self.revoked_at {
            Some(_) => ConsentState::Revoked,
            None if self.policy_version < policy_version => ConsentState::Outdated,
            None => ConsentState::Granted,
        }
    }
}

/// Whether a user allows a purpose. In the order in which a better one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsentState {
    Granted,
    /// To an older version of the policy.
    Outdated,
    Revoked,
    /// There never was one.
    Missing,
}

words!(ConsentState {
    Granted => "granted",
    Outdated => "outdated",
    Revoked => "revoked",
    Missing => "missing",
});

/// Returns whether the consents of a connection's user allow a purpose, and the consent that says so.
pub fn consent_state<'c>(
    consents: &'c [Consent],
    connection: &ConnectionName,
    purpose: &ConsentPurpose,
    policy_version: u32,
) -> (ConsentState, Option<&'c Consent>) {
    let covering = consents.iter().filter(|consent| consent.covers(connection, purpose));
    let best = covering.min_by_key(|consent| consent.state(policy_version));
    (best.map_or(ConsentState::Missing, |consent| consent.state(policy_version)), best)
}

/// Which consents to list. Absent values match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsentFilter {
    pub user: Option<UserId>,
    pub kind: Option<ConsentType>,
    pub resource: Option<ConsentResource>,
    pub purpose: Option<ConsentPurpose>,
    pub policy_version: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consent(resource: Option<&str>, version: u32, is_revoked: bool) -> Consent {
        let new = NewConsent {
            user: "u_1".parse().unwrap(),
            kind: ConsentType::ThirdParty,
            resource: resource.map(|text| text.parse().unwrap()),
            purpose: ConsentPurpose::Sync,
            policy_version: version,
            description: None,
        };
        let granted = new.granted(Timestamp::UNIX_EPOCH).unwrap();
        Consent { revoked_at: is_revoked.then_some(Timestamp::UNIX_EPOCH), ..granted }
    }

    fn state(consents: &[Consent]) -> &'static str {
        consent_state(consents, &"slack@work".parse().unwrap(), &ConsentPurpose::Sync, 2).0.as_str()
    }

    #[test]
    fn the_best_consent_about_a_connection_counts() {
        assert_eq!(state(&[]), "missing");
        assert_eq!(state(&[consent(Some("slack"), 2, false), consent(Some("project:7"), 2, false)]), "missing");
        for resource in [None, Some("slack@work"), Some("connector:slack")] {
            assert_eq!(state(&[consent(resource, 2, false)]), "granted", "{resource:?}");
            assert_eq!(state(&[consent(resource, 1, false)]), "outdated", "{resource:?}");
            assert_eq!(state(&[consent(resource, 3, true)]), "revoked", "{resource:?}");
        }
        assert_eq!(state(&[consent(None, 2, true), consent(Some("slack@work"), 2, false)]), "granted");
        let other = consent_state(&[consent(None, 2, false)], &"slack".parse().unwrap(), &ConsentPurpose::Call, 2).0;
        assert_eq!(other, ConsentState::Missing);
    }

    #[test]
    fn texts_are_read_as_they_are_written() {
        for text in ["slack@work", "connector:slack", "project:7:a"] {
            assert_eq!(text.parse::<ConsentResource>().unwrap().to_string(), text);
        }
        for text in ["connection:a b", ":7", "project:", "a\u{7}:1"] {
            assert!(text.parse::<ConsentResource>().is_err(), "{text:?}");
        }
        for text in ["sync", "deliver", "analytics"] {
            assert_eq!(text.parse::<ConsentPurpose>().unwrap().to_string(), text);
        }
        assert!("".parse::<ConsentPurpose>().is_err());
        assert!("cns_1f".parse::<ConsentId>().is_ok() && "cns_".parse::<ConsentId>().is_err());
    }
}
