//! `integ doctor`.

use clap::Args;
use serde::Serialize;

use super::ui::{Tone, Ui, View, escape};
use crate::doctor::{Finding, Level, Network, examine};
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
struct Examination {
    findings: Vec<FindingView>,
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    ok: usize,
    warnings: usize,
    problems: usize,
}

impl View for Examination {
    fn text(&self, ui: &Ui) -> String {
        let mut lines = Vec::new();
        for finding in &self.findings {
            let level = ui.paint(finding.tone, &format!("{:<8}", finding.level));
            lines.push(format!("{level} {:<12} {}", finding.check, escape(&finding.message)));
            // On a line of its own, whole, so that it can be copied.
            lines.extend(finding.mend.as_ref().map(|mend| format!("{:22}hint: {}", "", escape(mend))));
        }
        let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let Summary { problems, warnings, .. } = self.summary;
        lines.push(format!("{}, {}", count(problems, "problem"), count(warnings, "warning")));
        lines.join("\n")
    }
}

pub(super) fn run(ui: &Ui, workspace: Option<String>, args: &DoctorArgs) -> Result<u8> {
    let findings = examine(workspace, if args.online { Network::Ask } else { Network::Leave });
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let summary = Summary { ok: count(Level::Ok), warnings: count(Level::Warning), problems: count(Level::Problem) };
    let problems = summary.problems;
    ui.show(&Examination { findings: findings.into_iter().map(view).collect(), summary })?;
    Ok(if problems > 0 { Kind::Unhealthy.exit_code() } else { 0 })
}

fn view(finding: Finding) -> FindingView {
    let tone = match finding.level {
        Level::Ok => Tone::Good,
        Level::Warning => Tone::Warn,
        Level::Problem => Tone::Bad,
    };
    let Finding { check, level, message, mend } = finding;
    FindingView { check, level: level.as_str(), message, mend, tone }
}
