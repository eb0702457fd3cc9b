//! Syncs what is due by its schedule.

use std::collections::{HashMap, HashSet};
use std::future;

use async_trait::async_trait;
use thiserror::Error;

use super::Report;
use crate::clock::{Timestamp, random};
use crate::error::{Diagnostic, Error as AnyError, Kind, Remedy, Result};
use crate::model::{ConnectionName, Schedule, StreamParams, SyncMode};
use crate::runtime::Workspace;
use crate::runtime::worker::{LONGEST_SLEEP, NextWake, Running, Worker};
use crate::sync::{self, ScheduleRule, ScheduleRuleError, SyncObserver, SyncOutcome, SyncReport, SyncRequest};

/// Connections that are synced at the same time.
const MAX_CONCURRENT_SYNCS: usize = 4;

/// Why a schedule cannot be followed.
#[derive(Debug, Error)]
pub enum ScheduleError {
    #[error("invalid schedule {text:?}")]
    InvalidRule { connection: ConnectionName, text: String, source: ScheduleRuleError },
}

impl Remedy for ScheduleError {
    fn diagnostic(&self) -> Diagnostic {
        let Self::InvalidRule { connection, .. } = self;
        Diagnostic::new(Kind::Usage, "invalid_schedule").run("integ schedule list").connection(connection)
    }
}

/// A sync that has ended. What went wrong with a stream is in its report.
#[derive(Debug)]
pub struct ScheduledSync {
    pub request: SyncRequest,
    pub result: Result<Vec<SyncReport>>,
}

/// Runs syncs when their schedules say. A schedule is moved on before its sync begins, so that one of several processes
/// runs it; one whose connection is still being synced waits until that has ended.
pub struct ScheduleWorker<'a> {
    workspace: &'a Workspace,
    observer: &'a dyn SyncObserver,
    on_sync: Report<'a, ScheduledSync>,
    max_concurrent: usize,
    /// Later schedules are left alone.
    due_by: Option<Timestamp>,
    running: Running<'a, ScheduledSync>,
    /// The connections of the syncs that run.
    connections: HashSet<ConnectionName>,
    /// The rules that were reported as invalid.
    invalid_rules: HashMap<(ConnectionName, Option<String>), String>,
}

/// A schedule at a moment.
enum ScheduleStatus {
    Due,
    Waiting(Timestamp),
}

impl<'a> ScheduleWorker<'a> {
    /// Creates a worker that follows the schedules.
    pub fn new(workspace: &'a Workspace, observer: &'a dyn SyncObserver, on_sync: Report<'a, ScheduledSync>) -> Self {
        Self {
            workspace,
            observer,
            on_sync,
            max_concurrent: MAX_CONCURRENT_SYNCS,
            due_by: None,
            running: Running::default(),
            connections: HashSet::new(),
            invalid_rules: HashMap::new(),
        }
    }

    /// Creates a worker that runs what is due by this time, one connection after the other. What becomes due meanwhile is
    /// left alone: it would never be idle if its syncs take longer than the time between them.
    pub fn one_shot(
        workspace: &'a Workspace,
        due_by: Timestamp,
        observer: &'a dyn SyncObserver,
        on_sync: Report<'a, ScheduledSync>,
    ) -> Self {
        Self { max_concurrent: 1, due_by: Some(due_by), ..Self::new(workspace, observer, on_sync) }
    }

    /// Creates a worker that logs what it does.
    pub fn logging(workspace: &'a Workspace) -> Self {
        Self::new(workspace, &Unobserved, Box::new(|ended| log(&ended)))
    }

    /// Takes schedules that are due, one request for each of their connections, as many as there is room for. Returns them
    /// with the time of the next schedule.
    async fn claim_due(&mut self, now: Timestamp, room: usize) -> Result<(Vec<SyncRequest>, Option<Timestamp>)> {
        let store = self.workspace.store().await?;
        let (mut requests, mut next) = (Vec::new(), None);
        for schedule in store.schedules().list().await? {
            let rule = match schedule.rule.parse::<ScheduleRule>() {
                Ok(rule) => rule,
                Err(source) => {
                    self.report_invalid(schedule, source);
                    continue;
                }
            };
            match status(&schedule, &rule, now) {
                ScheduleStatus::Waiting(at) => {
                    // The stored time is from a fast clock. The right one follows from the present, so it must be stored:
                    // otherwise each look would move it further on, and it would never come.
                    if at < schedule.next_at {
                        store.schedules().set_next_at(&schedule, at).await?;
                    }
                    next = Some(next.map_or(at, |next: Timestamp| next.min(at)));
                }
                ScheduleStatus::Due if self.has_room(&schedule.connection, &requests, room) => {
                    // It may have been disconnected meanwhile.
                    let Some(connection) = store.connections().find(&schedule.connection).await? else { continue };
                    let following = rule.next(now, schedule.jitter_secs, u64::from_ne_bytes(random()));
                    let (stream, due_at) = (schedule.stream.as_deref(), schedule.next_at);
                    if store.schedules().claim(connection.id, stream, due_at, following, now).await? {
                        add_due(&mut requests, schedule);
                        next = Some(next.map_or(following, |next: Timestamp| next.min(following)));
                    }
                }
                ScheduleStatus::Due => {}
            }
        }
        Ok((requests, next))
    }

    /// Whether a sync of the connection may begin with those that are requested.
    fn has_room(&self, connection: &ConnectionName, requests: &[SyncRequest], room: usize) -> bool {
        let is_requested = requests.iter().any(|request| request.connection == *connection);
        is_requested || (requests.len() < room && !self.connections.contains(connection))
    }

    fn begin(&mut self, request: SyncRequest) {
        self.connections.insert(request.connection.clone());
        let (workspace, observer) = (self.workspace, self.observer);
        self.running.push(Box::pin(async move {
            let result = sync::run(workspace, &request, observer).await;
            observer.connection_finished();
            ScheduledSync { request, result }
        }));
    }

    /// Reports a rule that cannot be read as a sync that failed, once.
    fn report_invalid(&mut self, schedule: Schedule, source: ScheduleRuleError) {
        let key = (schedule.connection.clone(), schedule.stream.clone());
        let earlier = self.invalid_rules.insert(key, schedule.rule.clone());
        if earlier.as_ref() == Some(&schedule.rule) {
            return;
        }
        let (connection, text) = (schedule.connection.clone(), schedule.rule.clone());
        let error = ScheduleError::InvalidRule { connection, text, source };
        (self.on_sync)(ScheduledSync { request: request(schedule), result: Err(error.into()) });
    }
}

#[async_trait]
impl Worker for ScheduleWorker<'_> {
    fn name(&self) -> &'static str {
        "schedule"
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        if !self.workspace.has_vault() {
            return Ok(NextWake::Idle);
        }
        let room = self.max_concurrent.saturating_sub(self.running.len());
        let now = self.due_by.map_or(now, |due_by| due_by.min(now));
        let mut running = std::mem::take(&mut self.running);
        let claimed = running.beside(self.claim_due(now, room)).await;
        self.running = running;
        let (requests, next) = claimed?;
        for request in requests {
            self.begin(request);
        }
        Ok(match next {
            _ if !self.running.is_empty() => NextWake::Busy(LONGEST_SLEEP),
            Some(next) if self.due_by.is_none() => NextWake::At(next),
            _ => NextWake::Idle,
        })
    }

    async fn woken(&mut self) {
        match self.running.next().await {
            Some(ended) => {
                self.connections.remove(&ended.request.connection);
                (self.on_sync)(ended);
            }
            None => future::pending().await,
        }
    }

    /// Cuts the syncs off that run: the next sync goes on from the last page that each has stored. A refresh that one of
    /// them has begun holds the shutdown off until its answer is stored.
    async fn finish(&mut self) -> Result<()> {
        let shutdown = &self.workspace.engine.shutdown;
        loop {
            tokio::select! {
                biased;
                () = shutdown.released() => break,
                Some(ended) = self.running.next() => (self.on_sync)(ended),
                else => break,
            }
        }
        self.running.clear();
        Ok(())
    }
}

/// Whether a schedule is due, which is never later than its rule allows. Pure.
fn status(schedule: &Schedule, rule: &ScheduleRule, now: Timestamp) -> ScheduleStatus {
    let next_at = rule.clamp_next(schedule.next_at, schedule.jitter_secs, now);
    if next_at > now { ScheduleStatus::Waiting(next_at) } else { ScheduleStatus::Due }
}

fn request(schedule: Schedule) -> SyncRequest {
    SyncRequest {
        connection: schedule.connection,
        streams: schedule.stream.into_iter().collect(),
        mode: SyncMode::Incremental,
        since: None,
        until: None,
        params: StreamParams::new(),
        allow_deletes: false,
    }
}

/// Adds a schedule to the request of its connection: all streams include each of them.
fn add_due(requests: &mut Vec<SyncRequest>, due: Schedule) {
    let known = requests.iter_mut().find(|request| request.connection == due.connection);
    match (known, due.stream) {
        (Some(request), None) => request.streams.clear(),
        (Some(request), Some(stream)) if !request.streams.is_empty() => request.streams.push(stream),
        (Some(_), Some(_)) => {}
        (None, stream) => requests.push(request(Schedule { stream, ..due })),
    }
}

/// A sync in the background has no progress display.
struct Unobserved;

impl SyncObserver for Unobserved {}

fn log(ended: &ScheduledSync) {
    let warn = |name: &str, error: &AnyError| {
        let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        tracing::warn!("the scheduled sync of {name} failed: {}{hint}", error.on_one_line());
    };
    match &ended.result {
        Ok(reports) => {
            for report in reports {
                let name = format!("{}/{}", report.connection, report.stream);
                match &report.outcome {
                    SyncOutcome::Failed(error) | SyncOutcome::NotStarted(error) => warn(&name, error),
                    outcome => tracing::info!(stream = name, counts = ?report.counts, ?outcome, "a stream was synced"),
                }
            }
        }
        Err(error) => warn(&ended.request.connection.to_string(), error),
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
