//! Schedules: when a connection or a stream is synced without being asked.

use super::{SyncOperationError, SyncTarget};
use crate::clock::{Timestamp, random};
use crate::error::Result;
use crate::model::{Schedule, StreamParams, SyncMode};
use crate::runtime::Workspace;
use crate::sync::{ScheduleRule, ScheduleRuleError, SyncRequest, find_stream};
use crate::view::sync::{ScheduleListView, ScheduleView};

/// A schedule to set.
#[derive(Clone, Debug)]
pub struct SetScheduleRequest {
    pub target: SyncTarget,
    /// `every 15m`, or a cron expression of five fields, with a time zone after it if it is not the machine's.
    pub rule: String,
    /// Seconds that each run is delayed by at most, at random.
    pub jitter_secs: u32,
}

/// Sets the schedule of a connection or a stream, in place of an earlier one.
pub async fn set_schedule(workspace: &Workspace, request: SetScheduleRequest) -> Result<ScheduleView> {
    let SetScheduleRequest { target, rule, jitter_secs } = request;
    let connection = workspace.connection(&target.connection).await?;
    if let Some(stream) = &target.stream {
        find_stream(&workspace.engine.catalogue.get(target.connection.connector())?, stream)?;
    }
    let rule = parse_rule(&rule)?;
    let now = workspace.engine.clock.now();
    let next_at = rule.next(now, jitter_secs, u64::from_ne_bytes(random()));
    let rule = rule.to_string();
    workspace
        .store()
        .await?
        .schedules()
        .set(connection.id, target.stream.as_deref(), &rule, jitter_secs, next_at)
        .await?;
    let SyncTarget { connection, stream } = target;
    Ok(ScheduleView { connection, stream, rule, jitter_secs, next_at, last_at: None, as_of: now })
}

/// Schedules, the next to run first.
pub async fn list_schedules(workspace: &Workspace) -> Result<ScheduleListView> {
    let now = workspace.engine.clock.now();
    let view = |schedule: Schedule| -> Result<ScheduleView> {
        Ok(ScheduleView {
            next_at: next_run(&schedule, now)?,
            connection: schedule.connection,
            stream: schedule.stream,
            rule: schedule.rule,
            jitter_secs: schedule.jitter_secs,
            last_at: schedule.last_at,
            as_of: now,
        })
    };
    Ok(ScheduleListView { schedules: stored(workspace).await?.into_iter().map(view).collect::<Result<_>>()? })
}

/// Removes the schedule of a connection or a stream.
pub async fn remove_schedule(workspace: &Workspace, target: SyncTarget) -> Result<()> {
    let connection = workspace.connection(&target.connection).await?;
    if !workspace.store().await?.schedules().remove(connection.id, target.stream.as_deref()).await? {
        return Err(SyncOperationError::ScheduleNotFound { target }.into());
    }
    Ok(())
}

/// Takes the schedules that are due, and returns one request for each of their connections.
pub(super) async fn claim_due(workspace: &Workspace) -> Result<Vec<SyncRequest>> {
    let mut requests: Vec<SyncRequest> = Vec::new();
    let now = workspace.engine.clock.now();
    for due in stored(workspace).await? {
        let next_at = next_run(&due, now)?;
        if next_at > now {
            // The stored time is from a fast clock. The right one follows from the present, so it must be stored: otherwise
            // each look would move it further on, and it would never come.
            if next_at < due.next_at {
                workspace.store().await?.schedules().set_next_at(&due, next_at).await?;
            }
            continue;
        }
        let connection = workspace.connection(&due.connection).await?;
        let next = parse_rule(&due.rule)?.next(now, due.jitter_secs, u64::from_ne_bytes(random()));
        let schedules = workspace.store().await?.schedules();
        if schedules.claim(connection.id, due.stream.as_deref(), due.next_at, next, now).await? {
            add_due(&mut requests, due);
        }
    }
    Ok(requests)
}

/// Adds a schedule to the request of its connection: all streams include each of them.
fn add_due(requests: &mut Vec<SyncRequest>, due: Schedule) {
    let known = requests.iter_mut().find(|request| request.connection == due.connection);
    match (known, due.stream) {
        (Some(request), None) => request.streams.clear(),
        (Some(request), Some(stream)) if !request.streams.is_empty() => request.streams.push(stream),
        (Some(_), Some(_)) => {}
        (None, stream) => requests.push(SyncRequest {
            connection: due.connection,
            streams: stream.into_iter().collect(),
            mode: SyncMode::Incremental,
            since: None,
            until: None,
            params: StreamParams::new(),
            allow_deletes: false,
        }),
    }
}

async fn stored(workspace: &Workspace) -> Result<Vec<Schedule>> {
    if workspace.has_vault() { Ok(workspace.store().await?.schedules().list().await?) } else { Ok(Vec::new()) }
}

/// When a schedule runs next, which is never later than its rule allows.
fn next_run(schedule: &Schedule, now: Timestamp) -> Result<Timestamp, SyncOperationError> {
    Ok(parse_rule(&schedule.rule)?.clamp_next(schedule.next_at, schedule.jitter_secs, now))
}

fn parse_rule(text: &str) -> Result<ScheduleRule, SyncOperationError> {
    let invalid = |error: ScheduleRuleError| SyncOperationError::InvalidSchedule {
        text: text.to_owned(),
        reason: error.to_string(),
    };
    text.parse().map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(connection: &str, stream: Option<&str>) -> Schedule {
        Schedule {
            connection: connection.parse().unwrap(),
            stream: stream.map(str::to_owned),
            rule: "every 15m".to_owned(),
            jitter_secs: 0,
            next_at: Timestamp::UNIX_EPOCH,
            last_at: None,
        }
    }

    #[test]
    fn a_connection_is_synced_once_whatever_is_due_of_it() {
        let mut requests = Vec::new();
        for schedule in [
            due("github", Some("issues")),
            due("slack", None),
            due("github", Some("pulls")),
            due("slack", Some("users")),
            due("stripe", Some("charges")),
            due("stripe", None),
        ] {
            add_due(&mut requests, schedule);
        }
        let found: Vec<(String, Vec<String>)> =
            requests.into_iter().map(|request| (request.connection.to_string(), request.streams)).collect();
        let streams = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                ("github".to_owned(), streams(&["issues", "pulls"])),
                ("slack".to_owned(), Vec::new()),
                ("stripe".to_owned(), Vec::new()),
            ]
        );
    }
}
