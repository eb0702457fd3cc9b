//! Views of consents. Times are RFC 3339.

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Time;
use super::{optional_word, word, word_list};
use crate::clock::Timestamp;
use crate::model::{Consent, ConsentId, ConsentPurpose, ConsentResource, ConsentState, ConsentType, UserId};

/// A consent of a user.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConsentView {
    #[serde(serialize_with = "word")]
    pub id: ConsentId,
    #[serde(serialize_with = "word")]
    pub user: UserId,
    #[serde(serialize_with = "word")]
    pub purpose: ConsentPurpose,
    #[serde(serialize_with = "word")]
    pub consent_type: ConsentType,
    /// `connection`, `connector` or a type of your own; null for everything of the user's.
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    pub policy_version: u32,
    pub description: Option<String>,
    /// Under the current version of the policy.
    #[serde(serialize_with = "word")]
    pub state: ConsentState,
    #[schemars(with = "Time")]
    pub granted_at: Timestamp,
    #[schemars(with = "Option<Time>")]
    pub revoked_at: Option<Timestamp>,
}

impl ConsentView {
    /// Creates the view of a consent under a version of the policy.
    pub fn new(consent: Consent, policy_version: u32) -> Self {
        Self {
            state: consent.state(policy_version),
            resource_type: consent.resource.as_ref().map(|resource| resource.kind().to_owned()),
            resource_id: consent.resource.as_ref().map(ConsentResource::id),
            id: consent.id,
            user: consent.user,
            purpose: consent.purpose,
            consent_type: consent.kind,
            policy_version: consent.policy_version,
            description: consent.description,
            granted_at: consent.granted_at,
            revoked_at: consent.revoked_at,
        }
    }
}

/// Consents, the newest first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConsentListView {
    pub consents: Vec<ConsentView>,
}

/// A consent that was recorded.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct GrantedConsentView {
    pub granted: ConsentView,
}

/// Consents that were revoked.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RevokedConsentsView {
    pub revoked: Vec<ConsentView>,
}

/// What a user allows on a connection or another resource.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConsentStatusRow {
    #[serde(serialize_with = "word")]
    pub user: UserId,
    /// A connection, `connector:ID`, `TYPE:ID`, or `*` for everything of the user's.
    pub resource: String,
    #[serde(serialize_with = "word")]
    pub purpose: ConsentPurpose,
    /// Whether the settings require a consent.
    pub required: bool,
    #[serde(serialize_with = "word")]
    pub state: ConsentState,
    /// The consent that counts.
    #[serde(serialize_with = "optional_word")]
    pub consent: Option<ConsentId>,
    /// The version of the policy that the user agreed to.
    pub policy_version: Option<u32>,
}

/// What users allow.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ConsentStatusView {
    /// The current version of the policy.
    pub policy_version: u32,
    /// The purposes that need a consent.
    #[serde(serialize_with = "word_list")]
    pub required: Vec<ConsentPurpose>,
    pub consents: Vec<ConsentStatusRow>,
}
