//! Checks connections now and then, so that one that broke is noticed before it is needed, and its uptime is known.

use std::collections::{HashMap, HashSet};
use std::future;
use std::time::Duration;

use async_trait::async_trait;

use super::Report;
use crate::clock::{Timestamp, due_at, random};
use crate::error::Result;
use crate::health::{self, HealthReport};
use crate::model::{Connection, ConnectionId, ConnectionName, GrantStatus};
use crate::runtime::Workspace;
use crate::runtime::worker::{LONGEST_SLEEP, NextWake, Running, Worker};

/// Checks that run at the same time: they are in no hurry, and the calls of others come first.
const MAX_CONCURRENT_CHECKS: usize = 4;

/// A check that has ended.
#[derive(Debug)]
pub struct ScheduledCheck {
    pub connection: ConnectionName,
    pub result: Result<HealthReport>,
}

/// Checks each connection at its interval, counted from its last check by any process. A check is a request like others:
/// it waits for the connection's rate limit, and is left out if that would take long.
pub struct HealthWorker<'a> {
    workspace: &'a Workspace,
    on_check: Report<'a, ScheduledCheck>,
    plans: HashMap<ConnectionId, Plan>,
    running: Running<'a, (ConnectionId, ScheduledCheck)>,
    /// The connections whose checks run.
    checking: HashSet<ConnectionId>,
}

/// When a connection is checked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// The last check, or the time at which this worker last tried one: not every check leaves a trace.
    last: Timestamp,
    interval: Duration,
    due_at: Timestamp,
}

impl Plan {
    /// Plans the next check, up to a tenth of the interval sooner or later, so that the checks of connections that were
    /// made together drift apart. `fraction` is random.
    fn new(last: Timestamp, interval: Duration, fraction: u64) -> Self {
        let tenth = u64::try_from(interval.as_millis() / 10).unwrap_or(u64::MAX);
        let wait = interval - Duration::from_millis(tenth) + Duration::from_millis(fraction % (2 * tenth).max(1));
        Self { last, interval, due_at: last.checked_add(wait).unwrap_or(Timestamp::MAX) }
    }
}

impl<'a> HealthWorker<'a> {
    /// Creates a worker that reports each check.
    pub fn new(workspace: &'a Workspace, on_check: Report<'a, ScheduledCheck>) -> Self {
        let (plans, running, checking) = (HashMap::new(), Running::default(), HashSet::new());
        Self { workspace, on_check, plans, running, checking }
    }

    /// Creates a worker that logs what it finds.
    pub fn logging(workspace: &'a Workspace) -> Self {
        Self::new(workspace, Box::new(|ended| log(&ended)))
    }

    /// Returns when a connection is to be checked; `None` for never.
    fn due_at(&mut self, connection: &Connection, now: Timestamp) -> Option<Timestamp> {
        if connection.grant_status == GrantStatus::Disconnected {
            return None;
        }
        let interval = self.workspace.engine.config.health.interval_of(&connection.name)?;
        let stored = connection.last_check.as_ref().map_or(connection.connected_at, |check| check.at);
        let known = self.plans.get(&connection.id).copied();
        let last = known.map_or(stored, |plan| plan.last.max(stored));
        let plan = match known {
            Some(plan) if plan.last == last && plan.interval == interval => plan,
            _ => Plan::new(last, interval, u64::from_ne_bytes(random())),
        };
        self.plans.insert(connection.id, plan);
        Some(due_at(plan.due_at, 2 * interval, now))
    }

    fn begin(&mut self, connection: Connection, now: Timestamp) {
        self.checking.insert(connection.id);
        if let Some(plan) = self.plans.get_mut(&connection.id) {
            *plan = Plan::new(now, plan.interval, u64::from_ne_bytes(random()));
        }
        let (workspace, id) = (self.workspace, connection.id);
        self.running.push(Box::pin(async move {
            let result = health::check(workspace, &connection.name).await;
            (id, ScheduledCheck { connection: connection.name, result })
        }));
    }
}

#[async_trait]
impl Worker for HealthWorker<'_> {
    fn name(&self) -> &'static str {
        "health checks"
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        let connections = self.running.beside(self.workspace.connections()).await?;
        let present: HashSet<ConnectionId> = connections.iter().map(|connection| connection.id).collect();
        self.plans.retain(|id, _| present.contains(id));
        let mut next: Option<Timestamp> = None;
        for connection in connections {
            if self.checking.contains(&connection.id) {
                continue;
            }
            match self.due_at(&connection, now) {
                Some(at) if at > now => next = Some(next.map_or(at, |next| next.min(at))),
                Some(_) if self.running.len() < MAX_CONCURRENT_CHECKS => self.begin(connection, now),
                Some(_) | None => {}
            }
        }
        Ok(match next {
            _ if !self.running.is_empty() => NextWake::Busy(LONGEST_SLEEP),
            Some(next) => NextWake::At(next),
            None => NextWake::Idle,
        })
    }

    async fn woken(&mut self) {
        match self.running.next().await {
            Some((id, ended)) => {
                self.checking.remove(&id);
                (self.on_check)(ended);
            }
            None => future::pending().await,
        }
    }

    /// Cuts off the checks that run: they changed nothing. A refresh that one of them has begun holds the shutdown off until
    /// its answer is stored.
    async fn finish(&mut self) -> Result<()> {
        let shutdown = &self.workspace.engine.shutdown;
        loop {
            tokio::select! {
                biased;
                () = shutdown.released() => break,
                Some((_, ended)) = self.running.next() => (self.on_check)(ended),
                else => break,
            }
        }
        self.running.clear();
        self.checking.clear();
        Ok(())
    }
}

fn log(ended: &ScheduledCheck) {
    let connection = &ended.connection;
    match &ended.result {
        Ok(report) if report.outcome.is_healthy() => {
            tracing::info!(%connection, outcome = report.outcome.as_str(), "a connection was checked");
        }
        Ok(report) => {
            let why = report.error_message.as_deref().unwrap_or_default();
            let hint = report.hint.as_ref().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
            tracing::warn!(%connection, "its check ended as {}: {why}{hint}", report.outcome);
        }
        Err(error) => tracing::warn!(%connection, "it could not be checked: {}", error.on_one_line()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_within_a_tenth_of_the_interval() {
        let (last, interval) = (Timestamp::from_second(1_795_000_000).unwrap(), Duration::from_secs(900));
        let waits = |fraction| Plan::new(last, interval, fraction).due_at.as_second() - last.as_second();
        assert_eq!((waits(0), waits(90_000), waits(179_999)), (810, 900, 989));
        for fraction in [1, u64::MAX, 123_456_789_123] {
            assert!((810..=990).contains(&waits(fraction)));
        }
    }
}
