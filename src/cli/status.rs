//! `integ status`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::table::{TableCell, relative, table};
use super::ui::{Tone, Ui, View};
use super::webhook::subscription_note;
use crate::clock::Timestamp;
use crate::connector::{Connector, scopes};
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::health::{ConnectionStatus, StatusSummary, status_of};
use crate::model::{Connection, ConnectionId, ConnectionMode, WorkspaceName};
use crate::runtime::App;
use crate::view::webhook::SubscriptionView;

/// Say how connections stand, from what is stored
///
/// Nothing is asked of the services; `integ test` does that.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[arg(add = super::complete::connections())]
    pub connections: Vec<String>,
    /// Exit with 6 if something is unhealthy, 4 if all it needs is to be reconnected, 3 if there is nothing to check
    #[arg(long)]
    pub check: bool,
    /// Draw it anew every two seconds
    #[arg(long)]
    pub watch: bool,
}

/// A check that found nothing to check: most often the wrong workspace or home.
#[derive(Debug, Error)]
#[error("nothing to check: workspace {workspace}{} has no connections", chosen(.chosen_by.as_deref()))]
pub(super) struct NoConnectionsError {
    workspace: WorkspaceName,
    chosen_by: Option<PathBuf>,
}

fn chosen(by: Option<&Path>) -> String {
    by.map(|file| format!(", which {} chooses,", file.display())).unwrap_or_default()
}

impl NoConnectionsError {
    pub(super) fn of(app: &App) -> Self {
        Self { workspace: app.workspace.clone(), chosen_by: app.workspace_file.clone() }
    }
}

impl Remedy for NoConnectionsError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::NotFound, "nothing_to_check").run("integ workspace list")
    }
}

const REDRAW: Duration = Duration::from_secs(2);

const ALL_COLUMNS: usize = 6;

#[derive(Serialize)]
struct AccountView {
    id: String,
    name: Option<String>,
}

/// A connection as `status --json` shows it.
#[derive(Serialize)]
pub(super) struct ConnectionView {
    connection: String,
    connector: String,
    name: String,
    mode: &'static str,
    origin: Option<String>,
    auth: &'static str,
    account: Option<AccountView>,
    status: &'static str,
    reason: Option<String>,
    scopes: Vec<String>,
    missing_scopes: Vec<String>,
    connected_at: String,
    expires_at: Option<String>,
    expires_in: Option<i64>,
    refreshable: bool,
    /// When the refresh token ends, if the service says so: a person must reconnect then.
    refresh_expires_at: Option<String>,
    last_checked_at: Option<String>,
    last_sync_at: Option<String>,
    last_error: Option<String>,
    error_count: u32,
    /// Where its webhooks are registered at the vendor by integ.
    subscriptions: Vec<SubscriptionView>,
    #[serde(skip)]
    place: Option<String>,
    #[serde(skip)]
    standing: ConnectionStatus,
    #[serde(skip)]
    checked_ago: Option<i64>,
}

#[derive(Serialize)]
struct SummaryView {
    total: usize,
    active: usize,
    expiring: usize,
    needs_reauth: usize,
    error: usize,
    disconnected: usize,
}

#[derive(Serialize)]
struct StatusView {
    workspace: String,
    connections: Vec<ConnectionView>,
    summary: SummaryView,
    /// Where they were looked for, as [`App::workspace_note`] says it.
    #[serde(skip)]
    place: String,
}

/// The connectors of a listing, each parsed once and only where its file is needed.
#[derive(Default)]
pub(super) struct ConnectorCache(HashMap<String, Option<Connector>>);

impl ConnectorCache {
    fn get(&mut self, app: &App, id: &str) -> Option<&Connector> {
        if !self.0.contains_key(id) {
            self.0.insert(id.to_owned(), app.catalogue.get(id).ok());
        }
        self.0.get(id).and_then(Option::as_ref)
    }
}

/// A store that cannot be read says so where it matters more.
fn last_synced(app: &App, connection: &Connection) -> Option<Timestamp> {
    app.store().ok()?.streams().last_synced(connection.id).ok()?
}

impl ConnectionView {
    pub(super) fn new(app: &App, connection: &Connection) -> Self {
        Self::with(app, connection, Vec::new(), &mut ConnectorCache::default())
    }

    fn with(
        app: &App,
        connection: &Connection,
        subscriptions: Vec<SubscriptionView>,
        connectors: &mut ConnectorCache,
    ) -> Self {
        let now = app.clock.now();
        let (mut standing, reason) = status_of(connection, now);
        if standing.is_healthy() && subscriptions.iter().any(|subscription| subscription.is_problem) {
            standing = ConnectionStatus::Error;
        }
        let granted = connection.scopes_granted.as_deref();
        let id = connection.name.connector();
        let connector = connectors.get(app, id);
        let missing_scopes = connector
            .map_or_else(Vec::new, |connector| scopes::missing(connector, &connection.scopes_requested, granted));
        let kind =
            connector.and_then(|connector| connector.auth.get(&connection.auth)).map_or("unknown", |auth| auth.kind());
        let expires_at = connection.expiry.expires_at;
        Self {
            connection: connection.name.to_string(),
            connector: id.to_owned(),
            name: connector.map_or_else(|| id.to_owned(), |connector| connector.name.clone()),
            mode: match connection.mode {
                ConnectionMode::Live => "live",
                ConnectionMode::Sandbox => "sandbox",
            },
            origin: connection.origin.as_ref().map(ToString::to_string),
            auth: kind,
            account: connection
                .account
                .as_ref()
                .map(|account| AccountView { id: account.id.clone(), name: account.name.clone() }),
            status: standing.as_str(),
            reason,
            scopes: granted.unwrap_or(&connection.scopes_requested).to_vec(),
            missing_scopes,
            connected_at: connection.connected_at.to_string(),
            expires_at: expires_at.map(|at| at.to_string()),
            expires_in: connection.expiry.remaining_secs(now),
            refreshable: connection.expiry.is_refreshable,
            refresh_expires_at: connection.expiry.refresh_expires_at.map(|at| at.to_string()),
            last_checked_at: connection.last_check.as_ref().map(|check| check.at.to_string()),
            last_sync_at: last_synced(app, connection).map(|at| at.to_string()),
            last_error: connection.last_error.clone(),
            error_count: connection.error_count,
            subscriptions,
            place: connection.target(),
            standing,
            checked_ago: connection.last_check.as_ref().map(|check| check.at.as_second() - now.as_second()),
        }
    }

    /// The row's first cells; where there is no room for notes, the place stands with the status.
    fn row(self, columns: usize) -> Vec<TableCell> {
        let tone = match self.standing {
            ConnectionStatus::Active => Tone::Good,
            ConnectionStatus::Expiring => Tone::Warn,
            ConnectionStatus::NeedsReauth | ConnectionStatus::Error | ConnectionStatus::Disconnected => Tone::Bad,
        };
        let account = self.account.as_ref().map(|account| account.name.clone().unwrap_or_else(|| account.id.clone()));
        let expires = match self.expires_in {
            Some(seconds) => relative(seconds),
            None => "never".to_owned(),
        };
        let place = self.place;
        let mut status = self.status.replace('_', " ");
        if let Some(place) = place.as_ref().filter(|_| columns < ALL_COLUMNS) {
            status.push_str(&format!(" ({place})"));
        }
        let missing = Some(self.missing_scopes.join(", ")).filter(|missing| !missing.is_empty());
        let notes = [place, self.reason, missing.map(|missing| format!("not granted: {missing}"))];
        let notes = notes.into_iter().flatten().chain(self.subscriptions.iter().filter_map(subscription_note));
        let mut row = vec![
            self.connection.into(),
            account.unwrap_or_else(|| "-".to_owned()).into(),
            TableCell(status, Some(tone)),
            expires.into(),
            self.checked_ago.map_or_else(|| "never".to_owned(), relative).into(),
            TableCell(notes.collect::<Vec<_>>().join("; "), Some(Tone::Dim)),
        ];
        row.truncate(columns);
        row
    }
}

/// A listing's table is drawn once, so that its rows may be taken out of it.
struct StatusListView(std::cell::RefCell<StatusView>);

impl Serialize for StatusListView {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.borrow().serialize(serializer)
    }
}

impl View for StatusListView {
    fn text(&self, ui: &Ui) -> String {
        let rows = std::mem::take(&mut self.0.borrow_mut().connections);
        if rows.is_empty() {
            let place = super::ui::escape(&self.0.borrow().place);
            return format!("No connections yet{place}. Try `integ connect slack --sandbox`.");
        }
        let headings = ["connection", "account", "status", "expires", "checked", "notes"];
        // A narrow terminal shows what matters most and folds nothing into slivers.
        let columns = match ui.width {
            Some(0..50) => 3,
            Some(50..72) => 4,
            _ => ALL_COLUMNS,
        };
        let rows = rows.into_iter().map(|view| view.row(columns)).collect();
        table(ui, &headings[..columns], rows)
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &StatusArgs) -> Result<u8> {
    loop {
        let (listing, summary) = collect(app, ui, args)?;
        if args.watch && !ui.json && ui.width.is_some() {
            ui.clear();
        }
        ui.show(&listing)?;
        if args.watch {
            std::thread::sleep(REDRAW);
            continue;
        }
        if args.check && summary.total == 0 {
            return Err(NoConnectionsError::of(app).into());
        }
        return Ok(if args.check { exit_code(&summary) } else { 0 });
    }
}

fn collect(app: &App, ui: &Ui, args: &StatusArgs) -> Result<(StatusListView, StatusSummary)> {
    let connections = if !args.connections.is_empty() {
        let names = args.connections.iter().map(|name| ui.project.resolve(name));
        names.map(|name| app.connection(&name?)).collect::<Result<Vec<_>>>()?
    } else if app.has_vault() {
        app.store()?.connections().list()?
    } else {
        Vec::new()
    };
    let mut connectors = ConnectorCache::default();
    let now = app.clock.now();
    let mut subscriptions: HashMap<ConnectionId, Vec<SubscriptionView>> = HashMap::new();
    if !connections.is_empty() {
        for row in app.store()?.subscriptions().list(None)? {
            subscriptions.entry(row.request.connection).or_default().push(SubscriptionView::new(&row, now));
        }
    }
    let views = connections.iter().map(|connection| {
        let own = subscriptions.remove(&connection.id).unwrap_or_default();
        ConnectionView::with(app, connection, own, &mut connectors)
    });
    let views: Vec<ConnectionView> = views.collect();
    let mut summary = StatusSummary::default();
    for view in &views {
        summary.add(view.standing);
    }
    let view = StatusView {
        workspace: app.workspace.to_string(),
        place: app.workspace_note(),
        connections: views,
        summary: SummaryView {
            total: summary.total,
            active: summary.active,
            expiring: summary.expiring,
            needs_reauth: summary.needs_reauth,
            error: summary.error,
            disconnected: summary.disconnected,
        },
    };
    Ok((StatusListView(view.into()), summary))
}

fn exit_code(summary: &StatusSummary) -> u8 {
    if summary.is_healthy() {
        0
    } else if summary.needs_only_reauth() {
        Kind::AuthNeeded.exit_code()
    } else {
        Kind::Unhealthy.exit_code()
    }
}
