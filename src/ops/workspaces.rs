//! Operations on workspaces, on the OAuth apps registered in them, and on the settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

use super::connections::{self, StatusRequest};
use super::{Effect, Operation, OperationScope, Reach};
use crate::config::{self, Config, ConfigKey, Folders, KEYS};
use crate::connector::{Connector, authorization_server, parse_param};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::health::StatusSummary;
use crate::model::{ClientCredentials, OAuthApp, WorkspaceName};
use crate::runtime::{Engine, OpenStore, Workspace};
use crate::store::{Store, sqlite_version};
use crate::task::blocking;
use crate::vault::{self, IfAbsent, PostgresLocation, UnlockedVault, VaultOpener};
use crate::view::connection::StatusView;
use crate::view::workspace::{
    AllWorkspacesStatusView, AppListView, AppScope, AppView, ConfigPathsView, CreatedWorkspaceView,
    DeletedWorkspaceView, RedactedSettingsView, RemovedAppView, SettingView, SettingsView, WorkspaceDeletionPreview,
    WorkspaceListView, WorkspaceStatusView, WorkspaceView,
};

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("app list", OperationScope::Workspaces, Effect::Read).reachable_by(Reach::Api),
    Operation::local("app remove", OperationScope::Workspaces, Effect::Destroy).reachable_by(Reach::Operator),
    // An app of the connector's own server; where else credentials go is the owner's to say.
    Operation::local("app set", OperationScope::Workspaces, Effect::Write).reachable_by(Reach::Operator),
    Operation::local("app set --issuer", OperationScope::Workspaces, Effect::Write),
    Operation::local("app set --param", OperationScope::Workspaces, Effect::Write),
    Operation::local("config get", OperationScope::Workspaces, Effect::Read),
    Operation::local("config path", OperationScope::Workspaces, Effect::Read),
    Operation::local("config redacted", OperationScope::Workspaces, Effect::Read),
    Operation::local("config set", OperationScope::Workspaces, Effect::Write),
    Operation::local("config show", OperationScope::Workspaces, Effect::Read),
    Operation::local("config unset", OperationScope::Workspaces, Effect::Write),
    Operation::local("status --all-workspaces", OperationScope::Workspaces, Effect::Read),
    Operation::local("workspace create", OperationScope::Workspaces, Effect::Write),
    Operation::local("workspace delete", OperationScope::Workspaces, Effect::Destroy),
    Operation::local("workspace list", OperationScope::Workspaces, Effect::Read),
    Operation::local("workspace show", OperationScope::Workspaces, Effect::Read),
];

/// An error of finding or creating a workspace.
#[derive(Debug, Error)]
pub enum WorkspaceError {
    #[error("workspace \"{0}\" not found")]
    NotFound(WorkspaceName),
    /// A project's file or a setting names it, which does not create it.
    #[error("workspace \"{0}\", named by {1}, not found")]
    NotCreated(WorkspaceName, &'static str),
    #[error("workspace \"{0}\" already exists")]
    Exists(WorkspaceName),
}

impl Remedy for WorkspaceError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NotFound(_) => Diagnostic::new(Kind::NotFound, "workspace_not_found").run("integ workspace list"),
            Self::NotCreated(name, _) => {
                Diagnostic::new(Kind::NotFound, "workspace_not_found").run(format!("integ workspace create {name}"))
            }
            Self::Exists(_) => Diagnostic::new(Kind::Usage, "workspace_exists").run("integ workspace list"),
        }
    }
}

/// Returns the names of existing workspaces, sorted. A folder that cannot be read has none.
pub fn workspace_names(folders: &Folders) -> Vec<String> {
    let entries = std::fs::read_dir(folders.workspaces()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.parse::<WorkspaceName>().is_ok())
        .collect();
    names.sort();
    names
}

/// Lists the workspaces.
pub async fn list_workspaces(workspace: &Workspace) -> Result<WorkspaceListView> {
    Ok(WorkspaceListView { workspaces: workspace_names(&workspace.engine.folders), current: workspace.name.clone() })
}

/// Returns the status of the connections of every workspace. One that cannot be opened is in the view with its error.
pub async fn status_of_all_workspaces(engine: &Arc<Engine>) -> Result<AllWorkspacesStatusView> {
    let mut workspaces = Vec::new();
    let mut summary = StatusSummary::default();
    for name in workspace_names(&engine.folders) {
        let name: WorkspaceName = name.parse()?;
        let workspace = Workspace::new(Arc::clone(engine), name.clone());
        workspaces.push(match connections::status(&workspace, StatusRequest::default()).await {
            Ok(StatusView { workspace, connections, summary: own }) => {
                connections.iter().for_each(|connection| summary.add(connection.status));
                WorkspaceStatusView { workspace, connections, summary: own, error: None }
            }
            Err(error) => WorkspaceStatusView {
                workspace: name,
                connections: Vec::new(),
                summary: StatusSummary::default(),
                error: Some(error.on_one_line()),
            },
        });
    }
    Ok(AllWorkspacesStatusView { workspaces, summary })
}

/// The workspace to create.
#[derive(Clone, Debug)]
pub struct CreateWorkspaceRequest {
    pub workspace: WorkspaceName,
    /// The server that is to have its store; without one, as the environment says, or a file.
    pub postgres: Option<PostgresLocation>,
}

/// Creates a workspace, and with the first one the identity that opens it.
///
/// # Errors
/// [`WorkspaceError::Exists`]; the vault's, also for a server that cannot be reached: nothing has been created then.
pub async fn create_workspace(engine: &Arc<Engine>, request: CreateWorkspaceRequest) -> Result<CreatedWorkspaceView> {
    let CreateWorkspaceRequest { workspace, postgres } = request;
    let folder = engine.folders.workspace(&workspace);
    if folder.exists() {
        return Err(WorkspaceError::Exists(workspace).into());
    }
    let now = engine.clock.now();
    let begin = move |vaults: VaultOpener<'_>| match postgres {
        None => vaults.unlock_vault(&folder, IfAbsent::Create { now }),
        Some(location) => Ok(UnlockedVault::NewPostgres(Box::new(vaults.begin_in_postgres(&folder, location, now)?))),
    };
    let opened = OpenStore::open(engine.with_vaults(begin).await?).await?;
    Ok(CreatedWorkspaceView {
        workspace,
        store: opened.details().await?.into(),
        new_identity_location: opened.new_identity_location(),
    })
}

/// Returns what a workspace holds.
pub async fn show_workspace(engine: &Arc<Engine>, workspace: WorkspaceName) -> Result<WorkspaceView> {
    let folder = engine.folders.workspace(&workspace);
    if !folder.exists() {
        return Err(WorkspaceError::NotFound(workspace).into());
    }
    let shown = folder.display().to_string();
    let opened = engine.open_store(folder, IfAbsent::Fail).await?;
    let (details, store) = (opened.details().await?, opened.store());
    let connections = store.connections().names().await?;
    Ok(WorkspaceView {
        workspace,
        folder: shown,
        connections: connections.into_iter().map(|name| name.to_string()).collect(),
        apps: store.apps().list().await?.len(),
        endpoints: store.endpoints().list().await?.len(),
        subscriptions: store.subscriptions().list(None).await?.len(),
        created_at: details.created_at.to_string(),
        store: details.into(),
    })
}

/// Returns what deleting a workspace would destroy. It changes nothing.
///
/// # Errors
/// A workspace that does not exist or that may not be deleted. One whose vault cannot be opened can be deleted.
pub async fn preview_workspace_deletion(
    engine: &Arc<Engine>,
    workspace: WorkspaceName,
) -> Result<WorkspaceDeletionPreview> {
    let folder = engine.folders.workspace(&workspace);
    if !folder.exists() {
        return Err(WorkspaceError::NotFound(workspace).into());
    }
    blocking(move || vault::check_destroyable(&folder)).await?;
    let content = show_workspace(engine, workspace.clone()).await.ok();
    Ok(WorkspaceDeletionPreview { workspace, content })
}

/// Deletes a workspace with everything in it: what a server has of it, then its key, then the rest. Grants stay valid at the
/// services. Without the key, what a server that cannot be reached has of the workspace is noise.
pub async fn delete_workspace(engine: &Arc<Engine>, workspace: WorkspaceName) -> Result<DeletedWorkspaceView> {
    let folder = engine.folders.workspace(&workspace);
    if !folder.exists() {
        return Err(WorkspaceError::NotFound(workspace).into());
    }
    let checked = folder.clone();
    blocking(move || vault::check_destroyable(&checked)).await?;
    let left_on_server = match engine.open_store(folder.clone(), IfAbsent::Fail).await {
        Ok(opened) => {
            delete_keyring_entries(engine, opened.store()).await;
            opened.delete_from_server().await.is_err()
        }
        Err(_) => vault::is_in_postgres(&folder),
    };
    blocking(move || vault::destroy(&folder)).await?;
    let (catalogue, name) = (engine.catalogue.clone(), workspace.to_string());
    blocking(move || catalogue.remove_workspace(&name)).await?;
    Ok(DeletedWorkspaceView { workspace, left_on_server })
}

/// Deletes the workspace's tokens from the OS keyring, as far as that is possible.
async fn delete_keyring_entries(engine: &Arc<Engine>, store: &dyn Store) {
    let Ok(connections) = store.connections().list().await else { return };
    for connection in connections {
        let _ = engine.token_vault.remove_from_keyring(store, &connection).await;
    }
}

#[derive(Debug, Error)]
#[error("no app is stored for {connector}")]
struct AppNotFound {
    connector: String,
}

impl Remedy for AppNotFound {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::NotFound, "no_app").run("integ app list")
    }
}

#[derive(Debug, Error)]
#[error("{connector} has several apps")]
struct AmbiguousApp {
    connector: String,
    servers: Vec<String>,
}

impl Remedy for AmbiguousApp {
    fn diagnostic(&self) -> Diagnostic {
        let server = self.servers.first().and_then(|server| shlex::try_quote(server).ok());
        let command = server.map(|server| format!("integ app remove {} --issuer {server}", self.connector));
        Diagnostic::new(Kind::Usage, "several_apps").maybe_hint(command.map(Hint::run))
    }
}

#[derive(Debug, Error)]
#[error("unknown parameter {name:?} for {connector}")]
struct UnknownAppParam {
    connector: String,
    name: String,
}

impl Remedy for UnknownAppParam {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "unknown_param").run(format!("integ connector show {}", self.connector))
    }
}

#[derive(Debug, Error)]
#[error("invalid value {value:?} for {name}: it must be {expected}")]
struct InvalidAppParam {
    name: String,
    value: String,
    expected: &'static str,
}

impl Remedy for InvalidAppParam {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Usage, "invalid_param")
    }
}

/// Returns the server that a connector's parameters name: its issuer or token URL; absent if no parameter is given.
pub fn app_server(workspace: &Workspace, connector: &str, params: Vec<(String, String)>) -> Result<Option<String>> {
    let connector = workspace.catalogue().get(connector)?;
    let mut given = BTreeMap::new();
    for (name, value) in params {
        let value = parsed_param(&connector, &name, value)?;
        given.insert(name, value);
    }
    let server = connector.auth.values().find_map(|auth| authorization_server(&connector, auth, &given));
    Ok(server.map(|server| server.url))
}

fn parsed_param(connector: &Connector, name: &str, value: String) -> Result<String> {
    let mut methods = connector.auth.iter();
    let (method, auth) = methods
        .find(|(_, auth)| connector.params(auth).any(|(known, _)| known == name))
        .ok_or_else(|| UnknownAppParam { connector: connector.id.clone(), name: name.to_owned() })?;
    Ok(parse_param(connector, method, auth, name, &value).map_err(|expected| InvalidAppParam {
        name: name.to_owned(),
        value,
        expected,
    })?)
}

/// The app to store.
#[derive(Clone, Debug)]
pub struct SetAppRequest {
    pub connector: String,
    /// The issuer or token URL of the server where it is registered, as [`app_server`] returns it.
    pub server: Option<String>,
    pub client: ClientCredentials,
    pub scope: AppScope,
}

/// Stores an app, replacing the one of the same connector and server.
pub async fn set_app(workspace: &Workspace, request: SetAppRequest) -> Result<AppView> {
    let SetAppRequest { connector, server, client, scope } = request;
    let store = match scope {
        AppScope::AllWorkspaces => workspace.engine.global_store_or_new().await?,
        AppScope::Workspace => workspace.store_or_new().await?,
    };
    // A new secret of an app that is stored already: the app stays with its server.
    let known = store.apps().for_connector(&connector).await?.into_iter().find(|known| known.client.id == client.id);
    let server = server.or_else(|| known?.server);
    let registered = OAuthApp { connector, server, client, updated_at: workspace.clock.now() };
    store.apps().set(&registered).await?;
    Ok(app_view(registered, scope))
}

/// Lists the apps of the workspace and of all workspaces, without their secrets.
pub async fn list_apps(workspace: &Workspace) -> Result<AppListView> {
    let mut apps = Vec::new();
    if workspace.has_vault() {
        apps.extend(app_views(workspace.store().await?, AppScope::Workspace).await?);
    }
    if let Some(global) = workspace.engine.global_store().await? {
        apps.extend(app_views(global, AppScope::AllWorkspaces).await?);
    }
    Ok(AppListView { apps })
}

async fn app_views(store: &dyn Store, scope: AppScope) -> Result<Vec<AppView>> {
    Ok(store.apps().list().await?.into_iter().map(|registered| app_view(registered, scope)).collect())
}

fn app_view(registered: OAuthApp, scope: AppScope) -> AppView {
    AppView {
        connector: registered.connector,
        server: registered.server,
        client_id: registered.client.id,
        has_secret: registered.client.secret.is_some(),
        scope,
        updated_at: registered.updated_at.to_string(),
    }
}

/// The app to remove.
#[derive(Clone, Debug)]
pub struct RemoveAppRequest {
    pub connector: String,
    /// May be absent if there is only one.
    pub server: Option<String>,
    pub scope: AppScope,
}

/// Removes an app, and withdraws the sign-ins of this workspace that were begun with the connector and not finished.
/// Connections that were made with it keep a copy of its client of their own and go on working; the view names them.
pub async fn remove_app(workspace: &Workspace, request: RemoveAppRequest) -> Result<RemovedAppView> {
    let RemoveAppRequest { connector, server, scope } = request;
    let store = match scope {
        AppScope::AllWorkspaces => workspace.engine.global_store().await?,
        AppScope::Workspace => Some(workspace.store().await?),
    };
    let not_found = || AppNotFound { connector: connector.clone() };
    let store = store.ok_or_else(not_found)?;
    let apps = store.apps().for_connector(&connector).await?;
    let found = match (&server, apps.as_slice()) {
        (None, [only]) => only,
        (None, [_, ..]) => {
            let servers = apps.iter().filter_map(|registered| registered.server.clone()).collect();
            return Err(AmbiguousApp { connector, servers }.into());
        }
        _ => apps.iter().find(|registered| registered.server == server).ok_or_else(not_found)?,
    };
    store.apps().remove(&connector, found.server.as_deref()).await?;
    let mut connections = Vec::new();
    let mut withdrawn_sign_ins = 0;
    if workspace.has_vault() {
        let own = workspace.store().await?;
        withdrawn_sign_ins = own.sign_ins().withdraw(&connector).await?;
        for (connection, grant) in own.grants().list().await? {
            let is_of_app = grant.metadata.client_id.as_deref() == Some(&*found.client.id);
            if is_of_app && connection.name.connector() == connector {
                connections.push(connection.name);
            }
        }
    }
    Ok(RemovedAppView { server: found.server.clone(), connector, connections, withdrawn_sign_ins })
}

/// Returns every setting with its value.
pub fn show_settings(folders: &Folders) -> Result<SettingsView> {
    let settings = config::load(&folders.config_file())?;
    Ok(SettingsView { settings: setting_values(&settings, |_, value| value) })
}

/// Returns one setting.
pub fn get_setting(folders: &Folders, key: &str) -> Result<SettingView> {
    let key = config::find_key(key)?;
    let settings = config::load(&folders.config_file())?;
    Ok(SettingView { key: key.name, value: (key.get)(&settings) })
}

/// Returns where files are.
pub fn config_paths(folders: &Folders) -> ConfigPathsView {
    ConfigPathsView {
        config: folders.config_file().display().to_string(),
        workspaces: folders.workspaces().display().to_string(),
        identity: folders.identity().display().to_string(),
        connectors: folders.connectors().display().to_string(),
    }
}

/// Changes a setting.
pub fn set_setting(folders: &Folders, key: &str, value: &str) -> Result<()> {
    Ok(config::set(&folders.config_file(), key, value)?)
}

/// Resets a setting to its default, and returns whether it had another value.
pub fn unset_setting(folders: &Folders, key: &str) -> Result<bool> {
    Ok(config::unset(&folders.config_file(), key)?)
}

/// Returns information that is safe to paste into a bug report.
pub fn redacted_settings(folders: &Folders) -> Result<RedactedSettingsView> {
    // A command may name a file, a host or an account; a workspace is named by its user.
    const PRIVATE: [&str; 6] =
        ["vault.passphrase_command", "workspace", "http.allow", "notify.command", "notify.url", "notify.secret_file"];
    let redact = |key: &ConfigKey, value| if PRIVATE.contains(&key.name) { "(set)".to_owned() } else { value };
    let settings = config::load(&folders.config_file())?;
    Ok(RedactedSettingsView {
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        sqlite: sqlite_version(),
        settings: setting_values(&settings, redact),
    })
}

fn setting_values(settings: &Config, shown: impl Fn(&ConfigKey, String) -> String) -> Map<String, Value> {
    let value = |key: &ConfigKey| (key.get)(settings).map_or(Value::Null, |value| Value::String(shown(key, value)));
    KEYS.iter().map(|key| (key.name.to_owned(), value(key))).collect()
}
