//! `integ schedule`, and what `integ sync --due` runs.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{SyncArgumentError, SyncTarget, execute, show};
use crate::cli::table::{relative, table};
use crate::cli::ui::{Ui, View};
use crate::clock::{Timestamp, random};
use crate::duration;
use crate::error::Result;
use crate::runtime::App;
use crate::store::{Schedule, StreamParams, SyncMode};
use crate::sync::{ScheduleRule, SyncRequest, find_stream};

/// Say what is synced when; `integ sync --due`, from your own cron, runs it
#[derive(Debug, Args)]
pub(in crate::cli) struct ScheduleArgs {
    #[command(subcommand)]
    command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// Sync a connection or a stream by itself
    Set {
        #[arg(value_name = "CONNECTION[/STREAM]", add = crate::cli::complete::streams())]
        target: String,
        /// `every 15m`, or a cron expression: `0 6 * * 1-5`, with a time zone after it if you like
        rule: String,
        /// Up to so much later, so that not everything begins at once
        #[arg(long, value_name = "DURATION")]
        jitter: Option<String>,
    },
    /// What comes when
    List,
    /// No longer
    Remove {
        #[arg(value_name = "CONNECTION[/STREAM]", add = crate::cli::complete::streams())]
        target: String,
    },
}

#[derive(Serialize)]
struct ScheduleView {
    connection: String,
    stream: Option<String>,
    rule: String,
    jitter: u32,
    next_at: String,
    last_at: Option<String>,
    #[serde(skip)]
    next_in: i64,
    #[serde(skip)]
    last_in: Option<i64>,
}

#[derive(Serialize)]
struct ScheduleListView {
    schedules: Vec<ScheduleView>,
}

impl View for ScheduleListView {
    fn text(&self, ui: &Ui) -> String {
        if self.schedules.is_empty() {
            return "No schedules. `integ schedule set github 'every 15m'` makes one.".to_owned();
        }
        let row = |view: &ScheduleView| {
            let name = view.stream.as_ref().map_or_else(String::new, |stream| format!("/{stream}"));
            let next = if view.next_in <= 0 { "due".to_owned() } else { relative(view.next_in) };
            vec![
                format!("{}{name}", view.connection).into(),
                view.rule.clone().into(),
                next.into(),
                view.last_in.map_or_else(|| "never".to_owned(), relative).into(),
            ]
        };
        table(ui, &["what", "when", "next", "last"], self.schedules.iter().map(row).collect())
    }
}

pub(in crate::cli) fn run(app: &App, ui: &Ui, args: &ScheduleArgs) -> Result<u8> {
    match &args.command {
        ScheduleCommand::Set { target, rule, jitter } => set(app, ui, target, rule, jitter.as_deref()),
        ScheduleCommand::List => {
            let now = app.clock.now().as_second();
            let view = |schedule: Schedule| -> Result<ScheduleView> {
                let next_at = next_of(&schedule, app.clock.now())?;
                Ok(ScheduleView {
                    connection: schedule.connection.to_string(),
                    stream: schedule.stream,
                    rule: schedule.rule,
                    jitter: schedule.jitter_secs,
                    next_at: next_at.to_string(),
                    last_at: schedule.last_at.map(|at| at.to_string()),
                    next_in: next_at.as_second() - now,
                    last_in: schedule.last_at.map(|at| at.as_second() - now),
                })
            };
            let found = if app.has_vault() { app.store()?.schedules().list()? } else { Vec::new() };
            ui.show(&ScheduleListView { schedules: found.into_iter().map(view).collect::<Result<_>>()? })?;
            Ok(0)
        }
        ScheduleCommand::Remove { target: word } => {
            let target = SyncTarget::parse(ui, word)?;
            let connection = app.connection(&target.connection)?;
            if !app.store()?.schedules().remove(connection.id, target.stream.as_deref())? {
                return Err(SyncArgumentError::ScheduleNotFound { name: word.clone() }.into());
            }
            ui.note(&format!("{word} is no longer synced by itself."));
            Ok(0)
        }
    }
}

fn set(app: &App, ui: &Ui, word: &str, text: &str, jitter: Option<&str>) -> Result<u8> {
    let target = SyncTarget::parse(ui, word)?;
    let connection = app.connection(&target.connection)?;
    if let Some(stream) = &target.stream {
        find_stream(&app.catalogue.get(target.connection.connector())?, stream)?;
    }
    let rule = parse(text)?;
    let jitter_secs = match jitter {
        None => 0,
        Some(text) => {
            let jitter = duration::parse(text).and_then(|jitter| u32::try_from(jitter.as_secs()).ok());
            jitter.ok_or_else(|| SyncArgumentError::Time { text: text.to_owned() })?
        }
    };
    let next = rule.next(app.clock.now(), jitter_secs, u64::from_ne_bytes(random()));
    let schedules = app.store()?.schedules();
    schedules.set(connection.id, target.stream.as_deref(), &rule.to_string(), jitter_secs, next)?;
    ui.note(&format!("{word} is synced next at {next}, by `integ sync --due`."));
    Ok(0)
}

fn parse(text: &str) -> Result<ScheduleRule, SyncArgumentError> {
    text.parse().map_err(|error: crate::sync::ScheduleRuleError| SyncArgumentError::Schedule {
        text: text.to_owned(),
        why: error.to_string(),
    })
}

/// The next time of a schedule, which is never later than its rule allows.
fn next_of(schedule: &Schedule, now: Timestamp) -> Result<Timestamp, SyncArgumentError> {
    Ok(parse(&schedule.rule)?.clamp_next(schedule.next_at, schedule.jitter_secs, now))
}

/// Runs what is due. Whoever takes a schedule moves it on first, so that of several processes one runs it.
pub(super) fn run_due(app: &App, ui: &Ui) -> Result<u8> {
    let mut orders: Vec<SyncRequest> = Vec::new();
    let now = app.clock.now();
    let found = if app.has_vault() { app.store()?.schedules().list()? } else { Vec::new() };
    for due in found {
        let next_at = next_of(&due, now)?;
        if next_at > now {
            // A time that follows from the present would never come if it were not kept.
            if next_at < due.next_at {
                app.store()?.schedules().set_next_at(&due, next_at)?;
            }
            continue;
        }
        let connection = app.connection(&due.connection)?;
        let next = parse(&due.rule)?.next(now, due.jitter_secs, u64::from_ne_bytes(random()));
        let schedules = app.store()?.schedules();
        if !schedules.claim(connection.id, due.stream.as_deref(), due.next_at, next, now)? {
            continue;
        }
        let order = orders.iter_mut().find(|order| order.connection == due.connection);
        match (order, due.stream) {
            // All of it is more than a stream of it.
            (Some(order), None) => order.streams.clear(),
            (Some(order), Some(stream)) if !order.streams.is_empty() => order.streams.push(stream),
            (Some(_), Some(_)) => {}
            (None, stream) => orders.push(SyncRequest {
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
    if orders.is_empty() {
        ui.note("Nothing is due.");
        return Ok(0);
    }
    let reports = execute(app, ui, &orders)?;
    show(app, ui, reports)
}
