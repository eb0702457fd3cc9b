//! Replays received events, and fetches missed ones.

use url::Url;

use crate::api::Input;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::http::Route;
use crate::model::ConnectionName;
use crate::runtime::Workspace;
use crate::view::webhook::{BackfilledEventView, ReplayedEventView};
use crate::webhook::{backfill, replay};

/// The events to send, and where.
#[derive(Clone, Debug)]
pub struct ReplayEventsRequest {
    /// All connections if absent.
    pub connection: Option<ConnectionName>,
    /// Only events received at this time or later.
    pub since: Timestamp,
    /// https, or http on this machine.
    pub to: Url,
}

/// The events to fetch from the vendor.
#[derive(Clone, Debug)]
pub struct BackfillEventsRequest {
    pub connection: ConnectionName,
    pub since: Timestamp,
    /// Now if absent.
    pub until: Option<Timestamp>,
    /// Maximum number of new events to store; no limit if absent.
    pub limit: Option<u64>,
    /// Parameters of the vendor's API that no subscription gives.
    pub input: Input,
    /// Finds events and stores none.
    pub dry_run: bool,
}

/// Sends the requests of received events to a URL, in the order in which they were received, signed as of now if the secret is
/// known. `sink` gets each as it was answered.
///
/// # Errors
/// Disallowed URLs, and errors of `sink`. Failures of a receiver are in the results.
pub async fn replay_events(
    workspace: &Workspace,
    request: ReplayEventsRequest,
    mut sink: impl FnMut(ReplayedEventView) -> Result<()> + Send,
) -> Result<()> {
    let connection = workspace.connection_id(request.connection.as_ref()).await?;
    Route::Live.resolve(&request.to)?;
    let selection = replay::ReplayRequest { connection, since: request.since, to: &request.to };
    replay::replay(workspace, &selection, |replayed| sink(ReplayedEventView::new(replayed))).await
}

/// Fetches missed events from the vendor and stores the new ones. `sink` gets each event found; those before an error
/// are kept.
///
/// # Errors
/// [`backfill::BackfillError`], and those of [`crate::api::call`].
pub async fn backfill_events(
    workspace: &Workspace,
    request: BackfillEventsRequest,
    mut sink: impl FnMut(BackfilledEventView) -> Result<()> + Send,
) -> Result<()> {
    let selection = backfill::BackfillRequest {
        since: request.since,
        until: request.until.unwrap_or_else(|| workspace.clock.now()),
        limit: request.limit,
        input: &request.input,
        dry_run: request.dry_run,
        needs_handling: true,
        seen: None,
    };
    let name = &request.connection;
    let backfill = backfill::backfill(workspace, name, &selection, |found| sink(BackfilledEventView::new(name, found)));
    Box::pin(backfill).await
}
