//! Connectors that callers of the API install in their workspace, by URL and in two steps: the first returns what the file
//! can do and its digest, the second installs the file of that digest.
//!
//! A connector decides where credentials are sent. What the machine has is therefore never replaced, and neither is a
//! connector that has connections; hosts of connections that are made with it are guarded, as those of parameters are.

use std::collections::BTreeMap;

use thiserror::Error;
use url::Url;

use super::connections_of;
use crate::connector::{Connector, InstallCandidate};
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy, Result};
use crate::http::egress::EgressGuard;
use crate::http::{Client, DownloadError, download};
use crate::model::{InstalledConnector, UserId};
use crate::runtime::Workspace;
use crate::task::blocking;
use crate::view::connector::{AuthParamView, InstallReviewView};
use crate::view::installed_connector::{InstalledConnectorListView, InstalledConnectorView, RemovedConnectorView};

/// Why a connector of a workspace cannot be installed, changed or removed.
#[derive(Debug, Error)]
pub enum InstalledConnectorError {
    #[error("connector {connector:?} is not installed in this workspace")]
    NotInstalled { connector: String },
    /// The names of connections that the caller may not see are not said.
    #[error("connector {connector} has connections: {}", named(connections, *.others))]
    InUse { connector: String, connections: Vec<String>, others: usize },
    #[error("this workspace has an app for {connector}, whose secret would get another receiver")]
    HasApp { connector: String },
    #[error("cannot download the connector")]
    NotDownloaded(#[source] DownloadError),
    #[error("this workspace has its {limit} connectors already")]
    TooMany { limit: u32 },
    #[error("connector {connector} has no parameter {name:?} that can be configured")]
    UnknownParameter { connector: String, name: String },
}

fn named(connections: &[String], others: usize) -> String {
    match (connections, others) {
        (_, 0) => connections.join(", "),
        ([], _) => format!("{others} that you may not see"),
        _ => format!("{} and {others} that you may not see", connections.join(", ")),
    }
}

impl Remedy for InstalledConnectorError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NotInstalled { .. } => {
                Diagnostic::new(Kind::NotFound, "connector_not_installed").run("integ connector list")
            }
            Self::InUse { connections, .. } => Diagnostic::new(Kind::Conflict, "connector_in_use").maybe_hint(
                connections.first().map(|name| Hint::new("disconnect them first:", format!("integ disconnect {name}"))),
            ),
            Self::HasApp { connector } => Diagnostic::new(Kind::Conflict, "connector_has_app")
                .hint(Hint::new("the owner can remove it:", format!("integ app remove {connector}"))),
            Self::NotDownloaded(_) => Diagnostic::new(Kind::Rejected, "download_failed"),
            Self::TooMany { .. } => Diagnostic::new(Kind::Conflict, "too_many_connectors").hint(Hint::new(
                "the owner of the server can raise the limit:",
                "integ config get connectors.max_per_workspace",
            )),
            Self::UnknownParameter { connector, .. } => {
                Diagnostic::new(Kind::Usage, "unknown_param").run(format!("integ connector show {connector}"))
            }
        }
    }
}

/// Gets a connector's file from a caller's URL: of a host that the egress guard allows, and no larger than the settings allow.
async fn candidate(workspace: &Workspace, url: &Url, sha256: Option<&str>) -> Result<InstallCandidate> {
    let config = &workspace.engine.config;
    let http = Client::guarded(config.http.timeout, EgressGuard::new(&config.http.allow));
    let bytes =
        download(&http, url, config.connectors.max_size).await.map_err(|error| match error.diagnostic().kind {
            // Trouble at the URL of the caller's choice is none of this server.
            Kind::Temporary => Error::from(InstalledConnectorError::NotDownloaded(error)),
            _ => error.into(),
        })?;
    // The query may hold a token.
    let mut shown = url.clone();
    shown.set_query(None);
    Ok(InstallCandidate::validate(bytes, shown.as_str(), None, sha256)?)
}

/// Refuses what would leave connections without their connector, or give their credentials to another one.
async fn check_unused(workspace: &Workspace, connector: &str) -> Result<()> {
    let all = workspace.store().await?.connections().names().await?;
    let all = all.iter().filter(|name| name.connector() == connector).count();
    if all == 0 {
        return Ok(());
    }
    let connections = connections_of(workspace, connector).await.unwrap_or_default();
    let others = all - connections.len().min(all);
    Err(InstalledConnectorError::InUse { connector: connector.to_owned(), connections, others }.into())
}

/// Refuses to take the place of a connector that is in use, or of one that the machine has.
async fn check_installable(workspace: &Workspace, candidate: &InstallCandidate) -> Result<InstallReviewView> {
    let id = &candidate.connector.id;
    let existing = workspace.catalogue().check_install(candidate, false)?;
    let installed = workspace.store().await?.installed_connectors().get(id).await?;
    if installed.is_none_or(|installed| installed.sha256 != candidate.sha256) {
        check_unused(workspace, id).await?;
        if !workspace.store().await?.apps().for_connector(id).await?.is_empty() {
            return Err(InstalledConnectorError::HasApp { connector: id.clone() }.into());
        }
    }
    Ok(InstallReviewView::new(candidate, &existing, connections_of(workspace, id).await))
}

/// Returns what a connector's file at a URL can do, and its digest. Nothing is stored.
///
/// # Errors
/// What keeps the file from being installed.
pub async fn review_connector_url(workspace: &Workspace, url: &Url) -> Result<InstallReviewView> {
    check_installable(workspace, &candidate(workspace, url, None).await?).await
}

/// A connector to install from a URL.
#[derive(Debug)]
pub struct InstallFromUrlRequest {
    pub url: Url,
    /// The digest of the file that was reviewed, in hexadecimal.
    pub sha256: String,
    pub configuration: BTreeMap<String, String>,
    /// The id of the API token, or the name of the operator.
    pub installed_by: String,
    pub user: Option<UserId>,
}

/// Installs the file that was reviewed in this workspace.
///
/// # Errors
/// [`InstalledConnectorError`]; [`crate::connector::InstallError`], also if the URL has another file now.
pub async fn install_connector_url(
    workspace: &Workspace,
    request: InstallFromUrlRequest,
) -> Result<InstalledConnectorView> {
    let candidate = candidate(workspace, &request.url, Some(&request.sha256)).await?;
    check_installable(workspace, &candidate).await?;
    check_configuration(&candidate.connector, &request.configuration)?;
    let row = InstalledConnector {
        connector: candidate.connector.id.clone(),
        sha256: candidate.sha256.clone(),
        source: candidate.source.clone(),
        installed_at: workspace.clock.now(),
        installed_by: request.installed_by,
        user: request.user,
        configuration: request.configuration,
    };
    let limit = workspace.engine.config.connectors.max_per_workspace;
    let rows = workspace.store().await?.installed_connectors();
    let before = rows.get(&row.connector).await?;
    if !rows.add(&row, limit).await? {
        return Err(InstalledConnectorError::TooMany { limit }.into());
    }
    let (catalogue, now) = (workspace.catalogue(), row.installed_at);
    if let Err(error) = blocking(move || catalogue.install_in_workspace(&candidate, now)).await {
        // The row names what is in effect.
        match before {
            Some(before) => drop(rows.add(&before, limit).await?),
            None => drop(rows.remove(&row.connector).await?),
        }
        return Err(error.into());
    }
    view(workspace, row).await
}

/// Checks that a configuration names parameters of a connector. Their values are checked when an account is connected.
fn check_configuration(
    connector: &Connector,
    configuration: &BTreeMap<String, String>,
) -> Result<(), InstalledConnectorError> {
    let is_known =
        |name: &str| connector.auth.values().any(|auth| connector.params(auth).any(|(known, _)| known == name));
    match configuration.keys().find(|name| !is_known(name)) {
        Some(name) => {
            Err(InstalledConnectorError::UnknownParameter { connector: connector.id.clone(), name: name.clone() })
        }
        None => Ok(()),
    }
}

/// Returns the connectors that were installed in this workspace, in the order of their ids.
pub async fn list_installed(workspace: &Workspace) -> Result<InstalledConnectorListView> {
    let mut connectors = Vec::new();
    for row in workspace.store().await?.installed_connectors().list().await? {
        connectors.push(view(workspace, row).await?);
    }
    Ok(InstalledConnectorListView { connectors })
}

/// Returns a connector that was installed in this workspace.
///
/// # Errors
/// [`InstalledConnectorError::NotInstalled`].
pub async fn show_installed(workspace: &Workspace, connector: &str) -> Result<InstalledConnectorView> {
    view(workspace, find(workspace, connector).await?).await
}

/// Replaces the configuration of a connector that was installed in this workspace.
///
/// # Errors
/// [`InstalledConnectorError`].
pub async fn configure_installed(
    workspace: &Workspace,
    connector: &str,
    configuration: BTreeMap<String, String>,
) -> Result<InstalledConnectorView> {
    let row = find(workspace, connector).await?;
    check_configuration(&*workspace.catalogue().get(connector)?, &configuration)?;
    workspace.store().await?.installed_connectors().configure(connector, &configuration).await?;
    view(workspace, InstalledConnector { configuration, ..row }).await
}

/// Removes a connector from this workspace.
///
/// # Errors
/// [`InstalledConnectorError::InUse`] names its connections, which would not work without it.
pub async fn remove_installed(workspace: &Workspace, connector: &str) -> Result<RemovedConnectorView> {
    let row = find(workspace, connector).await?;
    check_unused(workspace, connector).await?;
    // The row first: its commit records the operation.
    let rows = workspace.store().await?.installed_connectors();
    rows.remove(&row.connector).await?;
    let (catalogue, id) = (workspace.catalogue(), row.connector.clone());
    if let Err(error) = blocking(move || catalogue.remove_from_workspace(&id)).await {
        rows.add(&row, u32::MAX).await?;
        return Err(error.into());
    }
    Ok(RemovedConnectorView { connector: row.connector, sha256: row.sha256 })
}

/// Returns the configured values of a connector's parameters, over which those that a caller gives count.
///
/// # Errors
/// The store's.
pub async fn configured_params(
    workspace: &Workspace,
    connector: &str,
    given: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    if !workspace.catalogue().is_of_workspace(connector) {
        return Ok(given);
    }
    let row = workspace.store().await?.installed_connectors().get(connector).await?;
    let mut params = row.map(|row| row.configuration).unwrap_or_default();
    params.extend(given);
    Ok(params)
}

async fn find(workspace: &Workspace, connector: &str) -> Result<InstalledConnector> {
    let found = workspace.store().await?.installed_connectors().get(connector).await?;
    Ok(found.ok_or_else(|| InstalledConnectorError::NotInstalled { connector: connector.to_owned() })?)
}

/// The last error is that of the file itself, or the newest of a connection.
async fn view(workspace: &Workspace, row: InstalledConnector) -> Result<InstalledConnectorView> {
    let connections = workspace.connections().await?;
    let own = connections.iter().filter(|connection| connection.name.connector() == row.connector);
    let catalogue = workspace.catalogue();
    let loaded = catalogue.is_of_workspace(&row.connector).then(|| catalogue.get(&row.connector));
    let (parameters, of_file) = match loaded {
        Some(Ok(connector)) => (parameters(&connector), None),
        Some(Err(error)) => (Vec::new(), Some(Error::from(error).on_one_line())),
        None => (Vec::new(), Some("its file is missing, or the machine has a connector of this id".to_owned())),
    };
    let of_connection = || own.clone().filter_map(|connection| connection.last_error.clone()).next_back();
    Ok(InstalledConnectorView {
        last_error: of_file.or_else(of_connection),
        connections: own.clone().map(|connection| connection.name.clone()).collect(),
        connector: row.connector,
        sha256: row.sha256,
        source: row.source,
        installed_at: row.installed_at,
        installed_by: row.installed_by,
        user: row.user,
        configuration: row.configuration,
        parameters,
    })
}

/// Returns the parameters of all authentication methods, in the order of their names.
fn parameters(connector: &Connector) -> Vec<AuthParamView> {
    let all: BTreeMap<_, _> = connector.auth.values().flat_map(|auth| connector.params(auth)).collect();
    all.into_iter().map(|(name, param)| AuthParamView::new(name, param)).collect()
}
