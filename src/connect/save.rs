//! Stores what a sign-in gave: the connection with its grant, under its own name or a free one.

use std::time::Duration;

use super::flow::ConnectFlow;
use super::{ConnectError, ConnectPurpose, ConnectRequest, ConnectResult, follow_up};
use crate::connector::{AuthMethod, Connector};
use crate::duration;
use crate::error::Result;
use crate::health::{self, HealthOutcome};
use crate::model::{
    Account, Connection, ConnectionName, Grant, GrantStatus, NewConnection, RefreshMethod, connect_command,
};
use crate::runtime::{Session, Workspace};
use crate::vault::ConnectionWithGrant;

/// Stores the grant. A name that belongs to another account already is left to it.
pub(super) async fn save_connection(
    flow: &ConnectFlow<'_>,
    mut session: Session,
    mut grant: Grant,
) -> Result<ConnectResult> {
    let ConnectFlow { workspace, request, previous, .. } = flow;
    let store = workspace.store().await?;
    let mut warnings = Vec::new();
    let existing = store.connections().find(&session.connection.name).await?;
    let taken = existing
        .filter(|existing| existing.has_target(request.mode(), request.origin.as_ref()) && existing.account.is_some());
    let mut account = None;
    let has_userinfo = session.connection.metadata.contains_key(USERINFO);
    if taken.is_some() || has_userinfo || session.auth.is_key() {
        let (report, _) = health::probe_grant(workspace, &session, &grant).await?;
        if has_userinfo && report.outcome == HealthOutcome::NeedsReauth {
            // The token was given a moment ago: it is meant for another audience, as those for an API of one's own are. The
            // endpoint says nothing of this grant, and is not asked again.
            session.connection.metadata.remove(USERINFO);
        }
        if report.outcome == HealthOutcome::NeedsReauth && session.auth.is_key() {
            // A key that the service refuses was mistyped; a grant that was just given is stored whatever a check says.
            let why = report.error_message.unwrap_or_default();
            return Err(ConnectError::KeyRejected { command: request.command(), why }.into());
        }
        account = report.account.filter(|_| report.outcome.is_healthy());
        if let (Some(existing), Some(found)) = (taken, &account)
            && Some(&found.id) != existing.account.as_ref().map(|account| &account.id)
        {
            let name = available_name(workspace, request, &session.connection.name, found).await?;
            let expected = existing.account.map(|account| account.name.unwrap_or(account.id)).unwrap_or_default();
            if request.purpose == ConnectPurpose::Reconnect {
                return Err(account_mismatch(request, existing.name, &name, &expected, found).into());
            }
            warnings.push(format!(
                "{} is connected to another account ({expected}), so this one is stored as {name}",
                existing.name
            ));
            session.connection.name = name;
        }
    }
    let connection = session.connection;
    if let Some(before) = previous.as_ref().filter(|before| before.connection.name == connection.name) {
        let loaded = before.loaded.as_ref();
        warnings
            .extend(loaded.and_then(|before| reuse_refresh_token(&mut grant, before, &connection, account.as_ref())));
    }
    warnings.extend(expiry_warning(&connection.name, &grant));
    let new = NewConnection {
        name: connection.name.clone(),
        mode: connection.mode,
        auth: connection.auth,
        origin: connection.origin,
        params: connection.params,
        metadata: connection.metadata,
        account: connection.account,
        user: connection.user,
        scopes_requested: connection.scopes_requested,
        scopes_granted: connection.scopes_granted,
        connected_at: workspace.clock.now(),
    };
    let existing = store.connections().find(&new.name).await?;
    warnings.extend(existing.as_ref().and_then(|existing| changed_resource_warning(&session.auth, existing, &new)));
    let elsewhere = existing.filter(|found| !found.has_target(new.mode, new.origin.as_ref()));
    let saved = workspace.engine.token_vault.connect(store, &new, &grant).await?;
    workspace.notify_transition(saved.transition);
    warnings.extend(elsewhere.as_ref().map(removal_warning));
    warnings.extend(saved.warning.map(|warning| warning.to_string()));
    let report = health::check(workspace, &new.name).await?;
    if !report.outcome.is_healthy() {
        let why = report.error_message.clone().unwrap_or_else(|| report.outcome.as_str().to_owned());
        warnings.push(format!("{} is connected, but its health check failed: {why}", new.name));
    }
    warnings.extend(unlisted_scopes_warning(&session.connector, &new.scopes_requested));
    let connection = workspace.connection(&new.name).await?;
    Ok(ConnectResult { connection, missing_scopes: report.missing_scopes, warnings })
}

/// What became of a connection with another target, whose name was taken.
fn removal_warning(removed: &Connection) -> String {
    let (name, target) = (&removed.name, removed.target().unwrap_or_default());
    format!("the connection {name} ({target}) was removed with its records, cursors, events, schedules and webhooks")
}

/// The error of a sign-in as another account than the one that was to be reconnected.
fn account_mismatch(
    request: &ConnectRequest,
    name: ConnectionName,
    free: &ConnectionName,
    expected: &str,
    found: &Account,
) -> ConnectError {
    ConnectError::AccountMismatch {
        name,
        expected: expected.into(),
        found: found.name.as_deref().unwrap_or(&found.id).into(),
        connect: connect_command(free, request.mode(), request.origin.as_ref()).into(),
    }
}

/// Says so if the connection that is replaced is of another resource of the same account, such as another site.
fn changed_resource_warning(auth: &AuthMethod, existing: &Connection, new: &NewConnection) -> Option<String> {
    let follow_up = auth.oauth2.as_ref()?.follow_up.as_ref()?;
    if !existing.has_target(new.mode, new.origin.as_ref()) {
        return None;
    }
    let before = follow_up::resource_id(follow_up, &existing.metadata)?;
    let now = follow_up::resource_id(follow_up, &new.metadata)?;
    (now != before).then(|| {
        format!(
            "{} was connected to another {}; its records and cursors are still those of that one",
            new.name, follow_up.choose_by
        )
    })
}

/// Keeps the refresh token of a grant that the same account gave to the same client before: some servers give one with the
/// first consent alone, and it stays good. Says so if it does.
fn reuse_refresh_token(
    grant: &mut Grant,
    before: &ConnectionWithGrant,
    connection: &Connection,
    account: Option<&Account>,
) -> Option<String> {
    let client = |grant: &Grant| grant.client.as_ref().map(|client| client.id.clone());
    let is_same = account.is_some_and(|account| before.connection.account.as_ref().map(|a| &a.id) == Some(&account.id))
        && client(grant) == client(&before.grant)
        && connection.auth == before.connection.auth;
    // One that was refused, or whose answer was lost, may be dead.
    let is_good =
        before.connection.grant_status == GrantStatus::Active && before.stored_grant.refresh_attempt.is_none();
    if grant.refresh_method != RefreshMethod::None
        || !before.grant.refresh_method.has_refresh_token()
        || !is_same
        || !is_good
    {
        return None;
    }
    grant.refresh_token = before.grant.refresh_token.clone();
    grant.refresh_expires_at = before.grant.refresh_expires_at;
    grant.refresh_method = before.grant.refresh_method;
    Some("the service returned no new refresh token; the old one stays in use".to_owned())
}

/// Says when a grant ends that nothing can renew.
fn expiry_warning(name: &ConnectionName, grant: &Grant) -> Option<String> {
    let lifetime = grant.lifetime().filter(|_| !grant.is_refreshable())?;
    let lifetime = duration::format(Duration::from_secs(lifetime.into()));
    Some(format!("the service gave no refresh token: {name} must be reconnected in {lifetime}"))
}

/// The value that discovery gives for the health check of OpenID servers.
pub(super) const USERINFO: &str = "userinfo_endpoint";

/// Scopes that the connector does not list: a slip, or newer than its file.
fn unlisted_scopes_warning(connector: &Connector, asked: &[String]) -> Option<String> {
    let strange: Vec<&str> =
        asked.iter().filter(|scope| !connector.scopes.contains_key(*scope)).map(String::as_str).collect();
    if strange.is_empty() || connector.scopes.is_empty() {
        return None;
    }
    let command = format!("integ connector show {}", connector.id);
    Some(format!("the connector does not list what was asked for: {} (`{command}` does)", strange.join(", ")))
}

/// `slack@acme-inc`, from the account's name, else its id; numbered where that is taken by yet another account.
async fn available_name(
    workspace: &Workspace,
    request: &ConnectRequest,
    name: &ConnectionName,
    account: &Account,
) -> Result<ConnectionName> {
    let text = account.name.as_deref().unwrap_or(&account.id);
    let mut slug: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || ".@_".contains(c) { c } else { '-' })
        .collect();
    slug = slug.trim_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(60).collect();
    if slug.is_empty() {
        "other".clone_into(&mut slug);
    }
    for number in 1.. {
        let label = if number == 1 { slug.clone() } else { format!("{slug}-{number}") };
        let candidate = ConnectionName::new(name.connector(), Some(&label))?;
        let existing = workspace.store().await?.connections().find(&candidate).await?;
        let same = |existing: &Connection| {
            existing.has_target(request.mode(), request.origin.as_ref())
                && existing.account.as_ref().is_none_or(|known| known.id == account.id)
        };
        if existing.is_none_or(|existing| same(&existing)) {
            return Ok(candidate);
        }
    }
    Ok(name.clone())
}
