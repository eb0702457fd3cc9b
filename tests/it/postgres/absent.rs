//! What the proof leaves out: apps, of which there are none, and every other aggregate, which is closed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use integ::clock::Timestamp;
use integ::model::calendar::EventCreationAttempt;
use integ::model::delivery::{
    AttemptRecord, Delivery, DeliveryAttempt, DeliveryFilter, DeliveryId, MessageInsertResult, RecordedAttempt,
};
use integ::model::*;
use integ::secret::Secret;
use integ::store::{
    Alerts, ApiTokenRotation, ApiTokenTrusts, ApiTokenWrite, ApiTokens, Approvals, Apps, AuditLog, Bindings,
    CommitConditions, ConnectLinks, Consents, Endpoints, EntityStates, EventCreations, EventTypes, Events, Fence,
    Figures, HealthChecks, IdempotencyKeys, InstalledConnectors, Jobs, Links, Operators, Outbox, Records, Sandbox,
    Schedules, SignIns, StoreError, Streams, Subscriptions, Users, Webhooks,
};
use jiff::civil::Date;
use serde_json::Value;

use super::store::PostgresStore;

/// Implements a trait whose methods all fail.
macro_rules! closed {
    ($($trait:ident { $(fn $method:ident($($argument:ty),* $(,)?) -> $output:ty;)* })*) => {
        $(
            #[async_trait]
            impl $trait for PostgresStore {
                $(
                    async fn $method(&self, $(_: $argument),*) -> Result<$output, StoreError> {
                        Err(StoreError::Closed)
                    }
                )*
            }
        )*
    };
}

#[async_trait]
impl Apps for PostgresStore {
    async fn list(&self) -> Result<Vec<OAuthApp>, StoreError> {
        Ok(Vec::new())
    }

    async fn for_connector(&self, _: &str) -> Result<Vec<OAuthApp>, StoreError> {
        Ok(Vec::new())
    }

    async fn set(&self, _: &OAuthApp) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn assign(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn remove(&self, _: &str, _: Option<&str>) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
}

closed! {
    ApiTokens {
        fn list() -> Vec<ApiToken>;
        fn find(&ApiTokenId) -> Option<ApiToken>;
        fn find_by_hash(&ApiTokenHash) -> Option<PresentedApiToken>;
        fn insert(&ApiToken, &ApiTokenHash) -> ApiTokenWrite;
        fn replace(&ApiToken, &ApiToken) -> ApiTokenWrite;
        fn rotate(&ApiTokenId, &ApiTokenRotation) -> Option<ApiToken>;
        fn revoke(&ApiTokenId) -> Vec<ApiToken>;
        fn record_use(&ApiTokenId, Timestamp) -> ();
        fn admit(&ApiTokenId, Timestamp, u32, Duration) -> Option<Admission>;
        fn record_usage(&[ApiUse]) -> ();
        fn usage(&ApiTokenId, Date) -> Vec<ApiUseCount>;
    }
    ApiTokenTrusts {
        fn add(&ApiTokenTrust) -> bool;
        fn list() -> Vec<ApiTokenTrust>;
        fn remove(&ApiTokenName) -> Option<u64>;
        fn exchange(&TokenExchange, Timestamp) -> TokenExchangeResult;
    }
    Approvals {
        fn claim(&Approval, Timestamp) -> ApprovalClaim;
        fn list(Option<&ApprovalId>, u32) -> Vec<Approval>;
        fn find(&ApprovalId) -> Option<Approval>;
        fn decide(&ApprovalId, ApprovalDecision, Timestamp) -> Option<Approval>;
    }
    SignIns {
        fn begin(&NewSignIn) -> ();
        fn find(&SignInId) -> Option<SignIn>;
        fn find_by_state(&[u8; 32]) -> Option<SignIn>;
        fn take(&SignInId, Timestamp) -> TakeSignInResult;
        fn finish(&SignInId, &SignInResult, Timestamp) -> ();
        fn withdraw(&str) -> u64;
        fn claim_poll(&SignInId, Timestamp) -> bool;
        fn slow_down(&SignInId, u32) -> ();
        fn prune(Timestamp) -> usize;
    }
    InstalledConnectors {
        fn add(&InstalledConnector, u32) -> bool;
        fn list() -> Vec<InstalledConnector>;
        fn get(&str) -> Option<InstalledConnector>;
        fn configure(&str, &BTreeMap<String, String>) -> bool;
        fn remove(&str) -> bool;
    }
    ConnectLinks {
        fn add(&ConnectLink, &[u8; 32]) -> ();
        fn list() -> Vec<ConnectLink>;
        fn get(&ConnectLinkId) -> Option<ConnectLink>;
        fn find_by_secret(&[u8; 32]) -> Option<ConnectLink>;
        fn take_use(&ConnectLinkId, Timestamp) -> bool;
        fn return_use(&ConnectLinkId) -> ();
        fn revoke(&ConnectLinkId, Timestamp) -> bool;
    }
    IdempotencyKeys {
        fn claim(&IdempotencyRequest) -> IdempotencyClaim;
        fn finish(&IdempotencyKey, &StoredResponse) -> ();
        fn release(&IdempotencyKey) -> ();
        fn prune(Timestamp) -> u64;
    }
    Webhooks {
        fn get(ConnectionId) -> Option<Webhook>;
        fn list() -> Vec<Webhook>;
        fn ensure(ConnectionId, &str) -> Webhook;
        fn rotate_secret(ConnectionId, &Secret, Timestamp, Timestamp) -> ();
        fn set_public_url(ConnectionId, Option<&str>) -> ();
        fn set_port(&[ConnectionId], u16) -> ();
        fn add_params(ConnectionId, &BTreeMap<String, String>) -> ();
        fn set_params(ConnectionId, &BTreeMap<String, String>) -> ();
    }
    Subscriptions {
        fn list(Option<ConnectionId>) -> Vec<Subscription>;
        fn get(SubscriptionId) -> Option<Subscription>;
        fn begin(&SubscriptionRequest, Timestamp, Fence) -> SubscriptionId;
        fn activate(
            &Subscription,
            &SubscriptionResult,
            &BTreeMap<String, String>,
            Option<SubscriptionId>,
            Timestamp,
            Fence,
        ) -> Option<ConnectionTransition>;
        fn record_failure(&Subscription, &str, Timestamp) -> Option<ConnectionTransition>;
        fn mark_deleting(&Subscription) -> Option<ConnectionTransition>;
        fn delete(&Subscription) -> Option<ConnectionTransition>;
    }
    Events {
        fn insert(Arc<InboundDelivery>) -> Vec<EventInsertResult>;
        fn list(&EventFilter) -> Vec<StoredEvent>;
        fn after(EventId, Option<ConnectionId>, Timestamp) -> Vec<StoredEvent>;
        fn get(EventId) -> Option<StoredEvent>;
        fn find(ConnectionId, &str) -> Option<EventId>;
        fn raw_request(EventId) -> Option<RawRequest>;
        fn queued(ConnectionId, u32) -> Vec<QueuedEvent>;
        fn record_attempts(&[AttemptResult], Fence) -> ();
        fn due(ConnectionId, Timestamp, Duration, u32) -> DueEvents;
        fn find_queued(EventId) -> Option<QueuedEvent>;
        fn handler_runs(EventId) -> Vec<HandlerRun>;
        fn record_progress(&EventProgress, Fence) -> ();
        fn unconfirmed(ConnectionId, u32) -> Vec<EventId>;
        fn set_verification(EventId, EventVerification, Option<&str>) -> ();
        fn requeue(&[EventId], Timestamp) -> usize;
        fn conflicts(EventId) -> Vec<EventConflict>;
        fn resolve_conflict(EventId, ConflictResolution, Timestamp) -> Option<Vec<EventId>>;
        fn prune(&PruneRequest, u32) -> usize;
        fn count_prunable(&PruneRequest) -> u64;
    }
    Bindings {
        fn list() -> Vec<Binding>;
        fn find(&BindingName) -> Option<Binding>;
        fn put(&BindingName, &BindingOrigin, &str, Timestamp) -> BindingChange;
        fn remove(&BindingName) -> bool;
        fn record_results(BindingId, BindingResults, Timestamp) -> ();
        fn failures(BindingId, u32) -> Vec<BindingFailure>;
    }
    EntityStates {
        fn find(BindingId, LinkId) -> Option<EntityState>;
        fn save(BindingId, LinkId, &EntityState, Timestamp) -> ();
        fn conflicts(Option<BindingId>, u32) -> Vec<(BindingId, OpenConflict)>;
        fn begin_write(&EntityWrite) -> EntityWrite;
        fn find_write(&BoundEntity) -> Option<EntityWrite>;
        fn writes(Option<BindingId>, u32) -> Vec<EntityWrite>;
        fn end_creation(&EntityWrite, LinkedObject, &EntityState, Timestamp) -> LinkInsertResult;
        fn end_write(&EntityWrite, Option<&EntityState>, Timestamp) -> ();
        fn cancel_write(&EntityWrite) -> ();
        fn linked(BindingId, ConnectionId, &str, LinkId, u32) -> Vec<(Link, Option<EntityState>)>;
    }
    Links {
        fn insert(Vec<NewLink>, Timestamp) -> Vec<LinkInsertResult>;
        fn list(&LinkFilter, LinkId, u32) -> Vec<Link>;
        fn remove(LinkId) -> bool;
        fn follow(ConnectionId, Vec<MergedObject>, Timestamp) -> usize;
    }
    EventCreations {
        fn begin(ConnectionId, &Entity, &EventCreationAttempt, Timestamp) -> EventCreationAttempt;
        fn find(ConnectionId, &Entity) -> Option<EventCreationAttempt>;
        fn remove(ConnectionId, &Entity, &str) -> bool;
    }
    Endpoints {
        fn list() -> Vec<Endpoint>;
        fn get(&EndpointId) -> Option<Endpoint>;
        fn add(&Endpoint) -> ();
        fn replace(&Endpoint, &Endpoint) -> bool;
        fn remove(&EndpointId) -> bool;
    }
    EventTypes {
        fn list() -> Vec<EventTypeDefinition>;
        fn put(&EventTypeDefinition) -> ();
        fn remove(&str) -> bool;
    }
    Outbox {
        fn insert(&Message, Option<&EndpointId>) -> MessageInsertResult;
        fn list(&DeliveryFilter) -> Vec<Delivery>;
        fn get(DeliveryId) -> Option<Delivery>;
        fn message(&str) -> Option<Message>;
        fn attempts(DeliveryId) -> Vec<DeliveryAttempt>;
        fn due(&EndpointId, Timestamp, usize) -> Vec<Delivery>;
        fn next_due() -> Option<Timestamp>;
        fn record_attempts(&[AttemptRecord], Fence) -> Option<Vec<RecordedAttempt>>;
        fn mark_dead(&[DeliveryId], &str, Fence) -> ();
        fn requeue(&[DeliveryId], Timestamp) -> Vec<Delivery>;
        fn requeue_failed(&EndpointId, Timestamp, Timestamp) -> usize;
        fn clamp_due_times(Timestamp, Duration, Duration) -> usize;
        fn prune(Timestamp, usize) -> usize;
    }
    Streams {
        fn ensure(ConnectionId, &str) -> StoredStream;
        fn find(ConnectionId, &str) -> Option<StoredStream>;
        fn list(ConnectionId) -> Vec<StoredStream>;
        fn set_params(StreamId, &StreamParams) -> ();
        fn ensure_partition(StreamId, &StreamParams, Option<RecordId>) -> Partition;
        fn partitions(StreamId) -> Vec<Partition>;
        fn set_cursor(PartitionId, Option<&str>, Timestamp) -> ();
        fn cursor_history(PartitionId) -> Vec<FormerCursor>;
        fn last_synced() -> HashMap<ConnectionId, Timestamp>;
    }
    Records {
        fn commit_pages(Vec<NewPage>, &CommitConditions) -> (RecordCounts, bool);
        fn push(PushedRecord, &CommitConditions) -> Option<RecordChange>;
        fn find(StreamId, &str) -> Option<RecordSnapshot>;
        fn exist(StreamId, &[String]) -> Vec<bool>;
        fn list(StreamId, RecordId, u32) -> Vec<StoredRecord>;
        fn changes(StreamId, u64, Option<(u64, RecordId)>, u32) -> Vec<StoredRecord>;
        fn version_at(StreamId, Timestamp) -> u64;
        fn count(StreamId) -> u64;
        fn totals() -> HashMap<StreamId, RecordTotals>;
        fn sweep(JobId, StreamId, &[CompletedList], Option<u64>, Timestamp, &CommitConditions) -> SweepResult;
        fn reset_list(PartitionId) -> ();
        fn begin_list(PartitionId) -> u64;
        fn has_missing(&CompletedList) -> bool;
    }
    Jobs {
        fn begin(&NewJob) -> JobId;
        fn end(&JobResult) -> ();
        fn last_error_code(StreamId) -> Option<String>;
        fn request_cancel(JobId) -> bool;
        fn get(JobId) -> Option<Job>;
        fn list(Option<ConnectionId>, Option<JobId>, u32) -> Vec<Job>;
    }
    Schedules {
        fn set(ConnectionId, Option<&str>, &str, u32, Timestamp) -> ();
        fn remove(ConnectionId, Option<&str>) -> bool;
        fn list() -> Vec<Schedule>;
        fn set_next_at(&Schedule, Timestamp) -> ();
        fn claim(ConnectionId, Option<&str>, Timestamp, Timestamp, Timestamp) -> bool;
    }
    AuditLog {
        fn append(Vec<AuditRecord>) -> ();
        fn list(&AuditFilter, Option<AuditSequence>, u32) -> Vec<AuditEntry>;
        fn read(AuditSequence, u32) -> Vec<AuditEntry>;
        fn bounds() -> AuditBounds;
        fn checkpoint(Timestamp) -> AuditCheckpoint;
        fn prune(Timestamp, u32, Timestamp) -> u64;
    }
    Consents {
        fn grant(&Consent) -> ();
        fn revoke(&ConsentFilter, Timestamp) -> Vec<Consent>;
        fn find(&ConsentId) -> Option<Consent>;
        fn revoke_one(&ConsentId, Timestamp) -> bool;
        fn list(&ConsentFilter, u32) -> Vec<Consent>;
    }
    Alerts {
        fn settle(&[Alert], Timestamp) -> Vec<AlertKey>;
    }
    Figures {
        fn read_figures(Timestamp, Timestamp) -> WorkspaceFigures;
    }
    HealthChecks {
        fn append(ConnectionId, &HealthCheck) -> ();
        fn list(Option<ConnectionId>, Option<HealthCheckId>, u32) -> Vec<StoredHealthCheck>;
        fn since(ConnectionId, Timestamp) -> Vec<HealthCheck>;
        fn prune(Timestamp, u32) -> usize;
    }
    Operators {
        fn list(Timestamp) -> Vec<OperatorActivity>;
        fn find(&OperatorName) -> Option<Operator>;
        fn set(&OperatorName, OperatorRole, Timestamp) -> bool;
        fn remove(&OperatorName) -> bool;
        fn add_link(&OperatorName, &[u8; 32], Timestamp) -> bool;
        fn find_link(&[u8; 32], Timestamp) -> Option<Operator>;
        fn start_session(&[u8; 32], &[u8; 32], Timestamp) -> Option<Operator>;
        fn find_session(&[u8; 32]) -> Option<OperatorSession>;
        fn touch_session(&[u8; 32], Timestamp) -> ();
        fn end_session(&[u8; 32]) -> ();
    }
    Users {
        fn counts(Option<&UserId>) -> Vec<UserCounts>;
        fn erase(&UserId, &[ConnectionName]) -> ();
        fn purge() -> bool;
    }
    Sandbox {
        fn get(&str) -> Option<Value>;
        fn list(&str) -> Vec<(String, Value)>;
        fn replace(&str, Option<&Value>, Option<&Value>) -> bool;
        fn clear(&str) -> usize;
    }
}
