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

/// Receive webhooks on this machine until Ctrl-C, and do something with each event
///
/// An event is stored before the service is answered. With --sync, --exec,
/// --forward-to or --append it is then handled: several at once, so that one
/// that fails holds up no other (--ordered keeps the order of arrival). What
/// fails is tried again, and what is left is handled at the next listen. In a
/// terminal s shows the newest event with what handlers answered, r handles it
/// again, 17s and 17r do so with event 17, and q quits.
///
/// A terminal shows the secret that each service signs with, for the app that
/// you develop; in other output it is left out unless --print-secret asks for
/// it.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
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
    /// Add a header to requests that are sent on, in place of one of that name
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "forward_to")]
    headers: Vec<String>,
    /// Run a command for each event, without a shell: its payload on stdin, the rest in INTEG_EVENT_* variables of 4096 bytes
    /// at most
    #[arg(long, value_name = "COMMAND", value_parser = command_without_shell)]
    exec: Option<String>,
    /// Write each event to a file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
    /// Binding that maps events of its type; handlers get what it makes of the payload, and other events as they came
    #[arg(long = "binding", value_name = "NAME", add = crate::cli::complete::bindings())]
    bindings: Vec<BindingName>,
    /// Apply events to synced records, or sync the stream that they are about
    #[arg(long)]
    sync: bool,
    /// Answer every service with what --forward-to answers, or --exec prints, if that comes in time (default: services that act
    /// on it, such as Twilio and Slack's commands)
    #[arg(long)]
    reply: bool,
    /// Answer no service with what a handler answers
    #[arg(long, conflicts_with = "reply")]
    no_reply: bool,
    /// Handle the events of each connection one after another, in the order of arrival: one that fails holds up the others
    #[arg(long)]
    ordered: bool,
    /// Ask services that log their deliveries for new events, every 5 s or as said: no tunnel is needed
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = true, default_missing_value = "5s",
          value_parser = poll_interval)]
    poll: Option<Duration>,
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
    /// Print the secrets that services sign with, also in JSON and to a pipe
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
