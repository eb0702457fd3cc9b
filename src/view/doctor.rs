//! The view of what the doctor found.

use schemars::JsonSchema;
use serde::Serialize;

use super::word;
use crate::doctor::{Finding, Severity};

/// What one check found.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct FindingView {
    /// What was checked: `vault`, `browser`.
    pub check: &'static str,
    #[serde(serialize_with = "word")]
    pub severity: Severity,
    pub message: String,
    /// The command that fixes it, or what to do.
    pub fix: Option<String>,
}

/// How many findings there are of each severity.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct FindingCountsView {
    pub ok: usize,
    pub warnings: usize,
    pub errors: usize,
}

/// All findings, in the order of the checks.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DoctorReportView {
    pub findings: Vec<FindingView>,
    pub summary: FindingCountsView,
}

impl DoctorReportView {
    /// Creates the view of the findings and counts them by severity.
    pub fn new(findings: Vec<Finding>) -> Self {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let summary = FindingCountsView {
            ok: count(Severity::Ok),
            warnings: count(Severity::Warning),
            errors: count(Severity::Error),
        };
        let view = |Finding { check, severity, message, fix }: Finding| FindingView { check, severity, message, fix };
        Self { findings: findings.into_iter().map(view).collect(), summary }
    }
}
