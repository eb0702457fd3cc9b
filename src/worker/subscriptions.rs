//! Renews the webhook subscriptions whose leases are about to end.

use std::time::Duration;

use async_trait::async_trait;

use super::Report;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::ConnectionId;
use crate::runtime::Workspace;
use crate::runtime::worker::{NextWake, Worker};
use crate::webhook::subscription::{RenewalResult, lease, renew_due};

/// How soon a subscription of another process is seen. Leases may be of minutes.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Renews subscriptions one after the other. A renewal that failed rests, longer each time.
pub struct SubscriptionWorker<'a> {
    workspace: &'a Workspace,
    /// All if absent.
    connections: Option<Vec<ConnectionId>>,
    on_renewal: Report<'a, RenewalResult>,
}

impl<'a> SubscriptionWorker<'a> {
    /// Creates a worker for these connections, for all if absent.
    pub fn new(
        workspace: &'a Workspace,
        connections: Option<Vec<ConnectionId>>,
        on_renewal: Report<'a, RenewalResult>,
    ) -> Self {
        Self { workspace, connections, on_renewal }
    }

    /// Creates a worker that logs what it does.
    pub fn logging(workspace: &'a Workspace, connections: Option<Vec<ConnectionId>>) -> Self {
        Self::new(workspace, connections, Box::new(|renewal| log(&renewal)))
    }
}

#[async_trait]
impl Worker for SubscriptionWorker<'_> {
    fn name(&self) -> &'static str {
        "subscription renewal"
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        if !self.workspace.has_vault() {
            return Ok(NextWake::Idle);
        }
        let connections = self.connections.as_deref();
        renew_due(self.workspace, connections).await?.into_iter().for_each(&mut self.on_renewal);
        let rows = self.workspace.store().await?.subscriptions().list(None).await?;
        let wanted = rows.iter().filter(|row| connections.is_none_or(|ids| ids.contains(&row.request.connection)));
        // One that is due still has just failed, and rests: the poll interval finds it again.
        let next = wanted.filter_map(|row| lease(row, now).renews_at).filter(|at| *at > now).min();
        Ok(next.map_or(NextWake::Idle, NextWake::At))
    }

    fn poll_interval(&self) -> Duration {
        POLL_INTERVAL
    }
}

fn log(renewal: &RenewalResult) {
    let RenewalResult { connection, id, result } = renewal;
    match result {
        Ok(until) => tracing::info!(%connection, subscription = id.0, ?until, "a subscription was renewed"),
        Err(error) => tracing::warn!(
            "subscription {id} of {connection} could not be renewed: {}; hint: integ refresh {connection}",
            error.message()
        ),
    }
}
