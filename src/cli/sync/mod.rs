//! `integ sync`, and the commands on stored data: `records`, `cursor`, `job`, `schedule`.

mod arguments;
pub(super) mod cursor;
pub(super) mod job;
mod number;
mod progress;
pub(super) mod records;
mod report;
pub(super) mod schedule;
mod singer;
mod stored;
mod target;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use self::arguments::{SyncArgumentError, parse_pairs};
use self::progress::ProgressDisplay;
use self::target::parse_target;
use super::ui::Ui;
use crate::cli::value_parser;
use crate::error::Result;
use crate::ops::sync::{
    SyncRange, SyncStreamsRequest, plan_sync, sync_due, sync_streams, sync_streams_allowing_deletes,
};
use crate::runtime::Workspace;

/// Sync records from a service
///
/// Syncs all streams of all connections, or the named ones. An interrupted run resumes where it stopped. Print the
/// records with `integ records`.
#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// Connections or streams to sync (default: all)
    #[arg(value_name = "CONNECTION[/STREAM]", add = super::complete::streams())]
    targets: Vec<String>,
    /// incremental, full (detects deletions) or backfill (a time range; keeps the cursor)
    #[arg(long, value_name = "MODE", default_value = "incremental")]
    mode: SyncModeArg,
    /// Start of a backfill: 90s, 2h, 7d ago, or a date such as "2026-11-28 03:00"
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End of a backfill (default: now)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Stream parameter (stored), or the parent to sync
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", add = super::complete::stream_params())]
    params: Vec<String>,
    /// Mark records as deleted even if that is more than half of a stream
    #[arg(long)]
    allow_deletes: bool,
    /// Sync only what is due by its schedule (`integ schedule`)
    #[arg(long, conflicts_with_all = ["targets", "mode", "since", "until", "params", "dry_run", "allow_deletes"])]
    due: bool,
    /// Show the first request of each stream without sending it
    #[arg(long)]
    dry_run: bool,
    /// Print changes as messages for a loader; see `integ help sync`
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["due", "dry_run"])]
    to: Option<OutputTargetArg>,
    /// State file written by the target: only later changes are sent
    #[arg(long, value_name = "FILE", requires = "to")]
    state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputTargetArg {
    /// A target of the Singer specification
    Singer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SyncModeArg {
    Incremental,
    Full,
    Backfill,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &SyncArgs) -> Result<u8> {
    let progress = ProgressDisplay::new(ui);
    if args.due {
        let reports = workspace.run(sync_due(workspace, &progress))?;
        if reports.streams.is_empty() {
            ui.note("Nothing is due.");
            return Ok(0);
        }
        return report::show(ui, &reports);
    }
    let request = sync_request(workspace, ui, args)?;
    if args.dry_run {
        ui.show(&workspace.run(plan_sync(workspace, request))?)?;
        return Ok(0);
    }
    if args.to.is_some() {
        return singer::run(workspace, ui, request, args.allow_deletes, args.state.as_deref());
    }
    let reports = match args.allow_deletes {
        true => workspace.run(sync_streams_allowing_deletes(workspace, request, &progress))?,
        false => workspace.run(sync_streams(workspace, request, &progress))?,
    };
    report::show(ui, &reports)
}

fn sync_request(workspace: &Workspace, ui: &Ui, args: &SyncArgs) -> Result<SyncStreamsRequest> {
    let time = |text: &Option<String>| text.as_deref().map(|text| value_parser::time(workspace, text)).transpose();
    let range = match (args.mode, time(&args.since)?, time(&args.until)?) {
        (SyncModeArg::Incremental, None, None) => SyncRange::Incremental,
        (SyncModeArg::Full, None, None) => SyncRange::Full,
        (SyncModeArg::Incremental | SyncModeArg::Full, ..) => return Err(SyncArgumentError::NoBackfill.into()),
        (SyncModeArg::Backfill, Some(since), until) => SyncRange::Backfill { since, until },
        (SyncModeArg::Backfill, None, _) => return Err(SyncArgumentError::NoSince.into()),
    };
    let params = parse_pairs(&args.params)?;
    let targets = args.targets.iter().map(|word| parse_target(&ui.project, word)).collect::<Result<_>>()?;
    Ok(SyncStreamsRequest { targets, range, params })
}
