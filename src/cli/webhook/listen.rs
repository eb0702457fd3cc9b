//! `integ webhook listen`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::super::ui::Ui;
use super::handlers::HandlerArgs;
use super::listen_display::ListenDisplay;
use crate::error::{Kind, Result};
use crate::ops::webhooks;
use crate::runtime::Workspace;
use crate::webhook::listen::ListenOptions;
use crate::webhook::settings::DEFAULT_PORT;

/// Receive webhooks until Ctrl-C, and pass each event on
///
/// Each event is stored before integ responds to the service. With --sync, --exec, --forward-to or --append it is then
/// handled. Events are handled in parallel, so a failure does not block others (--ordered keeps the order of arrival).
/// Failed events are retried; unfinished ones are handled by the next listen. In a terminal, s shows the newest event
/// with the handlers' responses, r handles it again, 17s and 17r do the same for event 17, and q quits.
///
/// In a terminal, the signing secret of each service is shown, for the app that you develop; other output contains it
/// only with --print-secret.
#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// Connections to receive for (default: all)
    #[arg(add = crate::cli::complete::webhook_connections())]
    connections: Vec<String>,
    /// Port, 0 for any free port
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Also listen on this address, such as 0.0.0.0 in a container; requests to it are not encrypted
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    #[command(flatten)]
    handling: HandlerArgs,
    /// Poll services that log their deliveries, by default every 5 s; needs no tunnel
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "5s",
          value_parser = poll_interval)]
    poll: Option<Duration>,
    /// URL that the services call, such as a tunnel's; stored for later
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Print signing secrets in JSON and to pipes as well
    #[arg(long)]
    print_secret: bool,
}

/// Reads an interval of at least a second.
fn poll_interval(text: &str) -> Result<Duration, String> {
    let interval = crate::duration::parse(text).filter(|interval| (1..=86_400).contains(&interval.as_secs()));
    interval.ok_or_else(|| format!("{text:?} is not an interval such as 5s or 1m"))
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ListenArgs) -> Result<u8> {
    let names = args.connections.iter().map(|word| ui.project.resolve(word)).collect::<Result<Vec<_>, _>>()?;
    let max_attempts = args.handling.attempts;
    let handlers = args.handling.handlers(workspace)?;
    let options = ListenOptions {
        connections: names,
        port: args.port,
        bind: args.bind,
        public_url: args.public_url,
        handlers: Arc::new(handlers),
        max_attempts,
        poll: args.poll,
        leaves_events_pending: false,
    };
    // What is being answered at the end is answered.
    workspace.run_to_end(async {
        let display = ListenDisplay::new(workspace, ui, !options.handlers.is_empty(), args.print_secret);
        let stopped = async {
            tokio::select! {
                () = workspace.engine.shutdown.requested() => {}
                () = display.handle_keys() => {}
            }
        };
        Box::pin(webhooks::listen(workspace, &options, &display, stopped)).await?;
        display.end();
        Ok(Kind::Interrupted.exit_code())
    })
}
