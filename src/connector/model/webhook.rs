//! How a service sends events: how to verify requests, which requests are not events, and where an event's properties
//! are.

use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Pagination;
use crate::connector::{Pointer, Template};

/// The webhooks of a service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookDefinition {
    /// Where and how to register the URL at the vendor.
    pub setup: String,
    /// Values that the user gives for it, for use in templates. `secret` is the signing secret.
    #[serde(default)]
    pub params: IndexMap<String, WebhookParam>,
    /// How to verify that a request is from the vendor: the first proof that matches the request decides.
    #[serde(default)]
    pub proofs: Vec<SignatureScheme>,
    /// Requests that are not events: the first match applies.
    #[serde(default)]
    pub handshakes: Vec<Handshake>,
    #[serde(default)]
    pub event: EventSelectors,
    /// Events that report that objects were merged or got another ID: links follow them.
    #[serde(default)]
    pub merges: Vec<ObjectMerge>,
    /// The response to an accepted request.
    #[serde(default)]
    pub reply: WebhookAck,
    /// Seconds that the vendor waits for a response.
    #[serde(default)]
    pub timeout_secs: Option<u32>,
    /// The largest accepted body, in MiB; overridden by the setting `webhooks.max_body`.
    #[serde(default = "max_body_mib")]
    pub max_body_mib: u32,
    /// When the vendor retries after a failure.
    pub retry: String,
    /// Headers and query common to all samples.
    #[serde(default)]
    pub sample: SampleRequest,
    /// How to register the URL with the API.
    #[serde(default)]
    pub subscribe: Option<SubscriptionCalls>,
    /// How to request events that did not arrive.
    #[serde(default)]
    pub backfill: Option<Backfill>,
    /// How to ask the vendor whether it sent an event, if the signature does not cover the body.
    #[serde(default)]
    pub confirm: Option<EventConfirmation>,
}

/// Ten times the maximum that most vendors send.
fn max_body_mib() -> u32 {
    4
}

/// An event that reports merged objects.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectMerge {
    /// The type of the event.
    pub event: String,
    /// The kind of the objects, as links name it: a stream.
    pub resource: String,
    /// Where the previous IDs are, each place an ID or a list.
    pub former: Vec<Pointer>,
    /// Where the new ID is.
    pub id: Pointer,
}

/// A value needed to receive webhooks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookParam {
    pub prompt: String,
    /// Its value if the user gives none: a template with the connection's values, such as `{client_secret}`.
    #[serde(default)]
    pub from: Option<Template>,
    #[serde(default = "super::yes")]
    pub secret: bool,
    #[serde(default)]
    pub optional: bool,
    /// Prefix of the vendor's secrets, also used for those of the sandbox and those that integ generates.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// How a request proves that the vendor sent it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureScheme {
    pub scheme: SignatureAlgorithm,
    /// Requests that it applies to (default: all with its header).
    #[serde(default)]
    pub when: Option<Condition>,
    /// Where the signature or token is.
    pub signature: SignatureLocation,
    #[serde(default)]
    pub encoding: Encoding,
    /// The signed bytes. `{body}` is the raw body, `{url}` the URL that the vendor called, `{form}` the sorted pairs of
    /// a form, `{crc32}` the body's CRC-32 in decimal; also `{method}`, `{timestamp}`, `{secret}`, and the names of
    /// `values` and of the webhook's parameters.
    #[serde(default)]
    pub base: Option<Template>,
    /// The signing key (default: `{secret}`).
    #[serde(default)]
    pub key: Option<Template>,
    #[serde(default)]
    pub key_encoding: KeyEncoding,
    #[serde(default)]
    pub timestamp: Option<TimestampRule>,
    /// More values of the request, for `base`.
    #[serde(default)]
    pub values: IndexMap<String, ValueSelector>,
    /// The URL parameter that must contain the SHA-256 of the body, in hexadecimal.
    #[serde(default)]
    pub body_hash: Option<String>,
    /// The URL may also be signed without its port, or with the default port of its scheme if it has none.
    #[serde(default)]
    pub any_port: bool,
    /// For `rsa_sha256`: where the URL of the certificate is, and the hosts that it may be on.
    #[serde(default)]
    pub certificate: Option<CertificateRule>,
    /// For `jwt_rs256`: the issuer's keys, and the required claims.
    #[serde(default)]
    pub jwt: Option<JwtRule>,
}

impl SignatureScheme {
    /// Returns whether the key must be fetched from the vendor: a certificate, or an issuer's key set.
    pub fn needs_fetched_key(&self) -> bool {
        matches!(self.scheme, SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::JwtRs256)
    }
}

/// How a webhook request is authenticated: by a signature, a JSON Web Token or a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureAlgorithm {
    HmacSha1,
    HmacSha256,
    HmacSha512,
    /// A plain hash of a base that contains the secret.
    Sha256,
    /// With the vendor's public key.
    Ed25519,
    /// PKCS #1 v1.5, with a fetched certificate.
    RsaSha256,
    /// A JSON Web Token signed with the issuer's key (RFC 7519).
    JwtRs256,
    /// A JSON Web Token signed with the secret.
    JwtHs256,
    /// The secret itself.
    Token,
}

/// Where a value is in a request, and its format there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureLocation {
    #[serde(default)]
    pub header: Option<String>,
    #[serde(default)]
    pub query: Option<String>,
    /// In the body, or in each item of a batch.
    #[serde(default)]
    pub at: Option<Pointer>,
    /// Separates several values.
    #[serde(default)]
    pub separator: Option<String>,
    /// Format of a value: `v1={signature}`. Values in other formats are ignored.
    #[serde(default)]
    pub format: Option<Template>,
}

/// Encoding of a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// Encoding of a signing key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyEncoding {
    #[default]
    Utf8,
    Hex,
    /// base64, after an optional `whsec_` (Standard Webhooks).
    Whsec,
}

/// The time of a request, as given by the request itself.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimestampRule {
    pub place: SignatureLocation,
    #[serde(default)]
    pub unit: TimeUnit,
    /// Maximum difference from now; not checked by default.
    #[serde(default)]
    pub tolerance_secs: Option<u32>,
}

/// Format of a time in a webhook request; numbers are Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    #[default]
    Seconds,
    Milliseconds,
    /// RFC 3339.
    Date,
}

/// Where a request names the URL of its certificate, and the hosts (`*.` for subdomains) that may serve it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateRule {
    pub url: ValueSelector,
    pub hosts: Vec<String>,
}

/// The keys of a JSON Web Token's issuer, and the claims that the token must have (RFC 7519 section 4.1).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtRule {
    /// A JSON Web Key Set (RFC 7517).
    #[serde(default)]
    pub keys_url: Option<String>,
    #[serde(default)]
    pub issuers: Vec<String>,
    #[serde(default)]
    pub audience: Option<Template>,
    /// Claims that must have these values.
    #[serde(default)]
    pub claims: IndexMap<String, Template>,
}

/// A condition for requests. All of it must match; `*` matches any value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    pub method: Option<WebhookMethod>,
    pub headers: IndexMap<String, String>,
    pub query: IndexMap<String, String>,
    pub body: IndexMap<Pointer, Vec<Value>>,
}

/// The HTTP method of a webhook request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum WebhookMethod {
    Get,
    Head,
    Post,
}

impl WebhookMethod {
    /// Returns the method as sent, in upper case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
        }
    }
}

/// A request that is not an event.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Handshake {
    pub when: Condition,
    /// It is signed like an event.
    #[serde(default)]
    pub signed: bool,
    /// Query parameters that must have these values; otherwise the response is 403.
    #[serde(default)]
    pub check: IndexMap<String, Template>,
    /// The secret that it contains; stored if there is none yet.
    #[serde(default)]
    pub capture: Option<Pointer>,
    #[serde(default = "super::action::ok")]
    pub status: u16,
    /// A value of the request, returned as plain text.
    #[serde(default)]
    pub echo: Option<ValueSelector>,
    /// Or a JSON document to return.
    #[serde(default)]
    pub answer: Option<Value>,
}

/// Where a value is in a request. Takes exactly one, and optionally `when`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValueSelector {
    pub header: Option<String>,
    pub query: Option<String>,
    /// In the event: the body, or an item of a batch.
    pub at: Option<Pointer>,
    /// In the body, also for the items of a batch.
    pub body: Option<Pointer>,
    /// The name of a member next to the event.
    pub beside: Option<String>,
    /// A constant.
    pub text: Option<String>,
    /// For an ID: the second of receipt. For vendors that repeat the same content without an ID.
    pub received: bool,
    /// Only for events that match; `body` is the event's own.
    pub when: Option<Condition>,
}

/// Where the properties of an event are.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventSelectors {
    /// For a batch: the list of events, then the list within each item, and so on.
    pub items: Vec<Pointer>,
    /// The vendor's delivery ID; several parts are combined. For requests without one, see `equal_bodies`.
    pub id: Vec<ValueSelector>,
    /// The meaning of equal bodies without an ID.
    pub equal_bodies: DuplicateBodyPolicy,
    /// The event's type, one of `events`; the places that exist are joined with dots.
    #[serde(rename = "type")]
    pub kind: Vec<ValueSelector>,
    /// The account. Here and below, the first place that exists.
    pub account: Vec<ValueSelector>,
    pub time: Vec<ValueSelector>,
    pub time_unit: TimeUnit,
    /// The object that the event is about.
    pub resource: Vec<ValueSelector>,
    /// The user who caused it.
    pub actor: Vec<ValueSelector>,
    /// The form field that contains the event as JSON, if the body is a form.
    pub form_field: Option<String>,
    /// The member that contains a base64-encoded document, which replaces it; samples contain the document itself.
    pub base64: Option<Pointer>,
}

/// The meaning of equal bodies without an ID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateBodyPolicy {
    /// Each is an event, identified by the signed time, or otherwise by the time of receipt. A request that is repeated
    /// with the same signed time is the same event.
    #[default]
    Each,
    /// One event: the bodies contain something unique, such as an ID or a time.
    One,
}

/// The response to an accepted webhook request; by default, status 200 and no body.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookAck {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Option<String>,
    /// How long the vendor waits for a response that it acts on, such as `3s`. A handler's response in time is passed
    /// on; otherwise the response above is sent.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "Option<String>")]
    pub within: Option<Duration>,
    /// The event types that it waits for, or patterns; all if empty.
    pub events: Vec<String>,
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = crate::duration::parse(&text);
    parsed.map(Some).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a duration such as 3s")))
}

impl Default for WebhookAck {
    fn default() -> Self {
        Self { status: 200, content_type: None, body: None, within: None, events: Vec::new() }
    }
}

/// How to register the URL with actions of the connector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionCalls {
    /// The action, and values for its parameters: templates with `{url}`, `{secret}`, `{id}` (a new ID), `{expires_at}`
    /// and `{expires_at_ms}`. The user gives the others.
    pub action: String,
    #[serde(default)]
    pub params: IndexMap<String, Value>,
    /// The parameter for the event types.
    #[serde(default)]
    pub events: Option<String>,
    /// Results of the action that the other actions need; stored with the connection.
    #[serde(default)]
    pub keep: Vec<String>,
    /// The result that is the secret, if the vendor generates it.
    #[serde(default)]
    pub secret: Option<String>,
    #[serde(default)]
    pub unsubscribe: Option<SubscriptionCall>,
    /// How to renew it. Without it, a new subscription is made.
    #[serde(default)]
    pub renew: Option<SubscriptionCall>,
    /// How long it lasts.
    #[serde(default)]
    pub lease_secs: Option<u32>,
    /// The result that contains its end, as RFC 3339 or Unix time.
    #[serde(default)]
    pub expires: Option<String>,
    /// How to list existing subscriptions, for a user who must check.
    #[serde(default)]
    pub list: Option<SubscriptionCall>,
}

/// An action with its parameters.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionCall {
    pub action: String,
    #[serde(default)]
    pub params: IndexMap<String, Value>,
}

/// How to request events that did not arrive: from the vendor's delivery log or its list of events.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backfill {
    /// The action that lists events, and values for its parameters: templates with `{since}` and `{until}` (Unix
    /// seconds), `{since_ms}`, `{until_ms}`, `{since_date}`, `{until_date}`, `{since_day}`, `{until_day}`, and values
    /// stored by a subscription. The user or the subscription gives the others.
    pub action: String,
    #[serde(default)]
    pub params: IndexMap<String, Value>,
    /// How its list is paginated, instead of `api.pages`.
    #[serde(default)]
    pub pages: Option<Pagination>,
    /// A request for each item of the list, if the item does not contain the event itself.
    #[serde(default)]
    pub each: Option<BackfillExpansion>,
    /// The time of an item, if the list cannot be filtered by time, or only roughly.
    #[serde(default)]
    pub time: Option<Pointer>,
    #[serde(default)]
    pub time_unit: TimeUnit,
    /// The list is newest first, so that reading can stop at older items.
    #[serde(default)]
    pub newest_first: bool,
    /// A jq expression that converts an item to the body of its delivery; no output means no event.
    #[serde(default)]
    pub event: Option<String>,
    /// The headers of the delivery, as an object in the item, and headers found elsewhere in it.
    #[serde(default)]
    pub all_headers: Option<Pointer>,
    #[serde(default)]
    pub headers: IndexMap<String, Pointer>,
    /// The query of the delivery.
    #[serde(default)]
    pub query: IndexMap<String, String>,
    /// How far back the vendor keeps events.
    #[serde(default)]
    pub reach_secs: Option<u32>,
}

/// How to ask the vendor whether it sent an event. Until it confirms, the event is unverified and not handled.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventConfirmation {
    /// The action to call, with the connection's credentials. "Not found" means no only after repeated tries: vendors
    /// may send an event shortly before it can be fetched.
    pub action: String,
    /// Parameters taken from the request, each with its place; a place in the body gives the JSON value.
    #[serde(default)]
    pub params: IndexMap<String, ValueSelector>,
    /// Parameters taken from the webhook's parameters: templates such as `{webhook_id}`.
    #[serde(default)]
    pub values: IndexMap<String, Template>,
    /// Where the event is in the response, "" for the whole response. It must contain everything that the received
    /// event contains.
    #[serde(default)]
    pub event: Option<Pointer>,
    /// Places in the response, each with the values that confirm the event.
    #[serde(default)]
    pub holds: IndexMap<Pointer, Vec<Value>>,
}

/// An action whose parameters are taken from an item.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackfillExpansion {
    pub action: String,
    pub params: IndexMap<String, Pointer>,
}

/// A sample event as sent by the vendor, for `integ webhook simulate`: its texts can use `{id}` and `{uuid}` (new for
/// each event), `{now}`, `{now_ms}` and `{now_date}`, `{n}` (a counter), and the webhook's parameters.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampleRequest {
    pub headers: IndexMap<String, Template>,
    pub query: IndexMap<String, Template>,
    /// The body as JSON. A string that is only `{now}`, `{now_ms}` or `{n}` becomes a number.
    pub json: Option<String>,
    /// The body as a form.
    pub form: IndexMap<String, Template>,
    /// The body as text.
    pub text: Option<Template>,
    /// Its content type, if it is not JSON or a form.
    pub content_type: Option<String>,
}
