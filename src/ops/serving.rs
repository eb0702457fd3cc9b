//! What a server that offers the operations to others is started with. `main` gives the command line the server to start.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::runtime::Workspace;
use crate::view::listen::ListenEventView;
use crate::view::serving::ServingView;
use crate::webhook::handle::Handlers;

/// Why a server cannot start.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error("cannot listen on {address}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("cannot use the sockets that the service manager passed")]
    InheritedSocket { source: std::io::Error },
}

impl Remedy for ServeError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Bind { .. } => Diagnostic::new(Kind::Failed, "port_in_use")
                .hint(Hint::new("use any free port:", "integ serve --bind 127.0.0.1:0")),
            Self::InheritedSocket { .. } => Diagnostic::new(Kind::Failed, "inherited_socket")
                .hint(Hint::new("give the socket unit TCP addresses; see", "integ help serve")),
        }
    }
}

/// Returns the sockets that a server listens on, and the address of the first: those that the service manager passed to this
/// process (sd_listen_fds(3)), or one that is opened.
///
/// # Errors
/// [`ServeError`].
pub fn listen(address: SocketAddr) -> Result<(Vec<TcpListener>, SocketAddr), ServeError> {
    let inherited = inherited_sockets().map_err(|source| ServeError::InheritedSocket { source })?;
    let unusable = |source| ServeError::Bind { address, source };
    let listeners = match inherited {
        sockets if sockets.is_empty() => vec![TcpListener::bind(address).map_err(unusable)?],
        sockets => sockets,
    };
    let first = listeners.first().ok_or(std::io::ErrorKind::NotFound).map_err(|kind| unusable(kind.into()))?;
    let bound = first.local_addr().map_err(unusable)?;
    Ok((listeners, bound))
}

#[cfg(unix)]
fn inherited_sockets() -> std::io::Result<Vec<TcpListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let sockets = (0..passed.len()).map(|index| passed.take_tcp_listener(index));
    Ok(sockets.collect::<std::io::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

#[cfg(not(unix))]
fn inherited_sockets() -> std::io::Result<Vec<TcpListener>> {
    Ok(Vec::new())
}

/// How the operations are served. Where browsers and services reach the server is in the engine's settings.
#[derive(Debug)]
pub struct ServeRequest {
    pub listeners: Vec<TcpListener>,
    /// What handles the events that arrive.
    pub handlers: Arc<Handlers>,
    /// Attempts to handle an event before it is dead.
    pub max_attempts: u32,
}

/// Sees what a server does.
pub trait ServeObserver {
    /// The port is open.
    ///
    /// # Errors
    /// An error ends the server.
    fn started(&self, started: ServingView) -> Result<()>;

    /// A webhook was received, rejected or handled.
    fn happened(&self, event: ListenEventView);
}

/// A program that serves workspaces until it is stopped.
pub trait WorkspaceServer: Sync {
    /// Serves until the engine is asked to stop. What has begun is finished first.
    ///
    /// # Errors
    /// A port that cannot be used, and a damaged vault.
    fn serve<'a>(
        &'a self,
        workspaces: &'a [Arc<Workspace>],
        request: ServeRequest,
        observer: &'a dyn ServeObserver,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;
}

/// Opens the vault of a workspace that is to be served; creates it if there is none.
///
/// # Errors
/// The vault's.
pub async fn prepare(workspace: &Workspace) -> Result<()> {
    workspace.store_or_new().await?;
    Ok(())
}

/// Returns whether a workspace can be served now: its store takes writes.
///
/// # Errors
/// What keeps it from that.
pub async fn check_readiness(workspace: &Workspace) -> Result<()> {
    Ok(workspace.store().await?.ensure_writable().await?)
}

/// Returns a number that grows with what happens in a workspace: whether there may be something new to see.
///
/// # Errors
/// The vault's.
pub async fn store_activity(workspace: &Workspace) -> Result<u64> {
    Ok(workspace.store().await?.activity().await?)
}
