//! Operations on connectors.

mod draft;
mod installed;

use std::sync::Arc;

use url::Url;

pub use draft::{WriteDraftRequest, check_draft_id, discover_oauth2, write_draft};
pub use installed::{
    InstallFromUrlRequest, InstalledConnectorError, configure_installed, configured_params, install_connector_url,
    list_installed, remove_installed, review_connector_url, show_installed,
};

use super::{Effect, Operation, OperationScope, Reach};
use crate::api;
use crate::connector::{
    BUILT_IN, Connector, ConnectorSource, Descriptor, InstallCandidate, descriptor, search, setup, validate,
};
use crate::error::{Error, Result};
use crate::http::download;
use crate::runtime::Workspace;
use crate::task::blocking;
use crate::view::connector::{
    ActionDetailView, ConnectorDetailView, ConnectorFileView, ConnectorListView, ConnectorPartView,
    ConnectorRemovalView, ConnectorSummaryView, InstallReviewView, InstallView, SearchHitView, SearchResultsView,
    SetupGuideView, StreamDetailView, ValidationListView, ValidationView, format_word,
};

const fn operation(name: &'static str, effect: Effect, reach: Reach) -> Operation {
    Operation::local(name, OperationScope::Connectors, effect).reachable_by(reach)
}

/// The operations of this module. A connector decides where credentials are sent: only the owner adds connectors for all
/// workspaces, and callers of the API add some to their own workspace, with guarded hosts.
pub const OPERATIONS: &[Operation] = &[
    operation("connector list", Effect::Read, Reach::Agent),
    operation("connector show", Effect::Read, Reach::Agent),
    operation("connector descriptor", Effect::Read, Reach::Agent),
    operation("connector search", Effect::Read, Reach::Agent),
    operation("connector setup", Effect::Read, Reach::Agent),
    operation("connector validate", Effect::Read, Reach::Api),
    operation("connector new", Effect::Write, Reach::Local),
    operation("connector install", Effect::Write, Reach::Local),
    operation("connector remove", Effect::Destroy, Reach::Local),
    operation("connector review", Effect::Read, Reach::Api),
    operation("connector install-url", Effect::Write, Reach::Api),
    operation("connector installed", Effect::Read, Reach::Api),
    operation("connector configure", Effect::Write, Reach::Api),
    operation("connector uninstall", Effect::Destroy, Reach::Api),
];

/// Lists the connectors of a category, or all.
///
/// # Errors
/// None today; a connector that cannot be read is listed as invalid.
pub async fn list_connectors(workspace: &Workspace, category: Option<String>) -> Result<ConnectorListView> {
    let view = |(id, source): (String, ConnectorSource)| {
        let (name, category, description, auth) = match workspace.catalogue().get(&id) {
            Ok(connector) => {
                let auth = connector.auth.keys().cloned().collect();
                (connector.name.clone(), format_word(connector.category), connector.description.clone(), auth)
            }
            Err(error) => (id.clone(), "invalid".to_owned(), Error::from(error).message(), Vec::new()),
        };
        let replaces_built_in = source.replaces_built_in();
        ConnectorSummaryView { id, name, category, auth, description, source: source.as_str(), replaces_built_in }
    };
    let mut connectors: Vec<ConnectorSummaryView> = workspace.catalogue().ids().into_iter().map(view).collect();
    if let Some(category) = category {
        connectors.retain(|connector| connector.category == category);
    }
    Ok(ConnectorListView { connectors })
}

/// Describes a connector.
///
/// # Errors
/// Unknown connectors, and files that are invalid.
pub async fn show_connector(workspace: &Workspace, id: &str) -> Result<ConnectorDetailView> {
    let connector = workspace.catalogue().get(id)?;
    let (_, source) = workspace.catalogue().text(id)?;
    Ok(ConnectorDetailView::new(&connector, &source))
}

/// Returns the text of a connector's file.
///
/// # Errors
/// Unknown connectors.
pub async fn show_connector_file(workspace: &Workspace, id: &str) -> Result<ConnectorFileView> {
    let (text, source) = workspace.catalogue().text(id)?;
    Ok(ConnectorFileView { connector: id.to_owned(), source: source.as_str(), text })
}

/// Describes a stream of a connector, or the action of that name.
///
/// # Errors
/// [`api::ApiError::UnknownAction`] if it is neither, and those of [`show_connector`].
pub async fn show_connector_part(workspace: &Workspace, id: &str, name: &str) -> Result<ConnectorPartView> {
    let connector = workspace.catalogue().get(id)?;
    if let Some(stream) = connector.streams.get(name) {
        return Ok(ConnectorPartView::Stream(StreamDetailView::new(&connector, name, stream)));
    }
    let unknown = api::find_action(&connector, name).err();
    let actions = descriptor(&connector).actions;
    match (unknown, actions.into_iter().find(|action| action.name == name)) {
        (None, Some(action)) => {
            Ok(ConnectorPartView::Action(ActionDetailView { connector: connector.id.clone(), action }))
        }
        (Some(error), _) => Err(error.into()),
        (None, None) => {
            let (connector, action) = (connector.id.clone(), name.to_owned());
            Err(api::ApiError::UnknownAction { connector, action, suggestion: None }.into())
        }
    }
}

/// Returns the capabilities of a connector for other programs.
///
/// # Errors
/// Those of [`show_connector`].
pub async fn describe_connector(workspace: &Workspace, id: &str) -> Result<Descriptor> {
    let connector = workspace.catalogue().get(id)?;
    Ok(descriptor(&connector))
}

/// Finds the connectors that have all of these words.
///
/// # Errors
/// None today; connectors that cannot be read are named in the view.
pub async fn search_connectors(workspace: &Workspace, words: &[String]) -> Result<SearchResultsView> {
    let mut connectors: Vec<Arc<Connector>> = Vec::new();
    let mut skipped = Vec::new();
    for (id, _) in workspace.catalogue().ids() {
        match workspace.catalogue().get(&id) {
            Ok(connector) => connectors.push(connector),
            Err(error) => skipped.push((id, Error::from(error).message())),
        }
    }
    let connectors =
        search(connectors.iter().map(|connector| &**connector), words).iter().map(SearchHitView::new).collect();
    Ok(SearchResultsView { connectors, skipped })
}

/// A connector's file to validate.
#[derive(Clone, Debug)]
pub enum ValidateTarget {
    /// The text of a file, under the name that it is shown by.
    Text { name: String, text: String },
    /// A connector of the catalogue.
    Connector(String),
}

/// Finds every mistake in connector files, or in all connectors if none is named.
///
/// # Errors
/// Unknown connectors.
pub async fn validate_connectors(workspace: &Workspace, targets: Vec<ValidateTarget>) -> Result<ValidationListView> {
    let all = || workspace.catalogue().ids().into_iter().map(|(id, _)| ValidateTarget::Connector(id)).collect();
    let targets: Vec<ValidateTarget> = if targets.is_empty() { all() } else { targets };
    let mut files = Vec::new();
    for target in targets {
        let (name, text) = match target {
            ValidateTarget::Text { name, text } => (name, text),
            ValidateTarget::Connector(id) => {
                let (text, _) = workspace.catalogue().text(&id)?;
                (id, text)
            }
        };
        // A large or hostile file takes time, which others do not wait for.
        let found = blocking(move || validate(&text)).await;
        files.push(ValidationView::new(name, found));
    }
    Ok(ValidationListView { files })
}

/// Returns the setup steps at a service for an authentication method (default: the connector's first).
///
/// # Errors
/// Unknown connectors and authentication methods.
pub async fn setup_guide(workspace: &Workspace, id: &str, auth: Option<&str>) -> Result<SetupGuideView> {
    let connector = workspace.catalogue().get(id)?;
    let guide = setup(&connector, auth, workspace.engine.config.connect.port)?;
    Ok(SetupGuideView::new(&connector, guide))
}

/// Gets a document of at most `max_bytes`: a connector's file, or the description of an API.
///
/// # Errors
/// [`crate::http::HttpError`].
pub async fn download_document(workspace: &Workspace, url: &Url, max_bytes: usize) -> Result<Vec<u8>> {
    Ok(download(&workspace.engine.http, url, max_bytes).await?)
}

/// A connector to install.
#[derive(Debug)]
pub struct InstallConnectorRequest {
    pub candidate: InstallCandidate,
    /// Take the place of the connector of its id.
    pub replace: bool,
}

/// Returns what to know before trusting a connector.
///
/// # Errors
/// [`crate::connector::InstallError`] if it cannot be installed.
pub async fn review_install(workspace: &Workspace, request: &InstallConnectorRequest) -> Result<InstallReviewView> {
    let existing = workspace.catalogue().check_install(&request.candidate, request.replace)?;
    let connections = connections_of(workspace, &request.candidate.connector.id);
    Ok(InstallReviewView::new(&request.candidate, &existing, connections.await))
}

/// Installs a connector, which is trusted from then on.
///
/// # Errors
/// [`crate::connector::InstallError`].
pub async fn install_connector(workspace: &Workspace, request: InstallConnectorRequest) -> Result<InstallView> {
    let review = review_install(workspace, &request).await?;
    let (engine, InstallConnectorRequest { candidate, replace }) = (Arc::clone(&workspace.engine), request);
    let file = blocking(move || engine.catalogue.install(&candidate, replace, engine.clock.now())).await?;
    Ok(InstallView { connector: review.id.clone(), file: file.display().to_string(), review })
}

/// Returns the effects of removing an installed connector.
///
/// # Errors
/// [`crate::connector::InstallError`] if it cannot be removed.
pub async fn review_removal(workspace: &Workspace, id: &str) -> Result<ConnectorRemovalView> {
    if !workspace.catalogue().is_of_workspace(id) {
        workspace.catalogue().check_removable(id)?;
    }
    let restores_built_in = BUILT_IN.iter().any(|(known, _)| *known == id);
    Ok(ConnectorRemovalView {
        connector: id.to_owned(),
        restores_built_in,
        connections: connections_of(workspace, id).await,
    })
}

/// Removes an installed connector.
///
/// # Errors
/// [`crate::connector::InstallError`] if it cannot be removed.
pub async fn remove_connector(workspace: &Workspace, id: &str) -> Result<ConnectorRemovalView> {
    if workspace.catalogue().is_of_workspace(id) {
        let removed = remove_installed(workspace, id).await?;
        let connections = Some(Vec::new());
        return Ok(ConnectorRemovalView { connector: removed.connector, restores_built_in: false, connections });
    }
    let removal = review_removal(workspace, id).await?;
    let (engine, id) = (Arc::clone(&workspace.engine), id.to_owned());
    blocking(move || engine.catalogue.remove(&id)).await?;
    Ok(removal)
}

/// The connections of this workspace that use a connector; absent if the vault does not open.
async fn connections_of(workspace: &Workspace, connector: &str) -> Option<Vec<String>> {
    let names = workspace.connection_names().await.ok()?;
    Some(names.into_iter().filter(|name| name.connector() == connector).map(|name| name.to_string()).collect())
}
