//! Test results as JUnit XML, for CI servers.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use crate::health::HealthOutcome;
use crate::view::connection::TestView;

/// Returns one suite with a case for each connection: a failure if it needs to be reconnected or does not work, an error
/// if the service could not say.
pub(super) fn to_xml(tests: &[TestView]) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new("connections");
    for test in tests {
        let status = match test.outcome {
            HealthOutcome::Healthy | HealthOutcome::Forbidden => TestCaseStatus::success(),
            HealthOutcome::Unchecked => TestCaseStatus::skipped(),
            HealthOutcome::NeedsReauth | HealthOutcome::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
            HealthOutcome::Temporary => TestCaseStatus::non_success(NonSuccessKind::Error),
        };
        let mut case = TestCase::new(test.connection.to_string(), status);
        case.set_classname(test.connection.connector());
        if let Some(milliseconds) = test.duration_ms {
            case.set_time(Duration::from_millis(milliseconds));
        }
        if let Some(message) = &test.error_message {
            case.status.set_message(message.clone());
            case.status.set_type(test.outcome.as_str());
        }
        suite.add_test_case(case);
    }
    let mut junit = Junit::new("integ");
    junit.add_test_suite(suite);
    junit.to_string()
}
