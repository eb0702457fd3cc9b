//! Operations that make remote MCP servers available to clients on this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Effect, Operation, OperationScope};
use crate::audit;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::mcp_client::proxy::{self, ClientChannel, ProxyEnd, ProxyOptions, ToolFilter};
use crate::mcp_settings::{ClientProgram, ServerEntry, SettingsEdit, SettingsScope, program, settings_file};
use crate::model::{ConnectionName, WorkspaceName};
use crate::runtime::Workspace;
use crate::view::mcp::ServerEntryView;

/// The operations of this module. A tool of a server may do anything.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("mcp proxy", OperationScope::Connections, Effect::Destroy),
    Operation::local("mcp install", OperationScope::Connections, Effect::Write),
    Operation::local("mcp uninstall", OperationScope::Connections, Effect::Write),
];

/// Relays a client's messages to the server of a connection until the client closes its end, or a stop is requested.
///
/// # Errors
/// Unknown connections, and those that are not MCP servers. What goes wrong later is answered to the client.
pub async fn relay(workspace: &Workspace, options: &ProxyOptions, client: ClientChannel) -> Result<ProxyEnd> {
    // What the client will ask for is not known yet.
    if workspace.has_vault() {
        if let Some(audit) = workspace.audit_entry() {
            audit.add_connection(&options.connection, None);
        }
        audit::before_service_write(workspace, Effect::Destroy).await?;
    }
    proxy::run(workspace, options, client, workspace.engine.shutdown.requested()).await
}

/// The settings of a client to add a server to.
#[derive(Clone, Debug)]
pub struct InstallRequest {
    pub client: ClientProgram,
    pub scope: SettingsScope,
    pub connection: ConnectionName,
    /// Name of the server in the client; derived from the connection if absent.
    pub name: Option<String>,
    /// Of a remote MCP server.
    pub tools: ToolFilter,
    /// What the client's agent may do beside reading, with a connection that is not an MCP server.
    pub allowed: BTreeSet<Effect>,
    /// The project, if its settings are edited.
    pub folder: PathBuf,
}

/// The settings of a client to remove a server from.
#[derive(Clone, Debug)]
pub struct UninstallRequest {
    pub client: ClientProgram,
    pub scope: SettingsScope,
    pub connection: ConnectionName,
    pub name: Option<String>,
    pub folder: PathBuf,
}

/// An edit that has been computed but not written.
#[derive(Clone, Debug)]
pub struct SettingsChange {
    pub edit: SettingsEdit,
    pub view: ServerEntryView,
}

/// Computes what [`apply_change`] writes so that a client starts the proxy of a connection that is an MCP server, or the
/// server of any other connection.
///
/// # Errors
/// Unknown connections, options that the kind of connection does not take, and settings that cannot be edited.
pub async fn preview_install(workspace: &Workspace, request: &InstallRequest) -> Result<SettingsChange> {
    let found = workspace.connection(&request.connection).await?;
    let is_remote = proxy::check(workspace, &request.connection).await.is_ok();
    let connection = found.name.clone();
    let args = match is_remote {
        true if !request.allowed.is_empty() => return Err(ClientInstallError::AllowOfServer(connection).into()),
        true => proxy_arguments(&workspace.name, &connection, &request.tools),
        false if !request.tools.is_empty() => return Err(ClientInstallError::ToolsOfActions(connection).into()),
        false => server_arguments(&workspace.name, &connection, &request.allowed),
    };
    let entry = ServerEntry {
        name: server_name(request.name.as_deref(), &request.connection),
        command: program(request.scope),
        args,
        env: match workspace.engine.folders.shared_root() {
            // A client starts its servers with an environment of its own.
            Some(home) if request.scope == SettingsScope::User => {
                vec![(crate::env::INTEG_HOME.name.to_owned(), home.to_string_lossy().into_owned())]
            }
            _ => Vec::new(),
        },
    };
    let path = settings_file(request.client, request.scope, &request.folder)?;
    let edit = SettingsEdit::install(request.client, &path, &entry)?;
    Ok(SettingsChange { view: view(request.client, &path, &edit, entry), edit })
}

/// Computes what [`apply_change`] writes so that a client no longer starts the proxy of a connection.
///
/// # Errors
/// Settings that cannot be edited.
pub fn preview_uninstall(request: &UninstallRequest) -> Result<SettingsChange> {
    let name = server_name(request.name.as_deref(), &request.connection);
    let path = settings_file(request.client, request.scope, &request.folder)?;
    let edit = SettingsEdit::uninstall(request.client, &path, &name)?;
    let entry = ServerEntry { name, command: String::new(), args: Vec::new(), env: Vec::new() };
    Ok(SettingsChange { view: view(request.client, &path, &edit, entry), edit })
}

/// Writes a change of settings, and returns its view.
///
/// # Errors
/// Settings that changed since, or that cannot be written.
pub fn apply_change(change: SettingsChange) -> Result<ServerEntryView> {
    if change.edit.is_change() {
        change.edit.apply()?;
    }
    Ok(ServerEntryView { is_written: change.edit.is_change(), ..change.view })
}

fn view(client: ClientProgram, path: &Path, edit: &SettingsEdit, entry: ServerEntry) -> ServerEntryView {
    ServerEntryView {
        client: client.as_str(),
        path: path.display().to_string(),
        name: entry.name,
        command: entry.command,
        args: entry.args,
        is_change: edit.is_change(),
        is_written: false,
    }
}

/// Returns a client's name for the server of a connection: `linear` for `mcp@linear`. Clients accept letters, digits,
/// `-` and `_`.
fn server_name(given: Option<&str>, connection: &ConnectionName) -> String {
    let name = given.or_else(|| connection.account()).unwrap_or_else(|| connection.connector());
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    name.chars().map(plain).collect()
}

/// Why a connection is not added to a client's settings.
#[derive(Debug, Error)]
pub enum ClientInstallError {
    #[error("{0} is a remote MCP server, whose tools say nothing reliable of what they do")]
    AllowOfServer(ConnectionName),
    #[error("{0} is not a remote MCP server: its tools are chosen by what they do")]
    ToolsOfActions(ConnectionName),
}

impl Remedy for ClientInstallError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::AllowOfServer(name) => Diagnostic::new(Kind::Usage, "invalid_options").hint(Hint::new(
                "choose tools by name:",
                format!("integ mcp install claude-code {name} --allow-tool 'get_*'"),
            )),
            Self::ToolsOfActions(name) => Diagnostic::new(Kind::Usage, "invalid_options").hint(Hint::new(
                "reading is always allowed:",
                format!("integ mcp install claude-code {name} --allow write"),
            )),
        }
    }
}

/// The words that begin a command in a workspace. The client may start it in any folder: a project's file there must not
/// choose another workspace.
fn workspace_arguments(workspace: &WorkspaceName) -> Vec<String> {
    if *workspace == WorkspaceName::default() { Vec::new() } else { vec!["-w".to_owned(), workspace.to_string()] }
}

fn server_arguments(workspace: &WorkspaceName, connection: &ConnectionName, allowed: &BTreeSet<Effect>) -> Vec<String> {
    let mut words = workspace_arguments(workspace);
    words.extend(["mcp".to_owned(), "serve".to_owned(), format!("--connection={connection}")]);
    words.extend(allowed.iter().map(|effect| format!("--allow={effect}")));
    words
}

fn proxy_arguments(workspace: &WorkspaceName, connection: &ConnectionName, tools: &ToolFilter) -> Vec<String> {
    let mut words = workspace_arguments(workspace);
    words.extend(["mcp".to_owned(), "proxy".to_owned(), connection.to_string()]);
    let flags = tools.allow.iter().map(|glob| ("--allow-tool", glob));
    let flags = flags.chain(tools.ignore.iter().map(|glob| ("--ignore-tool", glob)));
    words.extend(flags.map(|(flag, glob)| format!("{flag}={glob}")));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_after_its_connection() {
        let name = |text: &str| server_name(None, &text.parse().unwrap());
        assert_eq!((name("mcp@linear"), name("mcp"), name("mcp@a.b")), ("linear".into(), "mcp".into(), "a-b".into()));
        assert_eq!(server_name(Some("my server"), &"mcp".parse().unwrap()), "my-server");
    }

    #[test]
    fn a_proxy_keeps_its_workspace_and_filter() {
        let tools = ToolFilter { allow: vec!["get_*".to_owned()], ignore: vec!["-x".to_owned()] };
        let words = proxy_arguments(&"team".parse().unwrap(), &"mcp@x".parse().unwrap(), &tools);
        assert_eq!(words, ["-w", "team", "mcp", "proxy", "mcp@x", "--allow-tool=get_*", "--ignore-tool=-x"]);
        let plain = proxy_arguments(&WorkspaceName::default(), &"mcp".parse().unwrap(), &ToolFilter::default());
        assert_eq!(plain, ["mcp", "proxy", "mcp"]);
    }

    #[test]
    fn a_server_has_one_connection_and_its_effects() {
        let allowed = BTreeSet::from([Effect::Destroy, Effect::Write]);
        let words = server_arguments(&"team".parse().unwrap(), &"slack@x".parse().unwrap(), &allowed);
        assert_eq!(words, ["-w", "team", "mcp", "serve", "--connection=slack@x", "--allow=write", "--allow=destroy"]);
    }
}
