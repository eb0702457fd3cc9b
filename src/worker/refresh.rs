//! Refreshes grants before their tokens expire.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future;
use std::time::Duration;

use async_trait::async_trait;

use super::Report;
use crate::backoff::Backoff;
use crate::clock::{Timestamp, due_at};
use crate::error::{Error, Result};
use crate::model::{Connection, ConnectionId, ConnectionName, GrantStatus};
use crate::oauth::refresh::{self, Freshness, refresh_due_at};
use crate::runtime::Workspace;
use crate::runtime::worker::{LONGEST_SLEEP, NextWake, Running, Worker};

/// Refreshes that run at the same time. Services take some 100 ms for one, and thousands of tokens may fall due together.
pub const MAX_CONCURRENT_REFRESHES: usize = 64;

/// How long a connection rests after a refresh that failed.
const FAILURE_BACKOFF: Backoff = Backoff::new(Duration::from_secs(60), LONGEST_REST);
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// How long a connection rests after any refresh: tokens that live for seconds would keep the vendor busy for nobody.
const MIN_REST: Duration = Duration::from_secs(10);

/// When a grant is refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshCondition {
    Always,
    IfDue,
}

/// What a look at a grant came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantRenewal {
    Refreshed,
    StillValid,
}

/// A grant that was looked at.
#[derive(Debug)]
pub struct RefreshResult {
    pub connection: ConnectionName,
    /// What was done, and when the token expires.
    pub result: Result<(GrantRenewal, Option<Timestamp>)>,
}

/// Refreshes a grant, by this process or another that is faster.
pub async fn refresh_grant(
    workspace: &Workspace,
    connection: ConnectionName,
    condition: RefreshCondition,
) -> RefreshResult {
    let result = async {
        let before = refresh::load_grant(workspace, &connection).await?.stored_grant.generation;
        let freshness = match condition {
            RefreshCondition::Always => Freshness::NewerThan { than: before },
            RefreshCondition::IfDue => Freshness::RefreshIfDue,
        };
        let loaded = refresh::fresh_grant(workspace, &connection, freshness).await?;
        let is_same = loaded.stored_grant.generation == before;
        Ok((if is_same { GrantRenewal::StillValid } else { GrantRenewal::Refreshed }, loaded.grant.expires_at))
    };
    let result = result.await;
    RefreshResult { connection, result }
}

/// Refreshes each grant when it is due. Every connection that can be refreshed is looked at once when it is first seen, so
/// that one which needs a person is reported.
pub struct RefreshWorker<'a> {
    workspace: &'a Workspace,
    on_result: Report<'a, RefreshResult>,
    connections: HashMap<ConnectionId, Attempts>,
    /// Those that are due and for which there is no room yet.
    waiting: VecDeque<(ConnectionId, ConnectionName)>,
    running: Running<'a, (ConnectionId, RefreshResult)>,
}

/// What this worker has done for a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    is_running: bool,
    /// In a row.
    failures: u32,
    /// Nothing is done before; absent if nothing was done yet.
    rests_until: Option<Timestamp>,
}

impl<'a> RefreshWorker<'a> {
    /// Creates a worker that reports each grant that it looked at.
    pub fn new(workspace: &'a Workspace, on_result: Report<'a, RefreshResult>) -> Self {
        let (connections, waiting, running) = (HashMap::new(), VecDeque::new(), Running::default());
        Self { workspace, on_result, connections, waiting, running }
    }

    /// Creates a worker that logs what it does.
    pub fn logging(workspace: &'a Workspace) -> Self {
        Self::new(workspace, Box::new(|result| log(&result)))
    }

    /// Begins as many of those that wait as there is room for.
    fn begin_waiting(&mut self) {
        while self.running.len() < MAX_CONCURRENT_REFRESHES
            && let Some((id, name)) = self.waiting.pop_front()
        {
            self.connections.entry(id).or_default().is_running = true;
            let workspace = self.workspace;
            self.running
                .push(Box::pin(async move { (id, refresh_grant(workspace, name, RefreshCondition::IfDue).await) }));
        }
    }

    fn end(&mut self, id: ConnectionId, result: RefreshResult) {
        let attempts = self.connections.entry(id).or_default();
        attempts.is_running = false;
        attempts.failures = if result.result.is_ok() { 0 } else { attempts.failures.saturating_add(1) };
        let rest = FAILURE_BACKOFF.delay(attempts.failures).max(MIN_REST);
        attempts.rests_until = self.workspace.clock.now().checked_add(rest).ok();
        (self.on_result)(result);
    }
}

#[async_trait]
impl Worker for RefreshWorker<'_> {
    fn name(&self) -> &'static str {
        "refresh"
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        if !self.workspace.has_vault() {
            return Ok(NextWake::Idle);
        }
        let workspace = self.workspace;
        let list = async { Ok::<_, Error>(workspace.store().await?.connections().list().await?) };
        let mut connections = self.running.beside(list).await?;
        connections.retain(|connection| connection.expiry.is_refreshable);
        let present: HashSet<ConnectionId> = connections.iter().map(|connection| connection.id).collect();
        self.connections.retain(|id, attempts| attempts.is_running || present.contains(id));
        let mut next: Option<Timestamp> = None;
        self.waiting.clear();
        for connection in connections {
            let attempts = self.connections.get(&connection.id).copied().unwrap_or_default();
            match next_look(&connection, attempts, now) {
                Some(at) if at > now => next = Some(next.map_or(at, |next| next.min(at))),
                Some(_) => self.waiting.push_back((connection.id, connection.name)),
                None => {}
            }
        }
        self.begin_waiting();
        Ok(match next {
            _ if !self.running.is_empty() => NextWake::Busy(LONGEST_SLEEP),
            Some(next) => NextWake::At(next),
            None => NextWake::Idle,
        })
    }

    /// Resolves when all that was due has ended: the next tick reads every connection, and is not worth it for each.
    async fn woken(&mut self) {
        while let Some((id, result)) = self.running.next().await {
            self.end(id, result);
            self.begin_waiting();
            if self.running.is_empty() {
                return;
            }
        }
        future::pending::<()>().await;
    }

    /// Waits for the refreshes that run: a vendor's answer must be stored.
    async fn finish(&mut self) -> Result<()> {
        while let Some((id, result)) = self.running.next().await {
            self.end(id, result);
        }
        Ok(())
    }
}

/// When to look at a connection; `None` as long as a refresh of it runs, it needs a person, or its token does not expire. Pure.
fn next_look(connection: &Connection, attempts: Attempts, now: Timestamp) -> Option<Timestamp> {
    if attempts.is_running {
        return None;
    }
    let Some(rests_until) = attempts.rests_until else { return Some(now) };
    if connection.grant_status != GrantStatus::Active {
        return None;
    }
    // The clock may have been set back since.
    Some(refresh_due_at(&connection.expiry, now)?.max(due_at(rests_until, LONGEST_REST, now)))
}

fn log(RefreshResult { connection, result }: &RefreshResult) {
    match result {
        Ok((GrantRenewal::Refreshed, expires_at)) => tracing::info!(%connection, ?expires_at, "a grant was refreshed"),
        Ok((GrantRenewal::StillValid, _)) => {}
        Err(error) => {
            let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
            tracing::warn!("{connection} could not be refreshed: {}{hint}", error.on_one_line());
        }
    }
}

#[cfg(test)]
#[path = "refresh_tests.rs"]
mod tests;
