//! Renews subscriptions while something receives.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::lease::{RenewalResult, renew_due};
use crate::model::ConnectionId;
use crate::runtime::Workspace;
use crate::webhook::inbound::registry::TargetRegistry;
use crate::webhook::recurring::{Recurring, Rest};

/// How often it is seen whether a subscription is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Renews the subscriptions of the registry's connections of one workspace in time.
pub(in crate::webhook) struct SubscriptionRenewal<'a> {
    pub(in crate::webhook) workspace: &'a Workspace,
    pub(in crate::webhook) registry: Arc<TargetRegistry>,
}

impl Recurring for SubscriptionRenewal<'_> {
    async fn tick(&self, _stop: &watch::Receiver<bool>) -> Rest {
        let targets = self.registry.of_workspace(&self.workspace.name);
        let connections: Vec<ConnectionId> = targets.iter().map(|target| target.connection).collect();
        match renew_due(self.workspace, Some(&connections)).await {
            Ok(renewed) => renewed.into_iter().for_each(report),
            Err(error) => tracing::warn!("subscriptions cannot be looked after now: {}", error.message()),
        }
        Rest::Exactly(CHECK_INTERVAL)
    }
}

fn report(renewal: RenewalResult) {
    let RenewalResult { connection, id, result } = renewal;
    match result {
        Ok(until) => tracing::info!(%connection, subscription = id.0, ?until, "a subscription was renewed"),
        Err(error) => tracing::warn!(
            "subscription {id} of {connection} could not be renewed: {}; hint: integ refresh {connection}",
            error.message()
        ),
    }
}
