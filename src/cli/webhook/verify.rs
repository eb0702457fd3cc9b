//! `integ webhook verify`.

use std::borrow::Cow;

use clap::Args;
use serde::Serialize;

use super::super::ui::{Ui, View, escape};
use super::{WebhookArgumentError, read};
use crate::clock::Timestamp;
use crate::connector::{SignatureCoverage, SignedPart};
use crate::error::{Kind, Result};
use crate::runtime::App;
use crate::signing::request::WebhookRequest;
use crate::signing::verify::VerifyError;
use crate::webhook::explain::{VerificationReport, explain};
use crate::webhook::settings::{DEFAULT_PORT, WebhookSettings};

/// Say whether a captured request is the service's, and if not, which part of it is wrong
///
/// The request comes as one file (`--request`: the first line, headers, an empty line, the body), or as a URL, headers and a
/// body. A body must be the exact bytes.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[arg(add = crate::cli::complete::webhook_connections())]
    connection: String,
    /// The whole request as it came, from a file, or from stdin with -
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["headers", "body"], required_unless_present = "headers")]
    request: Option<String>,
    /// What the service called; the connection's own URL where not said
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Its headers, one a line
    #[arg(long, value_name = "FILE", requires = "body")]
    headers: Option<String>,
    /// Its body
    #[arg(long, value_name = "FILE|-", requires = "headers")]
    body: Option<String>,
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: String,
    /// Judge as if it were this time
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

#[derive(Serialize)]
struct VerificationCheckView {
    part: &'static str,
    state: &'static str,
    says: String,
}

#[derive(Serialize)]
struct ParsedEventView {
    #[serde(rename = "type")]
    kind: String,
    delivery_id: String,
    resource: Option<String>,
}

#[derive(Serialize)]
struct VerificationView {
    connection: String,
    accepted: bool,
    reason: Option<&'static str>,
    message: Option<String>,
    parts: Vec<VerificationCheckView>,
    /// The parts of the event that the signature covers; absent where there is none.
    covers: Option<Vec<SignedPart>>,
    /// Whether the service is asked before the event counts as verified.
    confirmed_later: bool,
    /// What to run to judge a request that is right and old.
    hint: Option<String>,
    #[serde(skip)]
    covers_words: Option<String>,
    events: Vec<ParsedEventView>,
}

impl View for VerificationView {
    fn text(&self, _ui: &Ui) -> String {
        let mut lines = vec![match &self.message {
            None => "Accepted".to_owned(),
            Some(message) => format!("Refused: {}", escape(message)),
        }];
        let width = self.parts.iter().map(|part| part.part.len()).max().unwrap_or_default();
        for part in &self.parts {
            lines.push(format!("  {:width$}  {}: {}", part.part, part.state, escape(&part.says)));
        }
        if let Some(words) = &self.covers_words {
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

pub(super) fn run(app: &App, ui: &Ui, args: &VerifyArgs) -> Result<u8> {
    let name = ui.project.resolve(&args.connection)?;
    let setup = WebhookSettings::load(app, &name)?;
    let own = setup.url(setup.stored.port.unwrap_or(DEFAULT_PORT))?;
    let mut request = match (&args.request, &args.headers, &args.body) {
        (Some(path), ..) => whole(&read(path)?)?,
        (None, Some(head), Some(body)) => WebhookRequest {
            method: args.method.to_ascii_uppercase(),
            url: String::new(),
            headers: headers(&String::from_utf8_lossy(&read(head)?)),
            body: read(body)?,
        },
        _ => return Err(WebhookArgumentError::Request { text: String::new() }.into()),
    };
    // What stands in a request is its path; what was called is known from elsewhere.
    request.url = match &args.url {
        Some(url) => url.clone(),
        None => match request.url.split_once('?') {
            Some((_, query)) => format!("{own}?{query}"),
            None => own.to_string(),
        },
    };
    let now = match &args.at {
        Some(text) => super::since(app, text)?,
        None => app.clock.now(),
    };
    let explained = app.run(explain(app, &setup, &request, now))?;
    let code = if explained.error.is_none() { 0 } else { Kind::Failed.exit_code() };
    let hint = explained.signed_at.filter(|_| matches!(explained.error, Some(VerifyError::TimestampOutOfTolerance(_))));
    let hint = hint.map(|at| again(&name.to_string(), args, at));
    ui.show(&view(name.to_string(), explained, hint))?;
    Ok(code)
}

/// The command that judges the same request as of the time when it was signed.
fn again(connection: &str, args: &VerifyArgs, at: Timestamp) -> String {
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

fn view(connection: String, explained: VerificationReport, hint: Option<String>) -> VerificationView {
    let parts = explained.checks.into_iter();
    let events = explained.events.into_iter();
    VerificationView {
        connection,
        accepted: explained.error.is_none(),
        reason: explained.error.as_ref().map(crate::signing::verify::VerifyError::as_str),
        message: explained.error.as_ref().map(ToString::to_string),
        parts: parts
            .map(|part| VerificationCheckView { part: part.name, state: part.status.as_str(), says: part.detail })
            .collect(),
        covers_words: explained.coverage.as_ref().map(SignatureCoverage::describe),
        covers: explained.coverage.map(|covers| covers.parts),
        confirmed_later: explained.is_confirmed_later,
        hint,
        events: events
            .map(|event| ParsedEventView { kind: event.kind, delivery_id: event.delivery_id, resource: event.resource })
            .collect(),
    }
}

/// A request as it stands on the wire; its body is every byte after the empty line.
fn whole(bytes: &[u8]) -> Result<WebhookRequest, WebhookArgumentError> {
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
    Ok(WebhookRequest { method: method.to_owned(), url: url.to_owned(), headers: headers(rest), body: body.to_vec() })
}

fn headers(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}
