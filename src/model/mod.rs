//! The types of the domain: connections, grants, events, deliveries, records and jobs. No I/O.

pub mod alert;
pub mod api_token;
pub mod app;
pub mod approval;
pub mod audit;
pub mod binding;
pub mod budget;
pub mod calendar;
pub mod connect_link;
pub mod connection;
pub mod consent;
mod consent_condition;
pub mod delivery;
pub mod effect;
pub mod endpoint;
pub mod entity_state;
pub mod event;
pub mod event_type;
pub mod figures;
pub mod grant;
pub mod health_check;
pub mod idempotency;
mod installed_connector;
pub mod job;
pub mod link;
pub mod log;
pub mod mcp;
pub mod message;
pub mod name;
pub mod notification;
pub mod operator;
pub mod random_id;
pub mod record;
pub mod schedule;
pub mod secrets;
pub mod sign_in;
pub mod stream;
pub mod subscription;
pub mod user;
pub mod webhook;
pub mod words;

pub use alert::{Alert, AlertKey};
pub use api_token::{
    API_SCOPES, API_TOKEN_PATTERN, API_TOKEN_PREFIX, API_TOKEN_WARNING, Admission, ApiOutcome, ApiScope, ApiToken,
    ApiTokenHash, ApiTokenId, ApiTokenName, ApiTokenStatus, ApiTokenText, ApiTokenTrust, ApiUse, ApiUseCount, ApiVerb,
    ExcessRight, MAX_API_TOKEN_LIFETIME, MAX_TRUST_NAME_BYTES, MAX_TRUSTED_LIFETIME, OperationScope, PresentedApiToken,
    RateTier, ScopeGrant, ScopeGroup, TokenExchange, TokenExchangeResult, UnknownScope,
};
pub use app::OAuthApp;
pub use approval::{
    APPROVAL_LIFETIME, Approval, ApprovalClaim, ApprovalDecision, ApprovalId, ApprovalPolicy, ApprovalRequest,
    ApprovalStatus, ApprovalUse, MAX_APPROVAL_WINDOW, approval_summary,
};
pub use audit::{
    AuditActor, AuditActorFilter, AuditActorKind, AuditBounds, AuditCheckpoint, AuditEntry, AuditFilter, AuditHash,
    AuditOutcome, AuditRecord, AuditSequence, ChainLink, ChainProblem, ChainProblemKind, ChainVerifier,
    CheckpointState,
};
pub use binding::{
    Binding, BindingChange, BindingFailure, BindingId, BindingInput, BindingName, BindingNameError, BindingOrigin,
    BindingResults, BoundInput,
};
pub use budget::Budget;
pub use connect_link::{ConnectLink, ConnectLinkId, ConnectLinkMode, ConnectLinkStatus};
pub use connection::{
    Account, Check, Connection, ConnectionAccess, ConnectionHealth, ConnectionId, ConnectionMode, ConnectionTransition,
    GrantStatus, NewConnection, RevealPolicy, Transition, connect_command, reconnect_command,
};
pub use consent::{
    Consent, ConsentFilter, ConsentId, ConsentPurpose, ConsentResource, ConsentState, ConsentTextError, ConsentType,
    NewConsent, consent_state,
};
pub use consent_condition::{ConsentCondition, ConsentError};
pub use delivery::{
    AttemptRecord, Delivery, DeliveryAttempt, DeliveryFilter, DeliveryId, DeliveryStatus, DeliveryUpdate,
    MessageInsertResult, RecordedAttempt,
};
pub use effect::Effect;
pub use endpoint::{BackoffPolicy, DeliveryPolicy, DisabledReason, Endpoint, EndpointHealth, EndpointId};
pub use entity_state::{
    BoundEntity, ConflictPolicy, DELETION, EntityDeletion, EntityFields, EntityState, EntityWrite, FieldConflict,
    OpenConflict, SyncSide, WriteKind,
};
pub use event::{
    AttemptResult, ConflictResolution, DueEvents, EventConflict, EventFilter, EventId, EventInsertResult,
    EventProgress, EventStatus, EventVerification, HandlerKind, HandlerRun, InboundDelivery, NewEvent, PruneRequest,
    QueuedEvent, RawRequest, StoredEvent,
};
pub use event_type::{EventPattern, EventType, EventTypeDefinition, matches_any_type, matches_type};
pub use figures::{QueueState, WorkspaceFigures};
pub use grant::{
    ClientCredentials, Expiry, Grant, GrantMetadata, GrantWriteResult, RefreshAttempt, RefreshMethod, SecretStorage,
    StoredGrant,
};
pub use health_check::{HealthCheck, HealthCheckId, HealthOutcome, StoredHealthCheck, Uptime};
pub use idempotency::{IdempotencyClaim, IdempotencyKey, IdempotencyRequest, StoredResponse};
pub use installed_connector::InstalledConnector;
pub use job::{Job, JobId, JobResult, JobStatus, NewJob, SyncMode};
pub use link::{
    Entity, Link, LinkFilter, LinkId, LinkInsertResult, LinkPartError, LinkedObject, MergedObject, NewLink,
};
pub use log::{LogLevel, LogPosition, LogSource};
pub use mcp::{
    MCP_HEADER_MISMATCH, MCP_META_CAPABILITIES, MCP_META_CLIENT, MCP_META_REVISION, MCP_META_SERVER,
    MCP_SESSION_REVISIONS, MCP_STATELESS_REVISION, MCP_UNSUPPORTED_REVISION,
};
pub use message::Message;
pub use name::{ConnectionName, NameError, WorkspaceName};
pub use notification::{Notification, VARIABLES};
pub use operator::{
    DASHBOARD_LINK_LIFETIME, Operator, OperatorActivity, OperatorName, OperatorRole, OperatorSession,
    SESSION_IDLE_TIMEOUT, SESSION_LIFETIME,
};
pub use record::{
    CompletedList, Hash, NewPage, NewRecord, PageCheckpoint, PushedRecord, RecordChange, RecordCounts, RecordId,
    RecordSnapshot, RecordTotals, StoredRecord, SweepResult, Traffic,
};
pub use schedule::Schedule;
pub use sign_in::{
    ConnectedAccount, NewSignIn, SignIn, SignInFailure, SignInId, SignInResult, SignInStatus, TakeSignInResult,
};
pub use stream::{FormerCursor, Partition, PartitionId, StoredStream, StreamId, StreamParams};
pub use subscription::{Subscription, SubscriptionId, SubscriptionRequest, SubscriptionResult, SubscriptionStatus};
pub use user::{UserCounts, UserId, UserIdError};
pub use webhook::Webhook;
pub use words::UnknownWord;
pub(crate) use words::words;
