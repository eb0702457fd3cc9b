//! `integ doctor`.

use clap::Args;

use super::escape::wrap;
use super::ui::{Render, Tone, Ui, escape};
use crate::doctor::{NetworkAccess, Severity, run_checks};
use crate::error::{Kind, Result};
use crate::view::doctor::DoctorReportView;

/// Diagnose problems and suggest fixes
///
/// Changes nothing, asks nothing, and uses no network without --online. Exits with 6 if there is an error.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Also check that the services of your connections can be reached
    #[arg(long)]
    pub online: bool,
}

/// Columns before a message.
const INDENT: usize = 22;

/// Columns before a line that is too long for the column of messages.
const LONG_INDENT: usize = 9;

impl Render for DoctorReportView {
    fn text(&self, ui: &Ui) -> String {
        let mut lines = Vec::new();
        for finding in &self.findings {
            let tone = match finding.severity {
                Severity::Ok => Tone::Good,
                Severity::Warning => Tone::Warn,
                Severity::Error => Tone::Bad,
            };
            let severity = ui.paint(tone, &format!("{:<8}", finding.severity));
            let room = ui.width.map_or(usize::MAX, |width| width.saturating_sub(INDENT));
            // What is too long for the column, such as a key, begins further left.
            let placed = |line: &str| {
                let indent = if line.chars().count() > room { LONG_INDENT } else { INDENT };
                format!("{:indent$}{line}", "")
            };
            let message = wrap(&finding.message, room);
            let (first, rest) = message.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
            lines.push(format!("{severity} {:<12} {first}", finding.check));
            lines.extend(rest.iter().map(|line| placed(line)));
            // On a line of its own, whole, so that it can be copied.
            lines.extend(finding.fix.as_ref().map(|fix| placed(&format!("hint: {}", escape(fix)))));
        }
        let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        lines.push(format!("{}, {}", count(self.summary.errors, "error"), count(self.summary.warnings, "warning")));
        lines.join("\n")
    }
}

pub(super) fn run(ui: &Ui, workspace: Option<String>, args: &DoctorArgs) -> Result<u8> {
    let network = if args.online { NetworkAccess::Online } else { NetworkAccess::Offline };
    let report = DoctorReportView::new(run_checks(workspace, network));
    ui.show(&report)?;
    Ok(if report.summary.errors > 0 { Kind::Unhealthy.exit_code() } else { 0 })
}
