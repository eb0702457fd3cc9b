//! Renders the reports and the plan of a sync, and computes the exit code.

use super::number::grouped;
use crate::cli::table::{TableCell, TableNote, relative, remove_spare, table, table_of_numbers, with_notes};
use crate::cli::ui::{Render, Tone, Ui};
use crate::error::{Kind, Result};
use crate::model::ConnectionName;
use crate::view::sync::{PlannedStreamView, SyncListView, SyncPlanView, SyncReportView, SyncStatus};

/// Shows the reports, and returns the exit code.
pub(super) fn show(ui: &Ui, reports: &SyncListView) -> Result<u8> {
    ui.show(reports)?;
    if !ui.json {
        remark(ui, reports);
    }
    Ok(exit_code(&reports.streams))
}

impl Render for SyncListView {
    fn text(&self, ui: &Ui) -> String {
        if self.streams.is_empty() {
            return "Nothing to sync. Try `integ connect github --sandbox`, then `integ sync github`.".to_owned();
        }
        let row = |view: &SyncReportView| {
            let tone = match view.status {
                SyncStatus::Done => Tone::Good,
                SyncStatus::RateLimited | SyncStatus::NotStarted | SyncStatus::Skipped => Tone::Warn,
                SyncStatus::Failed | SyncStatus::Cancelled => Tone::Bad,
            };
            let number = |number: u64| TableCell(grouped(number), (number == 0).then_some(Tone::Dim));
            vec![
                format!("{}/{}", view.connection, view.stream).into(),
                TableCell(view.status.as_str().replace('_', " "), Some(tone)),
                number(view.counts.added),
                number(view.counts.changed),
                number(view.counts.deleted),
                number(view.counts.unchanged),
                number(view.traffic.requests),
                format!("{:.1} s", view.duration_secs).into(),
            ]
        };
        let mut headings = vec!["stream", "status", "added", "changed", "deleted", "unchanged", "requests", "time"];
        let mut rows: Vec<Vec<TableCell>> = self.streams.iter().map(row).collect();
        remove_spare(ui, &mut headings, &mut rows, &["requests", "time", "unchanged"]);
        let numbers = 2..headings.len();
        table_of_numbers(ui, &headings, rows, numbers)
    }
}

/// Says below the table what did not go as it should.
pub(super) fn remark(ui: &Ui, reports: &SyncListView) {
    for view in &reports.streams {
        let name = format!("{}/{}", view.connection, view.stream);
        if let Some(error) = &view.error {
            let hint = view.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
            ui.warning(&format!("{name}: {error}{hint}"));
        } else if view.status == SyncStatus::Skipped {
            let lists =
                if view.skipped == 1 { "its list".to_owned() } else { format!("any of its {} lists", view.skipped) };
            ui.warning(&format!("{name}: the service does not allow access to {lists}; nothing was synced"));
        } else if view.skipped > 0 {
            let lists = if view.skipped == 1 { "1 list".to_owned() } else { format!("{} lists", view.skipped) };
            ui.note(&format!("{name}: the service does not allow access to {lists}."));
        }
    }
    let resumes_at = reports.streams.iter().filter_map(|view| view.resumes_at).max();
    if let Some(at) = resumes_at {
        let wait = relative(at.as_second() - reports.as_of.as_second());
        ui.note(&format!("The rate limit was reached; run the sync again {wait}."));
    }
}

/// 0 if all that began is done, the kind of the failure if all of it failed alike, else that some of it failed. A stream
/// that was not started or skipped counts as a failure only if nothing else of its connection was synced.
pub(super) fn exit_code(reports: &[SyncReportView]) -> u8 {
    let is_idle = |view: &SyncReportView| matches!(view.status, SyncStatus::NotStarted | SyncStatus::Skipped);
    let is_all_idle =
        |connection: &ConnectionName| reports.iter().filter(|view| view.connection == *connection).all(is_idle);
    let counted: Vec<&SyncReportView> =
        reports.iter().filter(|view| !is_idle(view) || is_all_idle(&view.connection)).collect();
    let kinds: Vec<Kind> = counted.iter().filter_map(|view| failure(view)).collect();
    match kinds.first() {
        None => 0,
        Some(first) if kinds.len() == counted.len() && kinds.iter().all(|kind| kind == first) => first.exit_code(),
        // A rate limit does not fail the sync: the rest comes later.
        Some(_) if kinds.iter().all(|kind| *kind == Kind::Temporary) => Kind::Temporary.exit_code(),
        Some(_) => Kind::Partial.exit_code(),
    }
}

fn failure(view: &SyncReportView) -> Option<Kind> {
    match view.status {
        SyncStatus::Done => None,
        SyncStatus::RateLimited => Some(Kind::Temporary),
        SyncStatus::Cancelled | SyncStatus::Skipped => Some(Kind::Failed),
        SyncStatus::Failed | SyncStatus::NotStarted => Some(view.error_kind.unwrap_or(Kind::Failed)),
    }
}

impl Render for SyncPlanView {
    fn text(&self, ui: &Ui) -> String {
        let row = |view: &PlannedStreamView| {
            vec![
                format!("{}/{}", view.connection, view.stream).into(),
                view.mode.as_str().into(),
                view.partitions.to_string().into(),
                view.cursor.clone().unwrap_or_else(|| "-".to_owned()).into(),
            ]
        };
        // A URL has a line of its own, so that it can be copied.
        let note = |view: &PlannedStreamView| {
            let skipped = view.skip_reason.as_ref().map(|reason| format!("left out: {reason}"));
            let text = skipped
                .or_else(|| view.request.clone())
                .unwrap_or_else(|| "once the records of its parent stream are stored".to_owned());
            TableNote { subject: format!("{}/{}", view.connection, view.stream), text, command: None }
        };
        let rows = self.streams.iter().map(row).collect();
        let notes: Vec<TableNote> = self.streams.iter().map(note).collect();
        with_notes(ui, table(ui, &["stream", "mode", "partitions", "cursor"], rows), &notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::SyncMode;

    fn view(connection: &str, status: SyncStatus, error_kind: Option<Kind>) -> SyncReportView {
        SyncReportView {
            connection: connection.parse().unwrap(),
            stream: "items".to_owned(),
            mode: SyncMode::Incremental,
            status,
            counts: Default::default(),
            traffic: Default::default(),
            skipped: 0,
            duration_secs: 0.0,
            resumes_at: None,
            error: None,
            error_code: None,
            hint: None,
            error_kind,
        }
    }

    #[test]
    fn the_exit_code_says_whether_all_failed_alike() {
        let done = || view("github", SyncStatus::Done, None);
        let idle = |connection| view(connection, SyncStatus::NotStarted, Some(Kind::AuthNeeded));
        let limited = || view("github", SyncStatus::RateLimited, None);
        let failed = |kind| view("github", SyncStatus::Failed, Some(kind));
        for (reports, kind) in [
            (Vec::new(), None),
            (vec![done(), idle("github")], None),
            (vec![idle("github")], Some(Kind::AuthNeeded)),
            (vec![done(), idle("slack")], Some(Kind::Partial)),
            (vec![done(), limited()], Some(Kind::Temporary)),
            (vec![limited(), failed(Kind::Temporary)], Some(Kind::Temporary)),
            (vec![limited(), failed(Kind::AuthNeeded)], Some(Kind::Partial)),
            (vec![failed(Kind::AuthNeeded), failed(Kind::AuthNeeded)], Some(Kind::AuthNeeded)),
            (vec![view("github", SyncStatus::Cancelled, None)], Some(Kind::Failed)),
        ] {
            assert_eq!(exit_code(&reports), kind.map_or(0, Kind::exit_code), "{reports:?}");
        }
    }
}
