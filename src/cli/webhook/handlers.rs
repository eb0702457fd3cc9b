//! What handles the events that are received, as arguments of `integ webhook listen` and `integ serve`.

use std::path::PathBuf;

use clap::Args;
use url::Url;

use super::super::api::parse_header;
use super::local_url::receiver_url;
use crate::error::Result;
use crate::http::Route;
use crate::jq::Expression;
use crate::model::BindingName;
use crate::ops::bindings::event_mapper;
use crate::runtime::Workspace;
use crate::webhook::handle::{EventSelection, Handlers, HandlingOrder, ReplyMode};

/// What handles events.
#[derive(Debug, Args)]
pub(in crate::cli) struct HandlerArgs {
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
    /// Only events of these types; `*` matches any text, as in 'charge.*' and '*.failed'
    #[arg(long, value_name = "TYPE", value_delimiter = ',', add = crate::cli::complete::webhook_events())]
    events: Vec<String>,
    /// Only events for which this jq expression is true
    #[arg(long, value_name = "JQ")]
    filter: Option<String>,
    /// Attempts before an event is dead
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) attempts: u32,
}

impl HandlerArgs {
    /// Returns the handlers that the arguments name.
    ///
    /// # Errors
    /// A URL, header, expression or binding that cannot be used.
    pub(in crate::cli) fn handlers(self, workspace: &Workspace) -> Result<Handlers> {
        if let Some(url) = &self.forward_to {
            Route::Live.resolve(url)?;
        }
        let headers = self.headers.iter().map(|header| parse_header(header)).collect::<Result<Vec<_>, _>>()?;
        let filter = self.filter.as_deref().map(Expression::parse).transpose()?;
        let mut handlers = Handlers::new(&workspace.engine.config, EventSelection { types: self.events, filter });
        for name in &self.bindings {
            handlers.bindings.push(workspace.run(event_mapper(workspace, name))?);
        }
        handlers.exec = self.exec;
        handlers.forward = self.forward_to;
        handlers.append = self.append;
        handlers.sync = self.sync;
        handlers.forward_headers = headers.into();
        handlers.replies = match (self.reply, self.no_reply) {
            (true, _) => ReplyMode::All,
            (false, true) => ReplyMode::None,
            (false, false) => ReplyMode::Declared,
        };
        handlers.order = if self.ordered { HandlingOrder::Arrival } else { HandlingOrder::Unordered };
        Ok(handlers)
    }
}

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
