//! The check of a remote MCP server: a session is initialized, and its tools are listed.

use super::HealthOutcome;
use super::check::{HealthReport, unusable_report};
use crate::api::{ApiResponse, GrantToken, SendError};
use crate::clock::Stopwatch;
use crate::error::{Error, Kind, Result};
use crate::mcp_client::{self, McpError, RefusalCause};
use crate::runtime::{Session, Workspace};

/// Asks the server at `url` and writes what it says into the report. Returns whether that says something of the connection.
///
/// # Errors
/// What stops a check from being one, as with every other service.
pub(super) async fn probe(
    workspace: &Workspace,
    session: &Session,
    mut token: GrantToken,
    url: &str,
    report: &mut HealthReport,
) -> Result<bool> {
    let mut is_conclusive = true;
    let stopwatch = Stopwatch::start();
    let result = mcp_client::inspect(workspace, session, &mut token, url).await;
    report.duration = Some(stopwatch.elapsed());
    match result {
        Ok(server) => {
            report.outcome = HealthOutcome::Healthy;
            report.http_status = Some(200);
            report.mcp_server = Some(server);
        }
        Err(McpError::Refused(answer)) => report_refusal(session, &answer, report),
        Err(McpError::Send(SendError::Http { error, .. })) => {
            let error = Error::from(error);
            let is_temporary = error.kind() == Kind::Temporary;
            report.outcome = if is_temporary { HealthOutcome::Temporary } else { HealthOutcome::Failed };
            report.error_message = Some(error.message());
            report.hint = error.hint().map(|hint| hint.to_string());
        }
        Err(McpError::Send(error)) => {
            is_conclusive = !matches!(error, SendError::RateLimited(_));
            *report = unusable_report(&session.connection.name, error.into())?;
        }
        Err(error) => {
            report.outcome = HealthOutcome::Failed;
            report.error_message = Some(error.to_string());
        }
    }
    Ok(is_conclusive)
}

/// What a refusal means for the connection.
fn report_refusal(session: &Session, answer: &ApiResponse, report: &mut HealthReport) {
    let refusal = mcp_client::describe_refusal(session, &answer.response, answer.error_class);
    report.http_status = Some(answer.response.status);
    report.outcome = match refusal.cause {
        RefusalCause::Token => HealthOutcome::NeedsReauth,
        RefusalCause::Temporary => HealthOutcome::Temporary,
        RefusalCause::Other => HealthOutcome::Failed,
    };
    report.error_message = Some(refusal.message);
    report.hint = refusal.command;
}
