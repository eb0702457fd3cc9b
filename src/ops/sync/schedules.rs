//! Schedules: when a connection or stream is synced automatically.

use super::{SyncOperationError, SyncTarget};
use crate::clock::{Timestamp, random};
use crate::error::Result;
use crate::model::{ConnectionName, Schedule};
use crate::runtime::Workspace;
use crate::sync::{ScheduleRule, ScheduleRuleError, find_stream};
use crate::view::sync::{ScheduleListView, ScheduleView};

/// A schedule to set.
#[derive(Clone, Debug)]
pub struct SetScheduleRequest {
    pub target: SyncTarget,
    /// `every 15m`, or a cron expression of five fields, with a time zone after it if it is not the machine's.
    pub rule: String,
    /// Maximum random delay of each run, in seconds.
    pub jitter_secs: u32,
}

/// Sets the schedule of a connection or stream, replacing an earlier one.
pub async fn set_schedule(workspace: &Workspace, request: SetScheduleRequest) -> Result<ScheduleView> {
    let SetScheduleRequest { target, rule, jitter_secs } = request;
    let connection = workspace.connection(&target.connection).await?;
    if let Some(stream) = &target.stream {
        let connector = workspace.catalogue().get(target.connection.connector())?;
        find_stream(&connector, stream)?;
    }
    let rule = parse_rule(&rule)?;
    let now = workspace.clock.now();
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

/// Schedules, the next to run first; those of one connection, if it is given.
pub async fn list_schedules(workspace: &Workspace, connection: Option<&ConnectionName>) -> Result<ScheduleListView> {
    let now = workspace.clock.now();
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
    let mut schedules = stored(workspace).await?;
    schedules.retain(|schedule| connection.is_none_or(|wanted| schedule.connection == *wanted));
    Ok(ScheduleListView { schedules: schedules.into_iter().map(view).collect::<Result<_>>()? })
}

/// Removes the schedule of a connection or a stream.
pub async fn remove_schedule(workspace: &Workspace, target: SyncTarget) -> Result<()> {
    let connection = workspace.connection(&target.connection).await?;
    if !workspace.store().await?.schedules().remove(connection.id, target.stream.as_deref()).await? {
        return Err(SyncOperationError::ScheduleNotFound { target }.into());
    }
    Ok(())
}

async fn stored(workspace: &Workspace) -> Result<Vec<Schedule>> {
    if !workspace.has_vault() {
        return Ok(Vec::new());
    }
    let mut schedules = workspace.store().await?.schedules().list().await?;
    let names = workspace.connection_names().await?;
    schedules.retain(|schedule| names.contains(&schedule.connection));
    Ok(schedules)
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
