//! Checks one connection, or several in parallel.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::api::{self, ApiResponse, GrantToken, RetryLimits, SendError};
use crate::clock::{Stopwatch, Timestamp};
use crate::connector::{ErrorClass, Health, HealthProtocol, Pointer, scopes};
use crate::error::{Error, Kind, Result};
use crate::json::Json;
use crate::mcp_client::McpServer;
use crate::model::{Account, Connection, ConnectionId, ConnectionName, Grant, GrantStatus, HealthCheck, HealthOutcome};
use crate::oauth::id_token;
use crate::oauth::refresh::{self, Freshness};
use crate::runtime::{BoxFuture, Session, Workspace};
use crate::store::StoreError;

/// Checks that run at the same time: enough to hide the vendors' latency, few enough for any limit of theirs.
const MAX_CONCURRENT: usize = 16;

/// Tries of a check that finds the vendor unavailable.
const MAX_ATTEMPTS: u32 = 3;

/// A longer wait than this is left to the user.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// What a check found.
#[derive(Clone, Debug)]
pub struct HealthReport {
    pub connection: ConnectionName,
    pub outcome: HealthOutcome,
    /// Of the vendor's call alone, the last one where there were several.
    pub duration: Option<Duration>,
    pub account: Option<Account>,
    pub missing_scopes: Vec<String>,
    /// The HTTP status of the vendor's answer.
    pub http_status: Option<u16>,
    /// What an MCP server says of itself.
    pub mcp_server: Option<McpServer>,
    /// What was wrong.
    pub error_message: Option<String>,
    pub hint: Option<String>,
}

/// Checks connections, many at once, and reports each as it ends; the reports are returned in the requested order.
///
/// # Errors
/// Only what stops all of them: an unhealthy connection is a report.
pub async fn check_all(
    workspace: &Workspace,
    names: &[ConnectionName],
    mut done: impl FnMut(&HealthReport),
) -> Result<Vec<HealthReport>> {
    let mut checks: Vec<BoxFuture<'_, _>> = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        checks.push(Box::pin(async move { (index, check(workspace, name).await) }));
    }
    let mut running = stream::iter(checks).buffer_unordered(MAX_CONCURRENT);
    let mut reports: Vec<Option<HealthReport>> = vec![None; names.len()];
    while let Some((index, report)) = running.next().await {
        let mut report = report?;
        if let Some(environment) = workspace.engine.environment.as_ref()
            && report.outcome == HealthOutcome::NeedsReauth
        {
            report.hint = Some(environment.renewal_hint(&report.connection.to_string()).to_string());
        }
        done(&report);
        reports[index] = Some(report);
    }
    Ok(reports.into_iter().flatten().collect())
}

/// Checks one connection and keeps what was found.
///
/// # Errors
/// The store's errors and unknown connections; whatever is wrong with the connection itself is in the report.
pub async fn check(workspace: &Workspace, name: &ConnectionName) -> Result<HealthReport> {
    let loaded = match refresh::fresh_grant(workspace, name, Freshness::Usable).await {
        // Its token may be good until it ends: what is checked is the connection.
        Ok(found) if found.connection.grant_status == GrantStatus::NeedsReauth => {
            let report = unusable_report(name, refresh::needs_reauth_error(&found.connection, None).into())?;
            return append_to_history(workspace, report).await;
        }
        Ok(found) => found,
        Err(error) => return append_to_history(workspace, unusable_report(name, error)?).await,
    };
    let token = GrantToken::from(&loaded);
    let session = match workspace.session(loaded.connection).await {
        Ok(session) => session,
        // A connector that was removed or broken is the trouble of its connections, not of all the others.
        Err(error)
            if matches!(
                error.kind(),
                Kind::NotFound | Kind::Failed | Kind::Conflict | Kind::Rejected | Kind::Usage
            ) =>
        {
            return append_to_history(workspace, without_connector(name, &error)).await;
        }
        Err(error) => return Err(error),
    };
    let found = probe(workspace, &session, token).await?;
    save_account(workspace, &session, &found).await?;
    Ok(found.report)
}

/// What the vendor says of a grant that is not stored yet: the report, and the scopes it lists.
///
/// # Errors
/// As [`check`].
pub async fn probe_grant(
    workspace: &Workspace,
    session: &Session,
    grant: &Grant,
) -> Result<(HealthReport, Option<Vec<String>>)> {
    let found = probe(workspace, session, GrantToken { grant: grant.clone(), generation: 0 }).await?;
    Ok((found.report, found.granted_scopes))
}

/// The report of a connection that could not even be used; what stops a check from being one, the vault or the files,
/// stays an error.
pub(super) fn unusable_report(name: &ConnectionName, error: Error) -> Result<HealthReport> {
    let outcome = match error.kind() {
        Kind::Vault | Kind::NotFound | Kind::Interrupted | Kind::Usage => return Err(error),
        Kind::AuthNeeded => HealthOutcome::NeedsReauth,
        Kind::Temporary => HealthOutcome::Temporary,
        _ => HealthOutcome::Failed,
    };
    Ok(HealthReport {
        connection: name.clone(),
        outcome,
        duration: None,
        account: None,
        missing_scopes: Vec::new(),
        http_status: None,
        mcp_server: None,
        error_message: Some(error.on_one_line()),
        hint: error.hint().map(|hint| hint.to_string()),
    })
}

fn without_connector(name: &ConnectionName, error: &Error) -> HealthReport {
    HealthReport {
        connection: name.clone(),
        outcome: HealthOutcome::Failed,
        duration: None,
        account: None,
        missing_scopes: Vec::new(),
        http_status: None,
        mcp_server: None,
        error_message: Some(error.message()),
        hint: Some(format!("install it again, or `integ disconnect {name} --local`")),
    }
}

/// A report and the facts that the vendor's answer held.
struct ProbeResult {
    report: HealthReport,
    granted_scopes: Option<Vec<String>>,
    /// Whether it says something of the connection. That its rate limit is used up on this side does not.
    is_conclusive: bool,
}

async fn probe(workspace: &Workspace, session: &Session, mut token: GrantToken) -> Result<ProbeResult> {
    let mut found = ProbeResult {
        report: HealthReport {
            connection: session.connection.name.clone(),
            outcome: HealthOutcome::Unchecked,
            duration: None,
            account: session.connection.account.clone(),
            missing_scopes: missing_scopes(session, None),
            http_status: None,
            mcp_server: None,
            error_message: None,
            hint: None,
        },
        granted_scopes: None,
        is_conclusive: true,
    };
    let Some(health) = session.health() else { return Ok(found) };
    let Some(path) = session.path(&health.path, &token.grant)? else { return Ok(found) };
    if health.protocol == HealthProtocol::Mcp {
        found.is_conclusive = super::mcp::probe(workspace, session, token, &path, &mut found.report).await?;
        return Ok(found);
    }
    // A check is meant to do nothing: whatever its method, it may be repeated.
    let cost = session.connector.rate.cost_of(None);
    let patience = RetryLimits { max_attempts: MAX_ATTEMPTS, max_wait: MAX_RETRY_DELAY, is_idempotent: true, cost };
    let stopwatch = Stopwatch::start();
    let build = |grant: &Grant| {
        let request = session.request_to(health.request_method().as_str(), &path, grant)?;
        Ok(match &health.body {
            Some(body) => request.body("application/json", body.to_string().into_bytes()),
            None => request,
        })
    };
    match api::send(workspace, session, &mut token, patience, build).await {
        Ok(answer) => {
            found.report.duration = Some(answer.duration);
            evaluate_response(session, health, &answer, &mut found);
        }
        Err(SendError::Http { error, .. }) => {
            let error = Error::from(error);
            found.report.duration = Some(stopwatch.elapsed());
            found.report.outcome =
                if error.kind() == Kind::Temporary { HealthOutcome::Temporary } else { HealthOutcome::Failed };
            found.report.error_message = Some(error.message());
            found.report.hint = error.hint().map(|hint| hint.to_string());
        }
        Err(error) => {
            found.is_conclusive = !matches!(error, SendError::RateLimited(_));
            found.report = unusable_report(&session.connection.name, error.into())?;
        }
    }
    Ok(found)
}

/// What the vendor's answer says of the connection.
fn evaluate_response(session: &Session, health: &Health, answer: &ApiResponse, found: &mut ProbeResult) {
    let report = &mut found.report;
    let response = &answer.response;
    report.http_status = Some(response.status);
    let text = response.text();
    // A userinfo endpoint may answer with a signed token in place of JSON (OpenID Connect Core 1.0 section 5.3.2).
    let claims = text.as_deref().ok().and_then(id_token::decode_claims).map(|claims| claims.to_string());
    let read = match &claims {
        Some(claims) => Json::validate(claims),
        None => text.as_deref().map_err(Clone::clone).and_then(Json::validate),
    };
    let document = read.clone().unwrap_or(Json::NULL);
    let said =
        || response.error_message(&session.connector.api.message).map(|said| format!(": {said}")).unwrap_or_default();
    let holds = |(at, want): (&Pointer, &Value)| at.find_in(document).is_some_and(|found| found.equals(want));
    let unfulfilled = || !health.success.iter().all(holds);
    let unreadable = || read.as_ref().err().filter(|_| api::expects_json(response, expects_json(health)));
    let name = health.account.name.as_ref().and_then(|at| at.text_in(document));
    let id = health.account.id.as_ref().and_then(|at| at.text_in(document)).or_else(|| name.clone());
    let account = id.map(|id| Account { id, name });
    let (outcome, detail) = match answer.error_class {
        None if unreadable().is_some() => {
            let why = unreadable().map(ToString::to_string).unwrap_or_default();
            (HealthOutcome::Failed, Some(format!("cannot read the answer: {why}")))
        }
        None if unfulfilled() => (HealthOutcome::Failed, Some(format!("the answer is not a success{}", said()))),
        // GraphQL reports errors with status 200.
        None if account.is_none() && health.account.id.is_some() && !said().is_empty() => {
            (HealthOutcome::Failed, Some(format!("the response has no account{}", said())))
        }
        None => (HealthOutcome::Healthy, None),
        Some(ErrorClass::Auth) => {
            (HealthOutcome::NeedsReauth, Some(format!("the service refused the token{}", said())))
        }
        Some(ErrorClass::Permission) => {
            (HealthOutcome::Forbidden, Some(format!("the token does not allow this call{}", said())))
        }
        Some(ErrorClass::RateLimit) => {
            (HealthOutcome::Temporary, Some(format!("rate limited (status {})", response.status)))
        }
        Some(ErrorClass::Retry) => {
            (HealthOutcome::Temporary, Some(format!("the service answered {}", response.status)))
        }
        Some(ErrorClass::NotFound | ErrorClass::CursorExpired | ErrorClass::Fail) => {
            (HealthOutcome::Failed, Some(format!("the service answered {}{}", response.status, said())))
        }
    };
    report.outcome = outcome;
    report.error_message = detail;
    report.hint = (outcome == HealthOutcome::NeedsReauth).then(|| refresh::reconnect_command(&session.connection.name));
    if outcome == HealthOutcome::Healthy && account.is_some() {
        report.account = account;
    }
    let granted = health.scopes_header.as_ref().and_then(|name| response.header(name));
    found.granted_scopes = granted.and_then(|text| {
        scopes::granted(text.split([',', ' ']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
    });
    report.missing_scopes = missing_scopes(session, found.granted_scopes.as_deref());
}

/// Whether a healthy answer has to be JSON, for something is looked for in it.
fn expects_json(health: &Health) -> bool {
    !health.success.is_empty() || health.account.id.is_some() || health.account.name.is_some()
}

/// The requested scopes that are not granted, by what the vendor just said, else by what it said before.
fn missing_scopes(session: &Session, granted: Option<&[String]>) -> Vec<String> {
    let connection = &session.connection;
    scopes::missing(&session.connector, &connection.scopes_requested, granted.or(connection.scopes_granted.as_deref()))
}

/// Stores what was found. In a folder that cannot be written the report is all there is of it.
async fn save_account(workspace: &Workspace, session: &Session, found: &ProbeResult) -> Result<()> {
    if found.report.outcome == HealthOutcome::Unchecked || !found.is_conclusive {
        return Ok(());
    }
    match record_result(workspace, session, found).await {
        Err(error) if matches!(error.downcast_ref(), Some(StoreError::ReadOnly(_))) => {
            tracing::warn!("the check of {} is not stored: {}", session.connection.name, error.message());
        }
        recorded => recorded?,
    }
    Ok(())
}

fn history_entry(report: &HealthReport, at: Timestamp) -> HealthCheck {
    let error = report.error_message.as_deref().unwrap_or(report.outcome.as_str());
    HealthCheck {
        duration: report.duration,
        http_status: report.http_status,
        ..HealthCheck::new(at, report.outcome, Some(error))
    }
}

/// Adds the report of a connection that could not be asked about to the history: for its user it does not work. What
/// the connection's status is has been stored by what found it.
async fn append_to_history(workspace: &Workspace, report: HealthReport) -> Result<HealthReport> {
    if !workspace.has_vault() {
        return Ok(report);
    }
    let id: ConnectionId = workspace.connection(&report.connection).await?.id;
    let check = history_entry(&report, workspace.clock.now_millis());
    match workspace.store().await?.health_checks().append(id, &check).await {
        Err(error @ (StoreError::ReadOnly(_) | StoreError::ReadOnlyNewer)) => {
            tracing::warn!("the check of {} is not stored: {error}", report.connection);
        }
        appended => appended?,
    }
    Ok(report)
}

async fn record_result(workspace: &Workspace, session: &Session, found: &ProbeResult) -> Result<()> {
    let report = &found.report;
    let connection: &Connection = &session.connection;
    let connections = workspace.store().await?.connections();
    let healthy = report.outcome.is_healthy();
    let check = history_entry(report, workspace.clock.now_millis());
    let checked = connections.record_check(connection.id, &check).await?;
    workspace.notify_transition(checked);
    if healthy && (report.account != connection.account || found.granted_scopes.is_some()) {
        let updated = connections
            .update_metadata(connection.id, report.account.as_ref(), found.granted_scopes.as_deref(), None)
            .await?;
        workspace.notify_transition(updated);
    }
    Ok(())
}
