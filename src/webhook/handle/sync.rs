//! Applies each event to the synced records, or syncs the stream that it is about.

use async_trait::async_trait;

use super::handler::{EventHandler, EventInput, HandleError, HandlerOutcome, HandlerStep};
use crate::sync::ingest::{EventIngest, IngestResult};

/// The records of a connection.
pub(super) struct SyncHandler<'a> {
    pub(super) ingest: EventIngest<'a>,
}

#[async_trait]
impl EventHandler for SyncHandler<'_> {
    fn step(&self) -> HandlerStep {
        HandlerStep::Sync
    }

    async fn handle(&self, input: &EventInput<'_>) -> Result<HandlerOutcome, HandleError> {
        match self.ingest.ingest(input.event, input.payload).await {
            Ok(IngestResult::Done) => Ok(HandlerOutcome::Done(None)),
            Ok(IngestResult::RetryLater) => Ok(HandlerOutcome::Deferred),
            Err(error) => Err(HandleError::Sync(error.message())),
        }
    }
}
