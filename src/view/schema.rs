//! Names, IDs and closed enums in JSON: they are strings, in views and in requests.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::model::{
    ApiOutcome, ApiTokenId, ApiTokenName, ApiTokenStatus, ApprovalId, ApprovalPolicy, ApprovalStatus, ApprovalUse,
    AuditActorKind, AuditOutcome, BackoffPolicy, BindingChange, BindingName, BindingOrigin, ChainProblemKind,
    CheckpointState, ConnectLinkId, ConnectLinkMode, ConnectLinkStatus, ConnectionMode, ConnectionName, ConsentId,
    ConsentPurpose, ConsentState, ConsentType, DeliveryId, DeliveryStatus, DisabledReason, Effect, EndpointId,
    EventPattern, EventStatus, EventType, EventVerification, HandlerKind, JobStatus, LogLevel, LogSource, OperatorName,
    OperatorRole, RateTier, RecordChange, RevealPolicy, ScopeGrant, SignInId, SignInStatus, SubscriptionStatus,
    SyncMode, Transition, UserId, WorkspaceName, calendar,
};

/// Gives closed enums a schema that lists their words.
macro_rules! word_schemas {
    ($($type:ty),+ $(,)?) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
            }
        })+
    };
}

/// Gives types that are written as a text a schema with this description, and the pattern and the greatest length of texts.
macro_rules! text_schemas {
    ($($type:ty => $description:literal $(, $pattern:expr $(, $longest:literal)?)?);+ $(;)?) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": $description,
                    $("pattern": $pattern, $("maxLength": $longest,)?)?
                })
            }
        })+
    };
}

/// The name of a connection: a connector and perhaps an account, of at most 128 bytes each.
const CONNECTION: &str = "^[0-9A-Za-z][0-9A-Za-z-]{0,127}(@[0-9A-Za-z][0-9A-Za-z._+@-]{0,127})?$";

/// Visible text without spaces at either end, of at most 256 characters.
const VISIBLE: &str = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]{0,254}[^\s\x00-\x1f\x7f-\x9f])?$";

/// A connection, and a stream or an event type.
const ORIGIN: &str = concat!(
    "^[0-9A-Za-z][0-9A-Za-z-]{0,127}(@[0-9A-Za-z][0-9A-Za-z._+@-]{0,127})?[/#]",
    r"[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]{0,254}[^\s\x00-\x1f\x7f-\x9f])?$"
);

/// A type with stars in the place of letters, no two of them side by side; each part is the same.
const EVENT_PATTERN: &str =
    concat!(r"^(\*|\*?[0-9A-Za-z_-]+(\*[0-9A-Za-z_-]+)*\*?)", r"(\.(\*|\*?[0-9A-Za-z_-]+(\*[0-9A-Za-z_-]+)*\*?))*$");

const EVENT_TYPE: &str = r"^[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*$";

word_schemas!(
    ApiOutcome,
    ApiTokenStatus,
    ApprovalPolicy,
    ApprovalStatus,
    ApprovalUse,
    AuditActorKind,
    AuditOutcome,
    BackoffPolicy,
    BindingChange,
    ChainProblemKind,
    CheckpointState,
    ConnectLinkMode,
    ConnectLinkStatus,
    ConnectionMode,
    ConsentState,
    ConsentType,
    DeliveryStatus,
    DisabledReason,
    Effect,
    EventStatus,
    EventVerification,
    HandlerKind,
    JobStatus,
    LogLevel,
    LogSource,
    OperatorRole,
    RateTier,
    RecordChange,
    RevealPolicy,
    SignInStatus,
    SubscriptionStatus,
    SyncMode,
    Transition,
    crate::store::StoreBackend,
    super::binding::EntityOutcome,
    super::binding::ExampleOutcome,
    super::bundle::BundleLifetime,
    super::calendar::ChangeOutcome,
    super::connection::ReconnectOutcome,
    super::connection::RefreshOutcome,
    super::connection::RenewalOutcome,
    super::connector::SetupTask,
    super::endpoint::DeliveryEvent,
    super::endpoint::EndpointStatus,
    super::link::LinkOutcome,
    super::sandbox::EmulatorEvent,
    super::sync::JobViewStatus,
    super::sync::SyncStatus,
    super::workspace::AppScope,
    calendar::CalendarEventStatus,
    calendar::FreeBusyStatus,
    calendar::ParticipationStatus,
    calendar::Privacy,
    crate::connect::DisconnectResult,
    crate::error::Kind,
    crate::doctor::Severity,
    crate::health::ConnectionStatus,
    crate::health::HealthOutcome,
    crate::sandbox::EmulatedEndpoint,
    crate::sandbox::FaultKind,
    crate::vault::IdentityLocation,
    crate::webhook::inbound::explain::CheckStatus,
    crate::webhook::settings::SecretSource,
    crate::webhook::simulate::corrupt::Corruption,
    crate::webhook::subscription::LeaseStatus,
);

text_schemas!(
    ApiTokenId => "The id of an API token";
    ApiTokenName => "The name of an API token";
    ApprovalId => "The id of an approval";
    OperatorName => "The name of an operator";
    ScopeGrant => "A scope such as `connections:read`, or a group such as `read:*`";
    BindingName => "The name of a binding", "^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$";
    BindingOrigin => "What a binding maps, such as `hubspot/contacts` or `stripe#charge.refunded`", ORIGIN;
    ConnectLinkId => "The id of a connect link";
    SignInId => "The id of a sign-in";
    ConnectionName => "The name of a connection, such as `slack` or `slack@work`", CONNECTION;
    WorkspaceName => "The name of a workspace";
    ConsentId => "The id of a consent";
    ConsentPurpose => "sync, webhooks, deliver, call, or a purpose of your own";
    UserId => "The id of one of your own users", VISIBLE;
    EndpointId => "The id of an endpoint", "^ep_[0-9A-Za-z_]{1,64}$";
    DeliveryId => "The id of a delivery", "^dlv_[0-9]{1,18}$";
    EventType => "The type of an event, such as `invoice.paid`", EVENT_TYPE, 128;
    EventPattern => "A type of events, or a pattern such as `invoice.*`", EVENT_PATTERN, 128;
    crate::secret::Secret => "A secret";
);

/// Lets requests in JSON name what is written as a text, with the same checks as on the command line.
macro_rules! text_inputs {
    ($($type:ty),+ $(,)?) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(|error| D::Error::custom(error))
            }
        })+
    };
}

text_inputs!(
    ApprovalPolicy,
    ApprovalStatus,
    BackoffPolicy,
    BindingName,
    BindingOrigin,
    ConnectionMode,
    ConnectionName,
    DeliveryId,
    DeliveryStatus,
    EndpointId,
    EventPattern,
    EventStatus,
    EventType,
    RevealPolicy,
    SyncMode,
    UserId,
    WorkspaceName,
    crate::error::Kind,
    crate::health::ConnectionStatus,
    crate::health::HealthOutcome,
    crate::webhook::subscription::LeaseStatus,
    crate::webhook::simulate::corrupt::Corruption,
);

/// Reads a number that may be written as `1.0`, which is an integer in JSON Schema (validation, section 6.1.1).
pub(crate) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
        return Ok(number as u32);
    }
    Err(D::Error::custom(format!("{number} is not a whole number")))
}

/// Stands for a time in a view's schema: RFC 3339, in UTC.
pub(crate) struct Time;

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// Adds the member `event` to the schema of an object that serde tags with it.
pub(crate) fn tag(schema: &mut Schema, event: &str) {
    let mut properties = serde_json::Map::new();
    properties.insert("event".to_owned(), serde_json::json!({ "type": "string", "const": event }));
    if let Some(serde_json::Value::Object(own)) = schema.remove("properties") {
        properties.extend(own);
    }
    schema.insert("properties".to_owned(), properties.into());
    if let Some(required) = schema.get_mut("required").and_then(serde_json::Value::as_array_mut) {
        required.insert(0, "event".into());
    }
}
