//! `integ webhook listen`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use url::Url;

use super::super::api::parse_header;
use super::super::ui::Ui;
use super::listen_display::ListenDisplay;
use super::local_url::receiver_url;
use crate::error::{Kind, Result};
use crate::http::Route;
use crate::jq::Expression;
use crate::model::BindingName;
use crate::ops::bindings::event_mapper;
use crate::ops::webhooks;
use crate::runtime::Workspace;
use crate::webhook::handle::{EventSelection, Handlers, HandlingOrder, ReplyMode};
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
    /// Forward the exact request to a local URL (`3000`, `localhost:3000/hooks`) or an https URL
    #[arg(long, value_name = "URL", value_parser = receiver_url)]
    forward_to: Option<Url>,
    /// Add or replace a header of forwarded requests
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "forward_to")]
    headers: Vec<String>,
    /// Run a command for each event, without a shell, with the payload on stdin and the rest in INTEG_EVENT_* variables
    /// of up to 4096 bytes
    #[arg(long, value_name = "COMMAND", value_parser = command_without_shell)]
    exec: Option<String>,
    /// Append each event to a file, one JSON object per line
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
    /// Binding that maps events of its type: handlers get the mapped payload, and other events unchanged
    #[arg(long = "binding", value_name = "NAME", add = crate::cli::complete::bindings())]
    bindings: Vec<BindingName>,
    /// Apply events to synced records, or sync the stream that they are about
    #[arg(long)]
    sync: bool,
    /// Respond to every service with the response from --forward-to or the output of --exec, if it is in time (default:
    /// only for services that use it, such as Twilio and Slack commands)
    #[arg(long)]
    reply: bool,
    /// Never respond with a handler's response
    #[arg(long, conflicts_with = "reply")]
    no_reply: bool,
    /// Handle the events of each connection one by one, in the order of arrival; a failed event blocks the others
    #[arg(long)]
    ordered: bool,
    /// Poll services that log their deliveries, by default every 5 s; needs no tunnel
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "5s",
          value_parser = poll_interval)]
    poll: Option<Duration>,
    /// Only events of these types; `*` matches any text, as in 'charge.*' and '*.failed'
    #[arg(long, value_name = "TYPE", value_delimiter = ',', add = crate::cli::complete::webhook_events())]
    events: Vec<String>,
    /// Only events for which this jq expression is true
    #[arg(long, value_name = "JQ")]
    filter: Option<String>,
    /// URL that the services call, such as a tunnel's; stored for later
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Attempts before an event is dead
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// Print signing secrets in JSON and to pipes as well
    #[arg(long)]
    print_secret: bool,
}

/// Reads an interval of at least a second.
/// Refuses what only a shell understands: it would reach the program as arguments, and the event would count as handled.
fn command_without_shell(text: &str) -> Result<String, String> {
    let words = shlex::split(text).ok_or_else(|| "its quotes do not match".to_owned())?;
    let program = words.first().map(|word| word.rsplit('/').next().unwrap_or_default());
    if program.is_some_and(|program| ["sh", "bash", "dash", "fish", "ksh", "zsh"].contains(&program)) {
        return Ok(text.to_owned());
    }
    let is_operator = |word: &&String| {
        matches!(word.as_str(), "|" | "||" | "&&" | ";" | "&") || word.ends_with(';') || word.starts_with(['>', '<'])
    };
    match words.iter().find(is_operator) {
        Some(word) => Err(format!("no shell runs it, so {word:?} has no meaning; for a shell, write sh -c '…'")),
        None => Ok(text.to_owned()),
    }
}

fn poll_interval(text: &str) -> Result<Duration, String> {
    let interval = crate::duration::parse(text).filter(|interval| (1..=86_400).contains(&interval.as_secs()));
    interval.ok_or_else(|| format!("{text:?} is not an interval such as 5s or 1m"))
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: ListenArgs) -> Result<u8> {
    let names = args.connections.iter().map(|word| ui.project.resolve(word)).collect::<Result<Vec<_>, _>>()?;
    if let Some(url) = &args.forward_to {
        Route::Live.resolve(url)?;
    }
    let headers = args.headers.iter().map(|header| parse_header(header)).collect::<Result<Vec<_>, _>>()?;
    let filter = args.filter.as_deref().map(Expression::parse).transpose()?;
    let mut handlers = Handlers::new(&workspace.engine.config, EventSelection { types: args.events, filter });
    for name in &args.bindings {
        handlers.bindings.push(workspace.run(event_mapper(workspace, name))?);
    }
    handlers.exec = args.exec;
    handlers.forward = args.forward_to;
    handlers.append = args.append;
    handlers.sync = args.sync;
    handlers.forward_headers = headers.into();
    handlers.replies = match (args.reply, args.no_reply) {
        (true, _) => ReplyMode::All,
        (false, true) => ReplyMode::None,
        (false, false) => ReplyMode::Declared,
    };
    handlers.order = if args.ordered { HandlingOrder::Arrival } else { HandlingOrder::Unordered };
    let options = ListenOptions {
        connections: names,
        port: args.port,
        bind: args.bind,
        public_url: args.public_url,
        handlers: Arc::new(handlers),
        max_attempts: args.attempts,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_shell_understands_is_refused() {
        for command in ["./fail.sh > out", "echo a; exit 3", "jq . | head", "a && b", "'open"] {
            assert!(command_without_shell(command).is_err(), "{command}");
        }
        for command in ["./handle.sh", "jq '.data | $ENV.X'", "sh -c 'a; b > c'", "/bin/bash -c 'a;'"] {
            assert!(command_without_shell(command).is_ok(), "{command}");
        }
    }
}
