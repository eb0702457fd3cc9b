//! Operations on connections: connecting accounts, their status, refreshing, testing and disconnecting them.

use std::collections::HashMap;
use std::future;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use thiserror::Error;

use super::connectors::configured_params;
use super::{Effect, Operation, OperationScope, Reach};
use crate::clock::Timestamp;
use crate::connect::{self, ConnectEvent, ConnectRequest, ConnectResult, Prompter, ReconnectOptions};
use crate::connector::{Connector, scopes};
use crate::error::{self, Diagnostic, Kind, Remedy, Result};
use crate::health::{self, ConnectionStatus, HealthReport, StatusSummary, status_of};
use crate::model::{Account, Connection, ConnectionId, ConnectionName, UserId, reconnect_command};
use crate::runtime::worker::{self, RunUntil};
use crate::runtime::{BoxFuture, Workspace};
use crate::view::connection::{
    AccountView, ConnectView, ConnectionView, DisconnectPreview, DisconnectPreviewListView, DisconnectView,
    McpServerView, ReconnectListView, ReconnectOutcome, ReconnectView, RefreshListView, RefreshOutcome, RefreshView,
    RenameView, RenewalOutcome, StatusView, SubscriptionRenewalView, TestListView, TestView,
};
use crate::view::webhook::SubscriptionView;
use crate::webhook::subscription::{RenewalResult, renew_all};
use crate::worker::refresh::{
    GrantRenewal, MAX_CONCURRENT_REFRESHES, RefreshCondition, RefreshResult, RefreshWorker, refresh_grant,
};
use crate::worker::subscriptions::SubscriptionWorker;

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    // Chooses origins and reads secrets.
    Operation::local("connect", OperationScope::Connections, Effect::Write),
    Operation::local("disconnect", OperationScope::Connections, Effect::Destroy).reachable_by(Reach::Api),
    Operation::local("reconnect", OperationScope::Connections, Effect::Write),
    Operation::local("refresh", OperationScope::Connections, Effect::Write).reachable_by(Reach::Api),
    Operation::local("rename", OperationScope::Connections, Effect::Write).reachable_by(Reach::Api),
    Operation::local("status", OperationScope::Connections, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("test", OperationScope::Connections, Effect::Read).reachable_by(Reach::Agent),
];

/// Connects an account; the prompter asks the user for values and confirmations.
pub async fn connect(
    workspace: &Workspace,
    mut request: ConnectRequest,
    prompter: &dyn Prompter,
) -> Result<ConnectView> {
    request.params = configured_params(workspace, &request.connector, request.params).await?;
    let connected = Box::pin(connect::connect(workspace, &request, prompter)).await?;
    Ok(connect_view(workspace, connected).await)
}

/// The view of a connection that was made.
pub(super) async fn connect_view(workspace: &Workspace, connected: ConnectResult) -> ConnectView {
    let last_synced = last_synced(workspace).await.remove(&connected.connection.id);
    let connectors = &mut ConnectorCache::default();
    ConnectView {
        connection: connection_view(workspace, &connected.connection, Vec::new(), last_synced, connectors),
        missing_scopes: connected.missing_scopes,
        warnings: connected.warnings,
    }
}

/// The connections to reconnect, and what to change.
#[derive(Clone, Debug, Default)]
pub struct ReconnectRequest {
    pub selection: ReconnectSelection,
    pub options: ReconnectOptions,
}

/// Which connections are reconnected.
#[derive(Clone, Debug, Default)]
pub enum ReconnectSelection {
    /// These, whether they work or not.
    Named(Vec<ConnectionName>),
    /// Every connection that needs to be reconnected.
    All,
    /// The only connection that needs to be reconnected. If there are several, the prompter asks which.
    #[default]
    Broken,
}

/// Several connections need to be reconnected, and none was named.
#[derive(Debug, Error)]
#[error("several connections need to be reconnected: {}", names.join(", "))]
pub struct SeveralBrokenError {
    names: Vec<String>,
}

impl Remedy for SeveralBrokenError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "several_connections").run("integ reconnect --all")
    }
}

/// Signs in again for connections, one after another, each as it was connected.
///
/// # Errors
/// The failure, if only one connection is reconnected; otherwise failures are in the view.
pub async fn reconnect(
    workspace: &Workspace,
    request: ReconnectRequest,
    prompter: &dyn Prompter,
) -> Result<ReconnectListView> {
    let total = if workspace.has_vault() { list_connection_names(workspace).await?.len() } else { 0 };
    let names = match request.selection {
        ReconnectSelection::Named(names) => names,
        ReconnectSelection::All => broken_connections(workspace).await?,
        ReconnectSelection::Broken => choose_broken(broken_connections(workspace).await?, prompter)?,
    };
    let untouched = total.saturating_sub(names.len());
    let mut reconnected = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let connection = workspace.connection(name).await?;
        if names.len() > 1 {
            let (_, reason) = status_of(&connection, workspace.clock.now());
            let (position, total) = (index + 1, names.len());
            prompter.notify(&ConnectEvent::Reconnecting {
                connection: name,
                reason: reason.as_deref(),
                position,
                total,
            });
        }
        let result = connect::reconnect(workspace, name, &request.options, prompter).await;
        match result {
            Err(error) if names.len() == 1 || error.kind() == Kind::Interrupted => return Err(error),
            result => reconnected.push(reconnect_view(&connection, result)),
        }
    }
    Ok(ReconnectListView { reconnected, untouched })
}

/// Returns the names of the connections that need to be reconnected.
async fn broken_connections(workspace: &Workspace) -> Result<Vec<ConnectionName>> {
    let now = workspace.clock.now();
    let connections = workspace.connections().await?;
    let broken = connections.into_iter().filter(|connection| status_of(connection, now).0.needs_person());
    Ok(broken.map(|connection| connection.name).collect())
}

fn choose_broken(mut names: Vec<ConnectionName>, prompter: &dyn Prompter) -> Result<Vec<ConnectionName>> {
    if names.len() < 2 {
        return Ok(names);
    }
    let mut labels: Vec<String> = names.iter().map(ToString::to_string).collect();
    if !prompter.is_interactive() {
        return Err(SeveralBrokenError { names: labels }.into());
    }
    labels.push("all of them".to_owned());
    let chosen = prompter.select("Several connections need to be reconnected. Which one?", &labels)?;
    Ok(if chosen == names.len() { names } else { vec![names.swap_remove(chosen)] })
}

fn reconnect_view(connection: &Connection, result: Result<ConnectResult>) -> ReconnectView {
    let target = connection.target();
    match result {
        Ok(ConnectResult { connection, missing_scopes, warnings }) => ReconnectView {
            account: connection.account.as_ref().map(account_view),
            connection: connection.name,
            target,
            outcome: ReconnectOutcome::Reconnected,
            missing_scopes,
            warnings,
            error: None,
            error_kind: None,
        },
        Err(error) => ReconnectView {
            connection: connection.name.clone(),
            target,
            outcome: ReconnectOutcome::Failed,
            account: connection.account.as_ref().map(account_view),
            missing_scopes: Vec::new(),
            warnings: Vec::new(),
            error: Some(error.on_one_line()),
            error_kind: Some(error.kind()),
        },
    }
}

/// The connection to rename.
#[derive(Clone, Debug)]
pub struct RenameRequest {
    pub connection: ConnectionName,
    /// The account's name, or the connection's as a whole: `work`, `slack@work`, `slack`.
    pub name: String,
}

/// Renames a connection. Everything that belongs to it is kept.
pub async fn rename(workspace: &Workspace, request: RenameRequest) -> Result<RenameView> {
    let renamed = connect::rename(workspace, &request.connection, &request.name).await?;
    Ok(RenameView { connection: renamed.name, previous: request.connection })
}

/// Returns what disconnecting connections would delete and leave behind, in their order. It changes nothing.
///
/// # Errors
/// Unknown connections.
pub async fn preview_disconnect(workspace: &Workspace, names: &[ConnectionName]) -> Result<DisconnectPreviewListView> {
    let mut connections = Vec::with_capacity(names.len());
    for name in names {
        connections.push(workspace.connection(name).await?);
    }
    let (store, now) = (workspace.store().await?, workspace.clock.now());
    let queues = store.figures().read_figures(now, now).await?.event_queues;
    let mut previews = Vec::with_capacity(connections.len());
    for connection in connections {
        let mut records = 0;
        for stream in store.streams().list(connection.id).await? {
            records += store.records().count(stream.id).await?;
        }
        previews.push(DisconnectPreview {
            account: connection.account.as_ref().map(account_view),
            records,
            waiting_events: queues.get(&connection.id).map(|queue| queue.depth).unwrap_or_default(),
            subscriptions: store.subscriptions().list(Some(connection.id)).await?.len(),
            connection: connection.name,
        });
    }
    Ok(DisconnectPreviewListView { connections: previews })
}

/// What to disconnect.
#[derive(Clone, Debug)]
pub struct DisconnectRequest {
    pub connection: ConnectionName,
    /// Forgets the connection without revoking its grant.
    pub local_only: bool,
}

/// Revokes a connection's grant at the service, then deletes the connection with everything that belongs to it.
///
/// # Errors
/// A grant that could not be revoked; the connection is kept then.
pub async fn disconnect(workspace: &Workspace, request: DisconnectRequest) -> Result<DisconnectView> {
    let connection = workspace.connection(&request.connection).await?;
    let target = connection.target();
    let result = connect::disconnect(workspace, connection, request.local_only).await?;
    Ok(DisconnectView { connection: request.connection, target, result })
}

/// Returns the names of all connections, sorted; none if the workspace has no vault yet.
pub async fn list_connection_names(workspace: &Workspace) -> Result<Vec<ConnectionName>> {
    workspace.connection_names().await
}

/// The connections to show.
#[derive(Clone, Debug, Default)]
pub struct StatusRequest {
    /// All if empty.
    pub connections: Vec<ConnectionName>,
    /// Only those of this user of the caller's.
    pub user: Option<UserId>,
}

/// A part of the list of connections, which is sorted by their names.
#[derive(Clone, Debug, Default)]
pub struct ListConnectionsRequest {
    /// Only those of this user of the caller's.
    pub user: Option<UserId>,
    /// Only those of this connector.
    pub connector: Option<String>,
    pub status: Option<ConnectionStatus>,
    /// Only those that contain this text in their name, service, account or user, in any case; all if empty.
    pub text: String,
    /// Only those behind this name.
    pub after: Option<String>,
    pub limit: usize,
}

/// Lists connections with their status from what is stored; no service is asked.
pub async fn list(workspace: &Workspace, request: ListConnectionsRequest) -> Result<Vec<ConnectionView>> {
    let ListConnectionsRequest { user, connector, status, text, after, limit } = request;
    let text = text.trim().to_lowercase();
    let mut connections = workspace.connections().await?;
    connections.retain(|connection| {
        user.as_ref().is_none_or(|user| connection.user.as_ref() == Some(user))
            && connector.as_ref().is_none_or(|wanted| connection.name.connector() == wanted)
            && after.as_ref().is_none_or(|after| connection.name.to_string() > *after)
    });
    connections.sort_by_cached_key(|connection| connection.name.to_string());
    if status.is_none() && text.is_empty() {
        connections.truncate(limit);
    }
    let mut views = views(workspace, &connections).await?;
    views.retain(|view| status.is_none_or(|wanted| view.status == wanted) && contains(view, &text));
    views.truncate(limit);
    Ok(views)
}

/// Whether a connection contains a text in lower case, where a person looks for it.
fn contains(view: &ConnectionView, text: &str) -> bool {
    let name = view.connection.to_string();
    let account = view.account.iter().flat_map(|account| [Some(account.id.as_str()), account.name.as_deref()]);
    let texts = [Some(name.as_str()), Some(view.name.as_str()), view.user.as_ref().map(UserId::as_str)];
    texts.into_iter().chain(account).flatten().any(|known| known.to_lowercase().contains(text))
}

/// Returns the status of connections from what is stored; no service is asked.
pub async fn status(workspace: &Workspace, request: StatusRequest) -> Result<StatusView> {
    let mut connections = Vec::new();
    for name in &request.connections {
        connections.push(workspace.connection(name).await?);
    }
    if request.connections.is_empty() {
        connections = workspace.connections().await?;
    }
    if let Some(user) = &request.user {
        connections.retain(|connection| connection.user.as_ref() == Some(user));
    }
    let views = views(workspace, &connections).await?;
    let mut summary = StatusSummary::default();
    views.iter().for_each(|view| summary.add(view.status));
    Ok(StatusView { workspace: workspace.name.clone(), connections: views, summary })
}

/// Returns the views of connections, in their order.
async fn views(workspace: &Workspace, connections: &[Connection]) -> Result<Vec<ConnectionView>> {
    if connections.is_empty() {
        return Ok(Vec::new());
    }
    let now = workspace.clock.now();
    let store = workspace.store().await?;
    let (rows, last_synced) = tokio::join!(store.subscriptions().list(None), last_synced(workspace));
    let mut subscriptions: HashMap<ConnectionId, Vec<SubscriptionView>> = HashMap::new();
    for row in rows? {
        subscriptions.entry(row.request.connection).or_default().push(SubscriptionView::new(&row, now));
    }
    let mut connectors = ConnectorCache::default();
    let view = |connection: &Connection| {
        let own = subscriptions.remove(&connection.id).unwrap_or_default();
        let synced = last_synced.get(&connection.id).copied();
        connection_view(workspace, connection, own, synced, &mut connectors)
    };
    Ok(connections.iter().map(view).collect())
}

/// The connections to refresh.
#[derive(Clone, Debug)]
pub enum RefreshRequest {
    /// These, whether they are due or not.
    Named(Vec<ConnectionName>),
    /// Every connection that can be refreshed.
    All,
    /// Those that are about to expire.
    Due,
}

/// Refreshes tokens, and renews the webhook subscriptions of these connections that are due.
///
/// # Errors
/// The failure of the connection, if one is named and no subscription was renewed; otherwise failures are in the view.
pub async fn refresh(workspace: &Workspace, request: RefreshRequest) -> Result<RefreshListView> {
    let (results, renewals, is_only_one) = match request {
        RefreshRequest::Named(names) => {
            let mut ids = Vec::with_capacity(names.len());
            for name in &names {
                ids.push(workspace.connection(name).await?.id);
            }
            let is_only_one = names.len() == 1;
            let results = refresh_all(workspace, names).await;
            (results, renew_all(workspace, Some(&ids)).await?, is_only_one)
        }
        _ if !workspace.has_vault() => (Vec::new(), Vec::new(), false),
        RefreshRequest::All => {
            let refreshable =
                workspace.connections().await?.into_iter().filter(|connection| connection.expiry.is_refreshable);
            let results = refresh_all(workspace, refreshable.map(|connection| connection.name).collect()).await;
            (results, renew_all(workspace, None).await?, false)
        }
        RefreshRequest::Due => {
            let (results, renewals) = run_due(workspace).await?;
            (results, renewals, false)
        }
    };
    let mut refreshed = Vec::with_capacity(results.len());
    for RefreshResult { connection, result } in results {
        let result = if is_only_one && renewals.is_empty() { Ok(result?) } else { result };
        refreshed.push(refresh_view(workspace, connection, result).await);
    }
    Ok(RefreshListView { refreshed, subscriptions: renewals.into_iter().map(renewal_view).collect() })
}

/// Refreshes grants, many at once, and returns the results in the order of the names.
async fn refresh_all(workspace: &Workspace, names: Vec<ConnectionName>) -> Vec<RefreshResult> {
    let refreshes: Vec<BoxFuture<'_, _>> = names
        .into_iter()
        .map(|name| Box::pin(refresh_grant(workspace, name, RefreshCondition::Always)) as BoxFuture<'_, _>)
        .collect();
    stream::iter(refreshes).buffered(MAX_CONCURRENT_REFRESHES).collect().await
}

/// Runs the workers of grants and then of subscriptions, which need them, until nothing is due. The results are ordered by
/// connection.
async fn run_due(workspace: &Workspace) -> Result<(Vec<RefreshResult>, Vec<RenewalResult>)> {
    let (mut results, mut renewals) = (Vec::new(), Vec::new());
    let mut refresh = RefreshWorker::new(workspace, Box::new(|result| results.push(result)));
    worker::run(&mut refresh, workspace, RunUntil::Idle, future::pending()).await?;
    drop(refresh);
    let mut renewal = SubscriptionWorker::new(workspace, None, Box::new(|renewal| renewals.push(renewal)));
    worker::run(&mut renewal, workspace, RunUntil::Idle, future::pending()).await?;
    drop(renewal);
    let names = workspace.store().await?.connections().names().await?;
    results.sort_by_key(|result| names.iter().position(|name| *name == result.connection));
    Ok((results, renewals))
}

async fn refresh_view(
    workspace: &Workspace,
    connection: ConnectionName,
    result: Result<(GrantRenewal, Option<Timestamp>)>,
) -> RefreshView {
    let target = workspace.connection(&connection).await.ok().and_then(|connection| connection.target());
    let now = workspace.clock.now().as_second();
    let (outcome, expires_at, error) = match result {
        Ok((GrantRenewal::Refreshed, expires_at)) => (RefreshOutcome::Refreshed, expires_at, None),
        Ok((GrantRenewal::StillValid, expires_at)) => (RefreshOutcome::StillValid, expires_at, None),
        Err(error) => (RefreshOutcome::Failed, None, Some(error)),
    };
    RefreshView {
        connection,
        target,
        outcome,
        expires_at: expires_at.map(|at| at.to_string()),
        expires_in: expires_at.map(|at| at.as_second() - now),
        error: error.as_ref().map(error::Error::on_one_line),
        error_kind: error.as_ref().map(error::Error::kind),
    }
}

fn renewal_view(renewal: RenewalResult) -> SubscriptionRenewalView {
    let (outcome, expires_at, error) = match renewal.result {
        Ok(expires_at) => (RenewalOutcome::Renewed, expires_at, None),
        Err(error) => (RenewalOutcome::Failed, None, Some(error)),
    };
    SubscriptionRenewalView {
        connection: renewal.connection,
        subscription: renewal.id.0,
        outcome,
        expires_at: expires_at.map(|at| at.to_string()),
        error: error.as_ref().map(error::Error::on_one_line),
        error_kind: error.as_ref().map(error::Error::kind),
    }
}

/// The connections to test.
#[derive(Clone, Debug, Default)]
pub struct TestRequest {
    /// All if empty.
    pub connections: Vec<ConnectionName>,
}

/// Follows the tests of connections as they run.
pub trait TestObserver: Sync {
    /// They begin; `total` of them will end.
    fn started(&self, total: usize);
    /// One has ended.
    fn tested(&self, connection: &ConnectionName);
}

/// Asks the services whether connections work, many at once, and stores the results.
pub async fn test(workspace: &Workspace, request: TestRequest, observer: &dyn TestObserver) -> Result<TestListView> {
    let names =
        if request.connections.is_empty() { list_connection_names(workspace).await? } else { request.connections };
    observer.started(names.len());
    let reports = health::check_all(workspace, &names, |report| observer.tested(&report.connection)).await?;
    let healthy = reports.iter().filter(|report| report.outcome.is_healthy()).count();
    let unhealthy = reports.len() - healthy;
    let mut tests = Vec::with_capacity(reports.len());
    for report in reports {
        tests.push(test_view(workspace, report).await);
    }
    Ok(TestListView { tests, healthy, unhealthy })
}

async fn test_view(workspace: &Workspace, report: HealthReport) -> TestView {
    TestView {
        target: workspace.connection(&report.connection).await.ok().and_then(|connection| connection.target()),
        connection: report.connection,
        outcome: report.outcome,
        healthy: report.outcome.is_healthy(),
        duration_ms: report.duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        account: report.account.as_ref().map(account_view),
        missing_scopes: report.missing_scopes,
        http_status: report.http_status,
        mcp_server: report.mcp_server.map(|server| McpServerView {
            name: server.name,
            version: server.version,
            protocol_version: server.protocol_version,
            tools: server.tools,
        }),
        error_message: report.error_message,
        hint: report.hint,
    }
}

fn account_view(account: &Account) -> AccountView {
    AccountView { id: account.id.clone(), name: account.name.clone() }
}

/// When each connection was last synced; empty if the store cannot be read.
async fn last_synced(workspace: &Workspace) -> HashMap<ConnectionId, Timestamp> {
    if !workspace.has_vault() {
        return HashMap::new();
    }
    match workspace.store().await {
        Ok(store) => store.streams().last_synced().await.unwrap_or_default(),
        Err(_) => HashMap::new(),
    }
}

/// The connectors of a listing, each parsed once and only if its file is needed.
#[derive(Default)]
struct ConnectorCache(HashMap<String, Option<Arc<Connector>>>);

impl ConnectorCache {
    fn get(&mut self, workspace: &Workspace, id: &str) -> Option<&Connector> {
        if !self.0.contains_key(id) {
            self.0.insert(id.to_owned(), workspace.catalogue().get(id).ok());
        }
        self.0.get(id).and_then(Option::as_deref)
    }
}

/// Returns the command that fixes a connection, if something is wrong.
fn fix_command(
    workspace: &Workspace,
    connection: &Connection,
    status: ConnectionStatus,
    missing_scopes: &[String],
) -> Option<String> {
    let name = &connection.name;
    match status {
        ConnectionStatus::NeedsReauth | ConnectionStatus::Disconnected => match &workspace.engine.environment {
            Some(environment) => environment.renewal_hint(&name.to_string()).command,
            None => Some(reconnect_command(name)),
        },
        ConnectionStatus::Error if connection.error_count > 0 => Some(format!("integ test {name}")),
        ConnectionStatus::Expiring if connection.expiry.refresh_started_at.is_some() => {
            Some(format!("integ refresh {name}"))
        }
        _ if !missing_scopes.is_empty() => Some(scopes::add_scope_command(&reconnect_command(name), missing_scopes)),
        _ => None,
    }
}

fn connection_view(
    workspace: &Workspace,
    connection: &Connection,
    subscriptions: Vec<SubscriptionView>,
    last_synced: Option<Timestamp>,
    connectors: &mut ConnectorCache,
) -> ConnectionView {
    let now = workspace.clock.now();
    let (mut status, reason) = status_of(connection, now);
    if status.is_healthy() && subscriptions.iter().any(|subscription| subscription.is_problem) {
        status = ConnectionStatus::Error;
    }
    let granted = connection.scopes_granted.as_deref();
    let id = connection.name.connector();
    let connector = connectors.get(workspace, id);
    let missing_scopes =
        connector.map_or_else(Vec::new, |connector| scopes::missing(connector, &connection.scopes_requested, granted));
    let auth = connector
        .and_then(|connector| connector.auth.get(&connection.auth))
        .map_or("unknown", |auth| auth.kind())
        .to_owned();
    ConnectionView {
        connection: connection.name.clone(),
        connector: id.to_owned(),
        name: connector.map_or_else(|| id.to_owned(), |connector| connector.name.clone()),
        mode: connection.mode,
        origin: connection.origin.as_ref().map(ToString::to_string),
        auth,
        account: connection.account.as_ref().map(account_view),
        user: connection.user.clone(),
        reveal: connection.reveal,
        status,
        reason,
        hint: fix_command(workspace, connection, status, &missing_scopes),
        scopes: granted.unwrap_or(&connection.scopes_requested).to_vec(),
        missing_scopes,
        connected_at: connection.connected_at.to_string(),
        expires_at: connection.expiry.expires_at.map(|at| at.to_string()),
        expires_in: connection.expiry.remaining_secs(now),
        refreshable: connection.expiry.is_refreshable,
        refresh_expires_at: connection.expiry.refresh_expires_at.map(|at| at.to_string()),
        last_checked_at: connection.last_check.as_ref().map(|check| check.at.to_string()),
        last_sync_at: last_synced.map(|at| at.to_string()),
        last_error: connection.last_error.clone(),
        error_count: connection.error_count,
        subscriptions,
        target: connection.target(),
        checked_ago: connection.last_check.as_ref().map(|check| check.at.as_second() - now.as_second()),
    }
}
