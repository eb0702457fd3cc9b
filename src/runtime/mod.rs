//! The runtime of operations: one [`Engine`] per process, one [`Workspace`] per tenant.
//!
//! Each part is created on first use: a command that reads one token opens one store, parses no connector and starts no
//! runtime.

mod emulators;
mod engine;
mod environment;
mod lock;
mod metrics;
mod notify;
mod open_store;
mod routes;
mod sandbox_pages;
mod session;
mod shutdown;
pub mod worker;
mod workspace;

use std::io;

use thiserror::Error;

pub use emulators::update_sandbox_state;
pub use engine::Engine;
pub use environment::{EnvironmentConnections, EnvironmentError};
pub use lock::LockGuard;
pub use metrics::{Activity, CallCounters, Counters, LATENCY_BOUNDS_MS, LatencyHistogram, ProcessMetrics, StatusClass};
pub use notify::{BoxFuture, Notify};
pub use open_store::OpenStore;
pub use routes::{ParamSource, live_route, route_to};
pub use session::{Session, SessionError, template_values};
pub use shutdown::{Shutdown, ShutdownHold};
pub use workspace::Workspace;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::http;
use crate::model::ConnectionName;

/// Errors of missing connections, vaults and runtimes.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// `place` is as [`Workspace::workspace_note`] says it.
    #[error("connection \"{name}\" not found{workspace_note}")]
    ConnectionNotFound {
        name: ConnectionName,
        workspace_note: String,
        suggestion: Option<String>,
        connect: Option<String>,
        /// An `integ exec` around this process may have the connection, and did not pass it on.
        is_inside_exec: bool,
    },
    #[error("cannot start the runtime")]
    Runtime { source: std::io::Error },
    #[error("cannot start the sandbox")]
    Sandbox { source: std::io::Error },
    #[error("cannot write the sandbox's state of {connector}")]
    SandboxState { connector: String, source: serde_json::Error },
    #[error("the workspace has no vault on this machine")]
    NoVault,
    #[error("interrupted")]
    Interrupted,
    #[error("cannot start the sandbox")]
    PortInUse { source: http::loopback::BindError },
}

impl Remedy for RuntimeError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::ConnectionNotFound { name, is_inside_exec: true, suggestion: None, .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_connection").connection(name).hint(Hint::new(
                    "`integ exec` passes its own connections on only if asked to:",
                    format!("integ exec --inherit {name} -- COMMAND"),
                ))
            }
            Self::ConnectionNotFound { name, suggestion: likely, connect, .. } => {
                Diagnostic::new(Kind::NotFound, "unknown_connection").connection(name).hint(match (likely, connect) {
                    (Some(likely), _) => {
                        Hint::new(format!("did you mean {likely}? list the connections:"), "integ status")
                    }
                    (None, Some(connect)) => Hint::run(connect),
                    (None, None) => Hint::new("list the connections:", "integ status"),
                })
            }
            Self::Runtime { .. } => {
                Diagnostic::new(Kind::Failed, "runtime").maybe_hint(cfg!(unix).then(|| Hint::run("ulimit -n 256")))
            }
            Self::Sandbox { .. } => Diagnostic::new(Kind::Failed, "sandbox"),
            Self::SandboxState { connector, .. } => {
                Diagnostic::new(Kind::Failed, "sandbox_state").run(format!("integ sandbox reset {connector}"))
            }
            Self::NoVault => Diagnostic::new(Kind::Usage, "no_vault"),
            Self::Interrupted => Diagnostic::new(Kind::Interrupted, "interrupted"),
            Self::PortInUse { .. } => {
                Diagnostic::new(Kind::Failed, "port_in_use").hint(Hint::text("leave out `--port` to use a free port"))
            }
        }
    }
}

/// Starts a single-threaded runtime for network access.
///
/// # Errors
/// The I/O error, also where too few file descriptors are left: tokio panics if it cannot make the sockets of its signal
/// handler, so that they are tried out first.
pub fn new_runtime() -> io::Result<tokio::runtime::Runtime> {
    #[cfg(unix)]
    {
        // Six for the runtime itself (epoll and its waker, twice, and the handler's pair), and a connection.
        const PAIRS: usize = 4;
        let spare: Vec<_> = (0..PAIRS).map(|_| std::os::unix::net::UnixStream::pair()).collect::<io::Result<_>>()?;
        drop(spare);
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
