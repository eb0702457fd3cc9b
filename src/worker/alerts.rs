//! Reports conditions to the hooks of `[notify]`: work that waits too long or fails too often, and what expires soon.

use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::config::AlertsConfig;
use crate::error::Result;
use crate::model::{
    Alert, AlertKey, ApiToken, ApiTokenStatus, Connection, ConnectionAccess, DeliveryStatus, EventStatus, GrantStatus,
    HealthCheck, JobStatus, Notification, QueueState, Transition, WorkspaceFigures,
};
use crate::runtime::Workspace;
use crate::runtime::worker::{NextWake, Worker};
use crate::signing::certificate;

/// How often conditions are looked at.
const INTERVAL: Duration = Duration::from_secs(60);

/// The time whose work an error rate is of.
const RATE_PERIOD: Duration = Duration::from_secs(3600);

/// Work that an error rate needs: one failure of two attempts says little.
const MIN_WORK: u64 = 10;

/// Reports each condition once while it lasts, whichever process sees it.
pub struct AlertWorker<'a> {
    workspace: &'a Workspace,
    next_at: Timestamp,
}

impl<'a> AlertWorker<'a> {
    /// Creates a worker.
    pub fn new(workspace: &'a Workspace) -> Self {
        Self { workspace, next_at: Timestamp::MIN }
    }
}

/// Returns the conditions that hold, or nearly do. A caller who may use only some connections gets those of these.
///
/// # Errors
/// The vault's.
pub async fn current_alerts(workspace: &Workspace, now: Timestamp) -> Result<Vec<Alert>> {
    let store = workspace.store().await?;
    let config = &workspace.engine.config.alerts;
    let hour_ago = now.checked_sub(RATE_PERIOD).unwrap_or(Timestamp::MIN);
    let figures = store.figures().read_figures(hour_ago, now).await?;
    let connections = workspace.connections().await?;
    let mut alerts = Vec::new();
    if *workspace.access() == ConnectionAccess::All {
        alerts.extend(queue_alerts(&figures, workspace.handles_events(), config, now));
        alerts.extend(delivery_error_rate(&figures, config));
        let tokens = store.api_tokens().list().await?;
        alerts.extend(tokens.iter().filter_map(|token| api_token_expiry(token, config, now)));
    }
    let since: Vec<_> = connections.iter().map(|connection| (connection.id, hour_ago)).collect();
    let checks = store.health_checks().since_of_each(&since).await?;
    for (connection, checks) in connections.iter().zip(checks) {
        alerts.extend(connection_error_rate(connection, &figures, &checks, config));
        alerts.extend(grant_expiry(connection, config, now));
        if config.expiry > Duration::ZERO {
            alerts.extend(certificate_expiry(workspace, connection, now).await);
        }
    }
    Ok(alerts)
}

/// Returns that the client certificate of a connection expires soon. One that cannot be read is found by health checks.
async fn certificate_expiry(workspace: &Workspace, connection: &Connection, now: Timestamp) -> Option<Alert> {
    let connector = workspace.catalogue().get(connection.name.connector()).ok()?;
    let (_, auth) = connector.auth_method(Some(&connection.auth)).ok()?;
    let field = auth.tls.as_ref()?.certificate.clone();
    let vault = &workspace.engine.token_vault;
    let loaded = vault.load(workspace.store().await.ok()?, &connection.name).await.ok()??;
    let chain = certificate::from_pem(loaded.grant.fields.get(&field)?.expose()).ok()?;
    let ends_at = certificate::expires_at(&chain)?;
    let before = workspace.engine.config.alerts.expiry;
    let is_due = is_near(ends_at, before, now);
    is_due.then(|| {
        about(connection, Transition::CertificateExpiring, format!("its client certificate expires at {ends_at}"))
    })
}

#[async_trait]
impl Worker for AlertWorker<'_> {
    fn name(&self) -> &'static str {
        "alerts"
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        let notify = &self.workspace.engine.config.notify;
        if !self.workspace.has_vault() || (notify.command.is_none() && notify.url.is_none()) {
            return Ok(NextWake::Idle);
        }
        let latest = now.checked_add(INTERVAL).unwrap_or(Timestamp::MAX);
        if self.next_at > now && self.next_at <= latest {
            return Ok(NextWake::At(self.next_at));
        }
        let alerts = current_alerts(self.workspace, now).await?;
        let begun = self.workspace.store().await?.alerts().settle(&alerts, now).await?;
        for alert in alerts.iter().filter(|alert| begun.contains(&alert.key)) {
            tracing::warn!(alert = alert.key.kind.as_str(), subject = alert.key.subject, "{}", alert.reason);
            self.workspace.notify(Notification::alert(alert, &self.workspace.name, now));
        }
        self.next_at = latest;
        Ok(NextWake::At(latest))
    }
}

fn about(connection: &Connection, kind: Transition, reason: String) -> Alert {
    let subject = connection.name.to_string();
    Alert {
        key: AlertKey { kind, subject },
        connection: Some(connection.name.clone()),
        reason,
        is_over_threshold: true,
    }
}

/// Whether something ends within so long. What has ended is reported by what fails then.
fn is_near(ends_at: Timestamp, before: Duration, now: Timestamp) -> bool {
    ends_at > now && now.checked_add(before).is_ok_and(|until| ends_at <= until)
}

fn queue_alerts(figures: &WorkspaceFigures, handles_events: bool, config: &AlertsConfig, now: Timestamp) -> Vec<Alert> {
    let inbox = figures.event_queues.values().fold(QueueState::default(), |sum, queue| sum.with(*queue));
    let queues = [("inbox", Some(inbox).filter(|_| handles_events)), ("outbox", Some(figures.delivery_queue))];
    let alert = |(name, queue): (&str, Option<QueueState>)| {
        let queue = queue?;
        let overdue = now.as_second() - queue.overdue_since?.as_second();
        let overdue = u64::try_from(overdue).unwrap_or_default();
        let reason = format!("{} of the {name} wait, the first has been due for {overdue} s", queue.depth);
        let key = AlertKey { kind: Transition::QueueAge, subject: name.to_owned() };
        Alert::of_value(key, overdue, config.queue_age.as_secs(), reason)
    };
    queues.into_iter().filter_map(alert).collect()
}

/// Returns the alert of an error rate, of so many failures among so much work.
fn error_rate(subject: &str, failed: u64, total: u64, config: &AlertsConfig) -> Option<Alert> {
    if total < MIN_WORK {
        return None;
    }
    let percent = failed * 100 / total;
    let key = AlertKey { kind: Transition::ErrorRate, subject: subject.to_owned() };
    let reason = format!("{failed} of {total} failed within an hour ({percent} %)");
    Alert::of_value(key, percent, config.error_rate.into(), reason)
}

fn connection_error_rate(
    connection: &Connection,
    figures: &WorkspaceFigures,
    checks: &[HealthCheck],
    config: &AlertsConfig,
) -> Option<Alert> {
    let events =
        figures.events.iter().filter(|(id, ..)| *id == connection.id).filter_map(|(_, status, count)| match status {
            EventStatus::Processed => Some((false, *count)),
            EventStatus::Failed | EventStatus::Dead => Some((true, *count)),
            EventStatus::Pending => None,
        });
    let jobs =
        figures.jobs.iter().filter(|(id, ..)| *id == connection.id).filter_map(|(_, status, count)| match status {
            JobStatus::Done | JobStatus::Skipped => Some((false, *count)),
            JobStatus::Failed => Some((true, *count)),
            JobStatus::Running | JobStatus::RateLimited | JobStatus::Cancelled => None,
        });
    let checks = checks.iter().map(|check| (!check.outcome.is_healthy(), 1));
    let (mut failed, mut total) = (0, 0);
    for (has_failed, count) in events.chain(jobs).chain(checks) {
        total += count;
        failed += if has_failed { count } else { 0 };
    }
    let alert = error_rate(&connection.name.to_string(), failed, total, config)?;
    Some(Alert { connection: Some(connection.name.clone()), ..alert })
}

fn delivery_error_rate(figures: &WorkspaceFigures, config: &AlertsConfig) -> Option<Alert> {
    let count = |is_meant: fn(DeliveryStatus) -> bool| {
        figures.deliveries.iter().filter(|(status, _)| is_meant(*status)).map(|(_, count)| count).sum::<u64>()
    };
    let failed = count(|status| matches!(status, DeliveryStatus::Failed | DeliveryStatus::Dead));
    let delivered = count(|status| status == DeliveryStatus::Delivered);
    error_rate("outbox", failed, failed + delivered, config)
}

/// Returns that a grant ends soon that only a person can renew: its refresh token, or a token that cannot be refreshed.
fn grant_expiry(connection: &Connection, config: &AlertsConfig, now: Timestamp) -> Option<Alert> {
    let expiry = &connection.expiry;
    let ends_at = if expiry.is_refreshable { expiry.refresh_expires_at } else { expiry.expires_at }?;
    // A grant that always lasts for a shorter time is not about to end unexpectedly.
    let lasts = ends_at.as_second() - expiry.issued_at.unwrap_or(connection.connected_at).as_second();
    let is_long = u64::try_from(lasts).is_ok_and(|seconds| seconds > 2 * config.expiry.as_secs());
    let is_due = is_near(ends_at, config.expiry, now) && is_long && connection.grant_status == GrantStatus::Active;
    is_due.then(|| {
        about(connection, Transition::GrantExpiring, format!("its grant ends at {ends_at}; reconnect it before"))
    })
}

fn api_token_expiry(token: &ApiToken, config: &AlertsConfig, now: Timestamp) -> Option<Alert> {
    let is_usable = matches!(token.status(now), ApiTokenStatus::Active | ApiTokenStatus::Expiring);
    // A token that was made for a short time ends as it should.
    let is_long = token.expires_at.duration_since(token.rotated_at).unsigned_abs() > 2 * config.expiry;
    let is_due = is_usable && is_long && is_near(token.expires_at, config.expiry, now);
    is_due.then(|| Alert {
        key: AlertKey { kind: Transition::ApiTokenExpiring, subject: token.name.to_string() },
        connection: None,
        reason: format!("the API token expires at {}", token.expires_at),
        is_over_threshold: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    #[test]
    fn a_queue_is_reported_when_its_first_due_item_waits_too_long() {
        let config = AlertsConfig::default();
        let queue =
            |overdue: Option<i64>| QueueState { depth: 3, oldest_at: Some(at(0)), overdue_since: overdue.map(at) };
        let figures = |delivery_queue| WorkspaceFigures { delivery_queue, ..WorkspaceFigures::default() };
        let found = |overdue, now| queue_alerts(&figures(queue(overdue)), true, &config, at(now));
        assert_eq!(found(None, 100_000), []);
        assert_eq!(found(Some(0), 449), []);
        assert!(!found(Some(0), 450)[0].is_over_threshold);
        let alert = found(Some(0), 900).remove(0);
        assert!(alert.is_over_threshold);
        assert_eq!(alert.key.subject, "outbox");
        assert_eq!(alert.reason, "3 of the outbox wait, the first has been due for 900 s");
    }

    #[test]
    fn events_that_wait_for_another_program_are_not_reported() {
        let queue = QueueState { depth: 1, oldest_at: Some(at(0)), overdue_since: Some(at(0)) };
        let event_queues = [(crate::model::ConnectionId(1), queue)].into();
        let figures = WorkspaceFigures { event_queues, ..WorkspaceFigures::default() };
        let count = |handles| queue_alerts(&figures, handles, &AlertsConfig::default(), at(9_000)).len();
        assert_eq!((count(true), count(false)), (1, 0));
    }

    #[test]
    fn an_error_rate_needs_some_work() {
        let config = AlertsConfig::default();
        let over = |failed, total| error_rate("outbox", failed, total, &config).map(|alert| alert.is_over_threshold);
        assert_eq!([over(9, 9), over(2, 10), over(1, 10), over(0, 10)], [None, Some(true), Some(false), None]);
        let off = AlertsConfig { error_rate: 0, ..config };
        assert_eq!(error_rate("outbox", 10, 10, &off), None);
    }

    #[test]
    fn what_ends_is_near_between_its_warning_and_its_end() {
        let day = Duration::from_secs(86_400);
        assert!(is_near(at(86_400), day, at(0)) && is_near(at(1), day, at(0)));
        assert!(!is_near(at(86_401), day, at(0)) && !is_near(at(0), day, at(0)));
    }
}
