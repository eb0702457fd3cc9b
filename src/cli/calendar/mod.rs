//! `integ calendar`.

mod arguments;
mod error;
mod render;
mod write;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use self::arguments::{QueryArgs, TimeSpanArgs};
use super::ui::Ui;
use crate::cli::value_parser;
use crate::error::{Kind, Result};
use crate::ops::calendar::{self, ConflictQuery, SlotQuery};
use crate::runtime::Workspace;

/// Read and change calendars of several services as one
///
/// Calendars are read live. Times are RFC 3339 (2026-12-01T09:00:00+01:00), local with a time zone
/// (2026-12-01T09:00[Europe/Berlin]) or without one, dates, or +45m from now.
#[derive(Debug, Args)]
pub(super) struct CalendarArgs {
    #[command(subcommand)]
    command: CalendarCommand,
}

#[derive(Debug, Subcommand)]
enum CalendarCommand {
    /// List the calendars of accounts
    List {
        /// Connections whose calendars to list (default: all that have calendars)
        #[arg(value_name = "CONNECTION", add = super::complete::calendars())]
        connections: Vec<String>,
        /// Time limit for each calendar
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = value_parser::duration)]
        timeout: Duration,
    },
    /// List events, with recurring events expanded
    Events {
        #[command(flatten)]
        query: QueryArgs,
        /// How to print the events
        #[arg(long, value_name = "FORMAT", default_value = "table")]
        format: EventFormat,
    },
    /// Create an event
    ///
    /// With --entity, the event is linked to your entity and created only once: a second run finds it, even if the
    /// first was interrupted before the service responded.
    Create(Box<write::CreateArgs>),
    /// Change or move an event
    ///
    /// Fails if the event was changed meanwhile, and shows what changed.
    Update(Box<write::UpdateArgs>),
    /// Delete an event
    Delete(Box<write::DeleteArgs>),
    /// Show when calendars are busy
    ///
    /// Fails if any of the calendars cannot be read.
    Freebusy {
        #[command(flatten)]
        query: QueryArgs,
    },
    /// Find events that overlap, or that overlap a given time
    ///
    /// Fails if any of the calendars cannot be read.
    Conflicts {
        #[command(flatten)]
        query: QueryArgs,
        #[command(flatten)]
        time: TimeSpanArgs,
        /// Exit with 6 if there is a conflict
        #[arg(long)]
        check: bool,
    },
    /// Find times at which none of the calendars is busy
    ///
    /// Fails if any of the calendars cannot be read.
    Slots {
        #[command(flatten)]
        query: QueryArgs,
        /// Minimum length of a slot
        #[arg(long, value_name = "DURATION", value_parser = value_parser::duration)]
        duration: Duration,
        /// Hours of the day to consider, such as 09:00-17:00 (default: all)
        #[arg(long, value_name = "HH:MM-HH:MM", value_parser = arguments::daily_hours)]
        hours: Option<calendar::DailyHours>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EventFormat {
    Table,
    Json,
    /// iCalendar (RFC 5545)
    Ics,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: CalendarArgs) -> Result<u8> {
    match args.command {
        CalendarCommand::List { connections, timeout } => {
            let query = arguments::list_query(ui, &connections, timeout)?;
            ui.show(&workspace.run(calendar::list_calendars(workspace, query))?)?;
        }
        CalendarCommand::Events { query, format } => return events(workspace, ui, &query, format),
        CalendarCommand::Create(args) => return write::create(workspace, ui, &args),
        CalendarCommand::Update(args) => return write::update(workspace, ui, &args),
        CalendarCommand::Delete(args) => return write::delete(workspace, ui, &args),
        CalendarCommand::Freebusy { query } => {
            let query = query.parse(workspace, ui)?;
            ui.show(&workspace.run(calendar::free_busy(workspace, query))?)?;
        }
        CalendarCommand::Conflicts { query, time, check } => {
            let (window, is_proposal) = time.parse(workspace, &query)?.map_or((None, false), |span| (Some(span), true));
            let query = query.parse_in(workspace, ui, window)?;
            let view = workspace.run(calendar::list_conflicts(workspace, ConflictQuery { query, is_proposal }))?;
            ui.show(&view)?;
            if check && !view.conflicts.is_empty() {
                return Ok(Kind::Unhealthy.exit_code());
            }
        }
        CalendarCommand::Slots { query, duration, hours } => {
            let query = query.parse(workspace, ui)?;
            let request = SlotQuery { query, length: duration, hours };
            ui.show(&workspace.run(calendar::list_slots(workspace, request))?)?;
        }
    }
    Ok(0)
}

/// Shows events. Calendars that could not be read are named, and are an exit code of their own.
fn events(workspace: &Workspace, ui: &Ui, query: &QueryArgs, format: EventFormat) -> Result<u8> {
    let query = query.parse(workspace, ui)?;
    if format == EventFormat::Ics && !ui.json {
        ui.raw(&workspace.run(calendar::export_events(workspace, query))?);
        return Ok(0);
    }
    let mut ui = ui.clone();
    ui.json |= format == EventFormat::Json;
    let view = workspace.run(calendar::list_events(workspace, query))?;
    ui.show(&view)?;
    Ok(if view.unread.is_empty() { 0 } else { Kind::Partial.exit_code() })
}
