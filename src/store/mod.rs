//! Where a workspace's data is kept. The types that go in and come out are [`crate::model`]'s.

mod error;
mod sqlite;

pub use error::{MalformedValue, SqliteError, StoreError};
pub use sqlite::*;

pub use crate::model::app::OAuthApp;
pub use crate::model::connection::{CheckRecord, ConnectionTransition, NewConnection};
pub use crate::model::endpoint::{BackoffPolicy, DeliveryPolicy, DisabledReason, Endpoint, EndpointHealth, EndpointId};
pub use crate::model::event::{
    AttemptResult, ConflictResolution, EventConflict, EventFilter, EventId, EventInsertResult, EventStatus,
    EventVerification, InboundDelivery, NewEvent, PruneRequest, QueuedEvent, RawRequest, StoredEvent,
};
pub use crate::model::event_type::EventTypeDefinition;
pub use crate::model::grant::{GrantWriteResult, RefreshAttempt, SecretStorage, StoredGrant};
pub use crate::model::job::{Job, JobId, JobResult, JobStatus, NewJob, SyncMode};
pub use crate::model::record::{
    CompletedList, Hash, NewPage, NewRecord, PageCheckpoint as PagePlace, PushedRecord, RecordChange, RecordCounts,
    RecordId, RecordSnapshot, StoredRecord, SweepResult, Traffic,
};
pub use crate::model::schedule::Schedule;
pub use crate::model::stream::{FormerCursor, Partition, PartitionId, StoredStream, StreamId, StreamParams};
pub use crate::model::subscription::{
    Subscription, SubscriptionId, SubscriptionRequest, SubscriptionResult, SubscriptionStatus,
};
pub use crate::model::webhook::Webhook;

pub mod outbox {
    pub use super::sqlite::Outbox;
    pub use crate::model::delivery::{
        Delivery, DeliveryAttempt, DeliveryFilter, DeliveryId, DeliveryStatus, DeliveryUpdate, MessageInsertResult,
        RecordedAttempt,
    };
    pub use crate::model::message::Message;
}
