//! `integ schedule`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::target::parse_target;
use crate::cli::table::{relative, table};
use crate::cli::ui::{Render, Ui};
use crate::cli::value_parser;
use crate::error::Result;
use crate::ops::sync::{SetScheduleRequest, list_schedules, remove_schedule, set_schedule};
use crate::runtime::Workspace;
use crate::view::sync::{ScheduleListView, ScheduleView};

/// Schedule syncs, which `integ serve` or `integ sync --due` (for cron) runs
#[derive(Debug, Args)]
pub(in crate::cli) struct ScheduleArgs {
    #[command(subcommand)]
    command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// Set the schedule of a connection or a stream
    Set {
        /// Connection or stream to sync
        #[arg(value_name = "CONNECTION[/STREAM]", add = crate::cli::complete::streams())]
        target: String,
        /// `every 15m`, or a cron expression: `0 6 * * 1-5`, optionally followed by a time zone
        rule: String,
        /// Random delay added to each run, at most (default: none)
        #[arg(long, value_name = "DURATION", value_parser = value_parser::duration)]
        jitter: Option<Duration>,
    },
    /// List schedules
    List,
    /// Remove a schedule
    Remove {
        /// Connection or stream whose schedule to remove
        #[arg(value_name = "CONNECTION[/STREAM]", add = crate::cli::complete::streams())]
        target: String,
    },
}

pub(in crate::cli) fn run(workspace: &Workspace, ui: &Ui, args: &ScheduleArgs) -> Result<u8> {
    match &args.command {
        ScheduleCommand::Set { target: word, rule, jitter } => {
            let target = parse_target(&ui.project, word)?;
            // A century, the longest duration that is read, fits.
            let jitter_secs = jitter.map_or(0, |jitter| u32::try_from(jitter.as_secs()).unwrap_or(u32::MAX));
            let request = SetScheduleRequest { target, rule: rule.clone(), jitter_secs };
            let set = workspace.run(set_schedule(workspace, request))?;
            ui.note(&format!("The next sync of {word} is due at {}; `integ sync --due` runs it.", set.next_at));
        }
        ScheduleCommand::List => ui.show(&workspace.run(list_schedules(workspace, None))?)?,
        ScheduleCommand::Remove { target: word } => {
            workspace.run(remove_schedule(workspace, parse_target(&ui.project, word)?))?;
            ui.note(&format!("Removed the schedule of {word}."));
        }
    }
    Ok(0)
}

impl Render for ScheduleListView {
    fn text(&self, ui: &Ui) -> String {
        if self.schedules.is_empty() {
            return "No schedules. `integ schedule set github 'every 15m'` makes one.".to_owned();
        }
        let row = |view: &ScheduleView| {
            let name = view.stream.as_ref().map_or_else(String::new, |stream| format!("/{stream}"));
            let now = view.as_of.as_second();
            let next_in = view.next_at.as_second() - now;
            vec![
                format!("{}{name}", view.connection).into(),
                view.rule.clone().into(),
                if next_in <= 0 { "due".into() } else { relative(next_in).into() },
                view.last_at.map_or_else(|| "never".to_owned(), |at| relative(at.as_second() - now)).into(),
            ]
        };
        table(ui, &["sync", "schedule", "next run", "last run"], self.schedules.iter().map(row).collect())
    }
}
