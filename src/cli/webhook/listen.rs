//! `integ webhook listen`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use url::Url;

use super::super::ui::Ui;
use super::listen_display::ListenDisplay;
use super::local_url::receiver_url;
use crate::error::{Kind, Result};
use crate::http::Route;
use crate::jq::Expression;
use crate::ops::webhooks;
use crate::runtime::Workspace;
use crate::webhook::handle::{EventSelection, Handlers};
use crate::webhook::listen::ListenOptions;
use crate::webhook::settings::DEFAULT_PORT;

/// Receive webhooks on this machine until Ctrl-C, and do something with each event
///
/// An event is answered for once it is in the store. With --sync, --exec, --forward-to or --append it is then handled, of each
/// connection in order; what fails is tried again, and what is left is handled at the next listen. In a terminal s shows
/// the newest event, r handles it again, 17s and 17r do so with event 17, and q quits.
#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// Connections to receive for (default: all)
    #[arg(add = crate::cli::complete::webhook_connections())]
    connections: Vec<String>,
    /// Port, 0 for any free port
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Listen on a further address of this machine, such as 0.0.0.0 in a container. Requests come unencrypted there
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Send the exact request on, to a URL of this machine (`3000`, `localhost:3000/hooks`) or an https one
    #[arg(long, value_name = "URL", value_parser = receiver_url)]
    forward_to: Option<Url>,
    /// Run a command for each event: its payload on stdin, the rest in INTEG_EVENT_* variables of 4096 bytes at most
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Write each event to a file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
    /// Apply events to synced records, or sync the stream that they are about
    #[arg(long)]
    sync: bool,
    /// Answer the service with what --forward-to answers, or --exec prints, if that comes in time: for Twilio's calls and
    /// Slack's commands
    #[arg(long)]
    reply: bool,
    /// Only events of these types; `*` stands for any text, as in 'charge.*' and '*.failed'
    #[arg(long, value_name = "TYPE", value_delimiter = ',', add = crate::cli::complete::webhook_events())]
    events: Vec<String>,
    /// Only events of which this jq expression holds
    #[arg(long, value_name = "JQ")]
    filter: Option<String>,
    /// What the services call, such as a tunnel's address; kept for later
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// How often an event is tried before it is dead
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// Print the secrets that services sign with
    #[arg(long)]
    print_secret: bool,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ListenArgs) -> Result<u8> {
    let names = args.connections.iter().map(|word| ui.project.resolve(word)).collect::<Result<Vec<_>, _>>()?;
    if let Some(url) = &args.forward_to {
        Route::Live.resolve(url)?;
    }
    let filter = args.filter.as_deref().map(Expression::parse).transpose()?;
    let mut handlers = Handlers::new(&workspace.engine.config, EventSelection { types: args.events, filter });
    handlers.exec = args.exec;
    handlers.forward = args.forward_to;
    handlers.append = args.append;
    handlers.sync = args.sync;
    handlers.returns_response = args.reply;
    let options = ListenOptions {
        connections: names,
        port: args.port,
        bind: args.bind,
        public_url: args.public_url,
        handlers: Arc::new(handlers),
        max_attempts: args.attempts,
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
