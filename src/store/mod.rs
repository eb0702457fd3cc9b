//! Where a workspace's data is kept. The types that go in and come out are [`crate::model`]'s.

mod error;
mod sqlite;

pub use error::{Malformed, SqliteError, StoreError};
pub use sqlite::*;

pub use crate::model::app::App;
pub use crate::model::connection::{Changed, Finding, NewConnection};
pub use crate::model::endpoint::{DisabledReason, Endpoint, EndpointId, Policy, Rules, Standing};
pub use crate::model::event::{
    Conflict, Delivery, Ended, EventId, EventProof, EventStatus, Filter, Holding, Kept, NewEvent, Pruning, StoredEvent,
    Taken, Waiting,
};
pub use crate::model::event_type::KnownType;
pub use crate::model::grant::{Place, Presented, StoredGrant, Written};
pub use crate::model::job::{EndedJob, Job, JobId, JobState, Mode, NewJob};
pub use crate::model::record::{
    Change, Counts, FullList, Hash, Known, NewPage, NewRecord, Place as PagePlace, Pushed, RecordId, StoredRecord,
    Sweep, Traffic,
};
pub use crate::model::schedule::Schedule;
pub use crate::model::stream::{FormerCursor, Given, Part, PartId, StoredStream, StreamId};
pub use crate::model::subscription::{Made, Subscription, SubscriptionId, SubscriptionState, Wanted};
pub use crate::model::webhook::Webhook;

pub mod outbox {
    pub use super::sqlite::Outbox;
    pub use crate::model::delivery::{
        Attempt, Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, Recorded, Sent, Verdict,
    };
    pub use crate::model::message::Message;
}
