//! Alerts: what is reported to the hooks of `[notify]`, while it lasts.

use super::{Effect, Operation, OperationScope, Reach};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::health::{ConnectionStatus, status_of};
use crate::model::{Alert, AlertKey, Connection, ConnectionAccess, DisabledReason, Endpoint, Transition};
use crate::runtime::Workspace;
use crate::view::alert::{AlertListView, AlertView};
use crate::worker::alerts::current_alerts;

/// The operations of this module.
pub const OPERATIONS: &[Operation] =
    &[Operation::local("alert list", OperationScope::Metrics, Effect::Read).reachable_by(Reach::Api)];

/// Which alerts to list.
#[derive(Clone, Copy, Debug)]
pub struct ListAlertsRequest {
    /// Whether API tokens that expire are listed: a token does not see the names of others.
    pub has_api_tokens: bool,
}

/// Returns the alerts that last: connections that fail, endpoints that were disabled, and conditions over the
/// thresholds of `[alerts]`. A caller who may use only some connections gets those of these.
///
/// # Errors
/// The vault's.
pub async fn list_alerts(workspace: &Workspace, request: ListAlertsRequest) -> Result<AlertListView> {
    let now = workspace.clock.now();
    let notify = &workspace.engine.config.notify;
    let mut alerts = Vec::new();
    if workspace.has_vault() {
        alerts.extend(workspace.connections().await?.iter().filter_map(|connection| failing(connection, now)));
        if *workspace.access() == ConnectionAccess::All {
            let endpoints = workspace.store().await?.endpoints().list().await?;
            alerts.extend(endpoints.iter().filter_map(disabled));
        }
        let conditions = current_alerts(workspace, now).await?.into_iter();
        let is_listed = |alert: &Alert| {
            let is_of_token = alert.key.kind == Transition::ApiTokenExpiring;
            alert.is_over_threshold && (request.has_api_tokens || !is_of_token)
        };
        alerts.extend(conditions.filter(is_listed));
    }
    Ok(AlertListView {
        checked_at: now,
        has_hook: notify.command.is_some() || notify.url.is_some(),
        alerts: alerts.into_iter().map(AlertView::from).collect(),
    })
}

/// Returns that a connection does not work.
fn failing(connection: &Connection, now: Timestamp) -> Option<Alert> {
    let (status, reason) = status_of(connection, now);
    let kind = match status {
        ConnectionStatus::NeedsReauth => Transition::NeedsReauth,
        ConnectionStatus::Error => Transition::Failure,
        ConnectionStatus::Active | ConnectionStatus::Expiring | ConnectionStatus::Disconnected => return None,
    };
    Some(Alert {
        key: AlertKey { kind, subject: connection.name.to_string() },
        connection: Some(connection.name.clone()),
        reason: reason.unwrap_or_default(),
        is_over_threshold: true,
    })
}

/// Returns that an endpoint was disabled by what it answered.
fn disabled(endpoint: &Endpoint) -> Option<Alert> {
    let (reason, at) = endpoint.health.disabled?;
    if reason == DisabledReason::User {
        return None;
    }
    let reason = format!("it was disabled at {at} ({reason})");
    let key = AlertKey { kind: Transition::EndpointDisabled, subject: endpoint.id.to_string() };
    Some(Alert { key, connection: None, reason, is_over_threshold: true })
}
