//! One check, and many at once.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::api::{self, Answer, Patience, SendError, Token};
use crate::clock::Stopwatch;
use crate::connector::{ErrorClass, Health, Pointer, scopes};
use crate::error::{Error, Kind, Result};
use crate::json::Json;
use crate::model::{Account, Connection, ConnectionName, Grant, Standing};
use crate::oauth::access::{self, Want};
use crate::oauth::id_token;
use crate::runtime::{App, Session};
use crate::store::{Finding, StoreError};

/// Checks that run at the same time: enough to hide the vendors' latency, few enough for any limit of theirs.
const AT_ONCE: usize = 16;

/// Tries of a check that finds the vendor unavailable.
const TRIES: u32 = 3;

/// A longer wait than this is left to the user.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Healthy,
    /// The vendor knows the token and does not let it make this call.
    Limited,
    /// The connector has no check for this way of authenticating.
    Unchecked,
    /// The vendor refused the token, and a refresh did not help.
    NeedsReauth,
    /// The network, a rate limit or the vendor's trouble.
    Temporary,
    Failed,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Limited => "limited",
            Self::Unchecked => "unchecked",
            Self::NeedsReauth => "needs_reauth",
            Self::Temporary => "temporary",
            Self::Failed => "failed",
        }
    }

    pub fn is_healthy(self) -> bool {
        matches!(self, Self::Healthy | Self::Limited | Self::Unchecked)
    }
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Report {
    pub connection: ConnectionName,
    pub outcome: Outcome,
    /// Of the vendor's call alone, the last one where there were several.
    pub duration: Option<Duration>,
    pub account: Option<Account>,
    pub missing_scopes: Vec<String>,
    /// The HTTP status of the vendor's answer.
    pub http_status: Option<u16>,
    /// What was wrong.
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// Checks connections, many at once, and tells of each as it ends; the reports come back in the order asked for.
///
/// # Errors
/// Only what stops all of them: an unhealthy connection is a report.
pub async fn check_all(app: &App, names: &[ConnectionName], mut done: impl FnMut(&Report)) -> Result<Vec<Report>> {
    let checks = names.iter().enumerate().map(async |(index, name)| (index, check(app, name).await));
    let mut running = stream::iter(checks).buffer_unordered(AT_ONCE);
    let mut reports: Vec<Option<Report>> = vec![None; names.len()];
    while let Some((index, report)) = running.next().await {
        let report = report?;
        done(&report);
        reports[index] = Some(report);
    }
    Ok(reports.into_iter().flatten().collect())
}

/// Checks one connection and keeps what was found.
///
/// # Errors
/// The store's errors and unknown connections; whatever is wrong with the connection itself is in the report.
pub async fn check(app: &App, name: &ConnectionName) -> Result<Report> {
    let loaded = match access::grant(app, name, Want::Usable).await {
        // Its token may be good until it ends: what is checked is the connection.
        Ok(found) if found.connection.standing == Standing::NeedsReauth => {
            return unusable(name, access::needs_reauth(&found.connection, None).into());
        }
        Ok(found) => found,
        Err(error) => return unusable(name, error),
    };
    let token = Token::from(&loaded);
    let session = match app.session(loaded.connection) {
        Ok(session) => session,
        // A connector that was removed or broken is the trouble of its connections, not of all the others.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Failed | Kind::Usage) => {
            return Ok(without_connector(name, &error));
        }
        Err(error) => return Err(error),
    };
    let found = probe(app, &session, token).await?;
    keep(app, &session, &found)?;
    Ok(found.report)
}

/// What the vendor says of a grant that is not kept yet: the report, and the scopes it lists.
///
/// # Errors
/// As [`check`].
pub async fn look(app: &App, session: &Session, grant: &Grant) -> Result<(Report, Option<Vec<String>>)> {
    let found = probe(app, session, Token { grant: grant.clone(), generation: 0 }).await?;
    Ok((found.report, found.granted))
}

/// The report of a connection that could not even be used; what stops a check from being one, the vault or the files,
/// stays an error.
fn unusable(name: &ConnectionName, error: Error) -> Result<Report> {
    let outcome = match error.kind() {
        Kind::Vault | Kind::NotFound | Kind::Interrupted | Kind::Usage => return Err(error),
        Kind::AuthNeeded => Outcome::NeedsReauth,
        Kind::Temporary => Outcome::Temporary,
        _ => Outcome::Failed,
    };
    Ok(Report {
        connection: name.clone(),
        outcome,
        duration: None,
        account: None,
        missing_scopes: Vec::new(),
        http_status: None,
        detail: Some(error.on_one_line()),
        hint: error.hint().map(|hint| hint.to_string()),
    })
}

fn without_connector(name: &ConnectionName, error: &Error) -> Report {
    Report {
        connection: name.clone(),
        outcome: Outcome::Failed,
        duration: None,
        account: None,
        missing_scopes: Vec::new(),
        http_status: None,
        detail: Some(error.message()),
        hint: Some(format!("install it again, or `integ disconnect {name} --local`")),
    }
}

/// A report and the facts that the vendor's answer held.
struct Found {
    report: Report,
    granted: Option<Vec<String>>,
}

async fn probe(app: &App, session: &Session, mut token: Token) -> Result<Found> {
    let mut found = Found {
        report: Report {
            connection: session.connection.name.clone(),
            outcome: Outcome::Unchecked,
            duration: None,
            account: session.connection.account.clone(),
            missing_scopes: missing(session, None),
            http_status: None,
            detail: None,
            hint: None,
        },
        granted: None,
    };
    let Some(health) = session.health() else { return Ok(found) };
    let Some(path) = session.path(&health.path, &token.grant)? else { return Ok(found) };
    // A check is meant to do nothing: whatever its method, it may be repeated.
    let cost = session.connector.rate.cost_of(None);
    let patience = Patience { tries: TRIES, longest_wait: LONGEST_WAIT, repeatable: true, cost };
    let stopwatch = Stopwatch::start();
    let build = |grant: &Grant| Ok(session.request_to(health.method.as_str(), &path, grant)?);
    match api::send(app, session, &mut token, patience, build).await {
        Ok(answer) => {
            found.report.duration = Some(answer.duration);
            judge(session, health, &answer, &mut found);
        }
        Err(SendError::Http { error, .. }) => {
            let error = Error::from(error);
            found.report.duration = Some(stopwatch.elapsed());
            found.report.outcome = if error.kind() == Kind::Temporary { Outcome::Temporary } else { Outcome::Failed };
            found.report.detail = Some(error.message());
            found.report.hint = error.hint().map(|hint| hint.to_string());
        }
        Err(error) => found.report = unusable(&session.connection.name, error.into())?,
    }
    Ok(found)
}

/// What the vendor's answer says of the connection.
fn judge(session: &Session, health: &Health, answer: &Answer, found: &mut Found) {
    let report = &mut found.report;
    let response = &answer.response;
    report.http_status = Some(response.status);
    let text = response.text();
    // A userinfo endpoint may answer with a signed token in place of JSON (OpenID Connect Core 1.0 section 5.3.2).
    let claims = text.as_deref().ok().and_then(id_token::claims).map(|claims| claims.to_string());
    let read = match &claims {
        Some(claims) => Json::check(claims),
        None => text.as_deref().map_err(Clone::clone).and_then(Json::check),
    };
    let document = read.clone().unwrap_or(Json::NULL);
    let said = || response.said(&session.connector.api.message).map(|said| format!(": {said}")).unwrap_or_default();
    let holds = |(at, want): (&Pointer, &Value)| at.find_in(document).is_some_and(|found| found.equals(want));
    let unfulfilled = || !health.success.iter().all(holds);
    let unreadable = || read.as_ref().err().filter(|_| api::is_meant_as_json(response, expects_json(health)));
    let (outcome, detail) = match answer.class {
        None if unreadable().is_some() => {
            let why = unreadable().map(ToString::to_string).unwrap_or_default();
            (Outcome::Failed, Some(format!("cannot read the answer: {why}")))
        }
        None if unfulfilled() => (Outcome::Failed, Some(format!("the answer is not a success{}", said()))),
        None => (Outcome::Healthy, None),
        Some(ErrorClass::Auth) => (Outcome::NeedsReauth, Some(format!("the vendor refused the token{}", said()))),
        Some(ErrorClass::Permission) => (Outcome::Limited, Some(format!("the token may not make this call{}", said()))),
        Some(ErrorClass::RateLimit) => (Outcome::Temporary, Some(format!("rate limited (status {})", response.status))),
        Some(ErrorClass::Retry) => (Outcome::Temporary, Some(format!("the vendor answered {}", response.status))),
        Some(ErrorClass::NotFound | ErrorClass::CursorExpired | ErrorClass::Fail) => {
            (Outcome::Failed, Some(format!("the vendor answered {}{}", response.status, said())))
        }
    };
    report.outcome = outcome;
    report.detail = detail;
    report.hint = (outcome == Outcome::NeedsReauth).then(|| access::reconnect_command(&session.connection));
    if outcome == Outcome::Healthy {
        let id = health.account.id.as_ref().and_then(|at| at.text_in(document));
        let name = health.account.name.as_ref().and_then(|at| at.text_in(document));
        if let Some(id) = id.or_else(|| name.clone()) {
            report.account = Some(Account { id, name });
        }
    }
    let granted = health.scopes_header.as_ref().and_then(|name| response.header(name));
    found.granted = granted.and_then(|text| {
        scopes::granted(text.split([',', ' ']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
    });
    report.missing_scopes = missing(session, found.granted.as_deref());
}

/// Whether a healthy answer has to be JSON, for something is looked for in it.
fn expects_json(health: &Health) -> bool {
    !health.success.is_empty() || health.account.id.is_some() || health.account.name.is_some()
}

/// The scopes asked for that are not granted, by what the vendor just said, else by what it said before.
fn missing(session: &Session, granted: Option<&[String]>) -> Vec<String> {
    let connection = &session.connection;
    scopes::missing(&session.connector, &connection.scopes_asked, granted.or(connection.scopes_granted.as_deref()))
}

/// Stores what was found. In a folder that cannot be written the report is all there is of it.
fn keep(app: &App, session: &Session, found: &Found) -> Result<()> {
    if found.report.outcome == Outcome::Unchecked {
        return Ok(());
    }
    match record(app, session, found) {
        Err(error) if matches!(error.downcast_ref(), Some(StoreError::ReadOnly(_))) => {
            tracing::warn!("the check of {} is not stored: {}", session.connection.name, error.message());
        }
        recorded => recorded?,
    }
    app.announce();
    Ok(())
}

fn record(app: &App, session: &Session, found: &Found) -> Result<()> {
    let report = &found.report;
    let connection: &Connection = &session.connection;
    let connections = app.store()?.connections();
    let healthy = report.outcome.is_healthy();
    let why = report.detail.as_deref().unwrap_or(report.outcome.as_str());
    let finding = match report.outcome {
        _ if healthy => Finding::Healthy,
        Outcome::NeedsReauth => Finding::Refused(why),
        _ => Finding::Failing(why),
    };
    connections.record_check(connection.id, app.clock.now(), finding)?;
    if healthy && (report.account != connection.account || found.granted.is_some()) {
        connections.record_facts(connection.id, report.account.as_ref(), found.granted.as_deref(), None)?;
    }
    Ok(())
}
