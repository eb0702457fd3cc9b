//! How a service tells of events: what proves that it was it, which requests are none, and where an event says what.

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
    /// Where and how the URL is registered at the vendor.
    pub setup: String,
    /// What the user gives for it, by names that templates may use. `secret` is what the vendor signs with.
    #[serde(default)]
    pub params: IndexMap<String, WebhookParam>,
    /// What proves that a request is the vendor's: the first one that a request fits judges it alone.
    #[serde(default)]
    pub proofs: Vec<SignatureScheme>,
    /// Requests that are no events: the first one that a request fits.
    #[serde(default)]
    pub handshakes: Vec<Handshake>,
    #[serde(default)]
    pub event: EventSelectors,
    /// Events that say that objects became one, or that one has another id: links follow them.
    #[serde(default)]
    pub merges: Vec<ObjectMerge>,
    /// What a request that was taken is answered with.
    #[serde(default)]
    pub reply: WebhookAck,
    /// Seconds within which the vendor wants its answer.
    #[serde(default)]
    pub timeout_secs: Option<u32>,
    /// The largest body that is taken, in MiB; the setting `webhooks.max_body` replaces it.
    #[serde(default = "max_body_mib")]
    pub max_body_mib: u32,
    /// What the vendor does where the answer is no success.
    pub retry: String,
    /// What all samples have in common: headers and query.
    #[serde(default)]
    pub sample: SampleRequest,
    /// How the URL is registered by the API.
    #[serde(default)]
    pub subscribe: Option<SubscriptionCalls>,
    /// How what did not arrive is asked for.
    #[serde(default)]
    pub backfill: Option<Backfill>,
    /// How the vendor is asked whether an event is its own, where the signature does not cover the body.
    #[serde(default)]
    pub confirm: Option<EventConfirmation>,
}

/// Ten times what most vendors send at most.
fn max_body_mib() -> u32 {
    4
}

/// An event that tells of objects that became one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectMerge {
    /// The type of the event.
    pub event: String,
    /// What the objects are, by the name that links have for it: a stream.
    pub resource: String,
    /// Where the ids are that there were before, each place one or a list.
    pub former: Vec<Pointer>,
    /// Where the id is that there is now.
    pub id: Pointer,
}

/// A value that receiving needs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookParam {
    pub prompt: String,
    /// What it is where the user gives none: a template over the connection's values, as in `{client_secret}`.
    #[serde(default)]
    pub from: Option<Template>,
    #[serde(default = "super::yes")]
    pub secret: bool,
    #[serde(default)]
    pub optional: bool,
    /// What the vendor's secrets begin with, so that those of the sandbox and those that integ makes look like them.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// How a request proves whose it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureScheme {
    pub scheme: SignatureAlgorithm,
    /// Which requests it judges; all that carry its header where absent.
    #[serde(default)]
    pub when: Option<Condition>,
    /// Where the signature, or the token itself, stands.
    pub signature: SignatureLocation,
    #[serde(default)]
    pub encoding: Encoding,
    /// The bytes that are signed. `{body}` is the raw body, `{url}` the one that the vendor calls, `{form}` the form's pairs
    /// sorted, `{crc32}` the body's CRC-32 in decimal, `{method}`, `{timestamp}`, `{secret}`, and the names of `values` and
    /// of the webhook's parameters.
    #[serde(default)]
    pub base: Option<Template>,
    /// What is signed with: `{secret}` where absent.
    #[serde(default)]
    pub key: Option<Template>,
    #[serde(default)]
    pub key_encoding: KeyEncoding,
    #[serde(default)]
    pub timestamp: Option<TimestampRule>,
    /// Further values of the request that `base` names.
    #[serde(default)]
    pub values: IndexMap<String, ValueSelector>,
    /// The parameter of the URL that must hold the SHA-256 of the body, in hexadecimal.
    #[serde(default)]
    pub body_hash: Option<String>,
    /// Whether the URL may be signed without its port too, and with its scheme's where it has none.
    #[serde(default)]
    pub any_port: bool,
    /// Of `rsa_sha256`: where the URL of the certificate stands, and the hosts that it may be on.
    #[serde(default)]
    pub certificate: Option<CertificateRule>,
    /// Of `jwt_rs256`: the issuer's keys, and what the token must say.
    #[serde(default)]
    pub jwt: Option<JwtRule>,
}

impl SignatureScheme {
    /// Whether the key must be fetched from the vendor: a certificate, or an issuer's key set.
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
    /// A plain hash over a base that holds the secret.
    Sha256,
    /// The key is the vendor's public one.
    Ed25519,
    /// PKCS #1 v1.5 by a certificate that is fetched.
    RsaSha256,
    /// A JSON Web Token signed by the issuer's key (RFC 7519).
    JwtRs256,
    /// A JSON Web Token signed with the secret.
    JwtHs256,
    /// The secret itself, compared.
    Token,
}

/// Where something stands in a request, and how it is written there.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureLocation {
    #[serde(default)]
    pub header: Option<String>,
    #[serde(default)]
    pub query: Option<String>,
    /// In the body; in each item of a batch.
    #[serde(default)]
    pub at: Option<Pointer>,
    /// What parts several of them.
    #[serde(default)]
    pub separator: Option<String>,
    /// How one is written: `v1={signature}`; what fits not is no signature of this scheme.
    #[serde(default)]
    pub format: Option<Template>,
}

/// How the bytes of a signature are written as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// How the bytes of a signing key are written as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyEncoding {
    #[default]
    Utf8,
    Hex,
    /// base64, after `whsec_` where that is there (Standard Webhooks).
    Whsec,
}

/// When a request was made, by its own word.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimestampRule {
    pub place: SignatureLocation,
    #[serde(default)]
    pub unit: TimeUnit,
    /// How far it may be from now, either way; absent: it is not judged.
    #[serde(default)]
    pub tolerance_secs: Option<u32>,
}

/// How a time in a webhook request is written; the numbers are Unix time.
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

/// Which requests something is about. All of it must fit; `*` stands for any value.
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
    /// Returns the method as it is sent, in upper case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
        }
    }
}

/// A request that is no event.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Handshake {
    pub when: Condition,
    /// Whether it proves whose it is as an event does.
    #[serde(default)]
    pub signed: bool,
    /// Parameters of the query that must have these values; else it is answered with 403.
    #[serde(default)]
    pub check: IndexMap<String, Template>,
    /// The secret that it brings: kept, if there is none yet.
    #[serde(default)]
    pub capture: Option<Pointer>,
    #[serde(default = "super::action::ok")]
    pub status: u16,
    /// What it is answered with: a value of the request as plain text.
    #[serde(default)]
    pub echo: Option<ValueSelector>,
    /// Or this document.
    #[serde(default)]
    pub answer: Option<Value>,
}

/// Where a value is found in a request. Takes exactly one, and `when`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValueSelector {
    pub header: Option<String>,
    pub query: Option<String>,
    /// In the event: the body, or an item of a batch.
    pub at: Option<Pointer>,
    /// In the body, whatever the item.
    pub body: Option<Pointer>,
    /// The name of the member that stands beside this one.
    pub beside: Option<String>,
    /// Always this.
    pub text: Option<String>,
    /// Of an id: the second in which it came. For what a vendor tells again in the same words and gives no name.
    pub received: bool,
    /// Only of events that this fits; `body` is the event's own.
    pub when: Option<Condition>,
}

/// Where an event says what.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventSelectors {
    /// A batch: the list of events, and within each of its items the list below, and so on.
    pub items: Vec<Pointer>,
    /// What the vendor knows a delivery by; several parts make one. Of a request that has none of them, see `equal_bodies`.
    pub id: Vec<ValueSelector>,
    /// What equal bodies are that come without an id.
    pub equal_bodies: DuplicateBodyPolicy,
    /// The event's type, one of `events`; several places make one name joined by dots, as far as they are there.
    #[serde(rename = "type")]
    pub kind: Vec<ValueSelector>,
    /// Of several places the first that is there, as of those below.
    pub account: Vec<ValueSelector>,
    pub time: Vec<ValueSelector>,
    pub time_unit: TimeUnit,
    /// What it is about.
    pub resource: Vec<ValueSelector>,
    /// Who did it.
    pub actor: Vec<ValueSelector>,
    /// The form's field that holds the event as JSON, where a body is a form.
    pub form_field: Option<String>,
    /// The member that holds a document as base64, which takes its place; in samples the document itself stands there.
    pub base64: Option<Pointer>,
}

/// What equal bodies are that come without an id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateBodyPolicy {
    /// An event each, told apart by the time that is signed, else by the time at which they come. A request that is sent again
    /// with the same signed time is the same event.
    #[default]
    Each,
    /// One event: the body holds something that no second event has, such as an id or a time.
    One,
}

/// The answer to a webhook request that was accepted; by default, status 200 and no body.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookAck {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Option<String>,
    /// Of a vendor that acts on the answer: how long it waits for it, as in `3s`. What a handler answers in time is handed
    /// on; else the answer above goes out.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "Option<String>")]
    pub within: Option<Duration>,
    /// The types of the events that it waits for an answer to, or patterns of them; all if empty.
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

/// How the URL is registered by actions of the connector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionCalls {
    /// The action, and what integ gives to its parameters: templates over `{url}`, `{secret}`, `{id}` (a fresh one),
    /// `{expires_at}` and `{expires_at_ms}`. The user gives the others.
    pub action: String,
    #[serde(default)]
    pub params: IndexMap<String, Value>,
    /// The parameter that takes the types of events.
    #[serde(default)]
    pub events: Option<String>,
    /// The action's results that the others need; kept with the connection.
    #[serde(default)]
    pub keep: Vec<String>,
    /// The secret where the vendor makes it: one of the action's results.
    #[serde(default)]
    pub secret: Option<String>,
    #[serde(default)]
    pub unsubscribe: Option<SubscriptionCall>,
    /// What prolongs it; if absent, a new subscription is made.
    #[serde(default)]
    pub renew: Option<SubscriptionCall>,
    /// How long it lasts.
    #[serde(default)]
    pub lease_secs: Option<u32>,
    /// When it ends by the vendor's word: one of the results, as RFC 3339 or Unix time.
    #[serde(default)]
    pub expires: Option<String>,
    /// What lists those there are, for a person who must look.
    #[serde(default)]
    pub list: Option<SubscriptionCall>,
}

/// An action with what is given to it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionCall {
    pub action: String,
    #[serde(default)]
    pub params: IndexMap<String, Value>,
}

/// How events that did not arrive are asked for: from the vendor's log of deliveries, or as the list of what happened.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backfill {
    /// The action that lists them, and what integ gives to its parameters: templates over `{since}` and `{until}` (Unix
    /// seconds), `{since_ms}`, `{until_ms}`, `{since_date}`, `{until_date}`,
    /// `{since_day}`, `{until_day}`, and what a subscription keeps. The user, or
    /// the subscription, gives the others.
    pub action: String,
    #[serde(default)]
    pub params: IndexMap<String, Value>,
    /// How its list is paginated, in place of `api.pages`.
    #[serde(default)]
    pub pages: Option<Pagination>,
    /// What is asked for each item of the list, where that does not hold the event itself.
    #[serde(default)]
    pub each: Option<BackfillExpansion>,
    /// When an item was, where the list takes no times or takes them roughly.
    #[serde(default)]
    pub time: Option<Pointer>,
    #[serde(default)]
    pub time_unit: TimeUnit,
    /// Whether the list begins with the newest, so that an older page need not be asked for.
    #[serde(default)]
    pub newest_first: bool,
    /// The body of the delivery: a jq expression over the item; what it gives nothing for is no event.
    #[serde(default)]
    pub event: Option<String>,
    /// The headers of the delivery, as one object of the item, and those that stand elsewhere in it.
    #[serde(default)]
    pub all_headers: Option<Pointer>,
    #[serde(default)]
    pub headers: IndexMap<String, Pointer>,
    /// The query of the delivery.
    #[serde(default)]
    pub query: IndexMap<String, String>,
    /// How far back the vendor knows them.
    #[serde(default)]
    pub reach_secs: Option<u32>,
}

/// How the vendor is asked whether it sent an event. Until it has said so, the event is unverified and nobody handles it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventConfirmation {
    /// The action that asks, called with the connection's own credentials. A definite "not found" is a no, once it has been
    /// repeated: vendors may send an event shortly before it can be fetched.
    pub action: String,
    /// The action's parameters, each with its place in the request; a place in the body gives the JSON value.
    #[serde(default)]
    pub params: IndexMap<String, ValueSelector>,
    /// Parameters that come from the webhook's own: templates, such as `{webhook_id}`.
    #[serde(default)]
    pub values: IndexMap<String, Template>,
    /// Where the event is in the answer, "" for all of it. It must hold everything that the received event holds.
    #[serde(default)]
    pub event: Option<Pointer>,
    /// Places in the answer, each with the values that mean yes.
    #[serde(default)]
    pub holds: IndexMap<Pointer, Vec<Value>>,
}

/// An action with values out of an item for its parameters.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackfillExpansion {
    pub action: String,
    pub params: IndexMap<String, Pointer>,
}

/// What an event looks like on the wire, for `integ webhook simulate`: whatever stands in it may name `{id}` and `{uuid}`
/// (fresh for each event), `{now}`, `{now_ms}` and `{now_date}`, `{n}` (one more for each), and the webhook's
/// parameters.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampleRequest {
    pub headers: IndexMap<String, Template>,
    pub query: IndexMap<String, Template>,
    /// The body as JSON. A text that is nothing but `{now}`, `{now_ms}` or `{n}` becomes a number.
    pub json: Option<String>,
    /// The body as a form.
    pub form: IndexMap<String, Template>,
    /// The body as any text.
    pub text: Option<Template>,
    /// Its content type, where that is not JSON or a form.
    pub content_type: Option<String>,
}
