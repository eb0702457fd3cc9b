//! Reports as JUnit XML, for CI servers.

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::{HealthOutcome, HealthReport};

/// One suite with a case for each connection: a failure where it must be connected again or does not work, an error
/// where nothing could be found out.
///
/// # Errors
/// Where the report cannot be written as XML.
pub fn write(reports: &[HealthReport]) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new("connections");
    for report in reports {
        let status = match report.outcome {
            HealthOutcome::Healthy | HealthOutcome::RateLimited => TestCaseStatus::success(),
            HealthOutcome::Unchecked => TestCaseStatus::skipped(),
            HealthOutcome::NeedsReauth | HealthOutcome::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
            HealthOutcome::Temporary => TestCaseStatus::non_success(NonSuccessKind::Error),
        };
        let mut case = TestCase::new(report.connection.to_string(), status);
        case.set_classname(report.connection.connector());
        if let Some(duration) = report.duration {
            case.set_time(duration);
        }
        if let Some(detail) = &report.error_message {
            case.status.set_message(detail.clone());
            case.status.set_type(report.outcome.as_str());
        }
        suite.add_test_case(case);
    }
    let mut junit = Junit::new("integ");
    junit.add_test_suite(suite);
    junit.to_string()
}
