//! `integ webhook verify`.

use std::borrow::Cow;

use clap::Args;

use super::super::ui::{Render, Ui, escape};
use super::error::WebhookArgumentError;
use super::input::{connector, read};
use crate::cli::value_parser;
use crate::clock::Timestamp;
use crate::connector::SignatureCoverage;
use crate::error::{Kind, Result};
use crate::ops::webhooks::{self, VerifyRequest};
use crate::runtime::Workspace;
use crate::signing::request::WebhookRequest;
use crate::view::webhook::VerificationView;

/// Verify a captured request, and show which part of it is wrong
///
/// Give the request as one file (`--request`: the request line, headers, an empty line, the body), or as a URL, headers
/// and a body. The body must be the exact bytes that were received.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Connection that the request was sent to
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// The whole request, from a file, - for stdin
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["headers", "body"], required_unless_present = "headers")]
    request: Option<String>,
    /// URL that the service called (default: the connection's URL)
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Headers of the request, one per line
    #[arg(long, value_name = "FILE", requires = "body")]
    headers: Option<String>,
    /// Body of the request
    #[arg(long, value_name = "FILE|-", requires = "headers")]
    body: Option<String>,
    /// HTTP method of the request
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: String,
    /// Verify as of this time
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

impl Render for VerificationView {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = vec![match &self.message {
            None => "Accepted".to_owned(),
            Some(message) => format!("Rejected: {}", escape(message)),
        }];
        let width = self.checks.iter().map(|check| check.check.len()).max().unwrap_or_default();
        for check in &self.checks {
            lines.push(format!("  {:width$}  {}: {}", check.check, check.status, escape(&check.message)));
        }
        if let Some(words) = self.coverage.as_ref().map(SignatureCoverage::describe) {
            lines.push(format!("The signature covers {words}."));
        }
        if self.confirmed_later {
            lines.push("The service is asked before the event counts as verified.".to_owned());
        }
        for event in &self.events {
            let resource = event.resource.as_ref().map(|about| format!(" {about}")).unwrap_or_default();
            lines.push(escape(&format!("Event {}{resource} ({})", event.kind, event.delivery_id)));
        }
        lines.extend(self.hint.as_ref().map(|hint| format!("hint: {}", escape(hint))));
        lines.join("\n")
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &VerifyArgs) -> Result<u8> {
    let connection = ui.project.resolve(&args.connection)?;
    // An unknown connection is a better answer than an unreadable file.
    connector(workspace, &connection)?;
    let request = VerifyRequest {
        connection,
        request: captured(args)?,
        url: args.url.clone(),
        at: args.at.as_deref().map(|text| value_parser::time(workspace, text)).transpose()?,
    };
    let mut view = workspace.run(webhooks::verify_request(workspace, request))?;
    view.hint = view.stale_since.map(|at| command_at(&view.connection, args, at));
    ui.show(&view)?;
    Ok(if view.accepted { 0 } else { Kind::Failed.exit_code() })
}

fn captured(args: &VerifyArgs) -> Result<WebhookRequest, WebhookArgumentError> {
    match (&args.request, &args.headers, &args.body) {
        (Some(path), ..) => parse_request(&read(path)?),
        (None, Some(head), Some(body)) => Ok(WebhookRequest {
            method: args.method.to_ascii_uppercase(),
            url: String::new(),
            headers: parse_headers(&String::from_utf8_lossy(&read(head)?)),
            body: read(body)?,
        }),
        _ => Err(WebhookArgumentError::Request { text: String::new() }),
    }
}

/// The command that judges the same request as of the time when it was signed.
fn command_at(connection: &str, args: &VerifyArgs, at: Timestamp) -> String {
    let quoted = |text: &str| shlex::try_quote(text).map_or_else(|_| text.to_owned(), Cow::into_owned);
    let mut command = format!("integ webhook verify {connection}");
    let given = [("request", &args.request), ("url", &args.url), ("headers", &args.headers), ("body", &args.body)];
    for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        command.push_str(&format!(" --{name} {}", quoted(value)));
    }
    if args.method != "POST" {
        command.push_str(&format!(" --method {}", quoted(&args.method)));
    }
    format!("{command} --at {at}")
}

/// A request as it is on the wire; its body is every byte after the empty line.
fn parse_request(bytes: &[u8]) -> Result<WebhookRequest, WebhookArgumentError> {
    let ends =
        [&b"\r\n\r\n"[..], b"\n\n"].map(|end| (bytes.windows(end.len()).position(|window| window == end), end.len()));
    let end = ends.into_iter().filter_map(|(at, length)| Some((at?, length))).min();
    let (head, body) = match end {
        Some((at, length)) => (&bytes[..at], &bytes[at + length..]),
        None => (bytes, &b""[..]),
    };
    let head = String::from_utf8_lossy(head);
    let (first, rest) = head.split_once('\n').unwrap_or((&head, ""));
    let mut words = first.split_whitespace();
    let (Some(method), Some(url)) = (words.next(), words.next()) else {
        return Err(WebhookArgumentError::Request { text: first.trim().chars().take(60).collect() });
    };
    Ok(WebhookRequest {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: parse_headers(rest),
        body: body.to_vec(),
    })
}

fn parse_headers(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}
