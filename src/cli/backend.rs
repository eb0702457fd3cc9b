//! Where the operations of a command run: in the store of this machine, or at a server that INTEG_SERVER names.

use std::ops::ControlFlow;
use std::path::Path;

use thiserror::Error;
use url::Url;

use super::client_secret::read_secret_file;
use super::ui::Ui;
use crate::config::{Config, Folders};
use crate::env;
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy, Result};
use crate::http::Response;
use crate::model::{ConnectionName, WorkspaceName};
use crate::notify::Notifier;
use crate::ops::calls::{self, CallActionRequest, CallPathRequest, ConnectionAction};
use crate::ops::connections::{self, StatusRequest, TestObserver, TestRequest};
use crate::ops::tokens::{self, CredentialVariablesRequest, TokenRequest};
use crate::remote::RemoteServer;
use crate::runtime::{Engine, EnvironmentConnections, Workspace};
use crate::secret::Secret;
use crate::view::call::{ActionListView, CallResultView, RequestPreviewView};
use crate::view::connection::{StatusView, TestListView};
use crate::view::token::{CredentialVariablesView, TokenHeadersView, TokenView};

/// The store of a workspace, or a server in its place.
pub(super) struct Backend {
    /// Runs the work. Its store is never opened if there is a server.
    pub workspace: Workspace,
    pub server: Option<RemoteServer>,
}

/// Why a command cannot use a server.
#[derive(Debug, Error)]
pub(super) enum ServerChoiceError {
    #[error("this command works on the local store only, but {named_by} names a server")]
    LocalOnly { named_by: &'static str },
    #[error("no API token for the server {server}")]
    NoToken { server: String },
    #[error("both {named_by} and {} name connections", variables.join(", "))]
    Ambiguous { named_by: &'static str, variables: Vec<String> },
    #[error("the API token belongs to one workspace, so that none can be named")]
    NamedWorkspace,
}

/// What names the server.
fn named_by() -> &'static str {
    if env::var_os(&env::SERVER).is_some() { env::SERVER.name } else { "--server" }
}

fn without(named_by: &'static str) -> Hint {
    match named_by {
        "--server" => Hint::text("leave out --server"),
        variable => Hint::run(format!("unset {variable}")),
    }
}

impl ServerChoiceError {
    /// The error of a command that uses the store of this machine.
    pub(super) fn local_only() -> Self {
        Self::LocalOnly { named_by: named_by() }
    }
}

impl Remedy for ServerChoiceError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::LocalOnly { named_by } => Diagnostic::new(Kind::Usage, "local_only").hint(without(named_by)),
            Self::NoToken { .. } => Diagnostic::new(Kind::AuthNeeded, "no_api_token").hint(Hint::new(
                "set INTEG_API_TOKEN, or INTEG_API_TOKEN_FILE to the path of a file; in a CI job:",
                "export INTEG_API_TOKEN=$(integ api-token login --oidc)",
            )),
            Self::Ambiguous { variables, .. } => {
                Diagnostic::new(Kind::Usage, "ambiguous_connections").run(format!("unset {}", variables.join(" ")))
            }
            Self::NamedWorkspace => Diagnostic::new(Kind::Usage, "workspace_of_token")
                .hint(Hint::text("leave out --workspace and INTEG_WORKSPACE; each workspace has tokens of its own")),
        }
    }
}

fn api_token(server: &Url) -> Result<Secret> {
    if let Some(token) = env::secret(&env::API_TOKEN) {
        return Ok(token);
    }
    match env::var(&env::API_TOKEN_FILE) {
        Some(path) => Ok(read_secret_file(&path)?),
        None => Err(ServerChoiceError::NoToken { server: server.as_str().trim_end_matches('/').to_owned() }.into()),
    }
}

impl Backend {
    /// Creates the backend of a server. No folder is needed: settings are read if they are there.
    ///
    /// # Errors
    /// [`ServerChoiceError`], a token that cannot be read, and settings that cannot be parsed.
    pub(super) fn at_server(url: Url, ui: &Ui, load: impl FnOnce(&Folders) -> Result<Config>) -> Result<Self> {
        if let Some(environment) = EnvironmentConnections::from_env()? {
            let variables = environment.variables().into_iter().map(str::to_owned).collect();
            return Err(ServerChoiceError::Ambiguous { named_by: named_by(), variables }.into());
        }
        let folders = Folders::from_env().unwrap_or_else(|_| Folders::absent());
        let config = load(&folders)?;
        let token = api_token(&url)?;
        let notifier = Box::new(Notifier::new(&config));
        let engine = Engine::new(folders, config, Box::new(ui.terminal()), notifier);
        let server = RemoteServer::new(url, token, &engine.config, engine.clock.clone())?;
        let workspace = Workspace::new(std::sync::Arc::new(engine), WorkspaceName::default());
        Ok(Self { workspace, server: Some(server) })
    }

    /// Returns where something was looked for, for messages: nothing for the default workspace.
    pub(super) fn note(&self) -> String {
        match &self.server {
            Some(server) => format!(" on the server {}", server.name()),
            None => self.workspace.workspace_note(),
        }
    }

    /// Returns a valid access token alone. One that is stored and valid needs no runtime.
    pub(super) fn access_token(&self, request: TokenRequest) -> Result<Secret> {
        if self.server.is_some() {
            return Ok(self.token(request)?.token);
        }
        match tokens::stored_token(&self.workspace, &request)? {
            Some(token) => Ok(token),
            None => self.workspace.run(tokens::access_token(&self.workspace, request)),
        }
    }

    pub(super) fn token(&self, request: TokenRequest) -> Result<TokenView> {
        match &self.server {
            Some(server) => self.workspace.run(async { Ok(server.token(&request).await?) }),
            None => self.workspace.run(tokens::token(&self.workspace, request)),
        }
    }

    pub(super) fn token_headers(&self, request: TokenRequest) -> Result<TokenHeadersView> {
        match &self.server {
            Some(server) => self.workspace.run(async { Ok(server.token_headers(&request).await?) }),
            None => self.workspace.run(tokens::token_headers(&self.workspace, request)),
        }
    }

    pub(super) fn id_token(&self, request: TokenRequest) -> Result<Secret> {
        match &self.server {
            Some(server) => self.workspace.run(async { Ok(server.id_token(&request).await?) }),
            None => self.workspace.run(tokens::id_token(&self.workspace, request)),
        }
    }

    /// Returns the variables of one connection's credential, beside those that are inherited.
    pub(super) fn token_variables(
        &self,
        request: TokenRequest,
        inherited: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<CredentialVariablesView> {
        match &self.server {
            Some(server) => self.workspace.run(server.token_variables(&request, &inherited)),
            None => self.workspace.run(tokens::token_variables(&self.workspace, request, inherited)),
        }
    }

    pub(super) fn credential_variables(&self, request: CredentialVariablesRequest) -> Result<CredentialVariablesView> {
        match &self.server {
            Some(server) => self.workspace.run(server.credential_variables(request)),
            None => self.workspace.run(tokens::credential_variables(&self.workspace, request)),
        }
    }

    /// Calls a path, and passes each page to `on_page` until that breaks.
    pub(super) fn call_path(
        &self,
        request: CallPathRequest,
        on_page: impl FnMut(&Response) -> Result<ControlFlow<()>> + Send,
    ) -> Result<()> {
        match &self.server {
            Some(server) => self.workspace.run(server.call_path(&request, on_page)),
            None => self.workspace.run(calls::call_path(&self.workspace, request, on_page)),
        }
    }

    pub(super) fn actions(&self, connection: ConnectionName) -> Result<ActionListView> {
        match &self.server {
            Some(server) => self.workspace.run(async { Ok(server.actions(&connection).await?) }),
            None => self.workspace.run(calls::list_actions(&self.workspace, connection)),
        }
    }

    pub(super) async fn action(&self, connection: ConnectionName, name: &str) -> Result<ConnectionAction> {
        match &self.server {
            Some(server) => Ok(server.action(&connection, name).await?),
            None => calls::find_action(&self.workspace, connection, name).await,
        }
    }

    /// Calls an action. What the service's rejection means comes beside the result.
    pub(super) async fn call_action(&self, request: CallActionRequest) -> Result<(CallResultView, Option<Error>)> {
        match &self.server {
            Some(server) => {
                let (result, refusal) = server.call_action(&request).await?;
                Ok((result, refusal.map(Error::from)))
            }
            None => {
                let mut result = calls::call_action(&self.workspace, request).await?;
                let refusal = result.refusal.take();
                Ok((result, refusal.map(Error::from)))
            }
        }
    }

    /// Returns the request of an action without sending it, and why the service would probably reject it.
    pub(super) async fn preview_action(
        &self,
        request: CallActionRequest,
    ) -> Result<(RequestPreviewView, Option<String>)> {
        match &self.server {
            Some(server) => {
                let (preview, warning) = server.preview_action(&request).await?;
                Ok((preview, warning.map(|warning| warning.to_string())))
            }
            None => {
                let preview = calls::preview_action(&self.workspace, request).await?;
                let warning = preview.warning.as_ref().map(ToString::to_string);
                Ok((preview, warning))
            }
        }
    }

    pub(super) fn status(&self, request: StatusRequest) -> Result<StatusView> {
        match &self.server {
            Some(server) => self.workspace.run(async { Ok(server.status(&request).await?) }),
            None => self.workspace.run(connections::status(&self.workspace, request)),
        }
    }

    pub(super) fn test(&self, request: TestRequest, observer: &dyn TestObserver) -> Result<TestListView> {
        match &self.server {
            Some(server) => self.workspace.run(async { Ok(server.test(request, observer).await?) }),
            None => self.workspace.run(connections::test(&self.workspace, request, observer)),
        }
    }

    /// Returns the file that chose the workspace, if one did.
    pub(super) fn chosen_by(&self) -> Option<&Path> {
        self.workspace.chosen_by.as_deref()
    }
}
