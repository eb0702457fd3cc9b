//! Applies each event to the synced records, or syncs the stream that it is about.

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::handler::{EventHandler, EventInput, HandleError, HandlerOutcome, HandlerResult};
use crate::model::HandlerKind;
use crate::sync::ingest::{EventIngest, IngestResult};

/// What events are given to.
pub(super) const TARGET: &str = "synced records";

/// The records of a connection.
pub(super) struct SyncHandler<'a> {
    pub(super) ingest: EventIngest<'a>,
    /// One at a time: two events of one stream would each find it locked by the other.
    pub(super) turn: Mutex<()>,
}

#[async_trait]
impl EventHandler for SyncHandler<'_> {
    fn kind(&self) -> HandlerKind {
        HandlerKind::Sync
    }

    fn target(&self) -> String {
        TARGET.to_owned()
    }

    async fn handle(&self, input: &EventInput<'_>) -> HandlerResult {
        let _turn = self.turn.lock().await;
        let outcome = match self.ingest.ingest(input.event, input.payload).await {
            Ok(IngestResult::Done) => Ok(HandlerOutcome::Done(None)),
            Ok(IngestResult::RetryLater) => Ok(HandlerOutcome::Deferred),
            Err(error) => Err(HandleError::Sync(error.message())),
        };
        outcome.into()
    }
}
