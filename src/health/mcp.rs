//! The check of a remote MCP server: a session is initialized, and its tools are listed.

use super::HealthOutcome;
use super::check::{HealthReport, unusable_report};
use crate::api::{self, ApiResponse, GrantToken, SendError};
use crate::clock::Stopwatch;
use crate::connector::{ErrorClass, scopes};
use crate::error::{Error, Kind, Result};
use crate::mcp_client::{self, McpError};
use crate::oauth::refresh::reconnect_command;
use crate::runtime::{Session, Workspace};

/// Asks the server at `url` and writes what it says into the report.
///
/// # Errors
/// What stops a check from being one, as with every other service.
pub(super) async fn probe(
    workspace: &Workspace,
    session: &Session,
    mut token: GrantToken,
    url: &str,
    report: &mut HealthReport,
) -> Result<()> {
    let stopwatch = Stopwatch::start();
    let result = mcp_client::inspect(workspace, session, &mut token, url).await;
    report.duration = Some(stopwatch.elapsed());
    match result {
        Ok(server) => {
            report.outcome = HealthOutcome::Healthy;
            report.http_status = Some(200);
            report.mcp_server = Some(server);
        }
        Err(McpError::Refused(answer)) => describe_refusal(session, &answer, report),
        Err(McpError::Send(SendError::Http { error, .. })) => {
            let error = Error::from(error);
            let is_temporary = error.kind() == Kind::Temporary;
            report.outcome = if is_temporary { HealthOutcome::Temporary } else { HealthOutcome::Failed };
            report.error_message = Some(error.message());
            report.hint = error.hint().map(|hint| hint.to_string());
        }
        Err(McpError::Send(error)) => *report = unusable_report(&session.connection.name, error.into())?,
        Err(error) => {
            report.outcome = HealthOutcome::Failed;
            report.error_message = Some(error.to_string());
        }
    }
    Ok(())
}

/// What a refusal means. Only `invalid_token` says that the grant is to blame: servers and their proxies answer 401 for
/// other reasons too, and a token that was refreshed a moment ago is hardly one of them.
fn describe_refusal(session: &Session, answer: &ApiResponse, report: &mut HealthReport) {
    let response = &answer.response;
    let name = &session.connection.name;
    let challenge = response.bearer_challenge();
    let code = challenge.as_ref().and_then(|challenge| challenge.parameter("error"));
    let said = challenge.as_ref().and_then(|challenge| challenge.parameter("error_description"));
    let said = said.map(str::to_owned).or_else(|| response.error_message(&session.connector.api.message));
    let said = said.map(|said| format!(": {}", said.chars().take(200).collect::<String>())).unwrap_or_default();
    report.http_status = Some(response.status);
    let (outcome, message, hint) = match answer.error_class {
        Some(ErrorClass::Auth) if code == Some("invalid_token") => {
            let message = format!("the server refused the token{said}");
            (HealthOutcome::NeedsReauth, message, Some(reconnect_command(name)))
        }
        Some(ErrorClass::Auth) => {
            let message = format!("the server answered 401 and does not say that the token is invalid{said}");
            (HealthOutcome::Failed, message, Some(reconnect_command(name)))
        }
        Some(ErrorClass::Permission) => {
            let needed = api::needed_scopes(session, response);
            if needed.is_empty() {
                (HealthOutcome::Failed, format!("the server does not allow the request{said}"), None)
            } else {
                let hint = scopes::add_scope_command(&reconnect_command(name), &needed);
                (HealthOutcome::Failed, format!("the token lacks the scopes {}", needed.join(", ")), Some(hint))
            }
        }
        Some(ErrorClass::RateLimit) => {
            (HealthOutcome::Temporary, format!("rate limited (status {})", response.status), None)
        }
        Some(ErrorClass::Retry) => (HealthOutcome::Temporary, format!("the server answered {}", response.status), None),
        _ => (HealthOutcome::Failed, format!("the server answered {}{said}", response.status), None),
    };
    report.outcome = outcome;
    report.error_message = Some(message);
    report.hint = hint;
}
