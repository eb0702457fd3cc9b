//! Events: webhooks received from vendors, with their status.

use std::time::Duration;

use super::connection::ConnectionId;
use super::link::MergedObject;
use super::name::ConnectionName;
use super::words::words;
use crate::clock::Timestamp;

/// The id of a received event within its workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub i64);

/// The status of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStatus {
    /// Waits to be handled for the first time.
    Pending,
    Processed,
    /// Waits to be handled again.
    Failed,
    /// Every attempt to handle it failed; `retry` brings it back.
    Dead,
}

words!(EventStatus {
    Pending => "pending",
    Processed => "processed",
    Failed => "failed",
    Dead => "dead",
});

/// Whether it is proved that the vendor sent an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventVerification {
    Verified,
    /// The service signs nothing: only who knows the URL can send.
    Unsigned,
    /// The signature covers too little, and the vendor has not been asked yet. It is not handled until then.
    Unconfirmed,
    /// The vendor says that it did not send it.
    Rejected,
}

words!(EventVerification {
    Verified => "verified",
    Unsigned => "unsigned",
    Unconfirmed => "unconfirmed",
    Rejected => "rejected",
});

impl EventVerification {
    /// Whether what the event says may be acted upon.
    pub fn is_trusted(self) -> bool {
        matches!(self, Self::Verified | Self::Unsigned)
    }
}

/// One request that was taken, with its events.
#[derive(Clone, Debug)]
pub struct InboundDelivery {
    pub connection: ConnectionId,
    pub received_at: Timestamp,
    pub headers: Vec<(String, String)>,
    /// The query string of the request, without its question mark.
    pub query: String,
    pub body: Vec<u8>,
    pub events: Vec<NewEvent>,
    pub verification: EventVerification,
    /// Whether anybody is to handle them.
    pub needs_handling: bool,
}

/// An event as it was read from a webhook request or fetched, before it is stored.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub delivery_id: String,
    /// Whether the request named its delivery, or the connector says that equal bodies are one event. Equal signed bytes of
    /// two requests that name none are two events.
    pub has_delivery_id: bool,
    /// Absent for a fetched event, whose bytes differ from those of the delivery: it is identified by its ID only.
    pub digest: Option<[u8; 32]>,
    /// Of what was signed, where the signature does not cover the id.
    pub signed_digest: Option<[u8; 32]>,
    pub kind: String,
    pub account: Option<String>,
    pub resource: Option<String>,
    pub actor: Option<String>,
    pub occurred_at: Option<Timestamp>,
    /// The event within a batch, as JSON.
    pub batch_item: Option<String>,
    /// The object that has another id since; links follow it if the event is verified.
    pub merged: Option<MergedObject>,
}

/// What became of an event that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventInsertResult {
    New(EventId),
    Duplicate(EventId),
    /// It came before and was dead: it waits to be handled again.
    Requeued(EventId),
    /// Its id is known with another body: it was put aside.
    Conflict(EventId),
    /// So it is, and as many bodies as an event may have wait to be resolved: it was not stored.
    TooManyConflicts(EventId),
    /// So it is, and of the other one the vendor is still to be asked: the vendor should send it again later.
    Unconfirmed(EventId),
}

impl EventInsertResult {
    /// Returns the id of the stored event; unless it is new, that of the earlier event with the same key.
    pub fn id(self) -> EventId {
        match self {
            Self::New(id)
            | Self::Duplicate(id)
            | Self::Requeued(id)
            | Self::Conflict(id)
            | Self::TooManyConflicts(id)
            | Self::Unconfirmed(id) => id,
        }
    }
}

/// An event as it is kept.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub id: EventId,
    pub connection: ConnectionName,
    pub delivery_id: String,
    pub kind: String,
    pub account: Option<String>,
    pub resource: Option<String>,
    pub actor: Option<String>,
    pub occurred_at: Option<Timestamp>,
    pub received_at: Timestamp,
    pub status: EventStatus,
    pub verification: EventVerification,
    pub attempts: u32,
    pub last_error: Option<String>,
    pub conflict_count: u32,
}

/// The request of an event, byte for byte, and the event within it.
#[derive(Clone, Debug)]
pub struct RawRequest {
    pub headers: Vec<(String, String)>,
    pub query: String,
    pub body: Vec<u8>,
    pub batch_item: Option<String>,
    /// Whether it is the first event of its request.
    pub is_first_of_request: bool,
}

/// An event that waits to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedEvent {
    pub id: EventId,
    pub due_at: Timestamp,
    pub verification: EventVerification,
    pub attempts: u32,
    /// The handlers that have done with it, as a set of bits.
    pub completed_handlers: u32,
}

/// The events of a connection that are to be handled now.
#[derive(Clone, Debug, Default)]
pub struct DueEvents {
    /// Those that have just come, in the order of arrival.
    pub new: Vec<QueuedEvent>,
    /// Those that are handled again, the longest overdue first.
    pub retries: Vec<QueuedEvent>,
    /// When the next of the others is due.
    pub next_at: Option<Timestamp>,
}

/// How an attempt to handle an event ended.
#[derive(Clone, Debug)]
pub struct AttemptResult {
    pub id: EventId,
    pub status: EventStatus,
    /// When it is tried again.
    pub due_at: Option<Timestamp>,
    pub error: Option<String>,
    pub completed_handlers: u32,
    /// What each handler did that ran.
    pub runs: Vec<HandlerRun>,
}

/// The outcome of an event after an attempt that does not count.
#[derive(Clone, Debug)]
pub struct EventProgress {
    pub id: EventId,
    pub completed_handlers: u32,
    /// Why it waits; stays as it is if absent.
    pub error: Option<String>,
    /// When it is tried again; stays as it is if absent.
    pub due_at: Option<Timestamp>,
}

/// What is done with events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    Append,
    Exec,
    Forward,
    Sync,
}

words!(HandlerKind {
    Append => "append",
    Exec => "exec",
    Forward => "forward",
    Sync => "sync",
});

/// What one handler did with an event.
#[derive(Clone, Debug)]
pub struct HandlerRun {
    pub handler: HandlerKind,
    /// The attempt that it was part of, from 1.
    pub attempt: u32,
    pub started_at: Timestamp,
    pub duration: Duration,
    /// The HTTP status of the answer, or the command's exit code.
    pub status: Option<i32>,
    /// Why it failed; absent if it did not.
    pub error: Option<String>,
    /// The first [`HandlerRun::MAX_OUTPUT_BYTES`] of what was answered or printed.
    pub output: Vec<u8>,
}

impl HandlerRun {
    /// Enough to find a fault by.
    pub const MAX_OUTPUT_BYTES: usize = 4096;
}

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    pub connection: Option<ConnectionId>,
    pub status: Option<EventStatus>,
    /// Types or patterns, `charge.*`; all where empty.
    pub kinds: Vec<String>,
    /// Only those with other bodies under their id.
    pub only_conflicts: bool,
    pub since: Option<Timestamp>,
    /// Only those with a smaller id: the next page of a list.
    pub before: Option<EventId>,
    pub limit: u32,
}

/// A body that came under the id of an event that has another.
#[derive(Clone, Debug)]
pub struct EventConflict {
    pub kind: String,
    pub received_at: Timestamp,
    pub verification: EventVerification,
    pub request: RawRequest,
}

/// Which of the bodies of one delivery id are events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictResolution {
    /// The one that came first: the others are removed.
    KeepFirst,
    /// The one of this number, counted from 1 in the order in which they came: it becomes an event, the others are removed,
    /// and the one that came first is not handled if it still waits.
    KeepNumber(usize),
    /// All: each becomes an event of its own.
    KeepAll,
}

/// What goes when its time is over.
#[derive(Clone, Copy, Debug)]
pub struct PruneRequest {
    pub connection: ConnectionId,
    /// Those that were processed and came before this.
    pub before: Timestamp,
    /// The ids of deliveries stay, by which one that comes again is known: nothing else tells how old it is.
    pub keeps_ids: bool,
    /// Also those that are dead.
    pub include_dead: bool,
}
