//! `integ serve`.

use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::ui::Ui;
use super::value_parser::server_url;
use super::vault::new_identity::new_identity_note;
use super::webhook::handlers::HandlerArgs;
use crate::config::{LogFormat, ServeConfig};
use crate::error::{Kind, Result};
use crate::model::WorkspaceName;
use crate::ops::serving::{self, ServeObserver, ServeRequest, WorkspaceServer};
use crate::ops::workspaces::workspace_names;
use crate::runtime::Workspace;
use crate::view::listen::ListenEventView;
use crate::view::serving::ServingView;

/// Serve the HTTP API, receive webhooks and run the workers until Ctrl-C
///
/// The API is described at /docs and in /openapi.json. Its requests need a token: `integ api-token create`. While it runs,
/// tokens are refreshed before they expire, schedules run, messages are delivered, webhook subscriptions are renewed, and
/// old events are removed. Events that nothing handles stay pending.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address and port to listen on, port 0 for any free port (default: `serve.bind`, or 127.0.0.1:7420)
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<SocketAddr>,
    /// URL at which browsers and services reach the server (default: `serve.public_url`)
    #[arg(long, value_name = "URL", value_parser = server_url)]
    public_url: Option<Url>,
    /// How to write the log to stderr (default: `serve.log_format`, or text)
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormatArg>,
    /// Serve every workspace, not only this one
    #[arg(long)]
    all_workspaces: bool,
    #[command(flatten)]
    handling: HandlerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

impl From<LogFormatArg> for LogFormat {
    fn from(format: LogFormatArg) -> Self {
        match format {
            LogFormatArg::Text => Self::Text,
            LogFormatArg::Json => Self::Json,
        }
    }
}

/// Says where the server listens; with `--json`, prints what happens.
struct Display<'a> {
    ui: &'a Ui,
}

impl ServeObserver for Display<'_> {
    fn started(&self, started: ServingView) -> Result<()> {
        if self.ui.json {
            return Ok(self.ui.show_line(&json(&started))?);
        }
        self.ui.raw(&format!("Serving {} (documentation: {0}/docs)\n", started.url));
        Ok(())
    }

    fn happened(&self, event: ListenEventView) {
        if self.ui.json {
            // A reader that has left ends the command at its end.
            let _ = self.ui.show_line(&json(&event));
        }
    }
}

fn json(view: &impl Serialize) -> Value {
    serde_json::to_value(view).unwrap_or_default()
}

/// Returns how the log is written: as the arguments say, or else the settings.
pub(super) fn log_format(args: &ServeArgs, settings: &ServeConfig) -> LogFormat {
    args.log_format.map_or(settings.log_format, LogFormat::from)
}

/// Opens the port, or takes over the sockets of the service manager, and puts what the arguments say into the settings.
///
/// # Errors
/// A port or a socket that cannot be used.
pub(super) fn listen(args: &ServeArgs, settings: &mut ServeConfig) -> Result<Vec<TcpListener>> {
    let (listeners, address) = serving::listen(args.bind.unwrap_or(settings.bind))?;
    settings.bind = address;
    settings.public_url = args.public_url.clone().or_else(|| settings.public_url.take());
    Ok(listeners)
}

pub(super) fn run(
    workspace: Workspace,
    ui: &Ui,
    args: ServeArgs,
    listeners: Vec<TcpListener>,
    server: &dyn WorkspaceServer,
) -> Result<u8> {
    let request = ServeRequest {
        listeners,
        max_attempts: args.handling.attempts,
        handlers: Arc::new(args.handling.handlers(&workspace)?),
    };
    workspace.run(serving::prepare(&workspace))?;
    if let Some(location) = workspace.new_identity_location() {
        ui.note(&new_identity_note(&workspace, location));
    }
    let engine = Arc::clone(&workspace.engine);
    let first = Arc::new(workspace);
    let mut workspaces = vec![Arc::clone(&first)];
    if args.all_workspaces {
        for name in workspace_names(&engine.folders) {
            let name = WorkspaceName::from_str(&name)?;
            if name != first.name {
                workspaces.push(Arc::new(Workspace::new(Arc::clone(&engine), name)));
            }
        }
    }
    let display = Display { ui };
    first.run_to_end(server.serve(&workspaces, request, &display))?;
    Ok(Kind::Interrupted.exit_code())
}
