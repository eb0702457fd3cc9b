//! `integ doctor`.

use clap::Args;
use serde::Serialize;

use super::ui::{Tone, Ui, View, escape};
use crate::doctor::{Finding, NetworkAccess, Severity, run_checks};
use crate::error::{Kind, Result};

/// Look for what is wrong here, and say what mends it
///
/// Nothing is changed, nobody is asked, and no network is used without --online. Exits with 6 where there is a problem.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Also see whether the services of your connections can be reached
    #[arg(long)]
    pub online: bool,
}

#[derive(Serialize)]
struct FindingView {
    check: &'static str,
    level: &'static str,
    message: String,
    mend: Option<String>,
    #[serde(skip)]
    tone: Tone,
}

#[derive(Serialize)]
struct DoctorReportView {
    findings: Vec<FindingView>,
    summary: FindingCountsView,
}

#[derive(Serialize)]
struct FindingCountsView {
    ok: usize,
    warnings: usize,
    problems: usize,
}

impl View for DoctorReportView {
    fn text(&self, ui: &Ui) -> String {
        let mut lines = Vec::new();
        for finding in &self.findings {
            let level = ui.paint(finding.tone, &format!("{:<8}", finding.level));
            lines.push(format!("{level} {:<12} {}", finding.check, escape(&finding.message)));
            // On a line of its own, whole, so that it can be copied.
            lines.extend(finding.mend.as_ref().map(|mend| format!("{:22}hint: {}", "", escape(mend))));
        }
        let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let FindingCountsView { problems, warnings, .. } = self.summary;
        lines.push(format!("{}, {}", count(problems, "problem"), count(warnings, "warning")));
        lines.join("\n")
    }
}

pub(super) fn run(ui: &Ui, workspace: Option<String>, args: &DoctorArgs) -> Result<u8> {
    let findings = run_checks(workspace, if args.online { NetworkAccess::Online } else { NetworkAccess::Offline });
    let count = |level| findings.iter().filter(|finding| finding.severity == level).count();
    let summary = FindingCountsView {
        ok: count(Severity::Ok),
        warnings: count(Severity::Warning),
        problems: count(Severity::Error),
    };
    let problems = summary.problems;
    ui.show(&DoctorReportView { findings: findings.into_iter().map(view).collect(), summary })?;
    Ok(if problems > 0 { Kind::Unhealthy.exit_code() } else { 0 })
}

fn view(finding: Finding) -> FindingView {
    let tone = match finding.severity {
        Severity::Ok => Tone::Good,
        Severity::Warning => Tone::Warn,
        Severity::Error => Tone::Bad,
    };
    let Finding { check, severity: level, message, fix: mend } = finding;
    FindingView { check, level: level.as_str(), message, mend, tone }
}
